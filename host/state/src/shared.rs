//! The state as documents on an object store, for runs on any machine.
//!
//! Every document is put only where none is, or over the version that was read. What may only be done under a lease
//! carries its epoch, and is refused once the lease has a higher one. Paths, below the directory that the project names:
//!
//! | path | what |
//! |---|---|
//! | `format.json` | that this is a state, and in which version |
//! | `PROJECT/leases/PIPELINE.json` | who works on the pipeline, and the last run that began |
//! | `PROJECT/running/RUN.json` | runs that have not come to their end |
//! | `PROJECT/runs/MONTH/DAY/RUN.json`, `RUN.events.jsonl` | a run and its nodes, and what it said |
//! | `PROJECT/made/PIPELINE.json` | the last success of each node |
//! | `PROJECT/targets/TARGET.json`, `batches/TARGET/BATCH.json` | batches that are open, and those that are not |
//! | `PROJECT/watermarks/KEY.json` | how far something was read |
//! | `PROJECT/alerts/ENVIRONMENT/CHANNEL.json`, `senders/NAME.json` | the outbox, and who sends from it |

mod alert;
mod batch;
mod document;
mod event;
mod lease;
mod run;
mod shelf;
mod state;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use odibi_run::port::Clock;
use odibi_story::failure::{Failure, FailureClass, code};
use sha2::{Digest as _, Sha256};

use self::alert::SenderDocument;
use self::document::Format;
pub(crate) use self::lease::SharedLease;
use self::lease::{LeaseDocument, Watch};
use self::run::Own;
use self::shelf::{Desk, at_once};
pub use self::shelf::{Expected, Sheet, Shelf};

/// The document that says that a directory is a state.
const FORMAT: &str = "format.json";
/// What it says.
const KIND: &str = "odibi state";
/// Longest part of a path that is a name; a longer one is cut, and its hash put behind it.
const NAME_CHARS_MAX: usize = 96;
/// Pause between two looks at what has to be renewed or brought up to date.
const TICK_MS_MAX: u64 = 1_000;

/// How leases are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseTerms {
    /// A holder that was not heard of for so long counts for dead.
    pub timeout_ms: u64,
    /// Name of this machine, for people.
    pub host: Option<String>,
}

impl LeaseTerms {
    /// Where nobody says otherwise.
    pub const TIMEOUT_MS_DEFAULT: u64 = 30_000;

    fn renew_ms(&self) -> u64 {
        (self.timeout_ms / 6).max(1)
    }

    fn pause_ms(&self) -> u64 {
        (self.timeout_ms / 20).clamp(10, 1_000)
    }
}

/// The state on an object store.
#[derive(Debug)]
pub struct SharedState {
    desk: Arc<Desk>,
    project: String,
    clock: Ticking,
    terms: LeaseTerms,
    watch: Watch,
    /// Runs that were not heard of for too long.
    dead: Mutex<BTreeSet<String>>,
    /// Runs that this process has begun.
    own: Mutex<BTreeMap<String, Own>>,
    pulse: Mutex<Pulse>,
    me: Weak<Self>,
}

/// The clock, in a type that can be shown.
struct Ticking(Arc<dyn Clock>);

impl std::fmt::Debug for Ticking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl std::ops::Deref for Ticking {
    type Target = dyn Clock;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref()
    }
}

/// What a thread keeps alive.
#[derive(Debug, Default)]
struct Pulse {
    leases: Vec<Arc<LeaseDocument>>,
    senders: Vec<Arc<SenderDocument>>,
    /// Dropped, it ends the thread.
    thread: Option<Sender<()>>,
}

impl SharedState {
    /// Opens the state of a project below a directory, and makes it where none is. A store that lets two writers make
    /// the same document is refused.
    ///
    /// # Errors
    /// `state/denied`, `state/corrupt`, `state/newer`, `state/failed`, `write/unsafe`.
    pub fn open(
        shelf: Arc<dyn Shelf>,
        directory: &str,
        project: &str,
        clock: Arc<dyn Clock>,
        terms: LeaseTerms,
    ) -> Result<Arc<Self>, Failure> {
        let state = Self::at(shelf, directory, project, clock, terms);
        match state.format()? {
            Some((format, _)) if format.checked => {}
            Some((_, version)) => state.check(&version)?,
            None => {
                let new = state.new_format(KIND, false);
                // Where somebody else makes it right now, he checks it.
                if let Some(version) = state.desk.put(FORMAT, &new, Expected::Absent)? {
                    state.check(&version)?;
                }
            }
        }
        Ok(state)
    }

