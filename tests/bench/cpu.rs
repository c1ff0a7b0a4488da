//! CPU time, which other programs on the machine hardly change.

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread.
pub(crate) fn cpu_nanos(work: impl FnOnce()) -> f64 {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
    };
    let start = now();
    work();
    now() - start
}
