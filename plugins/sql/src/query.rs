//! One query over named tables, as an operation: planned from the offered schemas, opened from the plan's state.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use odibi_sdk::plan::Need;
use odibi_sdk::{Failure, InputPlan, OutputColumn, Plan, Result, Session, SortKey, Spread, Start};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::batchwise::{Batchwise, Slot};
use crate::database::Database;
use crate::port::PortTable;
use crate::{fault, order, parse, spread, stream, types};

/// Metadata of a schema that nobody knows yet.
const UNKNOWN: &str = "odibi:unknown";

/// SQL and the tables it speaks of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Query {
    /// The SQL text.
    pub(crate) sql: String,
    /// For each port the names of its table.
    pub(crate) tables: Vec<Vec<String>>,
}

/// A query that answers batch by batch, as part of a chain.
pub(crate) struct Link {
    /// What it does.
    pub(crate) batchwise: Batchwise,
    /// What its plan gives.
    pub(crate) result: DFSchemaRef,
    /// What leaves the sandbox, if nothing follows.
    pub(crate) output: Vec<OutputColumn>,
}

/// What was decided about a query.
struct Decided {
    inputs: Vec<InputPlan>,
    output: Vec<OutputColumn>,
    spread: Spread,
    batchwise: Option<Batchwise>,
    sorted_by: Option<(usize, Vec<SortKey>)>,
    rereads: bool,
}

impl Query {
    /// Only says whether the text is SQL: for tables whose schema nobody knows.
    pub(crate) fn is_blind(inputs: &[SchemaRef]) -> bool {
        inputs
            .iter()
            .any(|schema| schema.metadata().contains_key(UNKNOWN))
    }

