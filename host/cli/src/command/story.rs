//! `odibi story`: the stories of a project's runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use odibi_engine::Documents;
use odibi_plan::plan;
use odibi_story::failure::{Failure, FailureClass};
use odibi_story::render::{self, count, duration, plain};
use odibi_story::story::Story;
use odibi_story::story::compare::compare;
use odibi_story::story::shelf::{Index, Shelved};
use serde_json::{Value, json};

use crate::args::{Config, Output, Selected, ShelfArgs, StoryCommand, StoryFormat};
use crate::printer::Printer;
use crate::stories::{self, Place};
use crate::{Surroundings, exit, project};

/// Who made an OpenLineage event.
const PRODUCER: &str = concat!("urn:odibi:", env!("CARGO_PKG_VERSION"));
/// Longest story file that the command line may name, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;

pub(crate) fn story(command: &StoryCommand, around: &Surroundings, printer: &Printer) -> u8 {
    let told = match command {
        StoryCommand::List { shelf, limit } => list(shelf, *limit, around, printer),
        StoryCommand::Show { run, shelf, format } => {
            one(run, shelf, around, printer).map(|story| show(&story, *format, printer))
        }
        StoryCommand::Last { shelf, format } => last(shelf, *format, around, printer),
        StoryCommand::Open { run, shelf } => open(run.as_deref(), shelf, around, printer),
        StoryCommand::Diff {
            before,
            after,
            shelf,
        } => diff(before, after, shelf, around, printer),
        StoryCommand::Export { run, file, shelf } => export(run, file, shelf, around, printer),
        StoryCommand::Prune {
            shelf,
            yes,
            dry_run,
        } => prune(shelf, *yes, *dry_run, around, printer),
    };
    told.unwrap_or_else(|problem| match problem {
        Problem::Failed(failure) => {
            printer.failure(&failure);
            exit::NOT_STARTED
        }
        Problem::Told(code) => code,
    })
}

/// Why a command could not do what it was asked for.
enum Problem {
    Failed(Box<Failure>),
    /// It has been printed; the exit code.
    Told(u8),
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// The story directory of a project.
struct Library {
    documents: Documents,
    settings: plan::Story,
    pipelines: Vec<String>,
}

impl Library {
    fn open(shelf: &ShelfArgs, around: &Surroundings, printer: &Printer) -> Result<Self, Problem> {
        let everything = Selected {
            config: Config {
                config: shelf.config.clone(),
                given: shelf.given.clone(),
            },
            ..Selected::default()
        };
        let loaded = project::load(&everything, around, printer).map_err(Problem::Told)?;
        let Some(settings) = loaded.plan.story.clone() else {
            loaded.print_diagnostics(printer);
            let what = "the project says nothing of where its stories are";
            let failure = Failure::new(FailureClass::Missing, "story/no-section", what);
            return Err(failure
                .hint("add `story: {connection: …}` to the project file")
                .into());
        };
        let mut pipelines: Vec<String> = loaded
            .plan
            .pipelines
            .iter()
            .map(|p| p.name.clone())
            .collect();
        if let Some(wanted) = &shelf.pipeline {
            if !pipelines.contains(wanted) {
                let what = format!("the project has no pipeline `{wanted}`");
                return Err(Failure::new(FailureClass::Missing, "story/no-run", what).into());
            }
            pipelines.retain(|name| name == wanted);
        }
        let scratch = loaded.state.dir.join("stories");
        std::fs::create_dir_all(&scratch).map_err(|error| {
            let what = format!(
                "cannot write below the state directory: {}",
                scratch.display()
            );
            Failure::new(FailureClass::Denied, "run/state-directory", what).cause(error.to_string())
        })?;
        Ok(Self {
            documents: Documents::open(&settings.connection, &loaded.directory, &scratch)?,
            settings,
            pipelines,
        })
    }

    fn place(&self) -> Place<'_> {
        Place::new(&self.documents, &self.settings.path)
    }

    fn shelves(&self) -> Result<Vec<Index>, Failure> {
        let place = self.place();
        self.pipelines
            .iter()
            .map(|pipeline| place.shelf(pipeline, usize::MAX))
            .collect()
    }

    /// The story that a word names: a run id, or its beginning.
    fn find(&self, word: &str) -> Result<(String, Shelved), Failure> {
        let shelves = self.shelves()?;
        let all = shelves
            .iter()
            .flat_map(|index| index.runs.iter().map(|run| (&index.pipeline, run)));
        let mut found: Vec<_> = all
            .filter(|(_, shelved)| shelved.run.run_id.starts_with(word))
            .collect();
        let one = found.pop().ok_or_else(|| {
            let what = format!("there is no story of a run `{word}`");
            Failure::new(FailureClass::Missing, "story/no-run", what)
                .hint("list them with `odibi story list`")
        })?;
        if !found.is_empty() {
            let what = format!("`{word}` is the beginning of {} stories", found.len() + 1);
            return Err(Failure::new(FailureClass::Missing, "story/no-run", what)
                .hint("give more of the run id, or `--pipeline`"));
        }
        Ok((one.0.clone(), one.1.clone()))
    }

