//! What a run would make of the columns: every step is asked for its plan, and no row is read.
//!
//! A schema that cannot be known beforehand, because a file is not there yet or would have to be read, is no fault: the
//! steps behind it are left out, and a note says why. Only SQL is still asked whether it can be understood.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use odibi_plan::Plan;
use odibi_plan::config::normal_path;
use odibi_plan::plan::{
    ColumnName, InputSource, NodeId, OperationRef, PlannedNode, Read, ReadFormat, Step, WriteFormat,
};
use odibi_story::event::Column;
use odibi_story::failure::Failure;
use serde_json::Value;

use crate::port::{OperationPlan, Transforms, UNKNOWN_SCHEMA};
use crate::shade::{Shades, Shading};

/// What is known of a node beforehand.
#[derive(Debug, Clone, Default)]
pub struct Forecast {
    /// The columns behind each step, where they are known.
    pub steps: Vec<Option<Vec<Column>>>,
    /// The columns of the node, where they are known.
    pub output: Option<Vec<Column>>,
    /// The same as a schema.
    pub schema: Option<SchemaRef>,
    /// What a step refuses; it would fail the node.
    pub failure: Option<Failure>,
    /// Why something is not known.
    pub notes: Vec<String>,
    /// Columns that must not be seen and do not exist, where all columns are known.
    pub missing: Vec<ColumnName>,
    /// What of the result is sensitive, where its columns are known.
    pub shades: Option<Shades>,
}

/// The schema of a file, `None` when finding out would take too long.
pub type SchemaOf<'a> = &'a (dyn Fn(&Read) -> Result<Option<SchemaRef>, Failure> + Sync);

/// Asks every step, in the order of the plan. One forecast for each node. Calls block the thread.
pub async fn forecast(
    plan: &Plan,
    transforms: &dyn Transforms,
    schema_of: SchemaOf<'_>,
) -> Vec<Forecast> {
    let mut outlook = Outlook {
        plan,
        transforms,
        schema_of,
        read: HashMap::new(),
        done: Vec::with_capacity(plan.nodes.len()),
        shades: Vec::with_capacity(plan.nodes.len()),
    };
    let mut forecasts = Vec::with_capacity(plan.nodes.len());
    for node in &plan.nodes {
        let mut made = Forecast::default();
        let schema = outlook.node(node, &mut made).await;
        made.output = schema.as_ref().map(columns);
        made.schema.clone_from(&schema);
        outlook.done.push(schema);
        outlook.shades.push(made.shades.clone());
        forecasts.push(made);
    }
    forecasts
}

fn columns(schema: &SchemaRef) -> Vec<Column> {
    let column = |f: &Arc<Field>| Column {
        name: f.name().clone(),
        data_type: f.data_type().to_string(),
        nullable: f.is_nullable(),
    };
    schema.fields().iter().map(column).collect()
}

/// A schema, or why it is not known.
type Known = Result<SchemaRef, String>;

struct Outlook<'a> {
    plan: &'a Plan,
    transforms: &'a dyn Transforms,
    schema_of: SchemaOf<'a>,
    /// Files that were looked into. Several nodes may read the same.
    read: HashMap<String, Known>,
    /// What the nodes so far hand on.
    done: Vec<Option<SchemaRef>>,
    /// What of that is sensitive.
    shades: Vec<Option<Shades>>,
}

