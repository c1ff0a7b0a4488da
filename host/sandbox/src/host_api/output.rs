//! `output.emit`: takes a batch from the guest's live memory, through the gate, into the session.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_schema::Schema;
use odibi_run::port::OperationPlan;
use odibi_story::failure::{Failure, FailureClass};
use wasmtime::component::{Linker, WasmList};
use wasmtime::{AsContextMut, StoreContextMut};

use super::meter::thread_cpu_ns;
use super::{Guest, Stop};
use crate::contract::{self, Refusal, RowOrigin};
use crate::exchange::attach::{Rows, attach, check_bitmap_bytes, whole};
use crate::exchange::broken;
use crate::exchange::decode::Decoder;
use crate::exchange::echo::{Received, Sent};
use crate::limits::{Limits, exceeded};

/// What the guest is doing, as far as `emit` cares.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Not a time to emit.
    Closed,
    /// A batch of a port is being processed, of which the guest has got this.
    Processing(usize, RecordBatch, Sent),
    /// A port, or all of them, have ended.
    Ending,
}

/// The way out of one session.
#[derive(Debug)]
pub(crate) struct Outlet {
    plan: Arc<OperationPlan>,
    /// For `fresh` rows: every planned column.
    fresh: Decoder,
    /// For the other origins: the columns that do not pass through. `None` when none does: then every origin sends the
    /// same columns, and shares their dictionaries.
    computed: Option<Decoder>,
    has_computed: bool,
    pub(crate) phase: Phase,
    /// Whole output batches of the current call.
    pub(crate) emitted: Vec<RecordBatch>,
    /// The first breach of the contract. It fails the session whatever the guest makes of the refusal.
    pub(crate) breach: Option<Failure>,
    call_emits: u64,
    call_bytes: u64,
    call_rows: u64,
    pub(crate) emits: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Outlet {
    /// # Errors
    /// `Internal` when the planned schema cannot be expressed in IPC.
    pub(crate) fn new(plan: Arc<OperationPlan>) -> Result<Self, Failure> {
        let computed: Vec<_> = (plan.output.fields().iter().zip(&plan.pass_through))
            .filter(|(_, passed)| passed.is_none())
            .map(|(field, _)| Arc::clone(field))
            .collect();
        let has_computed = !computed.is_empty();
        let all_computed = computed.len() == plan.output.fields().len();
        let computed = (!all_computed).then(|| Decoder::new(&Schema::new(computed)));
        Ok(Self {
            fresh: Decoder::new(&plan.output)?,
            has_computed,
            computed: computed.transpose()?,
            plan,
            phase: Phase::Closed,
            emitted: Vec::new(),
            breach: None,
            call_emits: 0,
            call_bytes: 0,
            call_rows: 0,
            emits: 0,
            rows: 0,
            bytes: 0,
        })
    }

    /// A call begins.
    pub(crate) fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        (self.call_emits, self.call_bytes, self.call_rows) = (0, 0, 0);
    }

    /// Counts one more batch of `bytes`, before any of it is copied.
    fn charge(&mut self, bytes: u64, limits: &Limits) -> Result<(), Failure> {
        self.emits += 1;
        self.call_emits += 1;
        self.bytes += bytes;
        self.call_bytes += bytes;
        if self.call_emits > limits.call_emits_max {
            return Err(exceeded("emits", limits.call_emits_max, self.call_emits));
        }
        if self.call_bytes > limits.call_output_bytes_max {
            return Err(exceeded(
                "output",
                limits.call_output_bytes_max,
                self.call_bytes,
            ));
        }
        if self.bytes > limits.output_bytes_max {
            return Err(exceeded(
                "total-output",
                limits.output_bytes_max,
                self.bytes,
            ));
        }
        Ok(())
    }

