//! A step without state between batches: several instances at once, the order of the batches kept.
//!
//! One thread hands the batches of the input to the instances; the answers stand in a queue in the order of the
//! batches, so that the reader waits for the next in order whatever finishes first. The length of that queue bounds
//! what is in flight.
//!
//! When a batch fails, its rows to blame are searched for. Where they are set aside, the instance's thread does so at
//! once; otherwise only the first failure in the order of the batches is looked into, when the reader comes to it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};

use arrow_array::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream::{self, StreamExt as _, poll_fn};
use odibi_run::port::Appetite;
use odibi_story::failure::{Failure, FailureClass, code};
use tokio::sync::oneshot;

use super::blame::{after_the_last, named, too_many};
use super::bucket::shared::Lookups;
use super::isolate::{Found, Halt, Purpose, Suspect, may_be_of_rows, search};
use super::node_run::{NodeRun, lock};
use super::pump::{End, Outlet, panicked, start};
use super::rebatch::Rebatch;
use super::session::{Driven, offered};
use super::transform::StepSpec;
use crate::failure::carry;
use crate::limits::{ISOLATION_STEP_INSTANCES_MAX, QUARANTINE_ROWS_MAX};
use crate::reason::Reason;

/// Answers in flight for each instance.
const IN_FLIGHT_PER_INSTANCE: usize = 2;

/// What came of a batch.
enum Answer {
    /// It went through, rows that were set aside excepted.
    Done(Vec<RecordBatch>, Option<Box<SetAside>>),
    /// It failed, perhaps on its rows. The instance is gone.
    Suspect(Box<Suspect>),
    /// It failed on something else.
    Failed(Box<Failure>),
}

/// Rows to blame, on their way to the quarantine.
struct SetAside {
    suspect: Suspect,
    found: Found,
}

/// A place in the order of the answers.
enum Pending {
    Batch(oneshot::Receiver<Answer>),
    /// What an instance still had at its end.
    Tail(oneshot::Receiver<Answer>),
}

struct Work {
    batch: RecordBatch,
    rows_before: u64,
    answer: oneshot::Sender<Answer>,
}

/// What the instances share.
struct Shared {
    run: Arc<NodeRun>,
    spec: Arc<StepSpec>,
    /// The port whose batches are handed out.
    port: usize,
    lookups: Arc<Lookups>,
    queue: Mutex<Receiver<Work>>,
    /// Batches that no instance has taken yet.
    waiting: AtomicUsize,
    enough: AtomicBool,
}

/// Takes the answers in order.
struct Reader {
    run: Arc<NodeRun>,
    spec: Arc<StepSpec>,
    /// There once the first batch was handed out.
    lookups: OnceLock<Arc<Lookups>>,
    rows_set_aside: AtomicU64,
    instances_for_search: AtomicU64,
}

/// Runs a step over the ordered input of one port, for which instances are made ready with those of all others.
pub(crate) fn execute(
    run: Arc<NodeRun>,
    spec: Arc<StepSpec>,
    port: usize,
    inputs: Vec<SendableRecordBatchStream>,
    context: Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let schema = Arc::clone(&spec.plan.output);
    let room = spec.instances_max * IN_FLIGHT_PER_INSTANCE;
    let name = format!("odibi-feed-{}", spec.index);
    let reader = Arc::new(Reader {
        run: Arc::clone(&run),
        spec: Arc::clone(&spec),
        lookups: OnceLock::new(),
        rows_set_aside: AtomicU64::new(0),
        instances_for_search: AtomicU64::new(0),
    });
    let tell = Arc::clone(&reader);
    let mut answers = start(&name, run, room, move |outlet| {
        let mut inputs: Vec<_> = inputs.into_iter().enumerate().collect();
        let (_, input) = inputs.remove(port);
        let lookups = Arc::new(Lookups::read(outlet, &spec, &context, inputs)?);
        let _ = tell.lookups.set(Arc::clone(&lookups));
        hand_out(outlet, spec, port, lookups, input)
    })?;
    let in_order = poll_fn(move |context| answers.poll_recv(context))
        .then(move |next| read(Arc::clone(&reader), next))
        .flat_map(stream::iter);
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, in_order)))
}

async fn read(reader: Arc<Reader>, next: Result<Pending>) -> Vec<Result<RecordBatch>> {
    let (answered, tail) = match next {
        Ok(Pending::Batch(answered)) => (answered, false),
        Ok(Pending::Tail(answered)) => (answered, true),
        Err(error) => return vec![Err(error)],
    };
    let taken = match answered.await {
        Ok(Answer::Done(batches, set_aside)) => reader
            .take(set_aside, tail && batches.iter().any(|b| b.num_rows() > 0))
            .map(|()| batches),
        Ok(Answer::Suspect(suspect)) => Err(reader.look_into(suspect).await),
        Ok(Answer::Failed(failure)) => Err(*failure),
        // An instance that failed said so under the batch it failed with, which comes before this one.
        Err(_) => Ok(Vec::new()),
    };
    match taken {
        Ok(batches) => batches
            .into_iter()
            .filter(|b| b.num_rows() > 0)
            .map(Ok)
            .collect(),
        Err(failure) => vec![Err(carry(failure))],
    }
}

