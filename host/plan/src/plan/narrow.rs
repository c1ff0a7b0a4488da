//! A plan of which only some nodes are run again, because what the others made in an earlier run stands.
//!
//! What nodes hand to each other is gone when a run is over. A node that is run again reads what a kept one wrote, where
//! that is exactly what it handed over: one Parquet file that was overwritten. Text has lost its types, and a target
//! that was added to holds more; there the kept node is run again as well.

use std::collections::BTreeSet;

use super::{
    InputSource, Marks, NodeId, Plan, PlannedNode, PlannedPipeline, Read, ReadFormat, ReadOptions,
    TargetLayout, WriteFormat, WriteMode,
};

/// A narrowed plan, and what became of each node of the whole one.
#[derive(Debug, Clone, PartialEq)]
pub struct Narrowed {
    /// Only the nodes that are run again, under ids of their own.
    pub plan: Plan,
    /// For each node of the whole plan.
    pub fates: Vec<Fate>,
}

/// What becomes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is run again, as was asked for.
    Asked,
    /// It is run again, because it depends on one that is.
    Follows(NodeId),
    /// It is run again, because one that is needs its output, which nobody has kept.
    Feeds(NodeId),
    /// What it wrote is read by nodes that are run again.
    Read,
    /// Nothing is done with it.
    Kept,
}

impl Fate {
    /// True when the node is run again.
    #[must_use]
    pub fn is_again(self) -> bool {
        matches!(self, Self::Asked | Self::Follows(_) | Self::Feeds(_))
    }
}

impl Plan {
    /// The nodes that are `asked` for, what depends on them, and what they need of those that do not stand. `stands`
    /// tells whether a node succeeded and its target is as it left it.
    #[must_use]
    pub fn narrowed(
        &self,
        asked: &dyn Fn(&PlannedNode) -> bool,
        stands: &dyn Fn(&PlannedNode) -> bool,
    ) -> Narrowed {
        let mut fates: Vec<Fate> = Vec::with_capacity(self.nodes.len());
        // Nodes stand in the order of dependency, so one pass finds all that follow.
        for node in &self.nodes {
            let follows = node.depends_on.iter().find(|id| fates[id.0].is_again());
            fates.push(match follows {
                _ if asked(node) => Fate::Asked,
                Some(id) => Fate::Follows(*id),
                None => Fate::Kept,
            });
        }
        // And one pass back finds all that they need.
        for node in self
            .nodes
            .iter()
            .rev()
            .filter(|node| fates[node.id.0].is_again())
            .collect::<Vec<_>>()
        {
            self.feed(node, &mut fates, stands);
        }
        Narrowed {
            plan: self.only(&fates),
            fates,
        }
    }

    fn feed(&self, node: &PlannedNode, fates: &mut [Fate], stands: &dyn Fn(&PlannedNode) -> bool) {
        let inputs: BTreeSet<NodeId> = node
            .inputs
            .iter()
            .filter_map(|input| input.source.node())
            .collect();
        for id in &node.depends_on {
            let before = &self.nodes[id.0];
            let is_input = inputs.contains(id);
            if fates[id.0].is_again() {
                continue;
            }
            if stands(before) && (!is_input || before.reads_back().is_some()) {
                if is_input {
                    fates[id.0] = Fate::Read;
                }
                continue;
            }
            fates[id.0] = Fate::Feeds(node.id);
            self.feed(before, fates, stands);
        }
    }

    fn only(&self, fates: &[Fate]) -> Self {
        let mut ids: Vec<Option<NodeId>> = vec![None; self.nodes.len()];
        let mut nodes: Vec<PlannedNode> = Vec::new();
        for node in self.nodes.iter().filter(|node| fates[node.id.0].is_again()) {
            let id = NodeId(nodes.len());
            ids[node.id.0] = Some(id);
            let mut node = node.clone();
            node.id = id;
            node.depends_on = node.depends_on.iter().filter_map(|id| ids[id.0]).collect();
            node.has_dependents = false;
            for input in &mut node.inputs {
                let Some(before) = input.source.node() else {
                    continue;
                };
                if let Some(id) = ids[before.0] {
                    input.source = InputSource::Node(id);
                    nodes[id.0].has_dependents = true;
                } else if let Some(read) = self.nodes[before.0].reads_back() {
                    input.source = InputSource::Read(read);
                }
            }
            for input in &mut node.inputs {
                if let InputSource::Read(read) = &mut input.source {
                    for writer in &mut read.writers {
                        writer.node = writer.node.and_then(|id| ids[id.0]);
                    }
                }
            }
            nodes.push(node);
        }
        let pipelines = self.pipelines.iter().filter_map(|pipeline| {
            let own: Vec<NodeId> = pipeline.nodes.iter().filter_map(|id| ids[id.0]).collect();
            (!own.is_empty()).then(|| PlannedPipeline {
                nodes: own,
                ..pipeline.clone()
            })
        });
        Self {
            pipelines: pipelines.collect(),
            nodes,
            ..self.clone()
        }
    }
}

impl InputSource {
    fn node(&self) -> Option<NodeId> {
        match self {
            Self::Node(id) => Some(*id),
            Self::Read(_) => None,
        }
    }
}

