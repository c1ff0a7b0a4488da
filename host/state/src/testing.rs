//! For the tests: records to write, and other processes that have the same database open.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use jiff::Timestamp;
use odibi_run::port::{BatchLog as _, BatchRecord, BatchState, Outbox as _};
use odibi_story::event::NodeRef;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    AlertSender, Batches, Journal as _, Lease, LeaseRequest, NewRun, PipelineSlot, RunMark,
    RunSelection, StateDb,
};

/// Name of the variable that gives a process its role.
const ROLE: &str = "ODIBI_STATE_TEST_ROLE";

pub(crate) fn open(directory: &Path) -> Arc<StateDb> {
    Arc::new(StateDb::open(directory).unwrap())
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(crate) fn request(run_id: &str) -> LeaseRequest<'_> {
    LeaseRequest {
        project: "shop",
        pipeline: "orders",
        run_id,
        now: at(0),
        take_over: false,
    }
}

pub(crate) fn lease(db: &StateDb, run_id: &str) -> Lease {
    db.lease(&request(run_id)).unwrap().unwrap()
}

pub(crate) fn batches(db: &Arc<StateDb>, run_id: &str, lease: &Lease) -> Batches {
    let epochs = BTreeMap::from([(lease.pipeline().to_owned(), lease.epoch())]);
    Batches::new(Arc::clone(db), "shop", run_id, epochs)
}

pub(crate) fn record(run_id: &str, batch: &str) -> BatchRecord {
    BatchRecord {
        target: "lake:orders.parquet".to_owned(),
        batch: batch.to_owned(),
        run_id: run_id.to_owned(),
        pipeline: "orders".to_owned(),
        node: "load".to_owned(),
        mode: "append".to_owned(),
        state: BatchState::Staged,
        rows: 3,
        evidence: format!("part-{batch}"),
    }
}

pub(crate) fn node(name: &str) -> NodeRef {
    NodeRef {
        pipeline: "orders".to_owned(),
        name: name.to_owned(),
    }
}

pub(crate) fn new_run(id: &str, slot: &str) -> NewRun {
    NewRun {
        id: id.to_owned(),
        project: "shop".to_owned(),
        config_path: "/shop/odibi.yaml".to_owned(),
        config_digest: "d".to_owned(),
        selection: RunSelection::default(),
        continues: (id != slot).then(|| slot.to_owned()),
        logical_time: at(1),
        odibi_version: "0.1.0".to_owned(),
        started_at: at(2),
        pipelines: vec![PipelineSlot {
            pipeline: "orders".to_owned(),
            slot: slot.to_owned(),
            epoch: 1,
        }],
        nodes: vec![node("load"), node("clean")],
        kept: Vec::new(),
    }
}

pub(crate) fn begin(db: &StateDb, id: &str, slot: &str) -> RunMark {
    let mark = RunMark::create(db, id).unwrap();
    db.begin(&new_run(id, slot)).unwrap();
    mark
}

/// This test program once more, in a role.
pub(crate) struct Other {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Other {
    pub(crate) fn start(role: &str, directory: &Path) -> Self {
        Self::start_by(
            Command::new(std::env::current_exe().unwrap()),
            role,
            directory,
        )
    }

    /// In a process that may write files of so many 512-byte blocks only, and is not killed for more.
    pub(crate) fn start_limited(role: &str, directory: &Path, blocks_max: u32) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -f {blocks_max}; exec \"$0\" \"$@\"");
        shell
            .arg("-c")
            .arg(script)
            .arg(std::env::current_exe().unwrap());
        Self::start_by(shell, role, directory)
    }

    fn start_by(mut command: Command, role: &str, directory: &Path) -> Self {
        let mut child = command
            .args([
                "--exact",
                "testing::play_a_role",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(ROLE, format!("{role} {}", directory.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Its next line that is meant for us.
    pub(crate) fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "it ended");
            // The harness prints the name of the test in front of the first line.
            if let Some((_, said)) = line.split_once("say ") {
                return said.trim_end().to_owned();
            }
        }
    }

    pub(crate) fn tell(&mut self) {
        self.input.write_all(b"go\n").unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it; what it had said until then.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
        let said = whole.lines().filter_map(|line| line.split_once("say "));
        said.map(|(_, said)| said.to_owned()).collect()
    }

    pub(crate) fn wait(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

fn say(what: &str) {
    let mut stdout = std::io::stdout();
    stdout
        .write_all(format!("say {what}\n").as_bytes())
        .unwrap();
    stdout.flush().unwrap();
}

fn listen() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// Not a test by itself: what [`Other`] runs.
#[test]
fn play_a_role() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only way to tell a test program something"
    )]
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let (role, directory) = role.split_once(' ').unwrap();
    let directory = Path::new(directory);
    match role {
        "write" => {
            let db = open(directory);
            for number in 0..10 {
                let id = format!("{}-{number}", std::process::id());
                begin(&db, &id, &id).remove().unwrap();
            }
        }
        "commit-forever" => {
            let db = open(directory);
            let run_id = std::process::id().to_string();
            let lease = lease(&db, &run_id);
            let batches = batches(&db, &run_id, &lease);
            for number in 0.. {
                let batch = format!("{run_id}-{number}");
                batches.staged(&record(&run_id, &batch)).unwrap();
                let (target, key) = ("lake:orders.parquet", format!("{number}"));
                batches
                    .committed_with(target, &batch, &[("orders", &key)])
                    .unwrap();
                say(&batch);
            }
        }
        "fill" => {
            let opened = StateDb::open(directory).map(Arc::new);
            let end = opened.and_then(|db| {
                let lease = lease(&db, "r");
                let batches = batches(&db, "r", &lease);
                (0..).try_for_each(|number| {
                    batches.staged(&record("r", &format!("{number:0>500}")))?;
                    say(&number.to_string());
                    Ok(())
                })
            });
            say(&format!("end {}", end.unwrap_err().code));
        }
        "claim" => {
            let db = open(directory);
            let sender = AlertSender::new(db, "other", "shop", "").unwrap();
            let alert = sender.claim("slack", at(1), &[]).unwrap().unwrap();
            say(&format!("claimed {}", alert.id));
            listen();
        }
        "hold" => {
            let db = open(directory);
            let lease = lease(&db, "zombie");
            let mark = begin(&db, "zombie", "zombie");
            let batches = batches(&db, "zombie", &lease);
            batches.staged(&record("zombie", "early")).unwrap();
            say("held");
            listen();
            let code = |result: Result<(), odibi_story::Failure>| match result {
                Ok(()) => "ok".to_owned(),
                Err(failure) => failure.code,
            };
            let late = code(batches.staged(&record("zombie", "late")));
            let early = code(batches.committed("lake:orders.parquet", "early"));
            say(&format!("{late} {early}"));
            listen();
            drop(mark);
        }
        _ => unreachable!("{role}"),
    }
}
