//! What each thin operation computes of nulls, of text in any script and of types that it may not like; and what it says
//! about wrong params.
#![allow(clippy::too_many_lines, reason = "lists of cases")]

use odibi_sdk::prelude::*;

use super::operations::Cases;

const NAMES: &str = "id,first name,group\n1,Zoë,x\n2,,y\n3,O'Brien,\n4,日本,x\n";
const TIMES: &str = "id,day,at,said,n\n1,2024-02-29,2024-02-29T23:30:15,2024-03-01 01:00:00,5\n2,,,,\n3,2025-12-31,2025-12-31T00:00:00,2025-12-30 12:00:00,7\n";

#[test]
fn texts() {
    let mut cases = Cases::default();
    let mut c = |operation, params, expect| cases.gives(operation, params, &[NAMES], expect);
    c(
        "concat_columns",
        json!({"columns": ["first name", "group", "id"], "separator": "'--", "output_col": "a\"b"}),
        "id,first name,group,\"a\"\"b\"\n1,Zoë,x,Zoë'--x'--1\n2,,y,y'--2\n3,O'Brien,,O'Brien'--3\n4,日本,x,日本'--x'--4\n",
    );
    c(
        "concat_columns",
        json!({"columns": ["first name"], "output_col": "group"}),
        "id,first name,group\n1,Zoë,Zoë\n2,,\n3,O'Brien,O'Brien\n4,日本,日本\n",
    );
    c(
        "split_part",
        json!({"col": "first name", "delimiter": "'", "index": 2}),
        "id,first name,group,first name_part_2\n1,Zoë,x,\n2,,y,\n3,O'Brien,,Brien\n4,日本,x,\n",
    );
    c(
        "regex_replace",
        json!({"column": "first name", "pattern": "[a-zë']", "replacement": "ß"}),
        "id,first name,group\n1,Zßß,x\n2,,y\n3,OßBßßßß,\n4,日本,x\n",
    );
    c(
        "regex_replace",
        json!({"column": "first name", "pattern": "(?i)o", "replacement": "$0\\0"}),
        "id,first name,group\n1,Zooë,x\n2,,y\n3,OO'Brien,\n4,日本,x\n",
    );
    c(
        "coalesce_columns",
        json!({"columns": ["first name", "group"], "output_col": "group"}),
        "id,first name,group\n1,Zoë,Zoë\n2,,y\n3,O'Brien,O'Brien\n4,日本,日本\n",
    );
    c(
        "coalesce_columns",
        json!({"columns": ["first name", "group"], "output_col": "group", "drop_source": true}),
        "id,group\n1,Zoë\n2,y\n3,O'Brien\n4,日本\n",
    );
    c(
        "validate_and_flag",
        json!({"rules": {"it's": "\"first name\" = 'Zoë'", "b": "id < 3"}}),
        "id,first name,group,_issues\n1,Zoë,x,\n2,,y,\n3,O'Brien,,\"it's, b\"\n4,日本,x,\"it's, b\"\n",
    );
    c(
        "case_when",
        json!({"cases": [{"condition": "\"first name\" IS NULL", "value": "'keiner'"}], "default": "\"group\"", "output_col": "select"}),
        "id,first name,group,select\n1,Zoë,x,x\n2,,y,keiner\n3,O'Brien,,\n4,日本,x,x\n",
    );
    let mut f = |operation, params, expect| cases.fails(operation, params, &[NAMES], expect);
    f(
        "concat_columns",
        json!({"columns": ["first  name"], "output_col": "x"}),
        "unknown-column /columns/0 unknown column `first  name`, did you mean `first name`?",
    );
    f(
        "concat_columns",
        json!({"columns": [], "output_col": "x"}),
        "empty-param /columns must not be empty",
    );
    f(
        "concat_columns",
        json!({"columns": ["id", "id"], "output_col": "x"}),
        "repeated-column /columns/1 column `id` is named twice",
    );
    f(
        "split_part",
        json!({"col": "id", "delimiter": "-", "index": 1}),
        "wrong-type /col column `id` must be text, is: Int64",
    );
    f(
        "split_part",
        json!({"col": "ID", "delimiter": "-", "index": 1}),
        "unknown-column /col unknown column `ID`, did you mean `id`?",
    );
    f(
        "split_part",
        json!({"col": "group", "delimiter": "", "index": 1}),
        "empty-param /delimiter must not be empty",
    );
    f(
        "split_part",
        json!({"col": "group", "delimiter": "-", "index": 0}),
        "invalid-param /index pieces are counted from 1, is: 0",
    );
    f(
        "regex_replace",
        json!({"column": "id", "pattern": "a", "replacement": ""}),
        "wrong-type /column column `id` must be text, is: Int64",
    );
    f(
        "regex_replace",
        json!({"column": "group", "pattern": "(", "replacement": ""}),
        "invalid-pattern /pattern not a regular expression: unclosed group",
    );
    f(
        "coalesce_columns",
        json!({"columns": ["id", "group"], "output_col": "x"}),
        "wrong-type /columns/1 column `group` must be of a type like column `id` (Int64), is: Utf8",
    );
    f(
        "validate_and_flag",
        json!({"rules": {}}),
        "empty-param /rules must not be empty",
    );
    f(
        "validate_and_flag",
        json!({"rules": {"a": "nme = 1"}}),
        "unknown-column /rules/a 0..3 column `nme` does not exist",
    );
    f(
        "validate_and_flag",
        json!({"rules": {"": "id = 1"}}),
        "invalid-param /rules/ the name of a rule must not be empty",
    );
    f(
        "case_when",
        json!({"cases": [], "output_col": "x"}),
        "empty-param /cases must not be empty",
    );
    f(
        "case_when",
        json!({"cases": [{"condition": "id = 1", "value": "NULL"}], "output_col": "x"}),
        "no-type /cases/0/value every value is null, so that the column has no type",
    );
    f(
        "case_when",
        json!({"cases": [{"condition": "id = 1", "value": "nme"}], "output_col": "x"}),
        "unknown-column /cases/0/value 0..3 column `nme` does not exist",
    );
    f(
        "case_when",
        json!({"cases": [{"condition": "id", "value": "1"}], "output_col": "x"}),
        "wrong-type /cases/0/condition the condition must be true or false, is: Int64",
    );
    f(
        "case_when",
        json!({"cases": [{"condition": "id = 1", "value": "1", "else": "2"}], "output_col": "x"}),
        "invalid-param /cases/0/else unknown field `else`, expected `condition` or `value`",
    );
    cases.done();
}

