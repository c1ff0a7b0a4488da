//! The operations of pandas that ODIBI knows, written as operations of odibi. What cannot be honoured is a fault that
//! says what to write instead.
//!
//! | written | becomes |
//! |---|---|
//! | `drop`: `columns` or `labels` | `drop_columns`: `columns` |
//! | `rename`: `columns` | `rename_columns`: `mapping` |
//! | `fillna`: `value`, a mapping | `fill_nulls`: `values` |
//! | `drop_duplicates` | `distinct` |
//! | `drop_duplicates`: `subset` | `deduplicate`: `keys` |
//! | `sort`: a list as `ascending`, `na_position` | `sort`: `by`, each with its direction |
//! | `sample`: `frac`, `random_state` | `sample`: `fraction`, `seed` |

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::params::StepParams;
use super::reader::Context;
use super::{Step, Text};
use crate::diagnostic::{Diagnostic, Span, codes, quoted};
use crate::operation::schema::escape;

/// The operation that is meant, with its params. `None` when something was refused and reported.
pub(super) fn lower(context: &Context, step: Step) -> Option<Step> {
    let Step {
        operation,
        params,
        sql,
    } = step;
    let mut alias = Alias {
        context,
        of: quoted(operation.shown()),
        span: operation.span,
        params,
        good: true,
    };
    let name = match operation.value.as_str() {
        "drop" => alias.drop(),
        "rename" => alias.rename(),
        "fillna" => alias.fillna(),
        "drop_duplicates" => alias.drop_duplicates(),
        "sort" => alias.sort(),
        "sample" => alias.sample(),
        _ => {
            let params = alias.params;
            return Some(Step {
                operation,
                params,
                sql,
            });
        }
    };
    let Alias { params, good, .. } = alias;
    let operation = Text {
        value: name.to_owned(),
        written: operation.written.or(Some(operation.value)),
        span: operation.span,
    };
    good.then_some(Step {
        operation,
        params,
        sql,
    })
}

struct Alias<'a> {
    context: &'a Context,
    /// The name as messages show it.
    of: String,
    span: Span,
    params: StepParams,
    good: bool,
}

