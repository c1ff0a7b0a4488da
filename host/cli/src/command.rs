//! One file per command.

pub(crate) mod compile;
pub(crate) mod connections;
pub(crate) mod explain;
pub(crate) mod limits;
pub(crate) mod operations;
pub(crate) mod plan;
pub(crate) mod plugin;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod validate;
