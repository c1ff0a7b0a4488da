//! One file per command.

pub(crate) mod alerts;
pub(crate) mod compile;
pub(crate) mod config;
pub(crate) mod connections;
pub(crate) mod explain;
pub(crate) mod init;
pub(crate) mod limits;
pub(crate) mod operations;
pub(crate) mod plan;
pub(crate) mod plugin;
pub(crate) mod reference;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod secrets;
pub(crate) mod story;
pub(crate) mod validate;
