//! The events of a run at work, copied from this machine to where others read them: now and then, and at the end.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use odibi_state::EventsCopy;
use odibi_story::failure::{Failure, FailureClass, code};

/// Time from the beginning to the first copy; it doubles from one copy to the next.
const FIRST: Duration = Duration::from_secs(1);
/// The longest time between two copies of a log of up to a mebibyte; a longer log takes longer in proportion.
const LONGEST: Duration = Duration::from_secs(10);

/// A thread that copies. Dropped, it copies no more.
pub(crate) struct Copies {
    stop: Sender<Stop>,
    thread: JoinHandle<Result<(), Failure>>,
}

/// Everything has been said.
struct Stop;

impl Copies {
    /// Begins to copy a log.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(path: PathBuf, copy: Box<dyn EventsCopy>) -> Result<Self, Failure> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("odibi-events".to_owned())
            .spawn(move || copy_on(&path, copy, &stopped))
            .map_err(|error| {
                let message = "the system refused to start a thread";
                Failure::new(FailureClass::Limit, code::RESOURCES_THREADS, message)
                    .cause(error.to_string())
            })?;
        Ok(Self { stop, thread })
    }

    /// Copies all that was said.
    ///
    /// # Errors
    /// The store cannot be written, or the run was taken for dead.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        // One that has given up says why.
        let _ = self.stop.send(Stop);
        self.thread.join().unwrap_or_else(|_| {
            let message = "the thread that copies events panicked";
            Err(Failure::new(
                FailureClass::Internal,
                code::INTERNAL_STATE,
                message,
            ))
        })
    }
}

fn copy_on(
    path: &PathBuf,
    mut copy: Box<dyn EventsCopy>,
    stopped: &Receiver<Stop>,
) -> Result<(), Failure> {
    let (mut pause, mut copied) = (FIRST, 0);
    loop {
        let large = u32::try_from(copied >> 20).unwrap_or(u32::MAX);
        let last = match stopped.recv_timeout(pause.saturating_mul(large.saturating_add(1))) {
            Ok(Stop) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        pause = (pause * 2).min(LONGEST);
        // The log says itself when it cannot be written.
        let mut bytes = std::fs::read(path).unwrap_or_default();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        bytes.truncate(whole.map_or(0, |at| at + 1));
        if bytes.len() > copied || last {
            match copy.put(&bytes) {
                Ok(()) => copied = bytes.len(),
                Err(failure) if last || failure.class != FailureClass::Transient => {
                    return Err(failure);
                }
                Err(_) => {}
            }
        }
        if last {
            return Ok(());
        }
    }
}
