//! What killed runs have left at a target: settled before anybody writes it again.

use odibi_run::port::{BatchLog, BatchRecord, BatchState};
use odibi_story::failure::{Failure, FailureClass, code};

/// What a target says of a batch that lay ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The target holds it.
    There,
    /// It does not.
    Absent,
    /// It cannot tell: somebody else has changed it since.
    Unclear,
}

/// What is settled.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Batches that are not in the target: said to the log once the next one is put, for until then they may appear.
    absent: Vec<String>,
}

/// Asks the target about every batch that lay ready, and the log about this one. `None`: this batch is in the target.
/// `counts` says whether the word of the log counts: not where the target has been removed since, or knows better.
pub(super) fn settle(
    log: &dyn BatchLog,
    target: &str,
    batch: &str,
    shown: &str,
    counts: impl Fn(&BatchRecord) -> Result<bool, Failure>,
    mut ask: impl FnMut(&BatchRecord) -> Result<Verdict, Failure>,
) -> Result<Option<Settled>, Failure> {
    let mut settled = Settled::default();
    for record in log.pending(target)? {
        match ask(&record)? {
            Verdict::There => log.committed(target, &record.batch)?,
            Verdict::Absent => settled.absent.push(record.batch),
            // Of another batch it is the business of who tries that again.
            Verdict::Unclear if record.batch != batch => {}
            Verdict::Unclear => return Err(unclear(shown)),
        }
    }
    let known = match log.find(target, batch)? {
        Some(record) if record.state == BatchState::Committed => counts(&record)?,
        Some(_) | None => false,
    };
    Ok((!known).then_some(settled))
}

impl Settled {
    /// Notes the batches that are not there, but for the one that now is.
    pub(super) fn note(&self, log: &dyn BatchLog, target: &str, batch: &str) {
        for absent in self.absent.iter().filter(|absent| *absent != batch) {
            // What is not noted is settled again by the next writer.
            let _ = log.aborted(target, absent);
        }
    }
}

fn unclear(shown: &str) -> Failure {
    let message = format!(
        "a run was killed while it wrote `{shown}`, and the file was changed since: whether it holds the rows cannot be told"
    );
    Failure::new(FailureClass::Conflict, code::WRITE_UNSETTLED, message)
        .hint("look at the file; overwrite it, or put the version from before that run in its place, and run again")
}
