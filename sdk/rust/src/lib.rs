//! Write operations for odibi pipelines: Rust in, a sandboxed component out.
//!
//! # A whole plugin
//!
//! The struct is the params: what stands in the YAML arrives in its fields. `outline` runs before any data and says which
//! columns are read and what comes out; `compute` runs for each batch. Columns that are not read never enter the sandbox.
//!
//! ```
//! use odibi_sdk::prelude::*;
//! #[derive(Deserialize, JsonSchema)]
//! struct Shout { column: String, output: String }
//! impl Columns for Shout {
//!     const NAME: &'static str = "shout";
//!     const SUMMARY: &'static str = "Writes a text column in capitals";
//!     fn outline(&self, input: &Schema) -> Result<Outline> {
//!         Ok(Outline::of(input).read_text("/column", &self.column)?.put(Field::new(&self.output, DataType::Utf8, true)))
//!     }
//!     fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
//!         let text = Text::of(batch.column(0))?;
//!         Ok(vec![Arc::new(text.iter().map(|v| v.map(str::to_uppercase)).collect::<StringArray>())])
//!     }
//! }
//! export!(name = "demo", columns = [Shout]);
//!
//! // The test that belongs to it: natively, through the real encoding, cut into batches in several ways.
//! # fn main() {
//! let params = json!({ "column": "name", "output": "loud" });
//! let output = odibi_sdk::harness::run_csv(&plugin(), "shout", params, &["id,name\n1,ann\n2,\n"]);
//! assert_eq!(output.unwrap(), "id,name,loud\n1,ann,ANN\n2,,\n");
//!
//! // A wrong name is shown at its line of the YAML, before anything runs.
//! let params = json!({ "column": "nmae", "output": "loud" });
//! let failure = odibi_sdk::harness::run_csv(&plugin(), "shout", params, &["id,name\n1,ann\n"]).unwrap_err();
//! assert_eq!(failure.message, "unknown column `nmae`, did you mean `name`?");
//! assert_eq!(failure.param.as_deref(), Some("/column"));
//! # }
//! ```
//!
//! # Which trait
//!
//! | the operation | trait | in `export!` |
//! |---|---|---|
//! | adds, replaces, renames, drops or reorders columns; each batch by itself | [`Columns`] | `columns = [..]` |
//! | keeps some of the rows; each batch by itself | [`Rows`] | `rows = [..]` |
//! | has state, several inputs, needs an order or a partitioning, or makes rows of its own | [`Operation`] | `operations = [..]` |
//!
//! # An operation with state
//!
//! `plan` answers with a [`Plan`]; `open` makes a [`Session`], which is fed batch by batch and emits through [`Output`]:
//! [`Output::fresh`] for new rows, [`Output::same_rows`] and [`Output::picked`] when the host should re-attach the
//! columns that pass through.
//!
//! ```
//! use odibi_sdk::prelude::*;
//!
//! /// Numbers the rows of each group.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Number {
//!     by: Vec<String>,
//!     output: String,
//! }
//!
//! impl Operation for Number {
//!     const NAME: &'static str = "number";
//!     const SUMMARY: &'static str = "Numbers all rows, from 1";
//!
//!     fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
//!         let keys = find_each("/by", &self.by, &inputs[0])?;
//!         let outline = Outline::of(&inputs[0]).add("/output", Field::new(&self.output, DataType::Int64, false))?;
//!         // Rows must come in order, and no column is read: batches have rows but no columns.
//!         let input = InputPlan::only([]).sorted_by(keys.into_iter().map(SortKey::ascending)).keep_order();
//!         Ok(Plan::from(outline).input(0, input).spread(Spread::Single))
//!     }
//!
//!     fn open(self, _start: Start) -> Result<Box<dyn Session>> {
//!         Ok(Box::new(Counter { next: 1 }))
//!     }
//! }
//!
//! struct Counter {
//!     next: i64,
//! }
//!
//! impl Session for Counter {
//!     fn process(&mut self, _port: usize, batch: RecordBatch, out: &mut Output<'_>) -> Result<Appetite> {
//!         let numbers: Int64Array = (self.next..).take(batch.num_rows()).collect();
//!         self.next += batch.num_rows() as i64;
//!         out.same_rows(vec![Arc::new(numbers)])
//!     }
//! }
//! export!(name = "demo", operations = [Number]);
//! # fn main() {
//! let params = json!({ "by": ["price"], "output": "no" });
//! let output = odibi_sdk::harness::run_csv(&plugin(), "number", params, &["id,price\n1,30\n2,10\n3,20\n"]);
//! assert_eq!(output.unwrap(), "id,price,no\n2,10,1\n3,20,2\n1,30,3\n");
//! # }
//! ```
//!
//! # Failures
//!
//! Return a [`Failure`], never panic: a panic is a trap, which has no message. [`Failure::param`] takes the JSON Pointer
//! of the param to blame, [`Failure::data`] the row and column, [`Failure::internal`] nothing. The SDK's own codes are
//! `invalid-param`, `unknown-column`, `duplicate-column`, `wrong-type`, `wrong-inputs`, `unfit-schema`, `bad-value`,
//! `unavailable`, `unknown-operation`, `emit-misuse`, `emit-invalid`, `arrow` and `internal`.
//!
//! # Building
//!
//! `crate-type = ["cdylib", "rlib"]`, then
//! `RUSTFLAGS="-C target-feature=+simd128" cargo rustc --lib --crate-type cdylib --profile component --target wasm32-wasip2`,
//! with `opt-level = 3`, `lto = "fat"`, `codegen-units = 1`, `strip = true` and `panic = "abort"` in the profile. A
//! component has about 1.1 MB. For hot loops add ` -- -C llvm-args=-unroll-count=8 -C llvm-args=-unroll-runtime=false`:
//! they run up to a tenth faster, in a component half as large again.
//! The plugin needs `serde` and `schemars` for the derives; Arrow comes from [`arrow`].
//! A `#[global_allocator]` of your own does not compile: the host's lists are allocated by wasi-libc and freed by Rust.