#[test]
fn times() {
    let mut cases = Cases::default();
    let c = |operation, params: Value, expect: &str| {
        // Only the column that is new.
        let got = super::operations::run(operation, params.clone(), &[TIMES]);
        let got = got.unwrap_or_else(|f| panic!("{operation} {params}: {f}"));
        let last: Vec<&str> = got.lines().map(|l| l.rsplit(',').next().unwrap()).collect();
        assert_eq!(last.join(" "), expect, "{operation} {params}");
    };
    c(
        "date_add",
        json!({"col": "day", "value": 1, "unit": "year"}),
        "day_future 2025-02-28  2026-12-31",
    );
    c(
        "date_add",
        json!({"col": "day", "value": -1, "unit": "month"}),
        "day_future 2024-01-29  2025-11-30",
    );
    c(
        "date_add",
        json!({"col": "day", "value": 1, "unit": "day"}),
        "day_future 2024-03-01  2026-01-01",
    );
    c(
        "date_add",
        json!({"col": "day", "value": 25, "unit": "hour"}),
        "day_future 2024-03-01T01:00:00  2026-01-01T01:00:00",
    );
    c(
        "date_add",
        json!({"col": "at", "value": 45, "unit": "second"}),
        "at_future 2024-02-29T23:31:00  2025-12-31T00:00:45",
    );
    c(
        "date_add",
        json!({"col": "at", "value": 0, "unit": "minute"}),
        "at_future 2024-02-29T23:30:15  2025-12-31T00:00:00",
    );
    c(
        "date_add",
        json!({"col": "said", "value": 1, "unit": "day"}),
        "said_future 2024-03-02T01:00:00  2025-12-31T12:00:00",
    );
    c(
        "date_diff",
        json!({"start_col": "at", "end_col": "said"}),
        "diff_day 1  -1",
    );
    c(
        "date_diff",
        json!({"start_col": "at", "end_col": "said", "unit": "hour"}),
        "diff_hour 1.4958333333333333  -12.0",
    );
    c(
        "date_diff",
        json!({"start_col": "at", "end_col": "said", "unit": "minute"}),
        "diff_minute 89.75  -720.0",
    );
    c(
        "date_diff",
        json!({"start_col": "day", "end_col": "at", "unit": "second"}),
        "diff_second 84615.0  0.0",
    );
    c(
        "date_trunc",
        json!({"col": "at", "unit": "year"}),
        "at_trunc 2024-01-01T00:00:00  2025-01-01T00:00:00",
    );
    c(
        "date_trunc",
        json!({"col": "at", "unit": "minute"}),
        "at_trunc 2024-02-29T23:30:00  2025-12-31T00:00:00",
    );
    c(
        "date_trunc",
        json!({"col": "day", "unit": "week"}),
        "day_trunc 2024-02-26  2025-12-29",
    );
    c(
        "date_trunc",
        json!({"col": "day", "unit": "hour"}),
        "day_trunc 2024-02-29  2025-12-31",
    );
    c(
        "date_trunc",
        json!({"col": "said", "unit": "month"}),
        "said_trunc 2024-03-01T00:00:00  2025-12-01T00:00:00",
    );
    c(
        "extract_date_parts",
        json!({"source_col": "at", "parts": ["second"]}),
        "at_second 15  0",
    );
    c(
        "extract_date_parts",
        json!({"source_col": "day", "parts": ["quarter"], "prefix": "q"}),
        "q_quarter 1  4",
    );
    c(
        "extract_date_parts",
        json!({"source_col": "said", "parts": ["hour"]}),
        "said_hour 1  12",
    );
    c(
        "convert_timezone",
        json!({"col": "at", "target_tz": "+02:30"}),
        "at_converted 2024-03-01T02:00:15  2025-12-31T02:30:00",
    );
    c(
        "convert_timezone",
        json!({"col": "said", "source_tz": "Asia/Tokyo", "target_tz": "Europe/Berlin", "output_col": "x"}),
        "x 2024-02-29T17:00:00  2025-12-30T04:00:00",
    );
    let mut f = |operation, params, expect| cases.fails(operation, params, &[TIMES], expect);
    f(
        "date_add",
        json!({"col": "n", "value": 1, "unit": "day"}),
        "wrong-type /col column `n` must be a date or timestamp, is: Int64",
    );
    f(
        "date_add",
        json!({"col": "dy", "value": 1, "unit": "day"}),
        "unknown-column /col unknown column `dy`, did you mean `day`?",
    );
    f(
        "date_add",
        json!({"col": "day", "value": 1, "unit": "day'"}),
        "invalid-param /unit unknown variant `day'`, expected one of `year`, `month`, `day`, `hour`, `minute`, `second`",
    );
    f(
        "date_add",
        json!({"col": "day", "value": 300000, "unit": "year"}),
        "invalid-param /value must lie between -200000 and 200000 for this unit, is: 300000",
    );
    f(
        "date_add",
        json!({"col": "day", "value": 1.5, "unit": "year"}),
        "invalid-param /value invalid type: floating point `1.5`, expected i64",
    );
    f(
        "date_diff",
        json!({"start_col": "day", "end_col": "n"}),
        "wrong-type /end_col column `n` must be a date or timestamp, is: Int64",
    );
    f(
        "date_diff",
        json!({"start_col": "day", "end_col": "at", "unit": "month"}),
        "invalid-param /unit unknown variant `month`, expected one of `day`, `hour`, `minute`, `second`",
    );
    f(
        "date_trunc",
        json!({"col": "n", "unit": "day"}),
        "wrong-type /col column `n` must be a date or timestamp, is: Int64",
    );
    f(
        "extract_date_parts",
        json!({"source_col": "day", "parts": []}),
        "empty-param /parts must not be empty",
    );
    f(
        "extract_date_parts",
        json!({"source_col": "day", "parts": ["day", "day"]}),
        "invalid-param /parts/1 `day` is named twice",
    );
    f(
        "convert_timezone",
        json!({"col": "day", "target_tz": "UTC"}),
        "wrong-type /col column `day` must be a timestamp, is: Date32",
    );
    f(
        "convert_timezone",
        json!({"col": "at", "target_tz": "Europe/Brelin"}),
        "unknown-time-zone /target_tz unknown time zone: Europe/Brelin",
    );
    f(
        "convert_timezone",
        json!({"col": "at", "source_tz": "'", "target_tz": "UTC"}),
        "unknown-time-zone /source_tz unknown time zone: '",
    );
    cases.gives("convert_timezone", json!({"col": "at", "source_tz": "Europe/Berlin", "target_tz": "UTC"}), &["at\n2026-03-29T02:30:00\n2026-10-25T02:30:00\n2026-10-25T03:00:00\n"],
        "at,at_converted\n2026-03-29T02:30:00,2026-03-29T01:30:00\n2026-10-25T02:30:00,2026-10-25T00:30:00\n2026-10-25T03:00:00,2026-10-25T02:00:00\n");
    cases.fails(
        "date_trunc",
        json!({"col": "t", "unit": "day"}),
        &["t\nyesterday\n"],
        "bad-value - …",
    );
    cases.done();
}

