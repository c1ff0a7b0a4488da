//! The runs of a pipeline as a page that leads to their stories, as Markdown and as HTML.

use super::document::{Align, Document, Inline, Table};
use super::words;
use super::{html, markdown};
use crate::story::shelf::Index;

/// Runs that are listed, the newest.
const RUNS_MAX: usize = 500;

/// `index.md`
#[must_use]
pub fn markdown(index: &Index) -> String {
    let mut document = Document::default();
    document.heading(
        1,
        Inline::format("Stories of {}", [Inline::code(&index.pipeline)]),
    );
    tell(index, "md", &mut document);
    markdown::write(&document)
}

/// `index.html`
#[must_use]
pub fn html(index: &Index) -> String {
    let mut document = Document::default();
    tell(index, "html", &mut document);
    html::index(&index.pipeline, &document)
}

/// `index.json`
#[must_use]
pub fn json(index: &Index) -> String {
    super::json::safe(serde_json::to_string_pretty(index))
}

fn tell(index: &Index, extension: &'static str, document: &mut Document) {
    let left_out = index.runs.len().saturating_sub(RUNS_MAX);
    document.line(Inline::words(format!(
        "{}, the newest first.",
        words::count(index.runs.len() as u64, "run")
    )));
    let mut table = Table::new([
        ("Started", Align::Left),
        ("Outcome", Align::Left),
        ("Duration", Align::Right),
        ("Rows written", Align::Right),
        ("Run", Align::Left),
    ]);
    for shelved in index.runs.iter().rev().take(RUNS_MAX) {
        let run = &shelved.run;
        table.row([
            Inline::file(words::instant(run.started_at), &shelved.file, extension),
            Inline::status(run.outcome),
            Inline::text(words::duration(run.duration_ms)),
            Inline::text(words::thousands(run.rows_written)),
            Inline::code(&run.run_id),
        ]);
    }
    document.table(table);
    if left_out > 0 {
        let left_out = words::count(left_out as u64, "older run");
        document.line(Inline::words(format!("{left_out} left out here.")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;
    use crate::story::compare::PastRun;

    fn shelf() -> Index {
        let mut index = Index {
            format_version: 1,
            pipeline: "orders".to_owned(),
            runs: Vec::new(),
        };
        let story = example::story();
        index.add("2026-11-23/run_08-30-00_0190", PastRun::of(&story));
        index.add(
            "2026-11-22/run_%2E&\" x](y)",
            example::with_history().history.remove(3),
        );
        index
    }

    #[test]
    fn lists_lead_to_the_stories() {
        expect_test::expect![[r#"
            # Stories of `orders`

            2 runs, the newest first.

            | Started                                                    | Outcome | Duration | Rows written | Run                                    |
            | ---------------------------------------------------------- | ------- | -------: | -----------: | -------------------------------------- |
            | [2026-11-23 08:30:00 UTC](2026-11-23/run_08-30-00_0190.md) | failed  |   1.24 s |        2,468 | `0190aaaa-0000-7000-8000-000000000001` |
            | [2026-11-17 08:30:00 UTC](2026-11-22/run_%252E%26%22%20x%5D%28y%29.md) | failed  |   417 ms |        2,468 | `0190aaaa-0000-7000-8000-000000000000` |
        "#]].assert_eq(&markdown(&shelf()));
        let page = html(&shelf());
        assert!(
            page.contains("<a href=\"2026-11-22/run_%252E%26%22%20x%5D%28y%29.html\">"),
            "{page}"
        );
    }

    #[test]
    fn index_reads_back() {
        let text = json(&shelf());
        assert_eq!(
            serde_json::from_str::<Index>(&text).expect("reads back"),
            shelf()
        );
    }
}
