//! The calls of the contract in terms of bytes: what the component's exports do, and what the harness drives natively.

use std::sync::Arc;

use crate::failure::{Failure, Kind, Location, Result};
use crate::operation::{Appetite, Context, Session, Start};
use crate::output::{Output, Sink, Writer};
use crate::plan::{InputPlan, OutputColumn, Spread};
use crate::plugin::Plugin;
use crate::wire::{self, Decoder, Trust};

/// `node-plan` of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodePlan {
    /// One for each port.
    pub(crate) inputs: Vec<InputPlan>,
    /// Schema message of the whole output.
    pub(crate) schema: Vec<u8>,
    /// Columns that pass through.
    pub(crate) pass_through: Vec<Passed>,
    /// How instances may be spread.
    pub(crate) spread: Spread,
    /// Preferred upper bound of rows in a batch.
    pub(crate) batch_rows: Option<u32>,
    /// The SDK's and the author's bytes.
    pub(crate) state: Vec<u8>,
}

/// `passed-column` of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Index into the output schema.
    pub(crate) output: usize,
    /// Input port.
    pub(crate) port: usize,
    /// Index into its offered schema.
    pub(crate) input: usize,
}

/// `plan` of the contract.
///
/// # Errors
/// What the operation says; `unknown-operation`.
pub(crate) fn plan(
    plugin: &Plugin,
    operation: &str,
    params: &str,
    inputs: &[Vec<u8>],
) -> Result<NodePlan> {
    let offered = inputs
        .iter()
        .map(|bytes| wire::decode_schema(bytes))
        .collect::<Result<Vec<_>, _>>()?;
    let plan = plugin.find(operation)?.plan(params, &offered)?;
    let passed = plan
        .output
        .iter()
        .enumerate()
        .filter_map(|(output, column)| match column {
            OutputColumn::Passed { port, input, .. } => Some(Passed {
                output,
                port: *port,
                input: *input,
            }),
            OutputColumn::Computed(_) => None,
        });
    let pass_through: Vec<Passed> = passed.collect();
    let schema = wire::encode_schema(&plan.output_schema())?;
    let computed = wire::encode_schema(&plan.computed_schema())?;
    Ok(NodePlan {
        schema,
        state: pack_state(pass_through.is_empty(), &computed, &plan.state),
        pass_through,
        inputs: plan.inputs,
        spread: plan.spread,
        batch_rows: plan.batch_rows,
    })
}

/// One open session.
pub(crate) struct Running {
    session: Box<dyn Session>,
    inputs: Vec<Decoder>,
    writer: Writer,
}

impl Running {
    /// `open` of the contract.
    ///
    /// # Errors
    /// What the operation says.
    pub(crate) fn open(
        plugin: &Plugin,
        context: Context,
        operation: &str,
        params: &str,
        state: &[u8],
        inputs: &[Vec<u8>],
    ) -> Result<Self> {
        let inputs = inputs
            .iter()
            .map(|bytes| wire::decode_schema(bytes))
            .collect::<Result<Vec<_>, _>>()?;
        let (all_computed, computed, state) = unpack_state(state)?;
        let computed = wire::decode_schema(computed)?;
        let start = Start {
            context,
            state: state.to_vec(),
            inputs: inputs.clone(),
            computed: Arc::clone(&computed),
        };
        let session = plugin.find(operation)?.open(params, start)?;
        let inputs = inputs
            .into_iter()
            .map(|schema| Decoder::new(schema, Trust::Host))
            .collect();
        Ok(Self {
            session,
            inputs,
            writer: Writer::new(computed, all_computed),
        })
    }

    /// `process` of the contract.
    ///
    /// # Errors
    /// What the operation says.
    pub(crate) fn process(
        &mut self,
        port: u32,
        batch: Vec<u8>,
        sink: &mut dyn Sink,
    ) -> Result<Appetite> {
        let decoder = self.inputs.get_mut(port as usize);
        let decoder =
            decoder.ok_or_else(|| Failure::internal(format!("no such input port: {port}")))?;
        let received = decoder.receive(batch)?;
        let batch = received.batch.clone();
        let mut out = Output {
            sink,
            writer: &mut self.writer,
            input: Some((port, &received)),
        };
        self.session
            .process(port as usize, batch, &mut out)
            .map_err(|f| at_port(f, port))
    }

    /// `drain` of the contract.
    ///
    /// # Errors
    /// What the operation says.
    pub(crate) fn drain(&mut self, port: u32, sink: &mut dyn Sink) -> Result<()> {
        let mut out = Output {
            sink,
            writer: &mut self.writer,
            input: None,
        };
        self.session
            .drain(port as usize, &mut out)
            .map_err(|f| at_port(f, port))
    }

    /// `finish` of the contract.
    ///
    /// # Errors
    /// What the operation says.
    pub(crate) fn finish(&mut self, sink: &mut dyn Sink) -> Result<Option<String>> {
        let mut out = Output {
            sink,
            writer: &mut self.writer,
            input: None,
        };
        Ok(self.session.finish(&mut out)?.map(|json| json.to_string()))
    }
}

/// Authors do not name the port; a data failure without a place gets one.
fn at_port(mut failure: Failure, port: u32) -> Failure {
    match &mut failure.at {
        Some(at) => at.port = port,
        None if failure.kind == Kind::Data => {
            failure.at = Some(Location {
                port,
                row: None,
                column: None,
            })
        }
        None => {}
    }
    failure
}

/// Flag, length of the schema message, the message, the author's bytes.
fn pack_state(all_computed: bool, computed: &[u8], state: &[u8]) -> Vec<u8> {
    let length = u32::try_from(computed.len()).unwrap_or(u32::MAX);
    let mut packed = vec![u8::from(all_computed)];
    packed.extend_from_slice(&length.to_le_bytes());
    packed.extend_from_slice(computed);
    packed.extend_from_slice(state);
    packed
}

fn unpack_state(packed: &[u8]) -> Result<(bool, &[u8], &[u8])> {
    let split = || {
        let (flag, rest) = packed.split_first()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (computed, state) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some((*flag == 1, computed, state))
    };
    split().ok_or_else(|| Failure::internal("the state does not come from `plan`"))
}
