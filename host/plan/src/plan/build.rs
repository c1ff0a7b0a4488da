//! `Project` to `Plan`: selected nodes in order, names resolved, params checked.

use std::collections::BTreeMap;

use super::reach::Reaches;
use super::{
    Input, InputSource, NodeId, OnRowError, Plan, PlannedNode, PlannedPipeline, Privacy,
    Quarantine, Reach, Read, Step, Story, Write, Writer, params, races, targets,
};
use crate::config::{self, NodeInputSource, Project};
use crate::diagnostic::{Collector, Diagnostic};
use crate::graph::{self, Graph, Selection};
use crate::operation::Operations;

/// Makes the plan of the selected nodes. What is wrong with references was reported when the project was checked and is
/// left out here; unknown operations and faulty params of the selected nodes are reported here.
///
/// `config_digest` of the plan is left empty: the caller has the bytes.
#[must_use]
pub fn plan(
    project: &Project,
    selection: &Selection,
    operations: &Operations,
) -> (Plan, Vec<Diagnostic>) {
    let (graph, _) = Graph::new(project);
    let (chosen, faults) = graph::select(project, &graph, selection);
    let mut builder = Builder {
        project,
        operations,
        nodes: project.nodes().collect(),
        graph: &graph,
        reaches: Reaches::of(project, &graph),
        planned: Vec::new(),
        ids: vec![None; chosen.len()],
        faults: Collector::default(),
    };
    builder.faults.extend(faults);
    // A file that was not read to its end may lack plugins, nodes and tables that it names.
    let trusted = project.complete;
    let plain: Vec<Vec<usize>> = graph
        .edges
        .iter()
        .map(|list| list.iter().map(|e| e.to).collect())
        .collect();
    for at in graph::order(&plain).into_iter().filter(|at| chosen[*at]) {
        builder.node(at);
    }
    let Builder {
        mut planned,
        ids,
        mut faults,
        ..
    } = builder;
    mark_dependents(&mut planned);
    races::check(&planned, &mut faults);
    targets::check(&planned, &mut faults);
    let plan = Plan {
        project: project
            .name
            .as_ref()
            .map(|name| name.value.clone())
            .unwrap_or_default(),
        pipelines: pipelines(project, &ids),
        nodes: planned,
        story: project
            .story
            .as_ref()
            .and_then(|story| self::story(project, story)),
        plugins: project.plugins.clone(),
        alerts: project.alerts.clone(),
        lineage: project.lineage.clone(),
        telemetry: project.telemetry.clone(),
        config_digest: String::new(),
        config_files: project.files.clone(),
    };
    (plan, if trusted { faults.finish() } else { Vec::new() })
}

struct Builder<'a> {
    project: &'a Project,
    operations: &'a Operations,
    nodes: Vec<(&'a config::Pipeline, &'a config::Node)>,
    graph: &'a Graph,
    reaches: Reaches,
    planned: Vec<PlannedNode>,
    /// Of each node of the graph, its place in the plan.
    ids: Vec<Option<NodeId>>,
    faults: Collector,
}

