//! What the integration tests share: a project on disk, the CLI called in process, guests built for the sandbox, Python.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "support of tests: a panic is the message"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are an adapter of their own"
)]

pub mod proxy;
pub mod recorder;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;

/// A project in a directory of its own.
pub struct Project {
    dir: tempfile::TempDir,
    variables: BTreeMap<String, String>,
    blind: bool,
}

/// What an invocation left behind.
#[derive(Debug)]
pub struct Invocation {
    /// Exit code.
    pub code: u8,
    /// Results.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
    redaction: odibi::Redaction,
}

impl Project {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            variables: BTreeMap::new(),
            blind: false,
        }
    }

    /// A directory with an `odibi.yaml`.
    #[must_use]
    pub fn with(yaml: &str) -> Self {
        Self::new().file("odibi.yaml", yaml)
    }

    /// Adds a file, with its directories.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Secrets are not taken out of what is printed and written: for tests that look for them.
    #[must_use]
    pub fn blind(mut self) -> Self {
        self.blind = true;
        self
    }

    /// A path in the project.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// The text of a file.
    #[must_use]
    pub fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Calls the CLI in process, in the project's directory.
    #[must_use]
    pub fn odibi(&self, args: &[&str]) -> Invocation {
        self.called(args, false)
    }

    /// As [`Project::odibi`], and as if both streams were a terminal; without bars, which find it by themselves.
    #[must_use]
    pub fn on_terminal(&self, args: &[&str]) -> Invocation {
        self.called(args, true)
    }

    fn called(&self, args: &[&str], is_terminal: bool) -> Invocation {
        let (stdout, stderr) = (Captured::default(), Captured::default());
        let mut variables = self.variables.clone();
        variables
            .entry("ODIBI_CACHE_DIR".to_owned())
            .or_insert_with(|| cache_dir().display().to_string());
        if is_terminal {
            variables
                .entry("CI".to_owned())
                .or_insert_with(|| "1".to_owned());
        }
        let redaction = if self.blind {
            odibi::Redaction::blind()
        } else {
            odibi::Redaction::default()
        };
        let world = odibi::World {
            args: std::iter::once("odibi")
                .chain(args.iter().copied())
                .map(Into::into)
                .collect(),
            current_dir: self.dir.path().to_path_buf(),
            variables,
            stdout: Box::new(stdout.clone()),
            stderr: Box::new(stderr.clone()),
            stdout_is_terminal: is_terminal,
            stderr_is_terminal: is_terminal,
            handle_signals: false,
            program: None,
            redaction: redaction.clone(),
        };
        let code = odibi::run(world);
        Invocation {
            code,
            stdout: stdout.text(),
            stderr: stderr.text(),
            redaction,
        }
    }

    /// Runs the project and returns the JSON result.
    #[must_use]
    pub fn run_json(&self, args: &[&str]) -> (u8, Value) {
        let invocation = self.odibi(&[&["run", "--output", "json"], args].concat());
        let value = serde_json::from_str(&invocation.stdout).unwrap_or_else(|e| {
            panic!(
                "no JSON on stdout: {e}\n{}\n{}",
                invocation.stdout, invocation.stderr
            )
        });
        (invocation.code, value)
    }
}

impl Default for Project {
    fn default() -> Self {
        Self::new()
    }
}

impl Invocation {
    /// True when odibi had learned that this text holds a secret, and would not have shown it.
    #[must_use]
    pub fn knows(&self, secret: &str) -> bool {
        self.redaction.text(secret) != secret
    }

    /// Fails the test unless the code is this one.
    #[track_caller]
    #[must_use]
    pub fn exits(self, code: u8) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Exit code, stdout and stderr as one text for a snapshot; compile notices and durations are taken out.
    #[must_use]
    pub fn snapshot(&self) -> String {
        let stderr: String = self
            .stderr
            .lines()
            .filter(|l| !l.starts_with("compil"))
            .map(|l| format!("{}\n", without_durations(l)))
            .collect();
        let stdout: String = self
            .stdout
            .lines()
            .map(|l| format!("{}\n", without_durations(l)))
            .collect();
        format!(
            "exit: {}\n--- stdout\n{stdout}--- stderr\n{stderr}",
            self.code
        )
    }
}

