//! A story as one HTML page that needs nothing else: no request leaves it, and it is whole without its script.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::document::{Document, Inline};
use super::{MESSAGE_CHARS_MAX, escape, section, words};
use crate::event::NodeFacts;
use crate::story::{NodeStory, Status, Story};

mod blocks;
mod graph;
mod history;
mod mark;
mod markup;
mod timeline;

use blocks::Links;
use markup::Markup;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");
/// Nodes that are unfolded from the start because they failed, at most.
const OPEN_MAX: usize = 8;
/// Failures that are listed at the top, at most.
const FAILURES_MAX: usize = 12;
/// What the sections of all nodes may take before those of nodes that succeeded become short, in bytes.
const NODES_BYTES_MAX: usize = 6 << 20;
/// Nodes whose table is not folded, at most.
const OVERVIEW_OPEN_MAX: usize = 40;
/// The list of nodes can be searched from this many on.
const SEARCHED_FROM: usize = 8;

/// The story as an HTML document.
#[must_use]
pub fn render(story: &Story) -> String {
    let links = Links::of(story);
    let title = format!("{}: {}", story.pipeline, story.outcome.word());
    page(&title, |body| {
        head(story, body);
        body.host("<main>\n");
        failures(story, &links, body);
        since_last(story, &links, body);
        timeline::write(story, &links, body);
        graph::write(story, &links, body);
        history::write(story, &links, body);
        nodes(story, &links, body);
        column_lineage(story, &links, body);
        run(story, &links, body);
        body.host("</main>\n");
        body.element("footer", &[], |footer| {
            footer.host("<p>").text(&format!(
                "Written by odibi {}. The JSON beside this page holds everything it says.",
                story.odibi_version
            ));
            footer.host("</p>");
        });
    })
}

/// A page with a list of stories.
pub(super) fn index(pipeline: &str, document: &Document) -> String {
    page(&format!("Stories of {pipeline}"), |body| {
        body.host("<header><p class=\"over\">Stories of runs</p>\n");
        body.leaf("h1", &[], &escape::cut(pipeline, MESSAGE_CHARS_MAX));
        body.host("</header>\n<main><section>\n");
        blocks::write(&document.blocks, "Runs", &Links::default(), body);
        body.host("</section></main>\n");
    })
}

/// A page with our style, our script and a policy that admits nothing else.
fn page(title: &str, body: impl FnOnce(&mut Markup)) -> String {
    let mut page = Markup::default();
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        sha256_base64(STYLE),
        sha256_base64(SCRIPT)
    );
    page.host("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.host("<meta http-equiv=\"Content-Security-Policy\"")
        .attribute("content", &policy)
        .host(">\n");
    page.host("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.host("<meta name=\"color-scheme\" content=\"light dark\">\n");
    page.leaf("title", &[], title);
    page.host("\n<style>")
        .host(STYLE)
        .host("</style>\n</head>\n<body>\n");
    page.host(DEFINITIONS);
    body(&mut page);
    page.host("<script>")
        .host(SCRIPT)
        .host("</script>\n</body>\n</html>\n");
    page.finish()
}

/// Patterns and arrows that the drawings use.
const DEFINITIONS: &str = concat!(
    "<svg class=\"defs\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>",
    "<pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">",
    "<line class=\"stripe\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\"/></pattern>",
    "<marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">",
    "<path class=\"tip\" d=\"M0 .5 8 4 0 7.5z\"/></marker></defs></svg>\n",
);