    fn take(
        &mut self,
        port: u32,
        origin: Origin,
        received: Received,
        limits: &Limits,
    ) -> Result<(), Taken> {
        if port != 0 {
            return Err(Taken::Misuse(broken(
                "port",
                format!("the plugin emitted to an output it does not have: {port}"),
            )));
        }
        let (batch, gathered_bytes) = match (&self.phase, origin) {
            (Phase::Closed, _) => {
                return Err(Taken::Misuse(broken(
                    "port",
                    "the plugin emitted outside `process`, `drain` and `finish`",
                )));
            }
            (_, Origin::Fresh) => {
                let decoded = self.fresh.receive(received, limits)?;
                let columns = decoded.columns().to_vec();
                (whole(&self.plan, columns, decoded.num_rows())?, 0)
            }
            (Phase::Ending, Origin::SameRows | Origin::Picked(_) | Origin::Kept(_)) => {
                let why = "the plugin emitted rows of an input batch when none was being processed";
                return Err(Taken::Misuse(broken("rows", why)));
            }
            (Phase::Processing(port, input, _), origin) => {
                let rows = match origin {
                    Origin::Picked(picked) => Rows::picked(picked, input.num_rows())?,
                    Origin::Kept(bitmap) => Rows::kept(bitmap, input.num_rows())?,
                    Origin::SameRows | Origin::Fresh => Rows::Same,
                };
                let expected = rows.len(input.num_rows());
                if expected as u64 > limits.batch_rows_max {
                    return Err(
                        exceeded("batch-rows", limits.batch_rows_max, expected as u64).into(),
                    );
                }
                let decoded = if received.len() == 0 && !self.has_computed {
                    None
                } else {
                    Some(
                        self.computed
                            .as_mut()
                            .unwrap_or(&mut self.fresh)
                            .receive(received, limits)?,
                    )
                };
                let got = decoded.as_ref().map_or(expected, RecordBatch::num_rows);
                if got != expected {
                    let why =
                        format!("an emitted batch has {got} rows where its origin says {expected}");
                    return Err(broken("rows", why).into());
                }
                attach(&self.plan, decoded.as_ref(), &rows, *port, input, limits)?
            }
        };
        // What a guest has the host copy is held as much as what it sends.
        self.call_bytes = self.call_bytes.saturating_add(gathered_bytes);
        if self.call_bytes > limits.call_output_bytes_max {
            return Err(exceeded("output", limits.call_output_bytes_max, self.call_bytes).into());
        }
        self.call_rows += batch.num_rows() as u64;
        self.rows += batch.num_rows() as u64;
        if self.call_rows > limits.call_rows_max {
            return Err(exceeded("output-rows", limits.call_rows_max, self.call_rows).into());
        }
        if batch.num_rows() > 0 {
            self.emitted.push(batch);
        }
        Ok(())
    }
}

/// Why a batch was not taken.
enum Taken {
    /// The call itself is wrong.
    Misuse(Failure),
    /// The batch is wrong, or over a limit.
    Failed(Failure),
}

impl From<Failure> for Taken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Adds `odibi:node/output`.
pub(crate) fn add(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker
        .instance(&contract::versioned("odibi:node/output"))?
        .func_wrap("emit", emit)
}

type Answer = Result<(), Refusal>;

fn emit(
    mut cx: StoreContextMut<'_, Guest>,
    (port, parts, origin): (u32, WasmList<WasmList<u8>>, RowOrigin),
) -> wasmtime::Result<(Answer,)> {
    let start = thread_cpu_ns();
    let answer = receive(&mut cx, port, &parts, origin);
    cx.data_mut().meter.decoded(start);
    Ok((answer?,))
}