#[test]
fn types() {
    let mut cases = Cases::default();
    let table = "t,n,f,b,d\n7,1,2.5,true,2026-01-02\n,,,,\n8,0,-2.5,false,1969-12-31\n";
    let mut c =
        |casts, expect| cases.gives("cast_columns", json!({"casts": casts}), &[table], expect);
    c(
        json!({"n": "STRING", "b": "int", "d": "timestamp"}),
        "t,n,f,b,d\n7,1,2.5,1,2026-01-02T00:00:00\n,,,,\n8,0,-2.5,0,1969-12-31T00:00:00\n",
    );
    c(
        json!({"n": "bool", "f": " Integer "}),
        "t,n,f,b,d\n7,true,2,true,2026-01-02\n,,,,\n8,false,-2,false,1969-12-31\n",
    );
    c(
        json!({"t": "decimal(5, 2)", "f": "numeric(3)"}),
        "t,n,f,b,d\n7.00,1,3,true,2026-01-02\n,,,,\n8.00,0,-3,false,1969-12-31\n",
    );
    c(
        json!({"b": "str", "d": "str", "f": "str"}),
        "t,n,f,b,d\n7,1,2.5,true,2026-01-02\n,,,,\n8,0,-2.5,false,1969-12-31\n",
    );
    c(json!({"t": "int64", "n": "tinyint"}), table);
    let mut f =
        |casts, expect| cases.fails("cast_columns", json!({"casts": casts}), &[table], expect);
    f(json!({}), "empty-param /casts must not be empty");
    f(
        json!({"x/y": "int"}),
        "unknown-column /casts/x~1y unknown column `x/y`",
    );
    f(
        json!({"t": "int)"}),
        "unknown-type /casts/t unknown type: int)",
    );
    f(
        json!({"t": "decimal(39, 2)"}),
        "unknown-type /casts/t unknown type: decimal(39, 2)",
    );
    f(
        json!({"t": "decimal(4, 5)"}),
        "unknown-type /casts/t unknown type: decimal(4, 5)",
    );
    f(
        json!({"b": "date"}),
        "wrong-type /casts/b column `b` of type Boolean cannot become: date",
    );
    f(
        json!({"t": 5}),
        "invalid-param /casts/t invalid type: integer `5`, expected a string",
    );
    cases.fails(
        "cast_columns",
        json!({"casts": {"t": "int"}}),
        &["t\n5\nabc\n"],
        "bad-value - …",
    );
    cases.fails(
        "cast_columns",
        json!({"casts": {"t": "tinyint"}}),
        &["t\n5\n300\n"],
        "bad-value - …",
    );
    cases.done();
}