impl Alias<'_> {
    fn drop(&mut self) -> &'static str {
        self.accept(
            "axis",
            &[json!(1), json!("columns")],
            "rows are dropped with `filter_rows`",
        );
        self.accept("errors", &[json!("raise")], "name only columns that exist");
        self.accept("inplace", &[json!(false), json!(true)], "remove it");
        if self.has("labels") && !self.has("columns") {
            self.move_to("labels", "columns");
        }
        self.as_list("columns");
        self.only("drop_columns", &["columns"]);
        "drop_columns"
    }

    fn rename(&mut self) -> &'static str {
        self.accept("errors", &[json!("raise")], "name only columns that exist");
        self.accept("inplace", &[json!(false), json!(true)], "remove it");
        if self.has("columns") && !self.has("mapping") {
            self.move_to("columns", "mapping");
        }
        self.only("rename_columns", &["columns", "mapping"]);
        "rename_columns"
    }

    fn fillna(&mut self) -> &'static str {
        self.accept("inplace", &[json!(false), json!(true)], "remove it");
        if self.has("value") && !self.has("values") {
            let mapping = matches!(self.get("value"), Some(Json::Object(_)));
            if mapping {
                self.move_to("value", "values");
            } else {
                let what = "fills columns that are named, each with its value".to_owned();
                let hint = "write `value: {COLUMN: VALUE}` for each column";
                self.refuse("value", what, hint);
            }
        }
        self.only("fill_nulls", &["value", "values"]);
        "fill_nulls"
    }

    fn drop_duplicates(&mut self) -> &'static str {
        let hint = "use `deduplicate` with `order_by` to say which row stays";
        self.accept("keep", &[json!("first")], hint);
        self.accept("inplace", &[json!(false), json!(true)], "remove it");
        self.accept("ignore_index", &[json!(false), json!(true)], "remove it");
        if self.get("subset").is_none_or(Json::is_null) {
            self.take("subset");
            self.only("distinct", &["subset", "keep"]);
            return "distinct";
        }
        self.move_to("subset", "keys");
        self.as_list("keys");
        self.only("deduplicate", &["subset", "keys", "keep"]);
        "deduplicate"
    }

    /// The params of pandas that odibi's own operation lacks.
    fn sort(&mut self) -> &'static str {
        self.accept("inplace", &[json!(false), json!(true)], "remove it");
        self.accept("ignore_index", &[json!(false), json!(true)], "remove it");
        let nulls = match self.get("na_position").and_then(Json::as_str) {
            Some("first") => " NULLS FIRST",
            _ => "",
        };
        let hint = "write `first` or `last`";
        self.accept("na_position", &[json!("first"), json!("last")], hint);
        let by: Vec<String> = match self.get("by") {
            Some(Json::String(one)) => vec![one.clone()],
            Some(Json::Array(many)) => many.iter().filter_map(text).collect(),
            _ => return "sort",
        };
        let directions: Vec<bool> = match self.get("ascending") {
            Some(Json::Array(list)) => list.iter().filter_map(Json::as_bool).collect(),
            Some(_) | None if nulls.is_empty() => return "sort",
            Some(Json::Bool(one)) => vec![*one; by.len()],
            None => vec![true; by.len()],
            Some(_) => return "sort",
        };
        if directions.len() != by.len() {
            let what = "is a list of `true` and `false`, one for each column of `by`".to_owned();
            self.refuse("ascending", what, "give each column its direction");
            return "sort";
        }
        self.take("ascending");
        let orders = by.iter().zip(directions).map(|(column, ascending)| {
            let direction = if ascending { "ASC" } else { "DESC" };
            let quoted = column.replace('"', "\"\"");
            Json::from(format!("\"{quoted}\" {direction}{nulls}"))
        });
        self.set("by", orders.collect());
        "sort"
    }

    fn sample(&mut self) -> &'static str {
        self.accept(
            "replace",
            &[json!(false)],
            "remove it: no row is taken twice",
        );
        self.accept("ignore_index", &[json!(false), json!(true)], "remove it");
        if self.has("n") {
            let what = "is not possible: rows are kept one by one as they pass".to_owned();
            self.refuse(
                "n",
                what,
                "write `frac`, the part of the rows to keep, or use `limit`",
            );
        }
        if self.has("frac") && !self.has("fraction") {
            self.move_to("frac", "fraction");
        }
        if self.has("random_state") && !self.has("seed") {
            self.move_to("random_state", "seed");
        }
        "sample"
    }

    fn get(&self, key: &str) -> Option<&Json> {
        self.params.params.value.get(key)
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn object(&mut self) -> Option<&mut Map<String, Json>> {
        self.params.params.value.as_object_mut()
    }

    fn take(&mut self, key: &str) -> Option<Json> {
        self.object()?.remove(key)
    }

    fn set(&mut self, key: &str, value: Json) {
        if let Some(object) = self.object() {
            object.insert(key.to_owned(), value);
        }
    }

    /// Gives a param another name; its places go with it.
    fn move_to(&mut self, from: &str, to: &str) {
        let Some(value) = self.take(from) else { return };
        self.set(to, value);
        let (from, to) = (format!("/{}", escape(from)), format!("/{}", escape(to)));
        moved(&mut self.params.params.places, &from, &to);
        moved(&mut self.params.params.written, &from, &to);
        moved(&mut self.params.keys, &from, &to);
        moved(&mut self.params.booleans, &from, &to);
    }

    /// One name where a list is wanted.
    fn as_list(&mut self, key: &str) {
        let Some(Json::String(one)) = self.get(key) else {
            return;
        };
        let list = json!([one]);
        self.set(key, list);
        let (from, to) = (format!("/{}", escape(key)), format!("/{}/0", escape(key)));
        if let Some(span) = self.params.params.places.get(&from).copied() {
            self.params.params.places.insert(to.clone(), span);
        }
        moved(&mut self.params.params.written, &from, &to);
    }

    /// A param that changes nothing with one of these values is taken out; with another it is refused.
    fn accept(&mut self, key: &str, values: &[Json], hint: &str) {
        match self.take(key) {
            None => {}
            Some(value) if values.contains(&value) => {}
            Some(_) => {
                let shown: Vec<String> = values.iter().map(|v| quoted(&v.to_string())).collect();
                self.refuse(key, format!("takes only {}", shown.join(" or ")), hint);
            }
        }
    }

    /// Refuses what is neither of these nor was taken out.
    fn only(&mut self, meant: &str, keys: &[&str]) {
        let Json::Object(object) = &self.params.params.value else {
            return;
        };
        let others: Vec<String> = object
            .keys()
            .filter(|key| !keys.contains(&key.as_str()))
            .cloned()
            .collect();
        for key in others {
            let listed: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
            let span = self.place(&key);
            let message = format!("operation {} has no param {}", self.of, quoted(&key));
            let made = Diagnostic::error(&codes::UNKNOWN_PARAM, span, message);
            self.context.report(made.hint(format!(
                "use one of: {}; it stands for the operation {}",
                listed.join(", "),
                quoted(meant)
            )));
            self.good = false;
        }
    }

    fn place(&self, key: &str) -> Span {
        let at = format!("/{}", escape(key));
        let places = &self.params.params.places;
        let key = self.params.keys.get(&at);
        key.or_else(|| places.get(&at))
            .copied()
            .unwrap_or(self.span)
    }

    fn refuse(&mut self, key: &str, what: String, hint: &str) {
        let at = format!("/{}", escape(key));
        let span = self.params.params.places.get(&at).copied();
        let message = format!("param {} of {} {what}", quoted(key), self.of);
        let made = Diagnostic::error(&codes::BAD_PARAM, span.unwrap_or(self.span), message);
        self.context.report(made.hint(hint));
        self.good = false;
    }
}

