//! `odibi run`: plans, runs, writes the stories, sums up.

use std::sync::{Arc, Mutex, PoisonError};

use odibi_delta::DeltaDriver;
use odibi_engine::{DataEngine, EngineOptions};
use odibi_plan::plan::{OnError, PlannedNode};
use odibi_plan::{Sources, Span};
use odibi_run::port::{Cancel, Clock as _, EventSink, Ports};
use odibi_run::{Settings, Summary};
use odibi_sandbox::{Capture, CaptureNotice};
use odibi_state::{RunMark, RunSelection};
use odibi_story::Withhold;
use odibi_story::event::{Event, NodeRef, RunEvent};
use odibi_story::failure::{Failure, Place};
use odibi_story::render;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::args::{OnErrorWord, Options, Output, Run, Selected};
use crate::clock::SystemClock;
use crate::command::retry::{self, Repeat};
use crate::copies::Copies;
use crate::journal::Journal;
use crate::log::Guests;
use crate::outside::Outside;
use crate::printer::Printer;
use crate::progress::{Display, Excerpt};
use crate::project::{self, Loaded, Purpose};
use crate::recovery::{self, Finder};
use crate::remembered::{Beginning, Remembered, leases};
use crate::scratch::Scratch;
use crate::signals::Signals;
use crate::stories::{self, Written};
use crate::{Surroundings, chosen, exit, hush, whereabouts};

/// A guest's stack is limited to 512 KiB; the host's frames around it need room as well.
const THREAD_STACK_BYTES: usize = 4 * 1024 * 1024;
/// Rows in a batch, where the transform does not ask for fewer.
const BATCH_ROWS: usize = 32 * 1024;

pub(crate) fn run(run: &Run, around: &Surroundings, printer: &Printer) -> u8 {
    if run.resume {
        return retry::resume(&run.selected.config, &run.options, around, printer);
    }
    let order = Order {
        selected: &run.selected,
        options: &run.options,
        repeat: None,
    };
    ordered(&order, around, printer)
}

/// What is to be run, and how.
pub(crate) struct Order<'a> {
    pub(crate) selected: &'a Selected,
    pub(crate) options: &'a Options,
    pub(crate) repeat: Option<&'a Repeat>,
}

/// Runs what is ordered, from the project file to the exit code.
pub(crate) fn ordered(order: &Order<'_>, around: &Surroundings, printer: &Printer) -> u8 {
    let recorded = Recorded::default();
    let capture = match recorded.capture(order.options, around) {
        Ok(capture) => capture,
        Err(failure) => {
            printer.failure(&failure);
            return exit::NOT_STARTED;
        }
    };
    let purpose = Purpose::Run {
        metered: order.options.metered,
        capture: capture.map(|capture| hush(capture, printer)),
    };
    let mut loaded = match project::load_for(order.selected, purpose, around, printer) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    if order.options.parallel {
        printer.warning(
            "`--parallel` has no effect: nodes always run side by side, `--workers` says how many",
        );
    }
    if let Some(word) = order.options.on_error {
        let on_error = on_error(word);
        let nodes = loaded.plan.nodes.iter_mut();
        nodes.for_each(|node| node.on_error = on_error);
    }
    loaded.print_diagnostics(printer);
    if loaded.has_errors() {
        if printer.output == Output::Json {
            printer.json(&json!({ "outcome": null, "exit_code": exit::PROJECT_INVALID, "diagnostics": loaded.diagnostics_json() }));
        }
        return exit::PROJECT_INVALID;
    }
    if loaded.plan.nodes.is_empty() {
        return nothing_selected(printer);
    }
    match execute(order, &mut loaded, &recorded, around, printer) {
        Ok(code) => code,
        Err(failure) => {
            printer.failure(&failure);
            exit::NOT_STARTED
        }
    }
}

/// A capture that keeps no secrets.
fn hush(capture: Capture, printer: &Printer) -> Capture {
    let redaction = printer.redaction().clone();
    Capture {
        hush: Some(Arc::new(move |value: &mut Value| redaction.json(value))),
        ..capture
    }
}

fn nothing_selected(printer: &Printer) -> u8 {
    printer.error("the selection holds no node");
    exit::NOTHING_SELECTED
}

fn on_error(word: OnErrorWord) -> OnError {
    match word {
        OnErrorWord::FailFast => OnError::FailFast,
        OnErrorWord::FailLater => OnError::FailLater,
        OnErrorWord::Ignore => OnError::Ignore,
    }
}

