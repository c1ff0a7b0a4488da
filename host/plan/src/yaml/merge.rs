//! The end of a mapping: duplicate keys are refused and merge keys expanded.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use super::{Entry, Node, Value};
use crate::diagnostic::{Collector, Diagnostic, Span, codes, quoted};

/// A key and a value as they stand in the file.
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) key_span: Span,
    /// The key is a plain `<<`.
    pub(super) merge: bool,
    pub(super) value: Node,
}

/// Entries in PyYAML's order: merged ones first, a later one taking the place of an earlier one of the same key; of a
/// list, the first mapping comes last and so wins. False when a part was refused.
pub(super) fn finish_mapping(pairs: Vec<Pair>, faults: &mut Collector) -> (Vec<Entry>, bool) {
    let mut whole = true;
    let mut own: Vec<Entry> = Vec::with_capacity(pairs.len());
    let mut merged: Vec<Entry> = Vec::new();
    let mut places: HashMap<String, Span> = HashMap::new();
    for Pair {
        key,
        key_span,
        merge,
        value,
    } in pairs
    {
        match places.entry(key.clone()) {
            Slot::Occupied(first) => {
                let message = format!("key {} stands twice in this mapping", quoted(&key));
                let made = Diagnostic::error(&codes::DUPLICATE_KEY, key_span, message);
                faults.push(made.label("again here").also(*first.get(), "first here"));
                continue;
            }
            Slot::Vacant(slot) => slot.insert(key_span),
        };
        if merge {
            whole &= expand(value, &mut merged, faults);
        } else {
            own.push(Entry {
                key,
                key_span,
                value,
            });
        }
    }
    if merged.is_empty() {
        return (own, whole);
    }
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut out: Vec<Entry> = Vec::with_capacity(merged.len() + own.len());
    for entry in merged.into_iter().chain(own) {
        match index.get(&entry.key) {
            Some(at) => out[*at] = entry,
            None => {
                index.insert(entry.key.clone(), out.len());
                out.push(entry);
            }
        }
    }
    (out, whole)
}

fn expand(value: Node, merged: &mut Vec<Entry>, faults: &mut Collector) -> bool {
    match value.value {
        Value::Mapping(mapping) => {
            merged.extend(mapping.entries);
            !mapping.truncated
        }
        Value::Sequence(items)
            if items
                .iter()
                .all(|item| matches!(item.value, Value::Mapping(_) | Value::Missing)) =>
        {
            let mut whole = true;
            for item in items.into_iter().rev() {
                whole &= expand(item, merged, faults);
            }
            whole
        }
        Value::Missing => false,
        Value::Scalar(_) | Value::Sequence(_) => {
            let message = "`<<` merges a mapping or a list of mappings";
            faults.push(
                Diagnostic::error(&codes::MERGE_KEY, value.span, message)
                    .hint("write `<<: *name` or put the key in quotes"),
            );
            false
        }
    }
}