    /// What the host has to do for the query.
    pub(crate) fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        if Self::is_blind(inputs) {
            parse::query(&self.sql)?;
            let inputs = inputs.iter().map(|_| InputPlan::only([]));
            return Ok(Plan::fresh(inputs, &Schema::empty()));
        }
        let decided = self.decide(inputs)?;
        let state = State {
            query: self.clone(),
            schemas: inputs.to_vec(),
        };
        Ok(Plan::new(decided.inputs, decided.output)
            .spread(decided.spread)
            .state(state.write()?))
    }

    /// The query over its one table; `None` when it does not answer batch by batch.
    pub(crate) fn link(&self, offered: &SchemaRef) -> Result<Option<Link>> {
        let offered = std::slice::from_ref(offered);
        let (database, _) = self.database(offered, PortTable::offered)?;
        let logical = self.logical(&database, offered)?;
        let fields = types::output(logical.schema().as_arrow())?;
        let decided = self.batchwise(&logical, offered, &fields);
        // What is sorted is of all batches.
        let decided = decided.filter(|decided| decided.sorted_by.is_none());
        Ok(decided.and_then(|decided| {
            Some(Link {
                batchwise: decided.batchwise?,
                result: Arc::clone(logical.schema()),
                output: decided.output,
            })
        }))
    }

    /// A session of a plan.
    pub(crate) fn open(start: &Start) -> Result<Box<dyn Session>> {
        let State { query, schemas } = State::<Self>::read(&start.state)?;
        let decided = query.decide(&schemas)?;
        if let Some(batchwise) = decided.batchwise {
            let database = query.database(&schemas, PortTable::offered)?;
            return batchwise.open(&database.0, Arc::clone(&start.computed));
        }
        let (database, tables) = query.database(&schemas, |port, schema| {
            let sorted_by = match &decided.sorted_by {
                Some((sorted, keys)) if *sorted == port => keys.clone(),
                _ => Vec::new(),
            };
            let sent = match &decided.inputs[port].need {
                Need::All => (0..schema.fields().len()).collect(),
                Need::Only(columns) => columns.clone(),
            };
            PortTable::fed(port, schema, sent, sorted_by, decided.rereads)
        })?;
        // Planned again, so that the scans belong to the tables that will be fed.
        let logical = query.logical(&database, &schemas)?;
        let plan = database
            .physical(&logical)
            .map_err(|e| fault::of_query(&e, &query.sql))?;
        let context = database.state().task_ctx();
        Ok(Box::new(stream::Running::new(
            plan,
            context,
            tables,
            Arc::clone(&start.computed),
        )?))
    }

    fn decide(&self, offered: &[SchemaRef]) -> Result<Decided> {
        let (database, _) = self.database(offered, PortTable::offered)?;
        let logical = self.logical(&database, offered)?;
        let fields = types::output(logical.schema().as_arrow())?;
        if let Some(decided) = self.batchwise(&logical, offered, &fields) {
            return Ok(decided);
        }
        let physical = database
            .physical(&logical)
            .map_err(|e| fault::of_query(&e, &self.sql))?;
        let asked = stream::asked_in_order(&physical);
        let division = spread::divide(&logical, offered);
        let sorted_by = order::wanted(&logical);
        let (mut need, rereads) = columns_read(&logical, offered)?;
        let inputs = (0..offered.len()).map(|port| {
            let mut input = InputPlan::only(std::mem::take(&mut need[port]));
            let whole = division.as_ref().is_some_and(|d| d.whole.contains(&port));
            if whole || asked.last() != Some(&port) {
                input = input.drained_first();
            }
            match &division {
                Some(division) => {
                    if let Some(columns) = division.columns.get(&port) {
                        input = input.partition_by(columns.iter().copied());
                    }
                }
                None => input = input.keep_order(),
            }
            match &sorted_by {
                Some((sorted, keys)) if *sorted == port => input.sorted_by(keys.iter().copied()),
                _ => input,
            }
        });
        Ok(Decided {
            inputs: inputs.collect(),
            output: fields.into_iter().map(OutputColumn::Computed).collect(),
            spread: if division.is_some() {
                Spread::PerPartition
            } else {
                Spread::Single
            },
            batchwise: None,
            sorted_by,
            rereads,
        })
    }

    fn batchwise(
        &self,
        logical: &LogicalPlan,
        offered: &[SchemaRef],
        fields: &[Arc<arrow_schema::Field>],
    ) -> Option<Decided> {
        let batchwise = Batchwise::of(logical)?;
        // Several ports are fed one after the other, and only one instance may keep what it was fed.
        if offered.len() != 1 {
            return None;
        }
        let need = batchwise.need()?;
        let sorted_by = match batchwise.sorts {
            0 => None,
            1 => Some(order::wanted(logical)?),
            _ => return None,
        };
        let input = InputPlan::only(need);
        let input = match &sorted_by {
            Some((_, keys)) => input.keep_order().sorted_by(keys.iter().copied()),
            None => input,
        };
        let output = batchwise
            .slots()
            .into_iter()
            .zip(fields)
            .map(|(slot, field)| match slot {
                Slot::Passed(input) => {
                    let of = offered[batchwise.port].field(input);
                    let named = Arc::new(of.clone().with_name(field.name()));
                    OutputColumn::Passed {
                        field: named,
                        port: batchwise.port,
                        input,
                    }
                }
                Slot::Made => OutputColumn::Computed(Arc::clone(field)),
            });
        Some(Decided {
            inputs: vec![input],
            output: output.collect(),
            spread: match &sorted_by {
                Some(_) => Spread::Single,
                None => Spread::PerBatch,
            },
            batchwise: Some(batchwise),
            sorted_by,
            rereads: false,
        })
    }

    fn logical(&self, database: &Database, offered: &[SchemaRef]) -> Result<LogicalPlan> {
        let mut statement = parse::query(&self.sql)?;
        let named = self.tables.iter().zip(offered);
        let tables = named
            .flat_map(|(names, schema)| names.iter().map(move |n| (n.as_str(), schema.as_ref())));
        parse::fold_case(&mut statement, tables);
        let made = database
            .logical(statement)
            .and_then(|plan| database.optimized(&plan));
        made.map_err(|e| self.fault(&e))
    }

    fn fault(&self, error: &datafusion::common::DataFusionError) -> Failure {
        let failure = fault::of_query(error, &self.sql);
        if failure.code == "unknown-table" {
            let names: Vec<&str> = self.tables.iter().flatten().map(String::as_str).collect();
            return failure.hint(format!("there are: {}", names.join(", ")));
        }
        failure
    }

    fn database(
        &self,
        schemas: &[SchemaRef],
        table: impl Fn(usize, SchemaRef) -> PortTable,
    ) -> Result<(Database, HashMap<usize, Arc<PortTable>>)> {
        if schemas.len() != self.tables.len() {
            return Err(Failure::internal("another number of tables than names"));
        }
        let mut by_name = HashMap::new();
        let mut by_port = HashMap::new();
        for (port, (names, schema)) in self.tables.iter().zip(schemas).enumerate() {
            let made = Arc::new(table(port, Arc::clone(schema)));
            for name in names {
                by_name.insert(name.clone(), Arc::clone(&made));
            }
            by_port.insert(port, made);
        }
        let database = Database::new(by_name).map_err(|e| fault::of_run(&e))?;
        Ok((database, by_port))
    }
}

