//! When each node was at work: a line for each, with its attempts as bars and the pauses between them.

use super::blocks::Links;
use super::mark;
use super::markup::Markup;
use crate::render::{CELL_CHARS_MAX, escape, words};
use crate::story::{NodeStory, Status, Story};

/// Nodes that are drawn, the longest; the table of nodes lists all.
const NODES_MAX: usize = 60;

/// Writes the drawing; nothing when no node began.
pub(super) fn write(story: &Story, links: &Links<'_>, page: &mut Markup) {
    let mut nodes: Vec<&NodeStory> = story
        .nodes
        .iter()
        .filter(|node| node.started_at.is_some())
        .collect();
    if nodes.is_empty() {
        return;
    }
    let total = nodes
        .iter()
        .map(|node| offset(story, node).saturating_add(node.duration_ms))
        .max()
        .unwrap_or(0)
        .max(story.duration_ms)
        .max(1);
    let left_out = nodes.len().saturating_sub(NODES_MAX);
    if left_out > 0 {
        nodes.sort_by_key(|node| (node.outcome != Status::Failed, u64::MAX - node.duration_ms));
        nodes.truncate(NODES_MAX);
    }
    nodes.sort_by_key(|node| node.started_at);
    page.host("<section><h2 id=\"timeline\">Timeline</h2>\n");
    page.element("table", &[("class", "timeline")], |table| {
        table.host("<thead><tr><th scope=\"col\">Node</th><th scope=\"col\" class=\"axis\"><span>0</span><span>");
        table.text(&words::duration(total / 2));
        table.host("</span><span>");
        table.text(&words::duration(total));
        table.host("</span></th><th scope=\"col\" class=\"r\">Duration</th></tr></thead>\n<tbody>");
        for node in &nodes {
            row(story, node, total, links, table);
        }
        table.host("</tbody>");
    });
    if left_out > 0 {
        page.element("p", &[("class", "note")], |p| {
            p.text(&format!(
                "The {NODES_MAX} longest and the failed ones; {} left out.",
                words::count(left_out as u64, "shorter node")
            ));
        });
    }
    page.host("</section>\n");
}

fn row(story: &Story, node: &NodeStory, total: u64, links: &Links<'_>, table: &mut Markup) {
    let name = escape::cut(&node.outline.name, CELL_CHARS_MAX);
    table.element("tr", &[], |tr| {
        tr.element("th", &[("scope", "row")], |th| {
            let target = links.to(&node.outline.name).unwrap_or_default();
            th.element("span", &[("class", mark::class(node.outcome))], |span| {
                span.leaf(
                    "span",
                    &[("aria-hidden", "true"), ("class", "sign")],
                    mark::sign(node.outcome),
                );
            });
            th.leaf("a", &[("href", &target)], &name);
        });
        tr.host("<td>");
        bars(story, node, total, tr);
        tr.host("</td>");
        tr.leaf("td", &[("class", "r")], &words::duration(node.duration_ms));
    });
    table.newline();
}

/// A stretch of time in which a node worked or waited.
struct Bar {
    start: u64,
    end: u64,
    status: Option<Status>,
}

fn offset(story: &Story, node: &NodeStory) -> u64 {
    node.started_at.map_or(0, |at| since(story, at))
}

fn since(story: &Story, at: jiff::Timestamp) -> u64 {
    let ms = at
        .as_millisecond()
        .saturating_sub(story.started_at.as_millisecond());
    u64::try_from(ms).unwrap_or(0)
}

fn stretches(story: &Story, node: &NodeStory) -> Vec<Bar> {
    let start = offset(story, node);
    let end = start.saturating_add(node.duration_ms);
    let mut bars = Vec::new();
    for (at, attempt) in node.attempts.iter().enumerate() {
        let from = attempt.started_at.map_or(start, |at| since(story, at));
        let next = node.attempts.get(at + 1).and_then(|next| next.started_at);
        let next = next.map(|at| since(story, at));
        let until = match (next, attempt.retry_in_ms) {
            (Some(next), pause) => next.saturating_sub(pause.unwrap_or(0)),
            (None, _) => end,
        }
        .max(from);
        bars.push(Bar {
            start: from,
            end: until,
            status: Some(attempt.outcome),
        });
        if let Some(next) = next {
            bars.push(Bar {
                start: until,
                end: next,
                status: None,
            });
        }
    }
    bars
}

fn bars(story: &Story, node: &NodeStory, total: u64, td: &mut Markup) {
    let bars = stretches(story, node);
    let told: Vec<String> = bars
        .iter()
        .filter_map(|bar| bar.status.map(|status| (bar, status)))
        .enumerate()
        .map(|(at, (bar, status))| {
            format!(
                "attempt {} {}, from {} to {}",
                at + 1,
                status.word(),
                words::duration(bar.start),
                words::duration(bar.end)
            )
        })
        .collect();
    let told = told.join("; ");
    let attributes = [
        ("width", "100%"),
        ("height", "16"),
        ("role", "img"),
        ("aria-label", told.as_str()),
    ];
    td.element("svg", &attributes, |svg| {
        svg.leaf("title", &[], &told);
        for bar in &bars {
            let x = percent(bar.start, total);
            match bar.status {
                Some(status) => {
                    let width = percent_wide(bar.end.saturating_sub(bar.start), total);
                    let class = mark::class(status);
                    svg.shape(
                        "rect",
                        &[
                            ("class", class),
                            ("x", &x),
                            ("y", "2"),
                            ("width", &width),
                            ("height", "12"),
                            ("rx", "2"),
                        ],
                    );
                    if matches!(status, Status::Failed | Status::Crashed) {
                        svg.shape(
                            "rect",
                            &[
                                ("class", "hatch"),
                                ("x", &x),
                                ("y", "2"),
                                ("width", &width),
                                ("height", "12"),
                                ("rx", "2"),
                                ("fill", "url(#hatch)"),
                            ],
                        );
                    }
                }
                None => {
                    let end = percent(bar.end, total);
                    svg.shape(
                        "line",
                        &[
                            ("class", "pause"),
                            ("x1", &x),
                            ("x2", &end),
                            ("y1", "8"),
                            ("y2", "8"),
                        ],
                    );
                }
            }
        }
    });
}

/// `12.345%`
pub(super) fn percent(part: u64, total: u64) -> String {
    per_mille(u128::from(part.min(total)) * 100_000 / u128::from(total.max(1)))
}

/// As [`percent`], wide enough to be seen.
fn percent_wide(part: u64, total: u64) -> String {
    per_mille((u128::from(part.min(total)) * 100_000 / u128::from(total.max(1))).max(400))
}

fn per_mille(thousandths: u128) -> String {
    format!("{}.{:03}%", thousandths / 1_000, thousandths % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn attempts_and_pauses_follow_each_other() {
        let story = example::story();
        let node = story.nodes.iter().find(|node| node.attempts.len() == 2);
        let bars = stretches(&story, node.expect("one recovers"));
        let shown: Vec<_> = bars.iter().map(|b| (b.start, b.end, b.status)).collect();
        assert_eq!(shown.len(), 3);
        assert_eq!(shown[0].2, Some(Status::Failed));
        assert_eq!(shown[1].2, None);
        assert_eq!(shown[2].2, Some(Status::Succeeded));
        assert!(shown.windows(2).all(|w| w[0].1 == w[1].0), "{shown:?}");
    }

    #[test]
    fn bars_stay_inside_the_drawing() {
        assert_eq!(percent(5, 10), "50.000%");
        assert_eq!(percent(11, 10), "100.000%");
        assert_eq!(percent_wide(0, 10), "0.400%");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.000%");
    }
}
