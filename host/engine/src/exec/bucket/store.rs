//! What was read of the ports of a step, kept until its instances ask: in memory while that is cheap, then on disk.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use odibi_story::failure::Failure;

use super::divide::{Divided, Weight};
use super::shape::has_dictionaries;
use super::spill::{Segment, SegmentReader, SpillFile};
use crate::exec::node_run::lock;
use crate::failure::{During, classify};
use crate::limits::{BUCKETS, SPILL_BATCH_ROWS_MAX};

/// What one port gave.
#[derive(Debug)]
pub(crate) struct Store {
    schema: SchemaRef,
    /// Columns that decide the bucket; none for a port of one bucket.
    keys: Vec<usize>,
    /// Columns that enter the sandbox.
    need: Vec<usize>,
    /// Division of how many buckets inside each other.
    level: u32,
    weights: Vec<Weight>,
    /// On disk, in the order of the source.
    runs: Vec<Run>,
    /// In memory, behind the runs.
    held: Vec<Divided>,
    /// Small pieces can be put together.
    packs: bool,
}

/// What was written at once: a segment for each bucket.
#[derive(Debug)]
struct Run {
    file: Arc<File>,
    segments: Vec<Segment>,
}

impl Store {
    /// A port whose rows are divided by these columns, or not at all when there are none.
    pub(crate) fn new(schema: SchemaRef, keys: Vec<usize>, need: Vec<usize>, level: u32) -> Self {
        Self {
            packs: !has_dictionaries(&schema),
            schema,
            keys,
            need,
            level,
            weights: vec![Weight::default()],
            runs: Vec::new(),
            held: Vec::new(),
        }
    }

    /// An empty one for the rows of a bucket of this one.
    fn deeper(&self) -> Self {
        let (keys, need) = (self.keys.clone(), self.need.clone());
        Self::new(Arc::clone(&self.schema), keys, need, self.level + 1)
    }

    /// How often its rows were divided before.
    pub(crate) fn level(&self) -> u32 {
        self.level
    }

    /// What lies in each bucket.
    pub(crate) fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// Is it divided by key?
    pub(crate) fn is_keyed(&self) -> bool {
        !self.keys.is_empty()
    }

    fn push(&mut self, divided: Divided) {
        divided.weigh(&self.need, &mut self.weights);
        self.held.push(divided);
    }

    fn divide(&mut self) -> Result<(), Failure> {
        if self.is_keyed() {
            self.weights = vec![Weight::default(); BUCKETS];
            for whole in std::mem::take(&mut self.held) {
                let divided = Divided::by_hash(whole.batch, &self.keys, self.level)?;
                self.push(divided);
            }
        }
        Ok(())
    }

    fn spill(&mut self, file: &mut SpillFile) -> Result<(), Failure> {
        let held = std::mem::take(&mut self.held);
        let buckets = held.first().map_or(0, Divided::buckets);
        let mut segments = vec![Segment::default(); buckets];
        for (bucket, segment) in segments.iter_mut().enumerate() {
            let mut pieces = held.iter().filter_map(|d| d.of(bucket)).peekable();
            if pieces.peek().is_some() {
                let batches = Packed {
                    schema: &self.schema,
                    rows_max: if self.packs { SPILL_BATCH_ROWS_MAX } else { 0 },
                    pieces,
                    next: None,
                };
                *segment = file.append(&self.schema, batches)?;
            }
        }
        if buckets > 0 {
            let file = file.handle();
            self.runs.push(Run { file, segments });
        }
        Ok(())
    }

    /// The parts that a bucket lies in, in the order of the source.
    pub(crate) fn parts(&self) -> usize {
        self.runs.len() + self.held.len()
    }

    /// The rows of a bucket in one of the parts.
    pub(crate) fn part(&self, part: usize, bucket: usize) -> Result<Part, Failure> {
        if let Some(run) = self.runs.get(part) {
            let reader = SegmentReader::open(&run.file, run.segments[bucket])?;
            return Ok(Part::Disk(reader));
        }
        let held = self.held.get(part - self.runs.len());
        Ok(Part::Memory(held.and_then(|d| d.of(bucket))))
    }
}

/// Batches of a bucket in one part.
pub(crate) enum Part {
    Memory(Option<RecordBatch>),
    Disk(Option<SegmentReader>),
}

impl Iterator for Part {
    type Item = Result<RecordBatch, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Memory(batch) => batch.take().map(Ok),
            Self::Disk(reader) => reader.as_mut()?.next(),
        }
    }
}

/// Small pieces put together.
struct Packed<'a, I: Iterator<Item = RecordBatch>> {
    schema: &'a SchemaRef,
    rows_max: usize,
    pieces: I,
    next: Option<RecordBatch>,
}

