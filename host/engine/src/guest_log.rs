//! What guests said in an attempt, told when its sessions have ended, however it ended.

use std::fmt::Debug;

use odibi_story::event::{GuestNote, OperationIdentity};

use crate::exec::node_run::NodeRun;

/// Hears what guests say.
pub trait GuestLog: Send + Sync + Debug {
    /// One line, counter or note.
    fn say(&self, said: &GuestSaid<'_>);
}

/// One line, counter or note of a guest, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct GuestSaid<'a> {
    /// Pipeline.
    pub pipeline: &'a str,
    /// Node.
    pub node: &'a str,
    /// From 1.
    pub attempt: u32,
    /// Index of the step in its node.
    pub step: usize,
    /// Whose code said it.
    pub operation: &'a OperationIdentity,
    /// What.
    pub note: &'a GuestNote,
}

/// Tells what the sessions of an attempt said.
pub(crate) fn tell(log: &dyn GuestLog, run: &NodeRun) {
    for (step, record) in run.records().iter().enumerate() {
        let Some(operation) = run.operations.get(step) else {
            continue;
        };
        let operation = operation.identity();
        for note in &record.notes {
            log.say(&GuestSaid {
                pipeline: &run.context.pipeline,
                node: &run.context.node,
                attempt: run.context.attempt,
                step,
                operation: &operation,
                note,
            });
        }
    }
}