#[test]
fn groups() {
    let mut cases = Cases::default();
    let table = "g,h,v,w\nä,1,5,a\nä,1,,\n,2,7,b\nä,2,6,c\n,2,7,\n";
    let mut c = |operation, params, expect| cases.gives(operation, params, &[table], expect);
    c(
        "aggregate",
        json!({"group_by": ["g"], "aggregations": {"v": "sum", "w": "count"}}),
        "g,v,w\nä,11,2\n,14,1\n",
    );
    c(
        "aggregate",
        json!({"group_by": ["g", "h"], "aggregations": {"w": "max", "v": "min"}}),
        "g,h,w,v\nä,1,a,5\nä,2,c,6\n,2,b,7\n",
    );
    c(
        "aggregate",
        json!({"group_by": ["g"], "aggregations": {"v": "mean", "h": "count_distinct"}}),
        "g,v,h\nä,5.5,2\n,7.0,1\n",
    );
    c(
        "aggregate",
        json!({"group_by": ["h"], "aggregations": {"w": "first", "v": "last"}}),
        "h,w,v\n1,a,5\n2,b,7\n",
    );
    c(
        "aggregate",
        json!({"group_by": [], "aggregations": {"w": "last"}}),
        "w\nc\n",
    );
    c(
        "pivot",
        json!({"group_by": ["g"], "pivot_col": "h", "agg_col": "v", "values": [1, 2, "3"]}),
        "g,1,2,3\nä,5,6,\n,,14,\n",
    );
    c(
        "pivot",
        json!({"group_by": [], "pivot_col": "w", "agg_col": "v", "agg_func": "avg", "values": ["a", "b"]}),
        "a,b\n5.0,7.0\n",
    );
    c(
        "pivot",
        json!({"group_by": ["h"], "pivot_col": "w", "agg_col": "g", "agg_func": "first", "values": ["a", "b", "c"]}),
        "h,a,b,c\n1,ä,,\n2,,,ä\n",
    );
    let mut f = |operation, params, expect| cases.fails(operation, params, &[table], expect);
    f(
        "aggregate",
        json!({"group_by": ["g"], "aggregations": {"w": "sum"}}),
        "wrong-type /aggregations/w column `w` must be a number, is: Utf8",
    );
    f(
        "aggregate",
        json!({"group_by": ["g"], "aggregations": {"g": "count"}}),
        "duplicate-column /aggregations/g column `g` exists already",
    );
    f(
        "aggregate",
        json!({"group_by": ["x"], "aggregations": {"v": "sum"}}),
        "unknown-column /group_by/0 unknown column `x`, did you mean `g`?",
    );
    f(
        "aggregate",
        json!({"group_by": ["g"], "aggregations": {"x": "sum"}}),
        "unknown-column /aggregations/x unknown column `x`, did you mean `g`?",
    );
    f(
        "aggregate",
        json!({"group_by": ["g"], "aggregations": {}}),
        "empty-param /aggregations must not be empty",
    );
    f(
        "aggregate",
        json!({"group_by": ["g", "g"], "aggregations": {"v": "sum"}}),
        "repeated-column /group_by/1 column `g` is named twice",
    );
    f(
        "aggregate",
        json!({"group_by": ["g"], "aggregations": {"v": "sum(v)"}}),
        "invalid-param /aggregations/v unknown variant `sum(v)`, expected one of `sum`, `avg`, `mean`, `min`, `max`, `count`, `count_distinct`, `first`, `last`",
    );
    f(
        "pivot",
        json!({"group_by": ["g"], "pivot_col": "h", "agg_col": "v"}),
        "missing-values  `values` is missing: the columns of the result must be known before the data",
    );
    f(
        "pivot",
        json!({"group_by": ["g"], "pivot_col": "h", "agg_col": "v", "values": ["one"]}),
        "unfit-value /values/0 column `h` of type Int64 cannot have the value: one",
    );
    f(
        "pivot",
        json!({"group_by": ["g"], "pivot_col": "h", "agg_col": "v", "values": [1, "1"]}),
        "duplicate-column /values/1 column `1` exists already",
    );
    f(
        "pivot",
        json!({"group_by": ["g"], "pivot_col": "w", "agg_col": "v", "values": ["g"]}),
        "duplicate-column /values/0 column `g` exists already",
    );
    f(
        "pivot",
        json!({"group_by": ["g"], "pivot_col": "w", "agg_col": "w", "values": ["a"]}),
        "wrong-type /agg_col column `w` must be a number, is: Utf8",
    );
    f(
        "pivot",
        json!({"group_by": ["g"], "pivot_col": "z", "agg_col": "v", "values": ["a"]}),
        "unknown-column /pivot_col unknown column `z`, did you mean `g`?",
    );
    cases.done();
}

