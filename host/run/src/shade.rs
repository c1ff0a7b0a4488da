//! Which columns of a node are sensitive: from what is marked in the project, along the plans of its operations, to the
//! result. An upper bound: whatever an operation makes that was given a sensitive column is sensitive, for the host
//! cannot know what the guest does inside. What the host passes by is as it was.

use std::collections::{BTreeMap, BTreeSet};

use arrow_schema::{DataType, Field, Schema};
use odibi_plan::plan::{ColumnName, Marks, NodeId, PlannedNode, Reach, Read, Step};
use odibi_story::event::{PrivacyFact, SensitiveInput};
use odibi_story::failure::{Failure, FailureClass, code};
use serde_json::Value;

use crate::port::OperationPlan;

/// What is known of a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shade {
    /// No value of it may be seen.
    pub sensitive: bool,
    /// `privacy` changes its values.
    pub personal: bool,
    /// Its name is a value.
    pub named_by_value: bool,
}

impl Shade {
    fn add(&mut self, other: Self) {
        self.sensitive |= other.sensitive;
        self.personal |= other.personal;
        self.named_by_value |= other.named_by_value;
    }
}

/// Columns of a table that are not like all others, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shades(BTreeMap<String, Shade>);

impl Shades {
    /// What is known of a column.
    #[must_use]
    pub fn of(&self, column: &str) -> Shade {
        self.0.get(column).copied().unwrap_or_default()
    }

    /// Sensitive columns.
    #[must_use]
    pub fn sensitive(&self) -> Vec<String> {
        self.names(|shade| shade.sensitive)
    }

    fn names(&self, wanted: impl Fn(&Shade) -> bool) -> Vec<String> {
        let found = self.0.iter().filter(|(_, shade)| wanted(shade));
        found.map(|(name, _)| name.clone()).collect()
    }

    fn add(&mut self, column: &str, shade: Shade) {
        if shade != Shade::default() {
            self.0.entry(column.to_owned()).or_default().add(shade);
        }
    }

    /// Columns of files: what the read says of them, and the nodes of the project that write them. `known` tells what
    /// came out of a node of this run.
    #[must_use]
    pub fn of_files(read: &Read, schema: &Schema, known: &dyn Fn(NodeId) -> Option<Self>) -> Self {
        let mut shades = Self::default();
        let sensitive = Shade {
            sensitive: true,
            ..Shade::default()
        };
        shades.mark(&read.sensitive, schema);
        for writer in &read.writers {
            let made = writer.node.filter(|_| !writer.rejected).and_then(known);
            for field in schema.fields() {
                let name = field.name();
                match (&made, &writer.reach) {
                    // Personal is what the node that reads calls so: a file may be read in another run.
                    (Some(made), _) => {
                        let shade = made.of(name);
                        shades.add(
                            name,
                            Shade {
                                personal: false,
                                ..shade
                            },
                        );
                    }
                    (None, Reach::Nothing) => {}
                    (None, reach) if reach.holds(name) => shades.add(name, sensitive),
                    (None, _) => {}
                }
            }
        }
        shades
    }

    fn mark(&mut self, marks: &Marks, schema: &Schema) {
        let sensitive = Shade {
            sensitive: true,
            ..Shade::default()
        };
        match marks {
            Marks::None => {}
            Marks::All => {
                for field in schema.fields() {
                    self.add(field.name(), sensitive);
                }
            }
            Marks::Columns(columns) => {
                for column in columns.iter().filter_map(|mark| find(schema, &mark.name)) {
                    self.add(column, sensitive);
                }
            }
        }
    }
}

/// The column that a name means: its own, or that of the struct around it (`person.email`).
fn find<'a>(schema: &'a Schema, name: &str) -> Option<&'a str> {
    if let Ok(field) = schema.field_with_name(name) {
        return Some(field.name());
    }
    let outer = |field: &Field| {
        let rest = name
            .strip_prefix(field.name().as_str())?
            .strip_prefix('.')?;
        inside(field.data_type(), rest).then_some(())
    };
    let found = schema.fields().iter().find(|field| outer(field).is_some());
    found.map(|field| field.name().as_str())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other types have no fields"
)]
fn inside(data_type: &DataType, path: &str) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().any(|field| {
            path.strip_prefix(field.name().as_str())
                .is_some_and(|rest| {
                    rest.is_empty()
                        || rest
                            .strip_prefix('.')
                            .is_some_and(|rest| inside(field.data_type(), rest))
                })
        }),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            inside(item.data_type(), path)
        }
        DataType::Map(entries, _) => inside(entries.data_type(), path),
        _ => false,
    }
}

