//! Sensitive columns: nothing that a run leaves behind holds a value of one, whatever happens on the way.
//!
//! The matrix: what happens × how the columns are marked × where the rows go. Every value of every sensitive column is a
//! canary; all that a run leaves but its declared targets is searched for them. `ODIBI_PRIVACY_MATRIX=all` runs every
//! cell, otherwise sixty are drawn over all axes.

mod canaries;
mod cells;
mod data;
mod propagation;

use std::collections::{BTreeMap, BTreeSet};

use canaries::Scanner;
use cells::{Cell, MARKS, Mark, OUTCOMES, SINKS};

/// Cells of the short form.
const SHORT: usize = 60;

fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for outcome in OUTCOMES {
        for mark in MARKS {
            for sink in SINKS {
                cells.push(Cell {
                    outcome,
                    mark: *mark,
                    sink,
                });
            }
        }
    }
    cells
}

/// Sixty, so that each outcome, mark and sink occurs, in other company with each outcome.
fn drawn() -> Vec<Cell> {
    let places = (0..SHORT).map(|at| {
        let outcome = at % OUTCOMES.len();
        let turn = at / OUTCOMES.len();
        Cell {
            outcome: &OUTCOMES[outcome],
            mark: MARKS[(outcome + turn * 3) % MARKS.len()],
            sink: SINKS[(outcome / 2 + turn) % SINKS.len()],
        }
    });
    places.collect()
}

#[test]
fn nothing_that_is_left_behind_holds_a_sensitive_value() {
    let whole = std::env::var("ODIBI_PRIVACY_MATRIX").is_ok_and(|word| word == "all");
    let cells = if whole { all() } else { drawn() };
    assert!(cells.len() >= if whole { 500 } else { SHORT });
    let scanner = Scanner::new();
    let mut leaks = Vec::new();
    for cell in &cells {
        let hits = cell.play().hits(&scanner);
        if !hits.is_empty() {
            leaks.push(format!("{cell}: {hits:?}"));
        }
    }
    println!("{} cells, {} with hits", cells.len(), leaks.len());
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}

/// The same runs of a project that marks nothing: the scanner finds the values in at least fifteen places.
#[test]
fn without_marks_the_values_are_everywhere() {
    let scanner = Scanner::new();
    let mut channels: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for outcome in OUTCOMES {
        let cell = Cell {
            outcome,
            mark: Mark::None,
            sink: "parquet",
        };
        for channel in cell.play().channels(&scanner) {
            channels.entry(channel).or_default().insert(outcome.name);
        }
    }
    println!("{} channels: {channels:#?}", channels.len());
    assert!(channels.len() >= 15, "{channels:#?}");
}
