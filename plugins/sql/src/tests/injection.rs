//! Text that would like to be SQL, as names, values, keys and aliases: a result is what it would be with harmless text.
#![allow(clippy::too_many_lines, reason = "lists of cases")]

use std::panic::AssertUnwindSafe;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use odibi_sdk::harness;
use odibi_sdk::prelude::*;

use crate::thin::Thin as _;

/// Beginnings, middles and ends of attacks.
const OPENINGS: [&str; 20] = [
    "'", "\"", "`", "''", "\"\"", "\\'", "\\\"", "')", "\")", "'))", "x", "", "1", "$$", "$a$",
    "E'", "U&'", "\u{2019}", "\u{201d}", "\u{ff07}",
];
const MIDDLES: [&str; 10] = [
    "; DROP TABLE df; ",
    " OR 1=1 ",
    " UNION SELECT * FROM df ",
    ", (SELECT max(id) FROM df) ",
    " FROM df WHERE false ",
    " AS \"id\", \"id\" ",
    "/* */",
    "\n",
    "\\n\\0",
    "*/ /*",
];
const ENDINGS: [&str; 3] = ["--", "/*", "'\""];
/// Attacks of other shapes.
const MORE: [&str; 24] = [
    "\0",
    "a\0b",
    "\u{202e}txt",
    "\u{feff}",
    "\r\n",
    "\t",
    " ",
    "  a  ",
    ".",
    "df.id",
    "df.\"id\"",
    "\"df\".\"id\"",
    "@x",
    "@@version",
    "*",
    "$1",
    "?",
    ":name",
    "select",
    "NULL",
    "id -- x",
    "a;b",
    "🎉'; --",
    "{{id}} ${ID} %s",
];

fn payloads() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for (o, opening) in OPENINGS.iter().enumerate() {
        for (m, middle) in MIDDLES.iter().enumerate() {
            // Every pair, with two of the three endings.
            for ending in [ENDINGS[(o + m) % 3], ENDINGS[(o + m + 1) % 3]] {
                all.push(format!("{opening}{middle}{ending}"));
            }
        }
    }
    all.extend(MORE.iter().map(|&m| m.to_owned()));
    all
}

/// What stands for the payload in a case, and for a harmless text in what it is compared with.
const MARK: &str = "@@@";
const HARMLESS: &str = "harmless";

