//! Every limit a guest runs under, in one place, and the limiter that wasmtime asks before a guest grows.

use odibi_run::memory::{Holder, MemoryBudget};
use odibi_story::failure::Failure;
use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

use self::exceeded::out_of_budget;
pub(crate) use self::exceeded::{compile_exceeded, exceeded};

mod exceeded;
mod set;

/// What one instance may use. The default suits one node of a local run.
///
/// Sizes of memory, tables and instances hold for the whole component of one instance; budgets "per call" start anew at
/// each call into the guest; the rest holds for one session.
///
/// Serialised as part of a capsule, so that a failure is replayed under the limits it happened under; what a capsule does
/// not name has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Linear memory, all memories of the component together (256 MiB).
    pub memory_bytes_max: u64,
    /// Elements of one table (100,000).
    pub table_elements_max: u64,
    /// Core instances, memories and tables, each (16).
    pub instances_max: usize,
    /// Resource handles that the guest holds at once (64).
    pub handles_max: usize,
    /// CPU time of the guest per call (30 s).
    pub call_cpu_ms_max: u64,
    /// Wall-clock time per call, when the machine is busy with something else (5 min).
    pub call_wall_ms_max: u64,
    /// Calls of `emit` per call (16,384).
    pub call_emits_max: u64,
    /// Bytes emitted per call (1 GiB).
    pub call_output_bytes_max: u64,
    /// Bytes emitted by one instance (1 TiB).
    pub output_bytes_max: u64,
    /// Rows emitted per call (256 Mi).
    pub call_rows_max: u64,
    /// Bytes of one emitted batch, as sent (64 MiB).
    pub batch_output_bytes_max: u64,
    /// Buffers one emitted batch comes in (65,536).
    pub batch_parts_max: usize,
    /// Rows of one emitted batch (16 Mi). A column of nulls takes no bytes, so bytes do not bound rows.
    pub batch_rows_max: u64,
    /// Values of any one column at any depth of one emitted batch (128 Mi).
    pub batch_values_max: u64,
    /// Bytes of the host's own columns that are gathered for one `picked` batch (512 MiB).
    pub gathered_bytes_max: u64,
    /// Rows in one batch that is given to the guest; larger ones are cut (65,536).
    pub input_rows_max: usize,
    /// Bytes of one batch that is given to the guest; larger ones are cut (32 MiB).
    pub input_bytes_max: u64,
    /// Metadata of one IPC message (1 MiB).
    pub metadata_bytes_max: usize,
    /// IPC messages in one emitted batch (64).
    pub messages_max: usize,
    /// Columns of a planned schema (4,096).
    pub columns_max: usize,
    /// Nesting of a planned column (16).
    pub column_depth_max: usize,
    /// Name of a column (256 bytes).
    pub column_name_bytes_max: usize,
    /// Schema message of a plan (4 MiB).
    pub schema_bytes_max: usize,
    /// `state` of a plan (1 MiB).
    pub state_bytes_max: usize,
    /// Manifest and summary, each (1 MiB).
    pub document_bytes_max: usize,
    /// Message of a failure (4 KiB).
    pub message_bytes_max: usize,
    /// One log line or note (2 KiB; longer ones are cut).
    pub line_bytes_max: usize,
    /// Log lines, notes and lines of stdout and stderr (1,000); what is over is counted and dropped.
    pub lines_max: u64,
    /// All of these together (256 KiB).
    pub lines_bytes_max: u64,
    /// Names of counters and gauges (64).
    pub metrics_max: usize,
    /// Bytes of randomness per request (1 MiB).
    pub random_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 256 << 20,
            table_elements_max: 100_000,
            instances_max: 16,
            handles_max: 64,
            call_cpu_ms_max: 30_000,
            call_wall_ms_max: 300_000,
            call_emits_max: 16_384,
            call_output_bytes_max: 1 << 30,
            output_bytes_max: 1 << 40,
            call_rows_max: 256 << 20,
            batch_output_bytes_max: 64 << 20,
            batch_parts_max: 65_536,
            batch_rows_max: 16 << 20,
            batch_values_max: 128 << 20,
            gathered_bytes_max: 512 << 20,
            input_rows_max: 65_536,
            input_bytes_max: 32 << 20,
            metadata_bytes_max: 1 << 20,
            messages_max: 64,
            columns_max: 4_096,
            column_depth_max: 16,
            column_name_bytes_max: 256,
            schema_bytes_max: 4 << 20,
            state_bytes_max: 1 << 20,
            document_bytes_max: 1 << 20,
            message_bytes_max: 4 << 10,
            line_bytes_max: 2 << 10,
            lines_max: 1_000,
            lines_bytes_max: 256 << 10,
            metrics_max: 64,
            random_bytes_max: 1 << 20,
        }
    }
}

