//! Every first-party operation, as it runs for users: its examples through the sandbox, its manifest against `describe`.

use odibi_bundle::COMPONENTS;
use odibi_plan::Manifest;
use odibi_plan::operation::{Example, FurtherInputs, OperationSpec};
use serde_json::{Value, json};
use support::Project;

fn manifests() -> Vec<Manifest> {
    COMPONENTS
        .iter()
        .map(|c| Manifest::parse(c.manifest).unwrap_or_else(|e| panic!("{}: {e}", c.name)))
        .collect()
}

#[test]
fn issue_a_operations_are_all_there() {
    let names: Vec<String> = manifests()
        .iter()
        .flat_map(|m| m.operations.iter().map(|o| o.name.clone()))
        .collect();
    for name in [
        "select_columns",
        "drop_columns",
        "rename_columns",
        "clean_text",
        "trim_whitespace",
        "fill_nulls",
        "deduplicate",
        "distinct",
        "limit",
        "union",
        "add_prefix",
        "add_suffix",
        "hash_columns",
    ] {
        assert!(
            names.iter().any(|n| n == name),
            "`{name}` is missing from {names:?}"
        );
    }
}

/// `UPDATE_MANIFESTS=1` writes the files anew from the native side of the plugins.
#[test]
fn committed_manifests_equal_what_the_plugins_say() {
    let plugins = [
        ("columns", odibi_columns::plugin().manifest()),
        ("rows", odibi_rows::plugin().manifest()),
        ("nested", odibi_nested::plugin().manifest()),
    ];
    // `sql` is a workspace of its own, with such a test of its own.
    assert_eq!(
        plugins.len() + 1,
        COMPONENTS.len(),
        "a component has no line here"
    );
    for (name, said) in plugins {
        let path = support::root().join(format!("plugins/{name}/manifest.json"));
        let said = format!("{said:#}\n");
        if std::env::var_os("UPDATE_MANIFESTS").is_some() {
            std::fs::write(&path, &said).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            committed,
            said,
            "{} is stale: run with UPDATE_MANIFESTS=1",
            path.display()
        );
    }
}

#[test]
fn manifests_equal_describe_inside_the_sandbox() {
    for component in COMPONENTS {
        let project = Project::with(&format!(
            "project: p\nplugins: {{it: {{path: it.wasm}}}}\npipelines: [{{pipeline: p, nodes: []}}]\n# {}\n",
            component.name
        ))
        .file("it.wasm", support::unpacked(component));
        let listed = project
            .odibi(&["list", "operations", "--config", ".", "--output", "json"])
            .exits(0);
        let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
        let manifest = Manifest::parse(component.manifest).unwrap();
        for operation in &manifest.operations {
            let name = format!("it/{}", operation.name);
            let found = listed
                .as_array()
                .unwrap()
                .iter()
                .find(|o| o["name"] == name.as_str());
            assert_eq!(
                found.unwrap_or_else(|| panic!("no {name}"))["summary"],
                operation.summary.as_str()
            );
            let shown = project
                .odibi(&["show", &name, "--config", ".", "--output", "json"])
                .exits(0);
            let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
            assert_eq!(shown["params"], operation.params, "{name}");
        }
    }
}

#[test]
fn every_operation_has_two_examples_and_they_hold_in_the_sandbox() {
    let mut faults = Vec::new();
    for manifest in manifests() {
        for operation in &manifest.operations {
            assert!(
                operation.examples.len() >= 2,
                "`{}` has fewer than two examples",
                operation.name
            );
            assert!(
                !operation.summary.is_empty(),
                "`{}` has no summary",
                operation.name
            );
            for example in &operation.examples {
                faults.extend(fault(operation, example));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Writes the example's tables as files, CSV or JSON lines, runs one node over them, and compares the file it writes.
/// Says what differs.
fn fault(operation: &OperationSpec, example: &Example) -> Option<String> {
    let mut params = example.params.clone();
    let names: Vec<String> = match &operation.further_inputs {
        FurtherInputs::None => Vec::new(),
        FurtherInputs::One { param } => vec![params[param].as_str().unwrap().to_owned()],
        FurtherInputs::Many { param } => params[param]
            .as_array()
            .into_iter()
            .flatten()
            .map(|n| n.as_str().unwrap().to_owned())
            .collect(),
    };
    let mut inputs = serde_json::Map::new();
    let mut project = Project::new();
    // Tables that hold lists or structs are JSON lines, which have no header.
    let is_json = |text: &str| text.trim_start().starts_with('{');
    for (port, table) in example.inputs.iter().enumerate() {
        let name = if port == 0 {
            "df".to_owned()
        } else {
            names[port - 1].clone()
        };
        let format = if is_json(table) { "json" } else { "csv" };
        let path = format!("data/{name}.{format}");
        project = project.file(&path, table);
        inputs.insert(
            name.clone(),
            json!({ "connection": "here", "format": format, "path": path }),
        );
    }
    if params.is_null() {
        params = json!({});
    }
    let written = if is_json(&example.output) {
        "json"
    } else {
        "csv"
    };
    let path = format!("out.{written}");
    let yaml = json!({
        "project": "example",
        "connections": { "here": { "type": "local", "base_path": "." } },
        "pipelines": [{ "pipeline": "p", "nodes": [{
            "name": "n",
            "inputs": inputs,
            "transform": { "steps": [{ "operation": operation.name, "params": params }] },
            "write": { "connection": "here", "format": written, "path": path, "mode": "overwrite" },
        }] }],
    });
    let project = project.file("odibi.yaml", yaml.to_string());
    let _ = project.odibi(&["run", "-q"]).exits(0);
    let lines = |text: &str| -> (String, Vec<String>) {
        let mut lines = text.lines().map(str::to_owned);
        if written == "json" {
            let rows = lines.map(|line| {
                let row: Value = serde_json::from_str(&line).unwrap();
                // A writer may leave null out.
                let mut row = row.as_object().unwrap().clone();
                row.retain(|_, value| !value.is_null());
                Value::Object(row).to_string()
            });
            return (String::new(), rows.collect());
        }
        (lines.next().unwrap_or_default(), lines.collect())
    };
    let (header, mut rows) = lines(&project.text(&path));
    let (wanted_header, mut wanted) = lines(&example.output);
    // Operations that repartition promise no order between partitions.
    rows.sort();
    wanted.sort();
    let (got, wanted) = ((header, rows), (wanted_header, wanted));
    (got != wanted).then(|| {
        let Example { summary, .. } = example;
        format!(
            "`{}`: {summary}\n  got    {got:?}\n  wanted {wanted:?}",
            operation.name
        )
    })
}

/// `UPDATE_MANIFESTS=1` writes the page anew too.
#[test]
fn committed_reference_is_what_the_program_prints() {
    let path = support::root().join("docs/operations.md");
    let project = Project::new();
    let printed = project.odibi(&["list", "reference"]).exits(0).stdout;
    if std::env::var_os("UPDATE_MANIFESTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &printed).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == printed,
        "{} is stale: run with UPDATE_MANIFESTS=1",
        path.display()
    );
}
