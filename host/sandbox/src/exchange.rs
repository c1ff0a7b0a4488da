//! Arrow batches over the border: out as IPC messages of the needed columns ([`encode`], and [`compose`] for flat ones), back in
//! through the gate.
//!
//! Guest bytes become host values here and nowhere else, in this order: length caps before anything is copied; framing
//! ([`frame`]); planned schemas by a decoder that cannot panic ([`schema`]); the layout of every buffer against the
//! planned types ([`layout`]); arrow's decoder, behind an unwind boundary ([`decode`]), with validation on unless a quick look
//! at flat columns has found that there is nothing to find ([`flat`]); the values that it lets through ([`values`]); row counts
//! and origin ([`attach`]). Skipping the checks would be undefined behaviour.
//! Columns that come back as they were sent are the host's own, and skip the decoder alone ([`echo`]).

pub(crate) mod attach;
mod compose;
pub(crate) mod decode;
pub(crate) mod echo;
pub(crate) mod encode;
mod flat;
pub(crate) mod frame;
pub(crate) mod layout;
mod lower;
#[cfg(test)]
#[path = "../tests/streams/random.rs"]
mod random;
pub(crate) mod schema;
pub(crate) mod values;

use odibi_story::failure::{Failure, FailureClass};

/// The plugin broke the interface. `rule` is the part of the code after `contract/`.
pub(crate) fn broken(rule: &'static str, message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Contract, format!("contract/{rule}"), message)
        .hint("report it to the author of the plugin with its version and digest")
}
