//! For the tests: a server that answers badly, an outbox in memory, a clock, and the story of a run.
#![expect(
    clippy::disallowed_methods,
    reason = "what is tested speaks with a real server, in real time"
)]

use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use odibi_plan::plan::{AlertChannel, AlertEvent, AlertKind, Secret};
use odibi_run::port::{Clock, Outbox, OutboxAlert};
use odibi_story::event::{
    Event, FileFact, Ledger, NodeFacts, NodeOutline, NodeRef, OperationFact, OperationIdentity,
    Outcome, RunEvent, RunStarted,
};
use odibi_story::failure::{Failure, FailureClass};
use odibi_story::story::{Story, fold};

#[path = "../../../tests/support/recorder.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is a file of other tests too")]
pub(crate) mod recorder;

/// Part of every address: no message may hold it.
pub(crate) const CANARY: &str = "hunter2canary";

pub(crate) struct RealClock(Instant);

impl RealClock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

#[async_trait]
impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// What became of an alert of [`MemoryOutbox`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Waiting,
    Delivered,
    GivenUp,
}

pub(crate) struct Entry {
    pub(crate) channel: String,
    pub(crate) alert: OutboxAlert,
    pub(crate) fate: Fate,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) failures: Vec<Failure>,
}

#[derive(Default)]
pub(crate) struct MemoryOutbox(pub(crate) Mutex<Vec<Entry>>);

impl MemoryOutbox {
    pub(crate) fn post(&self, channel: &str, id: &str) {
        self.0.lock().unwrap().push(Entry {
            channel: channel.to_owned(),
            alert: OutboxAlert {
                id: id.to_owned(),
                run_id: "r".to_owned(),
                about: "on_failure".to_owned(),
                body: format!("{{\"id\":\"{id}\"}}"),
                attempts: 0,
            },
            fate: Fate::Waiting,
            not_before: None,
            failures: Vec::new(),
        });
    }

    pub(crate) fn fates(&self) -> Vec<(String, Fate)> {
        let all = self.0.lock().unwrap();
        all.iter()
            .map(|entry| (entry.alert.id.clone(), entry.fate.clone()))
            .collect()
    }

    /// Messages of all failures so far.
    pub(crate) fn failures(&self) -> Vec<String> {
        let all = self.0.lock().unwrap();
        let failures = all.iter().flat_map(|entry| &entry.failures);
        failures
            .map(|failure| format!("{}: {}", failure.code, failure.message))
            .collect()
    }

    fn with(&self, id: &str, change: impl FnOnce(&mut Entry)) {
        let mut all = self.0.lock().unwrap();
        change(all.iter_mut().find(|entry| entry.alert.id == id).unwrap());
    }
}

impl Outbox for MemoryOutbox {
    fn claim(
        &self,
        channel: &str,
        now: Timestamp,
        skipped: &[String],
    ) -> Result<Option<OutboxAlert>, Failure> {
        let all = self.0.lock().unwrap();
        let mut waiting = all.iter().filter(|entry| {
            entry.channel == channel
                && entry.fate == Fate::Waiting
                && !skipped.contains(&entry.alert.id)
        });
        let first = waiting.next();
        let due = first.filter(|entry| entry.not_before.is_none_or(|at| at <= now));
        Ok(due.map(|entry| entry.alert.clone()))
    }

    fn delivered(&self, id: &str, _now: Timestamp) -> Result<(), Failure> {
        self.with(id, |entry| entry.fate = Fate::Delivered);
        Ok(())
    }

    fn put_off(
        &self,
        id: &str,
        why: &Failure,
        not_before: Option<Timestamp>,
    ) -> Result<(), Failure> {
        self.with(id, |entry| {
            entry.failures.push(why.clone());
            entry.not_before = not_before;
        });
        Ok(())
    }

    fn give_up(&self, id: &str, why: &Failure, _now: Timestamp) -> Result<(), Failure> {
        self.with(id, |entry| {
            entry.failures.push(why.clone());
            entry.fate = Fate::GivenUp;
        });
        Ok(())
    }

    fn next_due(&self, channel: &str, skipped: &[String]) -> Result<Option<Timestamp>, Failure> {
        let all = self.0.lock().unwrap();
        let mut waiting = all.iter().filter(|entry| {
            entry.channel == channel
                && entry.fate == Fate::Waiting
                && !skipped.contains(&entry.alert.id)
        });
        Ok(waiting
            .next()
            .map(|entry| entry.not_before.unwrap_or_default()))
    }
}

