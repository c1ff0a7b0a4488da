//! Compiling in a child process. This program is its own child: started with a word of [`role`], it plays that part.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "what each bomb took is asked for")]

mod bombs;
mod confined;
mod ends;
mod role;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use odibi_sandbox::{
    CompileLimits, CompileNotice, Compiler, ComponentSource, Limits, Options, Sandbox,
};
use odibi_story::failure::Failure;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if let Some(code) = args.next().and_then(|word| role::play(&word, args)) {
        return code;
    }
    let (filters, mut arguments) = arguments();
    // Limits of time are measured, and bombs want all processors.
    arguments.test_threads = Some(1);
    let tests = [
        bombs::tests(),
        ends::tests(),
        confined::tests(),
        store::tests(),
    ];
    let wanted =
        |test: &Trial| filters.is_empty() || filters.iter().any(|f| test.name().contains(f));
    let tests = tests.into_iter().flatten().filter(wanted).collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Names to look for, of which `cargo test -- one another` gives several, and everything else.
fn arguments() -> (Vec<String>, Arguments) {
    let (mut filters, mut rest) = (Vec::new(), Vec::new());
    let mut is_value = false;
    for (index, word) in std::env::args().enumerate() {
        if index == 0 || is_value || word.starts_with('-') {
            is_value = [
                "--skip",
                "--test-threads",
                "--format",
                "--color",
                "--logfile",
            ]
            .contains(&word.as_str());
            rest.push(word);
        } else {
            filters.push(word);
        }
    }
    (filters, Arguments::from_iter(rest))
}

fn test(name: &str, run: fn()) -> Trial {
    Trial::test(name, move || {
        run();
        Ok::<(), Failed>(())
    })
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// This program in one of its roles.
fn child(role: &str, limits: CompileLimits) -> Compiler {
    Compiler::Child {
        program: this_program(),
        args: vec![role.into()],
        limits,
    }
}

/// How loading a component ended.
struct Loaded {
    result: Result<(), Failure>,
    /// How long the compiler took; `None` when it was not asked.
    compiled: Option<Duration>,
}

impl Loaded {
    /// The code of the failure; `compiled` when there was nothing wrong but that the component does nothing.
    fn end(&self) -> &str {
        match &self.result {
            Err(f) if f.code == "plugin/interface-version" && self.compiled.is_some() => "compiled",
            Err(f) => &f.code,
            Ok(()) => "loaded",
        }
    }

    /// Message and causes.
    fn text(&self) -> String {
        match &self.result {
            Err(f) => format!("{}: {f} {:?} {:?}", f.code, f.causes, f.hints),
            Ok(()) => "loaded".to_owned(),
        }
    }
}

fn load(bytes: &[u8], compiler: Compiler, store_dir: Option<&Path>) -> Loaded {
    let took = Arc::new(AtomicUsize::new(usize::MAX));
    let heard = Arc::clone(&took);
    let source = ComponentSource {
        name: "bomb".into(),
        bytes: bytes.to_vec().into(),
        manifest: None,
    };
    let sandbox = Sandbox::new(Options {
        store_dir: store_dir.map(Path::to_owned),
        project_dir: ".".into(),
        first_party: vec![source],
        plugins: BTreeMap::new(),
        grants: std::collections::BTreeMap::default(),
        limits: Limits::default(),
        plugin_limits: BTreeMap::new(),
        compiler,
        capture: None,
        on_compile: Some(Arc::new(move |notice| {
            if let CompileNotice::Finished { elapsed, .. } = notice {
                heard.store(
                    usize::try_from(elapsed.as_millis()).unwrap(),
                    Ordering::Relaxed,
                );
            }
        })),
    })
    .unwrap();
    let result = sandbox.first_party().map(drop);
    let took = took.load(Ordering::Relaxed);
    Loaded {
        result,
        compiled: (took != usize::MAX).then(|| Duration::from_millis(took as u64)),
    }
}
