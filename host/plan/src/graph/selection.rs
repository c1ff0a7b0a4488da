//! Which nodes of a project a run is about.

use super::Graph;
use super::selector::{Selector, What, is_named, is_tagged};
use crate::config::{Node, Pipeline, Project};
use crate::diagnostic::{Collector, Diagnostic, codes, quoted};

/// What the command line asks for. An empty list asks for nothing in particular; a node must satisfy every list that
/// is not empty. What a selected node depends on is selected with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names of pipelines.
    pub pipelines: Vec<String>,
    /// Names of nodes, or `pipeline.node`.
    pub nodes: Vec<String>,
    /// Tags of nodes or of their pipelines.
    pub tags: Vec<String>,
    /// Words such as `orders+` or `tag:daily`, of which a node must satisfy one; see [`super::selector`].
    pub select: Vec<String>,
    /// Likewise; these nodes and all that depend on them are left out.
    pub exclude: Vec<String>,
}

impl Selection {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }
}

/// For each node of the graph whether it takes part. Disabled nodes and all that depend on them do not.
#[must_use]
pub fn select(
    project: &Project,
    graph: &Graph,
    selection: &Selection,
) -> (Vec<bool>, Vec<Diagnostic>) {
    let nodes: Vec<(&Pipeline, &Node)> = project.nodes().collect();
    let dependencies: Vec<Vec<usize>> = graph
        .edges
        .iter()
        .map(|list| list.iter().map(|e| e.to).collect())
        .collect();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (node, list) in dependencies.iter().enumerate() {
        list.iter()
            .for_each(|before| dependents[*before].push(node));
    }
    let mut faults = unknown(&nodes, project, selection);
    let marks = Marks {
        nodes: &nodes,
        project,
        dependents: &dependents,
    };
    let selected = marks.of(&selection.select, &mut faults);
    let mut removed = marks.of(&selection.exclude, &mut faults);
    for (removed, (_, node)) in removed.iter_mut().zip(&nodes) {
        *removed |= !node.enabled;
    }
    spread(&mut removed, &dependents);
    let mut chosen: Vec<bool> = nodes
        .iter()
        .enumerate()
        .map(|(at, (pipeline, node))| {
            !removed[at]
                && (selection.select.is_empty() || selected[at])
                && matches(selection, pipeline, node)
        })
        .collect();
    // What a node that is not removed depends on is not removed either.
    spread(&mut chosen, &dependencies);
    (chosen, faults)
}

struct Marks<'a> {
    nodes: &'a [(&'a Pipeline, &'a Node)],
    project: &'a Project,
    dependents: &'a [Vec<usize>],
}

impl Marks<'_> {
    /// The nodes that satisfy one of the words.
    fn of(&self, words: &[String], faults: &mut Vec<Diagnostic>) -> Vec<bool> {
        let mut all = vec![false; self.nodes.len()];
        for word in words.iter().flat_map(|list| list.split_whitespace()) {
            let selector = match Selector::parse(word) {
                Ok(selector) => selector,
                Err(fault) => {
                    faults.push(*fault);
                    continue;
                }
            };
            let mut marked: Vec<bool> = self
                .nodes
                .iter()
                .map(|(pipeline, node)| selector.matches(pipeline, node))
                .collect();
            if !marked.contains(&true) {
                let mut one = Selection::default();
                let list = match selector.what {
                    What::Node(_) => &mut one.nodes,
                    What::Pipeline(_) => &mut one.pipelines,
                    What::Tag(_) => &mut one.tags,
                };
                let (What::Node(name) | What::Pipeline(name) | What::Tag(name)) = selector.what;
                list.push(name.to_owned());
                faults.extend(unknown(self.nodes, self.project, &one));
            }
            if selector.after {
                spread(&mut marked, self.dependents);
            }
            all.iter_mut()
                .zip(marked)
                .for_each(|(all, one)| *all |= one);
        }
        all
    }
}

fn matches(selection: &Selection, pipeline: &Pipeline, node: &Node) -> bool {
    let any = |list: &[String], test: &dyn Fn(&str) -> bool| {
        list.is_empty() || list.iter().any(|word| test(word))
    };
    any(&selection.pipelines, &|word| pipeline.name.value == word)
        && any(&selection.nodes, &|word| is_named(pipeline, node, word))
        && any(&selection.tags, &|word| is_tagged(pipeline, node, word))
}

/// Everything that can be reached from what is marked.
fn spread(marked: &mut [bool], next: &[Vec<usize>]) {
    let mut open: Vec<usize> = (0..marked.len()).filter(|node| marked[*node]).collect();
    while let Some(node) = open.pop() {
        for &other in &next[node] {
            if !std::mem::replace(&mut marked[other], true) {
                open.push(other);
            }
        }
    }
}