    fn newest(&self) -> Result<(String, Shelved), Failure> {
        let shelves = self.shelves()?;
        let newest = shelves
            .iter()
            .filter_map(|index| Some((&index.pipeline, index.runs.last()?)));
        let newest = newest.max_by_key(|(_, shelved)| shelved.run.started_at);
        newest
            .map(|(pipeline, shelved)| (pipeline.clone(), shelved.clone()))
            .ok_or_else(|| {
                Failure::new(
                    FailureClass::Missing,
                    "story/no-run",
                    "there is no story yet",
                )
                .hint("run the project first: `odibi run`")
            })
    }
}

/// A story by run id, or from a file.
fn one(
    word: &str,
    shelf: &ShelfArgs,
    around: &Surroundings,
    printer: &Printer,
) -> Result<Story, Problem> {
    let path = around.current_dir.join(word);
    if path.is_file() {
        return Ok(from_file(&path)?);
    }
    if Path::new(word).extension().is_some() {
        let what = format!("there is no such file: {word}");
        return Err(Failure::new(FailureClass::Missing, "story/no-run", what).into());
    }
    let library = Library::open(shelf, around, printer)?;
    let (pipeline, shelved) = library.find(word)?;
    Ok(library.place().read(&pipeline, &shelved.file)?)
}

fn from_file(path: &Path) -> Result<Story, Failure> {
    let shown = path.display().to_string();
    let unreadable = |cause: String| {
        let what = format!("the file cannot be read: {shown}");
        Failure::new(FailureClass::Missing, "story/unreadable", what).cause(cause)
    };
    let bytes = std::fs::metadata(path)
        .map_err(|error| unreadable(error.to_string()))?
        .len();
    if bytes > FILE_BYTES_MAX {
        return Err(unreadable(format!(
            "it is longer than {}",
            render::bytes(FILE_BYTES_MAX)
        )));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    stories::parse(&bytes, &shown)
}

fn rendered(story: &Story, format: StoryFormat, colour: bool) -> String {
    match format {
        StoryFormat::Text => render::terminal::render(story, colour),
        StoryFormat::Md => render::markdown::render(story),
        StoryFormat::Html => render::html::render(story),
        StoryFormat::Json => render::json::render(story),
        StoryFormat::OpenLineage => {
            let events = odibi_story::lineage::events(story, PRODUCER);
            events.map(|event| format!("{event}\n")).collect()
        }
    }
}

fn show(story: &Story, format: StoryFormat, printer: &Printer) -> u8 {
    let format = match printer.output {
        Output::Json => StoryFormat::Json,
        Output::Text => format,
    };
    printer.result(&rendered(story, format, printer.colour_stdout));
    exit::DONE
}

fn list(
    shelf: &ShelfArgs,
    limit: usize,
    around: &Surroundings,
    printer: &Printer,
) -> Result<u8, Problem> {
    let library = Library::open(shelf, around, printer)?;
    let shelves = library.shelves()?;
    if printer.output == Output::Json {
        let place = library.place();
        let runs = shelves.iter().flat_map(|index| {
            index
                .runs
                .iter()
                .rev()
                .take(limit)
                .map(|shelved| entry(&place, &index.pipeline, shelved))
        });
        printer.json(&Value::Array(runs.collect()));
        return Ok(exit::DONE);
    }
    for index in &shelves {
        let number = count(index.runs.len() as u64, "run");
        printer.result(&format!("{} ({number})\n", plain(&index.pipeline)));
        for shelved in index.runs.iter().rev().take(limit) {
            printer.result(&line(shelved));
        }
    }
    Ok(exit::DONE)
}

/// `  2026-11-23 08:30:00  succeeded  1.24 s  0190…`
fn line(shelved: &Shelved) -> String {
    let run = &shelved.run;
    format!(
        "  {}  {:<11}  {:>12}  {:>22}  {}\n",
        run.started_at.strftime("%Y-%m-%d %H:%M:%S"),
        run.outcome.word(),
        duration(run.duration_ms),
        format!("{} written", count(run.rows_written, "row")),
        plain(&run.run_id)
    )
}

fn entry(place: &Place<'_>, pipeline: &str, shelved: &Shelved) -> Value {
    let run = &shelved.run;
    json!({
        "pipeline": pipeline,
        "run_id": run.run_id,
        "started_at": run.started_at.to_string(),
        "outcome": run.outcome.word(),
        "duration_ms": run.duration_ms,
        "rows_written": run.rows_written,
        "path": place.shown(pipeline, &shelved.file, "json"),
    })
}

fn last(
    shelf: &ShelfArgs,
    format: StoryFormat,
    around: &Surroundings,
    printer: &Printer,
) -> Result<u8, Problem> {
    let library = Library::open(shelf, around, printer)?;
    let (pipeline, shelved) = library.newest()?;
    let story = library.place().read(&pipeline, &shelved.file)?;
    Ok(show(&story, format, printer))
}

fn open(
    run: Option<&str>,
    shelf: &ShelfArgs,
    around: &Surroundings,
    printer: &Printer,
) -> Result<u8, Problem> {
    let library = Library::open(shelf, around, printer)?;
    let (pipeline, shelved) = match run {
        Some(word) => library.find(word)?,
        None => library.newest()?,
    };
    let path = library.place().shown(&pipeline, &shelved.file, "html");
    match printer.output {
        Output::Json => printer.json(&json!({ "path": path })),
        Output::Text => printer.result(&format!("{}\n", plain(&path))),
    }
    // A browser only where a person is, on a screen.
    let on_screen = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| around.variable(name).is_some());
    if printer.bars() && (on_screen || cfg!(target_os = "macos")) {
        let opener = if cfg!(target_os = "macos") {
            "open"
        } else {
            "xdg-open"
        };
        let file = around.current_dir.join(&path);
        let started = Command::new(opener)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        if let Err(error) = started {
            printer.info(&format!("no browser was opened: `{opener}`: {error}"));
        }
    }
    Ok(exit::DONE)
}