#[test]
fn rows_of_columns() {
    let mut cases = Cases::default();
    let table = "id,cell,a,b,t\n1,x,1,1.5,ä\n2,y,,2.0,\n";
    let mut c = |params, expect| cases.gives("unpivot", params, &[table], expect);
    c(
        json!({"id_cols": ["cell", "id"], "value_vars": ["b", "a"]}),
        "cell,id,variable,value\nx,1,b,1.5\nx,1,a,1.0\ny,2,b,2.0\ny,2,a,\n",
    );
    c(
        json!({"id_cols": [], "value_vars": ["t", "cell"], "var_name": "cell", "value_name": "it's"}),
        "cell,it's\nt,ä\ncell,x\nt,\ncell,y\n",
    );
    let mut f = |params, expect| cases.fails("unpivot", params, &[table], expect);
    f(
        json!({"id_cols": ["id"], "value_vars": []}),
        "empty-param /value_vars must not be empty",
    );
    f(
        json!({"id_cols": ["ID"], "value_vars": ["a"]}),
        "unknown-column /id_cols/0 unknown column `ID`, did you mean `id`?",
    );
    f(
        json!({"id_cols": ["id"], "value_vars": ["a", "t"]}),
        "wrong-type /value_vars/1 column `t` must be of a type like column `a` (Int64), is: Utf8",
    );
    f(
        json!({"id_cols": ["id"], "value_vars": ["a"], "var_name": "id"}),
        "duplicate-column /var_name column `id` exists already",
    );
    f(
        json!({"id_cols": ["id"], "value_vars": ["a"], "value_name": "variable"}),
        "duplicate-column /value_name column `variable` exists already",
    );
    cases.done();
}

