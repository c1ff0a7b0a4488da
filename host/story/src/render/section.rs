//! The sections of a story, from which Markdown and HTML are written.

pub(super) mod compare;
pub(super) mod data;
pub(super) mod node;
pub(super) mod origins;
pub(super) mod privacy;
pub(super) mod quarantine;
pub(super) mod run;
pub(super) mod values;
