//! Reads and writes in the schema: what `options` takes follows from `format`.

use serde_json::{Map, Value, json};

use super::kind::{
    about, add, any_case, any_of, closed, defaulting, described, ignored, integer, later, named,
    needs, or_pattern, spellings, takes, to, words,
};
use crate::config::format::reading::{self, LINES_LEFT_OUT_MAX};
use crate::config::format::writing::{self, ROW_GROUP_ROWS_MAX};
use crate::config::format::{ORIENTS, ReadWord, WriteWord, policy, text, types};
use crate::config::write::mode;
use crate::config::{delta, quarantine, read, reader, write};

/// Formats with the same options: the name of the definition, and the words.
type Group = (&'static str, Vec<&'static str>);

/// Definitions, by name.
pub(super) fn definitions() -> Vec<(String, Value)> {
    let reads = [
        ("csv_read_options", csv_read()),
        ("json_read_options", json_read()),
        ("read_options", closed(of_every_read())),
        ("delta_read_options", delta_read()),
    ];
    let writes = [
        ("csv_write_options", csv_write()),
        ("json_write_options", json_write()),
        ("parquet_write_options", parquet_write()),
        ("arrow_write_options", arrow_write()),
        ("delta_write_options", delta_write()),
    ];
    let any = |options: &[(&str, Value)]| {
        let all: Vec<&Value> = options.iter().map(|(_, value)| value).collect();
        any_of(&all)
    };
    let others = [
        ("read", of_read()),
        (
            "whole_read",
            needs(to("read"), &["connection", "format", "path"]),
        ),
        ("any_read_options", any(&reads)),
        ("time_travel", time_travel()),
        ("column_type", column_type()),
        ("write", of_write()),
        ("whole_write", whole_write()),
        ("any_write_options", any(&writes)),
        ("schema_policy", schema_policy()),
        ("quarantine", of_quarantine()),
        (
            "whole_quarantine",
            needs(to("quarantine"), &["connection", "path"]),
        ),
    ];
    let all = others.into_iter().chain(reads).chain(writes);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn read_formats() -> Vec<Group> {
    let options = |word: ReadWord| match word {
        ReadWord::Csv => "csv_read_options",
        ReadWord::Json | ReadWord::JsonLines => "json_read_options",
        ReadWord::Parquet | ReadWord::Arrow | ReadWord::Avro => "read_options",
        ReadWord::Delta => "delta_read_options",
    };
    grouped(
        ReadWord::WORDS
            .iter()
            .map(|(word, format)| (*word, options(*format))),
    )
}

fn write_formats(words: &[&'static str]) -> Vec<Group> {
    let options = |word: &str| {
        let known = WriteWord::WORDS.iter().find(|(known, _)| *known == word);
        match known.map(|(_, format)| *format) {
            Some(WriteWord::Csv) => "csv_write_options",
            Some(WriteWord::Json | WriteWord::JsonLines) => "json_write_options",
            Some(WriteWord::Parquet) => "parquet_write_options",
            Some(WriteWord::Arrow) => "arrow_write_options",
            Some(WriteWord::Delta) | None => "delta_write_options",
        }
    };
    grouped(words.iter().copied().map(|word| (word, options(word))))
}

fn grouped(formats: impl Iterator<Item = (&'static str, &'static str)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (word, options) in formats {
        match groups.iter_mut().find(|(known, _)| *known == options) {
            Some((_, words)) => words.push(word),
            None => groups.push((options, vec![word])),
        }
    }
    groups
}

/// For each group of formats its options; for a format that is not known, or is a reference, those of any. `default` is
/// the format of who names none.
fn by_format(formats: &[Group], any: &str, default: Option<&str>) -> Vec<Value> {
    let is = |words: &[&str]| {
        let is = json!({ "properties": { "format": { "enum": words } } });
        match default {
            Some(default) if words.contains(&default) => is,
            Some(_) | None => needs(is, &["format"]),
        }
    };
    let of = |options: &str| json!({ "properties": { "options": to(options) } });
    let known: Vec<&str> = formats
        .iter()
        .flat_map(|(_, words)| words.iter().copied())
        .collect();
    let each = formats
        .iter()
        .map(|(options, words)| json!({ "if": is(words), "then": of(options) }));
    let otherwise = json!({ "if": is(&known), "else": of(any) });
    each.chain([otherwise]).collect()
}

fn of_read() -> Value {
    let formats = read_formats();
    let mut properties = json!({
        "connection": described("text", "name of a connection"),
        "format": words(&reader::words(ReadWord::WORDS)),
        "path": described("text", "below the root of the connection; may hold `*`, `?` and `**`"),
        "options": {},
        "schema_policy": described("schema_policy", "what becomes of files that differ"),
        "sensitive": described("sensitive", "columns whose values no report shows"),
        "time_travel": described("time_travel", "which version of a Delta table"),
    });
    later(&mut properties, read::SOURCES_LATER);
    later(&mut properties, read::LATER);
    let mut made = closed(properties);
    let mut conditions = by_format(&formats, "any_read_options", None);
    for ((options, _), condition) in formats.iter().zip(&mut conditions) {
        let other = if *options == "delta_read_options" {
            "schema_policy"
        } else {
            "time_travel"
        };
        condition["then"]["properties"][other] = to("later");
    }
    made["allOf"] = conditions.into();
    made
}

fn time_travel() -> Value {
    closed(json!({
        "as_of_version": version(),
        "as_of_timestamp": to("text"),
    }))
}

fn version() -> Value {
    let pattern = or_pattern("[0-9]+");
    let made = json!({ "type": ["integer", "string"], "minimum": 0, "pattern": pattern });
    takes(made, "a version, such as 12")
}

/// Types of columns.
fn column_type() -> Value {
    let (all, listed) = types::type_words();
    let mut patterns: Vec<String> = all.iter().map(|word| any_case(word)).collect();
    patterns.push(any_case("decimal") + r"\(.*\)");
    spellings(&all[..listed], &patterns)
}

/// Options of reads that do not depend on the format.
fn of_every_read() -> Value {
    let types = about(named(to("column_type")), "types of columns, by name");
    json!({
        "hive_partitioning": described("boolean", "directories such as `day=1` are columns"),
        "schema": types,
        "dtype": types,
    })
}

fn of_text(properties: &mut Value) {
    let (all, listed) = text::encodings();
    let patterns: Vec<String> = all
        .iter()
        .map(|word| any_case(word).replace(['-', '_'], "[-_]"))
        .collect();
    let encoding = spellings(&all[..listed], &patterns);
    add(properties, &["encoding"], &defaulting(encoding, "utf-8"));
    add(properties, &["compression"], &text_compression());
}

fn text_compression() -> Value {
    defaulting(words(&reader::words(text::COMPRESSIONS)), "infer")
}

/// One character.
fn character() -> Value {
    let made = json!({ "type": ["string", "number"], "pattern": r"^(\\t|.)$|\$\{" });
    takes(made, "one character")
}

/// Texts, of which every scalar counts as it is written.
fn scalars() -> Value {
    json!({
        "type": ["array", "string", "number", "boolean"],
        "items": { "type": ["string", "number", "boolean", "null"] },
    })
}

fn csv_read() -> Value {
    let mut properties = json!({ "header": defaulting(to("boolean"), true) });
    let mut put = |keys: &[&str], value: Value| add(&mut properties, keys, &value);
    put(&["names"], described("texts", "names of the columns"));
    put(&["delimiter", "sep"], defaulting(character(), ","));
    put(&["quote", "quotechar"], defaulting(character(), "\""));
    put(&["escape", "escapechar", "comment"], character());
    put(&["skip_rows", "skiprows"], integer(0..=LINES_LEFT_OUT_MAX));
    put(&["null_values", "na_values"], scalars());
    put(&["infer_rows"], integer(1..=usize::MAX));
    put(
        &["on_bad_row"],
        defaulting(words(&reader::words(reading::ON_BAD_ROW)), "fail"),
    );
    put(
        &["on_bad_lines"],
        words(&reader::words(reading::ON_BAD_LINES)),
    );
    of_text(&mut properties);
    later(&mut properties, reading::CSV_LATER);
    closed(joined(properties, of_every_read()))
}

fn json_read() -> Value {
    let mut properties = json!({
        "lines": described("boolean", "an object on each line, or one list"),
        "orient": words(&reader::words(ORIENTS)),
    });
    of_text(&mut properties);
    later(&mut properties, reading::JSON_LATER);
    closed(joined(properties, of_every_read()))
}

/// The keys of two mappings; those of the second win.
fn joined(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

fn delta_read() -> Value {
    let time = to("text");
    closed(json!({
        "version_as_of": version(),
        "versionAsOf": version(),
        "timestamp_as_of": time,
        "timestampAsOf": time,
    }))
}

fn of_write() -> Value {
    let mut properties = json!({
        "connection": described("text", "name of a connection"),
        "format": words(&write::formats()),
        "path": described("text", "below the root of the connection; one that ends in `/` is a directory"),
        "mode": defaulting(about(words(&mode::modes()), "what becomes of that which is there"), "overwrite"),
        "layout": words(&reader::words(mode::LAYOUTS)),
        "partition_by": described("texts", "columns whose values become directories"),
        "keys": described("texts", "columns that tell rows apart"),
        "null_keys": defaulting(words(&mode::null_key_words()), "error"),
        "duplicate_keys": defaulting(words(&mode::duplicate_key_words()), "error"),
        "order_by": described("text", "column that says which of several rows is the first or last"),
        "options": {},
        "schema_policy": described("schema_policy", "what becomes of columns that differ from the target's"),
        "merge_schema": defaulting(described("boolean", "new columns are added"), false),
        "overwrite_schema": defaulting(described("boolean", "the columns of the target are replaced"), false),
    });
    ignored(&mut properties, write::IGNORED);
    later(&mut properties, write::TARGETS_LATER);
    later(&mut properties, write::LATER);
    let mut made = closed(properties);
    made["allOf"] = by_format(&write_formats(&write::formats()), "any_write_options", None).into();
    made
}

fn whole_write() -> Value {
    let below =
        json!({ "properties": { "options": { "required": ["keys"] } }, "required": ["options"] });
    let mut made = needs(to("write"), &["connection", "format", "path"]);
    made["if"] = json!({ "properties": { "mode": { "const": "upsert" } }, "required": ["mode"] });
    made["then"] = json!({ "anyOf": [{ "required": ["keys"] }, below] });
    made
}

/// Options of every format of files.
fn of_every_write(mut properties: Value) -> Value {
    later(&mut properties, writing::LATER);
    add(&mut properties, &["keys"], &to("texts"));
    closed(properties)
}

fn csv_write() -> Value {
    let mut properties = Value::Object(Map::new());
    later(&mut properties, writing::CSV_LATER);
    let mut put = |keys: &[&str], value: Value| add(&mut properties, keys, &value);
    put(&["header"], defaulting(to("boolean"), true));
    put(&["delimiter", "sep"], defaulting(character(), ","));
    put(&["quote", "quotechar"], defaulting(character(), "\""));
    put(
        &["quoting"],
        defaulting(words(&writing::quotings()), "minimal"),
    );
    put(
        &["null_value", "na_rep"],
        described("text", "what stands for null"),
    );
    put(
        &["encoding"],
        defaulting(words(&reader::words(writing::ENCODINGS)), "utf-8"),
    );
    put(
        &["date_format"],
        described("text", "`strftime`, such as `%d.%m.%Y`"),
    );
    put(&["compression"], text_compression());
    of_every_write(properties)
}

fn json_write() -> Value {
    let mut properties = json!({
        "lines": defaulting(described("boolean", "an object on each line, or one list"), true),
        "orient": words(&reader::words(ORIENTS)),
        "compression": text_compression(),
    });
    later(&mut properties, writing::JSON_LATER);
    of_every_write(properties)
}

fn parquet_write() -> Value {
    of_every_write(json!({
        "compression": defaulting(words(&reader::words(writing::PARQUET_COMPRESSIONS)), "snappy"),
        "row_group_rows": integer(1..=ROW_GROUP_ROWS_MAX),
        "statistics": to("boolean"),
    }))
}

fn arrow_write() -> Value {
    of_every_write(json!({
        "stream": defaulting(to("boolean"), false),
        "compression": defaulting(words(&reader::words(writing::ARROW_COMPRESSIONS)), "none"),
    }))
}

fn delta_write() -> Value {
    let mut properties = json!({ "keys": to("texts") });
    later(&mut properties, delta::WRITE_LATER);
    closed(properties)
}

fn schema_policy() -> Value {
    closed(json!({
        "mode": defaulting(words(&policy::modes()), "enforce"),
        "on_new_columns": words(&reader::words(policy::ON_NEW_COLUMNS)),
        "on_missing_columns": defaulting(words(&reader::words(policy::ON_MISSING_COLUMNS)), "fill_null"),
    }))
}

fn of_quarantine() -> Value {
    let mut columns = Value::Object(Map::new());
    add(&mut columns, quarantine::COLUMNS_ADDED, &to("boolean"));
    ignored(&mut columns, quarantine::COLUMNS_IGNORED);
    later(&mut columns, quarantine::COLUMNS_LATER);
    let formats = reader::words(WriteWord::WORDS);
    let mut properties = json!({
        "connection": described("text", "name of a connection"),
        "path": described("text", "a directory below its root"),
        "format": defaulting(words(&formats), "parquet"),
        "options": {},
        "add_columns": closed(columns),
    });
    ignored(&mut properties, quarantine::IGNORED);
    later(&mut properties, write::TARGETS_LATER);
    later(&mut properties, quarantine::LATER);
    let mut made = closed(properties);
    let conditions = by_format(
        &write_formats(&formats),
        "any_write_options",
        Some("parquet"),
    );
    made["allOf"] = conditions.into();
    made
}