impl Outlook<'_> {
    async fn node(&mut self, node: &PlannedNode, made: &mut Forecast) -> Option<SchemaRef> {
        let mut tables: Vec<Option<SchemaRef>> = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            let known = match &input.source {
                InputSource::Node(id) => match self.done.get(id.0) {
                    Some(Some(schema)) => Ok(Arc::clone(schema)),
                    Some(None) | None => {
                        let name = self.plan.nodes.get(id.0).map_or("", |n| n.name.as_str());
                        Err(format!("those of node `{name}` are not known"))
                    }
                },
                InputSource::Read(read) => self.file(node, read),
            };
            if let Err(why) = &known {
                let note = format!("the columns of `{}` are not known: {why}", input.name);
                made.notes.push(note);
            }
            tables.push(known.ok());
        }
        let mut shading = self.shading(node, &tables);
        let mut current = tables.first().cloned().flatten();
        for (index, step) in node.steps.iter().enumerate() {
            let mut ports = vec![current];
            let further = step.further_inputs.iter();
            ports.extend(further.map(|i| tables.get(*i).cloned().flatten()));
            let params = match (&shading, &ports[0]) {
                (Some(shading), Some(schema)) => shading.params(index, step, schema),
                (_, _) => Ok(step.params.value.clone()),
            };
            let planned = match params {
                Ok(params) => self.step(step, &params, &ports).await,
                Err(failure) => Err(failure),
            };
            match planned {
                Ok(plan) => {
                    match (&mut shading, &plan) {
                        (Some(shading), Some(plan)) => shading.step(index, step, plan),
                        (_, _) => shading = None,
                    }
                    current = plan.map(|plan| plan.output);
                }
                Err(failure) => {
                    let placed = failure.step.is_some();
                    made.failure = Some(if placed {
                        failure
                    } else {
                        failure.at_step(index)
                    });
                    return None;
                }
            }
            made.steps.push(current.as_ref().map(columns));
        }
        if let (Some(shading), Some(_)) = (shading, &current) {
            made.missing = shading.missing().into_iter().cloned().collect();
            if made.missing.is_empty() {
                made.shades = shading.finish().ok().map(|shaded| shaded.result);
            }
        }
        current
    }

    /// Nothing, unless every column is known.
    fn shading<'n>(
        &self,
        node: &'n PlannedNode,
        tables: &[Option<SchemaRef>],
    ) -> Option<Shading<'n>> {
        let known = |id: NodeId| self.shades.get(id.0).cloned().flatten();
        let mut shaded = Vec::with_capacity(tables.len());
        for (input, table) in node.inputs.iter().zip(tables) {
            let schema = table.as_ref()?;
            let shades = match &input.source {
                InputSource::Node(id) => known(*id)?,
                InputSource::Read(read) => Shades::of_files(read, schema, &known),
            };
            shaded.push((schema.as_ref(), shades));
        }
        Some(Shading::new(node, shaded))
    }

    async fn step(
        &self,
        step: &Step,
        params: &Value,
        ports: &[Option<SchemaRef>],
    ) -> Result<Option<OperationPlan>, Failure> {
        let known = ports.iter().all(Option::is_some);
        if !known && !reads_blindly(&step.operation) {
            return Ok(None);
        }
        let offered: Vec<SchemaRef> = ports
            .iter()
            .map(|schema| schema.clone().unwrap_or_else(unknown))
            .collect();
        let operation = self
            .transforms
            .resolve(&step.operation, &step.limits)
            .await?;
        let planned = operation.plan(params, &offered)?;
        Ok(known.then_some(planned))
    }

    fn file(&mut self, reader: &PlannedNode, read: &Read) -> Known {
        if let Some(writer) = self.plan.writer_of(reader, read) {
            return self.written(read, writer);
        }
        let key = format!("{:?} {:?} {}", read.connection, read.format, read.path);
        if let Some(known) = self.read.get(&key) {
            return known.clone();
        }
        let known = match (self.schema_of)(read) {
            Ok(Some(schema)) => Ok(schema),
            Ok(None) => Err(format!("`{}` would have to be read first", read.path)),
            Err(failure) if self.plan.is_private() => Err(failure.openly()),
            Err(failure) => Err(failure.message),
        };
        self.read.insert(key, known.clone());
        known
    }

    /// A file that a node of the plan writes: what lies there now says nothing.
    fn written(&self, read: &Read, writer: &PlannedNode) -> Known {
        let parquet = writer
            .write
            .as_ref()
            .is_some_and(|write| matches!(write.format, WriteFormat::Parquet(_)));
        let whole = writer.write.as_ref().is_some_and(|w| {
            let same = normal_path(&w.path) == normal_path(&read.path);
            // Directories come as columns of types that are told from their names; a target may have more columns.
            same && w.partition_by.is_empty() && w.schema_policy.is_none()
        });
        match self.done.get(writer.id.0).cloned().flatten() {
            Some(schema) if parquet && whole && read.format == ReadFormat::Parquet => Ok(schema),
            Some(_) | None => Err(format!("node `{}` writes the file", writer.name)),
        }
    }
}

