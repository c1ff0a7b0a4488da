//! The whole document against a golden copy, and hostile texts in every place a text can stand.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser has many kinds of pieces"
)]

use std::collections::BTreeSet;
use std::ops::Range;

use pulldown_cmark::{Event as Piece, Options, Parser, Tag, TagEnd};

use super::*;
use crate::example;
use crate::render::testing::{free_places, payloads, with_texts};
use crate::render::{CELL_CHARS_MAX, terminal};

#[test]
fn document_of_a_run_with_every_outcome() {
    expect_test::expect_file!["testdata/story.md"].assert_eq(&render(&example::with_history()));
}

#[test]
fn document_of_a_run_that_was_cut_off() {
    expect_test::expect_file!["testdata/unfinished.md"].assert_eq(&render(&example::unfinished()));
}

#[test]
fn document_of_an_empty_pipeline() {
    let story = Story {
        nodes: Vec::new(),
        lineage: crate::story::Lineage::default(),
        ..example::story()
    };
    let text = render(&story);
    assert!(text.contains("0 nodes. It took 1.24 s."), "{text}");
    assert!(text.contains("There is nothing to draw."), "{text}");
}

fn pieces(markdown: &str) -> impl Iterator<Item = (Piece<'_>, Range<usize>)> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    Parser::new_ext(markdown, options).into_offset_iter()
}

/// The structure of a document without its texts, as an independent parser sees it.
fn skeleton(markdown: &str) -> Vec<String> {
    let mut inside_code = false;
    let mut found = Vec::new();
    for (piece, _) in pieces(markdown) {
        match piece {
            Piece::Start(Tag::CodeBlock(kind)) => {
                inside_code = true;
                found.push(format!("{kind:?}"));
            }
            Piece::End(TagEnd::CodeBlock) => inside_code = false,
            // A text is shown as it is, as code, or as code with entities: all the same here.
            Piece::Text(_) | Piece::Code(_) => {}
            Piece::InlineHtml(html) if matches!(&*html, "<code>" | "</code>") => {}
            other if !inside_code => found.push(format!("{other:?}")),
            other => panic!("inside a code block: {other:?}"),
        }
    }
    found
}

/// What a reader sees in the cells of all tables, in order.
fn cells(markdown: &str) -> Vec<String> {
    let (mut inside, mut found) = (false, Vec::new());
    for (piece, _) in pieces(markdown) {
        match piece {
            Piece::Start(Tag::TableCell) => {
                inside = true;
                found.push(String::new());
            }
            Piece::End(TagEnd::TableCell) => inside = false,
            Piece::Text(text) | Piece::Code(text) if inside => {
                found.last_mut().expect("a cell").push_str(&text);
            }
            _ => {}
        }
    }
    found
}

/// For each row of each table, the bars that divide it. A parser hides what is too much: cells beyond the last column are
/// left out. In tables a bar counts inside of code as well, unless a backslash stands before it that is none itself.
fn bars(markdown: &str) -> Vec<usize> {
    let tables = pieces(markdown).filter(|(piece, _)| matches!(piece, Piece::Start(Tag::Table(_))));
    let rows = tables.flat_map(|(_, range)| markdown[range].lines());
    rows.map(|row| {
        let mut escaped = false;
        row.chars()
            .filter(|c| {
                let counts = *c == '|' && !escaped;
                escaped = *c == '\\' && !escaped;
                counts
            })
            .count()
    })
    .collect()
}

