//! The child's side: confines itself, reads the component, compiles, writes the artifact.

use std::fmt;
use std::io::{Read, Write};

use super::confine;
use super::terms::Terms;
use crate::engine;
use crate::limits::COMPONENT_BYTES_MAX;

/// The component is to blame.
pub(super) const EXIT_UNUSABLE: u8 = 10;
/// The child is not the program that its parent takes it for.
pub(super) const EXIT_STRANGER: u8 = 11;
/// It could not put its limits on.
pub(super) const EXIT_UNCONFINED: u8 = 12;
/// What it should read or write ended early.
pub(super) const EXIT_PIPE: u8 = 13;
/// Memory ran out where that could still be reported.
pub(super) const EXIT_MEMORY: u8 = 14;

/// Why there is no artifact. The parent knows the exit code, and shows the reason.
#[derive(Debug)]
pub struct CompileFault {
    /// What the process exits with.
    pub exit_code: u8,
    reason: String,
}

impl fmt::Display for CompileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for CompileFault {}

/// Compiles what a parent sends. It limits the whole process for good, so it is the only thing that a process does.
///
/// # Errors
/// When there is no artifact; the caller writes the fault to stderr and exits with its code.
pub fn compile_as_child(input: &mut dyn Read, output: &mut dyn Write) -> Result<(), CompileFault> {
    let terms = Terms::read(input).map_err(|e| fault(EXIT_PIPE, e))?;
    let engine = engine::compiling(terms.settings_hash)
        .ok_or_else(|| fault(EXIT_STRANGER, "its engine has other settings"))?;
    confine::confine(&terms).map_err(|e| fault(EXIT_UNCONFINED, e))?;
    let mut component = Vec::new();
    input
        .take(terms.component_bytes.min(COMPONENT_BYTES_MAX))
        .read_to_end(&mut component)
        .map_err(|e| fault(EXIT_PIPE, e))?;
    if component.len() as u64 != terms.component_bytes {
        return Err(fault(EXIT_PIPE, "the component ended early"));
    }
    let artifact = engine.precompile_component(&component).map_err(|e| {
        let code = if e.is::<wasmtime::OutOfMemory>() {
            EXIT_MEMORY
        } else {
            EXIT_UNUSABLE
        };
        fault(code, format!("{e:#}"))
    })?;
    output
        .write_all(&artifact)
        .and_then(|()| output.flush())
        .map_err(|e| fault(EXIT_PIPE, e))
}

fn fault(exit_code: u8, reason: impl fmt::Display) -> CompileFault {
    CompileFault {
        exit_code,
        reason: reason.to_string(),
    }
}
