//! Finds the rows of a batch that a step fails on: halves the batch until single rows fail alone.
//!
//! A failed instance is dropped and never asked again. A row is blamed only when it fails alone on a fresh instance, so
//! that nothing an instance did before falls back on a row.

use std::sync::Arc;

use arrow_array::RecordBatch;
use odibi_run::port::Appetite;
use odibi_story::failure::{Failure, FailureClass, code};

use super::bucket::shared::Lookups;
use super::held::Held;
use super::node_run::NodeRun;
use super::session::Driven;
use super::transform::StepSpec;
use crate::failure::cancelled;
use crate::limits::{
    ISOLATION_BATCH_CPU_NS_MAX, ISOLATION_BATCH_INSTANCES_MAX, ISOLATION_BATCH_OUTPUT_BYTES_MAX,
    ISOLATION_NAMING_CPU_NS_MAX, ISOLATION_NAMING_INSTANCES_MAX,
};
use crate::reason::Reason;

/// A batch that a step failed on.
pub(crate) struct Suspect {
    pub(crate) batch: RecordBatch,
    /// The port it came by.
    pub(crate) port: usize,
    /// Rows of the step's input before it.
    pub(crate) rows_before: u64,
    pub(crate) failure: Failure,
    /// What the failed call cost.
    pub(crate) cpu_ns: u64,
}

/// A row that fails alone.
pub(crate) struct Blamed {
    /// Its place in the batch.
    pub(crate) at: usize,
    pub(crate) reason: Reason,
}

/// What the search is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The node fails; the failure shall name the rows.
    Naming,
    /// The rows are set aside, and what the others gave is used.
    SettingAside,
}

/// What was found so far.
#[derive(Default)]
pub(crate) struct Found {
    /// In the order of the batch.
    pub(crate) blamed: Vec<Blamed>,
    /// What the other rows gave, in order; nothing when naming.
    pub(crate) out: Vec<RecordBatch>,
    /// The instance that goes on.
    pub(crate) driven: Option<Driven>,
    /// The step wants nothing further.
    pub(crate) enough: bool,
    /// Instances opened.
    pub(crate) instances: usize,
}

/// Why a search ended before every row was judged.
pub(crate) enum Halt {
    /// Of something that no row causes.
    Failed(Box<Failure>),
    /// These rows fail together, and each passes alone.
    Together { start: usize, rows: usize },
    /// Going on would cost too much; among these rows at least one more fails.
    Costly { start: usize, rows: usize },
}

/// Can the failure hang on the values of a row? Then fewer rows may pass.
pub(crate) fn may_be_of_rows(failure: &Failure) -> bool {
    let is = |codes: &[code::FailureCode]| codes.iter().any(|c| c.name == failure.code);
    match failure.class {
        FailureClass::Trap => true,
        FailureClass::Guest => {
            failure.retry_after_ms.is_none()
                && !is(&[
                    code::GUEST_PARAMS,
                    code::GUEST_SCHEMA,
                    code::GUEST_DENIED,
                    code::GUEST_TRANSIENT,
                ])
        }
        FailureClass::Limit => is(&[
            code::LIMIT_GUEST_MEMORY,
            code::LIMIT_GUEST_CPU,
            code::LIMIT_GUEST_WALL,
            code::LIMIT_BATCH_OUTPUT,
            code::LIMIT_BATCH_ROWS,
            code::LIMIT_OUTPUT,
            code::LIMIT_OUTPUT_ROWS,
            code::LIMIT_EMITS,
        ]),
        FailureClass::Data
        | FailureClass::Contract
        | FailureClass::Denied
        | FailureClass::Missing
        | FailureClass::Conflict
        | FailureClass::Transient
        | FailureClass::Cancelled
        | FailureClass::Internal => false,
    }
}