pub(crate) fn channel(name: &str, url: &str) -> AlertChannel {
    AlertChannel {
        name: name.to_owned(),
        kind: AlertKind::Webhook,
        url: Secret::new(url),
        on_events: vec![AlertEvent::Failure],
        pipeline: None,
        throttle_ms: 0,
        hourly_max: 10,
        timeout_ms: 10_000,
        mention: Vec::new(),
        mention_on_failure: Vec::new(),
        slack_channel: None,
        metadata: Vec::new(),
        signing_key: None,
        headers: Vec::new(),
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap()
}

/// A pipeline of two nodes: `load` fails once and recovers, `clean` fails.
pub(crate) fn story() -> Story {
    let node = |name: &str| NodeRef {
        pipeline: "orders".to_owned(),
        name: name.to_owned(),
    };
    let outline = |name: &str| NodeOutline {
        name: name.to_owned(),
        description: None,
        depends_on: Vec::new(),
        reads: Vec::new(),
        writes: None,
        operations: Vec::new(),
        tags: Vec::new(),
        inputs: Vec::new(),
    };
    let failure = |class, code: &str| Failure::new(class, code, format!("it holds {CANARY}"));
    let transient = failure(FailureClass::Transient, "read/failed");
    let kinds = vec![
        RunEvent::RunStarted(RunStarted {
            format_version: 1,
            run_id: "0190aaaa-0000-7000-8000-000000000001".to_owned(),
            project: "shop".to_owned(),
            odibi_version: "0.1.0".to_owned(),
            logical_time: at(0),
            config_digest: "00".to_owned(),
            config_files: vec!["odibi.yaml".to_owned()],
            workers: 1,
            host: Some("build-7".to_owned()),
            git_commit: None,
            environment: None,
            user: None,
            continues: None,
        }),
        RunEvent::PipelineStarted {
            pipeline: "orders".to_owned(),
            description: None,
            nodes: vec![outline("load"), outline("clean")],
        },
        RunEvent::AttemptStarted {
            node: node("load"),
            attempt: 1,
        },
        RunEvent::AttemptFailed {
            node: node("load"),
            attempt: 1,
            failure: transient,
            retry_in_ms: 50,
        },
        RunEvent::AttemptStarted {
            node: node("load"),
            attempt: 2,
        },
        RunEvent::NodeFinished {
            node: node("load"),
            outcome: Outcome::Recovered,
            attempts: 2,
            duration_ms: 300,
            facts: Some(Box::new(facts())),
            failure: None,
        },
        RunEvent::AttemptStarted {
            node: node("clean"),
            attempt: 1,
        },
        RunEvent::NodeFinished {
            node: node("clean"),
            outcome: Outcome::Failed,
            attempts: 1,
            duration_ms: 100,
            facts: None,
            failure: Some(failure(FailureClass::Guest, "guest/params")),
        },
        RunEvent::PipelineFinished {
            pipeline: "orders".to_owned(),
            outcome: Outcome::Failed,
            duration_ms: 700,
        },
        RunEvent::ExitDecided { exit_code: 1 },
    ];
    let events: Vec<Event> = (0..)
        .zip(kinds)
        .map(|(seq, kind)| Event {
            seq,
            at: at(i64::try_from(seq).unwrap() * 100),
            kind,
        })
        .collect();
    fold(&events, "orders").unwrap()
}

fn facts() -> NodeFacts {
    NodeFacts {
        rows_in: 100,
        rows_out: 97,
        rows_written: Some(97),
        rows_quarantined: 3,
        target: Some(FileFact {
            connection: "lake".to_owned(),
            path: "load.parquet".to_owned(),
            bytes: 4_096,
            modified: None,
            version: None,
        }),
        operations: vec![OperationFact {
            operation: OperationIdentity {
                reference: "clean_text".to_owned(),
                plugin: "columns".to_owned(),
                version: "0.1.0".to_owned(),
                digest: "00".to_owned(),
            },
            grants: Vec::new(),
            params: serde_json::Value::Null,
            sensitive: false,
            ledger: Ledger {
                instances: 2,
                guest_cpu_ns: 1_500_000_000,
                ..Ledger::default()
            },
            instances: Vec::new(),
            partitions: 0,
            chained_to: None,
            bytes_spilled: 0,
            component: None,
            notes: Vec::new(),
            flow: None,
        }],
        ..NodeFacts::default()
    }
}
