//! The JSON Schema of a project file, for editors. It says what keys there are and what they take; what it cannot say,
//! `odibi validate` does. Words come from the tables of the readers, and tests hold the keys equal to those that they ask for.
//!
//! A definition such as `read` has all keys and demands none, as recipes and environments have it; `whole_read` also says
//! which must be there.

mod connection;
mod kind;
mod table;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use self::kind::{
    about, add, any_case, boolean, closed, defaulting, described, ignored, ignored_value, integer,
    later, later_value, list, named, needs, open, or_pattern, plain, reference, sensitive,
    spellings, takes, to, with, words,
};
use super::assemble::{ENVIRONMENT_KEYS, RECIPE_KEYS};
use super::{
    LOG_LEVELS, ON_ERRORS, alerts, attempts, node, pipeline, plugins, privacy, project, quarantine,
    reader, story, system,
};
use crate::guest_limits::{GuestLimit, Spec, Unit};
use crate::limits::{ALERTS_PER_HOUR_MAX, ATTEMPTS_MAX, SAMPLE_ROWS_MAX, THROTTLE_MINUTES_MAX};
use crate::plan::AlertEvent;

/// Version of JSON Schema that it is written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema, as `odibi schema` prints it.
#[must_use]
pub fn schema() -> Value {
    let project = of_project();
    let mut definitions = json!({
        "reference": about(reference(), "a text with `${…}` in it"),
        "text": { "type": ["string", "number"] },
        "texts": list(to("text")),
        "boolean": boolean(),
        "time": time(),
        "ignored": ignored_value(),
        "later": later_value(),
        "headers": named(to("text")),
        "on_error": defaulting(words(&reader::words(ON_ERRORS)), "fail_later"),
        "retry": retry(),
        "limits": limits(),
        "plugin": plugin(),
        "story": of_story(),
        "system": of_system(),
        "logging": logging(),
        "alert": alert(),
        "lineage": lineage(),
        "telemetry": telemetry(),
        "environment": environment(&project),
        "recipe": recipe(),
        "pipeline": of_pipeline(),
        "node": of_node(false),
        "full_node": of_node(true),
        "whole_node": {
            "required": ["name"],
            "if": { "required": ["recipe"] },
            "then": to("node"),
            "else": to("full_node"),
        },
        "step": step(),
        "sensitive": sensitive(),
        "column": column(),
        "privacy": of_privacy(),
    });
    let others = connection::definitions().into_iter();
    if let Value::Object(map) = &mut definitions {
        map.extend(others.chain(table::definitions()));
    }
    json!({
        "$schema": DIALECT,
        "title": "odibi project",
        "type": "object",
        "properties": project,
        "additionalProperties": false,
        "anyOf": [{ "required": ["project", "connections", "pipelines"] }, { "required": ["imports"] }],
        "$defs": definitions,
    })
}

/// `500ms`, `30s`, `5m`, `2h`, `1d`, or a number of seconds.
fn time() -> Value {
    let units = reader::words(attempts::TIME_UNITS).join("|");
    let pattern = or_pattern(&format!(r"\d+\s*({units})"));
    let made = json!({ "type": ["string", "number"], "minimum": 0, "pattern": pattern });
    let forms = "`500ms`, `30s`, `5m`, `2h`, `1d`, or a number of seconds";
    about(takes(made, forms), forms)
}

fn attempted(properties: &mut Value) {
    add(
        properties,
        &["retry"],
        &described("retry", "what is tried again, and when"),
    );
    add(
        properties,
        &["timeout"],
        &described("time", "time of one attempt"),
    );
    add(
        properties,
        &["on_error"],
        &described("on_error", "what a failure means for the run"),
    );
}

fn limited(properties: &mut Value) {
    add(
        properties,
        &["limits"],
        &described("limits", "what plugins may use"),
    );
}

