//! How far sensitive columns may reach through the whole project, before any column is known: along inputs, and from
//! what a node writes to what another one reads, whether or not both are part of the run.

use std::collections::BTreeSet;

use super::{Reach, TargetLayout};
use crate::config::{self, NodeInputSource, Project, normal_path};
use crate::graph::Graph;

/// What is known of each node of the project, in the order of [`Project::nodes`].
#[derive(Debug, Default)]
pub(super) struct Reaches {
    /// Of the result.
    pub(super) out: Vec<Reach>,
    /// Of what enters, with what the node itself marks.
    pub(super) within: Vec<Reach>,
    /// Places that nodes write, and who does.
    targets: Vec<(Target, usize)>,
}

#[derive(Debug)]
struct Target {
    path: String,
    directory: bool,
    /// For rows that steps reject.
    rejected: bool,
}

impl Reaches {
    /// Follows every mark to the end.
    pub(super) fn of(project: &Project, graph: &Graph) -> Self {
        let nodes: Vec<(&config::Pipeline, &config::Node)> = project.nodes().collect();
        let mut reaches = Self {
            out: vec![Reach::Nothing; nodes.len()],
            within: vec![Reach::Nothing; nodes.len()],
            targets: Vec::new(),
        };
        if !nodes.iter().any(|(_, node)| marks_anything(node)) {
            return reaches;
        }
        for (at, (_, node)) in nodes.iter().enumerate() {
            let targets = targets(project, node).into_iter();
            reaches.targets.extend(targets.map(|target| (target, at)));
        }
        let sources: Vec<BTreeSet<(usize, bool)>> = nodes
            .iter()
            .map(|(pipeline, node)| reaches.sources(project, graph, pipeline, node))
            .collect();
        // What reaches a node only grows, so this ends.
        loop {
            let mut changed = false;
            for (at, (_, node)) in nodes.iter().enumerate() {
                let mut within = own(node);
                for (source, rejected) in &sources[at] {
                    within.add(&reaches.of_files(*source, *rejected));
                }
                let out = through(node, &within);
                changed |= within != reaches.within[at] || out != reaches.out[at];
                (reaches.within[at], reaches.out[at]) = (within, out);
            }
            if !changed {
                return reaches;
            }
        }
    }

    /// Nodes that write what is read, by their index, with what of it may be sensitive. True for rejected rows.
    pub(super) fn writers(
        &self,
        project: &Project,
        read: &config::Read,
    ) -> Vec<(usize, bool, Reach)> {
        let found = self.overlapping(project, read).into_iter();
        let with_reach = found.map(|(at, rejected)| (at, rejected, self.of_files(at, rejected)));
        with_reach
            .filter(|(_, _, reach)| !reach.is_nothing())
            .collect()
    }

    fn of_files(&self, at: usize, rejected: bool) -> Reach {
        // Rejected rows are as they came in, or as some step left them.
        if rejected && !self.within[at].is_nothing() {
            return Reach::Everything;
        }
        self.out[at].clone()
    }

    fn overlapping(&self, project: &Project, read: &config::Read) -> Vec<(usize, bool)> {
        let Some(path) = full(project, &read.connection.value, &read.path.value) else {
            return Vec::new();
        };
        let met = self
            .targets
            .iter()
            .filter(|(target, _)| target.meets(&path));
        met.map(|(target, at)| (*at, target.rejected)).collect()
    }

    /// Nodes whose rows a node may get to see.
    fn sources(
        &self,
        project: &Project,
        graph: &Graph,
        pipeline: &config::Pipeline,
        node: &config::Node,
    ) -> BTreeSet<(usize, bool)> {
        let find = |reference: &config::Text| graph.find(&pipeline.name.value, &reference.value);
        let mut sources = BTreeSet::new();
        for input in &node.inputs {
            match &input.source {
                NodeInputSource::Node(reference) => {
                    sources.extend(find(reference).map(|at| (at, false)));
                }
                NodeInputSource::Read(read) => {
                    let met = self.overlapping(project, read).into_iter();
                    sources.extend(met);
                }
            }
        }
        // A step may name any of them as a table.
        if node.inputs.is_empty() || !node.steps.is_empty() {
            let upstream = node.depends_on.iter().filter_map(find);
            sources.extend(upstream.map(|at| (at, false)));
        }
        sources
    }
}

