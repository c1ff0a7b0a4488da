//! Records what plugins fail on: how much, where, and whether it may be. [`watch`] stands in front of the sandbox's own
//! operations and sessions; without a [`Capture`] nothing of this is there.

mod tape;
mod watch;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use odibi_story::failure::{Failure, FailureClass};

use self::tape::Tape;
pub(crate) use self::watch::Captured;
use crate::capsule::header::SessionOrigin;
use crate::capsule::{self, Header};
use crate::limits::{CAPSULE_BYTES_MAX, CAPSULES_PER_STEP_MAX};

/// Characters of a node's name in the name of a capsule.
const NAME_CHARS_MAX: usize = 80;

/// What of a step would be recorded. A capsule holds data, so whoever knows which columns are not to be kept decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Pipeline.
    pub pipeline: &'a str,
    /// Node.
    pub node: &'a str,
    /// Index of the step in its node.
    pub step: usize,
    /// Columns whose values would be in the capsule, for each input.
    pub columns: Vec<Vec<&'a str>>,
    /// Those of them that are sensitive.
    pub sensitive: &'a [String],
    /// True when its params hold a secret.
    pub secret: bool,
}

/// May a step be recorded?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// All of it.
    Allowed,
    /// Nothing of it, because of these columns.
    Refused {
        /// Names.
        columns: Vec<String>,
    },
}

/// Says whether a step may be recorded; called from any thread.
pub type MayCapture = Arc<dyn Fn(&Subject<'_>) -> Permission + Send + Sync>;

/// A failure was recorded, or could not be.
#[derive(Debug, Clone)]
pub struct CaptureNotice {
    /// Pipeline.
    pub pipeline: String,
    /// Node.
    pub node: String,
    /// Index of the step in its node.
    pub step: usize,
    /// The capsule, or why there is none.
    pub capsule: Result<PathBuf, Failure>,
}

/// Hears of recordings; called from any thread.
pub type OnCapture = Arc<dyn Fn(CaptureNotice) + Send + Sync>;

/// Takes secrets out of a document; called from any thread.
pub type Hush = Arc<dyn Fn(&mut serde_json::Value) + Send + Sync>;

/// Where failures of plugins are recorded, and how much of them.
#[derive(Clone)]
pub struct Capture {
    /// Directory of the capsules. It must exist.
    pub dir: PathBuf,
    /// Bytes of the calls of one session that are recorded (256 MiB).
    pub bytes_max: u64,
    /// Failures of one step that are recorded (8).
    pub per_step_max: u32,
    /// Decides for each step.
    pub may: MayCapture,
    /// Hears what became of it.
    pub tell: OnCapture,
    /// Takes secrets out of what a capsule says.
    pub hush: Option<Hush>,
}

impl Capture {
    /// Records in a directory what holds no sensitive column. The directory is made if need be, for this user only.
    ///
    /// # Errors
    /// `capture/not-written` when it cannot be made.
    pub fn new(dir: PathBuf, tell: OnCapture) -> Result<Self, Failure> {
        capsule::make_dir(&dir).map_err(|e| not_written(&dir, &e))?;
        Ok(Self {
            dir,
            bytes_max: CAPSULE_BYTES_MAX,
            per_step_max: CAPSULES_PER_STEP_MAX,
            may: Arc::new(|subject| but(&[], subject)),
            tell,
            hush: None,
        })
    }

    /// Records sensitive columns of these names as well.
    #[must_use]
    pub fn with_columns(mut self, names: Vec<String>) -> Self {
        self.may = Arc::new(move |subject| but(&names, subject));
        self
    }
}

/// No step that is given a sensitive column, unless each of them is named.
fn but(named: &[String], subject: &Subject<'_>) -> Permission {
    let mut columns: Vec<String> = subject.sensitive.to_vec();
    if !subject.secret {
        columns.retain(|column| !named.contains(column));
        if columns.is_empty() {
            return Permission::Allowed;
        }
    }
    Permission::Refused { columns }
}

/// A capture at work: numbers the capsules of each step.
pub(crate) struct Recorder {
    capture: Capture,
    numbers: Mutex<HashMap<String, u32>>,
}

/// A failure about to be recorded.
struct Failed<'a> {
    header: Header,
    schemas: Result<Vec<Vec<u8>>, Failure>,
    state: &'a [u8],
}

