//! One open instance: batches in, batches out, and what it cost.

use std::sync::Arc;

use arrow_array::RecordBatch;
use odibi_run::port::{Appetite, OperationPlan, Session};
use odibi_story::event::{GuestNote, Ledger};
use odibi_story::failure::{Failure, FailureClass};
use serde_json::Value;

use crate::contract::{self, GuestFailure};
use crate::exchange::broken;
use crate::exchange::encode::Encoder;
use crate::failure::of_guest;
use crate::host_api::meter::{cancelled, thread_cpu_ns};
use crate::host_api::output::{Outlet, Phase};
use crate::host_api::report::clean;
use crate::instance::Running;
use crate::limits::exceeded;

/// How much of a summary that is not JSON is shown.
const SUMMARY_BYTES_SHOWN: usize = 200;

/// Rows of about so many bytes, with those that come back of them, cross in one call, at least so many rows: what is copied
/// in is then read by the guest, and what comes out of it by the gate, in the cache of the processor, of which many have 2 MiB
/// a core. It holds them twice, with all that a call needs besides.
const CROSSING_BYTES: u64 = 768 << 10;
const CROSSING_ROWS_MIN: usize = 4_096;

/// A session.
pub(crate) struct Open {
    running: Running,
    plan: Arc<OperationPlan>,
    encoders: Vec<Encoder>,
    /// What ended the session. It stays ended.
    failed: Option<Failure>,
    batches_in: u64,
    rows_in: u64,
    bytes_in: u64,
}

impl Open {
    pub(crate) fn new(running: Running, plan: Arc<OperationPlan>) -> Self {
        let encoders = plan
            .inputs
            .iter()
            .map(|input| Encoder::new(input.need.clone()))
            .collect();
        Self {
            running,
            plan,
            encoders,
            failed: None,
            batches_in: 0,
            rows_in: 0,
            bytes_in: 0,
        }
    }

    /// What the guest answered to a call, after what it did meanwhile.
    pub(crate) fn accept<T>(&mut self, answer: Result<T, GuestFailure>) -> Result<T, Failure> {
        let guest = self.running.guest_mut();
        if guest.meter.is_cancelled() {
            return Err(cancelled());
        }
        if let Some(breach) = guest.outlet.as_deref_mut().and_then(|o| o.breach.take()) {
            return Err(breach);
        }
        answer.map_err(|failure| {
            let own = of_guest(failure, &self.plan.params, true, guest);
            // A guest that could not get memory from the run may say so in words of its own: that is not about its rows.
            match guest.limiter.failure() {
                Some(limit) if limit.code == "limit/run-memory" => limit.cause(own.message),
                _ => own,
            }
        })
    }

    /// One call on the data path: opens the way out, calls, takes what was emitted.
    fn call<T>(
        &mut self,
        phase: Phase,
        out: &mut Vec<RecordBatch>,
        enter: impl FnOnce(&mut Running) -> Result<Result<T, GuestFailure>, Failure>,
    ) -> Result<T, Failure> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        self.outlet()?.begin(phase);
        let answer = enter(&mut self.running);
        let outlet = self.outlet()?;
        outlet.phase = Phase::Closed;
        let emitted = std::mem::take(&mut outlet.emitted);
        self.running.guest_mut().limiter.release_output();
        match answer.and_then(|answer| self.accept(answer)) {
            Ok(value) => {
                out.extend(emitted);
                Ok(value)
            }
            Err(failure) => {
                self.failed = Some(failure.clone());
                Err(failure)
            }
        }
    }

    fn outlet(&mut self) -> Result<&mut Outlet, Failure> {
        let outlet = self.running.guest_mut().outlet.as_deref_mut();
        outlet.ok_or_else(|| internal("a session has no way out"))
    }

    /// Bytes that come back for so many that are sent, about: as if computed columns were as wide as those that are read, and came
    /// back at once.
    fn returning_bytes(&self, port: usize, bytes: u64) -> u64 {
        let inputs = self.plan.inputs.get(port);
        let read = inputs.map_or(0, |input| input.need.len()) as u64;
        let passed = self.plan.pass_through.iter();
        let computed = passed.filter(|passed| passed.is_none()).count() as u64;
        (bytes / read.max(1)).saturating_mul(computed)
    }

    /// Rows of a batch that are sent in one call.
    fn stride(&self, port: usize, batch: &RecordBatch) -> usize {
        let limits = &self.running.guest().limits;
        let rows = batch.num_rows();
        let wanted = self
            .plan
            .batch_rows_max
            .unwrap_or(usize::MAX)
            .min(limits.input_rows_max)
            .min(rows);
        let encoder = self.encoders.get(port);
        let bytes = encoder.map_or(0, |encoder| encoder.bytes(batch));
        let fitting = if bytes > limits.input_bytes_max {
            let share = u128::from(limits.input_bytes_max) * rows as u128 / u128::from(bytes);
            usize::try_from(share).unwrap_or(usize::MAX)
        } else {
            usize::MAX
        };
        // Equal parts, rather than full ones and a rest, of whole words of a bitmap, which need no shifting then.
        let divisible = encoder.filter(|_| rows > CROSSING_ROWS_MIN);
        let divisible = divisible.and_then(|encoder| encoder.divisible_bytes(batch));
        // As near to that size as may be: a call costs as much as a few thousand rows.
        let parts = divisible.map_or(1, |bytes| {
            let both_ways = bytes.saturating_add(self.returning_bytes(port, bytes));
            both_ways.saturating_add(CROSSING_BYTES / 2) / CROSSING_BYTES
        });
        let parts = parts.max(1);
        let cached = rows.div_ceil(usize::try_from(parts).unwrap_or(usize::MAX));
        let cached = cached.max(CROSSING_ROWS_MIN).next_multiple_of(64);
        wanted.min(fitting).min(cached).max(1)
    }

    fn send(
        &mut self,
        port: usize,
        batch: RecordBatch,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Appetite, Failure> {
        let number = u32::try_from(port).map_err(|_| internal("an input has too high a number"))?;
        let start = thread_cpu_ns();
        let encoder = self
            .encoders
            .get_mut(port)
            .ok_or_else(|| internal("a batch came for an input that is not there"))?;
        let sent = encoder.encode(&batch)?;
        let message = sent.message().clone();
        self.running.guest_mut().meter.encoded(start);
        self.batches_in += 1;
        self.rows_in += batch.num_rows() as u64;
        self.bytes_in += message.len() as u64;
        let appetite = self.call(Phase::Processing(port, batch, sent), out, |running| {
            running.process((number, message))
        })?;
        Ok(match appetite {
            contract::Appetite::More => Appetite::More,
            contract::Appetite::Enough => Appetite::Enough,
        })
    }
}

