//! `recipes`: nodes with gaps, written out where a node names one. And `pattern`, which is `transformer` written otherwise.
//!
//! ```yaml
//! recipes:
//!   bronze:
//!     required_vars: [file]
//!     optional_vars: {format: csv}
//!     template:
//!       read: {connection: landing, format: "${recipe.format}", path: "${recipe.file}"}
//! pipelines:
//!   - pipeline: p
//!     nodes:
//!       - {name: orders, recipe: bronze, recipe_vars: {file: orders.csv}}
//! ```
//! `extends` names a recipe whose template lies below. What the node says itself lies on top.

use super::only;
use crate::diagnostic::{Diagnostic, Span, codes, quoted};
use crate::limits::RECIPE_CHAIN_MAX;
use crate::yaml::{self, Entry, Mapping, Node, Pass, Scope, Value};

/// Keys of a recipe.
pub(in crate::config) const KEYS: [&str; 5] = [
    "description",
    "extends",
    "template",
    "required_vars",
    "optional_vars",
];

/// Puts values into all pipelines, and writes out the recipes and patterns of their nodes.
pub(super) fn pipelines(pass: &mut Pass<'_>, list: &mut Node, recipes: Option<&Entry>) {
    let known: &[Entry] = match recipes.map(|entry| &entry.value.value) {
        Some(Value::Mapping(mapping)) => &mapping.entries,
        _ => &[],
    };
    if let Some(entry) = recipes
        && let Value::Scalar(_) | Value::Sequence(_) = entry.value.value
        && !entry.value.is_null()
    {
        let message = format!("`recipes` takes a mapping, not {}", entry.value.describe());
        pass.faults.push(Diagnostic::error(
            &codes::WRONG_TYPE,
            entry.value.span,
            message,
        ));
    }
    for recipe in known {
        if let Value::Mapping(mapping) = &recipe.value.value {
            let subject = format!("recipe {}", quoted(&recipe.key));
            only(&mut pass.faults, mapping, &KEYS, &subject);
        }
    }
    pass.node(list);
    let Value::Sequence(pipelines) = &mut list.value else {
        return;
    };
    for pipeline in pipelines {
        let Value::Mapping(mapping) = &mut pipeline.value else {
            continue;
        };
        let Some(Value::Sequence(nodes)) = mapping.get_mut("nodes").map(|e| &mut e.value.value)
        else {
            continue;
        };
        for node in nodes {
            recipe(pass, node, known);
            pattern(node);
        }
    }
}

/// Lays a node over the template of its recipe.
fn recipe(pass: &mut Pass<'_>, node: &mut Node, known: &[Entry]) {
    let Value::Mapping(own) = &mut node.value else {
        return;
    };
    let Some(named) = own.take("recipe") else {
        return;
    };
    let given = own.take("recipe_vars");
    let Value::Scalar(name) = &named.value.value else {
        if named.value.value != Value::Missing {
            let message = format!(
                "`recipe` takes the name of a recipe, not {}",
                named.value.describe()
            );
            pass.faults.push(Diagnostic::error(
                &codes::WRONG_TYPE,
                named.value.span,
                message,
            ));
        }
        own.truncated = true;
        return;
    };
    let place = named.value.span;
    let made = chain(pass, name.text.as_str(), place, known)
        .and_then(|chain| template(pass, &chain, given.as_ref(), place));
    let Some(mut made) = made else {
        // What it would have said is not missing.
        own.truncated = true;
        return;
    };
    let over = Node {
        span: node.span,
        value: std::mem::replace(&mut node.value, Value::Missing),
    };
    let span = over.span;
    yaml::overlay(&mut made, over, &mut |_, _, _| false, &mut |_, _, _| {});
    *node = Node { span, ..made };
}

/// The recipe and those that it extends, the outermost last.
fn chain<'a>(
    pass: &mut Pass<'_>,
    name: &str,
    place: Span,
    known: &'a [Entry],
) -> Option<Vec<&'a Mapping>> {
    let mut chain: Vec<&'a Mapping> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let (mut name, mut place) = (name.to_owned(), place);
    loop {
        let Some(entry) = known.iter().find(|entry| entry.key == name) else {
            let message = format!("there is no recipe {}", quoted(&name));
            let made = Diagnostic::error(&codes::BAD_RECIPE, place, message);
            let names = known.iter().map(|entry| entry.key.as_str());
            let made = made.suggest(&name, names);
            pass.faults.push(if made.hints.is_empty() {
                made.hint("add it to `recipes:`")
            } else {
                made
            });
            return None;
        };
        if names.contains(&entry.key.as_str()) || names.len() >= RECIPE_CHAIN_MAX {
            let message = format!("recipe {} extends itself", quoted(&name));
            pass.faults
                .push(Diagnostic::error(&codes::BAD_RECIPE, place, message));
            return None;
        }
        names.push(&entry.key);
        let Value::Mapping(mapping) = &entry.value.value else {
            let message = format!(
                "recipe {} takes a mapping, not {}",
                quoted(&name),
                entry.value.describe()
            );
            pass.faults.push(Diagnostic::error(
                &codes::WRONG_TYPE,
                entry.value.span,
                message,
            ));
            return None;
        };
        chain.push(mapping);
        match mapping.get("extends").map(|entry| &entry.value) {
            Some(Node {
                value: Value::Scalar(scalar),
                span,
            }) if !scalar.text.is_empty() => {
                name.clone_from(&scalar.text);
                place = *span;
            }
            _ => return Some(chain),
        }
    }
}

