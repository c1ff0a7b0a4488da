//! Where a project keeps what it remembers: in a directory of this machine, or in documents on an object store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use odibi_engine::Documents;
use odibi_plan::config::Project;
use odibi_plan::plan::{Connection, ConnectionKind};
use odibi_run::port::Clock;
use odibi_state::{Expected, LeaseTerms, SharedState, Sheet, Shelf, State, StateDb};
use odibi_story::failure::{Failure, FailureClass, code};

use crate::clock::SystemClock;
use crate::{Surroundings, args, whereabouts};

/// A holder of a lease may not count for dead any sooner, or later.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;

/// The place of a project's state.
#[derive(Debug, Clone)]
pub(crate) struct StatePlace {
    /// Directory of this machine: event logs and scratch files of runs at work, and the database where nothing is shared.
    pub(crate) dir: PathBuf,
    shared: Option<Shared>,
}

#[derive(Debug, Clone)]
struct Shared {
    connection: Connection,
    path: String,
    project: String,
    project_dir: PathBuf,
    timeout_ms: Result<u64, Failure>,
}

impl StatePlace {
    /// The directory is `ODIBI_STATE_DIR`, else what a local connection of `system:` names, else `.odibi` beside the
    /// project file. A connection of `system:` to an object store keeps the rest.
    pub(crate) fn of(project: &Project, directory: &Path, around: &Surroundings) -> Self {
        let named = project.system.as_ref().and_then(|system| {
            let connection = project.connection(&system.connection.value)?;
            Some((connection.resolved()?, system.path.clone()))
        });
        let beside = directory.join(".odibi");
        let (dir, shared) = match named {
            None => (beside, None),
            Some((connection, path)) => match &connection.kind {
                ConnectionKind::Local { base_path } => {
                    (directory.join(base_path).join(&path), None)
                }
                // Refused before anything is run.
                ConnectionKind::Http(_) => (beside, None),
                ConnectionKind::Azure(_) | ConnectionKind::S3(_) | ConnectionKind::Gcs(_) => {
                    let name = project.name.as_ref().map(|name| name.value.clone());
                    let shared = Shared {
                        connection,
                        path,
                        project: name.unwrap_or_default(),
                        project_dir: directory.to_path_buf(),
                        timeout_ms: timeout_ms(around),
                    };
                    (beside, Some(shared))
                }
            },
        };
        let set = around.variable("ODIBI_STATE_DIR");
        Self {
            dir: set.map_or(dir, |set| around.current_dir.join(set)),
            shared,
        }
    }

    /// Runs on other machines see it.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Name of the connection that it is kept on.
    pub(crate) fn connection(&self) -> Option<&str> {
        let shared = self.shared.as_ref();
        shared.map(|shared| shared.connection.name.as_str())
    }

    /// Opens it, and makes it where none is.
    ///
    /// # Errors
    /// The state cannot be used.
    pub(crate) fn open(&self) -> Result<Arc<dyn State>, Failure> {
        let Some(shared) = &self.shared else {
            return Ok(Arc::new(StateDb::open(&self.dir)?));
        };
        let (clock, terms) = (Arc::new(SystemClock::new()), shared.terms()?);
        // What cannot be made is told of by who needs it.
        let _ = std::fs::create_dir_all(&self.dir);
        let shelf = shared.shelf(&self.dir)?;
        Ok(SharedState::open(
            shelf,
            &shared.path,
            &shared.project,
            clock,
            terms,
        )?)
    }

    /// As [`StatePlace::open`]; `None` where there is none yet, and nothing is made then.
    ///
    /// # Errors
    /// As `open`.
    pub(crate) fn open_existing(&self) -> Result<Option<Arc<dyn State>>, Failure> {
        let Some(shared) = &self.shared else {
            let db = StateDb::open_existing(&self.dir)?;
            return Ok(db.map(|db| Arc::new(db) as Arc<dyn State>));
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (shelf, terms) = (shared.shelf(&self.dir)?, shared.terms()?);
        let found = SharedState::open_existing(shelf, &shared.path, &shared.project, clock, terms)?;
        Ok(found.map(|state| state as Arc<dyn State>))
    }

    /// Where this machine has the events of a run, when it was run here.
    pub(crate) fn log_path(&self, run_id: &str) -> PathBuf {
        let runs = self.dir.join("runs");
        runs.join(run_id).join("events.jsonl")
    }
}

impl Shared {
    fn terms(&self) -> Result<LeaseTerms, Failure> {
        Ok(LeaseTerms {
            timeout_ms: self.timeout_ms.clone()?,
            host: whereabouts::host(),
        })
    }

    /// What is on its way to the store lies in the state directory, without a name. Who only looks need not have one.
    fn shelf(&self, dir: &Path) -> Result<Arc<dyn Shelf>, Failure> {
        let scratch = match dir.is_dir() {
            true => dir.to_path_buf(),
            false => std::env::temp_dir(),
        };
        let documents = Documents::open(&self.connection, &self.project_dir, &scratch)?;
        Ok(Arc::new(StoreShelf(documents)))
    }
}

fn timeout_ms(around: &Surroundings) -> Result<u64, Failure> {
    let Some(text) = around.variable("ODIBI_LEASE_TIMEOUT") else {
        return Ok(LeaseTerms::TIMEOUT_MS_DEFAULT);
    };
    let read = args::duration(&text).ok();
    let ms = read.and_then(|read| u64::try_from(read.as_millis()).ok());
    ms.filter(|ms| TIMEOUT_MS.contains(ms)).ok_or_else(|| {
        let message = "`ODIBI_LEASE_TIMEOUT` is not a duration between 1s and 1h";
        Failure::new(FailureClass::Data, code::STATE_BAD_SETTING, message)
            .hint("write for example `30s`")
    })
}

/// A connection's documents.
#[derive(Debug)]
struct StoreShelf(Documents);

impl Shelf for StoreShelf {
    fn shown(&self, path: &str) -> String {
        self.0.shown(path)
    }

    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Sheet>, Failure> {
        let found = self.0.read_version(path, bytes_max)?;
        Ok(found.map(|(bytes, version)| Sheet { bytes, version }))
    }

    fn put(
        &self,
        path: &str,
        bytes: &[u8],
        expected: Expected<'_>,
    ) -> Result<Option<String>, Failure> {
        let version = match expected {
            Expected::Absent => None,
            Expected::Version(version) => Some(version),
        };
        self.0.replace(path, bytes, version)
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        self.0.remove(path)
    }

    fn names(&self, dir: &str) -> Result<Vec<String>, Failure> {
        self.0.names(dir)
    }
}