fn marks_anything(node: &config::Node) -> bool {
    !own(node).is_nothing()
}

/// What the node itself marks.
fn own(node: &config::Node) -> Reach {
    let mut reach = Reach::Nothing;
    reach.mark(&node.privacy.sensitive);
    let pii = node.privacy.pii.iter().map(|column| column.name.clone());
    let pii: BTreeSet<String> = pii.collect();
    if !pii.is_empty() {
        reach.add(&Reach::Columns(pii));
    }
    for input in &node.inputs {
        if let NodeInputSource::Read(read) = &input.source {
            reach.mark(&read.sensitive);
        }
    }
    reach
}

/// What steps make of it is not known: they may give it any name.
fn through(node: &config::Node, within: &Reach) -> Reach {
    let declassified = &node.privacy.declassify;
    match within {
        Reach::Nothing => Reach::Nothing,
        Reach::Columns(names) if node.steps.is_empty() => {
            let mut names = names.clone();
            names.retain(|name| !declassified.iter().any(|column| column.name == *name));
            if names.is_empty() {
                Reach::Nothing
            } else {
                Reach::Columns(names)
            }
        }
        Reach::Columns(_) | Reach::Everything => Reach::Everything,
    }
}

fn targets(project: &Project, node: &config::Node) -> Vec<Target> {
    let write = node.write.as_ref().and_then(|write| {
        Some(Target {
            path: full(project, &write.connection.value, &write.path.value)?,
            directory: write.layout == TargetLayout::Directory,
            rejected: false,
        })
    });
    let rejected = match &node.on_row_error {
        config::OnRowError::Quarantine(quarantine) => Some(quarantine),
        config::OnRowError::Fail => None,
    };
    let rejected = rejected.and_then(|quarantine| {
        Some(Target {
            path: full(
                project,
                &quarantine.connection.value,
                &quarantine.path.value,
            )?,
            directory: true,
            rejected: true,
        })
    });
    write.into_iter().chain(rejected).collect()
}

/// Root and path in one, so that connections whose roots lie within each other meet.
fn full(project: &Project, connection: &str, path: &str) -> Option<String> {
    let connection = project.connection(connection)?.resolved()?;
    let (root, path) = (connection.kind.root(), normal_path(path));
    Some(match (root.is_empty(), path.starts_with('/')) {
        (true, _) | (_, true) => path,
        (false, false) => format!("{root}/{path}"),
    })
}

impl Target {
    /// May a read of this path take in a file of this target? Wildcards are looked at from both ends only.
    fn meets(&self, read: &str) -> bool {
        let below = |inner: &str, outer: &str| {
            outer.is_empty()
                || inner
                    .strip_prefix(outer)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let Some(first) = read.find(['*', '?', '[']) else {
            return below(&self.path, read) || (self.directory && below(read, &self.path));
        };
        let (head, tail) = (&read[..first], &read[first..]);
        let last = tail.rfind(['*', '?', ']']).map_or(0, |at| at + 1);
        if self.directory {
            let parent = head.rsplit_once('/').map_or("", |(parent, _)| parent);
            return self.path.starts_with(head) || below(parent, &self.path);
        }
        self.path.starts_with(head) && self.path.ends_with(&tail[last..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(target: &str, read: &str, expect: bool) {
        let made = Target {
            path: target.trim_end_matches('/').to_owned(),
            directory: target.ends_with('/'),
            rejected: false,
        };
        assert_eq!(made.meets(read), expect, "{target} {read}");
    }

    #[test]
    fn reads_meet_what_is_written() {
        check("data/a.csv", "data/a.csv", true);
        check("data/a.csv", "data/b.csv", false);
        check("data/a.csv", "data", true);
        check("data/a.csv", "dat", false);
        check("data/a.csv", "data/*.csv", true);
        check("data/a.csv", "data/*.parquet", false);
        check("data/a.csv", "data/[a-c]*", true);
        check("data/a.csv", "**/a.csv", true);
        check("data/a/", "data/a/part.parquet", true);
        check("data/a/", "data/a", true);
        check("data/a/", "data/ab", false);
        check("data/a/", "data/a/*/x.parquet", true);
        check("data/a/", "data/*", true);
        check("data/a/", "other/*", false);
    }
}
