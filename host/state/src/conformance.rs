//! What every state has to do, whatever it is kept in: asked of SQLite, and of documents in memory.

mod alerts;
mod batches;
mod leases;
mod runs;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::lease::{Lease, LeaseRequest};
use crate::port::{Journal, State};
use crate::run::RunMark;
use crate::shared::testing::Store;
use crate::testing::{at, new_run};
use crate::{Holder, StateDb};

/// Something that a state is kept in.
pub(crate) trait Home: Sync {
    /// Opens it, as another process does.
    fn open(&self) -> Arc<dyn State>;
}

struct Directory(tempfile::TempDir);

impl Home for Directory {
    fn open(&self) -> Arc<dyn State> {
        Arc::new(StateDb::open(self.0.path()).unwrap())
    }
}

impl Home for Store {
    fn open(&self) -> Arc<dyn State> {
        self.process()
    }
}

/// Asks the same of each kind.
fn everywhere(check: impl Fn(&dyn Home)) {
    check(&Directory(tempfile::tempdir().unwrap()));
    check(&Store::default());
}

/// UUIDv7, in their order.
pub(crate) fn id(number: u32) -> String {
    format!("0192f0c1-{number:04x}-7abc-8000-00000000{number:04x}")
}

pub(crate) fn request<'a>(pipeline: &'a str, run_id: &'a str) -> LeaseRequest<'a> {
    LeaseRequest {
        project: "shop",
        pipeline,
        run_id,
        now: at(0),
        take_over: false,
    }
}

pub(crate) fn take(state: &Arc<dyn State>, run_id: &str) -> Lease {
    ask(state, run_id).unwrap()
}

pub(crate) fn ask(state: &Arc<dyn State>, run_id: &str) -> Result<Lease, Holder> {
    state.lease(&request("orders", run_id)).unwrap()
}

/// A run that has begun, as one process has it.
pub(crate) struct Begun {
    pub(crate) state: Arc<dyn State>,
    pub(crate) log: Arc<dyn Journal>,
    pub(crate) leases: Vec<Lease>,
    pub(crate) mark: RunMark,
    pub(crate) id: String,
}

impl Begun {
    /// Begins one that makes the writes of another, if that one was interrupted.
    pub(crate) fn new(state: Arc<dyn State>, id: &str) -> Self {
        Self::within(state, id, None)
    }

    /// In an environment.
    pub(crate) fn within(state: Arc<dyn State>, id: &str, environment: Option<&str>) -> Self {
        let lease = take(&state, id);
        Self::begin(state, lease, id, environment)
    }

    pub(crate) fn under(state: Arc<dyn State>, lease: Lease, id: &str) -> Self {
        Self::begin(state, lease, id, None)
    }

    fn begin(state: Arc<dyn State>, lease: Lease, id: &str, environment: Option<&str>) -> Self {
        let last = state.interrupted("shop", environment, &["orders"]).unwrap();
        let slot = last.get("orders").map_or(id, |last| last.slot.as_str());
        let leases = vec![lease];
        let mut run = new_run(id, slot);
        run.selection.environment = environment.map(str::to_owned);
        run.pipelines[0].epoch = leases[0].epoch();
        let mark = state.start(&run, &leases).unwrap();
        let log = Arc::clone(&state).batches("shop", id, &leases);
        Self {
            state,
            log,
            leases,
            mark,
            id: id.to_owned(),
        }
    }

    /// Comes to its very end.
    pub(crate) fn end(self, outcome: odibi_story::Outcome) {
        self.state.end(&self.id, outcome, 0, at(9)).unwrap();
        drop(self.leases);
        self.mark.remove().unwrap();
    }
}

/// The slot of the run that is to be gone on with. For who holds the lease.
fn slot(state: &Arc<dyn State>) -> Option<String> {
    let found = state
        .interrupted("shop", None, &["orders", "other"])
        .unwrap();
    assert!(!found.contains_key("other"));
    found.get("orders").map(|last| last.slot.clone())
}

fn moment(second: i64) -> Timestamp {
    at(second)
}

#[test]
fn a_database_is_opened_again_and_again() {
    let home = Directory(tempfile::tempdir().unwrap());
    let path: PathBuf = home.0.path().join("state.db");
    drop(home.open());
    assert!(path.is_file());
    drop(home.open());
}