fn text(value: &Json) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn moved<T>(map: &mut BTreeMap<String, T>, from: &str, to: &str) {
    let below = format!("{from}/");
    let keys: Vec<String> = map
        .keys()
        .filter(|key| *key == from || key.starts_with(&below))
        .cloned()
        .collect();
    for key in keys {
        if let Some(value) = map.remove(&key) {
            map.insert(format!("{to}{}", &key[from.len()..]), value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::config::load;
    use crate::diagnostic::{Sources, within};

    /// The step as it is written, and the operation with its params that comes of it.
    #[track_caller]
    fn check(step: &str, expect: &str, params: &Json) {
        let text = format!(
            "project: x\nconnections: {{c: {{type: local}}}}\npipelines:\n  - pipeline: p\n    nodes:\n\
             \x20     - {{name: n, read: {{connection: c, format: csv, path: a}}, transform: {{steps: [{step}]}}}}\n"
        );
        let mut sources = Sources::default();
        let (project, faults) = load("x.yaml", &text, &|_| None, &mut sources);
        assert_eq!(faults, Vec::new(), "{step}");
        let made = &project.pipelines[0].nodes[0].steps[0];
        let value = &made.params.params.value;
        assert_eq!((made.operation.value.as_str(), value), (expect, params));
        // Every place of a text still shows that text.
        for (at, span) in &made.params.params.places {
            if let Some(text) = value
                .pointer(at)
                .and_then(Json::as_str)
                .filter(|_| expect != "sort")
            {
                assert_eq!(within(&sources, *span, text, 0..text.len()), *span, "{at}");
                assert_eq!(
                    &sources.text(span.file)[span.start as usize..span.end as usize],
                    text
                );
            }
        }
    }

    #[test]
    fn pandas_becomes_odibi() {
        check(
            "{operation: drop, params: {columns: [a, b]}}",
            "drop_columns",
            &json!({"columns": ["a", "b"]}),
        );
        check(
            "{operation: drop, params: {labels: a, axis: 1}}",
            "drop_columns",
            &json!({"columns": ["a"]}),
        );
        check(
            "{operation: rename, params: {columns: {a: b}}}",
            "rename_columns",
            &json!({"mapping": {"a": "b"}}),
        );
        check(
            "{operation: fillna, params: {value: {a: x, b: 0}}}",
            "fill_nulls",
            &json!({"values": {"a": "x", "b": 0}}),
        );
        check("{operation: drop_duplicates}", "distinct", &json!({}));
        check(
            "{operation: drop_duplicates, params: {subset: a, keep: first}}",
            "deduplicate",
            &json!({"keys": ["a"]}),
        );
        check(
            "{operation: sample, params: {frac: 0.1, random_state: 7}}",
            "sample",
            &json!({"fraction": 0.1, "seed": 7}),
        );
    }

    #[test]
    fn directions_of_a_sort_go_to_their_columns() {
        check(
            "{operation: sort, params: {by: a, ascending: false}}",
            "sort",
            &json!({"by": "a", "ascending": false}),
        );
        check(
            "{operation: sort, params: {by: [a, 'b \"c'], ascending: [true, false]}}",
            "sort",
            &json!({"by": ["\"a\" ASC", "\"b \"\"c\" DESC"]}),
        );
        check(
            "{operation: sort, params: {by: a, ascending: false, na_position: first}}",
            "sort",
            &json!({"by": ["\"a\" DESC NULLS FIRST"]}),
        );
        check(
            "{operation: sort, params: {by: a, na_position: last}}",
            "sort",
            &json!({"by": "a"}),
        );
    }

    #[test]
    fn odibis_own_spelling_and_other_keys_stay() {
        check(
            "{operation: rename, params: {mapping: {a: b}}}",
            "rename_columns",
            &json!({"mapping": {"a": "b"}}),
        );
        check(
            "{operation: sample, params: {fraction: 0.1}}",
            "sample",
            &json!({"fraction": 0.1}),
        );
        check(
            "{function: drop, params: {labels: a}}",
            "drop",
            &json!({"labels": "a"}),
        );
    }
}