/// SQL is checked for its syntax even where no column is known.
fn reads_blindly(operation: &OperationRef) -> bool {
    operation.plugin.is_none() && operation.name == "sql"
}

fn unknown() -> SchemaRef {
    let note = HashMap::from([(UNKNOWN_SCHEMA.to_owned(), "true".to_owned())]);
    Arc::new(Schema::empty().with_metadata(note))
}

#[cfg(test)]
mod tests {
    use arrow_schema::DataType;
    use async_trait::async_trait;
    use odibi_plan::GuestLimits;
    use odibi_plan::{Manifest, Operations, Selection, Sources};
    use odibi_story::FailureClass;
    use odibi_story::event::OperationIdentity;
    use serde_json::json;

    use super::*;
    use crate::port::{Operation, Session, SessionContext, Spread};

    /// `add` appends the column of its param, which must be new; `sql` refuses the text `bad`.
    struct Fake(String);

    impl Operation for Fake {
        fn identity(&self) -> OperationIdentity {
            unreachable!("nobody asks")
        }

        fn plan(
            &self,
            params: &serde_json::Value,
            inputs: &[SchemaRef],
        ) -> Result<OperationPlan, Failure> {
            let no = |message: String| Failure::new(FailureClass::Guest, "guest/params", message);
            let blind = inputs
                .iter()
                .any(|s| s.metadata().contains_key(UNKNOWN_SCHEMA));
            let text = params["sql"].as_str().unwrap_or_default();
            if self.0 == "sql" && text == "bad" {
                return Err(no("bad SQL".to_owned()).at_param("/sql"));
            }
            assert!(self.0 == "sql" || !blind, "asked about what nobody knows");
            let mut fields: Vec<Field> = inputs
                .iter()
                .flat_map(|s| s.fields().iter().map(|f| f.as_ref().clone()))
                .collect();
            if let Some(name) = params["name"].as_str() {
                if fields.iter().any(|f| f.name() == name) {
                    return Err(no(format!("column `{name}` exists")).at_param("/name"));
                }
                fields.push(Field::new(name, DataType::Int64, true));
            }
            Ok(OperationPlan {
                params: params.clone(),
                inputs: Vec::new(),
                output: Arc::new(Schema::new(fields)),
                pass_through: Vec::new(),
                spread: Spread::Single,
                batch_rows_max: None,
                state: Vec::new(),
            })
        }

        fn open(
            &self,
            _: &Arc<OperationPlan>,
            _: &SessionContext,
        ) -> Result<Box<dyn Session>, Failure> {
            unreachable!("nobody runs")
        }
    }

    struct Fakes;

    #[async_trait]
    impl Transforms for Fakes {
        async fn resolve(
            &self,
            reference: &OperationRef,
            _: &GuestLimits,
        ) -> Result<Arc<dyn Operation>, Failure> {
            Ok(Arc::new(Fake(reference.name.clone())))
        }
    }

    fn plan_of(nodes: &str) -> Plan {
        let manifest = json!({"name": "test", "version": "1.0.0", "operations": [
            {"name": "add", "params": {}},
            {"name": "sql", "params": {}, "further_inputs": {"param": "tables", "many": true}},
        ]});
        let operations = Operations {
            first_party: Manifest::from_value(&manifest).into_iter().collect(),
            ..Operations::default()
        };
        let text = format!(
            "project: x\nconnections: {{c: {{type: local}}}}\npipelines:\n  - pipeline: p\n    nodes:\n{nodes}"
        );
        let (project, faults) =
            odibi_plan::load("x.yaml", &text, &|_| None, &mut Sources::default());
        let (plan, more) = odibi_plan::plan::plan(&project, &Selection::all(), &operations);
        assert_eq!((faults, more), (Vec::new(), Vec::new()));
        plan
    }

