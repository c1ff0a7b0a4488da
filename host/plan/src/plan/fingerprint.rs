//! What the rows of a node follow from, as a text that two versions of a project can be compared by.

use std::fmt::Write as _;

use super::{Attempts, InputSource, OnError, Plan, PlannedNode};

impl Plan {
    /// Everything of a node that its rows and its target follow from: inputs, steps, params, write. Not where it stands in
    /// the file, what it is called in words, how often it is tried. Two plans with the same text for a node make the same
    /// of it, if its plugins are the same. Credentials do not count, and are not in it.
    #[must_use]
    pub fn fingerprint(&self, node: &PlannedNode) -> String {
        let mut bare = node.clone();
        bare.id.0 = 0;
        bare.description = None;
        bare.tags.clear();
        bare.depends_on.clear();
        bare.inputs.clear();
        bare.attempts = Attempts::default();
        bare.on_error = OnError::default();
        bare.has_dependents = false;
        for step in &mut bare.steps {
            step.params.places.clear();
            step.params.written.clear();
        }
        // What is derived names every field: a key that is added later counts without being listed here.
        let mut text = format!("{bare:?}");
        for id in &node.depends_on {
            let before = &self.nodes[id.0];
            let _ = write!(text, "\nafter {}.{}", before.pipeline, before.name);
        }
        for input in &node.inputs {
            let _ = write!(text, "\ninput {:?} ", input.name);
            let _ = match &input.source {
                InputSource::Node(id) => {
                    let before = &self.nodes[id.0];
                    write!(text, "{}.{}", before.pipeline, before.name)
                }
                InputSource::Read(read) => write!(text, "{read:?}"),
            };
        }
        without_spans(&text)
    }
}

/// The text without the places in the file.
fn without_spans(text: &str) -> String {
    let mut rest = text;
    let mut left = String::with_capacity(text.len());
    while let Some(at) = rest.find("Span { file: ") {
        let (before, from) = rest.split_at(at);
        left.push_str(before);
        left.push_str("Span");
        rest = from.split_once('}').map_or("", |(_, after)| after);
    }
    left.push_str(rest);
    left
}

#[cfg(test)]
mod tests {
    use crate::config;
    use crate::diagnostic::Sources;
    use crate::graph::Selection;
    use crate::operation::{Manifest, Operations};
    use crate::plan::plan;

    const PROJECT: &str = "project: x
connections:
  c: {type: local}
  a: {type: azure_adls, account_name: acc, container: con, auth: {mode: account_key, account_key: '${KEY}'}}
pipelines:
  - pipeline: p
    nodes:
      - name: before
        read: {connection: a, format: csv, path: in.csv}
      - name: n
        inputs: {df: before}
        transform: {steps: [{operation: clean_text, params: {columns: [city]}}]}
        write: {connection: c, format: csv, path: out.csv}
";

    /// Of a node, by its place in the plan.
    fn fingerprint(text: &str, key: &str, at: usize) -> String {
        let manifest = include_str!("../../../../plugins/columns/manifest.json");
        let operations = Operations {
            first_party: vec![Manifest::parse(manifest).expect("a manifest")],
            ..Operations::default()
        };
        let mut sources = Sources::default();
        let key = |name: &str| (name == "KEY").then(|| key.to_owned());
        let (project, found) = config::load("x.yaml", text, &key, &mut sources);
        assert_eq!(found, [], "{text}");
        let (plan, found) = plan(&project, &Selection::all(), &operations);
        assert_eq!(found, [], "{text}");
        plan.fingerprint(&plan.nodes[at])
    }

    #[test]
    fn what_the_rows_follow_from_counts_and_nothing_else() {
        let whole = fingerprint(PROJECT, "c2VjcmV0", 1);
        for (from, to, same) in [
            ("project: x\n", "# a word\nproject: x\n", true),
            (
                "- name: n\n",
                "- name: n\n        description: told\n        tags: [a]\n        timeout: 5s\n",
                true,
            ),
            (
                "      - name: before",
                "      - {name: other, read: {connection: c, format: csv, path: o.csv}}\n      - name: before",
                true,
            ),
            ("[city]", "[town]", false),
            ("clean_text", "trim_whitespace", false),
            ("path: out.csv", "path: out2.csv", false),
            (
                "format: csv, path: out.csv",
                "format: parquet, path: out.csv",
                false,
            ),
            ("path: out.csv", "path: out.csv, mode: append", false),
            ("{df: before}", "{main: before}", false),
            (
                "c: {type: local}",
                "c: {type: local, base_path: elsewhere}",
                false,
            ),
        ] {
            assert!(PROJECT.contains(from), "{from}");
            let text = PROJECT.replace(from, to);
            let at = if to.contains("other") { 2 } else { 1 };
            let other = fingerprint(&text, "c2VjcmV0", at);
            assert_eq!(other == whole, same, "{to}\n{whole}\n{other}");
        }
        let read = fingerprint(PROJECT, "c2VjcmV0", 0);
        assert!(!read.contains("c2VjcmV0") && read.contains("acc"), "{read}");
        assert_eq!(
            fingerprint(PROJECT, "b3RoZXI=", 0),
            read,
            "a key that was changed"
        );
    }
}
