//! `cross_check`: compares tables, and ends the step when they differ too much.
//!
//! Rows are counted and nothing else: no column of any table enters the sandbox.

use std::collections::BTreeMap;

use odibi_sdk::failure::Kind::Data as OfData;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::query::Query;

/// Params of `cross_check`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CrossCheck {
    /// What is compared.
    #[serde(rename = "type")]
    kind: Kind,
    /// The tables to compare, at least two; the others are compared with the first. The main input passes through as it is.
    inputs: Vec<String>,
    /// For `row_count_diff`: how much the number of rows may differ, as a part of the first table's: 0.05 is 5 %.
    #[serde(default)]
    threshold: f64,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// The number of rows.
    RowCountDiff,
    /// Names and types of the columns, whatever their order.
    SchemaMatch,
}

impl Operation for CrossCheck {
    const NAME: &'static str = "cross_check";
    const SUMMARY: &'static str = "Compares tables and ends the step when they differ too much";
    const FURTHER_INPUTS: FurtherInputs = FurtherInputs::Many("inputs");

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "two tables may differ by half of their rows",
                json!({ "type": "row_count_diff", "inputs": ["orders", "payments"], "threshold": 0.5 }),
                ["id\n1\n", "a\n1\n2\n", "b\n1\n2\n3\n"],
                "id\n1\n",
            ),
            Example::new(
                "two tables must have the same columns",
                json!({ "type": "schema_match", "inputs": ["staging", "production"] }),
                ["id\n1\n", "a,b\n1,x\n", "b,a\ny,2\n"],
                "id\n1\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        if self.inputs.len() < 2 {
            let message = format!("at least two tables are wanted, are: {}", self.inputs.len());
            return Err(Failure::param("/inputs", message));
        }
        if !(self.threshold >= 0.0 && self.threshold.is_finite()) {
            let message = format!("must be 0 or more, is: {}", self.threshold);
            return Err(Failure::param("/threshold", message));
        }
        if Query::is_blind(inputs) {
            let inputs = inputs.iter().map(|_| InputPlan::only([]));
            return Ok(Plan::fresh(inputs, &Schema::empty()));
        }
        let Some((main, tables)) = inputs
            .split_first()
            .filter(|(_, tables)| tables.len() == self.inputs.len())
        else {
            return Err(Failure::internal("another number of tables than names"));
        };
        if self.kind == Kind::SchemaMatch {
            self.same_columns(tables)?;
        }
        let passed = main.fields().iter().enumerate();
        let output = passed.map(|(input, field)| OutputColumn::Passed {
            field: Arc::clone(field),
            port: 0,
            input,
        });
        let counted = tables.iter().map(|_| InputPlan::only([]).drained_first());
        let ports = std::iter::once(InputPlan::only([]).keep_order()).chain(counted);
        Ok(Plan::new(ports, output.collect()).spread(Spread::Single))
    }

    fn open(self, _: Start) -> Result<Box<dyn Session>> {
        let tables = self.inputs.len();
        Ok(Box::new(Counting {
            check: self,
            rows: vec![0; tables],
            ended: vec![false; tables],
        }))
    }
}

impl CrossCheck {
    fn same_columns(&self, tables: &[SchemaRef]) -> Result<()> {
        let columns = |schema: &Schema| -> BTreeMap<String, DataType> {
            let each = schema.fields().iter();
            each.map(|f| (f.name().clone(), f.data_type().clone()))
                .collect()
        };
        let base = columns(&tables[0]);
        for (i, table) in tables.iter().enumerate().skip(1) {
            let other = columns(table);
            let mut differences = Vec::new();
            for (name, kind) in &base {
                match other.get(name) {
                    None => differences.push(format!("`{name}` is missing")),
                    Some(is) if is != kind => {
                        differences.push(format!("`{name}` is {is} and not {kind}"));
                    }
                    Some(_) => {}
                }
            }
            let more = other.keys().filter(|name| !base.contains_key(*name));
            differences.extend(more.map(|name| format!("`{name}` is there in addition")));
            if !differences.is_empty() {
                let message = format!(
                    "columns of `{}` are not those of `{}`: {}",
                    self.inputs[i],
                    self.inputs[0],
                    differences.join(", ")
                );
                let failure = Failure::schema(message).code("cross-check");
                return Err(failure.at_param(child("/inputs", i)));
            }
        }
        Ok(())
    }

    fn same_counts(&self, rows: &[u64]) -> Result<()> {
        let base = rows[0];
        for (i, count) in rows.iter().enumerate().skip(1) {
            let difference = match base {
                0 if *count == 0 => 0.0,
                0 => 1.0,
                _ => count.abs_diff(base) as f64 / base as f64,
            };
            if difference > self.threshold {
                let message = format!(
                    "`{}` has {count} rows, `{}` has {base}: a difference of {:.2} %, allowed are {:.2} %",
                    self.inputs[i],
                    self.inputs[0],
                    difference * 100.0,
                    self.threshold * 100.0
                );
                let failure = Failure::new(OfData, "cross-check", message);
                return Err(failure.at_param(child("/inputs", i)));
            }
        }
        Ok(())
    }
}

struct Counting {
    check: CrossCheck,
    /// Rows of each table so far.
    rows: Vec<u64>,
    ended: Vec<bool>,
}

impl Session for Counting {
    fn process(
        &mut self,
        port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        if port == 0 {
            return out.same_rows(Vec::new());
        }
        if self.check.kind == Kind::SchemaMatch {
            return Ok(Appetite::Enough);
        }
        self.rows[port - 1] += batch.num_rows() as u64;
        Ok(Appetite::More)
    }

    fn drain(&mut self, port: usize, _: &mut Output<'_>) -> Result<()> {
        if port > 0 {
            self.ended[port - 1] = true;
            if self.check.kind == Kind::RowCountDiff && self.ended.iter().all(|ended| *ended) {
                self.check.same_counts(&self.rows)?;
            }
        }
        Ok(())
    }
}