impl Reader {
    /// Sends rejected rows on their way. `held` says that an instance had kept rows until its end.
    fn take(&self, set_aside: Option<Box<SetAside>>, held: bool) -> Result<(), Failure> {
        if held && self.instances_for_search.load(Ordering::Relaxed) > 0 {
            let message = "the operation keeps rows until its end, so those of an instance that failed are lost";
            return Err(
                Failure::new(FailureClass::Contract, code::QUARANTINE_HELD_ROWS, message)
                    .at_step(self.spec.index)
                    .hint(
                        "remove `on_row_error: quarantine` and mend the rows in front of the step",
                    ),
            );
        }
        let Some(set_aside) = set_aside else {
            return Ok(());
        };
        let SetAside { suspect, found } = *set_aside;
        let (rows, instances) = (found.blamed.len() as u64, found.instances as u64);
        let rows_before = self.rows_set_aside.fetch_add(rows, Ordering::Relaxed);
        let instances_before = self
            .instances_for_search
            .fetch_add(instances, Ordering::Relaxed);
        if rows_before + rows > QUARANTINE_ROWS_MAX
            || instances_before + instances > ISOLATION_STEP_INSTANCES_MAX
        {
            return Err(too_many(&self.spec, &suspect, &found, None));
        }
        let rejected: Vec<(u64, usize, Reason)> = found
            .blamed
            .into_iter()
            .map(|blamed| {
                let number = suspect.rows_before + blamed.at as u64 + 1;
                (number, blamed.at, blamed.reason)
            })
            .collect();
        self.run.reject(self.spec.index, &suspect.batch, &rejected)
    }

    /// Finds out which rows a failing node fails on, on a thread of its own.
    async fn look_into(&self, suspect: Box<Suspect>) -> Failure {
        let bare = suspect.failure.clone();
        let (run, spec) = (Arc::clone(&self.run), Arc::clone(&self.spec));
        let Some(lookups) = self.lookups.get().map(Arc::clone) else {
            return bare;
        };
        let (tell, told) = oneshot::channel();
        let name = format!("odibi-search-{}", spec.index);
        let body = move || {
            let failure = catch_unwind(AssertUnwindSafe(|| {
                let gone = || tell.is_closed();
                let (found, halt) = search(&run, &spec, &lookups, &suspect, Purpose::Naming, &gone);
                named(&spec, &suspect, &found, halt.as_ref())
            }))
            .unwrap_or_else(|panic| panicked(panic.as_ref()));
            // Nobody is there to hear of it when this fails.
            let _ = tell.send(failure);
        };
        match self.run.spawn(&name, body) {
            Ok(()) => told.await.unwrap_or(bare),
            // What the system refused is not why the node fails.
            Err(_) => bare,
        }
    }
}

fn hand_out(
    outlet: &Outlet<Pending>,
    spec: Arc<StepSpec>,
    port: usize,
    lookups: Arc<Lookups>,
    mut input: SendableRecordBatchStream,
) -> Result<(), End> {
    let (sender, receiver) = channel();
    let mut rebatch = Rebatch::new(&spec.plan.inputs[port].offered, spec.batch_rows);
    let shared = Arc::new(Shared {
        run: Arc::clone(outlet.run()),
        spec: Arc::clone(&spec),
        port,
        lookups,
        queue: Mutex::new(receiver),
        waiting: AtomicUsize::new(0),
        enough: AtomicBool::new(false),
    });
    let mut tails = Vec::new();
    let mut rows_before = 0;
    loop {
        let next = outlet.receive(&mut input)?;
        let ended = next.is_none();
        let ready = match next {
            Some(batch) => rebatch.push(offered(&batch, &spec.plan.inputs[port].offered)?)?,
            None => rebatch.flush()?,
        };
        for batch in ready {
            if shared.enough.load(Ordering::Acquire) {
                break;
            }
            let rows = batch.num_rows() as u64;
            hand_over(outlet, &shared, &sender, (batch, rows_before), &mut tails)?;
            rows_before += rows;
        }
        if ended || shared.enough.load(Ordering::Acquire) {
            break;
        }
    }
    drop(input);
    drop(sender);
    let mut tails = tails.into_iter().map(Pending::Tail);
    tails.try_for_each(|tail| outlet.send(tail))
}

