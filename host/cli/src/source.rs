//! What a project is read from: its file and those beside it, the environment, and the time.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use odibi_plan::config::{Assembled, FileFault, Outside, Project};
use odibi_plan::diagnostic::{Diagnostic, Sources};
use odibi_plan::secret::Secrets;
use odibi_run::port::Clock as _;
use odibi_story::failure::{Failure, FailureClass};

use crate::args::Config;
use crate::clock::SystemClock;
use crate::log::Log;
use crate::printer::Printer;
use crate::{Surroundings, dotenv, exit};

/// Names that are looked for when the command line gives a directory or nothing.
const FILE_NAMES: [&str; 4] = ["odibi.yaml", "odibi.yml", "project.yaml", "project.yml"];
/// Length of the file `.env`.
const DOTENV_BYTES_MAX: usize = 1 << 20;

/// A project file that was found and read.
pub(crate) struct Source {
    /// The file.
    pub(crate) path: PathBuf,
    /// Where it lies.
    pub(crate) directory: PathBuf,
    /// The run's logical time.
    pub(crate) at: Timestamp,
    /// As messages call it.
    shown: String,
    text: String,
    /// The environment, with what `.env` adds to it.
    variables: BTreeMap<String, String>,
    /// Environment that is selected.
    pub(crate) selected: Option<String>,
    siblings: Vec<String>,
    /// Hears what the project says of it.
    log: Log,
}

impl Source {
    /// Finds and reads the file. The exit code says why it could not; everything has been printed then.
    pub(crate) fn open(
        config: &Config,
        around: &Surroundings,
        printer: &Printer,
    ) -> Result<Self, u8> {
        let path = find(config.config.as_deref(), around, printer)?;
        let text = read(&path, printer)?;
        let shown = path
            .strip_prefix(&around.current_dir)
            .unwrap_or(&path)
            .display()
            .to_string();
        let directory = path
            .parent()
            .map_or_else(|| around.current_dir.clone(), Path::to_path_buf);
        let named = config.given.env.clone();
        let named = named.or_else(|| around.variable("ODIBI_ENV"));
        Ok(Self {
            variables: variables(&directory, around, printer)?,
            selected: named.filter(|name| !name.is_empty()),
            siblings: siblings(&directory),
            at: config
                .given
                .as_of
                .unwrap_or_else(|| SystemClock::new().now()),
            path,
            directory,
            shown,
            text,
            log: printer.log.clone(),
        })
    }

    /// The value of a variable of the environment or of `.env`.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The environment, with what `.env` adds to it.
    pub(crate) fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// The project, with the faults of its files. No vault is asked.
    pub(crate) fn load(&self, sources: &mut Sources) -> (Project, Vec<Diagnostic>) {
        self.load_with(None, sources)
    }

    /// As [`Source::load`], with what vaults said.
    pub(crate) fn load_with(
        &self,
        secrets: Option<&Secrets>,
        sources: &mut Sources,
    ) -> (Project, Vec<Diagnostic>) {
        let loaded = self.with_outside(|outside| {
            let outside = &Outside {
                secrets,
                ..*outside
            };
            odibi_plan::config::load_with(&self.shown, &self.text, outside, sources)
        });
        self.log.configure(&loaded.0.logging);
        loaded
    }

    /// The tree that the files make, with the values of references when `resolved`.
    pub(crate) fn assemble(
        &self,
        resolved: bool,
        sources: &mut Sources,
    ) -> (Assembled, Vec<Diagnostic>) {
        self.with_outside(|outside| {
            let (mut assembled, mut found) =
                odibi_plan::config::assemble(&self.shown, &self.text, outside, sources);
            if resolved {
                found.extend(odibi_plan::config::resolve(&mut assembled.tree, outside));
            }
            (assembled, found)
        })
    }