fn unknown(
    nodes: &[(&Pipeline, &Node)],
    project: &Project,
    selection: &Selection,
) -> Vec<Diagnostic> {
    let mut faults = Collector::default();
    let mut report = |what: &str, word: &str, candidates: Vec<&str>| {
        faults.push_with(|| {
            let message = format!(
                "the selection names a {what} that does not exist: {}",
                quoted(word)
            );
            Diagnostic::placeless(&codes::UNKNOWN_SELECTION, message).suggest(word, candidates)
        });
    };
    let pipelines: Vec<&str> = project
        .pipelines
        .iter()
        .map(|p| p.name.value.as_str())
        .collect();
    for word in selection
        .pipelines
        .iter()
        .filter(|word| !pipelines.contains(&word.as_str()))
    {
        report("pipeline", word, pipelines.clone());
    }
    for word in selection
        .nodes
        .iter()
        .filter(|word| !nodes.iter().any(|(p, n)| is_named(p, n, word)))
    {
        report(
            "node",
            word,
            nodes
                .iter()
                .map(|(_, node)| node.name.value.as_str())
                .collect(),
        );
    }
    let tags: Vec<&str> = nodes
        .iter()
        .flat_map(|(_, node)| &node.tags)
        .chain(project.pipelines.iter().flat_map(|p| &p.tags))
        .map(|tag| tag.value.as_str())
        .collect();
    for word in selection
        .tags
        .iter()
        .filter(|word| !tags.contains(&word.as_str()))
    {
        report("tag", word, tags.clone());
    }
    faults.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Sources;

    const PROJECT: &str = "
project: p
connections: {c: {type: local}}
pipelines:
  - pipeline: one
    tags: [daily]
    nodes:
      - {name: raw, read: {connection: c, format: csv, path: a.csv}}
      - {name: clean, depends_on: [raw], tags: [core]}
      - {name: off, depends_on: [raw], enabled: false}
      - {name: after_off, depends_on: [off]}
  - pipeline: two
    nodes:
      - {name: clean, inputs: {df: $one.clean}, tags: [core, gold]}
      - {name: lone, read: {connection: c, format: csv, path: b.csv}}
";

    #[track_caller]
    fn check(pipelines: &[&str], nodes: &[&str], tags: &[&str], expect: &[&str], faults: &[&str]) {
        let own = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let selection = Selection {
            pipelines: own(pipelines),
            nodes: own(nodes),
            tags: own(tags),
            ..Selection::default()
        };
        of(&selection, expect, faults);
    }

    #[track_caller]
    fn of(selection: &Selection, expect: &[&str], faults: &[&str]) {
        let mut sources = Sources::default();
        let (project, found) = crate::config::load("p.yaml", PROJECT, &|_| None, &mut sources);
        assert_eq!(found, []);
        let (graph, _) = Graph::new(&project);
        let own =
            |list: &[&str]| -> Vec<String> { list.iter().map(|word| (*word).to_owned()).collect() };
        let (chosen, found) = select(&project, &graph, selection);
        let names: Vec<String> = project
            .nodes()
            .zip(chosen)
            .filter(|(_, chosen)| *chosen)
            .map(|((pipeline, node), _)| format!("{}.{}", pipeline.name.value, node.name.value))
            .collect();
        let messages: Vec<&str> = found.iter().map(|d| d.message.as_str()).collect();
        assert_eq!((names, messages), (own(expect), faults.to_vec()));
    }

    #[test]
    fn selection_pulls_in_what_is_needed() {
        check(
            &[],
            &[],
            &[],
            &["one.raw", "one.clean", "two.clean", "two.lone"],
            &[],
        );
        check(
            &["two"],
            &[],
            &[],
            &["one.raw", "one.clean", "two.clean", "two.lone"],
            &[],
        );
        check(&["one"], &[], &[], &["one.raw", "one.clean"], &[]);
        check(&[], &["lone"], &[], &["two.lone"], &[]);
        check(
            &[],
            &["clean"],
            &[],
            &["one.raw", "one.clean", "two.clean"],
            &[],
        );
        check(&[], &["one.clean"], &[], &["one.raw", "one.clean"], &[]);
        check(
            &[],
            &[],
            &["gold"],
            &["one.raw", "one.clean", "two.clean"],
            &[],
        );
        check(&[], &[], &["daily"], &["one.raw", "one.clean"], &[]);
        check(&["one"], &[], &["core"], &["one.raw", "one.clean"], &[]);
        check(&["one"], &["lone"], &[], &[], &[]);
    }

    #[track_caller]
    fn words(select: &[&str], exclude: &[&str], expect: &[&str], faults: &[&str]) {
        let own = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let selection = Selection {
            select: own(select),
            exclude: own(exclude),
            ..Selection::default()
        };
        of(&selection, expect, faults);
    }

    #[test]
    fn words_select_and_exclude() {
        let three = ["one.raw", "one.clean", "two.clean"];
        words(&["raw"], &[], &["one.raw"], &[]);
        words(&["raw+"], &[], &three, &[]);
        words(&["+two.clean"], &[], &three, &[]);
        words(
            &["one.clean lone"],
            &[],
            &["one.raw", "one.clean", "two.lone"],
            &[],
        );
        words(&["tag:gold"], &[], &three, &[]);
        words(&["pipeline:one"], &[], &["one.raw", "one.clean"], &[]);
        words(&[], &["one.clean"], &["one.raw", "two.lone"], &[]);
        words(&["raw+"], &["tag:gold"], &["one.raw", "one.clean"], &[]);
        words(&[], &["raw"], &["two.lone"], &[]);
        words(
            &["tag:golden"],
            &[],
            &[],
            &["the selection names a tag that does not exist: `golden`"],
        );
        words(
            &[],
            &["rwa+"],
            &["one.raw", "one.clean", "two.clean", "two.lone"],
            &["the selection names a node that does not exist: `rwa`"],
        );
        words(
            &["state:modified"],
            &[],
            &[],
            &["the selection has no words of the kind `state`: `state:modified`"],
        );
    }

    #[test]
    fn disabled_node_takes_its_dependents_with_it() {
        check(&[], &["after_off"], &[], &[], &[]);
        check(&[], &["off"], &[], &[], &[]);
    }

    #[test]
    fn unknown_names_are_reported() {
        check(
            &["onee"],
            &[],
            &[],
            &[],
            &["the selection names a pipeline that does not exist: `onee`"],
        );
        check(
            &[],
            &["x.clean"],
            &[],
            &[],
            &["the selection names a node that does not exist: `x.clean`"],
        );
        check(
            &[],
            &[],
            &["silver"],
            &[],
            &["the selection names a tag that does not exist: `silver`"],
        );
    }
}