impl<I: Iterator<Item = RecordBatch>> Iterator for Packed<'_, I> {
    type Item = Result<RecordBatch, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut together: Vec<RecordBatch> = self.next.take().into_iter().collect();
        let mut rows: usize = together.iter().map(RecordBatch::num_rows).sum();
        for piece in self.pieces.by_ref() {
            rows += piece.num_rows();
            if rows > self.rows_max && !together.is_empty() {
                self.next = Some(piece);
                break;
            }
            together.push(piece);
        }
        match together.as_slice() {
            [] => None,
            [one] => Some(Ok(one.clone())),
            many => Some(concat_batches(self.schema, many).map_err(|e| classify(&e, During::Run))),
        }
    }
}

/// When what is read is divided and written.
#[derive(Debug, Clone)]
pub(crate) struct Keeping {
    /// Kept in memory at most, all ports together.
    pub(crate) held_bytes_max: u64,
    /// Undivided at most.
    pub(crate) whole_bytes_max: u64,
    pub(crate) scratch: PathBuf,
    pub(crate) pool: Arc<dyn MemoryPool>,
    /// Shared by all that a step keeps: there may be thousands of partitions.
    pub(crate) file: Arc<Mutex<Option<SpillFile>>>,
}

/// Reads the ports of a step to their ends.
pub(crate) struct Collector {
    stores: Vec<Store>,
    keeping: Keeping,
    reservation: MemoryReservation,
    divided: bool,
    bytes_spilled: u64,
}

/// What a collector leaves behind.
pub(crate) struct Collected {
    pub(crate) stores: Vec<Store>,
    pub(crate) bytes_spilled: u64,
    /// Of what is held in memory.
    pub(crate) reservation: MemoryReservation,
}

impl Collector {
    /// With a store for each port.
    pub(crate) fn new(stores: Vec<Store>, keeping: Keeping) -> Self {
        let reservation = MemoryConsumer::new("buckets")
            .with_can_spill(true)
            .register(&keeping.pool);
        Self {
            stores,
            keeping,
            reservation,
            divided: false,
            bytes_spilled: 0,
        }
    }

    /// For the rows of a bucket of these.
    fn deeper(stores: &[Store], keeping: &Keeping) -> Self {
        let keeping = Keeping {
            whole_bytes_max: 0,
            ..keeping.clone()
        };
        Self::new(stores.iter().map(Store::deeper).collect(), keeping)
    }

    /// Takes a batch of a port.
    pub(crate) fn push(&mut self, port: usize, batch: RecordBatch) -> Result<(), Failure> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let store = &mut self.stores[port];
        let divided = if self.divided && store.is_keyed() {
            Divided::by_hash(batch, &store.keys, store.level)?
        } else {
            Divided::whole(batch)
        };
        let bytes = divided.batch.get_array_memory_size();
        store.push(divided);
        if !self.divided && self.weight().bytes > self.keeping.whole_bytes_max {
            self.divide()?;
        }
        let refused = self.reservation.try_grow(bytes).is_err();
        if refused || self.held_bytes() > self.keeping.held_bytes_max {
            self.spill()?;
        }
        Ok(())
    }

    fn weight(&self) -> Weight {
        let mut sum = Weight::default();
        let all = self.stores.iter().flat_map(Store::weights);
        all.for_each(|weight| sum.add(weight));
        sum
    }

    fn divide(&mut self) -> Result<(), Failure> {
        self.divided = true;
        self.stores.iter_mut().try_for_each(Store::divide)
    }

    /// Bytes in memory.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.reservation.size() as u64
    }

    /// Writes what is in memory.
    pub(crate) fn spill(&mut self) -> Result<(), Failure> {
        if !self.divided {
            self.divide()?;
        }
        let mut file = lock(&self.keeping.file);
        let file = match file.as_mut() {
            Some(file) => file,
            None => file.insert(SpillFile::create(&self.keeping.scratch)?),
        };
        let before = file.bytes();
        for store in &mut self.stores {
            store.spill(file)?;
        }
        file.flush()?;
        self.bytes_spilled += file.bytes() - before;
        self.reservation.free();
        Ok(())
    }

    /// All ports have ended.
    pub(crate) fn finish(mut self) -> Result<Collected, Failure> {
        if self.bytes_spilled > 0 {
            // What is left in memory would be missing to the instances.
            self.spill()?;
        }
        Ok(Collected {
            stores: self.stores,
            bytes_spilled: self.bytes_spilled,
            reservation: self.reservation,
        })
    }
}

/// Divides one bucket of these stores further. `stop` is asked between batches.
pub(crate) fn divide_further(
    stores: &[Store],
    bucket: usize,
    keeping: &Keeping,
    stop: &dyn Fn() -> Result<(), Failure>,
) -> Result<Collected, Failure> {
    let mut collector = Collector::deeper(stores, keeping);
    for (port, store) in stores.iter().enumerate() {
        for part in 0..store.parts() {
            for batch in store.part(part, bucket)? {
                stop()?;
                collector.push(port, batch?)?;
            }
        }
    }
    collector.finish()
}