impl Recorder {
    pub(crate) fn new(capture: Capture) -> Self {
        Self {
            capture,
            numbers: Mutex::default(),
        }
    }

    /// Records a failure, tells of it, and returns the failure with a hint at the capsule.
    fn keep(&self, failed: Failed<'_>, tape: Tape) -> Failure {
        let (failure, origin) = (failed.header.failure.clone(), failed.header.session.clone());
        let Some(capsule) = self.write(failed, tape).transpose() else {
            return failure;
        };
        let hinted = match &capsule {
            Ok(path) => failure.hint(format!(
                "run `odibi plugin replay {}` to see it again",
                path.display()
            )),
            Err(_) => failure,
        };
        (self.capture.tell)(CaptureNotice {
            pipeline: origin.pipeline,
            node: origin.node,
            step: origin.step,
            capsule,
        });
        hinted
    }

    /// `None`: there is nothing new to say.
    fn write(&self, failed: Failed<'_>, tape: Tape) -> Result<Option<PathBuf>, Failure> {
        let Failed {
            header,
            schemas,
            state,
        } = failed;
        let header = self.hushed(header)?;
        let mut played = tape.play()?;
        let schemas = schemas?;
        let dir = &self.capture.dir;
        let stem = stem(&header.session);
        let number = self.number(&stem);
        let max = self.capture.per_step_max;
        if number > max {
            // Said once.
            return if number == max + 1 {
                let message = format!(
                    "further failures of the step are not recorded, the limit is reached: {max}"
                );
                Err(
                    Failure::new(FailureClass::Limit, "capture/too-many", message).of_limit(
                        "capsules-per-step",
                        u64::from(max),
                        u64::from(number),
                    ),
                )
            } else {
                Ok(None)
            };
        }
        let name = format!("{stem}-{number}.{}", capsule::EXTENSION);
        capsule::write(dir, &name, &header, &schemas, state, &mut |to| {
            played.write(to)
        })
        .map(Some)
        .map_err(|e| not_written(dir, &e))
    }

    /// The header without secrets. With secrets in its params a step is not recorded: what its guest made of them is in
    /// its state and in its batches.
    fn hushed(&self, header: Header) -> Result<Header, Failure> {
        let Some(hush) = &self.capture.hush else {
            return Ok(header);
        };
        let mut params = header.params.clone();
        hush(&mut params);
        if params != header.params {
            let message = "the params hold a secret, which the recording would show";
            return Err(Failure::new(
                FailureClass::Denied,
                "capture/secret",
                message,
            ));
        }
        let cleaned = serde_json::to_value(&header).and_then(|mut value| {
            // Words of the format are none of theirs.
            for key in ["failure", "operation", "path"] {
                if let Some(part) = value.get_mut(key) {
                    hush(part);
                }
            }
            serde_json::from_value(value)
        });
        cleaned.map_err(|_| {
            let message = "the recording would show a secret";
            Failure::new(FailureClass::Denied, "capture/secret", message)
        })
    }

    fn number(&self, stem: &str) -> u32 {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let number = numbers.entry(stem.to_owned()).or_default();
        *number = number.saturating_add(1);
        *number
    }
}

/// `<run id>-<node>-<step>`, as one plain file name. The step counts from 1, as in stories.
fn stem(origin: &SessionOrigin) -> String {
    let mut stem = String::new();
    // Writing to a string cannot fail.
    let _ = write!(stem, "{}-{}", origin.run_id, origin.node);
    let mut stem: String = stem
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(NAME_CHARS_MAX)
        .collect();
    let _ = write!(stem, "-{}", origin.step + 1);
    stem
}

fn not_written(dir: &std::path::Path, error: &io::Error) -> Failure {
    let message = format!("a failure cannot be recorded below: {}", dir.display());
    Failure::new(FailureClass::Denied, "capture/not-written", message)
        .cause(error.to_string())
        .hint("name a directory that can be written and has room")
}
