//! Durations of the runs before this one and of this one, as bars.

use super::blocks::{self, Links};
use super::mark;
use super::markup::Markup;
use super::timeline::percent;
use crate::render::document::Document;
use crate::render::{section, words};
use crate::story::compare::PastRun;
use crate::story::{Status, Story};

/// Bars at most, this run's included.
const RUNS_MAX: usize = 40;
const HEIGHT: u64 = 96;

/// Writes the drawing; nothing when this is the first run.
pub(super) fn write(story: &Story, links: &Links<'_>, page: &mut Markup) {
    if story.history.is_empty() {
        return;
    }
    let past = story.history.len().saturating_sub(RUNS_MAX - 1);
    let mut runs: Vec<PastRun> = story.history[past..].to_vec();
    runs.push(PastRun::of(story));
    let longest = runs
        .iter()
        .map(|run| run.duration_ms)
        .max()
        .unwrap_or(0)
        .max(1);
    page.host("<section><h2 id=\"history\">Duration against history</h2>\n<div class=\"history\">");
    page.element("p", &[("class", "more")], |p| {
        p.text(&format!(
            "{}, the last one is this. The longest took {}.",
            words::count(runs.len() as u64, "run"),
            words::duration(longest)
        ));
    });
    let height = HEIGHT.to_string();
    let attributes = [
        ("width", "100%"),
        ("height", height.as_str()),
        ("role", "img"),
        (
            "aria-label",
            "durations of the last runs; the table below holds the numbers",
        ),
    ];
    page.element("svg", &attributes, |svg| {
        for (at, run) in runs.iter().enumerate() {
            bar(at, run, runs.len(), longest, svg);
        }
        let base = HEIGHT.to_string();
        svg.shape(
            "line",
            &[
                ("class", "base"),
                ("x1", "0"),
                ("x2", "100%"),
                ("y1", &base),
                ("y2", &base),
            ],
        );
    });
    page.host("</div>\n<details class=\"numbers\"><summary>The same in numbers</summary>\n");
    let mut document = Document::default();
    document.table(section::compare::history(&runs));
    blocks::write(&document.blocks, "Runs", links, page);
    page.host("</details></section>\n");
}

fn bar(at: usize, run: &PastRun, count: usize, longest: u64, svg: &mut Markup) {
    let slots = count.max(12) as u64;
    // A fifth of each slot stays empty.
    let x = percent(at as u64 * 10 + 1, slots * 10);
    let width = percent(8, slots * 10);
    let height =
        (u128::from(run.duration_ms) * u128::from(HEIGHT - 4) / u128::from(longest)).max(2);
    let (y, height) = (
        (u128::from(HEIGHT) - height).to_string(),
        height.to_string(),
    );
    let title = format!(
        "{}: {}, {}",
        words::instant(run.started_at),
        run.outcome.word(),
        words::duration(run.duration_ms)
    );
    svg.element("g", &[], |g| {
        g.leaf("title", &[], &title);
        let frame = [
            ("x", x.as_str()),
            ("y", &y),
            ("width", &width),
            ("height", &height),
            ("rx", "1"),
        ];
        let with = |class: &'static str| {
            let mut attributes = vec![("class", class)];
            attributes.extend(frame);
            attributes
        };
        let class = if at + 1 == count {
            mark::class(run.outcome)
        } else {
            mark::faded(run.outcome)
        };
        g.shape("rect", &with(class));
        if matches!(run.outcome, Status::Failed | Status::Crashed) {
            let mut hatched = with("hatch");
            hatched.push(("fill", "url(#hatch)"));
            g.shape("rect", &hatched);
        }
    });
}