/// A node on its way from its inputs to its result.
#[derive(Debug)]
pub struct Shading<'a> {
    node: &'a PlannedNode,
    inputs: Vec<Shades>,
    current: Shades,
    /// Of each step so far, the sensitive columns that enter its sandbox.
    given: Vec<Vec<String>>,
    changed: Vec<String>,
    /// Names of the project that mean a column somewhere in the node.
    found: BTreeSet<String>,
    read: BTreeSet<(usize, String)>,
}

/// What is known of a node's columns when all of it is planned.
#[derive(Debug, Clone, Default)]
pub struct Shaded {
    /// What is told of it.
    pub fact: PrivacyFact,
    /// For each step, the sensitive columns that enter its sandbox.
    pub given: Vec<Vec<String>>,
    /// Of the result.
    pub result: Shades,
}

impl<'a> Shading<'a> {
    /// Begins with the inputs of a node, in their order.
    #[must_use]
    pub fn new<'s>(
        node: &'a PlannedNode,
        tables: impl IntoIterator<Item = (&'s Schema, Shades)>,
    ) -> Self {
        let mut shading = Self {
            node,
            inputs: Vec::new(),
            current: Shades::default(),
            given: Vec::new(),
            changed: Vec::new(),
            found: BTreeSet::new(),
            read: BTreeSet::new(),
        };
        for (at, (schema, mut shades)) in tables.into_iter().enumerate() {
            shading.mark(&mut shades, schema);
            if let Some(read) = node.inputs.get(at).and_then(|input| input.source.read()) {
                let named = read.sensitive.columns().iter();
                let found = named.filter(|column| find(schema, &column.name).is_some());
                shading.read.extend(found.map(|c| (at, c.name.clone())));
            }
            shading.inputs.push(shades);
        }
        shading.current = shading.inputs.first().cloned().unwrap_or_default();
        shading
    }

    /// Adds what the node says of columns of these names.
    fn mark(&mut self, shades: &mut Shades, schema: &Schema) {
        let privacy = &self.node.privacy;
        shades.mark(&privacy.sensitive, schema);
        let personal = Shade {
            sensitive: true,
            personal: true,
            ..Shade::default()
        };
        for column in &privacy.pii {
            if let Some(name) = find(schema, &column.name) {
                shades.add(name, personal);
            }
        }
        let named = (privacy.sensitive.columns().iter())
            .chain(&privacy.pii)
            .chain(&privacy.declassify);
        for column in named {
            if find(schema, &column.name).is_some() {
                self.found.insert(column.name.clone());
            }
        }
    }

    /// The params of the next step, with the columns filled in that `privacy` changes.
    ///
    /// # Errors
    /// `privacy/no-columns` when there are none.
    pub fn params(&self, index: usize, step: &Step, schema: &Schema) -> Result<Value, Failure> {
        let mut params = step.params.value.clone();
        if self.node.privacy.step != Some(index) {
            return Ok(params);
        }
        let columns = self.to_change(schema);
        if columns.is_empty() {
            let message = "`privacy` has no column to change: none of the result is marked `pii: true`, here or before";
            return Err(
                Failure::new(FailureClass::Data, code::PRIVACY_NO_COLUMNS, message)
                    .hint("add `columns: {NAME: {pii: true}}` to the node"),
            );
        }
        params["columns"] = columns.into();
        Ok(params)
    }

    fn to_change(&self, schema: &Schema) -> Vec<String> {
        let declassified = &self.node.privacy.declassify;
        let names = schema.fields().iter().map(|field| field.name());
        names
            .filter(|name| self.current.of(name).personal)
            .filter(|name| !declassified.iter().any(|column| column.name == **name))
            .cloned()
            .collect()
    }

