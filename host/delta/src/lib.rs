//! Delta tables as sources and targets: a [`DeltaDriver`] for the engine, on delta-rs.
//!
//! What it adds to delta-rs: a batch is committed once, whatever is killed or started again ([`commit`]); a commit on a
//! local disk survives a loss of power ([`local`]); a log that cannot be read is never an empty table ([`location`]).

mod batch;
mod columns;
mod commit;
mod failure;
mod large;
mod local;
mod location;
mod merge;
mod noted;
mod session;
mod source;
mod target;
#[cfg(test)]
mod testing;
mod withheld;

use std::sync::Arc;

use odibi_engine::driver::{Driver, DriverTable, DriverTarget, Lent, Place};
use odibi_plan::plan::{Read, Write};
use odibi_story::failure::Failure;

/// Reads and writes Delta tables.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeltaDriver;

impl Driver for DeltaDriver {
    fn format(&self) -> &'static str {
        "delta"
    }

    fn open(
        &self,
        place: Place,
        read: &Read,
        lent: &Lent,
    ) -> Result<Arc<dyn DriverTable>, Failure> {
        source::open(place, read, lent)
    }

    fn target(
        &self,
        place: Place,
        write: &Write,
        lent: &Lent,
    ) -> Result<Box<dyn DriverTarget>, Failure> {
        target::open(place, write, lent)
    }
}
