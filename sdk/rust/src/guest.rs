//! The component's side of the contract: generated bindings, and the exports in terms of [`crate::session`].

#![allow(
    unreachable_pub,
    reason = "the export macro reaches in from the plugin's crate"
)]

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::failure::{Failure, Kind, Retry};
use crate::operation::{Appetite, Context};
use crate::output::{Origin, Refusal, Sink};
use crate::plan::{Feed, InputPlan, Need, Spread};
use crate::plugin::Plugin;
use crate::session::{self, NodePlan, Running};

#[doc(hidden)]
#[allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "transform",
        // Arrow buffers go to `emit` by reference.
        ownership: Borrowing { duplicate_if_necessary: false },
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "odibi_sdk::guest::bindings",
        runtime_path: "odibi_sdk::guest::wit_bindgen::rt",
    });
}

#[doc(hidden)]
pub use wit_bindgen;

use bindings::exports::odibi::node::{execution, planning};
use bindings::odibi::node::{logical, output, report, types};

// wasi-libc's `realloc` hands the host the memory for its lists, past Rust's allocator, and Rust frees it: both must be
// the same allocator. Claiming the place here turns a plugin's own `#[global_allocator]` into a compile error.
#[global_allocator]
static ALLOCATOR: std::alloc::System = std::alloc::System;

