//! Exit codes: one documented constant each. Scripts and schedulers depend on them.

use odibi_story::Outcome;

/// What a run ends with that came to this outcome. `stopped` is the code of the signal that asked it to stop, if one did.
#[must_use]
pub fn of_run(outcome: Outcome, stopped: Option<u8>) -> u8 {
    match stopped {
        // It had done its work when it heard of it.
        _ if outcome.is_success() => DONE,
        Some(code) => code,
        None => NODE_FAILED,
    }
}

/// Everything that was asked for is done.
pub const DONE: u8 = 0;
/// A node failed.
pub const NODE_FAILED: u8 = 1;
/// A failure was not seen again when it was replayed.
pub const NOT_REPRODUCED: u8 = 1;
/// An inspected component cannot be used as a plugin.
pub const UNUSABLE: u8 = 1;
/// The command line was misused.
pub const USAGE: u8 = 2;
/// The run could not start: a plugin, a connection, a lock, the state directory.
pub const NOT_STARTED: u8 = 3;
/// The selection holds no node.
pub const NOTHING_SELECTED: u8 = 4;
/// The project is invalid (`EX_CONFIG` of sysexits.h).
pub const PROJECT_INVALID: u8 = 78;
/// Stopped by SIGINT, cleanly.
pub const INTERRUPTED: u8 = 130;
/// Stopped by SIGTERM, cleanly.
pub const TERMINATED: u8 = 143;

/// Shown at the end of `--help`.
pub const TABLE: &str = "Exit codes:
    0  done
    1  a node failed; a recorded failure was not reproduced; an inspected component cannot be used
    2  the command line was misused
    3  the run could not start (plugin, connection, state directory)
    4  the selection holds no node
   78  the project is invalid
  130  interrupted (SIGINT), after a clean stop
  143  terminated (SIGTERM), after a clean stop";