/// Searches a batch. The instance that failed must have been dropped. `gone` says when nobody waits any more.
pub(crate) fn search(
    run: &Arc<NodeRun>,
    spec: &Arc<StepSpec>,
    lookups: &Lookups,
    suspect: &Suspect,
    purpose: Purpose,
    gone: &dyn Fn() -> bool,
) -> (Found, Option<Halt>) {
    let (instances_max, cpu_ns_max) = match purpose {
        Purpose::Naming => (ISOLATION_NAMING_INSTANCES_MAX, ISOLATION_NAMING_CPU_NS_MAX),
        Purpose::SettingAside => (ISOLATION_BATCH_INSTANCES_MAX, ISOLATION_BATCH_CPU_NS_MAX),
    };
    let mut search = Search {
        run,
        spec,
        lookups,
        port: suspect.port,
        batch: &suspect.batch,
        purpose,
        gone,
        instances_max,
        cpu_ns_max,
        cpu_ns: suspect.cpu_ns,
        held: Held::beside(&suspect.batch),
        found: Found::default(),
    };
    let halt = search.narrow(0, suspect.batch.num_rows()).err();
    (search.found, halt)
}

struct Search<'a> {
    run: &'a Arc<NodeRun>,
    spec: &'a Arc<StepSpec>,
    lookups: &'a Lookups,
    port: usize,
    batch: &'a RecordBatch,
    purpose: Purpose,
    gone: &'a dyn Fn() -> bool,
    instances_max: usize,
    cpu_ns_max: u64,
    cpu_ns: u64,
    /// Of what the rows gave.
    held: Held,
    found: Found,
}

/// A range that failed, and whether the instance was a fresh one.
struct Failed {
    failure: Failure,
    fresh: bool,
}

impl Search<'_> {
    /// Finds what is to blame in a range that has failed. As deep as the batch can be halved.
    fn narrow(&mut self, start: usize, rows: usize) -> Result<(), Halt> {
        let blamed = self.found.blamed.len();
        if rows > 1 {
            let half = rows / 2;
            for (start, rows) in [(start, half), (start + half, rows - half)] {
                if self.found.enough {
                    return Ok(());
                }
                if let Err(failed) = self.attempt(start, rows)? {
                    if rows == 1 && failed.fresh {
                        self.blame(start, &failed.failure);
                    } else {
                        self.narrow(start, rows)?;
                    }
                }
            }
        } else {
            self.found.driven = None;
            if let Err(failed) = self.attempt(start, rows)? {
                self.blame(start, &failed.failure);
            }
        }
        if self.found.blamed.len() == blamed && !self.found.enough {
            return Err(Halt::Together { start, rows });
        }
        Ok(())
    }

    fn blame(&mut self, at: usize, failure: &Failure) {
        let reason = Reason::of(failure);
        self.found.blamed.push(Blamed { at, reason });
    }

    /// Gives a range to the instance that is open, or to a fresh one.
    fn attempt(&mut self, start: usize, rows: usize) -> Result<Result<(), Failed>, Halt> {
        if self.run.stopped() || (self.gone)() {
            return Err(Halt::Failed(Box::new(cancelled())));
        }
        if self.cpu_ns >= self.cpu_ns_max || self.held.bytes() > ISOLATION_BATCH_OUTPUT_BYTES_MAX {
            return Err(Halt::Costly { start, rows });
        }
        let fresh = self.found.driven.is_none();
        let mut driven = match self.found.driven.take() {
            Some(driven) => driven,
            None if self.found.instances == self.instances_max => {
                return Err(Halt::Costly { start, rows });
            }
            None => {
                self.found.instances += 1;
                Driven::open_search(self.run, self.spec, self.lookups)
                    .map_err(|f| Halt::Failed(Box::new(f)))?
            }
        };
        let answer = driven.process(self.port, &self.batch.slice(start, rows));
        self.cpu_ns = self.cpu_ns.saturating_add(driven.call_cpu_ns());
        match answer {
            Ok((out, appetite)) => {
                if self.purpose == Purpose::SettingAside {
                    out.iter().for_each(|batch| self.held.add(batch));
                    self.found.out.extend(out);
                }
                self.found.enough = appetite == Appetite::Enough;
                self.found.driven = Some(driven);
                Ok(Ok(()))
            }
            Err(failure) if may_be_of_rows(&failure) => Ok(Err(Failed { failure, fresh })),
            Err(failure) => Err(Halt::Failed(Box::new(failure))),
        }
    }
}