fn diff(
    before: &str,
    after: &str,
    shelf: &ShelfArgs,
    around: &Surroundings,
    printer: &Printer,
) -> Result<u8, Problem> {
    let before = one(before, shelf, around, printer)?;
    let after = one(after, shelf, around, printer)?;
    if before.pipeline != after.pipeline {
        let what = format!(
            "these are stories of two pipelines: `{}` and `{}`",
            before.pipeline, after.pipeline
        );
        return Err(Failure::new(FailureClass::Data, "story/no-run", what).into());
    }
    let comparison = compare(&before, &after);
    match printer.output {
        Output::Json => {
            let text = render::json::comparison(&comparison);
            printer.result(&text);
        }
        Output::Text => printer.result(&render::markdown::comparison(&comparison)),
    }
    Ok(exit::DONE)
}

fn export(
    run: &str,
    file: &Path,
    shelf: &ShelfArgs,
    around: &Surroundings,
    printer: &Printer,
) -> Result<u8, Problem> {
    let format = match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => StoryFormat::Html,
        Some("md") => StoryFormat::Md,
        Some("json") => StoryFormat::Json,
        Some("txt") => StoryFormat::Text,
        Some("ndjson") => StoryFormat::OpenLineage,
        Some(_) | None => {
            let what = format!("the ending does not say in which form: {}", file.display());
            let failure = Failure::new(FailureClass::Data, "story/no-form", what);
            return Err(failure
                .hint("use `.html`, `.md`, `.json`, `.txt`, or `.ndjson` for OpenLineage events")
                .into());
        }
    };
    let story = one(run, shelf, around, printer)?;
    let path: PathBuf = around.current_dir.join(file);
    let text = rendered(&story, format, false);
    // In one step: whoever looks at the file sees the whole of it, or what was there before.
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let staged = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    std::fs::write(&staged, text.as_bytes())
        .and_then(|()| std::fs::rename(&staged, &path))
        .map_err(|error| {
            let _ = std::fs::remove_file(&staged);
            let what = format!("cannot write the file: {}", path.display());
            Failure::new(FailureClass::Denied, "write/failed", what).cause(error.to_string())
        })?;
    printer.result(&format!("{}\n", path.display()));
    Ok(exit::DONE)
}

fn prune(
    shelf: &ShelfArgs,
    yes: bool,
    dry_run: bool,
    around: &Surroundings,
    printer: &Printer,
) -> Result<u8, Problem> {
    let library = Library::open(shelf, around, printer)?;
    let rule = stories::retention(&library.settings);
    let place = library.place();
    let now = Timestamp::now();
    let mut gone = Vec::new();
    let mut code = exit::DONE;
    for mut index in library.shelves()? {
        let pipeline = index.pipeline.clone();
        let went = if dry_run {
            rule.apply(&mut index, now, true)
        } else {
            place.prune(&mut index, rule, now, yes)?
        };
        match went {
            Ok(went) => gone.extend(went.into_iter().map(|shelved| (pipeline.clone(), shelved))),
            Err(refusal) => {
                let pipeline = plain(&pipeline);
                printer.problem(&format!(
                    "nothing of `{pipeline}` was removed: {refusal}; `--yes` removes them"
                ));
                code = exit::NOT_STARTED;
            }
        }
    }
    if printer.output == Output::Json {
        let entries = gone
            .iter()
            .map(|(pipeline, shelved)| entry(&place, pipeline, shelved));
        printer.json(&json!({ "dry_run": dry_run, "removed": Value::Array(entries.collect()) }));
        return Ok(code);
    }
    for (pipeline, shelved) in &gone {
        printer.result(&format!("{}{}", plain(pipeline), line(shelved)));
    }
    // The plural of `story` takes more than an `s`.
    let number = if gone.len() == 1 {
        "1 story".to_owned()
    } else {
        format!("{} stories", gone.len())
    };
    let what = if dry_run { "would go" } else { "removed" };
    printer.result(&format!("{number} {what}\n"));
    Ok(code)
}
