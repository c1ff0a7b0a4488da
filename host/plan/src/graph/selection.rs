//! Which nodes of a project a run is about.

use std::collections::{BTreeMap, BTreeSet};

use super::Graph;
use super::selector::{NodeResult, Selector, What, is_named, is_tagged};
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
    /// What words of the kinds `state` and `result` go by.
    pub remembered: Remembered,
}

/// What the state knows of nodes: pipeline and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Those that are not what they were when they last succeeded.
    pub modified: BTreeSet<(String, String)>,
    /// How those of the last run ended.
    pub results: BTreeMap<(String, String), NodeResult>,
}

impl Selection {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// True when words go by what is remembered.
    #[must_use]
    pub fn asks_state(&self) -> bool {
        let mut words = self.select.iter().chain(&self.exclude);
        words.any(|list| {
            list.split_whitespace().any(|word| {
                Selector::parse(word).is_ok_and(|selector| selector.what.is_remembered())
            })
        })
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
    let (dependencies, dependents) = neighbours(graph);
    let mut faults = unknown(&nodes, project, selection);
    let marks = Marks {
        nodes: &nodes,
        project,
        dependencies: &[],
        dependents: &dependents,
        remembered: &selection.remembered,
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

/// Pipeline and name of the nodes that are asked for themselves; what else is selected only feeds them, and may be read
/// back where it stands. `None` when the selection does not go by what is remembered: then all of it is made.
#[must_use]
pub fn asked(project: &Project, selection: &Selection) -> Option<BTreeSet<(String, String)>> {
    let mut words = selection
        .select
        .iter()
        .flat_map(|list| list.split_whitespace());
    let is_remembered =
        |word: &str| Selector::parse(word).is_ok_and(|selector| selector.what.is_remembered());
    if !words.any(is_remembered) {
        return None;
    }
    let (graph, _) = Graph::new(project);
    let nodes: Vec<(&Pipeline, &Node)> = project.nodes().collect();
    let (dependencies, dependents) = neighbours(&graph);
    let marks = Marks {
        nodes: &nodes,
        project,
        dependencies: &dependencies,
        dependents: &dependents,
        remembered: &selection.remembered,
    };
    // What is wrong with the words, `select` has reported.
    let marked = marks.of(&selection.select, &mut Vec::new());
    let asked = nodes
        .iter()
        .zip(marked)
        .filter(|((pipeline, node), marked)| *marked && matches(selection, pipeline, node));
    let name = |(pipeline, node): &(&Pipeline, &Node)| {
        (pipeline.name.value.clone(), node.name.value.clone())
    };
    Some(asked.map(|(both, _)| name(both)).collect())
}

/// For each node what it depends on, and what depends on it.
fn neighbours(graph: &Graph) -> (Vec<Vec<usize>>, Vec<Vec<usize>>) {
    let dependencies: Vec<Vec<usize>> = graph
        .edges
        .iter()
        .map(|list| list.iter().map(|e| e.to).collect())
        .collect();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); dependencies.len()];
    for (node, list) in dependencies.iter().enumerate() {
        list.iter()
            .for_each(|before| dependents[*before].push(node));
    }
    (dependencies, dependents)
}

struct Marks<'a> {
    nodes: &'a [(&'a Pipeline, &'a Node)],
    project: &'a Project,
    /// Empty where a `+` in front says nothing: what is needed comes along anyway.
    dependencies: &'a [Vec<usize>],
    dependents: &'a [Vec<usize>],
    remembered: &'a Remembered,
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
                .map(|(pipeline, node)| selector.matches(pipeline, node, self.remembered))
                .collect();
            if !marked.contains(&true) {
                let mut one = Selection::default();
                match selector.what {
                    What::Node(name) => one.nodes.push(name.to_owned()),
                    What::Pipeline(name) => one.pipelines.push(name.to_owned()),
                    What::Tag(name) => one.tags.push(name.to_owned()),
                    // That there is none is an answer.
                    What::Modified | What::Ended(_) => {}
                }
                faults.extend(unknown(self.nodes, self.project, &one));
            }
            if selector.before && !self.dependencies.is_empty() {
                spread(&mut marked, self.dependencies);
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
            &["source:fresher"],
            &[],
            &[],
            &["the selection has no words of the kind `source`: `source:fresher`"],
        );
        words(&["state:modified", "result:failed"], &[], &[], &[]);
    }

    fn pair(name: &str) -> (String, String) {
        let (pipeline, node) = name.split_once('.').expect("two words");
        (pipeline.to_owned(), node.to_owned())
    }

    /// With `one.clean` modified, and how three nodes ended.
    #[track_caller]
    fn remembered(select: &[&str], exclude: &[&str], expect: &[&str], asked_expect: &[&str]) {
        let own = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let selection = Selection {
            select: own(select),
            exclude: own(exclude),
            remembered: Remembered {
                modified: BTreeSet::from([pair("one.clean")]),
                results: BTreeMap::from([
                    (pair("one.raw"), NodeResult::Succeeded),
                    (pair("one.clean"), NodeResult::Failed),
                    (pair("two.clean"), NodeResult::Skipped),
                ]),
            },
            ..Selection::default()
        };
        of(&selection, expect, &[]);
        let (project, _) =
            crate::config::load("p.yaml", PROJECT, &|_| None, &mut Sources::default());
        let expect: BTreeSet<(String, String)> =
            asked_expect.iter().map(|name| pair(name)).collect();
        assert_eq!(asked(&project, &selection), Some(expect));
        assert!(selection.asks_state());
    }

    #[test]
    fn what_is_remembered_selects() {
        let two = ["one.raw", "one.clean"];
        let three = ["one.raw", "one.clean", "two.clean"];
        remembered(&["state:modified"], &[], &two, &["one.clean"]);
        remembered(&["+state:modified"], &[], &two, &two);
        remembered(
            &["state:modified+"],
            &[],
            &three,
            &["one.clean", "two.clean"],
        );
        remembered(&["result:failed"], &[], &two, &["one.clean"]);
        remembered(&["result:skipped"], &[], &three, &["two.clean"]);
        remembered(&["result:succeeded"], &[], &["one.raw"], &["one.raw"]);
        remembered(
            &["result:failed lone"],
            &[],
            &["one.raw", "one.clean", "two.lone"],
            &["one.clean", "two.lone"],
        );
        remembered(
            &["state:modified+"],
            &["tag:gold"],
            &two,
            &["one.clean", "two.clean"],
        );
        let plain = Selection {
            select: vec!["+one.clean".to_owned()],
            ..Selection::default()
        };
        let (project, _) =
            crate::config::load("p.yaml", PROJECT, &|_| None, &mut Sources::default());
        assert_eq!((asked(&project, &plain), plain.asks_state()), (None, false));
        let without = Selection {
            exclude: vec!["result:succeeded".to_owned()],
            ..Selection::default()
        };
        assert_eq!(
            (asked(&project, &without), without.asks_state()),
            (None, true)
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
