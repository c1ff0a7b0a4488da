//! The wasmtime adapter: runs operations of WebAssembly components, and believes nothing they say unchecked.
//!
//! ```text
//! bytes ── component (inspect, compile in a child or fetch, link) ──► Loaded ── instance ──► plan · open
//! batch ── exchange::encode ──► guest ── output.emit ──► exchange (the gate) ──► batch
//! ```
//! A guest sees [`host_api`] and nothing else; [`limits`] holds every limit; [`failure`] is the one place where what went
//! wrong gets its class.

mod capsule;
mod capture;
mod compiler;
mod component;
mod contract;
mod engine;
mod exchange;
mod failure;
mod host_api;
mod instance;
mod limits;
mod operation;
mod replay;
mod sandbox;
mod session;
#[doc(hidden)]
pub mod testing;

pub use capsule::{Capsule, Header, Phase};
pub use capture::{Capture, CaptureNotice, Hush, MayCapture, OnCapture, Permission, Subject};
pub use compiler::{CompileFault, Compiler, compile_as_child};
pub use component::inspect::{Answer, Import, Inspection, Reach};
pub use component::{CompileNotice, ComponentBytes, ComponentSource, OnCompile};
pub use engine::{TICK, Tuning};
pub use limits::{COMPONENT_BYTES_MAX, CompileLimits, Limits};
pub use replay::Replayed;
pub use sandbox::{Options, Sandbox};