fn execute(
    order: &Order<'_>,
    loaded: &mut Loaded,
    recorded: &Recorded,
    around: &Surroundings,
    printer: &Printer,
) -> Result<u8, Failure> {
    let (code, mark) = execute_marked(order, loaded, recorded, around, printer)?;
    // Nothing comes after this: as long as the mark is there, the next run goes on with this one.
    if let Err(failure) = mark.and_then(|mark| mark.map_or(Ok(()), RunMark::remove)) {
        let what = "the end of this run could not be noted: the next one takes it for interrupted";
        recovery::warn(what, &failure, printer);
    }
    Ok(code)
}

/// The mark of a run that has begun, when its end was noted.
type Ended = Result<Option<RunMark>, Failure>;

#[expect(
    clippy::too_many_lines,
    reason = "one thing after the other, each once"
)]
fn execute_marked(
    order: &Order<'_>,
    loaded: &mut Loaded,
    recorded: &Recorded,
    around: &Surroundings,
    printer: &Printer,
) -> Result<(u8, Ended), Failure> {
    let options = order.options;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = options.workers.map_or(processors, usize::from);
    let clock = Arc::new(SystemClock::new());
    let run_id = uuid::Uuid::now_v7().to_string();
    printer.log.of_run(&run_id);
    let place = loaded.state.clone();
    let state_dir = place.dir.clone();
    let state = place.open()?;
    let scratch = state_dir.join("scratch").join(&run_id);
    let scratch = Scratch::create(scratch.clone()).map_err(|error| {
        let shown = scratch.display();
        let message = format!("cannot create the scratch directory: {shown}");
        not_started(message, &error)
    })?;
    let engine = DataEngine::new(EngineOptions {
        project_dir: loaded.directory.clone(),
        scratch_dir: scratch.path.clone(),
        state_dir: (!place.is_shared()).then(|| state_dir.clone()),
        memory_bytes_max: options.memory.unwrap_or_else(|| memory_mib(processors)) << 20,
        // How many instances share the rows would show in what each of them does.
        instances_max: if options.metered { 1 } else { processors },
        batch_rows: BATCH_ROWS,
    })?;
    // A recording holds what one step was sent.
    let engine = if options.capture_failures.is_some() {
        engine.without_chains()
    } else {
        engine
    };
    let outside = Outside::new(loaded, &state, &run_id, &clock, around);
    let finder = Finder {
        outside: &outside,
        state: state.as_ref(),
        place: &place,
        engine: &engine,
        project: &loaded.plan.project,
        environment: loaded.environment.as_deref(),
        story: loaded.plan.story.as_ref(),
        run_id: &run_id,
        now: clock.now(),
    };
    recovery::recover(&finder, printer)?;
    let leases = leases(
        state.as_ref(),
        &run_id,
        &loaded.plan,
        options,
        &clock,
        printer,
    )?;
    if place.is_shared() {
        // Whose leases were taken now, of that run it is known only now that it was killed.
        recovery::recover(&finder, printer)?;
    }
    // Of the whole plan: what is read back is no other node for that.
    let digests = chosen::digests(&loaded.plan, &loaded.directory);
    let repeats = match order.repeat {
        None => {
            chosen::narrow(loaded, state.as_ref(), &engine)?
                .iter()
                .for_each(|told| printer.info(&told.to_string()));
            None
        }
        Some(repeat) => Some(retry::narrow(
            repeat,
            &mut loaded.plan,
            state.as_ref(),
            &engine,
            printer,
        )?),
    };
    if loaded.plan.nodes.is_empty() {
        return Ok((nothing_selected(printer), Ok(None)));
    }
    if order.repeat.is_some_and(|repeat| repeat.dry) {
        return Ok((exit::DONE, Ok(None)));
    }
    let loaded = &*loaded;
    let logical_time = loaded.at;
    let beginning = Beginning {
        run_id: &run_id,
        plan: &loaded.plan,
        config_path: loaded.path.display().to_string(),
        selection: selection(order.selected, loaded),
        logical_time,
        leases,
        repeats,
    };
    let runtime = runtime(processors)
        .map_err(|error| not_started("cannot start threads".to_owned(), &error))?;
    let cancel = Cancel::default();
    // From here on a signal ends the run, and not the process: what has begun is brought to an end.
    let signals = Signals::watch(&runtime, around, &cancel, printer)
        .map_err(|error| not_started("cannot listen to signals".to_owned(), &error))?;
    let remembered = Remembered::begin(Arc::clone(&state), beginning, &clock, printer)?;
    state.note_digests(&run_id, &digests)?;
    let mut fingerprint_key = [0; 32];
    getrandom::fill(&mut fingerprint_key).map_err(|error| {
        let message = "the system has no random numbers".to_owned();
        not_started(message, &std::io::Error::other(error.to_string()))
    })?;
    let withhold = (loaded.plan.is_private()).then(|| Withhold::new(fingerprint_key));
    if withhold.is_some() {
        hush::hush();
    }
    let outside = outside.begun(printer);
    let engine = engine
        .with_batch_log(remembered.batches())
        .with_guest_log(Arc::new(Guests {
            log: printer.log.clone(),
            withhold: withhold.clone(),
        }))
        .with_driver(Arc::new(DeltaDriver));
    let engine = Arc::new(engine);
    let mut journal = Journal::create(
        &state_dir.join("runs").join(&run_id),
        Display::new(
            printer,
            &loaded.plan,
            excerpts(loaded, printer.colour_stderr()),
        ),
        printer.redaction().clone(),
    )
    .map_err(|error| {
        not_started(
            format!(
                "cannot write below the state directory: {}",
                state_dir.display()
            ),
            &error,
        )
    })?;
    if let Some(withhold) = withhold {
        journal.withhold(withhold);
    }
    let copies = state.events_copy(&run_id);
    let copies = copies.map(|copy| Copies::start(journal.path().to_owned(), copy));
    let copies = copies.transpose()?;
    let ports = Ports {
        engine: engine.clone(),
        transforms: loaded.sandbox.clone(),
        clock: clock.clone(),
    };
    let settings = Settings {
        run_id: run_id.clone(),
        continues: remembered.continues().cloned(),
        slots: remembered.slots().clone(),
        workers,
        odibi_version: env!("CARGO_PKG_VERSION").to_owned(),
        logical_time,
        sample_rows_max: loaded.plan.story.as_ref().map_or(0, |s| s.sample_rows_max),
        place: Some(places(loaded)),
        host: whereabouts::host(),
        git_commit: whereabouts::git_commit(&loaded.directory),
        environment: loaded.environment.clone(),
        user: loaded
            .plan
            .story
            .as_ref()
            .filter(|story| story.record_user)
            .and_then(|_| whereabouts::user()),
        fingerprint_key,
    };
    let summary = runtime.block_on(odibi_run::run(
        &loaded.plan,
        &ports,
        &settings,
        &cancel,
        &mut Told {
            journal: &mut journal,
            remembered: &remembered,
        },
    ));
    recorded.say(&clock, &mut journal);
    let code = exit::of_run(summary.outcome, signals.received());
    journal.append(clock.now(), RunEvent::ExitDecided { exit_code: code });
    let events = journal.events().to_vec();
    let story = loaded.plan.story.as_ref();
    let mut stories = stories::write(&events, story, &engine, clock.now(), &mut |said| {
        journal.append(clock.now(), said);
    });
    // What could not be posted is said at the end.
    let _ = outside.ended(&stories);
    let continues = remembered.continues().cloned();
    // From here on the pipelines are free for another run: what follows only tells of this one.
    let ended = remembered.end(summary.outcome, code, clock.now());
    for said in outside.finish(&stories) {
        journal.append(clock.now(), said);
    }
    let told = stories::tell_of_alerts(&mut stories, journal.events(), story, &engine);
    for said in told {
        journal.append(clock.now(), said);
    }
    journal.close_display();
    if let Some(error) = journal.take_write_error() {
        printer.warning(&format!("the event log is incomplete: {error}"));
    }
    if let Some(Err(failure)) = copies.map(Copies::finish) {
        let what = "what this run said is on this machine only";
        recovery::warn(what, &failure, printer);
    }
    report(
        &Report {
            summary: &summary,
            stories: &stories,
            journal: &journal,
            run_id: &run_id,
            continues: continues.as_ref(),
            code,
        },
        printer,
    );
    Ok((code, ended.map(Some)))
}

