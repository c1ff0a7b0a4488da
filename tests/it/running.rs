//! `odibi run` as a process that a test watches, stops and kills.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::Project;

pub(crate) struct Running {
    pub(crate) child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    /// Begins with one worker.
    pub(crate) fn start(
        project: &Project,
        args: &[&str],
        cache: &Path,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(support::binary())
            .args(["run", "--workers", "1"])
            .args(args)
            .current_dir(project.path(""))
            .env("ODIBI_CACHE_DIR", cache)
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    /// Reads what it says until a node has come to a state.
    #[track_caller]
    pub(crate) fn until(&mut self, node: &str, state: &str) {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "it ended:\n{all}");
            let mut words = line.split_whitespace();
            if words.next() == Some(node) && words.next() == Some(state) {
                return;
            }
            all += &line;
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it. False when it had ended before.
    pub(crate) fn kill(mut self) -> bool {
        let _ = self.child.kill();
        self.child.wait().unwrap().code().is_none()
    }

    /// Its exit code, and the rest of what it said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}
