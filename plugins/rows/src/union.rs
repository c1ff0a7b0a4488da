//! `union`: tables behind each other, in the order in which they are named.
//!
//! Columns of the main input that have the type of the result pass by the sandbox. A batch of another table is made
//! anew, because a column can pass through from one port only.

mod widen;

use arrow_array::{RecordBatchOptions, new_null_array};
use arrow_ipc::convert::{IpcSchemaEncoder, fb_to_schema};
use arrow_ipc::writer::DictionaryTracker;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

/// Params of `union`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Union {
    /// Tables to put behind the input, in this order.
    datasets: Vec<String>,
    /// Match columns by name: the result has the columns of all tables, a column that a table lacks is null there.
    /// Otherwise the first column goes to the first and so on, under the names of the input. Types that differ become
    /// one that holds both without loss: the wider integer, a float, a timestamp for a date.
    #[serde(default = "by_name")]
    by_name: bool,
}

fn by_name() -> bool {
    true
}

impl Operation for Union {
    const NAME: &'static str = "union";
    const SUMMARY: &'static str = "Puts tables behind each other";
    const FURTHER_INPUTS: FurtherInputs = FurtherInputs::Many("datasets");

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "matches columns by name and fills the missing ones with null",
                json!({ "datasets": ["orders_2026"] }),
                ["id,total\n1,10\n", "total,id,channel\n2.5,2,web\n"],
                "id,total,channel\n1,10.0,\n2,2.5,web\n",
            ),
            Example::new(
                "matches columns by position",
                json!({ "datasets": ["archive"], "by_name": false }),
                ["id,total\n1,10\n", "no,sum\n2,20\n"],
                "id,total\n1,10\n2,20\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        if self.datasets.is_empty() {
            return Err(Failure::param(
                "/datasets",
                "at least one table must be named",
            ));
        }
        let Some((main, others)) = inputs
            .split_first()
            .filter(|(_, others)| others.len() == self.datasets.len())
        else {
            let message = format!(
                "offered were {} tables, named are: {}",
                inputs.len(),
                self.datasets.len() + 1
            );
            return Err(Failure::schema(message));
        };
        let output = if self.by_name {
            self.match_names(inputs)?
        } else {
            self.match_positions(main, others)?
        };
        let mut needed = Vec::new();
        let columns = output.iter().map(|field| {
            let field = Arc::new(field.clone());
            match main.column_with_name(field.name()) {
                Some((input, own)) if unchanged(own, &field) => OutputColumn::Passed {
                    field,
                    port: 0,
                    input,
                },
                Some((input, _)) => {
                    needed.push(input);
                    OutputColumn::Computed(field)
                }
                None => OutputColumn::Computed(field),
            }
        });
        let columns = columns.collect();
        let ports =
            std::iter::once(InputPlan::only(needed)).chain(others.iter().map(|_| InputPlan::all()));
        let plan = Plan::new(ports.map(InputPlan::keep_order), columns).spread(Spread::Single);
        // The session must know the types of columns that pass through, for the tables that lack them.
        let mut dictionaries = DictionaryTracker::new(false);
        let mut encoder = IpcSchemaEncoder::new().with_dictionary_tracker(&mut dictionaries);
        let state = encoder.schema_to_fb(&plan.output_schema());
        Ok(plan.state(state.finished_data()))
    }

    fn open(self, start: Start) -> Result<Box<dyn Session>> {
        let output = arrow_ipc::root_as_schema(&start.state);
        let output =
            output.map_err(|_| Failure::internal("the state does not come from `plan`"))?;
        let output = Arc::new(fb_to_schema(output));
        let ports = start.inputs.iter().enumerate().map(|(port, schema)| {
            let by_name = |field: &Arc<Field>| schema.index_of(field.name()).ok();
            match port {
                0 => start.computed.fields().iter().map(by_name).collect(),
                _ if self.by_name => output.fields().iter().map(by_name).collect(),
                _ => (0..output.fields().len()).map(Some).collect(),
            }
        });
        Ok(Box::new(UnionSession {
            ports: ports.collect(),
            computed: start.computed,
            output,
        }))
    }
}

fn unchanged(own: &Field, output: &Field) -> bool {
    own.data_type() == output.data_type() && own.is_nullable() == output.is_nullable()
}

impl Union {
    fn match_names(&self, inputs: &[SchemaRef]) -> Result<Vec<Field>> {
        let mut output: Vec<Field> = Vec::new();
        for (port, schema) in inputs.iter().enumerate() {
            for field in schema.fields() {
                match output.iter_mut().find(|o| o.name() == field.name()) {
                    Some(known) => *known = self.one_type(known, field, port)?,
                    None => output.push(Field::new(
                        field.name(),
                        field.data_type().clone(),
                        field.is_nullable(),
                    )),
                }
            }
        }
        let everywhere = |name: &str| inputs.iter().all(|s| s.column_with_name(name).is_some());
        let output = output.into_iter().map(|f| {
            if everywhere(f.name()) {
                f
            } else {
                f.with_nullable(true)
            }
        });
        Ok(output.collect())
    }

    fn match_positions(&self, main: &Schema, others: &[SchemaRef]) -> Result<Vec<Field>> {
        let own = main
            .fields()
            .iter()
            .map(|f| Field::new(f.name(), f.data_type().clone(), f.is_nullable()));
        let mut output: Vec<Field> = own.collect();
        for (i, (schema, table)) in others.iter().zip(&self.datasets).enumerate() {
            if schema.fields().len() != output.len() {
                let (count, wanted) = (schema.fields().len(), output.len());
                let message = format!(
                    "table `{table}` must have {wanted} columns as the input does, has: {count}"
                );
                let failure = Failure::param(child("/datasets", i), message).code("unlike-tables");
                return Err(failure.hint("match columns by name: leave `by_name: false` out"));
            }
            for (known, field) in output.iter_mut().zip(schema.fields()) {
                *known = self.one_type(known, field, i + 1)?;
            }
        }
        Ok(output)
    }

    fn one_type(&self, known: &Field, field: &Field, port: usize) -> Result<Field> {
        let nullable = known.is_nullable() || field.is_nullable();
        if let Some(data_type) = widen::common(known.data_type(), field.data_type()) {
            return Ok(Field::new(known.name(), data_type, nullable));
        }
        let (i, name) = (port.saturating_sub(1), field.name());
        let message = format!(
            "column `{name}` of table `{}` is {}, before it column `{}` is: {}",
            self.datasets[i],
            field.data_type(),
            known.name(),
            known.data_type()
        );
        let failure = Failure::param(child("/datasets", i), message).code("unlike-tables");
        Err(failure.hint("bring one of them to the other's type first, with `cast_columns`"))
    }
}

struct UnionSession {
    /// For each port, where each column to be made comes from; none is null. The first port makes the computed columns
    /// only.
    ports: Vec<Vec<Option<usize>>>,
    computed: SchemaRef,
    output: SchemaRef,
}

impl Session for UnionSession {
    fn process(
        &mut self,
        port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let schema = if port == 0 {
            &self.computed
        } else {
            &self.output
        };
        let columns = self.ports[port]
            .iter()
            .zip(schema.fields())
            .map(|(source, field)| match source {
                Some(column) => {
                    widen::widen(batch.column(*column), field.data_type(), field.name())
                }
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        if port == 0 {
            return out.same_rows(columns);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        out.fresh(&RecordBatch::try_new_with_options(
            Arc::clone(schema),
            columns,
            &options,
        )?)
    }
}

#[cfg(test)]
mod tests;
