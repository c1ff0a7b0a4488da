//! What odibi remembers between runs: runs, batches, leases and watermarks, in one SQLite file of this machine
//! ([`StateDb`]) or in documents on an object store ([`SharedState`]). Both are a [`State`].
//!
//! Everything is durable when a call returns. Calls block; async code makes them on a blocking thread. What cannot be
//! read is a failure and never an empty answer, and nothing is ever made anew in its place.

mod alert;
mod batch;
#[cfg(test)]
mod conformance;
mod db;
mod lease;
mod port;
mod run;
mod shared;
#[cfg(test)]
mod testing;

pub use alert::{AlertRecord, AlertSender, NewAlert, Posted};
pub use batch::Batches;
pub use db::StateDb;
pub use lease::{Holder, Lease, LeaseRequest};
pub use port::{EventsCopy, Journal, State};
pub use run::{
    Interrupted, Made, NewRun, NodeEnd, NodeRecord, PipelineSlot, RunFilter, RunMark, RunRecord,
    RunSelection,
};
pub use shared::{Expected, LeaseTerms, SharedState, Sheet, Shelf};
