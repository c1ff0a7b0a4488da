//! The command `odibi`: arguments, printer, exit codes, one file per command. A library, so that tests call it in process.

mod args;
mod clock;
mod command;
mod dotenv;
pub mod exit;
mod forecast;
mod journal;
mod outside;
mod printer;
mod progress;
mod project;
mod recovery;
mod remembered;
mod source;
mod stories;
mod whereabouts;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::Parser as _;

use crate::args::{Arguments, Command, ConfigCommand};
use crate::printer::Printer;

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
    } = world;
    let mut streams = Streams {
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
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error, &mut streams),
    };
    let printer = Printer::new(streams, &arguments.global, &|name| around.variable(name));
    match arguments.command {
        Command::Run(run) => command::run::run(&run, &around, &printer),
        Command::Retry(retry) => command::retry::retry(&retry, &around, &printer),
        Command::Runs(runs) => command::runs::runs(&runs, &around, &printer),
        Command::Validate(validate) => command::validate::validate(&validate, &around, &printer),
        Command::Doctor(config) => command::connections::doctor(&config, &around, &printer),
        Command::Plan(selected) => command::plan::plan(&selected, &around, &printer),
        Command::Init(init) => command::init::init(&init, &around, &printer),
        Command::Schema => command::reference::schema(&printer),
        Command::Completions { shell } => command::reference::completions(shell, &printer),
        Command::Man { command } => command::reference::man(&command, &printer),
        Command::Config {
            command: ConfigCommand::Show(show),
        } => command::config::show(&show, &around, &printer),
        Command::Explain { code } => command::explain::explain(code.as_deref(), &printer),
        Command::Plugin { command } => command::plugin::plugin(&command, &around, &printer),
        Command::List { what, config } => {
            command::operations::list(what, config.as_deref(), &around, &printer)
        }
        Command::Alerts { command } => command::alerts::alerts(&command, &around, &printer),
        Command::Story { command } => command::story::story(&command, &around, &printer),
        Command::CompileComponent => command::compile::compile(&around, &printer),
        Command::Show { operation, config } => {
            command::operations::show(&operation, config.as_deref(), &around, &printer)
        }
    }
}

/// Help and version are results; a mistake is a problem.
fn usage(error: &clap::Error, streams: &mut Streams) -> u8 {
    if error.use_stderr() {
        let text = if streams.stderr_is_terminal {
            error.render().ansi().to_string()
        } else {
            error.render().to_string()
        };
        let _ = streams.stderr.write_all(text.as_bytes());
        exit::USAGE
    } else {
        let text = if streams.stdout_is_terminal {
            error.render().ansi().to_string()
        } else {
            error.render().to_string()
        };
        let _ = streams.stdout.write_all(text.as_bytes());
        exit::DONE
    }
}
