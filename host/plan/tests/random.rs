//! Random and mutated project files: whatever stands in a file, loading, planning and rendering come to an end with
//! places that lie in the file.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "yaml/pieces.rs"]
mod pieces;

use odibi_plan::diagnostic::{render, render_json};
use odibi_plan::{Operations, Selection, Sources};
use proptest::prelude::*;

use pieces::PIECES;

const VALID: &str = include_str!("../../../tests/ui/valid_full.yaml");

fn survives(text: &str) {
    let mut sources = Sources::default();
    let environment = |name: &str| {
        name.len()
            .is_multiple_of(2)
            .then(|| format!("${{{name}}}: [*x"))
    };
    let (project, mut found) = odibi_plan::load("r.yaml", text, &environment, &mut sources);
    found.extend(odibi_plan::plan::plan(&project, &Selection::all(), &Operations::default()).1);
    for diagnostic in &found {
        for label in &diagnostic.labels {
            let (start, end) = (label.span.start as usize, label.span.end as usize);
            assert!(
                start <= end && end <= text.len() && text.get(start..end).is_some(),
                "{diagnostic:?}"
            );
        }
        let plain = render(diagnostic, &sources, false);
        assert!(
            plain.chars().all(|c| c == '\n' || !c.is_control()),
            "{plain:?}"
        );
        let (coloured, json) = (
            render(diagnostic, &sources, true),
            render_json(diagnostic, &sources),
        );
        assert!(coloured.len() >= plain.len() && json.is_object());
    }
}

/// Pieces of YAML that mean something, so that random files get past the first character.
fn soup() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(PIECES.to_vec());
    prop::collection::vec(pieces, 0..60).prop_map(|list| list.concat())
}

/// The valid file with some stretches replaced.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (
        0..VALID.len(),
        0_usize..40,
        prop_oneof![soup(), any::<String>(), Just(String::new())],
    );
    prop::collection::vec(edit, 1..4).prop_map(|edits| {
        let mut text = VALID.to_owned();
        for (at, length, put) in edits {
            let mut start = at.min(text.len());
            while !text.is_char_boundary(start) {
                start -= 1;
            }
            let mut end = (start + length).min(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.replace_range(start..end.max(start), &put);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text_is_survived(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn pieces_of_yaml_are_survived(text in soup()) {
        survives(&text);
    }

    #[test]
    fn mutated_project_is_survived(text in mutated()) {
        survives(&text);
    }

    #[test]
    fn repeated_piece_is_survived(piece in soup(), count in 1_usize..2000) {
        survives(&piece.repeat(count));
    }
}