impl Limits {
    /// Of each limit the lower one.
    pub(crate) fn least(&self, other: &Self) -> Self {
        macro_rules! least {
            ($($limit:ident)*) => { Self { $($limit: self.$limit.min(other.$limit)),* } };
        }
        least! {
            memory_bytes_max
            table_elements_max
            instances_max
            handles_max
            call_cpu_ms_max
            call_wall_ms_max
            call_emits_max
            call_output_bytes_max
            output_bytes_max
            call_rows_max
            batch_output_bytes_max
            batch_parts_max
            batch_rows_max
            batch_values_max
            gathered_bytes_max
            input_rows_max
            input_bytes_max
            metadata_bytes_max
            messages_max
            columns_max
            column_depth_max
            column_name_bytes_max
            schema_bytes_max
            state_bytes_max
            document_bytes_max
            message_bytes_max
            line_bytes_max
            lines_max
            lines_bytes_max
            metrics_max
            random_bytes_max
        }
    }

    /// What wasmtime may copy from the guest in one host call. Above the largest batch, so that our own checks, which
    /// can name the limit, come first.
    pub(crate) fn hostcall_fuel_bytes(&self) -> usize {
        let picked = self.batch_rows_max.saturating_mul(size_of::<u32>() as u64);
        let bytes = self
            .batch_output_bytes_max
            .saturating_add(picked)
            .saturating_add(8 << 20);
        usize::try_from(bytes)
            .unwrap_or(usize::MAX / 2)
            .saturating_add(self.batch_parts_max.saturating_mul(64))
    }
}

/// What compiling one component may use, when it is done in a process of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileLimits {
    /// CPU time, all threads together (30 s) …
    pub cpu_s_max: u64,
    /// … and this much more for each MiB of the component (4 s; honest code takes one, or two and a half on a slow machine).
    pub cpu_s_per_mib_max: u64,
    /// Wall-clock time (5 min), and as much again while it gets some CPU time of a busy machine.
    pub wall_ms_max: u64,
    /// Memory (4 GiB), but no less than what the program's allocator sets aside when it starts.
    pub memory_bytes_max: u64,
    /// Machine code of one component (512 MiB).
    pub artifact_bytes_max: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            cpu_s_max: 30,
            cpu_s_per_mib_max: 4,
            wall_ms_max: 300_000,
            memory_bytes_max: 4 << 30,
            artifact_bytes_max: 512 << 20,
        }
    }
}

impl CompileLimits {
    /// CPU time for a component of this size.
    pub(crate) fn cpu_s_max(&self, component_bytes: u64) -> u64 {
        let mib = component_bytes >> 20;
        self.cpu_s_max
            .saturating_add(self.cpu_s_per_mib_max.saturating_mul(mib))
    }
}

/// What a failed compiler may say on stderr (16 KiB); the rest is dropped.
pub(crate) const COMPILE_STDERR_BYTES_MAX: usize = 16 << 10;

/// Largest component that is compiled (64 MiB).
pub const COMPONENT_BYTES_MAX: u64 = 64 << 20;