/// The params with the mark replaced, in keys and values.
fn filled(value: &Value, with: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(MARK, with)),
        Value::Array(items) => items.iter().map(|v| filled(v, with)).collect(),
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .map(|(k, v)| (k.replace(MARK, with), filled(v, with)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// Names and text values with the mark replaced.
fn filled_table(table: &RecordBatch, with: &str) -> RecordBatch {
    let schema = table.schema();
    let columns = schema
        .fields()
        .iter()
        .zip(table.columns())
        .map(|(field, column)| {
            let column = match column.as_string_opt::<i32>() {
                Some(texts) => {
                    let texts = texts.iter().map(|t| t.map(|t| t.replace(MARK, with)));
                    Arc::new(texts.collect::<StringArray>()) as ArrayRef
                }
                None => Arc::clone(column),
            };
            (field.name().replace(MARK, with), column, true)
        });
    RecordBatch::try_from_iter_with_nullable(columns.collect::<Vec<_>>()).unwrap()
}

/// Operation, params, tables. The mark stands where the payload goes.
fn cases() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let t = "id,@@@,day,at,v\n1,@@@,2026-01-02,2026-01-02T03:04:05,2\n2,b@@@b,2026-01-03,2026-01-03T03:04:05,3\n3,,,,\n";
    let d = "id,@@@\n1,2026-01-02T03:04:05\n2,\n";
    let n = "id,@@@,v\n1,10,5\n2,,6\n3,10,7\n";
    vec![
        (
            "aggregate",
            json!({"group_by": ["@@@"], "aggregations": {"v": "sum"}}),
            vec![n],
        ),
        (
            "aggregate",
            json!({"group_by": ["v"], "aggregations": {"@@@": "first", "id": "max"}}),
            vec![n],
        ),
        (
            "apply_mapping",
            json!({"column": "@@@", "mapping_source": "@@@", "source_key": "@@@", "source_value": "x@@@", "output": "y@@@", "default": "@@@"}),
            vec![t, "@@@,x@@@\n@@@,5@@@\nc,d\n"],
        ),
        (
            "case_when",
            json!({"cases": [{"condition": "v > 2", "value": "v"}], "output_col": "x@@@"}),
            vec![t],
        ),
        ("cast_columns", json!({"casts": {"@@@": "string"}}), vec![n]),
        (
            "coalesce_columns",
            json!({"columns": ["@@@", "v"], "output_col": "y@@@", "drop_source": true}),
            vec![n],
        ),
        (
            "concat_columns",
            json!({"columns": ["@@@", "id"], "separator": "@@@", "output_col": "y@@@"}),
            vec![t],
        ),
        (
            "convert_timezone",
            json!({"col": "@@@", "target_tz": "Asia/Tokyo"}),
            vec![d],
        ),
        (
            "cross_check",
            json!({"type": "row_count_diff", "inputs": ["@@@", "b@@@"]}),
            vec![t, n, n],
        ),
        (
            "date_add",
            json!({"col": "@@@", "value": 3, "unit": "hour"}),
            vec![d],
        ),
        (
            "date_diff",
            json!({"start_col": "@@@", "end_col": "@@@"}),
            vec![d],
        ),
        (
            "date_trunc",
            json!({"col": "@@@", "unit": "month"}),
            vec![d],
        ),
        (
            "derive_columns",
            json!({"derivations": {"x@@@": "v + 1", "@@@": "id"}}),
            vec![t],
        ),
        (
            "extract_date_parts",
            json!({"source_col": "@@@", "prefix": "p@@@"}),
            vec![d],
        ),
        ("filter_rows", json!({"condition": "v > 2"}), vec![t]),
        (
            "join",
            json!({"right_dataset": "r@@@", "on": ["@@@"], "how": "left"}),
            vec![t, "@@@,v,w@@@\n@@@,1,2\n"],
        ),
        (
            "join",
            json!({"right_dataset": "r", "left_on": "@@@", "right_on": "k@@@", "prefix": "p@@@", "how": "full"}),
            vec![t, "k@@@,v\n@@@,1\n"],
        ),
        (
            "pivot",
            json!({"group_by": ["v"], "pivot_col": "@@@", "agg_col": "id", "values": ["@@@", "x@@@"]}),
            vec![t],
        ),
        (
            "regex_replace",
            json!({"column": "@@@", "pattern": "[bh]", "replacement": "-"}),
            vec!["@@@\nbhb\n"],
        ),
        (
            "split_part",
            json!({"col": "@@@", "delimiter": "@@@", "index": 2}),
            vec![t],
        ),
        (
            "unpivot",
            json!({"id_cols": ["id"], "value_vars": ["@@@", "v"], "var_name": "x@@@", "value_name": "y@@@"}),
            vec![n],
        ),
        (
            "validate_and_flag",
            json!({"rules": {"r@@@": "v > 2"}, "flag_col": "y@@@"}),
            vec![t],
        ),
        (
            "window_calculation",
            json!({"target_col": "x@@@", "function": "sum(v)", "partition_by": ["@@@"], "order_by": "id"}),
            vec![n],
        ),
    ]
}

fn run(operation: &str, params: &Value, tables: &[RecordBatch], with: &str) -> Result<RecordBatch> {
    let tables: Vec<RecordBatch> = tables.iter().map(|t| filled_table(t, with)).collect();
    let cut = harness::Cut {
        batch_rows_max: 2,
        partitions: 1,
    };
    harness::run_cut(
        &crate::plugin(),
        operation,
        filled(params, with),
        &tables,
        cut,
    )
}

/// Name, type and rows of each column, with `with` as it was marked.
fn shown(batch: &RecordBatch, with: &str) -> Vec<String> {
    let mut lines: Vec<String> = harness::csv(&unmarked(batch, with))
        .lines()
        .map(str::to_owned)
        .collect();
    lines[1..].sort();
    lines
}

fn unmarked(batch: &RecordBatch, with: &str) -> RecordBatch {
    let schema = batch.schema();
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            let column = match column.as_string_opt::<i32>() {
                Some(texts) if !with.is_empty() => {
                    let texts = texts.iter().map(|t| t.map(|t| t.replace(with, MARK)));
                    Arc::new(texts.collect::<StringArray>()) as ArrayRef
                }
                _ => Arc::clone(column),
            };
            let name = if with.is_empty() {
                field.name().clone()
            } else {
                field.name().replace(with, MARK)
            };
            (name, column, true)
        });
    RecordBatch::try_from_iter_with_nullable(columns.collect::<Vec<_>>()).unwrap()
}

