//! What a run tells the outside: its alerts, lineage events, traces and metrics. Nothing of it changes how the run ends.
//!
//! Alerts are posted in the outbox first and sent by a thread beside the run, so that a run that is killed still tells of
//! itself: whoever finds it posts what is missing, and sends.

use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use odibi_notify::{Network, Sender, Terms, lineage, telemetry};
use odibi_plan::plan::{
    AlertChannel, AlertEvent, LineageTarget, PlannedPipeline, Secret, Telemetry,
};
use odibi_run::port::Clock;
use odibi_state::{AlertRecord, NewAlert, State};
use odibi_story::event::{AlertFact, RunEvent, Sending};
use odibi_story::failure::{Failure, FailureClass, code};
use odibi_story::render::alert::{self, AlertBody, AlertPipeline};
use odibi_story::story::Story;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::clock::SystemClock;
use crate::printer::Printer;
use crate::project::{Loaded, hex};
use crate::stories::Written;
use crate::{Surroundings, args, recovery, whereabouts};

/// Time that a run waits at its end for what it tells, where `ODIBI_ALERTS_WAIT` does not say otherwise.
const WAIT_MS_DEFAULT: u64 = 10_000;
/// Alerts of one run that are looked up.
const ALERTS_MAX: usize = 10_000;
/// Who made an OpenLineage event.
const PRODUCER: &str = concat!("urn:odibi:", env!("CARGO_PKG_VERSION"));

/// Everything that one run tells.
pub(crate) struct Outside {
    channels: Vec<AlertChannel>,
    lineage: Option<lineage::Destination>,
    lineage_file: Option<PathBuf>,
    /// Of jobs and datasets; `None` for the project's name.
    namespace: Option<String>,
    telemetry: Option<telemetry::Destination>,
    project: String,
    pipelines: Vec<PlannedPipeline>,
    environment: Option<String>,
    run_id: String,
    network: Network,
    wait_ms: u64,
    state: Arc<dyn State>,
    clock: Arc<SystemClock>,
    sender: Option<Sender>,
    /// Lineage events of runs that were killed, which this one sends.
    killed: Mutex<Vec<Value>>,
    /// What went wrong so far; said at the end.
    trouble: Mutex<Vec<RunEvent>>,
}