/// Largest recording of one failure (256 MiB). A session whose batches take more is not recorded.
pub(crate) const CAPSULE_BYTES_MAX: u64 = 256 << 20;
/// Failures recorded of one step in one run (8). Retries and the search for failing rows repeat a failure many times.
pub(crate) const CAPSULES_PER_STEP_MAX: u32 = 8;
/// Largest capsule that is read (512 MiB): the recording, and what is said of it.
pub(crate) const CAPSULE_FILE_BYTES_MAX: u64 = 2 * CAPSULE_BYTES_MAX;

/// Parts of one capsule (1 Mi): an empty one takes 9 bytes of the file and more than that of memory.
pub(crate) const CAPSULE_PARTS_MAX: usize = 1 << 20;

/// Decides growth, and remembers what it refused and how high it went.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// The memory of the run. What is held is given back when the instance is dropped.
    budget: MemoryBudget,
    memory_bytes_max: u64,
    table_elements_max: u64,
    instances_max: usize,
    memory_bytes: u64,
    /// What the guest emitted in the current call, and the host holds until the call ends.
    output_bytes: u64,
    /// The last growth that was allowed, until it is known to have happened.
    growing_bytes: u64,
    /// Highest total of linear memory.
    pub(crate) memory_bytes_peak: u64,
    /// Growths refused so far.
    pub(crate) refusals: u64,
    /// The first refusal since [`Limiter::rearm`].
    refused: Option<Failure>,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits, budget: MemoryBudget) -> Self {
        Self {
            budget,
            memory_bytes_max: limits.memory_bytes_max,
            table_elements_max: limits.table_elements_max,
            instances_max: limits.instances_max,
            memory_bytes: 0,
            output_bytes: 0,
            growing_bytes: 0,
            memory_bytes_peak: 0,
            refusals: 0,
            refused: None,
        }
    }

    /// Forgets the last refusal; a new call begins.
    pub(crate) fn rearm(&mut self) {
        self.refused = None;
    }

    /// The failure behind a crash that follows a refusal.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.refused.clone()
    }

    /// Takes memory of the run for what the guest is about to hand over.
    ///
    /// # Errors
    /// `limit/run-memory`, when the run has no more.
    pub(crate) fn hold_output(&mut self, bytes: u64) -> Result<(), Failure> {
        self.budget
            .try_take(Holder::Guests, bytes)
            .map_err(out_of_budget)?;
        self.output_bytes += bytes;
        Ok(())
    }

    /// The call has ended, and what was emitted in it goes on its way.
    pub(crate) fn release_output(&mut self) {
        let bytes = std::mem::take(&mut self.output_bytes);
        self.budget.give_back(Holder::Guests, bytes);
    }

    fn refuse(&mut self, failure: impl FnOnce() -> Failure) {
        self.refusals += 1;
        self.refused.get_or_insert_with(failure);
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.release_output();
        self.budget.give_back(Holder::Guests, self.memory_bytes);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        self.growing_bytes = 0;
        let (total, limit) = (self.memory_bytes + more, self.memory_bytes_max);
        if total > limit {
            self.refuse(|| exceeded("guest-memory", limit, total));
            return Ok(false);
        }
        if let Err(refused) = self.budget.try_take(Holder::Guests, more) {
            self.refuse(|| out_of_budget(refused));
            return Ok(false);
        }
        self.memory_bytes = total;
        self.growing_bytes = more;
        self.memory_bytes_peak = self.memory_bytes_peak.max(total);
        Ok(true)
    }

    /// Wasmtime asks before it looks at the memory's own maximum.
    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        let more = std::mem::take(&mut self.growing_bytes);
        self.memory_bytes -= more;
        self.budget.give_back(Holder::Guests, more);
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired as u64 > self.table_elements_max {
            let limit = self.table_elements_max;
            self.refuse(|| exceeded("guest-table", limit, desired as u64));
            return Ok(false);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn tables(&self) -> usize {
        self.instances_max
    }

    fn memories(&self) -> usize {
        self.instances_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_refused_over_the_total_and_remembered() {
        let limits = Limits {
            memory_bytes_max: 100,
            ..Limits::default()
        };
        let mut limiter = Limiter::new(&limits, MemoryBudget::default());
        assert!(limiter.memory_growing(0, 60, None).is_ok_and(|ok| ok));
        assert!(limiter.memory_growing(0, 40, None).is_ok_and(|ok| ok));
        assert!(limiter.memory_growing(60, 61, None).is_ok_and(|ok| !ok));
        assert_eq!(limiter.memory_bytes_peak, 100);
        assert_eq!(limiter.refusals, 1);
        let failure = limiter
            .failure()
            .map(|f| (f.code, f.limit.map(|l| (l.limit, l.asked))));
        assert_eq!(
            failure,
            Some(("limit/guest-memory".to_owned(), Some((100, 101))))
        );
        limiter.rearm();
        assert!(limiter.failure().is_none());
    }

    #[test]
    fn memory_is_charged_to_the_run_and_given_back_with_the_instance() {
        let budget = MemoryBudget::new(100);
        let limits = Limits::default();
        let mut one = Limiter::new(&limits, budget.clone());
        let mut other = Limiter::new(&limits, budget.clone());
        assert!(one.memory_growing(0, 60, None).is_ok_and(|ok| ok));
        assert!(other.memory_growing(0, 41, None).is_ok_and(|ok| !ok));
        let failure = other.failure().map(|f| (f.code, f.limit.map(|l| l.limit)));
        assert_eq!(failure, Some(("limit/run-memory".to_owned(), Some(100))));
        drop(one);
        assert_eq!(budget.held(Holder::Guests), 0);
        assert!(other.memory_growing(0, 100, None).is_ok_and(|ok| ok));
        drop(other);
        assert_eq!(budget.held(Holder::Guests), 0);
    }

    #[test]
    fn output_is_held_until_its_call_ends() {
        let budget = MemoryBudget::new(100);
        let mut limiter = Limiter::new(&Limits::default(), budget.clone());
        assert!(limiter.memory_growing(0, 40, None).is_ok_and(|ok| ok));
        assert!(limiter.hold_output(30).is_ok() && limiter.hold_output(30).is_ok());
        let failure = limiter.hold_output(1).err().map(|f| f.code);
        assert_eq!(failure.as_deref(), Some("limit/run-memory"));
        assert_eq!(budget.held(Holder::Guests), 100);
        limiter.release_output();
        assert_eq!(budget.held(Holder::Guests), 40);
        assert!(limiter.hold_output(60).is_ok());
        drop(limiter);
        assert_eq!(budget.held(Holder::Guests), 0);
    }

    #[test]
    fn memory_that_could_not_grow_after_all_is_not_held() {
        let budget = MemoryBudget::new(100);
        let mut limiter = Limiter::new(&Limits::default(), budget.clone());
        assert!(limiter.memory_growing(0, 10, None).is_ok_and(|ok| ok));
        assert!(limiter.memory_growing(10, 90, Some(10)).is_ok_and(|ok| ok));
        for _ in 0..2 {
            assert!(
                limiter
                    .memory_grow_failed(wasmtime::format_err!("no"))
                    .is_ok()
            );
            assert_eq!(
                (budget.held(Holder::Guests), limiter.memory_bytes),
                (10, 10)
            );
        }
    }

    #[test]
    fn the_least_of_limits_is_the_lower_of_each() {
        let default = Limits::default();
        let mixed = Limits {
            memory_bytes_max: u64::MAX,
            random_bytes_max: u64::MAX,
            call_cpu_ms_max: 5,
            ..Limits::default()
        };
        let expected = Limits {
            call_cpu_ms_max: 5,
            ..Limits::default()
        };
        assert_eq!(mixed.least(&default), expected);
        assert_eq!(default.least(&mixed), expected);
    }

    #[test]
    fn hostcall_fuel_lies_above_the_largest_batch() {
        let limits = Limits::default();
        assert!(limits.hostcall_fuel_bytes() as u64 > limits.batch_output_bytes_max);
    }
}