fn of_project() -> Value {
    let files = json!({ "type": ["string", "array"], "items": { "type": "string" } });
    let environments =
        json!({ "type": "object", "additionalProperties": or_null(&to("environment")) });
    let recipes = json!({ "type": "object", "additionalProperties": to("recipe") });
    let mut properties = json!({
        "project": described("text", "name of the project"),
        "description": to("text"),
        "version": to("text"),
        "owner": to("text"),
        "imports": about(files, "files that are laid over this one"),
        "vars": { "type": "object", "description": "values for `${vars.name}`" },
        "environments": about(environments, "by name, what is different there"),
        "recipes": about(recipes, "nodes with gaps, by name"),
        "connections": named(to("whole_connection")),
        "plugins": named(needs(to("plugin"), &["path"])),
        "pipelines": list(to("pipeline")),
        "story": needs(described("story", "where stories go"), &["connection"]),
        "system": needs(described("system", "where state is kept"), &["connection"]),
        "alerts": about(list(to("alert")), "who is told when a run begins and ends"),
        "lineage": to("lineage"),
        "telemetry": to("telemetry"),
        "logging": to("logging"),
    });
    attempted(&mut properties);
    limited(&mut properties);
    ignored(&mut properties, project::ENGINE_IGNORED);
    ignored(&mut properties, project::TUNING_IGNORED);
    later(&mut properties, project::LATER);
    properties
}

fn or_null(value: &Value) -> Value {
    json!({ "anyOf": [{ "type": "null" }, value] })
}

/// What an environment may change; of mappings a part.
fn environment(project: &Value) -> Value {
    let own = |key: &str| match key {
        "connections" => named(to("connection")),
        "story" => to("story"),
        "system" => to("system"),
        key => project.get(key).cloned().unwrap_or_default(),
    };
    let keys = ENVIRONMENT_KEYS
        .iter()
        .map(|key| ((*key).to_owned(), own(key)));
    plain(Value::Object(keys.collect()))
}

fn recipe() -> Value {
    let own = |key: &str| match key {
        "template" => described("node", "keys of a node; `${recipe.name}` is put in"),
        "required_vars" => json!({ "type": "array", "items": to("text") }),
        "optional_vars" => json!({ "type": "object", "description": "with their defaults" }),
        _ => to("text"),
    };
    let keys = RECIPE_KEYS.iter().map(|key| ((*key).to_owned(), own(key)));
    plain(Value::Object(keys.collect()))
}

fn of_pipeline() -> Value {
    let mut properties = json!({
        "pipeline": described("text", "name of the pipeline"),
        "name": described("text", "another word for `pipeline`"),
        "description": to("text"),
        "layer": to("text"),
        "owner": to("text"),
        "tags": to("texts"),
        "nodes": list(to("whole_node")),
        "alerts": about(list(to("alert")), "who is told of this pipeline"),
    });
    attempted(&mut properties);
    ignored(&mut properties, pipeline::IGNORED);
    later(&mut properties, pipeline::LATER);
    let mut made = needs(closed(properties), &["nodes"]);
    made["anyOf"] = json!([{ "required": ["pipeline"] }, { "required": ["name"] }]);
    made
}

/// Keys of a node; `whole` ones also say what must be there, which a recipe may say instead.
fn of_node(whole: bool) -> Value {
    let or_whole = |name: &str| match whole {
        true => to(&format!("whole_{name}")),
        false => to(name),
    };
    let node = json!({ "type": "string", "description": "a node, or `$pipeline.node`" });
    let input = json!({ "anyOf": [node, or_whole("read")] });
    let pattern = closed(json!({ "type": to("text"), "params": open() }));
    let mut transform = closed(json!({ "steps": list(to("step")) }));
    let mut privacy = to("privacy");
    if whole {
        transform = needs(transform, &["steps"]);
        privacy["anyOf"] = json!([{ "required": ["method"] }, { "required": ["declassify"] }]);
    }
    let mut properties = json!({
        "name": described("text", "unique in its pipeline"),
        "description": to("text"),
        "tags": to("texts"),
        "enabled": defaulting(to("boolean"), true),
        "depends_on": described("texts", "nodes of the same pipeline, or `$pipeline.node`"),
        "read": or_whole("read"),
        "inputs": about(named(input), "tables by name; `df` is the main one"),
        "transformer": described("text", "an operation, before the steps of `transform`"),
        "params": about(open(), "of the `transformer`"),
        "pattern": needs(pattern, &["type"]),
        "recipe": to("text"),
        "recipe_vars": open(),
        "transform": transform,
        "write": or_whole("write"),
        "on_row_error": words(&quarantine::on_row_error_words()),
        "quarantine": about(or_whole("quarantine"), "where rejected rows go"),
        "schema_policy": described("schema_policy", "that of the write, where it has none"),
        "sensitive": described("sensitive", "columns whose values no report shows"),
        "columns": named(to("column")),
        "privacy": privacy,
    });
    attempted(&mut properties);
    limited(&mut properties);
    ignored(&mut properties, node::TUNING_IGNORED);
    ignored(&mut properties, node::WORDS_IGNORED);
    later(&mut properties, node::LATER);
    closed(properties)
}

