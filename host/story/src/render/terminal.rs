//! The closing summary of a pipeline as lines for a terminal.

use std::fmt::Write as _;

use super::escape::{cut, plain, plain_lines};
use super::{CELL_CHARS_MAX, MESSAGE_CHARS_MAX, words};
use crate::event::OperationFact;
use crate::event::QuarantineFact;
use crate::failure::Failure;
use crate::story::{NodeStory, Status, Story};

/// The summary, each line with a line break; with ANSI colours when asked. The text is the same with and without.
#[must_use]
pub fn render(story: &Story, colour: bool) -> String {
    let paint = Paint { colour };
    let counts: Vec<String> = story
        .counts()
        .into_iter()
        .map(|(status, count)| format!("{count} {}", status.word()))
        .collect();
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} {} {} {} ({})",
        paint.bold(&name(&story.pipeline)),
        paint.status(story.outcome, story.outcome.word()),
        if matches!(story.outcome, Status::Unfinished | Status::Crashed) {
            "after"
        } else {
            "in"
        },
        words::duration(story.duration_ms),
        if counts.is_empty() {
            "no nodes".to_owned()
        } else {
            counts.join(", ")
        },
    );
    let rows: Vec<[String; 6]> = story.nodes.iter().map(cells).collect();
    let widths = widths(&rows);
    if !rows.is_empty() {
        let _ = writeln!(
            text,
            "{}",
            paint.dim(&line(&HEADERS.map(str::to_owned), &widths))
        );
    }
    for (node, row) in story.nodes.iter().zip(&rows) {
        let plain = line(row, &widths);
        let outcome = node.outcome.word();
        // The padding stands between, so the first match behind the name is the outcome itself.
        let behind_name = plain
            .char_indices()
            .nth(INDENT.len() + widths[0])
            .map_or(plain.len(), |(at, _)| at);
        let (before, after) = plain.split_at(behind_name);
        let _ = writeln!(
            text,
            "{before}{}",
            after.replacen(outcome, &paint.status(node.outcome, outcome), 1)
        );
        text.push_str(&quarantine_lines(node));
        text.push_str(&written_line(node));
        if let (Some(failure), false) = (&node.failure, node.outcome == Status::Skipped) {
            text.push_str(&failure_lines(failure, &paint));
        }
    }
    if let Some(work) = work(story) {
        let _ = writeln!(text, "{INDENT}work: {}", words::thousands(work));
    }
    text
}

/// What each step cost, each line with a line break; nothing when no step ran. The text is the same with and without
/// colours.
#[must_use]
pub fn costs(story: &Story, colour: bool) -> String {
    let paint = Paint { colour };
    let mut text = String::new();
    for node in &story.nodes {
        for (at, fact) in operations(node).iter().enumerate() {
            let (step, reference) = (at + 1, name(&fact.operation.reference));
            let _ = writeln!(
                text,
                "{} step {step}, {reference}",
                paint.bold(&name(&node.outline.name))
            );
            for line in super::costs::lines(fact) {
                let _ = writeln!(text, "{INDENT}{line}");
            }
        }
    }
    text
}

fn operations(node: &NodeStory) -> &[OperationFact] {
    node.facts.as_ref().map_or(&[], |facts| &facts.operations)
}

/// What a metered run counted, all steps together.
fn work(story: &Story) -> Option<u64> {
    let facts = story.nodes.iter().flat_map(operations);
    facts
        .filter_map(|fact| fact.ledger.work)
        .reduce(u64::saturating_add)
}

const INDENT: &str = "  ";
const HEADERS: [&str; 6] = ["node", "outcome", "time", "rows in", "rows out", "written"];

fn name(text: &str) -> String {
    cut(&plain(text), CELL_CHARS_MAX)
}

fn cells(node: &NodeStory) -> [String; 6] {
    let facts = node.facts.as_ref();
    let rows = |number: Option<u64>| number.map(words::thousands).unwrap_or_default();
    [
        name(&node.outline.name),
        node.outcome.word().to_owned(),
        if node.attempts.is_empty() {
            String::new()
        } else {
            words::duration(node.duration_ms)
        },
        rows(
            facts
                .map(|f| f.rows_in)
                .or(node.progress.map(|p| p.rows_read)),
        ),
        rows(
            facts
                .map(|f| f.rows_out)
                .or(node.progress.map(|p| p.rows_out)),
        ),
        rows(facts.and_then(|f| f.rows_written)),
    ]
}

