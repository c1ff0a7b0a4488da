//! The integration tests, one module for each subject.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests: a panic is the message, and a case is as long as it is"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are an adapter of their own"
)]

mod alerts;
mod bad_input;
mod beyond_memory;
mod chains;
mod cli;
mod config;
mod conformance;
mod connect;
mod container;
mod delta;
mod examples;
mod formats;
mod full_flights;
mod grants;
mod guide;
mod hostile;
mod inspect;
mod limits;
mod logs;
mod metered;
mod openlineage;
mod privacy;
mod production;
mod project_schema;
mod pruning;
mod recovery;
mod replay;
mod rows;
mod running;
mod secrets;
mod selection;
mod signals;
mod sql_check;
mod state;
mod store_state;
mod stores;
mod stories;
mod story_shelves;
mod terminal;
mod tidy;
mod tpch;
mod types;
mod write_modes;