fn step() -> Value {
    let one = ["operation", "function", "sql", "sql_file"].map(|key| json!({ "required": [key] }));
    let step = closed(json!({
        "operation": described("text", "one of `odibi list operations`, or `plugin/operation`"),
        "function": described("text", "another word for `operation`"),
        "sql": described("text", "a query; `df` is the main input"),
        "sql_file": described("text", "a file with a query, relative to this one"),
        "params": open(),
    }));
    // The name of an operation alone is no query.
    let query = json!({ "type": "string", "pattern": "[^A-Za-z0-9_]", "description": "SQL" });
    json!({ "anyOf": [query, with(step, json!({ "oneOf": one }))] })
}

fn column() -> Value {
    let pii = described(
        "boolean",
        "personal: as `sensitive`, and changed by `privacy`",
    );
    let mut properties = json!({ "pii": pii });
    ignored(&mut properties, privacy::COLUMN_IGNORED);
    or_null(&closed(properties))
}

fn of_privacy() -> Value {
    let method = words(&privacy::methods());
    closed(json!({
        "method": about(method, "what becomes of values of personal columns"),
        "salt": described("text", "what `hash` puts behind each value; keep it secret"),
        "declassify": described("texts", "columns of the result that may be seen"),
    }))
}

fn plugin() -> Value {
    closed(json!({
        "path": described("text", "a component, relative to the project file"),
        "grants": list(words(&plugins::grantable())),
        "limits": to("limits"),
    }))
}

fn of_story() -> Value {
    let switches = |keys: &[&str]| {
        let mut switches = Value::Object(Map::new());
        add(&mut switches, keys, &defaulting(to("boolean"), true));
        closed(switches)
    };
    let docs = closed(json!({
        "enabled": defaulting(to("boolean"), false),
        "output_path": defaulting(to("text"), "docs/generated"),
        "outputs": switches(&story::OUTPUTS),
        "include": switches(&story::INCLUDE),
    }));
    let mut properties = json!({
        "connection": described("text", "name of a connection"),
        "path": defaulting(described("text", "directory below its root"), "stories"),
        "max_sample_rows": defaulting(integer(0..=SAMPLE_ROWS_MAX), 10),
        "retention_days": integer(1..=story::RETENTION_DAYS_MAX),
        "retention_count": integer(1..=story::RETENTION_COUNT_MAX),
        "auto_generate": defaulting(described("boolean", "`false`: no stories"), true),
        "record_user": defaulting(described("boolean", "who started a run is told"), false),
        "docs": about(docs, "documents beside the stories"),
    });
    ignored(&mut properties, story::IGNORED);
    later(&mut properties, story::LATER);
    closed(properties)
}

fn of_system() -> Value {
    let mut properties = json!({
        "connection": described("text", "name of a connection to a directory or an object store"),
        "path": defaulting(described("text", "directory below its root"), "_odibi_system"),
    });
    ignored(&mut properties, system::IGNORED);
    later(&mut properties, system::LATER);
    closed(properties)
}

fn logging() -> Value {
    let all = reader::words(LOG_LEVELS);
    let offered: Vec<String> = all.iter().map(|word| word.to_uppercase()).collect();
    let offered: Vec<&str> = offered.iter().map(String::as_str).collect();
    let patterns: Vec<String> = all.iter().map(|word| any_case(word)).collect();
    closed(json!({
        "level": defaulting(spellings(&offered, &patterns), "INFO"),
        "structured": described("boolean", "JSON lines on stderr and nothing else"),
        "metadata": about(named(to("text")), "stands in every structured line"),
    }))
}