/// What was selected, in words that mean the same when the run is repeated.
fn selection(selected: &Selected, loaded: &Loaded) -> RunSelection {
    let environment = loaded.environment.clone();
    if loaded.asks_state {
        let nodes = loaded.plan.nodes.iter();
        let names = nodes.map(|node| format!("{}.{}", node.pipeline, node.name));
        return RunSelection {
            select: names.collect(),
            environment,
            ..RunSelection::default()
        };
    }
    RunSelection {
        pipelines: selected.pipeline.clone(),
        nodes: selected.node.clone(),
        tags: selected.tag.clone(),
        select: selected.select.clone(),
        exclude: selected.exclude.clone(),
        environment,
    }
}

/// Events go to the journal, and how nodes end to the state.
struct Told<'a> {
    journal: &'a mut Journal,
    remembered: &'a Remembered,
}

impl EventSink for Told<'_> {
    fn emit(&mut self, event: &Event) {
        let event = self.journal.open(event);
        self.journal.emit(&event);
        self.remembered.note(&event);
    }
}

/// Failures of plugins that were recorded, or could not be. Kept until the run has ended: its events come from one task.
#[derive(Default)]
struct Recorded(Arc<Mutex<Vec<CaptureNotice>>>);

impl Recorded {
    fn capture(
        &self,
        options: &Options,
        around: &Surroundings,
    ) -> Result<Option<Capture>, Failure> {
        let Some(dir) = &options.capture_failures else {
            return Ok(None);
        };
        let notices = Arc::clone(&self.0);
        let tell = move |notice| lock(&notices).push(notice);
        let capture = Capture::new(around.current_dir.join(dir), Arc::new(tell))?;
        Ok(Some(capture.with_columns(options.capture_column.clone())))
    }

