//! `schema_policy`: what becomes of columns that differ from those that are known.
//!
//! ```yaml
//! schema_policy: {mode: evolve, on_new_columns: add_nullable, on_missing_columns: fill_null}
//! ```

use crate::config::reader::Reader;
use crate::plan::{OnMissingColumns, OnNewColumns, SchemaPolicy};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Enforce,
    Evolve,
}

/// The policy under the key `schema_policy`, with ODIBI's defaults.
pub(in crate::config) fn policy(owner: &mut Reader<'_>) -> Option<SchemaPolicy> {
    let mut reader = owner.mapping("schema_policy")?;
    let mode = match reader.text("mode") {
        Some(text) => {
            let words = [("enforce", Mode::Enforce), ("evolve", Mode::Evolve)];
            reader.choice(&text, "mode", &words, &[])
        }
        None => Some(Mode::Enforce),
    };
    let new = match reader.text("on_new_columns") {
        Some(text) => {
            let words = [
                ("ignore", OnNewColumns::Ignore),
                ("fail", OnNewColumns::Fail),
                ("add_nullable", OnNewColumns::AddNullable),
            ];
            reader.choice(&text, "on_new_columns", &words, &[])
        }
        None => mode.map(|mode| match mode {
            Mode::Enforce => OnNewColumns::Ignore,
            Mode::Evolve => OnNewColumns::AddNullable,
        }),
    };
    let missing = match reader.text("on_missing_columns") {
        Some(text) => {
            let words = [
                ("fail", OnMissingColumns::Fail),
                ("fill_null", OnMissingColumns::FillNull),
            ];
            reader.choice(&text, "on_missing_columns", &words, &[])
        }
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
