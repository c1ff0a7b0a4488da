//! What a guest may call: our `output`, `report` and `logical`, and a small deterministic WASI for what the Rust
//! standard library drags in. No files, no network, no clock and no
//! entropy but what the project grants.

pub(crate) mod meter;
pub(crate) mod output;
pub(crate) mod report;
pub(crate) mod wasi;

use std::sync::Arc;

use odibi_plan::plan::Grants;
use odibi_run::{Cancel, MemoryBudget};
use odibi_story::failure::Failure;
use wasmtime::component::Linker;
use wasmtime::{Engine, StoreContextMut};

use self::meter::Meter;
use self::output::Outlet;
use self::report::Report;
use self::wasi::Wasi;
use crate::contract;
use crate::limits::{Limiter, Limits};

/// What the host keeps for one instance.
pub(crate) struct Guest {
    pub(crate) limits: Arc<Limits>,
    pub(crate) limiter: Limiter,
    pub(crate) meter: Meter,
    pub(crate) report: Report,
    pub(crate) wasi: Wasi,
    pub(crate) logical: Logical,
    /// Where emitted batches go; `None` for an instance that only plans.
    pub(crate) outlet: Option<Box<Outlet>>,
}

/// What a guest gets for time and entropy.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Logical {
    pub(crate) run_time_ms: u64,
    pub(crate) seed: u64,
    /// Which of the two are real instead.
    pub(crate) grants: Grants,
}

impl Guest {
    pub(crate) fn new(
        limits: Arc<Limits>,
        logical: Logical,
        cancel: Cancel,
        memory: MemoryBudget,
    ) -> Self {
        Self {
            limiter: Limiter::new(&limits, memory),
            meter: Meter::new(&limits, cancel),
            report: Report::new(&limits),
            wasi: Wasi::new(logical),
            logical,
            outlet: None,
            limits,
        }
    }
}

/// Why the host ends a call that the guest would have gone on with. Travels through wasmtime as an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("{0}")]
    Failure(Box<Failure>),
    #[error("exit")]
    Exit { success: bool },
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

/// A linker with everything that a guest of the world `transform` may import, and nothing else.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    output::add(&mut linker)?;
    report::add(&mut linker)?;
    let mut logical = linker.instance(&contract::versioned("odibi:node/logical"))?;
    logical.func_wrap("run-time-ms", |cx: StoreContextMut<'_, Guest>, (): ()| {
        Ok((cx.data().logical.run_time_ms,))
    })?;
    logical.func_wrap("seed", |cx: StoreContextMut<'_, Guest>, (): ()| {
        Ok((cx.data().logical.seed,))
    })?;
    // Types only: a component may name the interface, there is nothing to call.
    linker.instance(&contract::versioned("odibi:node/types"))?;
    wasi::add(&mut linker)?;
    Ok(linker)
}
