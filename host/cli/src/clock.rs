//! The one place that reads the machine's clock.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the adapter behind the `Clock` port"
)]

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use odibi_run::port::Clock;

/// The clock of this machine.
pub(crate) struct SystemClock {
    started: Instant,
}

impl SystemClock {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}
