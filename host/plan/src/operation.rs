//! What a plugin says of itself: the manifest, and the registry of operations that a plan is checked against.

mod manifest;
pub mod schema;

use std::collections::{BTreeMap, BTreeSet};

pub use manifest::ManifestError;

use crate::plan::OperationRef;

/// The manifest of one component, as its `describe` export returns it.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Name of the plugin.
    pub name: String,
    /// Its version, semver.
    pub version: String,
    /// Its operations, in its own order.
    pub operations: Vec<OperationSpec>,
}

/// One operation of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationSpec {
    /// Name inside the plugin.
    pub name: String,
    /// One line for lists.
    pub summary: String,
    /// JSON Schema (2020-12) of the params object.
    pub params: serde_json::Value,
    /// Ports after the first.
    pub further_inputs: FurtherInputs,
    /// Shown by `odibi show`, run by the conformance suite.
    pub examples: Vec<Example>,
}

impl OperationSpec {
    /// Names of the params, in the order of the schema.
    #[must_use]
    pub fn param_names(&self) -> Vec<&str> {
        schema::property_names(&self.params)
    }
}

/// Which param names the tables for the ports after the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FurtherInputs {
    /// The operation has one input.
    None,
    /// The param holds the name of one table.
    One {
        /// Key of the param.
        param: String,
    },
    /// The param holds a list of names.
    Many {
        /// Key of the param.
        param: String,
    },
}

/// A worked example. Tables are CSV text with a header; the column types are inferred.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// What it shows.
    pub summary: String,
    /// Params.
    pub params: serde_json::Value,
    /// One CSV text for each port.
    pub inputs: Vec<String>,
    /// CSV text of the result.
    pub output: String,
}

/// All operations a project can name.
#[derive(Debug, Clone, Default)]
pub struct Operations {
    /// First-party manifests.
    pub first_party: Vec<Manifest>,
    /// Manifests of the project's plugins, by their key in `plugins:`.
    pub plugins: BTreeMap<String, Manifest>,
    /// Keys of `plugins:` that could not be loaded, which was reported already: their operations are not complained of.
    pub failed_plugins: BTreeSet<String>,
}

impl Operations {
    /// Finds an operation.
    #[must_use]
    pub fn find(&self, reference: &OperationRef) -> Option<&OperationSpec> {
        let of = |m: &'_ Manifest| m.operations.iter().position(|o| o.name == reference.name);
        match &reference.plugin {
            Some(plugin) => {
                let manifest = self.plugins.get(plugin)?;
                of(manifest).map(|i| &manifest.operations[i])
            }
            None => self
                .first_party
                .iter()
                .find_map(|m| of(m).map(|i| &m.operations[i])),
        }
    }

    /// Every name that can stand in the YAML, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let first = self
            .first_party
            .iter()
            .flat_map(|m| m.operations.iter().map(|o| o.name.clone()));
        let third = self.plugins.iter().flat_map(|(key, m)| {
            m.operations
                .iter()
                .map(move |o| format!("{key}/{}", o.name))
        });
        let mut names: Vec<String> = first.chain(third).collect();
        names.sort();
        names
    }
}
