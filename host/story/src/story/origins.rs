//! Lineage of columns: of each node's result from its inputs, and of what is written from what is read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::NodeStory;
use crate::event::{InputOrigin, NodeRef, StepFlow};

/// Sources of one column that are listed; further ones are counted.
const SOURCES_MAX: usize = 200;
/// Sources of all columns of a list together that are listed.
const SOURCES_SUM_MAX: usize = 20_000;

/// Where a column comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ColumnOrigin {
    /// Its name.
    pub column: String,
    /// True when it is a column of an input, unchanged. False: made by an operation that saw all of `from`.
    pub unchanged: bool,
    /// Columns it may depend on, sorted.
    pub from: Vec<ColumnSource>,
    /// Sources over the number that is listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub from_more: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ColumnSource {
    /// The table.
    #[serde(flatten)]
    pub table: InputOrigin,
    /// Its column.
    pub column: String,
}

/// A written data set with the lineage of its columns, through all nodes of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DatasetOrigins {
    /// `connection:path`
    pub dataset: String,
    /// The node that wrote it.
    pub node: String,
    /// Its columns. Their sources are data sets, or nodes of other pipelines.
    pub columns: Vec<ColumnOrigin>,
}

/// Sources of a column, and whether it is one of them unchanged.
#[derive(Debug, Clone, Default)]
struct Sources {
    unchanged: bool,
    from: BTreeSet<ColumnSource>,
}

/// The columns of a node's result from those of its inputs; empty when a step did not tell.
pub(super) fn of_node(node: &NodeStory) -> Vec<ColumnOrigin> {
    listed(resolve(node).unwrap_or_default())
}

fn resolve(node: &NodeStory) -> Option<Vec<(String, Sources)>> {
    let facts = node.facts.as_ref()?;
    let source = |input: usize, column: &str| {
        Some(ColumnSource {
            table: node.outline.inputs.get(input)?.from.clone(),
            column: column.to_owned(),
        })
    };
    if facts.operations.is_empty() {
        let column = |name: &String| {
            let from = BTreeSet::from([source(0, name)?]);
            Some((
                name.clone(),
                Sources {
                    unchanged: true,
                    from,
                },
            ))
        };
        return facts.schema_out.iter().map(|c| column(&c.name)).collect();
    }
    let mut before: BTreeMap<String, Sources> = BTreeMap::new();
    let mut result = Vec::new();
    for operation in &facts.operations {
        let flow = operation.flow.as_ref()?;
        let of = |port: usize, column: &str| -> Option<Sources> {
            match flow.ports.get(port)?.input {
                Some(input) => Some(Sources {
                    unchanged: true,
                    from: BTreeSet::from([source(input, column)?]),
                }),
                None => before.get(column).cloned(),
            }
        };
        result = step(flow, of)?;
        before = result.iter().cloned().collect();
    }
    Some(result)
}

fn step(
    flow: &StepFlow,
    of: impl Fn(usize, &str) -> Option<Sources>,
) -> Option<Vec<(String, Sources)>> {
    let mut made = BTreeSet::new();
    for (at, port) in flow.ports.iter().enumerate() {
        for column in &port.needed {
            made.extend(of(at, column)?.from);
        }
    }
    let column = |column: &crate::event::ColumnFlow| {
        let sources = match &column.passed {
            Some(passed) => of(passed.port, &passed.column)?,
            None => Sources {
                unchanged: false,
                from: made.clone(),
            },
        };
        Some((column.column.clone(), sources))
    };
    flow.columns.iter().map(column).collect()
}

/// The written data sets of a pipeline. Nodes stand in dependency order.
pub(super) fn of_datasets(pipeline: &str, nodes: &[NodeStory]) -> Vec<DatasetOrigins> {
    let mut known: BTreeMap<&str, BTreeMap<String, Sources>> = BTreeMap::new();
    let mut written: BTreeMap<&str, &str> = BTreeMap::new();
    let mut datasets = Vec::new();
    for node in nodes {
        let Some(columns) = resolve(node) else {
            continue;
        };
        let through = |sources: &Sources| follow(sources, pipeline, &known, &written);
        let columns: Vec<(String, Sources)> = columns
            .into_iter()
            .map(|(name, sources)| (name, through(&sources)))
            .collect();
        if let Some(dataset) = node.outline.writes.as_deref() {
            written.insert(dataset, &node.outline.name);
            datasets.push(DatasetOrigins {
                dataset: dataset.to_owned(),
                node: node.outline.name.clone(),
                columns: listed(columns.clone()),
            });
        }
        known.insert(&node.outline.name, columns.into_iter().collect());
    }
    datasets
}

/// Replaces columns of nodes of this pipeline, and of data sets that they wrote, by where those came from.
fn follow(
    sources: &Sources,
    pipeline: &str,
    known: &BTreeMap<&str, BTreeMap<String, Sources>>,
    written: &BTreeMap<&str, &str>,
) -> Sources {
    let mut all = Sources {
        unchanged: sources.unchanged,
        from: BTreeSet::new(),
    };
    for source in &sources.from {
        let node = match &source.table {
            InputOrigin::Node(NodeRef { pipeline: of, name }) if of == pipeline => {
                Some(name.as_str())
            }
            InputOrigin::Node(_) => None,
            InputOrigin::Dataset(dataset) => written.get(dataset.as_str()).copied(),
        };
        match node.and_then(|node| known.get(node)?.get(&source.column)) {
            Some(before) => {
                all.unchanged &= before.unchanged;
                all.from.extend(before.from.iter().cloned());
            }
            None => {
                all.from.insert(source.clone());
            }
        }
    }
    all
}