/// Offered columns that the scans read, for each port, and whether any part of the query runs more than once.
fn columns_read(plan: &LogicalPlan, offered: &[SchemaRef]) -> Result<(Vec<Vec<usize>>, bool)> {
    let mut read = vec![std::collections::BTreeSet::new(); offered.len()];
    let mut rereads = false;
    let walked = plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::TableScan(scan) => {
                if let Some(port) = spread::port_of(&scan.source) {
                    match &scan.projection {
                        Some(columns) => read[port].extend(columns),
                        None => read[port].extend(0..offered[port].fields().len()),
                    }
                }
            }
            LogicalPlan::RecursiveQuery(_) => rereads = true,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(|e| fault::of_run(&e))?;
    Ok((
        read.into_iter()
            .map(|columns| columns.into_iter().collect())
            .collect(),
        rereads,
    ))
}

/// What `plan` leaves to `open`.
pub(crate) struct State<Q> {
    /// One query or several.
    pub(crate) query: Q,
    /// What was offered.
    pub(crate) schemas: Vec<SchemaRef>,
}

impl<Q: Serialize + DeserializeOwned> State<Q> {
    /// Length of the query's JSON, the JSON, then for each schema its length and itself as an IPC stream of no batch.
    pub(crate) fn write(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let json = serde_json::to_vec(&self.query).map_err(|e| Failure::internal(e.to_string()))?;
        append(&mut bytes, &json)?;
        for schema in &self.schemas {
            let mut block = Vec::new();
            arrow_ipc::writer::StreamWriter::try_new(&mut block, schema)?.finish()?;
            append(&mut bytes, &block)?;
        }
        Ok(bytes)
    }

    pub(crate) fn read(mut bytes: &[u8]) -> Result<Self> {
        let json = take(&mut bytes)?;
        let query = serde_json::from_slice(json).map_err(|e| Failure::internal(e.to_string()))?;
        let mut schemas = Vec::new();
        while !bytes.is_empty() {
            let block = take(&mut bytes)?;
            schemas.push(arrow_ipc::reader::StreamReader::try_new(block, None)?.schema());
        }
        Ok(Self { query, schemas })
    }
}

fn append(bytes: &mut Vec<u8>, block: &[u8]) -> Result<()> {
    let length = u32::try_from(block.len()).map_err(|_| Failure::internal("a schema of 4 GiB"))?;
    bytes.extend(length.to_le_bytes());
    bytes.extend(block);
    Ok(())
}

fn take<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let cut = || Failure::internal("the plan's state is cut off");
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    let (block, rest) = rest
        .split_at_checked(u32::from_le_bytes(*length) as usize)
        .ok_or_else(cut)?;
    *bytes = rest;
    Ok(block)
}
