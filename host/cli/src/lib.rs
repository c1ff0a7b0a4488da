//! The command `odibi`: arguments, printer, exit codes, one file per command. A library, so that tests call it in process.

mod args;
mod chosen;
mod clock;
mod command;
mod copies;
mod dotenv;
pub mod exit;
mod forecast;
mod hush;
mod journal;
mod kept;
mod log;
mod outside;
mod printer;
mod progress;
mod project;
mod recovery;
mod redaction;
mod remembered;
mod scratch;
mod secrets;
mod signals;
mod source;
mod stories;
mod whereabouts;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::Parser as _;
use clap::error::{ContextKind, ContextValue};
use odibi_plan::config::LogLevel;

use crate::args::{Arguments, Command, ConfigCommand, SecretsCommand};
use crate::printer::Printer;
pub use crate::redaction::Redaction;

/// Everything an invocation takes from the process around it.
pub struct World {
    /// Command line, the program's name first.
    pub args: Vec<OsString>,
    /// Relative paths start here.
    pub current_dir: PathBuf,
    /// Environment variables that are valid UTF-8.
    pub variables: BTreeMap<String, String>,
    /// Results.
    pub stdout: Box<dyn Write + Send>,
    /// Everything else.
    pub stderr: Box<dyn Write + Send>,
    /// A person looks at stdout.
    pub stdout_is_terminal: bool,
    /// A person looks at stderr.
    pub stderr_is_terminal: bool,
    /// SIGINT and SIGTERM stop a run cleanly.
    pub handle_signals: bool,
    /// The program that this process runs, which compiles plugins in a process of its own. `None`: this process is
    /// somebody else's, and compiles by itself.
    pub program: Option<PathBuf>,
    /// What is not shown. Who reports panics asks it too.
    pub redaction: Redaction,
}

/// The streams of a [`World`].
pub(crate) struct Streams {
    pub(crate) stdout: Box<dyn Write + Send>,
    pub(crate) stderr: Box<dyn Write + Send>,
    pub(crate) stdout_is_terminal: bool,
    pub(crate) stderr_is_terminal: bool,
}

/// What commands know of the world besides the streams.
pub(crate) struct Surroundings {
    pub(crate) current_dir: PathBuf,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) handle_signals: bool,
    pub(crate) program: Option<PathBuf>,
}

impl Surroundings {
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }
}

/// Runs one invocation and returns its exit code, one of [`exit`].
#[must_use]
pub fn run(world: World) -> u8 {
    let World {
        args,
        current_dir,
        variables,
        stdout,
        stderr,
        stdout_is_terminal,
        stderr_is_terminal,
        handle_signals,
        program,
        redaction,
    } = world;
    let streams = Streams {
        stdout,
        stderr,
        stdout_is_terminal,
        stderr_is_terminal,
    };
    let around = Surroundings {
        current_dir,
        variables,
        handle_signals,
        program,
    };
    let variable = |name: &str| around.variable(name);
    let arguments = match Arguments::try_parse_from(&args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let given = log::Given::guessed(&args, &variable);
            let plain = around.variable("NO_COLOR").is_some_and(|v| !v.is_empty());
            return usage(&error, streams, given, plain);
        }
    };
    // What that process says is for the one that called it, which expects a text.
    let is_inner = matches!(arguments.command, Command::CompileComponent);
    let given = if is_inner {
        Ok(log::Given::text())
    } else {
        arguments.global.log().or_variables(&variable)
    };
    let refused = given.as_ref().err().cloned();
    let given = given.unwrap_or_else(|_| log::Given::guessed(&args, &variable));
    let printer = Printer::new(streams, &arguments.global, given, redaction, &variable);
    if let Some(message) = refused {
        printer.error(&message);
        return exit::USAGE;
    }
    if around.program.is_some() && !is_inner {
        printer.log.own_process();
    }
    dispatch(arguments.command, &around, &printer)
}

fn dispatch(command: Command, around: &Surroundings, printer: &Printer) -> u8 {
    match command {
        Command::Run(run) => command::run::run(&run, around, printer),
        Command::Retry(retry) => command::retry::retry(&retry, around, printer),
        Command::Runs(runs) => command::runs::runs(&runs, around, printer),
        Command::Validate(validate) => command::validate::validate(&validate, around, printer),
        Command::Doctor(config) => command::connections::doctor(&config, around, printer),
        Command::Plan(selected) => command::plan::plan(&selected, around, printer),
        Command::Init(init) => command::init::init(&init, around, printer),
        Command::Schema => command::reference::schema(printer),
        Command::Completions { shell } => command::reference::completions(shell, printer),
        Command::Man { command } => command::reference::man(&command, printer),
        Command::Config {
            command: ConfigCommand::Show(show),
        } => command::config::show(&show, around, printer),
        Command::Secrets {
            command: SecretsCommand::Check(check),
        } => command::secrets::check(&check, around, printer),
        Command::Explain { code } => command::explain::explain(code.as_deref(), printer),
        Command::Plugin { command } => command::plugin::plugin(&command, around, printer),
        Command::List { what, config } => {
            command::operations::list(what, config.as_deref(), around, printer)
        }
        Command::Alerts { command } => command::alerts::alerts(&command, around, printer),
        Command::Story { command } => command::story::story(&command, around, printer),
        Command::CompileComponent => command::compile::compile(around, printer),
        Command::Show { operation, config } => {
            command::operations::show(&operation, config.as_deref(), around, printer)
        }
    }
}

/// Help and version are results; a mistake is a problem.
fn usage(error: &clap::Error, mut streams: Streams, given: log::Given, plain: bool) -> u8 {
    if !error.use_stderr() {
        let text = if streams.stdout_is_terminal && !plain {
            error.render().ansi().to_string()
        } else {
            error.render().to_string()
        };
        let _ = streams.stdout.write_all(text.as_bytes());
        return exit::DONE;
    }
    let coloured = streams.stderr_is_terminal && !plain;
    let log = log::Log::new(
        streams.stderr,
        streams.stderr_is_terminal,
        given,
        Redaction::default(),
    );
    let text = error.render();
    let hint = instead(error);
    if log.is_structured() {
        let text = text.to_string();
        let message = text.trim_end().trim_start_matches("error: ");
        let entry = log::Entry {
            hints: hint,
            ..log::Entry::new("usage", message)
        };
        log.entry(LogLevel::Error, &entry);
    } else {
        let mut text = if coloured {
            text.ansi().to_string()
        } else {
            text.to_string()
        };
        if let Some(hint) = hint {
            text += &format!("\nhint: {hint}\n");
        }
        log.text(LogLevel::Error, &text);
    }
    exit::USAGE
}

/// What to write in place of a flag of ODIBI's that odibi has another word for.
fn instead(error: &clap::Error) -> Option<&'static str> {
    let ContextValue::String(flag) = error.get(ContextKind::InvalidArg)? else {
        return None;
    };
    (flag == "--dry-run").then_some("`odibi plan` shows what a run would do, and touches nothing")
}
