//! A plugin as a value: its operations with their types erased, its manifest, and the way from bytes to calls.

use arrow_schema::SchemaRef;
use serde_json::{Value, json};

use crate::failure::{Failure, Kind, Result, unknown_name};
use crate::operation::{Operation, Session, Start};
use crate::params::{self, Params};
use crate::plan::Plan;
use crate::simple::{self, Columns, Rows};

/// Version of the contract in `wit/odibi-node.wit`.
pub const INTERFACE: &str = "0.2.0";

/// What [`export!`](crate::export) builds.
#[derive(Debug)]
pub struct Plugin {
    /// Name of the plugin.
    pub name: &'static str,
    /// Its version, semver.
    pub version: &'static str,
    /// In the order of the macro.
    pub operations: Vec<Entry>,
}

/// One operation, its type erased.
#[derive(Debug)]
pub struct Entry {
    /// What the YAML calls it.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Which param names the further tables.
    pub further_inputs: FurtherInputs,
    params: fn() -> Value,
    examples: fn() -> Vec<Example>,
    plan: fn(&str, &[SchemaRef]) -> Result<Plan>,
    open: fn(&str, Start) -> Result<Box<dyn Session>>,
}

/// Which param names the tables for the ports after the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FurtherInputs {
    /// The operation has one input.
    None,
    /// The param of this name holds one table.
    One(&'static str),
    /// The param of this name holds a list of tables.
    Many(&'static str),
}

/// A worked example. Tables are CSV text with a header (column types are inferred, an empty value is null) or, where a
/// column is a list or a struct, JSON lines: a text that begins with a brace. All tables of an example are of one format.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// What it shows.
    pub summary: String,
    /// Params.
    pub params: Value,
    /// One text for each port.
    pub inputs: Vec<String>,
    /// Text of the result.
    pub output: String,
}

impl Example {
    /// `Example::new("keeps two columns", json!({"columns": ["a", "c"]}), ["a,b,c\n1,2,3\n"], "a,c\n1,3\n")`
    #[must_use]
    pub fn new<S: Into<String>>(
        summary: impl Into<String>,
        params: Value,
        inputs: impl IntoIterator<Item = S>,
        output: impl Into<String>,
    ) -> Self {
        let inputs = inputs.into_iter().map(Into::into).collect();
        Self {
            summary: summary.into(),
            params,
            inputs,
            output: output.into(),
        }
    }
}

impl Entry {
    /// From the small trait for columns.
    #[must_use]
    pub fn columns<T: Columns>() -> Self {
        Self {
            name: T::NAME,
            summary: T::SUMMARY,
            further_inputs: FurtherInputs::None,
            params: params::schema::<T>,
            examples: T::examples,
            plan: |json, inputs| simple::plan_columns(&params::read::<T>(json)?, inputs),
            open: |json, start| Ok(simple::open_columns(params::read::<T>(json)?, &start)),
        }
    }

    /// From the small trait for row filters.
    #[must_use]
    pub fn rows<T: Rows>() -> Self {
        Self {
            name: T::NAME,
            summary: T::SUMMARY,
            further_inputs: FurtherInputs::None,
            params: params::schema::<T>,
            examples: T::examples,
            plan: |json, inputs| simple::plan_rows(&params::read::<T>(json)?, inputs),
            open: |json, _start| Ok(simple::open_rows(params::read::<T>(json)?)),
        }
    }

    /// From the full trait.
    #[must_use]
    pub fn operation<T: Operation + Params>() -> Self {
        Self {
            name: T::NAME,
            summary: T::SUMMARY,
            further_inputs: T::FURTHER_INPUTS,
            params: params::schema::<T>,
            examples: T::examples,
            plan: |json, inputs| params::read::<T>(json)?.plan(inputs),
            open: |json, start| params::read::<T>(json)?.open(start),
        }
    }

    /// Its worked examples.
    #[must_use]
    pub fn examples(&self) -> Vec<Example> {
        (self.examples)()
    }

    /// JSON Schema of its params.
    #[must_use]
    pub fn params(&self) -> Value {
        (self.params)()
    }

    /// Reads params and plans.
    ///
    /// # Errors
    /// What the operation says, or the wrong number of inputs.
    pub fn plan(&self, params: &str, inputs: &[SchemaRef]) -> Result<Plan> {
        let (fits, wanted) = match self.further_inputs {
            FurtherInputs::None => (inputs.len() == 1, "one input"),
            FurtherInputs::One(_) => (inputs.len() == 2, "two inputs"),
            FurtherInputs::Many(_) => (!inputs.is_empty(), "at least one input"),
        };
        if !fits {
            let message = format!(
                "`{}` takes {wanted}, offered were: {}",
                self.name,
                inputs.len()
            );
            return Err(Failure::new(Kind::Schema, "wrong-inputs", message));
        }
        let plan = (self.plan)(params, inputs)?;
        plan.check(inputs)?;
        Ok(plan)
    }

    /// Reads params and starts a session.
    ///
    /// # Errors
    /// What the operation says.
    pub fn open(&self, params: &str, start: Start) -> Result<Box<dyn Session>> {
        (self.open)(params, start)
    }

    fn manifest(&self) -> Value {
        let further = match self.further_inputs {
            FurtherInputs::None => Value::Null,
            FurtherInputs::One(param) => json!({ "param": param, "many": false }),
            FurtherInputs::Many(param) => json!({ "param": param, "many": true }),
        };
        let examples = self.examples().into_iter().map(|e| {
            json!({ "summary": e.summary, "params": e.params, "inputs": e.inputs, "output": e.output })
        });
        json!({
            "name": self.name,
            "summary": self.summary,
            "params": self.params(),
            "further_inputs": further,
            "examples": examples.collect::<Vec<_>>(),
        })
    }
}

impl Plugin {
    /// Finds an operation.
    ///
    /// # Errors
    /// `unknown-operation` with the nearest name.
    pub fn find(&self, operation: &str) -> Result<&Entry> {
        let found = self.operations.iter().find(|o| o.name == operation);
        found.ok_or_else(|| {
            let mut failure = unknown_name(
                "operation",
                "",
                operation,
                self.operations.iter().map(|o| o.name),
            );
            failure.param = None;
            failure
        })
    }

    /// What `describe` returns.
    #[must_use]
    pub fn manifest(&self) -> Value {
        json!({
            "name": self.name,
            "version": self.version,
            "interface": INTERFACE,
            "operations": self.operations.iter().map(Entry::manifest).collect::<Vec<_>>(),
        })
    }
}