#[test]
fn a_step_with_grants_says_that_it_is_not_deterministic() {
    let line =
        "The plugin of step 1 was granted clock, entropy, so its result may differ each time.";
    let mut story = example::story();
    assert!(!render(&story).contains("granted"));
    let mut facts = story.nodes.iter_mut().flat_map(|node| &mut node.facts);
    let operation = facts.find_map(|facts| facts.operations.first_mut());
    operation.unwrap().grants = vec!["clock".to_owned(), "entropy".to_owned()];
    let text = render(&story);
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_write_says_what_it_did_to_the_target() {
    let mut story = example::story();
    story.nodes[1].facts = Some(example::quarantining());
    let text = render(&story);
    for line in [
        "#### Write\n",
        "upsert: 1,000 rows inserted, 234 rows updated, 1 row unchanged",
        "Batch `0123456789ab`. Version of the target: <code>8&#124;9</code>, before it `7`.",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn quarantine_lists_reasons_and_the_file() {
    let mut document = Document::default();
    section::quarantine::tell(&example::quarantining(), &mut document);
    expect_test::expect![[r#"
        #### Unread rows

        2 rows of input `df` could not be understood, and left out:

        | Reason       | Message                       | Rows | First lines |
        | ------------ | ----------------------------- | ---: | ----------: |
        | read/bad-row | 3 fields where 2 are expected |    2 |        7, 9 |

        #### Quarantine

        Step 1, `clean_text` rejected 1,013 rows, now in `lake:rejects/orders/0190aaaa-step-1.parquet` (2 KiB):

        | Reason           | Message                                                     |  Rows |   First rows |
        | ---------------- | ----------------------------------------------------------- | ----: | -----------: |
        | trap/unreachable | the plugin crashed: it panicked or aborted                  | 1,000 | 17, 40, 1041 |
        | guest/data       | <code>no &#124;date&#124;&#58; &#96;&#60;b&#62;&#96;</code> |     1 |           99 |
        | others           |                                                             |    12 |              |
    "#]].assert_eq(&write(&document));
}

#[test]
fn hostile_text_in_any_place_changes_no_structure() {
    let mut whole = example::with_history();
    whole.nodes[1].facts = Some(example::quarantining());
    let value = serde_json::to_value(whole).expect("serialises");
    let places = free_places(&value);
    assert!(places.len() > 80, "only {} places", places.len());
    let story = |text: &dyn Fn(usize) -> String| -> Story {
        serde_json::from_value(with_texts(&value, &places, text))
            .expect("took a word, takes a text")
    };
    // Numbered, because equal names would be one column or node.
    let benign = render(&story(&|at| format!("benign{at}")));
    let (expect, rows) = (skeleton(&benign), bars(&benign));
    // Cells that hold nothing but the text of one place, and all of it: digests are cut.
    let long = format!("-{}", "x".repeat(100));
    let alone: Vec<(usize, usize)> = cells(&render(&story(&|at| format!("{at}{long}"))))
        .iter()
        .enumerate()
        .filter_map(|(cell, text)| Some((cell, text.strip_suffix(&long)?.parse().ok()?)))
        .collect();
    assert!(alone.len() > 20, "only {} cells", alone.len());
    let payloads = payloads();
    let mut met = BTreeSet::new();
    for shift in (0..payloads.len()).step_by(11) {
        let payload = |at: usize| (at + shift) % payloads.len();
        let text = |at: usize| format!("{}{at}", payloads[payload(at)]);
        let hostile = story(&text);
        let document = render(&hostile);
        assert_eq!(skeleton(&document), expect, "shift {shift}:\n{document}");
        assert_eq!(bars(&document), rows, "shift {shift}:\n{document}");
        let shown = cells(&document);
        for (cell, at) in &alone {
            let text = text(*at);
            // Cut nowhere, lost nowhere, moved nowhere: as code or as it is, or as prose on one line.
            let words: Vec<&str> = text
                .split([' ', '\n', '\r', '\t'])
                .filter(|word| !word.is_empty())
                .collect();
            let whole = [&text, &words.join(" ")]
                .map(|text| escape::cut(&escape::plain(text), CELL_CHARS_MAX));
            assert!(
                whole.contains(&shown[*cell]),
                "{:?} for {text:?}",
                shown[*cell]
            );
            met.insert(payload(*at));
        }
        for shown in [document, terminal::render(&hostile, false)] {
            let hidden = shown
                .chars()
                .find(|c| *c != '\n' && crate::render::escape::is_hidden(*c));
            assert_eq!(hidden, None, "shift {shift}:\n{shown}");
        }
    }
    assert!(met.len() >= 500, "only {} payloads", met.len());
}

#[test]
fn bars_and_cells_see_a_text_that_leaves_its_cell() {
    let table = |cell: &str| format!("x\n\n| a | b |\n|---|---|\n| {cell} | y |\n");
    assert_eq!(bars(&table("x")), [3, 3, 3]);
    assert_eq!(bars(&table("x \\| x")), [3, 3, 3]);
    assert_eq!(cells(&table("`x`")), ["a", "b", "x", "y"]);
    for planted in ["x | x", "`x | x`"] {
        assert_eq!(bars(&table(planted)), [3, 3, 4], "{planted}");
        assert_ne!(cells(&table(planted))[3], "y", "{planted}");
    }
    // Of this, renderers make one cell or two.
    assert_eq!(bars(&table("x \\\\| x")), [3, 3, 4]);
}

#[test]
fn skeleton_sees_a_planted_break_out() {
    let benign = skeleton("| a |\n|---|\n| x |\n");
    assert_eq!(benign, skeleton("| a |\n|---|\n| `y` |\n"));
    for planted in [
        "| a |\n|---|\n| x\n\n# y |\n",
        "| a |\n|---|\n| <b> |\n",
        "| a |\n|---|\n| [x](y) |\n",
    ] {
        assert_ne!(benign, skeleton(planted), "{planted}");
    }
}

#[test]
fn drawn_lineage_holds_hostile_names_only_as_numbers() {
    let value = serde_json::to_value(example::story()).expect("serialises");
    let mut story: Story = serde_json::from_value(value).expect("reads back");
    let expect = mermaid::graph(&story.lineage).lines().count();
    for text in payloads() {
        for vertex in &mut story.lineage.vertices {
            vertex.name.clone_from(&text);
        }
        let graph = mermaid::graph(&story.lineage);
        assert_eq!(graph.lines().count(), expect, "{text:?}: {graph}");
        assert_eq!(graph.matches("```").count(), 2, "{text:?}: {graph}");
        for line in graph.lines() {
            let parts: Vec<&str> = line.split('"').collect();
            assert!(matches!(parts.len(), 1 | 3), "{text:?}: {graph}");
            let label = parts.get(1).copied().unwrap_or_default();
            let outcome = |status: &Status| label.strip_suffix(&format!("<br/>{}", status.word()));
            let label = Status::ALL.iter().find_map(outcome).unwrap_or(label);
            // Letters and a few marks; other characters by their numbers.
            let mut parts = label.split('#');
            let mut rest = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                let (number, behind) = part.split_once(';').expect("a number ends");
                assert!(number.parse::<u32>().is_ok(), "{text:?}: {label}");
                rest.push_str(behind);
            }
            let allowed = |c: char| c.is_alphanumeric() || " _-./,:*?()".contains(c);
            assert!(rest.chars().all(allowed), "{text:?}: {label}");
        }
    }
}
