//! Lineage of columns: of each node's result from its inputs, and of what is written from what is read.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::NodeStory;
use crate::event::{InputOrigin, NodeRef, StepFlow};

/// Sources of one column that are listed; further ones are counted.
const SOURCES_MAX: usize = 200;
/// Sources of all columns of all nodes together that are listed, and as many of all data sets.
const SOURCES_SUM_MAX: usize = 100_000;

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

/// Lineage of the columns of a pipeline.
pub(super) struct Origins {
    /// Of each node's result from its inputs; empty when a step did not tell.
    pub(super) nodes: Vec<Vec<ColumnOrigin>>,
    /// Of what is written, through all nodes.
    pub(super) datasets: Vec<DatasetOrigins>,
}

impl Origins {
    /// Nodes stand in dependency order.
    pub(super) fn of(pipeline: &str, nodes: &[NodeStory]) -> Self {
        let mut sources = Known::default();
        let resolved: Vec<Option<Columns<'_>>> = nodes
            .iter()
            .map(|node| resolve(node, &mut sources))
            .collect();
        let written = follow_all(pipeline, nodes, &resolved, &sources);
        let lists = |columns: &Columns<'_>| columns.iter().map(|(_, of)| of.from.len()).collect();
        let of_nodes: Vec<usize> = resolved
            .iter()
            .flatten()
            .flat_map(|c| -> Vec<_> { lists(c) })
            .collect();
        let of_written: Vec<usize> = written
            .iter()
            .flat_map(|(_, c)| -> Vec<_> { lists(c) })
            .collect();
        let (in_nodes, in_written) = (listed_each(of_nodes), listed_each(of_written));
        let sorted = sources.sorted();
        Self {
            nodes: (resolved.iter())
                .map(|columns| {
                    columns
                        .as_ref()
                        .map_or_else(Vec::new, |c| sorted.list(c, in_nodes))
                })
                .collect(),
            datasets: (written.iter())
                .filter_map(|(at, columns)| {
                    let outline = &nodes.get(*at)?.outline;
                    Some(DatasetOrigins {
                        dataset: outline.writes.clone()?,
                        node: outline.name.clone(),
                        columns: sorted.list(columns, in_written),
                    })
                })
                .collect(),
        }
    }
}

/// How many sources of a column are listed, so that all lists together stay short.
fn listed_each(mut lengths: Vec<usize>) -> usize {
    lengths.sort_unstable();
    let (mut room, mut left) = (SOURCES_SUM_MAX, lengths.len());
    for length in lengths {
        let each = room / left;
        if length > each {
            return each.clamp(1, SOURCES_MAX);
        }
        room -= length;
        left -= 1;
    }
    SOURCES_MAX
}

/// The columns of a table, and where they come from.
type Columns<'a> = Vec<(&'a str, Sources)>;

/// Sources of a column, as numbers of [`Known`], and whether it is one of them unchanged. Columns that are made in one step share
/// a list.
#[derive(Debug, Clone)]
struct Sources {
    unchanged: bool,
    from: Rc<[u32]>,
}

/// A column of a table, borrowed.
type Source<'a> = (&'a InputOrigin, &'a str);

/// All columns that are sources of others.
#[derive(Default)]
struct Known<'a> {
    sources: Vec<Source<'a>>,
    numbers: HashMap<Source<'a>, u32>,
}

impl<'a> Known<'a> {
    fn number(&mut self, source: Source<'a>) -> u32 {
        let next = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(source).or_insert_with(|| {
            self.sources.push(source);
            next
        })
    }

    fn get(&self, number: u32) -> Option<Source<'a>> {
        self.sources.get(number as usize).copied()
    }

    fn sorted(&self) -> Sorted<'_> {
        let mut order: Vec<u32> = (0u32..).take(self.sources.len()).collect();
        order.sort_by_key(|number| self.get(*number));
        let mut ranks = vec![0; order.len()];
        for (rank, number) in (0u32..).zip(&order) {
            if let Some(place) = ranks.get_mut(*number as usize) {
                *place = rank;
            }
        }
        Sorted {
            known: self,
            order,
            ranks,
        }
    }
}

