//! A step without state between batches: several instances at once, the order of the batches kept.
//!
//! One thread hands the batches of the input to the instances; the answers stand in a queue in the order of the
//! batches, so that the reader waits for the next in order whatever finishes first. The length of that queue bounds
//! what is in flight.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream::{self, StreamExt as _, poll_fn};
use odibi_run::port::Appetite;
use odibi_story::failure::Failure;
use tokio::sync::oneshot;

use super::node_run::{NodeRun, lock};
use super::pump::{End, Outlet, panicked, start};
use super::rebatch::Rebatch;
use super::session::{Driven, offered};
use super::transform::StepSpec;
use crate::failure::carry;

/// Answers in flight for each instance.
const IN_FLIGHT_PER_INSTANCE: usize = 2;

type Answer = Result<Vec<RecordBatch>, Failure>;

struct Work {
    batch: RecordBatch,
    answer: oneshot::Sender<Answer>,
}

/// What the instances share.
struct Shared {
    run: Arc<NodeRun>,
    spec: Arc<StepSpec>,
    queue: Mutex<Receiver<Work>>,
    /// Batches that no instance has taken yet.
    waiting: AtomicUsize,
    enough: AtomicBool,
}

/// Runs a step of one port over one ordered input.
pub(crate) fn execute(
    run: Arc<NodeRun>,
    spec: Arc<StepSpec>,
    input: SendableRecordBatchStream,
) -> Result<SendableRecordBatchStream> {
    let schema = Arc::clone(&spec.plan.output);
    let room = spec.instances_max * IN_FLIGHT_PER_INSTANCE;
    let name = format!("odibi-feed-{}", spec.index);
    let mut answers = start(&name, run, room, move |outlet| {
        hand_out(outlet, spec, input)
    })?;
    let in_order = poll_fn(move |context| answers.poll_recv(context))
        .then(wait)
        .flat_map(stream::iter);
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, in_order)))
}

async fn wait(next: Result<oneshot::Receiver<Answer>>) -> Vec<Result<RecordBatch>> {
    match next {
        Err(error) => vec![Err(error)],
        Ok(answer) => match answer.await {
            Ok(Ok(batches)) => batches
                .into_iter()
                .filter(|b| b.num_rows() > 0)
                .map(Ok)
                .collect(),
            Ok(Err(failure)) => vec![Err(carry(failure))],
            // An instance that failed said so under the batch it failed with, which comes before this one.
            Err(_) => Vec::new(),
        },
    }
}

fn hand_out(
    outlet: &Outlet<oneshot::Receiver<Answer>>,
    spec: Arc<StepSpec>,
    mut input: SendableRecordBatchStream,
) -> Result<(), End> {
    let (sender, receiver) = channel();
    let mut rebatch = Rebatch::new(&spec.plan.inputs[0].offered, spec.batch_rows);
    let shared = Arc::new(Shared {
        run: Arc::clone(outlet.run()),
        spec: Arc::clone(&spec),
        queue: Mutex::new(receiver),
        waiting: AtomicUsize::new(0),
        enough: AtomicBool::new(false),
    });
    let mut tails = Vec::new();
    loop {
        let next = outlet.receive(&mut input)?;
        let ended = next.is_none();
        let ready = match next {
            Some(batch) => rebatch.push(offered(&batch, &spec.plan.inputs[0].offered)?)?,
            None => rebatch.flush()?,
        };
        for batch in ready {
            if shared.enough.load(Ordering::Acquire) {
                break;
            }
            hand_over(outlet, &shared, &sender, batch, &mut tails)?;
        }
        if ended || shared.enough.load(Ordering::Acquire) {
            break;
        }
    }
    drop(input);
    drop(sender);
    tails.into_iter().try_for_each(|tail| outlet.send(tail))
}

fn hand_over(
    outlet: &Outlet<oneshot::Receiver<Answer>>,
    shared: &Arc<Shared>,
    sender: &Sender<Work>,
    batch: RecordBatch,
    tails: &mut Vec<oneshot::Receiver<Answer>>,
) -> Result<(), End> {
    let (answer, answered) = oneshot::channel();
    outlet.send(answered)?;
    let busy = shared.waiting.fetch_add(1, Ordering::AcqRel) > 0;
    if tails.is_empty() || (busy && tails.len() < shared.spec.instances_max) {
        let (tail, tail_answered) = oneshot::channel();
        let worker = Arc::clone(shared);
        let name = format!("odibi-step-{}", shared.spec.index);
        shared.run.spawn(&name, move || work(&worker, tail))?;
        tails.push(tail_answered);
    }
    sender.send(Work { batch, answer }).map_err(|_| End::Unread)
}

/// One instance: takes batches until there are no more, then says what it still had.
fn work(shared: &Arc<Shared>, tail: oneshot::Sender<Answer>) {
    let mut driven: Option<Driven> = None;
    loop {
        let next = lock(&shared.queue).recv();
        let Ok(Work { batch, answer }) = next else {
            break;
        };
        shared.waiting.fetch_sub(1, Ordering::AcqRel);
        let processed = catch_unwind(AssertUnwindSafe(|| process(shared, &mut driven, &batch)))
            .unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
        let failed = processed.is_err();
        // Nobody is there to hear of it when this fails.
        let unread = answer.send(processed).is_err();
        if failed || unread {
            return;
        }
    }
    if let Some(mut driven) = driven {
        let ended = driven.drain(0).and_then(|mut out| {
            out.extend(driven.finish()?);
            Ok(out)
        });
        // The record is taken before the reader learns that the stream has ended.
        drop(driven);
        let _ = tail.send(ended);
    }
}

fn process(shared: &Arc<Shared>, driven: &mut Option<Driven>, batch: &RecordBatch) -> Answer {
    if shared.run.stopped() {
        return Err(crate::failure::cancelled());
    }
    let driven = match driven {
        Some(driven) => driven,
        // Which instance sees which batch is chance, so all are told the same partition.
        None => driven.insert(Driven::open(&shared.run, &shared.spec, 0, 1)?),
    };
    let (out, appetite) = driven.process(0, batch)?;
    if appetite == Appetite::Enough {
        shared.enough.store(true, Ordering::Release);
    }
    Ok(out)
}