    /// As [`SharedState::open`]; `None` where there is none yet, and nothing is made then.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_existing(
        shelf: Arc<dyn Shelf>,
        directory: &str,
        project: &str,
        clock: Arc<dyn Clock>,
        terms: LeaseTerms,
    ) -> Result<Option<Arc<Self>>, Failure> {
        let state = Self::at(shelf, directory, project, clock, terms);
        Ok(state.format()?.map(|_| state))
    }

    fn at(
        shelf: Arc<dyn Shelf>,
        directory: &str,
        project: &str,
        clock: Arc<dyn Clock>,
        terms: LeaseTerms,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            desk: Arc::new(Desk::new(shelf, directory)),
            project: project.to_owned(),
            clock: Ticking(clock),
            terms,
            watch: Watch::default(),
            dead: Mutex::default(),
            own: Mutex::default(),
            pulse: Mutex::default(),
            me: me.clone(),
        })
    }

    /// What says that this is a state; `None` where nothing is yet.
    fn format(&self) -> Result<Option<(Format, String)>, Failure> {
        let damaged = |what: &str| {
            let message = format!("the state is damaged: {} {what}", self.desk.shown(FORMAT));
            Failure::new(FailureClass::Data, code::STATE_CORRUPT, message)
                .hint("bring it back, or name an empty directory in `path` of `system`")
        };
        let mut found = self.desk.read::<Format>(FORMAT)?;
        if found.is_none() && !self.desk.names("")?.is_empty() {
            // Made since, or gone: one that forgot which batches were written must not be made anew.
            found = self.desk.read::<Format>(FORMAT)?;
            if found.is_none() {
                return Err(damaged("is gone, and other documents are still there"));
            }
        }
        match found {
            Some((format, _)) if format.kind != KIND => Err(damaged("is of another program")),
            found => Ok(found),
        }
    }

    fn new_format(&self, kind: &str, checked: bool) -> Format {
        Format {
            kind: kind.to_owned(),
            checked,
            made_at: self.clock.now(),
            odibi_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Does the store do what everything here depends on? If not, the new state is taken back.
    fn check(&self, version: &str) -> Result<(), Failure> {
        let put = |kind: &str, expected| {
            let format = self.new_format(kind, true);
            let put = self.desk.put(FORMAT, &format, expected)?;
            Ok::<_, Failure>(put.is_some())
        };
        let mut is_unsafe = put("made twice", Expected::Absent)?;
        if !is_unsafe && put(KIND, Expected::Version(version))? {
            // The one before is not there any more.
            is_unsafe = put("replaced unseen", Expected::Version(version))?;
        }
        if !is_unsafe {
            return Ok(());
        }
        self.desk.remove(FORMAT)?;
        let message = format!(
            "the store lets a second writer replace what it has not seen, so no state can be kept there: {}",
            self.desk.shown("")
        );
        Err(
            Failure::new(FailureClass::Denied, code::WRITE_UNSAFE, message).hint(
                "use a store with conditional writes (`If-None-Match` and `If-Match`), or a local connection in `system`",
            ),
        )
    }

    /// Keeps what this process holds alive, from now on and for as long as it holds something.
    fn beat(&self) -> Result<(), Failure> {
        let mut pulse = lock(&self.pulse);
        if pulse.thread.is_some() {
            return Ok(());
        }
        let (stop, stopped) = channel::<()>();
        let (me, tick) = (self.me.clone(), self.terms.renew_ms().min(TICK_MS_MAX));
        let body = move || {
            loop {
                let waited = stopped.recv_timeout(Duration::from_millis(tick));
                if waited != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let Some(state) = me.upgrade() else { return };
                state.keep_alive();
            }
        };
        std::thread::Builder::new()
            .name("odibi-lease".to_owned())
            .spawn(body)
            .map_err(|error| {
                let message = "the system refused to start a thread";
                Failure::new(FailureClass::Limit, code::RESOURCES_THREADS, message)
                    .cause(error.to_string())
            })?;
        pulse.thread = Some(stop);
        Ok(())
    }

    fn keep_alive(&self) {
        let (leases, senders) = {
            let mut pulse = lock(&self.pulse);
            pulse.leases.retain(|lease| !lease.is_over());
            pulse.senders.retain(|sender| !sender.is_over());
            (pulse.leases.clone(), pulse.senders.clone())
        };
        let now_ms = self.clock.monotonic_ms();
        let every_ms = self.terms.renew_ms();
        at_once(&leases, |lease| lease.renew(now_ms, every_ms));
        at_once(&senders, |sender| sender.renew(now_ms, every_ms));
        self.flush_runs();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name as a part of a path: what is not a letter, digit, `-` or `_` is `=` and its bytes in hex.
fn name_of(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("={byte:02X}"));
        }
    }
    if text.is_empty() {
        text.push('=');
    }
    if text.len() > NAME_CHARS_MAX {
        text.truncate(NAME_CHARS_MAX / 2);
        text = format!("{text}=={}", digest(name));
    }
    text
}

/// The beginning of a SHA-256, hex.
fn digest(text: &str) -> String {
    let hash = Sha256::digest(text);
    hash.iter().take(16).map(|b| format!("{b:02x}")).collect()
}

fn lease_path(project: &str, pipeline: &str) -> String {
    format!("{}/leases/{}.json", name_of(project), name_of(pipeline))
}