fn template(
    pass: &mut Pass<'_>,
    chain: &[&Mapping],
    given: Option<&Entry>,
    place: Span,
) -> Option<Node> {
    let scope = scope(pass, chain, given, place)?;
    let mut made: Option<Node> = None;
    for recipe in chain.iter().rev() {
        let Some(template) = recipe.get("template") else {
            continue;
        };
        let copy = pass.copy(&template.value, place)?;
        match &mut made {
            None => made = Some(copy),
            Some(made) => {
                yaml::overlay(made, copy, &mut |_, _, _| false, &mut |_, _, _| {});
            }
        }
    }
    let Some(mut made) = made.filter(|made| matches!(made.value, Value::Mapping(_))) else {
        let message = "the recipe has no `template`";
        pass.faults
            .push(Diagnostic::error(&codes::BAD_RECIPE, place, message));
        return None;
    };
    pass.recipe = Some(scope);
    pass.node(&mut made);
    pass.recipe = None;
    Some(made)
}

/// What `${recipe.…}` may name: what the node gives, and defaults.
fn scope(
    pass: &mut Pass<'_>,
    chain: &[&Mapping],
    given: Option<&Entry>,
    place: Span,
) -> Option<Scope> {
    let mut scope = Scope::new();
    let mut required: Vec<&str> = Vec::new();
    for recipe in chain {
        if let Some(Value::Sequence(items)) = recipe.get("required_vars").map(|e| &e.value.value) {
            required.extend(
                items
                    .iter()
                    .filter_map(Node::scalar)
                    .map(|s| s.text.as_str()),
            );
        }
        if let Some(Value::Mapping(defaults)) = recipe.get("optional_vars").map(|e| &e.value.value)
        {
            for entry in &defaults.entries {
                if !scope.iter().any(|(name, _)| *name == entry.key) {
                    let mut value = pass.copy(&entry.value, place)?;
                    pass.node(&mut value);
                    scope.push((entry.key.clone(), value));
                }
            }
        }
    }
    let mut good = true;
    let given = match given.map(|entry| &entry.value.value) {
        Some(Value::Mapping(mapping)) => &mapping.entries[..],
        _ => &[],
    };
    for entry in given {
        let known = required.contains(&entry.key.as_str());
        match scope.iter_mut().find(|(name, _)| *name == entry.key) {
            Some((_, value)) => *value = entry.value.clone(),
            None if known => scope.push((entry.key.clone(), entry.value.clone())),
            None => {
                let message = format!("the recipe takes no {}", quoted(&entry.key));
                let made = Diagnostic::error(&codes::BAD_RECIPE, entry.key_span, message);
                let names = scope.iter().map(|(name, _)| name.as_str());
                let made = made.suggest(&entry.key, names.chain(required.iter().copied()));
                pass.faults.push(made);
                good = false;
            }
        }
    }
    for name in required {
        if !scope.iter().any(|(known, _)| known == name) {
            let message = format!("the recipe needs {} in `recipe_vars`", quoted(name));
            pass.faults
                .push(Diagnostic::error(&codes::BAD_RECIPE, place, message));
            good = false;
        }
    }
    good.then_some(scope)
}

/// `pattern: {type, params}` is `transformer` with `params`; where both have `params`, those of the pattern win. What
/// is written otherwise stays, and is reported when the node is read.
fn pattern(node: &mut Node) {
    let Value::Mapping(own) = &mut node.value else {
        return;
    };
    let plain = own
        .get("pattern")
        .and_then(|entry| entry.value.mapping())
        .is_some_and(|mapping| {
            let mut keys = mapping.entries.iter().map(|entry| entry.key.as_str());
            let kind = mapping.get("type").map(|entry| &entry.value);
            keys.all(|key| ["type", "params"].contains(&key))
                && kind.is_some_and(|kind| kind.scalar().is_some() && !kind.is_null())
        });
    if !plain || own.get("transformer").is_some() {
        return;
    }
    let Some(entry) = own.take("pattern") else {
        return;
    };
    let Value::Mapping(mut mapping) = entry.value.value else {
        return;
    };
    if let Some(kind) = mapping.take("type") {
        own.entries.push(Entry {
            key: "transformer".to_owned(),
            ..kind
        });
    }
    if let Some(params) = mapping.take("params") {
        match own.get_mut("params") {
            Some(base) => {
                yaml::overlay(
                    &mut base.value,
                    params.value,
                    &mut |_, _, _| false,
                    &mut |_, _, _| {},
                );
            }
            None => own.entries.push(params),
        }
    }
}