    fn say(&self, clock: &SystemClock, journal: &mut Journal) {
        for notice in lock(&self.0).drain(..) {
            let (step, node) = (
                notice.step,
                NodeRef {
                    pipeline: notice.pipeline,
                    name: notice.node,
                },
            );
            let said = match notice.capsule {
                Ok(path) => RunEvent::FailureCaptured {
                    node,
                    step,
                    path: path.display().to_string(),
                },
                Err(failure) => RunEvent::CaptureGivenUp {
                    node,
                    step,
                    failure,
                },
            };
            journal.append(clock.now(), said);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each processor may hold an instance of every step that runs.
fn memory_mib(processors: usize) -> u64 {
    512.max(64 * processors as u64)
}

fn runtime(processors: usize) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.max(2))
        .thread_stack_size(THREAD_STACK_BYTES)
        .enable_all()
        .build()
}

fn not_started(message: String, error: &std::io::Error) -> Failure {
    Failure::new(
        odibi_story::FailureClass::Denied,
        "run/state-directory",
        message,
    )
    .cause(error.to_string())
    .hint("set `ODIBI_STATE_DIR` to a directory that can be written")
}

/// Finds the line of the YAML that a failure of a step belongs to.
fn places(loaded: &Loaded) -> odibi_run::PlaceOf {
    let (plan, sources) = (loaded.plan.clone(), loaded.sources.clone());
    Arc::new(move |node, failure| {
        let span = span(&sources, plan.nodes.get(node.0)?, failure);
        let (line, column) = sources.line_column(span.file, span.start);
        Some(Place {
            file: sources.name(span.file).to_owned(),
            line,
            column,
        })
    })
}

fn span(sources: &Sources, node: &PlannedNode, failure: &Failure) -> Span {
    let step = failure.step.and_then(|step| node.steps.get(step));
    let text = failure.span.map(|span| span.start..span.end);
    step.map_or(node.span, |step| {
        step.place(sources, failure.param.as_deref(), text)
    })
}

/// Shows the lines of the project that a failure of a node belongs to.
fn excerpts(loaded: &Loaded, colour: bool) -> Excerpt {
    let (plan, sources) = (loaded.plan.clone(), loaded.sources.clone());
    Box::new(move |node, failure| {
        failure.place.as_ref()?;
        let mut nodes = plan.nodes.iter();
        let node = nodes.find(|n| n.pipeline == node.pipeline && n.name == node.name)?;
        let span = span(&sources, node, failure);
        Some(odibi_plan::diagnostic::excerpt(span, &sources, colour))
    })
}

struct Report<'a> {
    summary: &'a Summary,
    stories: &'a [Written],
    journal: &'a Journal,
    run_id: &'a str,
    continues: Option<&'a String>,
    code: u8,
}

fn report(report: &Report<'_>, printer: &Printer) {
    if printer.output == Output::Json {
        printer.json(&report_json(report));
        return;
    }
    for written in report.stories {
        printer.result(&render::terminal::render(
            &written.story,
            printer.colour_stdout,
        ));
        if printer.verbose > 0 {
            let costs = render::terminal::costs(&written.story, printer.colour_stdout);
            printer.result(&costs);
        }
        if let Some(path) = written.paths.iter().find(|p| p.ends_with(".md")) {
            printer.result(&format!("story: {path}\n"));
        }
    }
    if report
        .stories
        .iter()
        .any(|w| w.story.has_internal_failure())
    {
        printer.problem(&format!(
            "this is a bug in odibi; please report it with run id {} and the event log {}",
            report.run_id,
            report.journal.path().display()
        ));
    }
}

fn report_json(report: &Report<'_>) -> Value {
    json!({
        "run_id": report.run_id,
        "continues": report.continues,
        "outcome": report.summary.outcome.word(),
        "exit_code": report.code,
        "nodes": {
            "succeeded": report.summary.succeeded,
            "recovered": report.summary.recovered,
            "failed": report.summary.failed,
            "skipped": report.summary.skipped,
            "cancelled": report.summary.cancelled,
        },
        "events": report.journal.path().display().to_string(),
        "pipelines": report.stories.iter().map(|w| json!({
            "pipeline": w.pipeline,
            "story_paths": w.paths,
            "story": serde_json::from_str::<Value>(&render::json::render(&w.story)).unwrap_or(Value::Null),
        })).collect::<Vec<_>>(),
    })
}