    fn with_outside<T>(&self, then: impl FnOnce(&Outside<'_>) -> T) -> T {
        then(&Outside {
            environment: &|name| self.variables.get(name).cloned(),
            file: &|path, bytes_max| beside(&self.directory, path, bytes_max),
            selected: self.selected.as_deref(),
            siblings: &self.siblings,
            at: self.at,
            secrets: None,
        })
    }
}

fn find(given: Option<&Path>, around: &Surroundings, printer: &Printer) -> Result<PathBuf, u8> {
    let start = given.map_or_else(
        || around.current_dir.clone(),
        |g| around.current_dir.join(g),
    );
    if !start.is_dir() {
        return Ok(start);
    }
    if let Some(found) = FILE_NAMES
        .iter()
        .map(|name| start.join(name))
        .find(|path| path.is_file())
    {
        return Ok(found);
    }
    printer.failure(
        &Failure::new(
            FailureClass::Missing,
            "cli/no-project",
            format!("no project file in `{}`", start.display()),
        )
        .hint(format!(
            "name one, or call it {}",
            FILE_NAMES.map(|n| format!("`{n}`")).join(", ")
        ))
        .hint("run `odibi init` to begin one"),
    );
    Err(exit::USAGE)
}

fn read(path: &Path, printer: &Printer) -> Result<String, u8> {
    let bytes = std::fs::read(path).map_err(|error| {
        let failure = Failure::new(
            FailureClass::Missing,
            "cli/no-project",
            format!("cannot read the project file: {}", path.display()),
        );
        printer.failure(&failure.cause(error.to_string()));
        exit::USAGE
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let failure = Failure::new(
            FailureClass::Data,
            "cli/bad-encoding",
            format!(
                "the project file is not UTF-8 at byte {}: {}",
                error.utf8_error().valid_up_to(),
                path.display()
            ),
        );
        printer.failure(&failure);
        exit::PROJECT_INVALID
    })
}

/// A file of the project's directory. Of one that is too long, enough to see it.
fn beside(directory: &Path, path: &str, bytes_max: usize) -> Result<Vec<u8>, FileFault> {
    let fault = |error: std::io::Error| {
        if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
            FileFault::Missing
        } else {
            FileFault::Unreadable(error.to_string())
        }
    };
    let root = directory.canonicalize().map_err(fault)?;
    let real = root.join(path).canonicalize().map_err(fault)?;
    if !real.starts_with(&root) {
        return Err(FileFault::Outside);
    }
    if !real.is_file() {
        return Err(FileFault::Unreadable("it is no regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&real).map_err(fault)?;
    file.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(fault)?;
    Ok(bytes)
}

/// The environment wins over `.env`.
fn variables(
    directory: &Path,
    around: &Surroundings,
    printer: &Printer,
) -> Result<BTreeMap<String, String>, u8> {
    let refused = |message: String| {
        let failure = Failure::new(FailureClass::Data, "cli/bad-dotenv", message);
        let failure = failure.hint("write each variable as `NAME=value`, on a line of its own");
        printer.failure(&failure);
        exit::PROJECT_INVALID
    };
    let bytes = match beside(directory, ".env", DOTENV_BYTES_MAX) {
        Ok(bytes) if bytes.len() > DOTENV_BYTES_MAX => {
            return Err(refused(format!(
                "`.env` is longer than {DOTENV_BYTES_MAX} bytes"
            )));
        }
        Ok(bytes) => bytes,
        Err(FileFault::Missing) => return Ok(around.variables.clone()),
        Err(FileFault::Outside) => {
            return Err(refused(
                "`.env` is a link that leads out of the project's directory".to_owned(),
            ));
        }
        Err(FileFault::Unreadable(why)) => {
            return Err(refused(format!("cannot read `.env`: {why}")));
        }
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        refused(format!("`.env` is not UTF-8 at byte {at}"))
    })?;
    let mut variables = dotenv::parse(&text)
        .map_err(|(line, why)| refused(format!("`.env`, line {line}: {why}")))?;
    variables.extend(around.variables.clone());
    Ok(variables)
}

/// Names of the files `env.NAME.yaml`.
fn siblings(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| {
            let name = name.strip_prefix("env.")?.strip_suffix(".yaml")?;
            Some(name.to_owned())
        })
        .collect();
    names.sort();
    names
}