thread_local! {
    /// One session for each instance.
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Where [`Component`] gets its plugin from; implemented by `export!`.
pub trait Source {
    /// Builds it.
    fn plugin() -> Plugin;
}

/// What the component exports.
#[derive(Debug)]
pub struct Component<S>(PhantomData<S>);

impl<S: Source> planning::Guest for Component<S> {
    fn describe() -> String {
        S::plugin().manifest().to_string()
    }

    fn plan(
        operation: String,
        params: String,
        inputs: Vec<Vec<u8>>,
    ) -> Result<planning::NodePlan, types::Failure> {
        let plan = session::plan(&S::plugin(), &operation, &params, &inputs).map_err(failure)?;
        Ok(node_plan(plan))
    }
}

impl<S: Source> execution::Guest for Component<S> {
    fn open(
        ctx: execution::Context,
        operation: String,
        params: String,
        state: Vec<u8>,
        inputs: Vec<Vec<u8>>,
    ) -> Result<(), types::Failure> {
        let context = Context {
            run_id: ctx.run_id,
            pipeline: ctx.pipeline,
            node: ctx.node,
            partition: ctx.partition,
            partitions: ctx.partitions,
            attempt: ctx.attempt,
        };
        let running = Running::open(&S::plugin(), context, &operation, &params, &state, &inputs)
            .map_err(failure)?;
        RUNNING.set(Some(running));
        Ok(())
    }

    fn process(at: u32, batch: Vec<u8>) -> Result<execution::Appetite, types::Failure> {
        with_running(|running| running.process(at, batch, &mut Host)).map(|appetite| match appetite
        {
            Appetite::More => execution::Appetite::More,
            Appetite::Enough => execution::Appetite::Enough,
        })
    }

    fn drain(at: u32) -> Result<(), types::Failure> {
        with_running(|running| running.drain(at, &mut Host))
    }

    fn finish() -> Result<Option<String>, types::Failure> {
        with_running(|running| running.finish(&mut Host))
    }
}

fn with_running<T>(
    call: impl FnOnce(&mut Running) -> crate::Result<T>,
) -> Result<T, types::Failure> {
    RUNNING.with_borrow_mut(|running| match running {
        Some(running) => call(running).map_err(failure),
        None => Err(failure(Failure::internal("no session is open"))),
    })
}

struct Host;

impl Sink for Host {
    fn emit(&mut self, port: u32, parts: &[&[u8]], origin: Origin<'_>) -> Result<(), Refusal> {
        let origin = match origin {
            Origin::Fresh => output::Origin::Fresh,
            Origin::SameRows => output::Origin::SameRows,
            Origin::Picked(rows) => output::Origin::Picked(rows),
            Origin::Kept(bitmap) => output::Origin::Kept(bitmap),
        };
        output::emit(port, parts, origin).map_err(|refusal| match refusal {
            output::Refusal::Stop => Refusal::Stop,
            output::Refusal::Misuse => Refusal::Misuse,
            output::Refusal::Invalid => Refusal::Invalid,
        })
    }
}

fn failure(failure: Failure) -> types::Failure {
    let message = failure.wire_message();
    types::Failure {
        kind: match failure.kind {
            Kind::Params => types::FailureKind::Params,
            Kind::Schema => types::FailureKind::Schema,
            Kind::Data => types::FailureKind::Data,
            Kind::Denied => types::FailureKind::Denied,
            Kind::Transient => types::FailureKind::Transient,
            Kind::Internal => types::FailureKind::Internal,
        },
        retry: match failure.retry {
            Retry::Never => types::Retry::Never,
            Retry::FreshInstance => types::Retry::FreshInstance,
            Retry::AfterMs(ms) => types::Retry::After(ms),
        },
        code: failure.code,
        message,
        param: failure.param,
        span: failure.span.map(|span| types::TextSpan {
            start: index(span.start),
            end: index(span.end),
        }),
        at: failure.at.map(|at| types::Location {
            port: at.port,
            row: at.row,
            column: at.column,
        }),
    }
}

fn node_plan(plan: NodePlan) -> planning::NodePlan {
    let pass_through = plan.pass_through.iter().map(|p| planning::PassedColumn {
        output: index(p.output),
        port: index(p.port),
        input: index(p.input),
    });
    planning::NodePlan {
        inputs: plan.inputs.iter().map(input_plan).collect(),
        outputs: vec![planning::OutputPlan {
            pass_through: pass_through.collect(),
            schema: plan.schema,
        }],
        spread: match plan.spread {
            Spread::Single => planning::Spread::Single,
            Spread::PerPartition => planning::Spread::PerPartition,
            Spread::PerBatch => planning::Spread::PerBatch,
        },
        batch_rows: plan.batch_rows,
        state: plan.state,
    }
}

fn input_plan(input: &InputPlan) -> planning::InputPlan {
    let indices = |columns: &[usize]| columns.iter().map(|c| index(*c)).collect::<Vec<u32>>();
    let sorted_by = input.sorted_by.iter().map(|key| planning::SortKey {
        column: index(key.column),
        descending: key.descending,
        nulls_first: key.nulls_first,
    });
    planning::InputPlan {
        need: match &input.need {
            Need::All => planning::Columns::All,
            Need::Only(columns) => planning::Columns::Only(indices(columns)),
        },
        feed: match input.feed {
            Feed::DrainedFirst => planning::Feed::DrainedFirst,
            Feed::Streamed => planning::Feed::Streamed,
        },
        partition_by: indices(&input.partition_by),
        sorted_by: sorted_by.collect(),
        keep_order: input.keep_order,
    }
}

/// `usize` is 32 bits wide here.
fn index(i: usize) -> u32 {
    u32::try_from(i).unwrap_or(u32::MAX)
}

pub(crate) mod outside {
    //! What [`crate::report`] reaches.

    use super::{logical, report};
    use crate::report::Level;

    pub(crate) fn log(level: Level, message: &str, fields: &[(&str, &str)]) {
        let level = match level {
            Level::Trace => report::Level::Trace,
            Level::Debug => report::Level::Debug,
            Level::Info => report::Level::Info,
            Level::Warn => report::Level::Warn,
            Level::Error => report::Level::Error,
        };
        report::log(level, message, fields);
    }

    pub(crate) fn count(name: &str, delta: u64) {
        report::count(name, delta);
    }

    pub(crate) fn gauge(name: &str, value: f64) {
        report::gauge(name, value);
    }

    pub(crate) fn note(kind: &str, body: &str) {
        report::note(kind, body);
    }

    pub(crate) fn cancelled() -> bool {
        report::cancelled()
    }

    pub(crate) fn run_time_ms() -> u64 {
        logical::run_time_ms()
    }

    pub(crate) fn seed() -> u64 {
        logical::seed()
    }
}