#[test]
fn windows() {
    let mut cases = Cases::default();
    let table = "id,Team,score\n1,a,5\n2,b,\n3,a,7\n4,,5\n5,a,7\n";
    let mut c = |params, expect| cases.gives("window_calculation", params, &[table], expect);
    c(
        json!({"target_col": "n", "function": "count(*)", "partition_by": ["Team"], "order_by": "id"}),
        "id,Team,score,n\n1,a,5,1\n3,a,7,2\n5,a,7,3\n2,b,,1\n4,,5,1\n",
    );
    c(
        json!({"target_col": "score", "function": "lag(score, 1) -- before", "order_by": "id -- up"}),
        "id,Team,score\n1,a,\n2,b,5\n3,a,\n4,,7\n5,a,5\n",
    );
    c(
        json!({"target_col": "r", "function": "dense_rank()", "order_by": "SCORE DESC NULLS LAST, team"}),
        "id,Team,score,r\n3,a,7,1\n5,a,7,1\n1,a,5,2\n4,,5,3\n2,b,,4\n",
    );
    c(
        json!({"target_col": "s", "function": "sum(score) FILTER (WHERE team = 'a')"}),
        "id,Team,score,s\n1,a,5,19\n2,b,,19\n3,a,7,19\n4,,5,19\n5,a,7,19\n",
    );
    let mut f = |params, expect| cases.fails("window_calculation", params, &[table], expect);
    f(
        json!({"target_col": "x", "function": "score"}),
        "sql-syntax /function a window function is wanted, as in `sum(amount)` or `rank()`",
    );
    f(
        json!({"target_col": "x", "function": "rank() OVER ()"}),
        "sql-syntax /function the function must stand without OVER",
    );
    f(
        json!({"target_col": "x", "function": "sum(points)"}),
        "unknown-column /function 4..10 column `points` does not exist",
    );
    f(
        json!({"target_col": "x", "function": "rnk()"}),
        "unknown-function /function 0..3 function `rnk` does not exist",
    );
    f(
        json!({"target_col": "x", "function": "sum(sum(score))"}),
        "aggregate-not-allowed /function 4..7 `sum` looks at all rows together, which has no place here",
    );
    f(
        json!({"target_col": "x", "function": "rank()", "partition_by": ["team"]}),
        "unknown-column /partition_by/0 unknown column `team`, did you mean `Team`?",
    );
    f(
        json!({"target_col": "x", "function": "rank()", "order_by": "id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW"}),
        "sql-syntax /order_by 3..7 found after the end of the expression: `ROWS`",
    );
    f(
        json!({"target_col": "x", "function": "rank()", "order_by": "id) FROM df --"}),
        "sql-syntax /order_by 2..3 found after the end of the expression: `)`",
    );
    f(
        json!({"target_col": "x", "function": "rank()", "order_by": "nme DESC"}),
        "unknown-column /order_by 0..3 column `nme` does not exist",
    );
    cases.done();
}