impl Outside {
    pub(crate) fn new(
        loaded: &Loaded,
        state: &Arc<dyn State>,
        run_id: &str,
        clock: &Arc<SystemClock>,
        around: &Surroundings,
    ) -> Self {
        let plan = &loaded.plan;
        let target = plan.lineage.as_ref();
        Self {
            channels: plan.alerts.clone(),
            lineage: target.and_then(|target| lineage_destination(target, around)),
            lineage_file: target
                .and_then(|target| target.file.as_ref())
                .map(|file| loaded.directory.join(file)),
            namespace: target.and_then(|target| target.namespace.clone()),
            telemetry: telemetry_destination(loaded, around),
            project: plan.project.clone(),
            pipelines: plan.pipelines.clone(),
            environment: loaded.environment.clone(),
            run_id: run_id.to_owned(),
            network: network(around),
            wait_ms: wait_ms(around),
            state: Arc::clone(state),
            clock: Arc::clone(clock),
            sender: None,
            killed: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// The run has begun: says so, and begins to send what waits.
    pub(crate) fn begun(mut self, printer: &Printer) -> Self {
        for channel in &self.channels {
            if channel.on_events.contains(&AlertEvent::Start) {
                self.post_start(channel);
            }
        }
        if !self.channels.is_empty() {
            match self.start_sender() {
                Ok(sender) => self.sender = Some(sender),
                Err(failure) => {
                    let what = "alerts of this run are kept and not sent: the next run sends them";
                    recovery::warn(what, &failure, printer);
                }
            }
        }
        self
    }

    fn start_sender(&self) -> Result<Sender, Failure> {
        let environment = self.environment.clone().unwrap_or_default();
        let state = Arc::clone(&self.state);
        let outbox = state.sender(&self.run_id, &self.project, &environment)?;
        let terms = Terms {
            network: self.network.clone(),
            ..Terms::default()
        };
        let clock: Arc<dyn Clock> = self.clock.clone();
        Sender::start(self.channels.clone(), outbox, clock, terms)
    }

    /// As [`Outside::ended`], of a run that was killed. Nobody else sends its lineage events.
    ///
    /// # Errors
    /// As [`Outside::ended`].
    pub(crate) fn found(&self, written: &[Written]) -> Result<(), Failure> {
        let posted = self.ended(written);
        // Otherwise the next start finds it again.
        if posted.is_ok() && (self.lineage.is_some() || self.lineage_file.is_some()) {
            let mut killed = self.killed.lock().unwrap_or_else(PoisonError::into_inner);
            killed.extend(self.lineage_events(written));
        }
        posted
    }

    /// Posts what there is to say of a run that has ended, or that was killed. Says nothing twice.
    ///
    /// # Errors
    /// Not all is posted. This run says so, of each alert.
    pub(crate) fn ended(&self, written: &[Written]) -> Result<(), Failure> {
        let mut posted = Ok(());
        for channel in &self.channels {
            let of = channel.pipeline.as_ref();
            let told = written
                .iter()
                .filter(|one| of.is_none_or(|pipeline| *pipeline == one.pipeline));
            let told: Vec<&Written> = told.collect();
            let stories: Vec<&Story> = told.iter().map(|one| &one.story).collect();
            let paths = |pipeline: &str| {
                let found = told.iter().find(|one| one.pipeline == pipeline);
                found.map(|one| one.paths.clone()).unwrap_or_default()
            };
            let occasions = alert::occasions(&stories);
            for about in alert::picks(&occasions, &channel.on_events) {
                let body = AlertBody::of(about, &stories, &paths);
                let subject = alert::subject(about, &stories);
                posted = posted.and(self.post(channel, about, &subject, body));
            }
        }
        if let Some(sender) = &self.sender {
            sender.wake();
        }
        posted
    }

    fn post_start(&self, channel: &AlertChannel) {
        let of = channel.pipeline.as_ref();
        let told = self
            .pipelines
            .iter()
            .filter(|planned| of.is_none_or(|pipeline| *pipeline == planned.name));
        let pipelines: Vec<AlertPipeline> = told.map(begins).collect();
        if pipelines.is_empty() {
            return;
        }
        let subject: Vec<String> = pipelines.iter().map(|p| p.pipeline.clone()).collect();
        let body = AlertBody {
            project: self.project.clone(),
            run_id: self.run_id.clone(),
            started_at: self.clock.now(),
            host: whereabouts::host(),
            odibi_version: env!("CARGO_PKG_VERSION").to_owned(),
            pipelines,
            ..AlertBody::of(AlertEvent::Start, &[], &|_| Vec::new())
        };
        // What could not be posted is said at the end.
        let _ = self.post(channel, AlertEvent::Start, &subject, body);
    }

    fn post(
        &self,
        channel: &AlertChannel,
        about: AlertEvent,
        subject: &[String],
        mut body: AlertBody,
    ) -> Result<(), Failure> {
        body.environment.clone_from(&self.environment);
        body.id = id(&self.project, &body.run_id, &channel.name, about);
        let alert = NewAlert {
            id: &body.id,
            project: &self.project,
            environment: self.environment.as_deref().unwrap_or_default(),
            channel: &channel.name,
            kind: channel.kind.word(),
            about: about.word(),
            subject,
            run_id: &body.run_id,
            now: self.clock.now(),
            throttle_ms: channel.throttle_ms,
            hourly_max: Some(channel.hourly_max),
        };
        let render = |held_back| {
            let body = AlertBody {
                held_back,
                ..body.clone()
            };
            alert::render(&body, channel)
        };
        let posted = self.state.post(&alert, &render).map(drop);
        if let Err(failure) = posted.clone() {
            self.trouble(RunEvent::AlertSettled {
                alert: AlertFact {
                    channel: channel.name.clone(),
                    kind: channel.kind.word().to_owned(),
                    about: about.word().to_owned(),
                    pipelines: subject.to_vec(),
                    state: odibi_story::event::AlertState::Failed,
                    attempts: 0,
                    failure: Some(failure),
                    of_run: (body.run_id != self.run_id).then_some(body.run_id),
                },
            });
        }
        posted
    }

    fn trouble(&self, event: RunEvent) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.push(event);
    }

    /// Sends all that is left to be sent, for as long as a run waits, and returns what is to be said of it.
    pub(crate) fn finish(mut self, written: &[Written]) -> Vec<RunEvent> {
        let until_ms = self.clock.monotonic_ms().saturating_add(self.wait_ms);
        let (lineage, file) = (self.lineage.take(), self.lineage_file.take());
        let events = match (&lineage, &file) {
            (None, None) => Vec::new(),
            _ => self.take_lineage_events(written),
        };
        let lineage = lineage.map(|to| self.send_lineage(to, events.clone()));
        let file = file.map(|to| Self::add_lineage(to, events));
        let telemetry = self.telemetry.take().map(|to| send_telemetry(to, written));
        let left_ms = |clock: &SystemClock| until_ms.saturating_sub(clock.monotonic_ms());
        let sender = self.sender.take();
        let settled = sender
            .map(|sender| sender.finish(self.clock.as_ref(), self.wait_ms))
            .unwrap_or_default();
        let mut said = std::mem::take(
            self.trouble
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner),
        );
        match self.alerts(&settled) {
            Ok(alerts) => said.extend(alerts),
            Err(failure) => said.push(RunEvent::SendingFailed {
                what: Sending::Alerts,
                failure,
            }),
        }
        for (what, waiting) in [
            (Sending::Lineage, lineage),
            (Sending::Lineage, file),
            (Sending::Telemetry, telemetry),
        ] {
            let Some(waiting) = waiting else { continue };
            let wait = Duration::from_millis(left_ms(&self.clock));
            let failure = match waiting.recv_timeout(wait) {
                Ok(Ok(())) => continue,
                Ok(Err(failure)) => failure,
                Err(_) => too_slow(what),
            };
            said.push(RunEvent::SendingFailed { what, failure });
        }
        said
    }

