//! Runs the partitions of a step: a few threads, each with one instance at a time, and their results in order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use tokio::sync::mpsc::{Sender, channel};

use super::Job;
use super::plan::Partition;
use super::store::{Collected, Collector, Keeping, Store};
use crate::exec::node_run::lock;
use crate::exec::pump::{End, Outlet, serve};
use crate::exec::session::{self, Place};
use crate::failure::{During, classify};
use crate::limits::QUEUE_BATCHES;

/// What comes of a partition.
enum Out {
    Batch(RecordBatch),
    /// What it gave before its turn.
    Kept(Box<Collected>),
}

type Queue = Sender<datafusion::error::Result<Out>>;

/// What the threads share.
struct Shared {
    job: Arc<Job>,
    of: usize,
    waiting: Mutex<VecDeque<(usize, Partition, Queue)>>,
    /// The partition whose results are handed on as they come.
    turn: AtomicUsize,
    /// No further partition is begun.
    over: AtomicBool,
    /// In memory, of results before their turn.
    kept_bytes: AtomicU64,
}

/// Runs them all.
pub(crate) fn run(
    outlet: &Outlet<RecordBatch>,
    job: Arc<Job>,
    partitions: Vec<Partition>,
) -> Result<(), End> {
    let of = partitions.len();
    let threads = job.ports.spec.share.instances.min(of);
    let name = format!("odibi-step-{}", job.ports.spec.index);
    let (mut queues, mut waiting) = (Vec::with_capacity(of), VecDeque::with_capacity(of));
    for (index, partition) in partitions.into_iter().enumerate() {
        let (sender, receiver) = channel(QUEUE_BATCHES);
        queues.push(receiver);
        waiting.push_back((index, partition, sender));
    }
    let shared = Arc::new(Shared {
        job,
        of,
        waiting: Mutex::new(waiting),
        turn: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        kept_bytes: AtomicU64::new(0),
    });
    let _over = Over(&shared.over);
    for _ in 0..threads {
        let worker = Arc::clone(&shared);
        let run = Arc::clone(outlet.run());
        outlet.run().spawn(&name, move || {
            while let Some((index, partition, queue)) = worker.next() {
                let outlet = Outlet::new(queue, Arc::clone(&run));
                let went = serve(&outlet, |outlet| work(outlet, &worker, index, &partition));
                if !went {
                    worker.over.store(true, Ordering::Release);
                }
            }
        })?;
    }
    for (index, mut queue) in queues.into_iter().enumerate() {
        shared.turn.store(index, Ordering::Release);
        while let Some(out) = outlet.wait(queue.recv())? {
            match out {
                Out::Batch(batch) => outlet.send(batch)?,
                Out::Kept(kept) => {
                    hand_on(outlet, &kept)?;
                    let bytes = kept.reservation.size() as u64;
                    shared.kept_bytes.fetch_sub(bytes, Ordering::AcqRel);
                }
            }
        }
    }
    Ok(())
}

/// Stops the threads when nobody takes their results any more.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Shared {
    fn next(&self) -> Option<(usize, Partition, Queue)> {
        if self.over.load(Ordering::Acquire) {
            // The queues end without a word; the one that failed comes before them.
            lock(&self.waiting).clear();
            return None;
        }
        lock(&self.waiting).pop_front()
    }
}

fn hand_on(outlet: &Outlet<RecordBatch>, kept: &Collected) -> Result<(), End> {
    for store in &kept.stores {
        for part in 0..store.parts() {
            for batch in store.part(part, 0)? {
                outlet.send(batch?)?;
            }
        }
    }
    Ok(())
}

/// One partition, from a fresh instance to its end.
fn work(
    outlet: &Outlet<Out>,
    shared: &Arc<Shared>,
    index: usize,
    partition: &Partition,
) -> Result<(), End> {
    let spec = &shared.job.ports.spec;
    let place = Place {
        partition: index,
        of: shared.of,
    };
    let (inputs, sorts) = {
        let _in_runtime = outlet.run().handle.enter();
        let inputs = shared.job.inputs(partition);
        inputs.map_err(|e| classify(&e, During::Run))?
    };
    let keeping = Keeping {
        whole_bytes_max: u64::MAX,
        ..shared.job.ports.keeping.clone()
    };
    let mut kept: Option<Collector> = None;
    let send_kept = |kept: &mut Option<Collector>| -> Result<(), End> {
        let Some(collector) = kept.take() else {
            return Ok(());
        };
        let held = collector.held_bytes();
        let collected = collector.finish()?;
        let written = held - collected.reservation.size() as u64;
        shared.kept_bytes.fetch_sub(written, Ordering::AcqRel);
        outlet.run().spilled(spec.index, collected.bytes_spilled);
        outlet.send(Out::Kept(Box::new(collected)))
    };
    let mut put = |batch: RecordBatch| -> Result<(), End> {
        if shared.turn.load(Ordering::Acquire) == index {
            send_kept(&mut kept)?;
            return outlet.send(Out::Batch(batch));
        }
        outlet.check_read()?;
        let collector = kept.get_or_insert_with(|| {
            let store = Store::new(batch.schema(), Vec::new(), Vec::new(), 0);
            Collector::new(vec![store], keeping.clone())
        });
        let before = collector.held_bytes();
        collector.push(0, batch)?;
        let held = collector.held_bytes();
        shared.kept_bytes.fetch_add(held, Ordering::AcqRel);
        let all = shared.kept_bytes.fetch_sub(before, Ordering::AcqRel) - before;
        if all > spec.share.held_bytes_max {
            collector.spill()?;
            shared.kept_bytes.fetch_sub(held, Ordering::AcqRel);
        }
        Ok(())
    };
    let driven = session::drive(outlet, spec, place, inputs, &mut put);
    for sort in sorts {
        let metrics = sort.metrics();
        let bytes = metrics.and_then(|m| m.spilled_bytes()).unwrap_or_default();
        outlet.run().spilled(spec.index, bytes as u64);
    }
    driven?;
    send_kept(&mut kept)
}