/// `0.12 s` and `7 ms` become `<time>`.
#[must_use]
pub fn without_durations(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let mut kept: Vec<&str> = Vec::new();
    let number = |w: &str| w.trim_start_matches('(').parse::<f64>().is_ok();
    for word in words {
        let unit = matches!(word.trim_end_matches([',', ')']), "s" | "ms" | "µs" | "min");
        if unit && kept.last().is_some_and(|w| number(w)) {
            kept.pop();
            kept.push("<time>");
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Root of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Where compiled components are kept between test runs.
#[must_use]
pub fn cache_dir() -> PathBuf {
    target_dir().join("test-cache")
}

/// The directory of the profile that this binary was built in: `target/debug`.
#[must_use]
pub fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(2).unwrap().to_path_buf()
}

fn target_dir() -> PathBuf {
    profile_dir().parent().unwrap().to_path_buf()
}

/// The built binary; `host/cli/tests` makes cargo build it.
#[must_use]
pub fn binary() -> PathBuf {
    let binary = profile_dir().join("odibi");
    assert!(
        binary.is_file(),
        "{} is not built: run `cargo build --workspace`, or the tests of the whole workspace",
        binary.display()
    );
    binary
}

/// The interpreter that judges what we wrote.
#[must_use]
pub fn python() -> PathBuf {
    std::env::var_os("ODIBI_TEST_PYTHON").map(PathBuf::from).expect(
        "ODIBI_TEST_PYTHON is not set: this test needs a Python with pyarrow and pandas; `tests/run` makes one and sets it",
    )
}

/// Runs a Python script of `tests/python` and returns its stdout.
#[track_caller]
pub fn run_python(script: &str, args: &[&Path]) -> String {
    let output = Command::new(python())
        .arg(root().join("tests/python").join(script))
        .args(args)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{script}:\n{stdout}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// The bytes of an embedded component.
///
/// # Panics
/// When they are damaged.
#[must_use]
pub fn unpacked(component: &odibi_bundle::Component) -> Vec<u8> {
    let bytes = odibi_sandbox::ComponentBytes::Zstd {
        packed: component.packed,
        sha256: component.digest,
        bytes: component.bytes,
    };
    bytes
        .plain()
        .expect("it was packed by the build")
        .into_owned()
}

/// The hostile guest, built once for each process.
#[must_use]
pub fn hostile() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| guest("tests/hostile", "hostile"))
}

/// The plugin of examples/flights, built once for each process.
#[must_use]
pub fn geo() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| guest("examples/flights/plugins/geo", "geo"))
}

/// Builds a guest workspace and returns its one component.
fn guest(directory: &str, name: &str) -> PathBuf {
    let target = target_dir().join("guests").join(name);
    let manifest = root().join(directory).join("Cargo.toml");
    let status = Command::new(env!("CARGO"))
        .args(["rustc", "--lib", "--crate-type", "cdylib"])
        .args(["--release", "--locked", "--quiet"])
        .args(["--target", "wasm32-wasip2", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root().join(directory))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .status()
        .unwrap();
    assert!(
        status.success(),
        "{} does not build for wasm32-wasip2",
        manifest.display()
    );
    let built = target.join("wasm32-wasip2/release");
    let mut components: Vec<PathBuf> = std::fs::read_dir(&built)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "wasm"))
        .collect();
    assert_eq!(
        components.len(),
        1,
        "one component in {}: {components:?}",
        built.display()
    );
    components.remove(0)
}

/// Every file below a directory.
#[must_use]
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Whether tests that look for values in everything play all of their cells, and not some: `ODIBI_CANARIES=all`.
#[must_use]
pub fn all_canaries() -> bool {
    std::env::var("ODIBI_CANARIES").is_ok_and(|word| word == "all")
}

/// Base64 of bytes that stand `offset` bytes behind a multiple of three: the characters that do not depend on what stands
/// around.
#[must_use]
pub fn base64(bytes: &[u8], offset: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let skipped = (6 - (offset * 8) % 6) % 6;
    let bit = |at: usize| usize::from(bytes[at / 8] >> (7 - at % 8) & 1);
    (0..(bytes.len() * 8 - skipped) / 6)
        .map(|i| (0..6).fold(0, |value, b| value << 1 | bit(skipped + i * 6 + b)))
        .map(|index| char::from(ALPHABET[index]))
        .collect()
}

/// Copies a directory tree, leaving out what a run makes.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if ["out", "target", ".odibi"]
            .iter()
            .any(|skipped| name == *skipped)
        {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        if source.is_dir() {
            copy_tree(&source, &target);
        } else {
            std::fs::copy(&source, &target).unwrap();
        }
    }
}