impl Builder<'_> {
    fn node(&mut self, at: usize) {
        let (pipeline, node) = self.nodes[at];
        let id = NodeId(self.planned.len());
        let mut depends_on: Vec<NodeId> = Vec::new();
        for to in self.graph.edges[at]
            .iter()
            .filter_map(|edge| self.ids[edge.to])
        {
            if !depends_on.contains(&to) {
                depends_on.push(to);
            }
        }
        let mut inputs = self.inputs(pipeline, node);
        let tables = params::Tables {
            upstream: node
                .depends_on
                .iter()
                .filter_map(|reference| {
                    let id = self.ids[self.graph.find(&pipeline.name.value, &reference.value)?]?;
                    Some((reference.value.as_str(), id))
                })
                .collect(),
            written: node
                .depends_on
                .iter()
                .map(|reference| reference.value.as_str())
                .chain(node.input_names.iter().map(String::as_str))
                .collect(),
            siblings: pipeline,
            project: self.project,
            limits: &node.limits,
        };
        let mut steps: Vec<Step> = Vec::new();
        for step in node.steps.iter().chain(&node.privacy.step) {
            let made = params::step(
                step,
                &tables,
                &mut inputs,
                self.operations,
                &mut self.faults,
            );
            steps.extend(made);
        }
        let privacy = self.privacy(at, node, &steps);
        let write = node
            .write
            .as_ref()
            .and_then(|write| self::write(self.project, write));
        let keys = node.attempts.within(pipeline.attempts);
        let (attempts, on_error) = keys.within(self.project.attempts).filled();
        self.ids[at] = Some(id);
        self.planned.push(PlannedNode {
            id,
            pipeline: pipeline.name.value.clone(),
            name: node.name.value.clone(),
            span: node.name.span,
            description: node.description.as_ref().map(|text| text.value.clone()),
            tags: node.tags.iter().map(|tag| tag.value.clone()).collect(),
            depends_on,
            inputs,
            steps,
            write,
            on_row_error: on_row_error(self.project, &node.on_row_error),
            attempts,
            on_error,
            has_dependents: false,
            privacy,
        });
    }

    fn privacy(&self, at: usize, node: &config::Node, steps: &[Step]) -> Privacy {
        let own = &node.privacy;
        let changes = own.step.is_some();
        let last = steps.last().is_some_and(|step| {
            step.operation.plugin.is_none() && step.operation.name == config::PRIVACY_OPERATION
        });
        Privacy {
            sensitive: own.sensitive.clone(),
            pii: own.pii.clone(),
            declassify: own.declassify.clone(),
            step: steps.len().checked_sub(1).filter(|_| changes && last),
            touches: !self.reaches.within[at].is_nothing(),
            reach: self.reaches.out[at].clone(),
        }
    }

    /// Nodes that write what is read. Those that come later in the plan have no place in it yet.
    fn writers(&self, read: &config::Read) -> Vec<Writer> {
        let found = self.reaches.writers(self.project, read).into_iter();
        let writer = |(at, rejected, reach): (usize, bool, Reach)| {
            let (pipeline, node): (&config::Pipeline, &config::Node) = self.nodes[at];
            Writer {
                node: self.ids[at],
                pipeline: pipeline.name.value.clone(),
                name: node.name.value.clone(),
                rejected,
                reach,
            }
        };
        found.map(writer).collect()
    }

    /// `read` or `inputs`; without them the first of `depends_on`, under the name of the main input.
    fn inputs(&self, pipeline: &config::Pipeline, node: &config::Node) -> Vec<Input> {
        let find = |reference: &config::Text| {
            let to = self.graph.find(&pipeline.name.value, &reference.value)?;
            self.ids[to].map(InputSource::Node)
        };
        if node.inputs.is_empty() {
            let first = node.depends_on.first();
            let made = first.and_then(|reference| {
                let source = find(reference)?;
                Some(Input {
                    name: config::MAIN_INPUT.to_owned(),
                    source,
                    span: reference.span,
                })
            });
            return made.into_iter().collect();
        }
        node.inputs
            .iter()
            .filter_map(|input| {
                let source = match &input.source {
                    NodeInputSource::Node(reference) => find(reference)?,
                    NodeInputSource::Read(read) => {
                        let mut made = self::read(self.project, read)?;
                        made.writers = self.writers(read);
                        InputSource::Read(made)
                    }
                };
                Some(Input {
                    name: input.name.clone(),
                    source,
                    span: input.span,
                })
            })
            .collect()
    }
}

fn read(project: &Project, read: &config::Read) -> Option<Read> {
    Some(Read {
        connection: project.connection(&read.connection.value)?.resolved()?,
        format: read.format.clone(),
        path: read.path.value.clone(),
        options: read.options.clone(),
        sensitive: read.sensitive.clone(),
        writers: Vec::new(),
        span: read.path.span,
    })
}

fn write(project: &Project, write: &config::Write) -> Option<Write> {
    Some(Write {
        connection: project.connection(&write.connection.value)?.resolved()?,
        format: write.format.clone(),
        path: write.path.value.clone(),
        layout: write.layout,
        partition_by: write.partition_by.clone(),
        mode: write.mode.clone(),
        schema_policy: write.schema_policy,
        span: write.path.span,
    })
}

