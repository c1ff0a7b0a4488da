//! For the tests: a store in memory, its faults, and a clock that is told the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use odibi_run::port::Clock;
use odibi_story::failure::{Failure, FailureClass, code};

use super::{Expected, LeaseTerms, SharedState, Sheet, Shelf};
use crate::testing::at;

/// How long a holder may be silent.
pub(crate) const TIMEOUT_MS: u64 = 30_000;

/// A store, and the clock of the processes that use it.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) shelf: Arc<MemoryShelf>,
    pub(crate) clock: Arc<TestClock>,
}

impl Store {
    /// A process of which everything is well.
    pub(crate) fn process(&self) -> Arc<SharedState> {
        self.process_on(Arc::<MemoryShelf>::clone(&self.shelf), &self.clock)
    }

    /// A process with a way to the store and a clock of its own.
    pub(crate) fn process_on(
        &self,
        shelf: Arc<dyn Shelf>,
        clock: &Arc<TestClock>,
    ) -> Arc<SharedState> {
        open(shelf, clock).unwrap()
    }
}

pub(crate) fn open(
    shelf: Arc<dyn Shelf>,
    clock: &Arc<TestClock>,
) -> Result<Arc<SharedState>, Failure> {
    let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(clock);
    SharedState::open(shelf, "sys/state", "shop", clock, terms())
}

pub(crate) fn terms() -> LeaseTerms {
    LeaseTerms {
        timeout_ms: TIMEOUT_MS,
        host: Some("host-1".to_owned()),
    }
}

/// Says what it is told.
#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn pass_ms(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        at(0)
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    async fn sleep_ms(&self, ms: u64) {
        self.pass_ms(ms);
    }
}

/// Documents in memory, under conditions that hold.
#[derive(Debug, Default)]
pub(crate) struct MemoryShelf {
    documents: Mutex<BTreeMap<String, Sheet>>,
    puts: AtomicU32,
    pub(crate) reads: AtomicU32,
}

impl MemoryShelf {
    pub(crate) fn paths(&self) -> Vec<String> {
        self.documents.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn text(&self, path: &str) -> String {
        let documents = self.documents.lock().unwrap();
        String::from_utf8(documents[path].bytes.clone()).unwrap()
    }

    /// Puts whatever is there.
    pub(crate) fn force(&self, path: &str, text: &str) {
        let version = format!("v{}", self.puts.fetch_add(1, Ordering::SeqCst));
        let bytes = text.as_bytes().to_vec();
        let mut documents = self.documents.lock().unwrap();
        documents.insert(path.to_owned(), Sheet { bytes, version });
    }
}

impl Shelf for MemoryShelf {
    fn shown(&self, path: &str) -> String {
        format!("memory:{path}")
    }

    fn read(&self, path: &str, _: usize) -> Result<Option<Sheet>, Failure> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Ok(self.documents.lock().unwrap().get(path).cloned())
    }

    fn put(
        &self,
        path: &str,
        bytes: &[u8],
        expected: Expected<'_>,
    ) -> Result<Option<String>, Failure> {
        let mut documents = self.documents.lock().unwrap();
        let is = documents.get(path).map(|sheet| sheet.version.as_str());
        let fits = match expected {
            Expected::Absent => is.is_none(),
            Expected::Version(version) => is == Some(version),
        };
        if !fits {
            return Ok(None);
        }
        let version = format!("v{}", self.puts.fetch_add(1, Ordering::SeqCst));
        let sheet = Sheet {
            bytes: bytes.to_vec(),
            version: version.clone(),
        };
        documents.insert(path.to_owned(), sheet);
        Ok(Some(version))
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        self.documents.lock().unwrap().remove(path);
        Ok(())
    }

    fn names(&self, dir: &str) -> Result<Vec<String>, Failure> {
        let documents = self.documents.lock().unwrap();
        let below = documents
            .keys()
            .filter_map(|path| path.strip_prefix(dir)?.strip_prefix('/'));
        let names: BTreeSet<&str> = below.filter_map(|path| path.split('/').next()).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }
}

/// What goes wrong at one change of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is made, and the answer is lost.
    AnswerLost,
    /// It is not made.
    Refused,
    /// It is not made, and the process does nothing more.
    Killed,
    /// It is made, and the process does nothing more.
    KilledBehind,
}

/// A process's way to a store.
#[derive(Debug)]
pub(crate) struct Faulty {
    shelf: Arc<MemoryShelf>,
    fault: Fault,
    at: u32,
    changes: AtomicU32,
}

impl Faulty {
    pub(crate) fn new(shelf: &Arc<MemoryShelf>, fault: Fault, at: u32) -> Arc<Self> {
        Arc::new(Self {
            shelf: Arc::clone(shelf),
            fault,
            at,
            changes: AtomicU32::new(0),
        })
    }

    /// Changes that were tried.
    pub(crate) fn changes(&self) -> u32 {
        self.changes.load(Ordering::SeqCst)
    }

    fn is_dead(&self) -> bool {
        let kills = matches!(self.fault, Fault::Killed | Fault::KilledBehind);
        kills && self.changes() > self.at
    }

    fn change<T>(&self, body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let number = self.changes.fetch_add(1, Ordering::SeqCst);
        let kills = matches!(self.fault, Fault::Killed | Fault::KilledBehind);
        if number != self.at {
            return if kills && number > self.at {
                Err(unreachable())
            } else {
                body()
            };
        }
        match self.fault {
            Fault::AnswerLost | Fault::KilledBehind => body().and(Err(unreachable())),
            Fault::Refused | Fault::Killed => Err(unreachable()),
        }
    }
}

fn unreachable() -> Failure {
    let class = FailureClass::Transient;
    Failure::new(class, code::WRITE_FAILED, "the store does not answer")
}

impl Shelf for Faulty {
    fn shown(&self, path: &str) -> String {
        self.shelf.shown(path)
    }

    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Sheet>, Failure> {
        if self.is_dead() {
            return Err(unreachable());
        }
        self.shelf.read(path, bytes_max)
    }

    fn put(
        &self,
        path: &str,
        bytes: &[u8],
        expected: Expected<'_>,
    ) -> Result<Option<String>, Failure> {
        self.change(|| self.shelf.put(path, bytes, expected))
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        self.change(|| self.shelf.remove(path))
    }

    fn names(&self, dir: &str) -> Result<Vec<String>, Failure> {
        if self.is_dead() {
            return Err(unreachable());
        }
        self.shelf.names(dir)
    }
}
