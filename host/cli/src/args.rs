//! The command line, as clap reads it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use odibi_plan::config::LogLevel;

use crate::log::{self, LogFormat, LogLevelWord};

/// Pipelines in YAML; every transform runs as a sandboxed WebAssembly component.
#[derive(Debug, Parser)]
#[command(name = "odibi", version, about, after_help = crate::exit::TABLE, max_term_width = 100)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print nothing but results, warnings and errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print more: costs, notes, what the guests log (twice: every event).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What is told on stderr: this and everything more serious [default: `ODIBI_LOG_LEVEL`, else `logging.level` of the
    /// project, else info].
    #[arg(long, global = true, value_enum, value_name = "LEVEL", ignore_case = true, conflicts_with_all = ["quiet", "verbose"])]
    pub log_level: Option<LogLevelWord>,
    /// How: lines for people, or one JSON object a line and nothing else [default: `ODIBI_LOG_FORMAT`, else
    /// `logging.structured` of the project, else text].
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        ignore_case = true
    )]
    pub log_format: Option<LogFormat>,
    /// Format of what goes to stdout.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// When to use colour. `NO_COLOR` is honoured.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
}

impl Global {
    /// What the flags say of the log.
    pub(crate) fn log(&self) -> log::Given {
        let short = match (self.quiet, self.verbose) {
            (true, _) => Some(LogLevel::Warning),
            (false, 0) => None,
            (false, 1) => Some(LogLevel::Debug),
            (false, _) => Some(LogLevel::Trace),
        };
        log::Given {
            level: self.log_level.map(LogLevel::from).or(short),
            format: self.log_format,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a project.
    Run(Run),
    /// Repeat what an earlier run left to be done.
    Retry(Retry),
    /// Look at earlier runs.
    Runs(Runs),
    /// Check a project without touching data: all faults at once.
    Validate(Validate),
    /// Try what a project reaches: each connection, and whether it is safe to write to.
    Doctor(Config),
    /// Show what a run would do, in order.
    Plan(Selected),
    /// Begin a project: write one that runs.
    Init(Init),
    /// Print the JSON Schema of project files, for editors.
    Schema,
    /// Print the script that completes odibi's commands in a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print a man page: of odibi, or of one of its commands.
    Man {
        /// The command, as in `odibi man plugin inspect`.
        command: Vec<String>,
    },
    /// Look at the configuration.
    Config {
        /// What to do.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Look at the secrets that a project names.
    Secrets {
        /// What to do.
        #[command(subcommand)]
        command: SecretsCommand,
    },
    /// Explain an error code.
    Explain {
        /// The word in brackets, as in `error[config/unknown-node]`. Without it, all codes are listed.
        code: Option<String>,
    },
    /// Look into plugins.
    Plugin {
        /// What to do.
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Look at alerts, and try whom they go to.
    Alerts {
        /// What to do.
        #[command(subcommand)]
        command: AlertsCommand,
    },
    /// Look at stories of runs.
    Story {
        /// What to do.
        #[command(subcommand)]
        command: StoryCommand,
    },
    /// List what a project can use.
    List {
        /// What to list.
        #[arg(value_enum)]
        what: Listed,
        /// Project file whose plugins are listed too.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Compile the component that comes on stdin; how odibi calls itself.
    #[command(name = crate::command::compile::NAME, hide = true)]
    CompileComponent,
    /// Show the params and examples of an operation.
    Show {
        /// `deduplicate`, or `plugin/operation` with `--config`.
        operation: String,
        /// Project file that names the plugin.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Directory of the project; made when it is not there.
    #[arg(default_value = ".")]
    pub directory: PathBuf,
    /// What to begin with.
    #[arg(long, value_enum, default_value_t = Template::Quickstart)]
    pub template: Template,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Template {
    /// One CSV file, cleaned and counted.
    Quickstart,
    /// Two dimensions and a table of facts.
    StarSchema,
    /// Local files on a laptop, storage accounts with `--env prod`.
    Azure,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the project with imports and environment merged in, credentials masked, and where each value was written.
    Show(Show),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretsCommand {
    /// Ask the vaults for every secret of the project. Prints names, never values.
    #[command(alias = "validate")]
    Check(Config),
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub config: Config,
    /// Put in the values of variables, `vars` and dates, and write out recipes.
    #[arg(long)]
    pub resolved: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Show what a component is, and what it could reach.
    Inspect(Inspect),
    /// Compile the components that come with odibi, and those of a project, for this machine: no run has to wait for it.
    Compile {
        #[command(flatten)]
        config: Config,
    },
    /// See a recorded failure again.
    Replay(Replay),
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoryCommand {
    /// List the stories that are there, the newest first.
    List {
        #[command(flatten)]
        shelf: ShelfArgs,
        /// So many of each pipeline, at most.
        #[arg(short, long, default_value_t = 20, value_name = "NUMBER")]
        limit: usize,
    },
    /// Show a story.
    Show {
        /// Run id, its beginning, or the JSON file of a story.
        run: String,
        #[command(flatten)]
        shelf: ShelfArgs,
        /// In which form.
        #[arg(short, long, value_enum, default_value_t = StoryFormat::Text)]
        format: StoryFormat,
    },
    /// Show the newest story.
    Last {
        #[command(flatten)]
        shelf: ShelfArgs,
        /// In which form.
        #[arg(short, long, value_enum, default_value_t = StoryFormat::Text)]
        format: StoryFormat,
    },
    /// Print where the page of a story is, and open it in a browser if there is one.
    Open {
        /// Run id or its beginning [default: the newest].
        run: Option<String>,
        #[command(flatten)]
        shelf: ShelfArgs,
    },
    /// Show what differs between two runs.
    Diff {
        /// The earlier run: its id, the beginning of it, or the JSON file of its story.
        before: String,
        /// The later run, likewise.
        after: String,
        #[command(flatten)]
        shelf: ShelfArgs,
    },
    /// Write a story to a file, rendered anew.
    Export {
        /// Run id, its beginning, or the JSON file of a story.
        run: String,
        /// Where to; the ending says in which form: `.html`, `.md`, `.json`, `.txt`, `.ndjson` (OpenLineage events).
        file: PathBuf,
        #[command(flatten)]
        shelf: ShelfArgs,
    },
    /// Remove stories that `retention_days` and `retention_count` of the project do not keep.
    Prune {
        #[command(flatten)]
        shelf: ShelfArgs,
        /// Remove also what a run would refuse to remove.
        #[arg(long)]
        yes: bool,
        /// Only list what would go.
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ShelfArgs {
    /// Project file, or its directory [default: the current one].
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Only this pipeline.
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,
    #[command(flatten)]
    pub given: Given,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoryFormat {
    /// Lines for a terminal.
    Text,
    /// Markdown.
    Md,
    /// A page.
    Html,
    /// Everything, as data.
    Json,
    /// OpenLineage events, one a line.
    #[value(name = "openlineage")]
    OpenLineage,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Component file, or the name of a component that comes with odibi: `columns`, `rows`.
    pub component: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Capsule that `odibi run --capture-failures` wrote.
    pub file: PathBuf,
    /// Component to replay with [default: the recorded one, where it was].
    #[arg(long, value_name = "COMPONENT")]
    pub plugin: Option<PathBuf>,
    /// Replay with another version of the component than the recorded one.
    #[arg(long)]
    pub any_version: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listed {
    /// Operations that can stand after `operation:`.
    Operations,
    /// All operations with params and examples, as a page in Markdown.
    Reference,
    /// Limits that can stand under `limits:`.
    Limits,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Config {
    /// Project file, or a directory that holds `odibi.yaml` or `project.yaml`.
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub given: Given,
}

/// What decides how a project is read.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Given {
    /// Environment: a key of `environments:`, a file `env.NAME.yaml` beside the project file, or both.
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// Logical time (RFC 3339), for `${date:…}` and for the clock that guests see [default: now].
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<jiff::Timestamp>,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub config: Config,
    /// Also try each connection. Those that are written to get a small file, which is removed again.
    #[arg(long)]
    pub connect: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Selected {
    #[command(flatten)]
    pub config: Config,
    /// Only this pipeline (repeatable). What its nodes need comes along.
    #[arg(long, value_name = "NAME")]
    pub pipeline: Vec<String>,
    /// Only this node, `node` or `pipeline.node` (repeatable). What it needs comes along.
    #[arg(long, value_name = "NAME")]
    pub node: Vec<String>,
    /// Only nodes with this tag (repeatable). What they need comes along.
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Only these: `node`, `pipeline.node`, `pipeline:NAME`, `tag:NAME`, `state:modified` (since it last succeeded),
    /// `result:failed`, `result:skipped`, `result:succeeded` (in the last run); with a `+` behind, also what depends on them
    /// (repeatable, or several words).
    #[arg(long, value_name = "WORDS")]
    pub select: Vec<String>,
    /// Not these, nor what depends on them; words as for `--select`.
    #[arg(long, value_name = "WORDS")]
    pub exclude: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum OnErrorWord {
    /// No further node starts.
    FailFast,
    /// What depends on it is skipped, everything else runs.
    FailLater,
    /// The run does not fail for it.
    Ignore,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub selected: Selected,
    /// Go on with the last run of the project: what succeeded is not run again.
    #[arg(long, conflicts_with_all = ["pipeline", "node", "tag", "select", "exclude", "as_of"])]
    pub resume: bool,
    #[command(flatten)]
    pub options: Options,
}

/// How a run is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Nodes run side by side, at most [default: the number of processors].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// ODIBI's; nodes always run side by side.
    #[arg(long, hide = true)]
    pub parallel: bool,
    /// Memory of all nodes together: for sorts, which spill to disk what does not fit, and for the plugins
    /// [default: 512, or 64 for each processor].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(64..=1 << 30))]
    pub memory: Option<u64>,
    /// What the failure of a node means, whatever the project says.
    #[arg(long, value_enum, value_name = "WORD")]
    pub on_error: Option<OnErrorWord>,
    /// Count the work of plugins: a number that is the same on every machine. Slower, one instance for each step.
    #[arg(long)]
    pub metered: bool,
    /// Wait so long for another run of the same pipelines: `30s`, `10m` [default: not at all].
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s", hide_default_value = true)]
    pub wait: Duration,
    /// Go on without another run of the same pipelines that hangs: what it still writes is refused.
    #[arg(long, conflicts_with = "wait")]
    pub take_over: bool,
    /// Record what plugins fail on, for `odibi plugin replay`. The files hold rows of the data.
    #[arg(long, value_name = "DIR")]
    pub capture_failures: Option<PathBuf>,
    /// Record this sensitive column as well. Without, no step that is given one is recorded. May be repeated.
    #[arg(long, value_name = "COLUMN", requires = "capture_failures")]
    pub capture_column: Vec<String>,
}

/// The project whose runs are meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct Named {
    /// Project file, or a directory that holds one.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Environment, as for `odibi run`: where state is kept may depend on it.
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// Run to repeat: its id, the beginning of it, or `last`.
    #[arg(default_value = "last")]
    pub run: String,
    #[command(flatten)]
    pub named: Named,
    /// Only nodes that failed or were stopped, and what depends on them.
    #[arg(long)]
    pub failed: bool,
    /// Only nodes that were skipped, and what depends on them.
    #[arg(long, conflicts_with = "failed")]
    pub skipped: bool,
    /// Only this node, `node` or `pipeline.node`, and what depends on it.
    #[arg(long, value_name = "NODE", conflicts_with_all = ["failed", "skipped"])]
    pub from: Option<String>,
    /// Only show which nodes would be run.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// What to do.
    #[command(subcommand)]
    pub command: RunsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List runs, the newest first.
    List(RunsList),
    /// Show what became of a run.
    Show(RunsShow),
    /// Show what differs between two runs, as far as their events tell.
    Diff(RunsDiff),
}

#[derive(Debug, Args)]
pub(crate) struct RunsList {
    #[command(flatten)]
    pub named: Named,
    /// At most so many.
    #[arg(long, default_value_t = 20)]
    pub limit: u32,
    /// Only runs with this pipeline.
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,
    /// Only runs that failed, crashed or were cancelled.
    #[arg(long)]
    pub failed: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunsShow {
    /// Its id, the beginning of it, or `last`.
    #[arg(default_value = "last")]
    pub run: String,
    #[command(flatten)]
    pub named: Named,
}

#[derive(Debug, Args)]
pub(crate) struct RunsDiff {
    /// The earlier run: its id, the beginning of it, or `last`.
    pub before: String,
    /// The later run, likewise.
    pub after: String,
    #[command(flatten)]
    pub named: Named,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// Send a message to each channel that says it is a test.
    Test {
        #[command(flatten)]
        named: Named,
        /// Only to this channel (repeatable).
        #[arg(long, value_name = "NAME")]
        channel: Vec<String>,
    },
    /// List alerts, the newest first, and what became of them.
    List {
        #[command(flatten)]
        named: Named,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Send what waits now.
    Flush {
        #[command(flatten)]
        named: Named,
        /// Also what was given up.
        #[arg(long)]
        failed: bool,
        /// At most so long.
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
        wait: Duration,
    },
}

/// `90s`, `10m`, `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let read: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "not a duration: write `30s`, `10m` or `1h 30m`".to_owned())?;
    read.try_into()
        .map_err(|_| "a duration cannot be negative".to_owned())
}
