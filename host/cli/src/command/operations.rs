//! `odibi list operations`, `odibi list reference` and `odibi show OPERATION`.

mod reference;

use std::fmt::Write as _;
use std::path::Path;

use odibi_plan::operation::{Example, FurtherInputs, Manifest, OperationSpec};
use odibi_plan::plan::OperationRef;
use serde_json::{Value, json};

use crate::args::{Listed, Output};
use crate::printer::Printer;
use crate::{Surroundings, command::limits, exit, project};

pub(crate) fn list(
    what: Listed,
    config: Option<&Path>,
    around: &Surroundings,
    printer: &Printer,
) -> u8 {
    if what == Listed::Limits {
        return limits::list(printer);
    }
    let operations = match project::all_operations(config, around, printer) {
        Ok(operations) => operations,
        Err(code) => return code,
    };
    let mut rows: Vec<(String, &OperationSpec, &Manifest)> = Vec::new();
    for manifest in &operations.first_party {
        rows.extend(
            manifest
                .operations
                .iter()
                .map(|o| (o.name.clone(), o, manifest)),
        );
    }
    for (key, manifest) in &operations.plugins {
        rows.extend(
            manifest
                .operations
                .iter()
                .map(|o| (format!("{key}/{}", o.name), o, manifest)),
        );
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    if what == Listed::Reference {
        let pages = rows
            .iter()
            .map(|(name, operation, _)| (name.as_str(), *operation));
        printer.result(&reference::page(pages));
        return exit::DONE;
    }
    match printer.output {
        Output::Json => printer.json(
            &rows
                .iter()
                .map(|(name, o, m)| json!({ "name": name, "summary": o.summary, "plugin": m.name, "version": m.version }))
                .collect(),
        ),
        Output::Text => {
            let width = rows.iter().map(|r| r.0.chars().count()).max().unwrap_or(0);
            for (name, operation, _) in &rows {
                printer.result(&format!("{name:width$}  {}\n", operation.summary));
            }
        }
    }
    exit::DONE
}

pub(crate) fn show(
    name: &str,
    config: Option<&Path>,
    around: &Surroundings,
    printer: &Printer,
) -> u8 {
    let operations = match project::all_operations(config, around, printer) {
        Ok(operations) => operations,
        Err(code) => return code,
    };
    let reference = match name.split_once('/') {
        Some((plugin, name)) => OperationRef {
            plugin: Some(plugin.to_owned()),
            name: name.to_owned(),
        },
        None => OperationRef {
            plugin: None,
            name: name.to_owned(),
        },
    };
    let Some(operation) = operations.find(&reference) else {
        let names = operations.names();
        let hint = match odibi_plan::diagnostic::nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                "see `odibi list operations`; operations of a project's plugins need `--config`"
                    .to_owned()
            }
        };
        printer.error_with_hint(&format!("no operation `{name}`"), &hint);
        return exit::USAGE;
    };
    match printer.output {
        Output::Json => printer.json(&json!({
            "name": name,
            "summary": operation.summary,
            "params": operation.params,
            "examples": operation.examples.iter().map(example_json).collect::<Vec<_>>(),
        })),
        Output::Text => printer.result(&page(name, operation)),
    }
    exit::DONE
}

fn example_json(example: &Example) -> Value {
    json!({ "summary": example.summary, "params": example.params, "inputs": example.inputs, "output": example.output })
}

fn page(name: &str, operation: &OperationSpec) -> String {
    let mut page = format!("{name}\n  {}\n", operation.summary);
    match &operation.further_inputs {
        FurtherInputs::None => {}
        FurtherInputs::One { param } => {
            let _ = writeln!(page, "\nReads a second table: `{param}` names it.");
        }
        FurtherInputs::Many { param } => {
            let _ = writeln!(page, "\nReads further tables: `{param}` names them.");
        }
    }
    page.push_str(&params(&operation.params));
    for example in &operation.examples {
        let _ = write!(
            page,
            "\nExample: {}\n\n    - operation: {name}\n      params: {}\n",
            example.summary,
            flow(&example.params)
        );
        let titles = if example.inputs.len() == 1 {
            vec!["in".to_owned()]
        } else {
            (1..=example.inputs.len())
                .map(|n| format!("in {n}"))
                .collect()
        };
        for (title, table) in titles
            .iter()
            .zip(&example.inputs)
            .chain([(&"out".to_owned(), &example.output)])
        {
            let _ = write!(page, "\n    {title}:\n{}", indented(table));
        }
    }
    page
}

/// What is shown of a param.
struct Param<'a> {
    key: &'a str,
    kind: String,
    /// `required`, `optional` or the default.
    must: String,
    description: String,
}

fn described(schema: &Value) -> Vec<Param<'_>> {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map_or_else(Vec::new, |r| r.iter().filter_map(Value::as_str).collect());
    let properties = schema["properties"].as_object().into_iter().flatten();
    let param = |(key, property): (&'_ String, &Value)| {
        let must = if required.contains(&key.as_str()) {
            "required".to_owned()
        } else {
            match property.get("default") {
                None | Some(Value::Null) => "optional".to_owned(),
                Some(default) => format!("default {default}"),
            }
        };
        let description = property["description"].as_str().unwrap_or_default();
        (
            must,
            type_of(property, schema),
            description.replace('\n', " "),
        )
    };
    properties
        .map(|entry| {
            let (must, kind, description) = param(entry);
            Param {
                key: entry.0,
                kind,
                must,
                description,
            }
        })
        .collect()
}

/// One line for each param: name, type, required or default, description.
fn params(schema: &Value) -> String {
    let params = described(schema);
    if params.is_empty() {
        return "\nNo params.\n".to_owned();
    }
    let mut text = String::from("\nParams:\n");
    let width = params.iter().map(|p| p.key.chars().count()).max();
    let width = width.unwrap_or(0);
    for param in &params {
        let Param {
            key, kind, must, ..
        } = param;
        let _ = write!(text, "  {key:width$}  {kind}, {must}");
        if !param.description.is_empty() {
            let _ = write!(text, ": {}", param.description);
        }
        text.push('\n');
    }
    text
}

fn type_of(property: &Value, root: &Value) -> String {
    if let Some(name) = property["$ref"]
        .as_str()
        .and_then(|r| r.strip_prefix("#/$defs/"))
    {
        return type_of(&root["$defs"][name], root);
    }
    if let Some(values) = property["enum"].as_array() {
        return values
            .iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join(" | ");
    }
    let variants = property["anyOf"]
        .as_array()
        .or_else(|| property["oneOf"].as_array());
    if let Some(variants) = variants {
        let named: Vec<String> = variants
            .iter()
            .map(|v| type_of(v, root))
            .filter(|t| t != "null")
            .collect();
        return named.join(" | ");
    }
    if let Some(constant) = property.get("const") {
        return constant.to_string();
    }
    let one = |name: &str| match name {
        "array" => format!("list of {}", type_of(&property["items"], root)),
        "object" if property["additionalProperties"].is_object() => format!(
            "map to {}",
            type_of(&property["additionalProperties"], root)
        ),
        other => other.to_owned(),
    };
    match &property["type"] {
        Value::String(name) => one(name),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|n| *n != "null")
            .map(one)
            .collect::<Vec<_>>()
            .join(" | "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => "any".to_owned(),
    }
}

/// JSON is YAML's flow style.
fn flow(params: &Value) -> String {
    params.to_string()
}

fn indented(table: &str) -> String {
    table
        .lines()
        .map(|line| format!("      {line}\n"))
        .collect()
}
