//! What a failure says of the rows that are to blame.

use odibi_run::port::Spread;
use odibi_story::failure::{Failure, FailureClass, code};
use odibi_story::render::{count, thousands};

use super::isolate::{Found, Halt, Suspect, may_be_of_rows};
use super::transform::StepSpec;
use crate::limits::ROWS_NAMED_MAX;
use crate::reason::Reason;

/// The failure of a step that met bad rows, with what was found of them.
pub(crate) fn named(
    spec: &StepSpec,
    suspect: &Suspect,
    found: &Found,
    halt: Option<&Halt>,
) -> Failure {
    if let Some(Halt::Failed(failure)) = halt
        && failure.class == FailureClass::Cancelled
    {
        return failure.as_ref().clone();
    }
    let mut failure = suspect.failure.clone();
    let mut told = Vec::new();
    if !found.blamed.is_empty() {
        told.push(rows(spec, suspect, found, halt.is_none()));
        told.extend(other_reason(suspect, found));
    }
    told.extend(halt.map(|halt| ended(spec, suspect, found, halt)));
    failure.own.add_causes(own(spec, suspect, found, halt));
    told.append(&mut failure.causes);
    failure.causes = told;
    if halt.is_none() && !spec.quarantines {
        return failure.own_hint("add `on_row_error: quarantine` and `quarantine: {connection, path}` to set such rows aside");
    }
    failure
}

/// The failure of a node with more bad rows than may be set aside.
pub(crate) fn too_many(
    spec: &StepSpec,
    suspect: &Suspect,
    found: &Found,
    halt: Option<&Halt>,
) -> Failure {
    let message = match halt {
        Some(Halt::Costly { .. }) => "finding the rows that fail costs more than it may",
        Some(Halt::Failed(_) | Halt::Together { .. }) | None => {
            "more rows fail than may be set aside"
        }
    };
    let failure = Failure::new(FailureClass::Data, code::QUARANTINE_TOO_MANY, message);
    let mut failure = failure.at_step(spec.index);
    failure.own.add_causes(own(spec, suspect, found, halt));
    if !found.blamed.is_empty() {
        failure
            .causes
            .push(rows(spec, suspect, found, halt.is_none()));
    }
    failure
        .causes
        .extend(halt.map(|halt| ended(spec, suspect, found, halt)));
    let first = found.blamed.first().map(|blamed| blamed.reason.clone());
    let reason = first.unwrap_or_else(|| Reason::of(&suspect.failure));
    failure
        .cause(reason.to_string())
        .hint("look at the first of them: a param or the plugin may be to blame, not the rows")
}

/// Adds why the rows to blame cannot be told, unless no row is.
pub(crate) fn untold(failure: Failure, spec: &StepSpec) -> Failure {
    let why = match spec.plan.spread {
        Spread::Single | Spread::PerPartition => "the operation keeps state between batches",
        Spread::PerBatch => "the operation has several inputs",
    };
    because(failure, why)
}

/// Adds that the failure came when all rows were in, unless no row is to blame.
pub(crate) fn after_the_last(failure: Failure) -> Failure {
    because(failure, "the operation failed after the last of them")
}

fn because(failure: Failure, why: &str) -> Failure {
    if may_be_of_rows(&failure) {
        failure.own_cause(format!("the rows to blame cannot be told: {why}"))
    } else {
        failure
    }
}

/// What of it are odibi's own words: which rows, and how the search went; not why.
fn own(spec: &StepSpec, suspect: &Suspect, found: &Found, halt: Option<&Halt>) -> Vec<String> {
    let named = (!found.blamed.is_empty()).then(|| rows(spec, suspect, found, halt.is_none()));
    let ended = match halt {
        None | Some(Halt::Failed(_)) => None,
        Some(halt @ (Halt::Together { .. } | Halt::Costly { .. })) => {
            Some(ended(spec, suspect, found, halt))
        }
    };
    named.into_iter().chain(ended).collect()
}

/// `3 rows of the node's input fail alone: 17, 40, 41`
fn rows(spec: &StepSpec, suspect: &Suspect, found: &Found, all: bool) -> String {
    let number = |at: usize| (suspect.rows_before + at as u64 + 1).to_string();
    let first: Vec<String> = found
        .blamed
        .iter()
        .take(ROWS_NAMED_MAX)
        .map(|blamed| number(blamed.at))
        .collect();
    let how_many = found.blamed.len() as u64;
    let input = input(spec);
    let least = if all { "" } else { "at least " };
    match (how_many, how_many - first.len() as u64) {
        (1, _) if all => format!("row {} of {input} fails alone", first.concat()),
        (_, 0) => format!(
            "{least}{} of {input} fail alone: {}",
            count(how_many, "row"),
            first.join(", ")
        ),
        (_, more) => format!(
            "{least}{} of {input} fail alone: {} and {} more",
            count(how_many, "row"),
            first.join(", "),
            thousands(more)
        ),
    }
}

/// What the first row says when it is alone, if that is something else.
fn other_reason(suspect: &Suspect, found: &Found) -> Option<String> {
    let first = found.blamed.first()?;
    let row = suspect.rows_before + first.at as u64 + 1;
    let (alone, together) = (&first.reason, Reason::of(&suspect.failure));
    (*alone != together).then(|| format!("row {row} alone: {alone}"))
}

fn ended(spec: &StepSpec, suspect: &Suspect, found: &Found, halt: &Halt) -> String {
    let range = |start: usize, rows: usize| {
        let first = suspect.rows_before + start as u64 + 1;
        let input = input(spec);
        match rows {
            1 => format!("row {first} of {input}"),
            _ => format!("rows {first} to {} of {input}", first + rows as u64 - 1),
        }
    };
    match halt {
        Halt::Failed(failure) => format!(
            "the search for the rows to blame ended with {}",
            Reason::of(failure)
        ),
        Halt::Together { start, rows: 1 } => format!(
            "no single row reproduces it: {} passes on a fresh instance",
            range(*start, 1)
        ),
        Halt::Together { start, rows } => format!(
            "no single row reproduces it: {} fail together and pass in parts",
            range(*start, *rows)
        ),
        Halt::Costly { .. } if found.instances == 0 => format!(
            "the rows to blame are not told, because a search would cost too much: they are among {}",
            range(0, suspect.batch.num_rows())
        ),
        Halt::Costly { start, rows } => format!(
            "the search ended after {}, before {}",
            count(found.instances as u64, "instance"),
            range(*start, *rows)
        ),
    }
}

/// Which table the numbers count over.
fn input(spec: &StepSpec) -> String {
    let sorted = spec.plan.inputs.iter().any(|i| !i.sorted_by.is_empty());
    match (spec.index, sorted) {
        (0, false) => "the node's input".to_owned(),
        (0, true) => "the node's input, sorted as the operation asks".to_owned(),
        (step, false) => format!("the input of step {}", step + 1),
        (step, true) => format!("the input of step {}, sorted as it asks", step + 1),
    }
}
