//! Where columns come from: the tables a node starts from, and what each step does with their columns.

use serde::{Deserialize, Serialize};

use super::NodeRef;

/// A table that a node starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InputOutline {
    /// The name that params refer to.
    pub name: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub from: InputOrigin,
}

/// Where a table comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum InputOrigin {
    /// `connection:path`
    Dataset(String),
    /// The result of another node.
    Node(NodeRef),
}

/// What a step does with columns, as its operation planned it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StepFlow {
    /// In port order.
    pub ports: Vec<PortFlow>,
    /// Columns of the output, in order.
    pub columns: Vec<ColumnFlow>,
}

/// What one port gives to the operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PortFlow {
    /// Index of the node's input; absent for the output of the step before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<usize>,
    /// Columns that entered the sandbox.
    pub needed: Vec<String>,
}

/// Where an output column comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ColumnFlow {
    /// Its name.
    pub column: String,
    /// The column that the host passed by the operation. Absent: the operation made it of whatever entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<PassedColumn>,
}

/// A column of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PassedColumn {
    /// Index of the port.
    pub port: usize,
    /// Its name there.
    pub column: String,
}