fn receive(
    cx: &mut StoreContextMut<'_, Guest>,
    port: u32,
    parts: &WasmList<WasmList<u8>>,
    origin: RowOrigin,
) -> wasmtime::Result<Answer> {
    let guest = cx.data_mut();
    let Some(outlet) = guest.outlet.as_deref_mut() else {
        let breach = broken("port", "the plugin emitted while it was planning");
        return Err(Stop::from(breach).into());
    };
    if let Some(breach) = outlet.breach.take() {
        // It was refused once and goes on: the session is lost anyway.
        return Err(Stop::from(breach).into());
    }
    if guest.meter.is_cancelled() {
        return Ok(Err(Refusal::Stop));
    }
    let origin = owned(cx, origin)?;
    let received = copy(cx, parts)?;
    let guest = cx.data_mut();
    let limits = Arc::clone(&guest.limits);
    let Some(outlet) = guest.outlet.as_deref_mut() else {
        return Ok(Err(Refusal::Misuse));
    };
    let (breach, refusal) = match outlet.take(port, origin, received, &limits) {
        Ok(()) => return Ok(Ok(())),
        // A limit ends the call at once; what is left of it could only cost more.
        Err(Taken::Failed(failure)) if failure.class == FailureClass::Limit => {
            return Err(Stop::from(failure).into());
        }
        Err(Taken::Misuse(failure)) => (failure, Refusal::Misuse),
        Err(Taken::Failed(failure)) => (failure, Refusal::Invalid),
    };
    outlet.breach = Some(breach);
    Ok(Err(refusal))
}

/// As [`RowOrigin`], out of the guest's memory.
enum Origin {
    Fresh,
    SameRows,
    Picked(Vec<u32>),
    Kept(Buffer),
}

/// Copies the picked rows, unless they are more than a batch may have, and the bitmap of kept ones, if its length is right.
fn owned(cx: &mut StoreContextMut<'_, Guest>, origin: RowOrigin) -> wasmtime::Result<Origin> {
    Ok(match origin {
        RowOrigin::Fresh => Origin::Fresh,
        RowOrigin::SameRows => Origin::SameRows,
        RowOrigin::Picked(picked) => {
            let (rows, rows_max) = (picked.len() as u64, cx.data().limits.batch_rows_max);
            if rows > rows_max {
                return Err(Stop::from(exceeded("batch-rows", rows_max, rows)).into());
            }
            let picked = picked.as_le_slice(&*cx).iter();
            Origin::Picked(picked.map(|row| u32::from_le(*row)).collect())
        }
        RowOrigin::Kept(bitmap) => {
            let outlet = cx.data().outlet.as_deref();
            match outlet.map(|outlet| &outlet.phase) {
                Some(Phase::Processing(_, input, _)) => {
                    check_bitmap_bytes(bitmap.len(), input.num_rows()).map_err(Stop::from)?;
                    Origin::Kept(Buffer::from(bitmap.as_le_slice(&*cx)))
                }
                // Refused for its moment, whatever is in it.
                Some(Phase::Closed | Phase::Ending) | None => Origin::Kept(Buffer::default()),
            }
        }
    })
}

/// One copy of all parts, from live guest memory into one aligned buffer, but of those that came back as they were sent.
/// Length caps come first.
fn copy(
    cx: &mut StoreContextMut<'_, Guest>,
    parts: &WasmList<WasmList<u8>>,
) -> wasmtime::Result<Received> {
    let limits = Arc::clone(&cx.data().limits);
    if parts.len() > limits.batch_parts_max {
        let why = format!(
            "a batch came in more than {} parts: {}",
            limits.batch_parts_max,
            parts.len()
        );
        return Err(Stop::from(broken("ipc", why)).into());
    }
    let mut lists = Vec::with_capacity(parts.len());
    let mut total = 0_u64;
    for part in parts.iter(cx.as_context_mut())? {
        let part = part?;
        total += part.len() as u64;
        if total > limits.batch_output_bytes_max {
            return Err(Stop::from(exceeded(
                "batch-output",
                limits.batch_output_bytes_max,
                total,
            ))
            .into());
        }
        lists.push(part);
    }
    let guest = cx.data_mut();
    if let Some(outlet) = guest.outlet.as_deref_mut() {
        outlet.charge(total, &limits).map_err(Stop::from)?;
    }
    guest.limiter.hold_output(total).map_err(Stop::from)?;
    let parts: Vec<&[u8]> = lists.iter().map(|list| list.as_le_slice(&*cx)).collect();
    let outlet = cx.data().outlet.as_deref();
    Ok(match outlet.map(|outlet| &outlet.phase) {
        Some(Phase::Processing(_, _, sent)) => sent.receive(&parts),
        Some(Phase::Closed | Phase::Ending) | None => Received::copied(&parts),
    })
}
