//! The threads that wait for the network. Everything else here may block.

use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;

use odibi_story::failure::{Failure, FailureClass, code};
use tokio::runtime::{Builder, Runtime};

use crate::failure::internal;

/// Threads: they only wait, and encrypt.
const THREADS: usize = 2;

/// Runs a future to its end, from any thread, also from one that belongs to another runtime.
pub(super) fn block<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, Failure> {
    let (answer, answered) = sync_channel(1);
    let task = async move {
        let _ = answer.send(future.await);
    };
    runtime()?.spawn(task);
    let gone = |_| internal("a request to a store came to no end");
    answered.recv().map_err(gone)
}

fn runtime() -> Result<&'static Runtime, Failure> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("odibi-store")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|cause| {
        let message = "the system refused to start a thread";
        Failure::new(FailureClass::Limit, code::RESOURCES_THREADS, message).cause(cause)
    })
}