fn widths(rows: &[[String; 6]]) -> [usize; 6] {
    let mut widths = HEADERS.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

fn line(cells: &[String; 6], widths: &[usize; 6]) -> String {
    let [node, outcome, numbers @ ..] = cells;
    let mut line = format!("{INDENT}{node:<0$}  {outcome:<1$}", widths[0], widths[1]);
    for (cell, width) in numbers.iter().zip(&widths[2..]) {
        let _ = write!(line, "  {cell:>width$}");
    }
    line.trim_end().to_owned()
}

/// `3 rows unread: left out`, `3 rows quarantined: lake:rejects/…`
fn quarantine_lines(node: &NodeStory) -> String {
    let facts = node.facts.iter().flat_map(|facts| &facts.quarantine);
    let line = |fact: &QuarantineFact| {
        format!(
            "{INDENT}{INDENT}{} quarantined: {}\n",
            words::count(fact.rows, "row"),
            name(&format!("{}:{}", fact.file.connection, fact.file.path))
        )
    };
    let unread = node.facts.iter().flat_map(|facts| &facts.unread);
    let unread = unread.map(|fact| {
        let place = match &fact.file {
            Some(file) => name(&format!("{}:{}", file.connection, file.path)),
            None => "left out".to_owned(),
        };
        format!(
            "{INDENT}{INDENT}{} unread: {place}\n",
            words::count(fact.rows, "row")
        )
    });
    unread.chain(facts.map(line)).collect()
}

/// `upsert: 3 rows inserted, 2 rows updated`
fn written_line(node: &NodeStory) -> String {
    let fact = node.facts.as_ref().and_then(|facts| facts.write.as_ref());
    let sentence = fact.and_then(super::written::sentence);
    sentence.map_or_else(String::new, |text| {
        format!("{INDENT}{INDENT}{}\n", plain(&text))
    })
}

fn failure_lines(failure: &Failure, paint: &Paint) -> String {
    let mut text = String::new();
    let mut entry = |label: &str, shown: &str, content: &str| {
        let content = plain_lines(&cut(content, MESSAGE_CHARS_MAX));
        let indent = format!("\n{INDENT}{INDENT}{}", " ".repeat(label.chars().count()));
        let _ = writeln!(
            text,
            "{INDENT}{INDENT}{shown}{}",
            content.trim_end().replace('\n', &indent)
        );
    };
    let code = format!("error[{}]", name(&failure.code));
    entry(
        &format!("{code}: "),
        &format!("{}: ", paint.red(&code)),
        &failure.message,
    );
    if let Some(place) = &failure.place {
        entry("  --> ", "  --> ", &plain(&place.to_string()));
    }
    for cause in &failure.causes {
        entry("caused by: ", "caused by: ", cause);
    }
    for hint in &failure.hints {
        entry("hint: ", &format!("{} ", paint.bold("hint:")), hint);
    }
    text
}

/// ANSI colours, or none.
struct Paint {
    colour: bool,
}

impl Paint {
    fn with(&self, codes: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{codes}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.with("2", text)
    }

    fn red(&self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn status(&self, status: Status, text: &str) -> String {
        match status {
            Status::Succeeded => self.with("32", text),
            Status::Recovered | Status::Cancelled | Status::Unfinished => self.with("33", text),
            Status::Failed | Status::Crashed => self.with("1;31", text),
            Status::Skipped | Status::NotStarted => self.dim(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn summary_lists_nodes_and_failures() {
        expect_test::expect![[r#"
            orders failed in 1.24 s (1 succeeded, 1 recovered, 1 failed, 1 skipped)
              node           outcome      time  rows in  rows out  written
              orders_raw     succeeded  1.24 s  336,776     1,234    1,234
              orders_clean   recovered  1.24 s  336,776     1,234    1,234
              orders_sum     failed     1.24 s
                error[guest/params]: column `amuont` is not an input column
                  --> pipelines/orders.yaml:14:20
                caused by: unknown-column
                hint: did you mean `amount`?
              orders_report  skipped
              work: 1,234,567,890
        "#]]
        .assert_eq(&render(&example::story(), false));
    }

    #[test]
    fn summary_of_unfinished_pipeline_tells_rows_so_far() {
        expect_test::expect![[r#"
            orders unfinished after 1.00 s (1 succeeded, 1 failed, 1 skipped, 1 unfinished)
              node           outcome       time  rows in  rows out  written
              orders_raw     succeeded   1.24 s  336,776     1,234    1,234
              orders_clean   unfinished  600 ms  100,000        99
              orders_sum     failed      1.24 s
                error[guest/params]: column `amuont` is not an input column
                  --> pipelines/orders.yaml:14:20
                caused by: unknown-column
                hint: did you mean `amount`?
              orders_report  skipped
        "#]]
        .assert_eq(&render(&example::unfinished(), false));
    }

    #[test]
    fn summary_names_the_quarantine() {
        let mut story = example::story();
        story.nodes.truncate(2);
        story.nodes[1].facts = Some(example::quarantining());
        expect_test::expect![[r#"
            orders failed in 1.24 s (1 succeeded, 1 recovered)
              node          outcome      time  rows in  rows out  written
              orders_raw    succeeded  1.24 s  336,776     1,234    1,234
              orders_clean  recovered  1.24 s  336,776     1,234    1,234
                2 rows unread: left out
                1,013 rows quarantined: lake:rejects/orders/0190aaaa-step-1.parquet
                upsert: 1,000 rows inserted, 234 rows updated, 1 row unchanged
              work: 1,234,567,890
        "#]]
        .assert_eq(&render(&story, false));
    }

    #[test]
    fn costs_tell_each_step() {
        expect_test::expect![[r#"
            orders_clean step 1, clean_text
              peak 41 MiB of 256, guest 85 ms, encode 700 µs, decode 300 µs, 2 instances, component compiled in 1.24 s, work 1,234,567,890
              in 336,776 rows, 977 KiB, 42 batches; out 1,234 rows, 9.8 KiB, 42 emits; 3 log lines dropped
              divided over 2 partitions, 3 MiB spilled
        "#]].assert_eq(&costs(&example::story(), false));
    }

    #[test]
    fn colour_changes_no_text() {
        for story in [example::story(), example::unfinished()] {
            let coloured = render(&story, true) + &costs(&story, true);
            let mut plain = String::new();
            let mut parts = coloured.split("\x1b[");
            plain.push_str(parts.next().unwrap_or_default());
            for part in parts {
                plain.push_str(part.split_once('m').expect("a colour ends with m").1);
            }
            assert_ne!(coloured, plain);
            assert_eq!(plain, render(&story, false) + &costs(&story, false));
        }
    }
}