impl Session for Open {
    fn process(
        &mut self,
        port: usize,
        batch: &RecordBatch,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Appetite, Failure> {
        let stride = self.stride(port, batch);
        let mut at = 0;
        while at < batch.num_rows() {
            let length = stride.min(batch.num_rows() - at);
            let whole = length == batch.num_rows();
            let part = if whole {
                batch.clone()
            } else {
                batch.slice(at, length)
            };
            if self.send(port, part, out)? == Appetite::Enough {
                return Ok(Appetite::Enough);
            }
            at += length;
        }
        Ok(Appetite::More)
    }

    fn drain(&mut self, port: usize, out: &mut Vec<RecordBatch>) -> Result<(), Failure> {
        let number = u32::try_from(port).map_err(|_| internal("an input has too high a number"))?;
        self.call(Phase::Ending, out, |running| running.drain(number))
    }

    fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<Option<Value>, Failure> {
        let summary = self.call(Phase::Ending, out, Running::finish)?;
        let Some(text) = summary else { return Ok(None) };
        let bytes_max = self.running.guest().limits.document_bytes_max;
        if text.len() > bytes_max {
            return Err(exceeded("plan-size", bytes_max as u64, text.len() as u64));
        }
        let parsed: Result<Value, _> = serde_json::from_str(&text);
        parsed.map(Some).map_err(|e| {
            broken(
                "plan",
                format!(
                    "the summary of `finish` is not JSON: {}",
                    clean(&text, SUMMARY_BYTES_SHOWN)
                ),
            )
            .cause(e.to_string())
        })
    }

    fn ledger(&self) -> Ledger {
        let guest = self.running.guest();
        let outlet = guest.outlet.as_deref();
        Ledger {
            instances: 1,
            guest_cpu_ns: guest.meter.guest_ns,
            exchange_cpu_ns: guest.meter.encode_ns + guest.meter.decode_ns,
            encode_cpu_ns: guest.meter.encode_ns,
            decode_cpu_ns: guest.meter.decode_ns,
            memory_bytes_peak: guest.limiter.memory_bytes_peak,
            memory_bytes_max: guest.limits.memory_bytes_max,
            growths_refused: guest.limiter.refusals,
            batches_in: self.batches_in,
            emits: outlet.map_or(0, |o| o.emits),
            rows_in: self.rows_in,
            rows_out: outlet.map_or(0, |o| o.rows),
            bytes_in: self.bytes_in,
            bytes_out: outlet.map_or(0, |o| o.bytes),
            log_lines_dropped: guest.report.dropped,
            work: guest.meter.work,
        }
    }

    fn take_notes(&mut self) -> Vec<GuestNote> {
        let guest = self.running.guest_mut();
        guest.flush_lines();
        guest.report.take()
    }
}

/// The host misused a session.
fn internal(what: &str) -> Failure {
    Failure::new(FailureClass::Internal, "internal/session", what)
}