fn on_row_error(project: &Project, wanted: &config::OnRowError) -> OnRowError {
    let config::OnRowError::Quarantine(quarantine) = wanted else {
        return OnRowError::Fail;
    };
    let connection = project.connection(&quarantine.connection.value);
    match connection.and_then(config::Connection::resolved) {
        Some(connection) => OnRowError::Quarantine(Quarantine {
            connection,
            format: quarantine.format.clone(),
            path: quarantine.path.value.clone(),
            span: quarantine.path.span,
        }),
        None => OnRowError::Fail,
    }
}

fn story(project: &Project, story: &config::Story) -> Option<Story> {
    Some(Story {
        connection: project.connection(&story.connection.value)?.resolved()?,
        path: story.path.clone(),
        sample_rows_max: story.sample_rows_max,
        retention_days: story
            .retention_days
            .and_then(|days| u32::try_from(days).ok()),
        retention_count: story.retention_count,
        record_user: story.record_user,
        docs: story.docs.clone(),
    })
}

fn mark_dependents(planned: &mut [PlannedNode]) {
    let read: Vec<NodeId> = planned
        .iter()
        .flat_map(|node| &node.inputs)
        .filter_map(|input| match input.source {
            InputSource::Node(id) => Some(id),
            InputSource::Read(_) => None,
        })
        .collect();
    for id in read {
        if let Some(node) = planned.get_mut(id.0) {
            node.has_dependents = true;
        }
    }
}

