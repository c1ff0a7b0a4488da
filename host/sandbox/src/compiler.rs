//! From a component to machine code. Compiling is untrusted work: what a component makes the compiler do, it does in a
//! child process with limits, which sees the component and nothing else.
//!
//! ```text
//! odibi ── terms, component ──► stdin  ┐
//!       ◄─ artifact ─────────── stdout ├ child: limits on itself, only the system calls of computing, compile
//!       ◄─ why not ──────────── stderr ┘
//! ```
//! The child does not know the key of the store: what it returns is sealed by odibi. It is believed to be what our own
//! compiler made; what is contained here is a compiler that takes too much or crashes.

mod child;
mod confine;
mod parent;
mod terms;

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use odibi_story::failure::{Failure, FailureClass};
use wasmtime::Engine;

pub use self::child::{CompileFault, compile_as_child};
use crate::engine;
use crate::host_api::report::clean;
use crate::limits::CompileLimits;

/// The bytes of a component, shared with the thread that sends them.
pub(crate) type Bytes = Arc<Cow<'static, [u8]>>;

/// Where components are compiled.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// In this process, without limits: for tests and benchmarks, which trust their components.
    InProcess,
    /// In a process of its own.
    Child {
        /// A program that calls [`compile_as_child`] when it is started with `args`.
        program: PathBuf,
        /// Its arguments.
        args: Vec<OsString>,
        /// What it may use.
        limits: CompileLimits,
    },
}

impl Compiler {
    /// The artifact of a component, for this engine.
    ///
    /// # Errors
    /// `plugin/compile-failed`, `limit/compile-…`, `plugin/compiler-crashed`, `resources/compiler`.
    pub(crate) fn compile(&self, engine: &Engine, bytes: &Bytes) -> Result<Vec<u8>, Failure> {
        match self {
            Self::InProcess => engine
                .precompile_component(bytes)
                .map_err(|e| unusable(&format!("{e:#}"))),
            Self::Child {
                program,
                args,
                limits,
            } => parent::compile(program, args, limits, engine::settings_hash(engine), bytes),
        }
    }
}

/// The component is to blame.
pub(crate) fn unusable(why: &str) -> Failure {
    Failure::new(
        FailureClass::Contract,
        "plugin/compile-failed",
        "it could not be compiled",
    )
    .cause(clean(why, 2_000))
}
