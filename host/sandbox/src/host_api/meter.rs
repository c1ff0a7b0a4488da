//! What a call into a guest costs, and when it has cost too much.

use odibi_run::port::Cancel;
use odibi_story::failure::{Failure, FailureClass};
use rustix::time::{ClockId, clock_gettime};

use crate::limits::{Limits, exceeded};

/// Nanoseconds of CPU time of this thread.
pub(crate) fn thread_cpu_ns() -> u64 {
    clock_ns(ClockId::ThreadCPUTime)
}

/// Nanoseconds since some start; never goes back.
pub(crate) fn monotonic_ns() -> u64 {
    clock_ns(ClockId::Monotonic)
}

/// Milliseconds since 1970: what the clock on the wall says.
pub(crate) fn real_time_ms() -> u64 {
    clock_ns(ClockId::Realtime) / 1_000_000
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Times the calls of one instance. All its calls are made by one thread at a time.
#[derive(Debug)]
pub(crate) struct Meter {
    cancel: Cancel,
    call_cpu_ms_max: u64,
    call_wall_ms_max: u64,
    cpu_start_ns: u64,
    wall_start_ns: u64,
    /// Host time inside the current call, which is not the guest's.
    call_exchange_ns: u64,
    /// CPU time inside the guest, all calls.
    pub(crate) guest_ns: u64,
    /// CPU time of encoding, all calls.
    pub(crate) encode_ns: u64,
    /// CPU time of decoding, all calls.
    pub(crate) decode_ns: u64,
    /// Fuel that the guest used, all calls; counted by a metered engine only.
    pub(crate) work: Option<u64>,
}

impl Meter {
    pub(crate) fn new(limits: &Limits, cancel: Cancel) -> Self {
        Self {
            cancel,
            call_cpu_ms_max: limits.call_cpu_ms_max,
            call_wall_ms_max: limits.call_wall_ms_max,
            cpu_start_ns: 0,
            wall_start_ns: 0,
            call_exchange_ns: 0,
            guest_ns: 0,
            encode_ns: 0,
            decode_ns: 0,
            work: None,
        }
    }

    /// The guest is about to be entered.
    pub(crate) fn enter(&mut self) {
        self.call_exchange_ns = 0;
        self.wall_start_ns = monotonic_ns();
        self.cpu_start_ns = thread_cpu_ns();
    }

    /// The guest was left.
    pub(crate) fn leave(&mut self) {
        self.guest_ns += self.call_cpu_ns();
    }

    /// Encoding for the guest, started at `since_ns` of [`thread_cpu_ns`], has ended.
    pub(crate) fn encoded(&mut self, since_ns: u64) {
        self.encode_ns += thread_cpu_ns().saturating_sub(since_ns);
    }

    /// Decoding from the guest, started at `since_ns` of [`thread_cpu_ns`] while the guest was on the stack, has ended.
    pub(crate) fn decoded(&mut self, since_ns: u64) {
        let spent = thread_cpu_ns().saturating_sub(since_ns);
        self.decode_ns += spent;
        self.call_exchange_ns += spent;
    }

    fn call_cpu_ns(&self) -> u64 {
        thread_cpu_ns()
            .saturating_sub(self.cpu_start_ns)
            .saturating_sub(self.call_exchange_ns)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// May the running call go on?
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.cancel.is_cancelled() {
            return Err(cancelled());
        }
        let cpu_ms = self.call_cpu_ns() / 1_000_000;
        if cpu_ms > self.call_cpu_ms_max {
            return Err(exceeded("guest-cpu", self.call_cpu_ms_max, cpu_ms));
        }
        let wall_ms = monotonic_ns().saturating_sub(self.wall_start_ns) / 1_000_000;
        if wall_ms > self.call_wall_ms_max {
            return Err(exceeded("guest-wall", self.call_wall_ms_max, wall_ms));
        }
        Ok(())
    }
}

/// The run was asked to stop.
pub(crate) fn cancelled() -> Failure {
    Failure::new(
        FailureClass::Cancelled,
        "run/cancelled",
        "the run was interrupted while the plugin was working",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_for_the_guest_unless_it_is_exchange() {
        let limits = Limits::default();
        let mut meter = Meter::new(&limits, Cancel::default());
        meter.enter();
        let start = thread_cpu_ns();
        while thread_cpu_ns() - start < 2_000_000 {}
        let exchange = thread_cpu_ns();
        while thread_cpu_ns() - exchange < 3_000_000 {}
        meter.decoded(exchange);
        meter.leave();
        assert!(meter.decode_ns >= 3_000_000, "{meter:?}");
        assert!(
            meter.guest_ns >= 2_000_000 && meter.guest_ns < 3_000_000,
            "{meter:?}"
        );
    }

    #[test]
    fn check_reports_cancel_before_limits() {
        let cancel = Cancel::default();
        let limits = Limits {
            call_cpu_ms_max: 0,
            ..Limits::default()
        };
        let mut meter = Meter::new(&limits, cancel.clone());
        meter.enter();
        while thread_cpu_ns() - meter.cpu_start_ns < 2_000_000 {}
        assert_eq!(
            meter.check().map_err(|f| f.code),
            Err("limit/guest-cpu".to_owned())
        );
        cancel.cancel();
        assert_eq!(
            meter.check().map_err(|f| f.class),
            Err(FailureClass::Cancelled)
        );
    }
}
