//! The full trait, for operations with state, several inputs, or rows of their own making.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde_json::Value;

use crate::failure::Result;
use crate::output::Output;
use crate::params::Params;
use crate::plan::Plan;
use crate::plugin::{Example, FurtherInputs};

/// An operation. The type that implements it is its params: what stands in the YAML arrives in its fields.
pub trait Operation: Params {
    /// What the YAML calls it, `snake_case`.
    const NAME: &'static str;
    /// One line for lists.
    const SUMMARY: &'static str;
    /// Which param names the tables for the ports after the first.
    const FURTHER_INPUTS: FurtherInputs = FurtherInputs::None;

    /// Worked examples; documentation and tests.
    #[must_use]
    fn examples() -> Vec<Example> {
        Vec::new()
    }

    /// Checks params against the offered schemas, one for each port, and says what will happen. Pure.
    ///
    /// # Errors
    /// Params or columns that do not fit.
    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan>;

    /// Starts a session, on a fresh instance.
    ///
    /// # Errors
    /// Whatever keeps it from starting.
    fn open(self, start: Start) -> Result<Box<dyn Session>>;
}

/// What a session starts with.
#[derive(Debug, Clone)]
pub struct Start {
    /// Where it belongs.
    pub context: Context,
    /// What the plan's `state` was.
    pub state: Vec<u8>,
    /// Schemas of what will be sent, for each port: the needed columns only, in the order of `need`.
    pub inputs: Vec<SchemaRef>,
    /// Schema of the columns that the operation makes, in output order: the whole output when nothing passes through.
    pub computed: SchemaRef,
}

/// Where a session belongs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// UUIDv7 of the run.
    pub run_id: String,
    /// Pipeline.
    pub pipeline: String,
    /// Node.
    pub node: String,
    /// From 0.
    pub partition: u32,
    /// How many.
    pub partitions: u32,
    /// From 1.
    pub attempt: u32,
}

/// Wants more, or has enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appetite {
    /// Send more on this port.
    More,
    /// No further batch of this port can change the result.
    Enough,
}

/// One open session: `process` for each batch, `drain` when a port ends, `finish` when all have.
pub trait Session {
    /// One batch of one port. What `out` returns may be returned as it is.
    ///
    /// # Errors
    /// Whatever keeps it from going on; the host discards the instance.
    fn process(
        &mut self,
        port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite>;

    /// This port has ended; others may go on.
    ///
    /// # Errors
    /// As `process`.
    fn drain(&mut self, port: usize, out: &mut Output<'_>) -> Result<()> {
        let _ = (port, out);
        Ok(())
    }

    /// All ports have ended: emit the rest. The JSON goes into the story.
    ///
    /// # Errors
    /// As `process`.
    fn finish(&mut self, out: &mut Output<'_>) -> Result<Option<Value>> {
        let _ = out;
        Ok(None)
    }
}