fn alert() -> Value {
    let events = AlertEvent::ALL.map(AlertEvent::word);
    let mention = json!({ "type": ["string", "number", "array"], "items": to("text"), "description": "whom to call" });
    let metadata = json!({
        "throttle_minutes": defaulting(integer(0..=THROTTLE_MINUTES_MAX), 15),
        "max_per_hour": defaulting(integer(1..=ALERTS_PER_HOUR_MAX), 10),
        "channel": described("text", "channel of Slack"),
        "mention": mention,
        "mention_on_failure": mention,
    });
    let metadata = with(named(to("text")), json!({ "properties": metadata }));
    let made = closed(json!({
        "name": described("text", "unique in the project"),
        "type": words(&reader::words(alerts::KINDS)),
        "url": described("text", "a secret: take it from a variable or vault"),
        "on_events": defaulting(list(words(&events)), json!(["on_failure"])),
        "metadata": about(metadata, "other keys are sent along"),
        "timeout": described("time", "time of one try"),
        "secret": described("text", "key of the signature; webhooks only"),
        "headers": described("headers", "webhooks only"),
        "allow_http": to("boolean"),
    }));
    needs(made, &["type", "url"])
}

fn lineage() -> Value {
    closed(json!({
        "url": described("text", "of a server that takes OpenLineage events"),
        "file": described("text", "that events are added to, one a line; relative to the project file"),
        "endpoint": defaulting(described("text", "path of events below the URL"), "api/v1/lineage"),
        "namespace": described("text", "namespace of jobs; the project's name without it"),
        "api_key": described("text", "sent as a bearer token"),
        "timeout": described("time", "time of one try"),
        "allow_http": to("boolean"),
    }))
}

fn telemetry() -> Value {
    closed(json!({
        "endpoint": described("text", "of a collector, OTLP over HTTP"),
        "service_name": to("text"),
        "headers": to("headers"),
        "timeout": described("time", "time that sending may take"),
        "allow_http": to("boolean"),
    }))
}

fn retry() -> Value {
    let most = usize::try_from(ATTEMPTS_MAX).unwrap_or(usize::MAX);
    let backoff = words(&reader::words(attempts::BACKOFFS));
    closed(json!({
        "enabled": defaulting(to("boolean"), true),
        "max_attempts": defaulting(about(integer(1..=most), "the first one included"), 3),
        "backoff": defaulting(about(backoff, "how pauses grow"), "exponential"),
        "delay": described("time", "the first pause"),
        "max_delay": described("time", "no pause is longer"),
        "jitter": defaulting(described("boolean", "pauses are shortened by up to a half"), true),
        "deadline": described("time", "no attempt starts later than this after the first one"),
    }))
}

fn limits() -> Value {
    let one = |limit: &GuestLimit| {
        let spec = limit.spec();
        let written = spec.unit.written(spec.default);
        let value = about(defaulting(quantity(&spec), written), spec.doc);
        (spec.key.to_owned(), value)
    };
    let properties: Map<String, Value> = GuestLimit::ALL.iter().map(one).collect();
    closed(Value::Object(properties))
}

/// What a limit may be set to.
fn quantity(spec: &Spec) -> Value {
    let units: Vec<String> = spec
        .unit
        .suffixes()
        .map(|unit| match spec.unit {
            Unit::Bytes => any_case(unit),
            Unit::Milliseconds | Unit::Count => unit.to_owned(),
        })
        .collect();
    let units = units.join("|");
    let (kinds, pattern) = match spec.unit {
        Unit::Count => (json!(["integer", "string"]), r"\d+".to_owned()),
        Unit::Bytes => (json!(["string", "integer"]), format!(r"\d+\s*({units})?")),
        // A number alone lacks its unit.
        Unit::Milliseconds => (json!("string"), format!(r"\d+\s*({units})")),
    };
    let made = json!({
        "type": kinds,
        "minimum": spec.range.start(),
        "maximum": spec.range.end(),
        "pattern": or_pattern(&pattern),
    });
    let example = spec.unit.written(spec.default);
    takes(made, &format!("{}, such as {example}", spec.unit.noun()))
}