impl PlannedNode {
    /// How exactly what this node hands over is read from its target, where it can be.
    #[must_use]
    pub fn reads_back(&self) -> Option<Read> {
        let write = self.write.as_ref()?;
        let exact = matches!(write.format, WriteFormat::Parquet { .. })
            && write.mode == WriteMode::Overwrite
            && write.layout != TargetLayout::Directory
            && !write.path.contains(['*', '?', '[']);
        exact.then(|| Read {
            connection: write.connection.clone(),
            format: ReadFormat::Parquet,
            path: write.path.clone(),
            // Directories above it say nothing of the rows.
            options: ReadOptions {
                hive_partitioning: Some(false),
                ..ReadOptions::default()
            },
            sensitive: Marks::None,
            writers: self.privacy.writers_of(self),
            span: write.span,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Sources;
    use crate::graph::Selection;

    /// a ─► b ─► d ◄─ c;  a and c write Parquet, b writes CSV; e stands alone.
    const PROJECT: &str = "
project: p
connections: {c: {type: local}}
pipelines:
  - pipeline: p
    nodes:
      - {name: a, read: {connection: c, format: csv, path: a.csv}, write: {connection: c, format: parquet, path: a.parquet}}
      - {name: b, inputs: {df: a}, write: {connection: c, format: csv, path: b.csv}}
      - {name: c, read: {connection: c, format: csv, path: c.csv}, write: {connection: c, format: parquet, path: c.parquet}}
      - {name: d, inputs: {df: b, more: c}}
  - pipeline: q
    nodes:
      - {name: e, read: {connection: c, format: csv, path: e.csv}}
";

    fn plan() -> Plan {
        let mut sources = Sources::default();
        let (project, found) = crate::config::load("p.yaml", PROJECT, &|_| None, &mut sources);
        assert_eq!(found, []);
        let (plan, found) =
            crate::plan::plan(&project, &Selection::all(), &crate::Operations::default());
        assert_eq!(found, []);
        plan
    }

    /// `a=asked b=follows`, nodes that are kept left out.
    fn fates(asked: &[&str], fallen: &[&str]) -> (String, Plan) {
        let plan = plan();
        let narrowed = plan.narrowed(&|node| asked.contains(&node.name.as_str()), &|node| {
            !fallen.contains(&node.name.as_str())
        });
        let name = |id: NodeId| plan.nodes[id.0].name.as_str();
        let words: Vec<String> = plan
            .nodes
            .iter()
            .zip(&narrowed.fates)
            .filter_map(|(node, fate)| {
                let fate = match fate {
                    Fate::Asked => "asked".to_owned(),
                    Fate::Follows(id) => format!("follows-{}", name(*id)),
                    Fate::Feeds(id) => format!("feeds-{}", name(*id)),
                    Fate::Read => "read".to_owned(),
                    Fate::Kept => return None,
                };
                Some(format!("{}={fate}", node.name))
            })
            .collect();
        (words.join(" "), narrowed.plan)
    }

    #[track_caller]
    fn check(asked: &[&str], fallen: &[&str], expect: &str) {
        assert_eq!(fates(asked, fallen).0, expect);
    }

    #[test]
    fn what_depends_on_a_node_follows_it_and_what_it_needs_is_read_or_run() {
        check(&[], &[], "");
        check(&["e"], &[], "e=asked");
        // CSV has lost its types: `b` is run again, from what `a` wrote.
        check(&["d"], &[], "a=read b=feeds-d c=read d=asked");
        check(&["b"], &[], "a=read b=asked c=read d=follows-b");
        check(&["c"], &[], "a=read b=feeds-d c=asked d=follows-c");
        check(&["a"], &[], "a=asked b=follows-a c=read d=follows-b");
    }

    #[test]
    fn what_does_not_stand_is_run_again() {
        check(&["d"], &["c"], "a=read b=feeds-d c=feeds-d d=asked");
        check(&["d"], &["a"], "a=feeds-b b=feeds-d c=read d=asked");
        check(&["e"], &["a", "b", "c"], "e=asked");
    }

    #[test]
    fn narrowed_plan_is_whole() {
        let (_, plan) = fates(&["d"], &[]);
        let names: Vec<&str> = plan.nodes.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["b", "d"]);
        let pipelines: Vec<(&str, &[NodeId])> = plan
            .pipelines
            .iter()
            .map(|p| (p.name.as_str(), p.nodes.as_slice()))
            .collect();
        assert_eq!(pipelines, [("p", &[NodeId(0), NodeId(1)][..])]);
        let [b, d] = &plan.nodes[..] else {
            panic!("two")
        };
        assert_eq!(
            (b.id, b.depends_on.len(), b.has_dependents),
            (NodeId(0), 0, true)
        );
        assert!(matches!(&b.inputs[0].source, InputSource::Read(read) if read.path == "a.parquet"));
        assert_eq!(d.depends_on, [NodeId(0)]);
        assert_eq!(d.inputs[0].source, InputSource::Node(NodeId(0)));
        assert!(matches!(&d.inputs[1].source, InputSource::Read(read) if read.path == "c.parquet"));
        assert!(!d.has_dependents);
    }
}
