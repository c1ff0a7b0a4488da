//! Blocking code as a stream of batches: a thread, a short queue, and no way to hang.
//!
//! The thread waits in two places only: for room in its queue, which ends when the reader goes away, and for its
//! inputs, which it gives up when the reader goes away. So dropping the last stream of a plan ends every thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;
use futures::stream::poll_fn;
use odibi_story::failure::Failure;
use tokio::sync::mpsc::{Sender, channel};

use super::node_run::NodeRun;
use crate::failure::{During, cancelled, carry, classify, internal, panic_text};
use crate::limits::QUEUE_BATCHES;

/// Why a thread ends early.
#[derive(Debug)]
pub(crate) enum End {
    /// Something went wrong.
    Failed(Box<Failure>),
    /// Nobody reads any more.
    Unread,
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// The thread's side of the queue.
pub(crate) struct Outlet<T> {
    queue: Sender<Result<T>>,
    run: Arc<NodeRun>,
}

impl<T: Send> Outlet<T> {
    pub(crate) fn new(queue: Sender<Result<T>>, run: Arc<NodeRun>) -> Self {
        Self { queue, run }
    }

    /// Hands something on. Waits for room.
    pub(crate) fn send(&self, item: T) -> Result<(), End> {
        self.queue.blocking_send(Ok(item)).map_err(|_| End::Unread)
    }

    /// The next batch of an input.
    pub(crate) fn receive(
        &self,
        input: &mut SendableRecordBatchStream,
    ) -> Result<Option<RecordBatch>, End> {
        self.wait(input.next())
    }

    /// Waits for something, as long as somebody reads.
    pub(crate) fn wait<N>(
        &self,
        next: impl Future<Output = Option<Result<N>>>,
    ) -> Result<Option<N>, End> {
        if self.run.stopped() {
            return Err(cancelled().into());
        }
        let next = self.run.handle.block_on(async {
            tokio::select! {
                biased;
                () = self.queue.closed() => None,
                next = next => Some(next),
            }
        });
        match next {
            None => Err(End::Unread),
            Some(None) => Ok(None),
            Some(Some(Ok(next))) => Ok(Some(next)),
            Some(Some(Err(error))) => Err(classify(&error, During::Run).into()),
        }
    }

    /// Does anybody read?
    pub(crate) fn check_read(&self) -> Result<(), End> {
        if self.queue.is_closed() {
            return Err(End::Unread);
        }
        Ok(())
    }

    /// The attempt it works for.
    pub(crate) fn run(&self) -> &Arc<NodeRun> {
        &self.run
    }
}

/// Starts a thread whose batches become a stream.
pub(crate) fn pump(
    schema: SchemaRef,
    name: &str,
    run: Arc<NodeRun>,
    body: impl FnOnce(&Outlet<RecordBatch>) -> Result<(), End> + Send + 'static,
) -> Result<SendableRecordBatchStream> {
    let mut receiver = start(name, run, QUEUE_BATCHES, body)?;
    let stream = poll_fn(move |context| receiver.poll_recv(context));
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
}

/// Starts a thread that fills a queue.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    run: Arc<NodeRun>,
    room: usize,
    body: impl FnOnce(&Outlet<T>) -> Result<(), End> + Send + 'static,
) -> Result<tokio::sync::mpsc::Receiver<Result<T>>> {
    let (queue, receiver) = channel(room.max(1));
    let threads = Arc::clone(&run);
    let thread = move || {
        serve(&Outlet { queue, run }, body);
    };
    threads.spawn(name, thread).map_err(carry)?;
    Ok(receiver)
}

/// Fills a queue from this thread; what goes wrong goes into it too. True when all went well.
pub(crate) fn serve<T: Send>(
    outlet: &Outlet<T>,
    body: impl FnOnce(&Outlet<T>) -> Result<(), End>,
) -> bool {
    let ended = catch_unwind(AssertUnwindSafe(|| body(outlet)))
        .unwrap_or_else(|panic| Err(panicked(panic.as_ref()).into()));
    match ended {
        Ok(()) => true,
        Err(End::Unread) => false,
        Err(End::Failed(failure)) => {
            // Nobody is there to hear of it when this fails.
            let _ = outlet.queue.blocking_send(Err(carry(*failure)));
            false
        }
    }
}

/// The failure of a thread that panicked.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    internal("a thread of the data engine panicked").cause(panic_text(panic))
}