fn head(story: &Story, page: &mut Markup) {
    page.host("<header>\n<p class=\"over\">");
    page.text(&escape::cut(&story.project, MESSAGE_CHARS_MAX));
    page.host(" · story of a run</p>\n<div class=\"title\">");
    page.leaf("h1", &[], &escape::cut(&story.pipeline, MESSAGE_CHARS_MAX));
    mark::status(story.outcome, page);
    page.host("</div>\n");
    if let Some(description) = story.description.as_deref() {
        let mut document = Document::default();
        document.prose(description);
        blocks::write(&document.blocks, "", &Links::of(story), page);
    }
    if story.outcome == Status::Unfinished {
        page.host("<p class=\"note\">The events stop before the end of the pipeline: odibi was killed, or is still at work.</p>\n");
    }
    if story.outcome == Status::Crashed {
        page.host("<p class=\"note\">odibi was killed before the end of the pipeline; the duration is that to the last thing it said.</p>\n");
    }
    page.element("dl", &[("class", "cards")], |cards| {
        let mut card = |name: &'static str, value: &str, below: &str| {
            cards.element("div", &[], |card| {
                card.leaf("dt", &[], name);
                card.element("dd", &[], |dd| {
                    dd.leaf("span", &[("class", "value")], value);
                    if !below.is_empty() {
                        dd.leaf("span", &[("class", "more")], below);
                    }
                });
            });
        };
        let sum = |of: fn(&NodeFacts) -> u64| {
            story
                .nodes
                .iter()
                .filter_map(|node| node.facts.as_ref())
                .map(of)
                .fold(0, u64::saturating_add)
        };
        card("Started", &words::instant(story.started_at), "");
        card("Duration", &words::duration(story.duration_ms), "");
        card(
            "Nodes",
            &words::thousands(story.nodes.len() as u64),
            &section::run::counts(story),
        );
        let quarantined = sum(|facts| facts.rows_quarantined);
        let below = if quarantined > 0 {
            format!("{} quarantined", words::thousands(quarantined))
        } else {
            String::new()
        };
        card(
            "Rows written",
            &words::thousands(sum(|facts| facts.rows_written.unwrap_or(0))),
            &below,
        );
        let retries: usize = story
            .nodes
            .iter()
            .map(|n| n.attempts.len().saturating_sub(1))
            .sum();
        card("Retries", &words::thousands(retries as u64), "");
    });
    page.host("</header>\n");
}

/// What failed, first of all.
fn failures(story: &Story, links: &Links<'_>, page: &mut Markup) {
    let failed: Vec<&NodeStory> = story
        .nodes
        .iter()
        .filter(|node| node.outcome == Status::Failed && node.failure.is_some())
        .collect();
    if failed.is_empty() {
        return;
    }
    page.host("<section class=\"failures\"><h2 id=\"failures\">What failed</h2>\n<ul>");
    for node in failed.iter().take(FAILURES_MAX) {
        let Some(failure) = &node.failure else {
            continue;
        };
        page.element("li", &[], |li| {
            blocks::inline(&Inline::node(&node.outline.name), links, li);
            li.host(": ");
            message(&failure.message, li);
            li.host(" <span class=\"more\">").text(&failure.code);
            if let Some(place) = &failure.place {
                li.host(" at ").text(&place.to_string());
            }
            li.host("</span>");
        });
        page.newline();
    }
    let left_out = failed.len().saturating_sub(FAILURES_MAX);
    if left_out > 0 {
        page.leaf(
            "li",
            &[],
            &format!("{} more, see below", words::thousands(left_out as u64)),
        );
    }
    page.host("</ul></section>\n");
}

/// What differs from the last successful run.
fn since_last(story: &Story, links: &Links<'_>, page: &mut Markup) {
    let Some(comparison) = &story.comparison else {
        return;
    };
    let mut document = Document::default();
    section::compare::tell(comparison, &mut document);
    page.host("<section><h2 id=\"changes\">Since the last successful run</h2>\n");
    blocks::write(&document.blocks, "Changes", links, page);
    page.host("</section>\n");
}

/// Where the columns of what was written come from.
fn column_lineage(story: &Story, links: &Links<'_>, page: &mut Markup) {
    if story.column_lineage.is_empty() {
        return;
    }
    page.host("<section><h2 id=\"columns\">Columns of what was written</h2>\n");
    for dataset in &story.column_lineage {
        let Some(table) = section::origins::table(&dataset.columns, &story.pipeline) else {
            continue;
        };
        let mut document = Document::default();
        document.table(table);
        page.element("details", &[("class", "node")], |details| {
            details.element("summary", &[], |summary| {
                let name = escape::cut(&dataset.dataset, MESSAGE_CHARS_MAX);
                summary.leaf("h3", &[], &name);
                summary.leaf(
                    "span",
                    &[("class", "more")],
                    &words::count(dataset.columns.len() as u64, "column"),
                );
            });
            blocks::write(&document.blocks, &dataset.dataset, links, details);
        });
        page.newline();
    }
    page.host("</section>\n");
}

/// A message, in which names stand between backticks.
fn message(text: &str, page: &mut Markup) {
    let text = escape::cut(text, MESSAGE_CHARS_MAX);
    let parts: Vec<&str> = text.split('`').collect();
    for (at, part) in parts.iter().enumerate() {
        if at % 2 == 1 && at + 1 < parts.len() {
            page.leaf("code", &[], part);
        } else {
            if at % 2 == 1 {
                page.text("`");
            }
            page.text(part);
        }
    }
}

