//! Machine code into this process. wasmtime cannot tell a sound artifact from a forged one, so these are the only two
//! ways in, and each says why it may be believed.
#![expect(
    unsafe_code,
    reason = "a precompiled component is loaded, which runs what it holds"
)]

use std::path::Path;

use odibi_story::failure::{Failure, FailureClass};
use wasmtime::Engine;
use wasmtime::component::Component;

/// What the compiler has just handed over.
///
/// # Errors
/// `plugin/compiler-crashed` when it is not an artifact for this engine.
pub(super) fn fresh(engine: &Engine, artifact: &[u8]) -> Result<Component, Failure> {
    // SAFETY: the bytes are `Engine::precompile_component` of an engine with the same settings, in this process or in a
    // child that runs this program's own code, confined before it read the component; they came through a pipe that
    // nobody else holds, and are this process's own copy.
    unsafe { Component::deserialize(engine, artifact) }.map_err(|e| {
        let message = "the compiler did not return machine code for this machine";
        Failure::new(FailureClass::Internal, "plugin/compiler-crashed", message)
            .cause(format!("{e:#}"))
    })
}

/// A file of the store, mapped into memory. The caller has just checked its seal.
pub(super) fn sealed(engine: &Engine, path: &Path) -> Option<Component> {
    // SAFETY: the file's HMAC was just checked with a key that only this user can read, so `keep` wrote it, from an
    // artifact that `fresh` took, of an engine with the same compatibility hash. Files of the store are never written in
    // place, only replaced by rename, so the mapping does not change under the running code.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}