/// The same in the order in which they are listed.
struct Sorted<'a> {
    known: &'a Known<'a>,
    order: Vec<u32>,
    ranks: Vec<u32>,
}

impl Sorted<'_> {
    fn list(&self, columns: &Columns<'_>, each: usize) -> Vec<ColumnOrigin> {
        let rank = |number: &u32| self.ranks.get(*number as usize).copied();
        let source = |rank: &u32| {
            let (table, column) = self.known.get(*self.order.get(*rank as usize)?)?;
            Some(ColumnSource {
                table: table.clone(),
                column: column.to_owned(),
            })
        };
        let origin = |(column, sources): &(&str, Sources)| {
            let mut ranks: Vec<u32> = sources.from.iter().filter_map(rank).collect();
            ranks.sort_unstable();
            let all = ranks.len();
            ranks.truncate(each);
            ColumnOrigin {
                column: (*column).to_owned(),
                unchanged: sources.unchanged,
                from_more: (all - ranks.len()) as u64,
                from: ranks.iter().filter_map(source).collect(),
            }
        };
        columns.iter().map(origin).collect()
    }
}

/// Unions of lists.
#[derive(Default)]
struct Union {
    seen: HashSet<u32>,
    lists: HashSet<*const u32>,
    all: Vec<u32>,
}

impl Union {
    fn add(&mut self, list: &Rc<[u32]>) {
        if self.lists.insert(list.as_ptr()) {
            let new = list.iter().filter(|number| self.seen.insert(**number));
            self.all.extend(new);
        }
    }

    fn done(self) -> Rc<[u32]> {
        self.all.into()
    }
}

/// The columns of a node's result from those of its inputs.
fn resolve<'a>(node: &'a NodeStory, known: &mut Known<'a>) -> Option<Columns<'a>> {
    let facts = node.facts.as_ref()?;
    let inputs = &node.outline.inputs;
    let mut source = |input: usize, column: &'a str| {
        let table = &inputs.get(input)?.from;
        Some(Sources {
            unchanged: true,
            from: Rc::new([known.number((table, column))]),
        })
    };
    if facts.operations.is_empty() {
        let mut column = |name: &'a str| Some((name, source(0, name)?));
        return facts.schema_out.iter().map(|c| column(&c.name)).collect();
    }
    let mut result: Columns<'a> = Vec::new();
    for operation in &facts.operations {
        let flow = operation.flow.as_ref()?;
        let before: HashMap<&str, Sources> = result.into_iter().collect();
        let of = |port: usize, column: &'a str| match flow.ports.get(port)?.input {
            Some(input) => source(input, column),
            None => before.get(column).cloned(),
        };
        result = step(flow, of)?;
    }
    Some(result)
}

fn step<'a>(
    flow: &'a StepFlow,
    mut of: impl FnMut(usize, &'a str) -> Option<Sources>,
) -> Option<Columns<'a>> {
    let mut made = Union::default();
    let mut needed = Vec::new();
    for (at, port) in flow.ports.iter().enumerate() {
        for column in &port.needed {
            // Kept, so that no other list gets the place of one that is gone.
            needed.push(of(at, column)?.from);
        }
    }
    needed.iter().for_each(|list| made.add(list));
    let made = made.done();
    let column = |column: &'a crate::event::ColumnFlow| {
        let sources = match &column.passed {
            Some(passed) => of(passed.port, &passed.column)?,
            None => Sources {
                unchanged: false,
                from: Rc::clone(&made),
            },
        };
        Some((column.column.as_str(), sources))
    };
    flow.columns.iter().map(column).collect()
}

