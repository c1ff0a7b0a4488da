//! `schema_policy`: what becomes of columns that differ from those that are known.
//!
//! ```yaml
//! schema_policy: {mode: evolve, on_new_columns: add_nullable, on_missing_columns: fill_null}
//! ```

use crate::config::reader::{Reader, words};
use crate::plan::{OnMissingColumns, OnNewColumns, SchemaPolicy};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Enforce,
    Evolve,
}

const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("evolve", Mode::Evolve)];

/// The words of `on_new_columns`.
pub(in crate::config) const ON_NEW_COLUMNS: &[(&str, OnNewColumns)] = &[
    ("ignore", OnNewColumns::Ignore),
    ("fail", OnNewColumns::Fail),
    ("add_nullable", OnNewColumns::AddNullable),
];

/// The words of `on_missing_columns`.
pub(in crate::config) const ON_MISSING_COLUMNS: &[(&str, OnMissingColumns)] = &[
    ("fail", OnMissingColumns::Fail),
    ("fill_null", OnMissingColumns::FillNull),
];

/// The words of `mode`.
pub(in crate::config) fn modes() -> Vec<&'static str> {
    words(&MODES)
}

/// The policy under the key `schema_policy`, with ODIBI's defaults.
pub(in crate::config) fn policy(owner: &mut Reader<'_>) -> Option<SchemaPolicy> {
    let mut reader = owner.mapping("schema_policy")?;
    let mode = match reader.text("mode") {
        Some(text) => reader.choice(&text, "mode", &MODES, &[]),
        None => Some(Mode::Enforce),
    };
    let new = match reader.text("on_new_columns") {
        Some(text) => reader.choice(&text, "on_new_columns", ON_NEW_COLUMNS, &[]),
        None => mode.map(|mode| match mode {
            Mode::Enforce => OnNewColumns::Ignore,
            Mode::Evolve => OnNewColumns::AddNullable,
        }),
    };
    let missing = match reader.text("on_missing_columns") {
        Some(text) => reader.choice(&text, "on_missing_columns", ON_MISSING_COLUMNS, &[]),
        None => Some(OnMissingColumns::FillNull),
    };
    reader.finish_with(&[
        ("new_columns", "on_new_columns"),
        ("missing_columns", "on_missing_columns"),
    ]);
    mode?;
    Some(SchemaPolicy {
        on_new_columns: new?,
        on_missing_columns: missing?,
    })
}