    /// Each node as `name: columns`, with what is refused and what is not known.
    #[track_caller]
    fn check(nodes: &str, expect: &[&str]) {
        let plan = plan_of(nodes);
        let schema_of = |read: &Read| match read.path.as_str() {
            "large.csv" => Ok(None),
            "none.csv" => Err(Failure::new(
                FailureClass::Missing,
                "read/missing",
                "no file",
            )),
            path => {
                let name = path.split('.').next().unwrap_or_default();
                Ok(Some(Arc::new(Schema::new(vec![Field::new(
                    name,
                    DataType::Utf8,
                    true,
                )]))))
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let made = runtime.map(|r| r.block_on(forecast(&plan, &Fakes, &schema_of)));
        let lines = plan
            .nodes
            .iter()
            .zip(made.into_iter().flatten())
            .map(|(node, forecast)| {
                let columns = forecast.output.map_or("?".to_owned(), |columns| {
                    columns
                        .into_iter()
                        .map(|c| c.name)
                        .collect::<Vec<_>>()
                        .join(" ")
                });
                let failure = forecast
                    .failure
                    .map(|f| format!(" ! {:?} {}", f.step, f.message));
                let notes: String = forecast.notes.iter().map(|n| format!(" ({n})")).collect();
                format!(
                    "{}: {columns}{}{notes}",
                    node.name,
                    failure.unwrap_or_default()
                )
            });
        assert_eq!(lines.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn columns_go_from_step_to_step_and_from_node_to_node() {
        check(
            "      - {name: a, read: {connection: c, format: csv, path: a.csv}, transform: {steps: [{operation: add, params: {name: x}}]}}\n\
             \x20     - {name: b, depends_on: [a], transform: {steps: [{operation: add, params: {name: y}}, {operation: add, params: {name: z}}]}}\n\
             \x20     - {name: d, inputs: {l: a, r: {connection: c, format: csv, path: r.csv}}, transform: {steps: [SELECT * FROM l JOIN r]}}\n",
            &["a: a x", "b: a x y z", "d: a x r"],
        );
    }

    #[test]
    fn a_refusal_names_its_step_and_leaves_out_what_follows() {
        check(
            "      - {name: a, read: {connection: c, format: csv, path: a.csv}, transform: {steps: [{operation: add, params: {name: x}}, {operation: add, params: {name: a}}, {operation: add, params: {name: a}}]}}\n\
             \x20     - {name: b, depends_on: [a], transform: {steps: [{operation: add, params: {name: a}}]}}\n",
            &[
                "a: ? ! Some(1) column `a` exists",
                "b: ? (the columns of `df` are not known: those of node `a` are not known)",
            ],
        );
    }

    #[test]
    fn only_sql_is_asked_where_nothing_is_known() {
        let steps = "transform: {steps: [{operation: add, params: {name: x}}, SELECT * FROM df, {sql: bad}]}";
        check(
            &format!(
                "      - {{name: a, read: {{connection: c, format: csv, path: none.csv}}, {steps}}}\n\
                 \x20     - {{name: b, read: {{connection: c, format: csv, path: large.csv}}, transform: {{steps: [SELECT * FROM df]}}}}\n"
            ),
            &[
                "a: ? ! Some(2) bad SQL (the columns of `df` are not known: no file)",
                "b: ? (the columns of `df` are not known: `large.csv` would have to be read first)",
            ],
        );
    }

    #[test]
    fn a_file_that_the_plan_writes_is_not_looked_into() {
        let steps = "transform: {steps: [{operation: add, params: {name: x}}]}";
        let write = |format: &str| {
            format!("write: {{connection: c, format: {format}, path: ./o.{format}}}")
        };
        let read = |format: &str| {
            format!("depends_on: [a], read: {{connection: c, format: {format}, path: o.{format}}}")
        };
        let nodes = |format: &str| {
            format!(
                "      - {{name: a, read: {{connection: c, format: csv, path: a.csv}}, {steps}, {}}}\n\
                 \x20     - {{name: b, {}}}\n",
                write(format),
                read(format)
            )
        };
        check(&nodes("parquet"), &["a: a x", "b: a x"]);
        check(
            &nodes("csv"),
            &[
                "a: a x",
                "b: ? (the columns of `df` are not known: node `a` writes the file)",
            ],
        );
        check(
            "      - {name: a, read: {connection: c, format: csv, path: o.csv}, write: {connection: c, format: csv, path: o.csv}}\n",
            &["a: o"],
        );
    }
}
