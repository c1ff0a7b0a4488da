//! What happened: events, failures, and the story folded from them. Pure: no files, no clock, no async.

pub mod event;
pub mod failure;
pub mod lineage;
pub mod render;
pub mod story;
pub mod withhold;

#[cfg(test)]
mod example;

pub use event::{Event, Outcome, RunEvent};
pub use failure::{Failure, FailureClass};
pub use story::{Fold, Story, fold};
pub use withhold::Withhold;
