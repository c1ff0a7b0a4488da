//! A memory pool that remembers the most that was reserved, and may tell of less than it has.

use std::fmt;
use std::sync::atomic::Ordering;

use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use super::*;

/// Shares its memory as the engine does.
#[derive(Debug)]
pub(super) struct Watched {
    fair: FairSpillPool,
    bytes_told: usize,
    reserved_bytes: Arc<AtomicUsize>,
}

impl Watched {
    pub(super) fn new(bench: &Bench) -> Self {
        Self {
            fair: FairSpillPool::new(bench.memory_bytes_max),
            bytes_told: bench.memory_bytes_told,
            reserved_bytes: Arc::clone(&bench.reserved_bytes),
        }
    }

    fn note(&self) {
        let reserved = self.fair.reserved();
        self.reserved_bytes.fetch_max(reserved, Ordering::Relaxed);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fair)
    }
}

impl MemoryPool for Watched {
    fn name(&self) -> &'static str {
        "watched"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.fair.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.fair.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.fair.grow(reservation, additional);
        self.note();
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.fair.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.fair.try_grow(reservation, additional)?;
        self.note();
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.fair.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes_told)
    }
}