    /// What became of the alerts of this run, and of those of earlier runs that it has sent.
    fn alerts(&self, settled: &[odibi_notify::Settled]) -> Result<Vec<RunEvent>, Failure> {
        if self.channels.is_empty() {
            return Ok(Vec::new());
        }
        let own = self
            .state
            .alerts(&self.project, Some(&self.run_id), ALERTS_MAX)?;
        let mut all: Vec<AlertFact> = own.into_iter().rev().map(|a| fact(a, None)).collect();
        for one in settled.iter().filter(|one| one.run_id != self.run_id) {
            if let Some(record) = self.state.alert(&self.project, &one.id)? {
                let of_run = record.run_id.clone();
                all.push(fact(record, Some(of_run)));
            }
        }
        let said = all.into_iter();
        Ok(said.map(|alert| RunEvent::AlertSettled { alert }).collect())
    }

    fn send_lineage(&self, destination: lineage::Destination, events: Vec<Value>) -> Waiting {
        let (network, wait_ms) = (self.network.clone(), self.wait_ms);
        let clock: Arc<dyn Clock> = self.clock.clone();
        beside("odibi-lineage", move || {
            lineage::send(&destination, &events, &network, &clock, wait_ms)
        })
    }

    fn add_lineage(file: PathBuf, events: Vec<Value>) -> Waiting {
        beside("odibi-lineage-file", move || {
            lineage::append(&file, &events)
        })
    }

    /// Of runs that were killed and of this one.
    fn take_lineage_events(&mut self, written: &[Written]) -> Vec<Value> {
        let killed = self.killed.get_mut();
        let mut events = std::mem::take(killed.unwrap_or_else(PoisonError::into_inner));
        events.extend(self.lineage_events(written));
        events
    }

    fn lineage_events(&self, written: &[Written]) -> Vec<Value> {
        let events = written.iter().flat_map(|one| {
            let namespace = self.namespace.as_deref().unwrap_or(&one.story.project);
            odibi_story::lineage::events_in(&one.story, PRODUCER, namespace)
        });
        events.collect()
    }
}

/// The result of what is done on another thread.
type Waiting = mpsc::Receiver<Result<(), Failure>>;

fn send_telemetry(destination: telemetry::Destination, written: &[Written]) -> Waiting {
    let stories: Vec<Story> = written.iter().map(|one| one.story.clone()).collect();
    beside("odibi-telemetry", move || {
        let stories: Vec<&Story> = stories.iter().collect();
        telemetry::send(&destination, &stories)
    })
}

/// On a thread that nobody waits for longer than he wants to.
fn beside(name: &str, body: impl FnOnce() -> Result<(), Failure> + Send + 'static) -> Waiting {
    let (tell, waiting) = mpsc::channel();
    // Refused, it answers nothing, which is told as such.
    let _ = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || tell.send(body()));
    waiting
}