/// Every so manieth payload is run with data; each is, in some case.
const RUN_EVERY: usize = 16;

#[test]
fn text_of_params_is_never_sql() {
    let payloads = payloads();
    assert!(payloads.len() >= 300, "{}", payloads.len());
    let cases = cases();
    let covered: std::collections::BTreeSet<&str> = cases.iter().map(|c| c.0).collect();
    for entry in &crate::plugin().operations {
        assert!(
            // A chain holds the params of others.
            matches!(entry.name, "sql" | "chain") || covered.contains(entry.name),
            "{}",
            entry.name
        );
    }
    let mut wrong = Vec::new();
    for (nth, (operation, params, tables)) in cases.iter().enumerate() {
        let tables: Vec<RecordBatch> = tables.iter().map(|t| harness::table(t)).collect();
        let expect = run(operation, params, &tables, HARMLESS);
        let expect = expect.unwrap_or_else(|f| panic!("{operation} {params}: {f}"));
        let expect = shown(&expect, HARMLESS);
        let expect_tokens = tokens(operation, params, &tables, HARMLESS);
        for (at, payload) in payloads.iter().enumerate() {
            // A name with a dot makes another statement, of the same meaning; blanks stand in literals of ours.
            let always = payload.contains('.') || payload == " ";
            if !always {
                let got = tokens(operation, params, &tables, payload);
                if got != expect_tokens {
                    wrong.push(format!("{operation} with {payload:?} is another statement"));
                }
            }
            if !always && (at + nth) % RUN_EVERY != 0 {
                continue;
            }
            let got = std::panic::catch_unwind(AssertUnwindSafe(|| {
                run(operation, params, &tables, payload)
            }));
            let got = match got {
                Ok(Ok(got)) => shown(&got, payload),
                Ok(Err(f)) => vec![f.to_string()],
                Err(_) => vec!["panic".to_owned()],
            };
            if got != expect {
                wrong.push(format!(
                    "{operation} with {payload:?} gives\n  {}\ninstead of\n  {}",
                    got.join("\n  "),
                    expect.join("\n  ")
                ));
            }
        }
    }
    let shown = wrong
        .iter()
        .take(12)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(wrong.is_empty(), "{}:\n{shown}", wrong.len());
}

/// The words of the statement, with `with` as it was marked; or what is wrong with it.
fn tokens(
    operation: &str,
    params: &Value,
    tables: &[RecordBatch],
    with: &str,
) -> std::result::Result<Vec<Token>, String> {
    let schemas: Vec<SchemaRef> = tables
        .iter()
        .map(|t| filled_table(t, with).schema())
        .collect();
    let params = filled(params, with).to_string();
    let Some(sql) = statement(operation, &params, &schemas) else {
        return Ok(Vec::new());
    };
    let sql = sql.map_err(|f| f.to_string())?;
    let tokens = Tokenizer::new(&GenericDialect {}, &sql).tokenize();
    let mut tokens = tokens.map_err(|e| e.to_string())?;
    for token in &mut tokens {
        match token {
            Token::Word(word) if word.quote_style == Some('"') => {
                word.value = word.value.replace(with, MARK);
            }
            Token::SingleQuotedString(text) => *text = text.replace(with, MARK),
            _ => {}
        }
    }
    Ok(tokens)
}

