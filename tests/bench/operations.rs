//! What the named operations cost in the sandbox: each against a query of plain DataFusion that does the same work. How
//! is said in `against.rs`.
//!
//! `cargo bench -p odibi-tests --bench operations`; `-- --rows 200000 --rounds 3` makes it short, `-- --only sort` picks one.
//! Operations without such a query are not here: `chain`, `cross_check`, `generate_numeric_key`, `normalize_column_names`,
//! `sample`, `split_events_by_period` and those that read JSON; nor are those that take structs apart, which no table here
//! has. `sql` has a benchmark of its own.

#![allow(clippy::print_stdout, reason = "the table is the result")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark is told by its environment what to try"
)]
#![allow(clippy::too_many_lines, reason = "a list of cases")]

mod against;
mod cpu;
mod measure;
mod noise;

use serde_json::json;

use against::{Work, compare};

/// Operation, params, a table behind `df`, the query.
fn works() -> Vec<Work> {
    let work = |operation, params, further, sql| Work {
        name: operation,
        operation,
        params,
        main: "df",
        further,
        sql,
        ratio_max: None,
    };
    vec![
        work(
            "add_prefix",
            json!({ "prefix": "o_" }),
            &[],
            "SELECT id AS o_id, low AS o_low, high AS o_high, customer AS o_customer, price AS o_price, quantity AS o_quantity, at AS o_at, name AS o_name FROM df",
        ),
        work(
            "add_suffix",
            json!({ "suffix": "_o", "exclude": ["id"] }),
            &[],
            "SELECT id, low AS low_o, high AS high_o, customer AS customer_o, price AS price_o, quantity AS quantity_o, at AS at_o, name AS name_o FROM df",
        ),
        work(
            "aggregate",
            json!({ "group_by": ["low"], "aggregations": { "price": "sum", "quantity": "max" } }),
            &[],
            "SELECT low, sum(price) AS price, max(quantity) AS quantity FROM df GROUP BY low",
        ),
        work(
            "apply_mapping",
            json!({ "column": "customer", "mapping_source": "customers", "source_key": "id", "source_value": "country", "output": "country" }),
            &["customers"],
            "SELECT df.*, c.country FROM df LEFT JOIN customers c ON df.customer = c.id",
        ),
        work(
            "case_when",
            json!({ "cases": [{ "condition": "price < 10", "value": "'low'" }, { "condition": "price < 50", "value": "'middle'" }], "default": "'high'", "output_col": "tier" }),
            &[],
            "SELECT *, CASE WHEN price < 10 THEN 'low' WHEN price < 50 THEN 'middle' ELSE 'high' END AS tier FROM df",
        ),
        work(
            "cast_columns",
            json!({ "casts": { "id": "string", "quantity": "double" } }),
            &[],
            "SELECT * REPLACE (CAST(id AS VARCHAR) AS id, CAST(quantity AS DOUBLE) AS quantity) FROM df",
        ),
        work(
            "clean_text",
            json!({ "columns": ["name"], "trim": true, "case": "upper" }),
            &[],
            "SELECT * REPLACE (upper(trim(name)) AS name) FROM df",
        ),
        work(
            "coalesce_columns",
            json!({ "columns": ["quantity", "low"], "output_col": "first" }),
            &[],
            "SELECT *, coalesce(quantity, low) AS first FROM df",
        ),
        work(
            "concat_columns",
            json!({ "columns": ["name", "low"], "separator": "-", "output_col": "tag" }),
            &[],
            "SELECT *, concat_ws('-', name, CAST(low AS VARCHAR)) AS tag FROM df",
        ),
        work(
            "convert_timezone",
            json!({ "col": "at", "source_tz": "UTC", "target_tz": "Europe/Berlin" }),
            &[],
            "SELECT *, CAST(at AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin' AS TIMESTAMP) AS at_converted FROM df",
        ),
        work(
            "date_add",
            json!({ "col": "at", "value": 3, "unit": "month" }),
            &[],
            "SELECT *, at + INTERVAL '3 months' AS later FROM df",
        ),
        Work {
            main: "visits",
            ..work(
                "date_diff",
                json!({ "start_col": "began", "end_col": "ended", "unit": "hour" }),
                &[],
                "SELECT *, CAST(CAST(ended AS BIGINT) - CAST(began AS BIGINT) AS DOUBLE) / 3600000000 AS diff_hour FROM visits",
            )
        },
        work(
            "date_trunc",
            json!({ "col": "at", "unit": "month" }),
            &[],
            "SELECT *, date_trunc('month', at) AS at_month FROM df",
        ),
        work(
            "deduplicate",
            json!({ "keys": ["high"] }),
            &[],
            "SELECT DISTINCT ON (high) * FROM df",
        ),
        work(
            "derive_columns",
            json!({ "derivations": { "total": "price * quantity", "double": "price * 2" } }),
            &[],
            "SELECT *, price * quantity AS total, price * 2 AS double FROM df",
        ),
        work(
            "dict_based_mapping",
            json!({ "column": "low", "mapping": { "1": "one", "2": "two", "3": "three" }, "output_column": "word" }),
            &[],
            "SELECT *, CASE low WHEN 1 THEN 'one' WHEN 2 THEN 'two' WHEN 3 THEN 'three' END AS word FROM df",
        ),
        work(
            "distinct",
            json!({ "columns": ["low", "quantity"] }),
            &[],
            "SELECT DISTINCT low, quantity FROM df",
        ),
        work(
            "drop_columns",
            json!({ "columns": ["name", "at"] }),
            &[],
            "SELECT id, low, high, customer, price, quantity FROM df",
        ),
        Work {
            main: "visits",
            ..work(
                "explode_list_column",
                json!({ "column": "pages" }),
                &[],
                "SELECT id, began, ended, unnest(pages) AS pages FROM visits",
            )
        },
        work(
            "extract_date_parts",
            json!({ "source_col": "at", "parts": ["year", "month", "day"] }),
            &[],
            "SELECT *, date_part('year', at) AS y, date_part('month', at) AS m, date_part('day', at) AS d FROM df",
        ),
        work(
            "fill_nulls",
            json!({ "values": { "price": 0.0, "name": "none" } }),
            &[],
            "SELECT * REPLACE (coalesce(price, 0.0) AS price, coalesce(name, 'none') AS name) FROM df",
        ),
        work(
            "filter_rows",
            json!({ "condition": "quantity > 5 AND price < 80" }),
            &[],
            "SELECT * FROM df WHERE quantity > 5 AND price < 80",
        ),
        work(
            "generate_surrogate_key",
            json!({ "columns": ["id", "name"] }),
            &[],
            "SELECT *, md5(concat_ws('-', CAST(id AS VARCHAR), name)) AS surrogate_key FROM df",
        ),
        work(
            "hash_columns",
            json!({ "columns": ["name"] }),
            &[],
            "SELECT * REPLACE (encode(sha256(name), 'hex') AS name) FROM df",
        ),
        work(
            "join",
            json!({ "right_dataset": "customers", "left_on": ["customer"], "right_on": ["id"] }),
            &["customers"],
            "SELECT df.*, c.id AS customers_id, c.country FROM df JOIN customers c ON df.customer = c.id",
        ),
        work(
            "limit",
            json!({ "n": 1000 }),
            &[],
            "SELECT * FROM df LIMIT 1000",
        ),
        work(
            "normalize_schema",
            json!({ "rename": { "low": "few" }, "drop": ["name"], "select_order": ["customer", "id"] }),
            &[],
            "SELECT customer, id, low AS few, high, price, quantity, at FROM df",
        ),
        work(
            "pivot",
            json!({ "group_by": ["low"], "pivot_col": "quantity", "agg_col": "price", "agg_func": "sum", "values": [1, 2, 3] }),
            &[],
            "SELECT low, sum(price) FILTER (WHERE quantity = 1) AS a, sum(price) FILTER (WHERE quantity = 2) AS b, sum(price) FILTER (WHERE quantity = 3) AS c FROM df GROUP BY low",
        ),
        work(
            "protect_columns",
            json!({ "columns": ["name"], "method": "hash", "salt": "s3cret" }),
            &[],
            "SELECT * REPLACE (encode(sha256(concat(name, 's3cret')), 'hex') AS name) FROM df",
        ),
        work(
            "regex_replace",
            json!({ "column": "name", "pattern": "[0-9]+", "replacement": "#" }),
            &[],
            "SELECT * REPLACE (regexp_replace(name, '[0-9]+', '#', 'g') AS name) FROM df",
        ),
        work(
            "rename_columns",
            json!({ "mapping": { "low": "few", "high": "many" } }),
            &[],
            "SELECT id, low AS few, high AS many, customer, price, quantity, at, name FROM df",
        ),
        work(
            "replace_values",
            json!({ "columns": ["quantity"], "mapping": { "1": 100, "2": 200 } }),
            &[],
            "SELECT * REPLACE (CASE quantity WHEN 1 THEN 100 WHEN 2 THEN 200 ELSE quantity END AS quantity) FROM df",
        ),
        work(
            "row_number",
            json!({ "partition_by": ["customer"], "order_by": "at" }),
            &[],
            "SELECT *, row_number() OVER (PARTITION BY customer ORDER BY at) AS row_num FROM df",
        ),
        work(
            "select_columns",
            json!({ "columns": ["id", "name"] }),
            &[],
            "SELECT id, name FROM df",
        ),
        work(
            "sessionize",
            json!({ "timestamp_col": "at", "user_col": "customer" }),
            &[],
            "SELECT *, concat(CAST(customer AS VARCHAR), '-', CAST(sum(fresh) OVER (PARTITION BY customer ORDER BY at) AS VARCHAR)) AS session_id FROM (SELECT *, CASE WHEN at - lag(at) OVER (PARTITION BY customer ORDER BY at) <= INTERVAL '1800 seconds' THEN 0 ELSE 1 END AS fresh FROM df)",
        ),
        work(
            "sort",
            json!({ "by": ["price", "id"] }),
            &[],
            "SELECT * FROM df ORDER BY price, id",
        ),
        work(
            "split_part",
            json!({ "col": "name", "delimiter": "-", "index": 2 }),
            &[],
            "SELECT *, split_part(name, '-', 2) AS part FROM df",
        ),
        work(
            "trim_whitespace",
            json!({ "columns": ["name"] }),
            &[],
            "SELECT * REPLACE (trim(name) AS name) FROM df",
        ),
        work(
            "union",
            json!({ "datasets": ["df"] }),
            &["df"],
            "SELECT * FROM df UNION ALL SELECT * FROM df",
        ),
        work(
            "unit_convert",
            json!({ "conversions": { "price": { "from": "degC", "to": "degF" } } }),
            &[],
            "SELECT * REPLACE (price * 1.8 + 32 AS price) FROM df",
        ),
        work(
            "unpivot",
            json!({ "id_cols": ["id"], "value_vars": ["low", "high"] }),
            &[],
            "SELECT id, 'low' AS variable, low AS value FROM df UNION ALL SELECT id, 'high', high FROM df",
        ),
        work(
            "validate_and_flag",
            json!({ "rules": { "positive": "price > 0", "few": "quantity < 9" } }),
            &[],
            "SELECT *, nullif(concat_ws(', ', CASE WHEN NOT price > 0 THEN 'positive' END, CASE WHEN NOT quantity < 9 THEN 'few' END), '') AS _issues FROM df",
        ),
        work(
            "window_calculation",
            json!({ "target_col": "running", "function": "sum(price)", "partition_by": ["customer"], "order_by": "at" }),
            &[],
            "SELECT *, sum(price) OVER (PARTITION BY customer ORDER BY at) AS running FROM df",
        ),
    ]
}

fn main() {
    compare("operation", &works());
}