    /// Follows the next step.
    pub fn step(&mut self, index: usize, step: &Step, plan: &OperationPlan) {
        if self.node.privacy.step == Some(index)
            && let Some(input) = plan.inputs.first()
        {
            self.changed = self.to_change(&input.offered);
        }
        let mut ports = vec![&self.current];
        let further = step.further_inputs.iter();
        ports.extend(further.filter_map(|at| self.inputs.get(*at)));
        let mut given = BTreeMap::new();
        for (shades, input) in ports.iter().zip(&plan.inputs) {
            for column in input
                .need
                .iter()
                .filter_map(|at| input.offered.fields().get(*at))
            {
                let shade = shades.of(column.name());
                if shade.sensitive {
                    given.insert(column.name().clone(), shade);
                }
            }
        }
        let values = Values::of(&plan.params);
        let mut result = Shades::default();
        // What a plan does not tell of is taken for made.
        let passed = plan.pass_through.iter().chain(std::iter::repeat(&None));
        for (field, passed) in plan.output.fields().iter().zip(passed) {
            let name = field.name();
            let shade = match passed {
                Some((port, column)) => {
                    let input = plan.inputs.get(*port);
                    let of = input.and_then(|input| input.offered.fields().get(*column));
                    let mut shade = match (ports.get(*port), of) {
                        (Some(shades), Some(of)) => shades.of(of.name()),
                        (_, _) => Shade::default(),
                    };
                    shade.named_by_value &= of.is_some_and(|of| of.name() == name);
                    shade
                }
                None => Shade {
                    sensitive: !given.is_empty(),
                    // What bears its name is taken for it.
                    personal: given.get(name).is_some_and(|shade| shade.personal),
                    named_by_value: !given.is_empty() && values.hold(name),
                },
            };
            result.add(name, shade);
        }
        self.given.push(given.into_keys().collect());
        self.mark(&mut result, &plan.output);
        self.current = result;
    }

    /// Names of the project that mean no column.
    #[must_use]
    pub fn missing(&self) -> Vec<&'a ColumnName> {
        let privacy = &self.node.privacy;
        let named = (privacy.sensitive.columns().iter())
            .chain(&privacy.pii)
            .chain(&privacy.declassify);
        let mut missing: Vec<&ColumnName> = named
            .filter(|column| !self.found.contains(&column.name))
            .collect();
        for (at, input) in self.node.inputs.iter().enumerate() {
            let read = input.source.read();
            let named = read
                .map(|read| read.sensitive.columns())
                .unwrap_or_default();
            let not = |column: &&ColumnName| !self.read.contains(&(at, column.name.clone()));
            missing.extend(named.iter().filter(not));
        }
        missing
    }

    /// Ends with the result.
    ///
    /// # Errors
    /// `privacy/unknown-column` when the project names a column that was nowhere.
    pub fn finish(self) -> Result<Shaded, Failure> {
        if let Some(column) = self.missing().first() {
            let message = format!(
                "a column that must not be seen is named and does not exist: `{}`",
                column.name
            );
            return Err(
                Failure::new(FailureClass::Data, code::PRIVACY_UNKNOWN_COLUMN, message).hint(
                    "correct the name, or remove it, under `sensitive`, `columns` or `declassify`",
                ),
            );
        }
        let inputs = (self.node.inputs.iter().zip(&self.inputs))
            .map(|(input, shades)| SensitiveInput {
                input: input.name.clone(),
                columns: shades.sensitive(),
            })
            .filter(|input| !input.columns.is_empty())
            .collect();
        let mut value_names = self.current.names(|shade| shade.named_by_value);
        for shades in &self.inputs {
            value_names.extend(shades.names(|shade| shade.named_by_value));
        }
        let mut result = self.current;
        let mut declassified = Vec::new();
        for column in &self.node.privacy.declassify {
            if let Some(shade) = result.0.get_mut(&column.name) {
                if shade.sensitive {
                    declassified.push(column.name.clone());
                }
                *shade = Shade::default();
            }
        }
        result.0.retain(|_, shade| *shade != Shade::default());
        let method = self.node.privacy.step.and_then(|at| {
            let params = &self.node.steps.get(at)?.params.value;
            params.get("method")?.as_str().map(str::to_owned)
        });
        let fact = PrivacyFact {
            inputs,
            columns: result.sensitive(),
            changed: self.changed,
            method,
            declassified,
            value_names,
        };
        Ok(Shaded {
            fact,
            given: self.given,
            result,
        })
    }

    /// What holds of the result so far.
    #[must_use]
    pub fn current(&self) -> &Shades {
        &self.current
    }
}

/// Values that params list, as `pivot` does: columns may be named after them.
struct Values(BTreeSet<String>);

impl Values {
    fn of(params: &Value) -> Self {
        let listed = params.get("values").and_then(Value::as_array);
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        Self(listed.into_iter().flatten().filter_map(text).collect())
    }

    fn hold(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}