pub mod failure;
#[cfg(target_arch = "wasm32")]
pub mod guest;
#[cfg(not(target_arch = "wasm32"))]
pub mod harness;
pub mod hash;
pub mod iso;
pub mod operation;
pub mod outline;
pub mod output;
pub mod params;
pub mod plan;
pub mod plugin;
pub mod report;
mod session;
mod simple;
pub mod text;
mod wire;

#[cfg(target_arch = "wasm32")]
extern crate self as odibi_sdk;

pub use failure::{Failure, Result};
pub use operation::{Appetite, Context, Operation, Session, Start};
pub use outline::Outline;
pub use output::Output;
pub use plan::{InputPlan, OutputColumn, Plan, SortKey, Spread};
pub use plugin::{Example, FurtherInputs, Plugin};
pub use simple::{Columns, Rows};

/// The Arrow crates the SDK is built with, so that a plugin needs no versions of its own.
pub mod arrow {
    pub use arrow_array as array;
    pub use arrow_buffer as buffer;
    pub use arrow_schema as schema;
    pub use arrow_select as select;
}

/// Everything that most operations use.
pub mod prelude {
    pub use std::sync::Arc;

    pub use arrow_array::cast::AsArray;
    pub use arrow_array::{
        Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    };
    pub use arrow_schema::{DataType, Field, Schema, SchemaRef};
    pub use schemars::JsonSchema;
    pub use serde::Deserialize;
    pub use serde_json::{Value, json};

    pub use crate::export;
    pub use crate::failure::{Failure, Result, unknown_column};
    pub use crate::operation::{Appetite, Context, Operation, Session, Start};
    pub use crate::outline::{Outline, find, find_each};
    pub use crate::output::Output;
    pub use crate::plan::{Feed, InputPlan, Need, OutputColumn, Plan, SortKey, Spread};
    pub use crate::plugin::{Example, FurtherInputs};
    pub use crate::simple::{Columns, Rows};
    pub use crate::text::Text;
}

/// Makes a component of the operations listed, by trait; each list may be left out. Natively it leaves
/// `pub fn plugin() -> Plugin`, which the harness drives.
///
/// ```text
/// export!(name = "demo", columns = [Shout, Whisper], rows = [Keep], operations = [Aggregate]);
/// ```
#[macro_export]
macro_rules! export {
    (
        name = $name:literal
        $(, columns = [$($columns:ty),* $(,)?])?
        $(, rows = [$($rows:ty),* $(,)?])?
        $(, operations = [$($operations:ty),* $(,)?])?
        $(,)?
    ) => {
        /// The plugin of this crate, as the harness drives it.
        #[must_use]
        #[allow(unreachable_pub, reason = "a plugin may stand in a private module")]
        pub fn plugin() -> $crate::Plugin {
            $crate::Plugin {
                name: $name,
                version: env!("CARGO_PKG_VERSION"),
                operations: vec![
                    $($($crate::plugin::Entry::columns::<$columns>(),)*)?
                    $($($crate::plugin::Entry::rows::<$rows>(),)*)?
                    $($($crate::plugin::Entry::operation::<$operations>(),)*)?
                ],
            }
        }

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "generated: the component's entry points")]
        mod odibi_component {
            struct Exported;

            impl $crate::guest::Source for Exported {
                fn plugin() -> $crate::Plugin {
                    super::plugin()
                }
            }

            type Component = $crate::guest::Component<Exported>;

            $crate::guest::bindings::export_component!(Component with_types_in $crate::guest::bindings);
        }
    };
}