fn hand_over(
    outlet: &Outlet<Pending>,
    shared: &Arc<Shared>,
    sender: &Sender<Work>,
    (batch, rows_before): (RecordBatch, u64),
    tails: &mut Vec<oneshot::Receiver<Answer>>,
) -> Result<(), End> {
    let (answer, answered) = oneshot::channel();
    outlet.send(Pending::Batch(answered))?;
    let busy = shared.waiting.fetch_add(1, Ordering::AcqRel) > 0;
    if tails.is_empty() || (busy && tails.len() < shared.spec.instances_max) {
        let (tail, tail_answered) = oneshot::channel();
        let worker = Arc::clone(shared);
        let name = format!("odibi-step-{}", shared.spec.index);
        shared.run.spawn(&name, move || work(&worker, tail))?;
        tails.push(tail_answered);
    }
    let work = Work {
        batch,
        rows_before,
        answer,
    };
    sender.send(work).map_err(|_| End::Unread)
}

/// One instance: takes batches until there are no more, then says what it still had.
fn work(shared: &Arc<Shared>, tail: oneshot::Sender<Answer>) {
    let mut driven: Option<Driven> = None;
    loop {
        let next = lock(&shared.queue).recv();
        let Ok(work) = next else {
            break;
        };
        shared.waiting.fetch_sub(1, Ordering::AcqRel);
        let Work {
            batch,
            rows_before,
            answer,
        } = work;
        let gone = || answer.is_closed();
        let processed = catch_unwind(AssertUnwindSafe(|| {
            process(shared, &mut driven, batch, rows_before, &gone)
        }))
        .unwrap_or_else(|panic| Answer::Failed(Box::new(panicked(panic.as_ref()))));
        let failed = !matches!(processed, Answer::Done(..));
        if failed {
            // What comes after it is not wanted any more.
            shared.enough.store(true, Ordering::Release);
        }
        // Nobody is there to hear of it when this fails.
        let unread = answer.send(processed).is_err();
        if failed || unread {
            return;
        }
    }
    if let Some(mut driven) = driven {
        let ended = driven.drain(shared.port).and_then(|mut out| {
            out.extend(driven.finish()?);
            Ok(out)
        });
        // The record is taken before the reader learns that the stream has ended.
        drop(driven);
        let _ = tail.send(match ended {
            Ok(out) => Answer::Done(out, None),
            Err(failure) => Answer::Failed(Box::new(after_the_last(failure))),
        });
    }
}

fn process(
    shared: &Arc<Shared>,
    driven: &mut Option<Driven>,
    batch: RecordBatch,
    rows_before: u64,
    gone: &dyn Fn() -> bool,
) -> Answer {
    let failed = |failure| Answer::Failed(Box::new(failure));
    if shared.run.stopped() {
        return failed(crate::failure::cancelled());
    }
    // What an only instance does must not depend on how many batches lay ready when it had enough.
    if shared.spec.instances_max == 1 && shared.enough.load(Ordering::Acquire) {
        return Answer::Done(Vec::new(), None);
    }
    let open = match driven {
        Some(driven) => driven,
        // Which instance sees which batch is chance, so all are told the same partition.
        None => match Driven::open_with(&shared.run, &shared.spec, &shared.lookups) {
            Ok(opened) => driven.insert(opened),
            Err(failure) => return failed(failure),
        },
    };
    let failure = match open.process(shared.port, &batch) {
        Ok((out, appetite)) => {
            if appetite == Appetite::Enough {
                shared.enough.store(true, Ordering::Release);
            }
            return Answer::Done(out, None);
        }
        Err(failure) => failure,
    };
    let cpu_ns = open.call_cpu_ns();
    // Its memory is free before another one is opened.
    *driven = None;
    if !may_be_of_rows(&failure) {
        return failed(failure);
    }
    let suspect = Suspect {
        batch,
        port: shared.port,
        rows_before,
        failure,
        cpu_ns,
    };
    if shared.spec.quarantines {
        set_aside(shared, driven, suspect, gone)
    } else {
        Answer::Suspect(Box::new(suspect))
    }
}

/// Finds the rows to blame, and what the others give.
fn set_aside(
    shared: &Arc<Shared>,
    driven: &mut Option<Driven>,
    suspect: Suspect,
    gone: &dyn Fn() -> bool,
) -> Answer {
    let (run, spec) = (&shared.run, &shared.spec);
    let lookups = &shared.lookups;
    let (mut found, halt) = search(run, spec, lookups, &suspect, Purpose::SettingAside, gone);
    if let Some(halt) = halt {
        let failure = match halt {
            Halt::Costly { .. } => too_many(spec, &suspect, &found, Some(&halt)),
            Halt::Failed(_) | Halt::Together { .. } => named(spec, &suspect, &found, Some(&halt)),
        };
        return Answer::Failed(Box::new(failure));
    }
    if found.enough {
        shared.enough.store(true, Ordering::Release);
    }
    *driven = found.driven.take();
    let out = std::mem::take(&mut found.out);
    Answer::Done(out, Some(Box::new(SetAside { suspect, found })))
}