fn nodes(story: &Story, links: &Links<'_>, page: &mut Markup) {
    page.host("<section><h2 id=\"nodes\">Nodes</h2>\n");
    if story.nodes.len() >= SEARCHED_FROM {
        // Shown by the script, without which it would do nothing.
        page.host("<p class=\"search\" hidden><label>Search <input type=\"search\" id=\"search\" placeholder=\"name or outcome\"></label> <span role=\"status\" id=\"found\"></span></p>\n");
    }
    let mut document = Document::default();
    document.table(section::run::overview(&story.nodes));
    let overview = |page: &mut Markup| {
        page.element("div", &[("class", "overview")], |overview| {
            blocks::write(&document.blocks, "All nodes", links, overview);
        });
    };
    if story.nodes.len() > OVERVIEW_OPEN_MAX {
        page.element("details", &[("class", "numbers")], |details| {
            let number = words::count(story.nodes.len() as u64, "node");
            details.leaf("summary", &[], &format!("All {number} in one table"));
            overview(details);
        });
    } else {
        overview(page);
    }
    page.newline();
    let mut open_left = OPEN_MAX;
    let bodies = bodies(story, links).into_iter();
    for ((at, node), body) in story.nodes.iter().enumerate().zip(bodies) {
        let open = node.outcome == Status::Failed && open_left > 0;
        open_left -= usize::from(open);
        self::node(at, node, open || story.nodes.len() == 1, body, page);
    }
    page.host("</section>\n");
}

/// The sections of the nodes. Where they would make the page too large, those that failed or are odd are whole, then as
/// many others as there is room for, and the rest is short.
fn bodies(story: &Story, links: &Links<'_>) -> Vec<Markup> {
    let anomalies = story.comparison.iter().flat_map(|c| &c.anomalies);
    let odd: BTreeSet<&str> = anomalies.map(|anomaly| anomaly.node.as_str()).collect();
    let mut order: Vec<usize> = (0..story.nodes.len()).collect();
    order.sort_by_key(|at| {
        let node = &story.nodes[*at];
        let succeeded = node.outcome == Status::Succeeded;
        (succeeded, !odd.contains(node.outline.name.as_str()))
    });
    let mut bodies: Vec<Markup> = Vec::new();
    bodies.resize_with(order.len(), Markup::default);
    let mut bytes = 0;
    for at in order {
        let node = &story.nodes[at];
        let mut document = Document::default();
        if bytes < NODES_BYTES_MAX {
            section::node::body(node, &story.pipeline, &mut document);
        } else {
            section::node::introduce(node, &story.pipeline, &mut document);
            document.line(Inline::host(
                "More of this node would make the page too large; the JSON beside it holds all.",
            ));
        }
        blocks::write(&document.blocks, &node.outline.name, links, &mut bodies[at]);
        bytes += bodies[at].len();
    }
    bodies
}

fn node(at: usize, node: &NodeStory, open: bool, body: Markup, page: &mut Markup) {
    let id = blocks::node_id(at);
    let mut attributes = vec![("class", "node"), ("id", id.as_str())];
    if open {
        attributes.push(("open", ""));
    }
    page.element("details", &attributes, |details| {
        details.element("summary", &[], |summary| {
            summary.leaf(
                "h3",
                &[],
                &escape::cut(&node.outline.name, MESSAGE_CHARS_MAX),
            );
            mark::status(node.outcome, summary);
            summary.host("<span class=\"more\">");
            if !node.attempts.is_empty() {
                summary.text(&words::duration(node.duration_ms));
            }
            if let Some(facts) = &node.facts {
                summary
                    .host(" · ")
                    .text(&words::count(facts.rows_out, "row"));
            }
            summary.host("</span>");
        });
        details.newline();
        details.piece(body);
    });
    page.newline();
}

fn run(story: &Story, links: &Links<'_>, page: &mut Markup) {
    let mut document = Document::default();
    document.table(section::run::facts(story));
    page.host("<section><h2 id=\"run\">Run</h2>\n");
    blocks::write(&document.blocks, "Run", links, page);
    page.host("</section>\n");
}

fn sha256_base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let mut encoded = String::new();
    for three in digest.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = (bits >> (18 - 6 * at)) as usize & 63;
            encoded.push(if at > three.len() {
                '='
            } else {
                char::from(DIGITS[digit])
            });
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