fn listed(columns: Vec<(String, Sources)>) -> Vec<ColumnOrigin> {
    let mut room = SOURCES_SUM_MAX;
    let origin = |(column, sources): (String, Sources)| {
        let all = sources.from.len();
        let from: Vec<_> = sources
            .from
            .into_iter()
            .take(SOURCES_MAX.min(room))
            .collect();
        room -= from.len();
        ColumnOrigin {
            column,
            unchanged: sources.unchanged,
            from_more: (all - from.len()) as u64,
            from,
        }
    };
    columns.into_iter().map(origin).collect()
}

#[cfg(test)]
mod tests {
    use crate::event::{
        ColumnFlow, InputOrigin, InputOutline, NodeRef, PassedColumn, PortFlow, StepFlow,
    };
    use crate::example;
    use crate::story::{NodeStory, Story};

    /// `1: a b -> km, 0.c as d`: needs of the ports (`0` and so on, `-` for the step before), then the output.
    fn flow(text: &str) -> StepFlow {
        let (ports, columns) = text.split_once("->").expect("an arrow");
        let port = |text: &str| {
            let (input, needed) = text.split_once(':').expect("input: needed");
            PortFlow {
                input: input.trim().parse().ok(),
                needed: needed.split_whitespace().map(str::to_owned).collect(),
            }
        };
        let column = |text: &str| match text.trim().split_once('=') {
            None => ColumnFlow {
                column: text.trim().to_owned(),
                passed: None,
            },
            Some((column, passed)) => {
                let (port, of) = passed.split_once('.').expect("port.column");
                let port = port.parse().expect("a number");
                let passed = Some(PassedColumn {
                    port,
                    column: of.to_owned(),
                });
                ColumnFlow {
                    column: column.to_owned(),
                    passed,
                }
            }
        };
        StepFlow {
            ports: ports.split(';').map(port).collect(),
            columns: columns.split(',').map(column).collect(),
        }
    }

    fn node(story: &mut Story, at: usize, inputs: Vec<InputOrigin>, flows: &[&str]) {
        let node: &mut NodeStory = &mut story.nodes[at];
        let outline = |from| InputOutline {
            name: "x".to_owned(),
            from,
        };
        node.outline.inputs = inputs.into_iter().map(outline).collect();
        let operation = example::quarantining().operations.remove(0);
        let facts = node.facts.get_or_insert_default();
        facts.operations = flows
            .iter()
            .map(|text| crate::event::OperationFact {
                flow: Some(flow(text)),
                ..operation.clone()
            })
            .collect();
    }

    fn shown(columns: &[super::ColumnOrigin]) -> String {
        let source = |source: &super::ColumnSource| match &source.table {
            InputOrigin::Dataset(name) => format!("{name}/{}", source.column),
            InputOrigin::Node(node) => format!("{node}/{}", source.column),
        };
        let column = |origin: &super::ColumnOrigin| {
            let from: Vec<String> = origin.from.iter().map(source).collect();
            let how = if origin.unchanged { "=" } else { "<" };
            format!("{} {how} {}", origin.column, from.join(" "))
        };
        columns.iter().map(column).collect::<Vec<_>>().join("; ")
    }

    fn dataset(name: &str) -> InputOrigin {
        InputOrigin::Dataset(name.to_owned())
    }

    #[test]
    fn steps_are_followed_to_the_inputs_of_the_node() {
        let mut story = example::story();
        node(
            &mut story,
            0,
            vec![dataset("raw:a"), dataset("raw:b")],
            &[
                "0:a b -> sum, id=0.id",
                "-:sum; 1:k -> id=0.id, rate, name=1.name",
            ],
        );
        assert_eq!(
            shown(&super::of_node(&story.nodes[0])),
            "id = raw:a/id; rate < raw:a/a raw:a/b raw:b/k; name = raw:b/name"
        );
    }

    #[test]
    fn nodes_are_followed_to_the_data_sets_they_read() {
        let mut story = example::story();
        let node_of = |pipeline: &str, name: &str| {
            InputOrigin::Node(NodeRef {
                pipeline: pipeline.to_owned(),
                name: name.to_owned(),
            })
        };
        node(
            &mut story,
            0,
            vec![dataset("raw:a")],
            &["0:a b -> sum, id=0.id"],
        );
        let inputs = vec![node_of("orders", "orders_raw"), node_of("bronze", "prices")];
        node(&mut story, 1, inputs, &["0:sum; 1:p -> key=0.id, price"]);
        let written = super::of_datasets("orders", &story.nodes);
        let clean = written
            .iter()
            .find(|d| d.node == "orders_clean")
            .expect("it writes");
        assert_eq!(clean.dataset, "lake:orders.parquet");
        assert_eq!(
            shown(&clean.columns),
            "key = raw:a/id; price < raw:a/a raw:a/b bronze.prices/p"
        );
    }

    #[test]
    fn step_that_does_not_tell_leaves_the_lineage_open() {
        let mut story = example::story();
        node(&mut story, 0, vec![dataset("raw:a")], &["0:a -> b"]);
        let operations = &mut story.nodes[0].facts.as_mut().expect("there").operations;
        operations[0].flow = None;
        assert_eq!(super::of_node(&story.nodes[0]), []);
    }

    #[test]
    fn long_lists_of_sources_are_cut_and_counted() {
        let mut story = example::story();
        let needed: Vec<String> = (0..300).map(|n| format!("c{n}")).collect();
        let text = format!("0:{} -> sum", needed.join(" "));
        node(&mut story, 0, vec![dataset("raw:a")], &[&text]);
        let columns = super::of_node(&story.nodes[0]);
        assert_eq!((columns[0].from.len(), columns[0].from_more), (200, 100));
    }
}