/// For each node that writes, its place and where its columns come from, through all nodes.
fn follow_all<'a>(
    pipeline: &str,
    nodes: &'a [NodeStory],
    resolved: &[Option<Columns<'a>>],
    sources: &Known<'a>,
) -> Vec<(usize, Columns<'a>)> {
    let mut done = Done {
        pipeline,
        columns: HashMap::new(),
        written: HashMap::new(),
    };
    let mut all = Vec::new();
    for (at, (node, columns)) in nodes.iter().zip(resolved).enumerate() {
        let Some(columns) = columns else {
            continue;
        };
        // Columns made in one step have one list, which is followed once.
        let mut followed: HashMap<*const u32, Sources> = HashMap::new();
        let through = |(name, of): &(&'a str, Sources)| {
            let list = of.from.as_ptr();
            let known = (followed.entry(list)).or_insert_with(|| done.follow(&of.from, sources));
            let sources = Sources {
                unchanged: of.unchanged && known.unchanged,
                from: Rc::clone(&known.from),
            };
            (*name, sources)
        };
        let columns: Columns<'a> = columns.iter().map(through).collect();
        let name = node.outline.name.as_str();
        if let Some(dataset) = node.outline.writes.as_deref() {
            done.written.insert(dataset, name);
            all.push((at, columns.clone()));
        }
        done.columns.insert(name, columns.into_iter().collect());
    }
    all
}

/// Nodes so far.
struct Done<'a> {
    pipeline: &'a str,
    columns: HashMap<&'a str, HashMap<&'a str, Sources>>,
    /// Which node wrote a data set.
    written: HashMap<&'a str, &'a str>,
}

impl Done<'_> {
    /// Replaces columns of nodes of this pipeline, and of data sets that they wrote, by where those came from.
    fn follow(&self, from: &Rc<[u32]>, sources: &Known<'_>) -> Sources {
        let mut unchanged = true;
        let mut all = Union::default();
        let mut own = Vec::new();
        for number in from.iter() {
            match sources.get(*number).and_then(|source| self.before(source)) {
                Some(before) => {
                    unchanged &= before.unchanged;
                    all.add(&before.from);
                }
                None => own.push(*number),
            }
        }
        let own: Rc<[u32]> = own.into();
        all.add(&own);
        Sources {
            unchanged,
            from: all.done(),
        }
    }

    fn before(&self, (table, column): Source<'_>) -> Option<&Sources> {
        let node = match table {
            InputOrigin::Node(NodeRef { pipeline, name }) if pipeline == self.pipeline => name,
            InputOrigin::Node(_) => return None,
            InputOrigin::Dataset(dataset) => *self.written.get(dataset.as_str())?,
        };
        self.columns.get(node)?.get(column)
    }
}

#[cfg(test)]
mod tests {
    use crate::event::{
        ColumnFlow, InputOrigin, InputOutline, NodeRef, PassedColumn, PortFlow, StepFlow,
    };
    use crate::example;
    use crate::story::{NodeStory, Story};

    use super::{Origins, SOURCES_SUM_MAX, listed_each};

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

    /// Of the first node.
    fn of_node(story: &Story) -> Vec<super::ColumnOrigin> {
        Origins::of("orders", &story.nodes).nodes.swap_remove(0)
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
            shown(&of_node(&story)),
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
        let written = Origins::of("orders", &story.nodes).datasets;
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
        assert_eq!(of_node(&story), []);
    }

    #[test]
    fn long_lists_of_sources_are_cut_and_counted() {
        let mut story = example::story();
        let needed: Vec<String> = (0..300).map(|n| format!("c{n}")).collect();
        let text = format!("0:{} -> sum", needed.join(" "));
        node(&mut story, 0, vec![dataset("raw:a")], &[&text]);
        let columns = of_node(&story);
        assert_eq!((columns[0].from.len(), columns[0].from_more), (200, 100));
    }

    #[test]
    fn lists_share_the_room_that_there_is() {
        assert_eq!(listed_each(vec![]), 200);
        assert_eq!(listed_each(vec![3; 100]), 200);
        assert_eq!(listed_each(vec![1_000; SOURCES_SUM_MAX / 10]), 10);
        let mixed = [
            vec![1; SOURCES_SUM_MAX / 2],
            vec![300; SOURCES_SUM_MAX / 100],
        ]
        .concat();
        assert_eq!(listed_each(mixed), 50);
        assert_eq!(listed_each(vec![5; 2 * SOURCES_SUM_MAX]), 1);
    }
}
