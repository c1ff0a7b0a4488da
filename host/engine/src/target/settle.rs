//! What killed runs have left at a target: settled before anybody writes it again.

use std::collections::BTreeSet;

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
    absent: Vec<BatchRecord>,
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
    let mut asked = Vec::new();
    for record in log.pending(target)? {
        asked.push((ask(&record)?, record));
    }
    // A batch may have been ready twice, when a run was taken over: it is there once one of the two is.
    let there: BTreeSet<String> = asked
        .iter()
        .filter(|(verdict, _)| *verdict == Verdict::There)
        .map(|(_, record)| record.batch.clone())
        .collect();
    for (verdict, record) in &asked {
        if *verdict == Verdict::There {
            log.observed(record, true)?;
        }
    }
    asked.retain(|(_, record)| !there.contains(&record.batch));
    for (verdict, record) in asked {
        match verdict {
            Verdict::There => {}
            Verdict::Absent => settled.absent.push(record),
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
    pub(super) fn note(&self, log: &dyn BatchLog, batch: &str) {
        for absent in self.absent.iter().filter(|absent| absent.batch != batch) {
            // What is not noted is settled again by the next writer.
            let _ = log.observed(absent, false);
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

#[cfg(test)]
mod tests {
    use odibi_run::port::MemoryBatchLog;

    use super::*;

    /// A log that tells of a batch twice: of a run, and of the one that took over from it.
    #[derive(Debug, Default)]
    struct Twice(MemoryBatchLog);

    impl BatchLog for Twice {
        fn find(&self, target: &str, batch: &str) -> Result<Option<BatchRecord>, Failure> {
            self.0.find(target, batch)
        }

        fn pending(&self, target: &str) -> Result<Vec<BatchRecord>, Failure> {
            let of = |record: BatchRecord| {
                ["theirs", "ours"].map(|evidence| BatchRecord {
                    evidence: evidence.to_owned(),
                    ..record.clone()
                })
            };
            Ok(self.0.pending(target)?.into_iter().flat_map(of).collect())
        }

        fn staged(&self, record: &BatchRecord) -> Result<(), Failure> {
            self.0.staged(record)
        }

        fn committed(&self, target: &str, batch: &str) -> Result<(), Failure> {
            self.0.committed(target, batch)
        }

        fn aborted(&self, target: &str, batch: &str) -> Result<(), Failure> {
            self.0.aborted(target, batch)
        }

        fn observed(&self, seen: &BatchRecord, is_there: bool) -> Result<(), Failure> {
            match is_there {
                true => self.0.committed(&seen.target, &seen.batch),
                false => self.0.aborted(&seen.target, &seen.batch),
            }
        }

        fn adopt(&self, before: &str, target: &str) -> Result<(), Failure> {
            self.0.adopt(before, target)
        }
    }

    fn settled(log: &dyn BatchLog, verdicts: [Verdict; 2]) -> Result<bool, Failure> {
        let record = BatchRecord {
            target: "t".to_owned(),
            batch: "b".to_owned(),
            run_id: "r".to_owned(),
            pipeline: "p".to_owned(),
            node: "n".to_owned(),
            mode: "append".to_owned(),
            state: BatchState::Staged,
            rows: 1,
            evidence: String::new(),
        };
        log.staged(&record)?;
        let ask = |record: &BatchRecord| Ok(verdicts[usize::from(record.evidence == "ours")]);
        Ok(settle(log, "t", "b", "t", |_| Ok(true), ask)?.is_none())
    }

    #[test]
    fn batch_that_was_ready_twice_is_there_once_one_of_the_two_is() {
        use Verdict::{Absent, There, Unclear};
        for (verdicts, there) in [
            ([There, Absent], true),
            ([Unclear, There], true),
            ([There, Unclear], true),
            ([There, There], true),
            ([Absent, Absent], false),
        ] {
            let log = Twice::default();
            assert_eq!(settled(&log, verdicts), Ok(there), "{verdicts:?}");
        }
        let failure = settled(&Twice::default(), [Absent, Unclear]).unwrap_err();
        assert_eq!(failure.code, "write/unsettled");
    }
}