/// The statement of a thin operation.
fn statement(operation: &str, params: &str, schemas: &[SchemaRef]) -> Option<Result<String>> {
    macro_rules! first_of {
        ($($name:ident :: $kind:ident),* $(,)?) => {$(
            if operation == stringify!($name) {
                type Params = crate::operations::$name::$kind;
                let read = odibi_sdk::params::read::<Params>(params);
                return Some(read.and_then(|p| p.sql(schemas)));
            }
        )*};
    }
    first_of!(
        aggregate::Aggregate,
        apply_mapping::ApplyMapping,
        case_when::CaseWhen,
        cast_columns::CastColumns,
        coalesce_columns::CoalesceColumns,
        concat_columns::ConcatColumns,
        convert_timezone::ConvertTimezone,
        date_add::DateAdd,
        date_diff::DateDiff,
        date_trunc::DateTrunc,
        derive_columns::DeriveColumns,
        extract_date_parts::ExtractDateParts,
        filter_rows::FilterRows,
        join::Join,
        pivot::Pivot,
        regex_replace::RegexReplace,
        split_part::SplitPart,
        unpivot::Unpivot,
        validate_and_flag::ValidateAndFlag,
        window_calculation::WindowCalculation,
    );
    assert_eq!(operation, "cross_check", "has no statement");
    None
}

/// An expression that is a payload fails as a param, or is an expression and changes nothing but what it computes.
#[test]
fn payloads_as_expressions_stay_in_their_place() {
    let table = "id,v\n1,2\n2,3\n";
    let input = harness::table(table);
    let plugin = crate::plugin();
    let check = |operation: &str, params: Value, kept: &[&str]| {
        let cut = harness::Cut {
            batch_rows_max: 1,
            partitions: 1,
        };
        match harness::run_cut(
            &plugin,
            operation,
            params.clone(),
            std::slice::from_ref(&input),
            cut,
        ) {
            Err(f) => {
                assert_eq!(
                    f.kind,
                    odibi_sdk::failure::Kind::Params,
                    "{operation} {params}: {f}"
                );
                assert!(
                    f.param.as_ref().is_some_and(|p| p.starts_with('/')),
                    "{operation} {params}: {}",
                    f.message
                );
            }
            Ok(got) if operation == "filter_rows" => {
                assert_eq!(got.schema().fields().len(), 2, "{params}");
            }
            Ok(got) => {
                let names: Vec<String> = got
                    .schema()
                    .fields()
                    .iter()
                    .map(|f| f.name().clone())
                    .collect();
                assert_eq!(names, kept, "{operation} {params}");
                assert_eq!(
                    got.column(0).as_ref(),
                    input.column(0).as_ref(),
                    "{operation} {params}"
                );
                assert_eq!(
                    got.column(1).as_ref(),
                    input.column(1).as_ref(),
                    "{operation} {params}"
                );
            }
        }
    };
    for payload in payloads() {
        for text in [format!("(v) > 1 {payload}"), format!("'{payload}'")] {
            check("filter_rows", json!({ "condition": text }), &["id", "v"]);
        }
        for text in [payload.clone(), format!("v {payload}")] {
            let params = json!({ "derivations": { "x": text } });
            check("derive_columns", params, &["id", "v", "x"]);
        }
        check(
            "case_when",
            json!({"cases": [{"condition": "v > 1", "value": payload}], "default": payload, "output_col": "x"}),
            &["id", "v", "x"],
        );
        check(
            "validate_and_flag",
            json!({"rules": {"x": payload}}),
            &["id", "v", "_issues"],
        );
        check(
            "window_calculation",
            json!({"target_col": "x", "function": payload}),
            &["id", "v", "x"],
        );
        check(
            "window_calculation",
            json!({"target_col": "x", "function": "sum(v)", "order_by": payload}),
            &["id", "v", "x"],
        );
    }
}