#[test]
fn two_tables() {
    let mut cases = Cases::default();
    let left = "k,n,v\n1,ä,10\n2,,20\n,x,30\n1,b,40\n";
    let right = "k,n,w\n1,ä,a\n3,,c\n,x,d\n";
    let mut c = |params: Value, expect| {
        let mut params = params;
        params["right_dataset"] = json!("o\"; DROP");
        cases.gives("join", params, &[left, right], expect);
    };
    c(
        json!({"on": "k"}),
        "k,n,v,\"o\"\"; DROP_n\",w\n1,ä,10,ä,a\n1,b,40,ä,a\n2,,20,,\n,x,30,,\n",
    );
    c(
        json!({"on": ["k", "n"], "how": "inner"}),
        "k,n,v,w\n1,ä,10,a\n",
    );
    c(
        json!({"on": "k", "how": "right", "prefix": "r"}),
        "k,n,v,r_n,w\n1,ä,10,ä,a\n1,b,40,ä,a\n3,,,,c\n,,,x,d\n",
    );
    c(
        json!({"on": "k", "how": "outer", "suffix": "'s"}),
        "k,n,v,n's,w\n1,ä,10,ä,a\n1,b,40,ä,a\n2,,20,,\n3,,,,c\n,,,x,d\n,x,30,,\n",
    );
    c(json!({"on": "k", "how": "semi"}), "k,n,v\n1,ä,10\n1,b,40\n");
    c(json!({"on": "k", "how": "anti"}), "k,n,v\n2,,20\n,x,30\n");
    c(
        json!({"left_on": "n", "right_on": "w", "how": "full"}),
        "k,n,v,\"o\"\"; DROP_k\",\"o\"\"; DROP_n\",w\n1,ä,10,,,\n1,b,40,,,\n2,,20,,,\n,x,30,,,\n,,,1,ä,a\n,,,3,,c\n,,,,x,d\n",
    );
    cases.gives(
        "join",
        json!({"right_dataset": "o", "how": "cross"}),
        &["a\n1\n2\n", "b\nx\ny\n"],
        "a,b\n1,x\n1,y\n2,x\n2,y\n",
    );
    let mut f = |params: Value, expect| {
        let mut params = params;
        params["right_dataset"] = json!("o");
        cases.fails("join", params, &[left, right], expect);
    };
    f(
        json!({}),
        "missing-keys  `on` is missing: by which columns is to be joined?",
    );
    f(json!({"on": []}), "empty-param /on must not be empty");
    f(
        json!({"on": "w"}),
        "unknown-column /on unknown column `w`, did you mean `k`?",
    );
    f(
        json!({"on": ["k", "v"]}),
        "unknown-column /on/1 unknown column `v`, did you mean `k`?",
    );
    f(
        json!({"on": "k", "left_on": "k"}),
        "invalid-param /on `left_on` and `right_on` are instead of `on`",
    );
    f(
        json!({"left_on": "k"}),
        "invalid-param /left_on `right_on` is missing",
    );
    f(
        json!({"left_on": ["k", "n"], "right_on": "k"}),
        "invalid-param /right_on as many columns as in `left_on` are wanted, 2, are: 1",
    );
    f(
        json!({"left_on": "k", "right_on": "w"}),
        "wrong-type /right_on column `k` is Int64, column `w` of `o` is: Utf8",
    );
    f(
        json!({"on": "k", "how": "cross"}),
        "invalid-param /on a cross join has no keys",
    );
    f(
        json!({"on": "k", "how": "lateral"}),
        "invalid-param /how unknown variant `lateral`, expected one of `inner`, `left`, `right`, `full`, `outer`, `cross`, `anti`, `semi`",
    );
    f(
        json!({"on": "k", "prefix": "a", "suffix": "b"}),
        "invalid-param /suffix `prefix` is given as well",
    );
    let source = "code,means\n1,one\n1,eins\n2,\n,null\n";
    let mut m = |params: Value, expect| {
        let mut params = params;
        params["mapping_source"] = json!("m");
        params["source_key"] = json!("code");
        cases.gives("apply_mapping", params, &[left, source], expect);
    };
    m(
        json!({"column": "k", "source_value": "means"}),
        "k,n,v\neins,ä,10\neins,b,40\n,,20\n,x,30\n",
    );
    m(
        json!({"column": "k", "source_value": "means", "default": "it's", "output": "n"}),
        "k,n,v\n1,eins,10\n1,eins,40\n2,it's,20\n,it's,30\n",
    );
    m(
        json!({"column": "v", "source_value": "code", "default": -1, "output": "m"}),
        "k,n,v,m\n1,ä,10,-1\n2,,20,-1\n,x,30,-1\n1,b,40,-1\n",
    );
    let mut f = |params: Value, expect| {
        let mut params = params;
        params["mapping_source"] = json!("m");
        cases.fails("apply_mapping", params, &[left, source], expect);
    };
    f(
        json!({"column": "kk", "source_key": "code", "source_value": "means"}),
        "unknown-column /column unknown column `kk`, did you mean `k`?",
    );
    f(
        json!({"column": "k", "source_key": "k", "source_value": "means"}),
        "unknown-column /source_key unknown column `k`",
    );
    f(
        json!({"column": "k", "source_key": "means", "source_value": "means"}),
        "wrong-type /source_key column `means` must be of a type like column `k` (Int64), is: Utf8",
    );
    f(
        json!({"column": "k", "source_key": "code", "source_value": "mean"}),
        "unknown-column /source_value unknown column `mean`, did you mean `means`?",
    );
    f(
        json!({"column": "k", "source_key": "code", "source_value": "means", "default": 5}),
        "unfit-value /default column `means` is Utf8, the default is: 5",
    );
    cases.done();
}