/// In the order of the file, each with its nodes in the order of the plan; those without nodes are left out.
fn pipelines(project: &Project, ids: &[Option<NodeId>]) -> Vec<PlannedPipeline> {
    let mut by_pipeline: BTreeMap<usize, Vec<NodeId>> = BTreeMap::new();
    let owners = project
        .pipelines
        .iter()
        .enumerate()
        .flat_map(|(i, p)| p.nodes.iter().map(move |_| i));
    for (owner, id) in owners.zip(ids) {
        by_pipeline.entry(owner).or_default().extend(*id);
    }
    let planned = by_pipeline
        .into_iter()
        .filter(|(_, nodes)| !nodes.is_empty());
    planned
        .map(|(owner, mut nodes)| {
            nodes.sort_unstable();
            let pipeline = &project.pipelines[owner];
            let description = pipeline.description.as_ref().map(|text| text.value.clone());
            PlannedPipeline {
                name: pipeline.name.value.clone(),
                description,
                nodes,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use serde_json::json;

    use super::*;
    use crate::diagnostic::Sources;
    use crate::operation::Manifest;
    use crate::plan::{ParquetWrite, ReadFormat, WriteFormat};

    fn operations() -> Operations {
        let manifest = json!({"name": "test", "version": "1.0.0", "operations": [
            {"name": "noop", "params": {"properties": {"flag": {"type": "boolean"}, "n": {}}}},
            {"name": "union", "params": {}, "further_inputs": {"param": "datasets", "many": true}},
            {"name": "join", "params": {}, "further_inputs": {"param": "right"}},
        ]});
        Operations {
            first_party: vec![Manifest::from_value(&manifest).unwrap()],
            ..Operations::default()
        }
    }

    /// The plan of nodes below one pipeline `p` with a connection `c`; no diagnostics.
    #[track_caller]
    fn plan_of(nodes: &str) -> (Plan, String) {
        let head = "project: x\nconnections: {c: {type: local}}\npipelines:\n  - pipeline: p\n    nodes:\n";
        let text = format!("{head}{nodes}");
        let mut sources = Sources::default();
        let (project, found) = config::load("x.yaml", &text, &|_| None, &mut sources);
        let (plan, more) = plan(&project, &Selection::all(), &operations());
        assert_eq!((found, more), (Vec::new(), Vec::new()));
        (plan, text)
    }

    const READ: &str = "read: {connection: c, format: csv, path: a.csv}";

    /// Each node as `name <- depends_on | input=source … | step further …`.
    #[track_caller]
    fn check(nodes: &str, expect: &[&str]) {
        let (plan, _) = plan_of(&nodes.replace("READ", READ));
        let name = |id: NodeId| plan.nodes[id.0].name.clone();
        let lines: Vec<String> = plan
            .nodes
            .iter()
            .map(|node| {
                let inputs = node.inputs.iter().map(|input| match &input.source {
                    InputSource::Node(id) => format!("{}={}", input.name, name(*id)),
                    InputSource::Read(read) => format!("{}={}", input.name, read.path),
                });
                let steps = node
                    .steps
                    .iter()
                    .map(|step| format!("{} {:?}", step.operation, step.further_inputs));
                let before = node.depends_on.iter().map(|id| name(*id));
                let join = |list: Vec<String>| list.join(" ");
                format!(
                    "{} <- {} | {} | {}",
                    node.name,
                    join(before.collect()),
                    join(inputs.collect()),
                    join(steps.collect())
                )
            })
            .collect();
        assert_eq!(lines, expect);
        for (at, node) in plan.nodes.iter().enumerate() {
            assert_eq!(node.id, NodeId(at));
            assert!(node.depends_on.iter().all(|id| id.0 < at));
        }
    }

    #[test]
    fn nodes_stand_in_dependency_order() {
        check(
            "      - {name: c, depends_on: [b, a]}\n      - {name: b, depends_on: [a]}\n      - {name: a, READ}\n      - {name: d, READ}\n",
            &[
                "a <-  | df=a.csv | ",
                "b <- a | df=a | ",
                "c <- b a | df=b | ",
                "d <-  | df=a.csv | ",
            ],
        );
    }

    #[test]
    fn main_input_is_df_or_the_first() {
        check(
            "      - {name: a, READ}
      - {name: b, inputs: {x: a, df: {connection: c, format: parquet, path: b.parquet}}}
      - {name: c, inputs: {x: a, y: $p.b}, depends_on: [a]}
      - {name: d, READ, depends_on: [c]}
",
            &[
                "a <-  | df=a.csv | ",
                "b <- a | df=b.parquet x=a | ",
                "c <- a b | x=a y=b | ",
                "d <- c | df=a.csv | ",
            ],
        );
    }

    #[test]
    fn tables_of_params_become_inputs() {
        check(
            "      - {name: a, READ}
      - {name: b, READ}
      - name: c
        depends_on: [a, b]
        transformer: union
        params: {datasets: [b, a]}
        transform:
          steps:
            - {operation: noop, params: {datasets: [b]}}
            - {function: join, params: {right: b}}
            - {operation: union, params: {datasets: [df]}}
      - name: d
        inputs: {left: a, right: b}
        transform: {steps: [{operation: join, params: {right: right}}, {operation: union}]}
",
            &[
                "a <-  | df=a.csv | ",
                "b <-  | df=a.csv | ",
                "c <- a b | df=a b=b a=a | union [1, 2] noop [] join [1] union [0]",
                "d <- a b | left=a right=b | join [1] union []",
            ],
        );
    }

    #[test]
    fn dependents_are_those_that_read() {
        let (plan, _) = plan_of(&format!(
            "      - {{name: a, {READ}}}\n      - {{name: b, {READ}, depends_on: [a]}}\n      - {{name: c, depends_on: [b]}}\n"
        ));
        let flags: Vec<bool> = plan.nodes.iter().map(|node| node.has_dependents).collect();
        assert_eq!(flags, [false, true, false]);
    }

    #[test]
    fn limits_of_a_step_are_the_nearest_of_each() {
        let text = "project: x
connections: {c: {type: local}}
limits: {memory: 1MiB, cpu: 1s, wall: 1s}
plugins: {q: {path: q.wasm, limits: {memory: 2MiB, cpu: 2s}}}
pipelines:
  - pipeline: p
    nodes:
      - {name: a, READ, transformer: noop}
      - {name: b, READ, transformer: q/noop}
      - {name: c, READ, limits: {memory: 3MiB}, transform: {steps: [{operation: q/noop}, {operation: noop}]}}
"
        .replace("READ", READ);
        let mut sources = Sources::default();
        let (project, found) = config::load("x.yaml", &text, &|_| None, &mut sources);
        let mut operations = operations();
        let noop = operations.first_party[0].clone();
        operations.plugins.insert("q".into(), noop);
        let (plan, more) = plan(&project, &Selection::all(), &operations);
        assert_eq!((found, more), (Vec::new(), Vec::new()));
        let steps = plan.nodes.iter().flat_map(|node| &node.steps);
        let shown = steps.map(|step| {
            let limits = step.limits.iter().map(|(limit, value)| {
                let spec = limit.spec();
                format!("{}={}", spec.key, spec.unit.written(value))
            });
            limits.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                "memory=1MiB cpu=1s wall=1s",
                "memory=2MiB cpu=2s wall=1s",
                "memory=3MiB cpu=2s wall=1s",
                "memory=3MiB cpu=1s wall=1s",
            ]
        );
    }

    #[test]
    fn params_keep_the_place_of_every_value() {
        let (plan, text) = plan_of(&format!(
            "      - name: a\n        {READ}\n        transformer: noop\n        params: {{flag: yes, n: [{{a/b: 日}}]}}\n"
        ));
        let params = &plan.nodes[0].steps[0].params;
        assert_eq!(params.value, json!({"flag": true, "n": [{"a/b": "日"}]}));
        let place = |pointer: &str| {
            params
                .place(pointer)
                .map(|s| &text[s.start as usize..s.end as usize])
        };
        assert_eq!(place(""), Some("{flag: yes, n: [{a/b: 日}]}"));
        assert_eq!(place("/flag"), Some("yes"));
        assert_eq!(place("/n/0/a~1b"), Some("日"));
        assert_eq!(place("/n/0/none/at/all"), Some("{a/b: 日}"));
    }

    #[test]
    fn defaults_are_filled_in() {
        let text = "project: x\nconnections: {c: {type: local}}\nstory: {connection: c}\npipelines:\n  - pipeline: p\n    nodes:\n      - name: a\n        read: {connection: c, format: csv, path: a.csv}\n        write: {connection: c, format: parquet, path: a.parquet}\n  - {pipeline: none, nodes: []}\n";
        let mut sources = Sources::default();
        let (project, _) = config::load("x.yaml", text, &|_| None, &mut sources);
        let (plan, _) = plan(&project, &Selection::all(), &operations());
        let connection = super::super::Connection {
            name: "c".into(),
            kind: super::super::ConnectionKind::Local {
                base_path: "./data".into(),
            },
        };
        let story = plan.story.unwrap();
        assert_eq!(
            (story.connection, story.path.as_str(), story.sample_rows_max),
            (connection.clone(), "stories", 10)
        );
        let [pipeline] = &plan.pipelines[..] else {
            panic!("{:?}", plan.pipelines)
        };
        assert_eq!(
            (pipeline.name.as_str(), &pipeline.nodes[..]),
            ("p", &[NodeId(0)][..])
        );
        let node = &plan.nodes[0];
        let InputSource::Read(read) = &node.inputs[0].source else {
            panic!("{:?}", node.inputs)
        };
        let ReadFormat::Csv(csv) = &read.format else {
            panic!("{:?}", read.format)
        };
        assert_eq!(
            (
                csv.header,
                csv.delimiter,
                csv.quote,
                csv.null_values.len(),
                csv.infer_rows
            ),
            (true, b',', b'"', 0, None)
        );
        let write = node.write.as_ref().unwrap();
        assert_eq!(write.format, WriteFormat::Parquet(ParquetWrite::default()));
        assert_eq!(
            (&write.connection, write.path.as_str()),
            (&connection, "a.parquet")
        );
        assert_eq!(plan.config_files, ["x.yaml"]);
    }

    #[test]
    fn plan_of_a_faulty_project_is_still_made() {
        let text = "project: x\nconnections: {}\nplugins: {p: {path: p.wasm}}\npipelines: [{pipeline: p, nodes: [{name: a, depends_on: [a]}, {name: b, read: {connection: z, format: csv, path: x}, transformer: p/x}]}]";
        let mut sources = Sources::default();
        let (project, found) = config::load("x.yaml", text, &|_| None, &mut sources);
        assert_eq!(found.len(), 2);
        let mut operations = operations();
        operations.failed_plugins.insert("p".into());
        let (plan, found) = plan(&project, &Selection::all(), &operations);
        assert_eq!(found, []);
        let [node] = &plan.nodes[..] else {
            panic!("{:?}", plan.nodes)
        };
        assert_eq!(
            (node.name.as_str(), node.inputs.len(), node.steps.len()),
            ("b", 0, 0)
        );
        assert_eq!(plan.plugins["p"].path, "p.wasm");
    }
}
