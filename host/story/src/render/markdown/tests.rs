//! The whole document against a golden copy, and hostile texts in every place a text can stand.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser has many kinds of pieces"
)]

use pulldown_cmark::{Event as Piece, Options, Parser, Tag, TagEnd};

use super::*;
use crate::example;
use crate::render::terminal;
use crate::render::testing::{HOSTILE, free_places, with_texts};

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

/// The structure of a document without its texts, as an independent parser sees it.
fn skeleton(markdown: &str) -> Vec<String> {
    let mut inside_code = false;
    let mut pieces = Vec::new();
    for piece in Parser::new_ext(
        markdown,
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH,
    ) {
        match piece {
            Piece::Start(Tag::CodeBlock(kind)) => {
                inside_code = true;
                pieces.push(format!("{kind:?}"));
            }
            Piece::End(TagEnd::CodeBlock) => inside_code = false,
            // A text is shown as it is, as code, or as code with entities: all the same here.
            Piece::Text(_) | Piece::Code(_) => {}
            Piece::InlineHtml(html) if matches!(&*html, "<code>" | "</code>") => {}
            other if !inside_code => pieces.push(format!("{other:?}")),
            other => panic!("inside a code block: {other:?}"),
        }
    }
    pieces
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
    let expect = skeleton(&render(&story(&|at| format!("benign{at}"))));
    for shift in 0..HOSTILE.len() {
        let hostile = story(&|at| format!("{}{at}", HOSTILE[(at + shift) % HOSTILE.len()]));
        let document = render(&hostile);
        assert_eq!(skeleton(&document), expect, "shift {shift}:\n{document}");
        for shown in [document, terminal::render(&hostile, false)] {
            let hidden = shown
                .chars()
                .find(|c| *c != '\n' && crate::render::escape::is_hidden(*c));
            assert_eq!(hidden, None, "shift {shift}:\n{shown}");
        }
    }
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
    let lines = |story: &Story| mermaid::graph(&story.lineage).lines().count();
    for text in HOSTILE {
        let mut story: Story = serde_json::from_value(value.clone()).expect("reads back");
        let expect = lines(&story);
        for vertex in &mut story.lineage.vertices {
            vertex.name = text.to_owned();
        }
        let graph = mermaid::graph(&story.lineage);
        assert_eq!(graph.lines().count(), expect, "{text:?}: {graph}");
        let quotes: Vec<usize> = graph
            .lines()
            .map(|line| line.matches('"').count())
            .collect();
        assert!(
            quotes.iter().all(|count| *count == 0 || *count == 2),
            "{text:?}: {graph}"
        );
    }
}
