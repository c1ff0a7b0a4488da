//! What the benchmarks of whole runs share: processes that are measured alike, the program, a Python with the peers.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::Spread;

/// What one run of one side took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_bytes: f64,
}

/// The Python beside the target directory, with what `outside/requirements.txt` names.
pub(crate) struct Outside {
    python: PathBuf,
    script: PathBuf,
}

impl Outside {
    pub(crate) fn new() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/outside");
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench-venv");
        let wanted = std::fs::read(here.join("requirements.txt")).unwrap();
        let stamp = venv.join("requirements.stamp");
        let python = venv.join("bin/python");
        if std::fs::read(&stamp).ok().as_deref() != Some(&wanted[..]) {
            let mut make = Command::new("python3");
            done(make.args(["-m", "venv", "--clear"]).arg(&venv));
            let mut install = Command::new(&python);
            install.args(["-m", "pip", "install", "--quiet", "--no-deps", "-r"]);
            done(install.arg(here.join("requirements.txt")));
            std::fs::write(stamp, wanted).unwrap();
        }
        Self {
            python,
            script: here.join("outside.py"),
        }
    }

    /// A command of the script.
    pub(crate) fn command(&self, arguments: &[&Path]) -> Command {
        let mut command = Command::new(&self.python);
        command.arg("-B").arg(&self.script).args(arguments);
        command
    }

    /// What it prints.
    pub(crate) fn says(&self, arguments: &[&Path]) -> String {
        said(&mut self.command(arguments))
    }

    /// Runs a command of any kind and measures that one process.
    pub(crate) fn measure(&self, command: &Command) -> Cost {
        let mut measured = self.command(&[Path::new("measure")]);
        measured.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            value.map(|value| measured.env(name, value));
        }
        if let Some(dir) = command.get_current_dir() {
            measured.current_dir(dir);
        }
        let said = said(&mut measured);
        let numbers: Vec<f64> = said
            .split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect();
        let [wall_s, cpu_s, peak_bytes] = numbers[..] else {
            panic!("not three numbers: {said}")
        };
        Cost {
            wall_s,
            cpu_s,
            peak_bytes,
        }
    }
}

/// The program, built as users get it.
pub(crate) fn program() -> PathBuf {
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--target-dir"]);
    cargo.arg(&target_dir);
    // What cargo tells this process of its package is the input of some build scripts: DataFusion would be compiled anew.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            cargo.env_remove(&name);
        }
    }
    done(cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")));
    target_dir.join("release/odibi")
}

/// Runs it and expects that it succeeds.
pub(crate) fn done(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}");
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The first side against another: ratio of each round's costs.
pub(crate) fn ratio(ours: &[Cost], theirs: &[Cost], of: fn(&Cost) -> f64) -> Spread {
    Spread::of(ours.iter().zip(theirs).map(|(a, b)| of(a) / of(b)))
}

/// A row of the table: wall time, CPU time, memory, and both ratios of ours to this side.
pub(crate) fn row(name: &str, ours: &[Cost], side: &[Cost], target: Option<f64>) -> String {
    let spread = |of: fn(&Cost) -> f64| Spread::of(side.iter().map(of));
    let (wall, cpu) = (
        ratio(ours, side, |c| c.wall_s),
        ratio(ours, side, |c| c.cpu_s),
    );
    let target = target.map_or_else(String::new, |max| {
        let met = if wall.median <= max { "met" } else { "missed" };
        format!("wall <= {max}: {met}")
    });
    // Not known of what is timed by its own script.
    let peak_mib = spread(|c| c.peak_bytes / 1_048_576.0).median;
    let peak = if peak_mib.is_nan() {
        "-".to_owned()
    } else {
        format!("{peak_mib:.0}")
    };
    format!(
        "{name:<22}  {:>18}  {:>18}  {peak:>6}  {:>17}  {:>17}  {target}",
        spread(|c| c.wall_s).show(2),
        spread(|c| c.cpu_s).show(2),
        wall.show(2),
        cpu.show(2),
    )
}

/// The head of the table whose rows are [`row`]s.
pub(crate) fn head(title: &str) -> String {
    format!(
        "{title:<22}  {:>18}  {:>18}  {:>6}  {:>17}  {:>17}  target",
        "wall s", "CPU s", "MiB", "odibi / it, wall", "odibi / it, CPU"
    )
}