fn too_slow(what: Sending) -> Failure {
    let code = match what {
        Sending::Lineage => code::LINEAGE_UNDELIVERED,
        Sending::Telemetry => code::TELEMETRY_UNDELIVERED,
        Sending::Alerts => code::ALERT_UNDELIVERED,
    };
    let message = "it was not sent within the time that a run waits at its end";
    Failure::new(FailureClass::Transient, code, message)
}

fn begins(planned: &PlannedPipeline) -> AlertPipeline {
    AlertPipeline {
        pipeline: planned.name.clone(),
        outcome: None,
        duration_ms: 0,
        nodes: planned.nodes.len() as u64,
        counts: std::collections::BTreeMap::new(),
        rows_written: 0,
        rows_quarantined: 0,
        story: Vec::new(),
        failures: Vec::new(),
        anomalies: Vec::new(),
        previous_failed: false,
    }
}

/// The same for whoever tells of it.
fn id(project: &str, run_id: &str, channel: &str, about: AlertEvent) -> String {
    let mut hash = Sha256::new();
    for part in [project, run_id, channel, about.word()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize()[..16])
}

/// A record as events tell it.
pub(crate) fn fact(record: AlertRecord, of_run: Option<String>) -> AlertFact {
    AlertFact {
        channel: record.channel,
        kind: record.kind,
        about: record.about,
        pipelines: record.subject,
        state: record.state,
        attempts: record.attempts,
        failure: record.failure,
        of_run,
    }
}

/// `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case.
pub(crate) fn network(around: &Surroundings) -> Network {
    let set = |names: [&str; 2]| {
        let mut values = names.iter().filter_map(|name| around.variable(name));
        values.find(|value| !value.is_empty())
    };
    let proxy = set(["HTTPS_PROXY", "https_proxy"]).or_else(|| set(["ALL_PROXY", "all_proxy"]));
    Network {
        proxy: proxy.map(Secret::new),
        no_proxy: set(["NO_PROXY", "no_proxy"]),
    }
}

fn wait_ms(around: &Surroundings) -> u64 {
    let set = around.variable("ODIBI_ALERTS_WAIT");
    let wait = set.and_then(|text| args::duration(&text).ok());
    wait.map_or(WAIT_MS_DEFAULT, |wait| {
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
    })
}

fn filled(around: &Surroundings, name: &str) -> Option<String> {
    around.variable(name).filter(|value| !value.is_empty())
}

fn lineage_destination(
    target: &LineageTarget,
    around: &Surroundings,
) -> Option<lineage::Destination> {
    let set = |name| filled(around, name).map(Secret::new);
    // A project that names a file has said where its events go.
    let elsewhere = || match target.file {
        Some(_) => None,
        None => set("OPENLINEAGE_URL"),
    };
    Some(lineage::Destination {
        url: target.url.clone().or_else(elsewhere)?,
        endpoint: target.endpoint.clone(),
        api_key: target
            .api_key
            .clone()
            .or_else(|| set("OPENLINEAGE_API_KEY")),
        timeout_ms: target.timeout_ms,
    })
}

fn telemetry_destination(loaded: &Loaded, around: &Surroundings) -> Option<telemetry::Destination> {
    const TIMEOUT_MS_DEFAULT: u64 = 5_000;
    let asked: Option<&Telemetry> = loaded.plan.telemetry.as_ref();
    let written = asked.and_then(|asked| asked.endpoint.clone());
    let set = || filled(around, "OTEL_EXPORTER_OTLP_ENDPOINT").map(Secret::new);
    let name = asked.and_then(|asked| asked.service_name.clone());
    let name = name.or_else(|| filled(around, "OTEL_SERVICE_NAME"));
    let parent = filled(around, "TRACEPARENT");
    Some(telemetry::Destination {
        endpoint: written.or_else(set)?,
        headers: asked.map(|asked| asked.headers.clone()).unwrap_or_default(),
        service_name: name.unwrap_or_else(|| "odibi".to_owned()),
        timeout_ms: asked.map_or(TIMEOUT_MS_DEFAULT, |asked| asked.timeout_ms),
        environment: loaded.environment.clone(),
        parent: parent.and_then(|text| telemetry::Parent::parse(&text)),
    })
}
