//! Which buckets go to which instance: small ones together, too large ones divided again.

use std::ops::Range;
use std::sync::Arc;

use datafusion::execution::memory_pool::MemoryReservation;
use odibi_story::failure::Failure;

use super::Share;
use super::divide::{LEVELS_MAX, Weight};
use super::store::{Collected, Keeping, Store, divide_further};

/// Ports that were divided together.
#[derive(Debug)]
pub(crate) struct Shelf {
    stores: Vec<Store>,
    /// Of what the stores hold in memory.
    _reservation: MemoryReservation,
}

impl Shelf {
    pub(crate) fn new(collected: Collected) -> (Self, u64) {
        let shelf = Self {
            stores: collected.stores,
            _reservation: collected.reservation,
        };
        (shelf, collected.bytes_spilled)
    }

    pub(crate) fn store(&self, index: usize) -> &Store {
        &self.stores[index]
    }

    /// Of some buckets of a store.
    pub(crate) fn weight(&self, store: usize, buckets: Range<usize>) -> Weight {
        let mut sum = Weight::default();
        let weights = self.stores[store].weights().get(buckets);
        weights.into_iter().flatten().for_each(|w| sum.add(w));
        sum
    }

    /// Of each bucket, all ports that have it together.
    fn weights(&self, keyed: usize) -> Vec<Weight> {
        let buckets = self.stores.first().map_or(0, |s| s.weights().len());
        let mut sums = vec![Weight::default(); buckets];
        for store in &self.stores[..keyed] {
            let pairs = sums.iter_mut().zip(store.weights());
            pairs.for_each(|(sum, weight)| sum.add(weight));
        }
        sums
    }
}

/// What one instance is given of the ports that are divided.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) buckets: Range<usize>,
}

/// Lays the buckets of a shelf, whose first stores are divided, out over instances; at least one. Returns also what was
/// spilled for it.
pub(crate) fn partitions(
    shelf: &Arc<Shelf>,
    keyed: usize,
    share: &Share,
    keeping: &Keeping,
    stop: &dyn Fn() -> Result<(), Failure>,
) -> Result<(Vec<Partition>, u64), Failure> {
    let mut layout = Layout {
        share,
        keeping,
        stop,
        partitions: Vec::new(),
        bytes_spilled: 0,
    };
    layout.place(shelf, keyed)?;
    if layout.partitions.is_empty() {
        layout.close(shelf, 0..shelf.weights(keyed).len());
    }
    Ok((layout.partitions, layout.bytes_spilled))
}

struct Layout<'a> {
    share: &'a Share,
    keeping: &'a Keeping,
    stop: &'a dyn Fn() -> Result<(), Failure>,
    partitions: Vec<Partition>,
    bytes_spilled: u64,
}

impl Layout<'_> {
    fn close(&mut self, shelf: &Arc<Shelf>, buckets: Range<usize>) {
        if !buckets.is_empty() {
            let shelf = Arc::clone(shelf);
            self.partitions.push(Partition { shelf, buckets });
        }
    }

    fn place(&mut self, shelf: &Arc<Shelf>, keyed: usize) -> Result<(), Failure> {
        let weights = shelf.weights(keyed);
        let level = shelf.store(0).level();
        let most = self.share.data_bytes_max.max(1);
        let all: u64 = weights.iter().map(load).sum();
        let instances = if level == 0 { self.share.instances } else { 1 };
        let parts = (instances as u64).max(all.div_ceil(most)).max(1);
        let (mut open, mut held, mut before, mut closed) = (0..0, 0, 0, 0);
        for (bucket, weight) in weights.iter().enumerate() {
            let load = load(weight);
            if load == 0 {
                continue;
            }
            let further = load > most && weights.len() > 1 && level < LEVELS_MAX;
            if further || held + load > most {
                self.close(shelf, std::mem::replace(&mut open, 0..0));
                held = 0;
            }
            before += load;
            if further && self.divide(shelf, keyed, bucket, weight.rows)? {
                continue;
            }
            let start = if open.is_empty() { bucket } else { open.start };
            (open, held) = (start..bucket + 1, held + load);
            // The next part of `parts` equal ones is full.
            if before * parts >= (closed + 1) * all {
                self.close(shelf, std::mem::replace(&mut open, 0..0));
                (held, closed) = (0, before * parts / all);
            }
        }
        self.close(shelf, open);
        Ok(())
    }

    /// Divides a bucket that is too large. False when that leads nowhere: its rows have one key, or as good as one.
    fn divide(
        &mut self,
        shelf: &Arc<Shelf>,
        keyed: usize,
        bucket: usize,
        rows: u64,
    ) -> Result<bool, Failure> {
        let stores = &shelf.stores[..keyed];
        let divided = divide_further(stores, bucket, self.keeping, self.stop)?;
        let (deeper, bytes_spilled) = Shelf::new(divided);
        self.bytes_spilled += bytes_spilled;
        if deeper.weights(keyed).iter().any(|w| w.rows == rows) {
            return Ok(false);
        }
        self.place(&Arc::new(deeper), keyed)?;
        Ok(true)
    }
}

/// What a bucket asks of an instance. Rows count, also when none of their columns is needed.
fn load(weight: &Weight) -> u64 {
    weight.bytes_of_need + weight.rows
}
