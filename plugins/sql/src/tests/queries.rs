//! Some hundred queries, each in several cuts and partitions, and each against DataFusion on the whole tables.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::FutureExt as _;
use odibi_sdk::{Spread, harness};

use super::{params, tables};

const AGGREGATES: [&str; 16] = [
    "count(*)",
    "count(v)",
    "sum(n)",
    "min(g)",
    "max(t)",
    "avg(n)",
    "count(DISTINCT g)",
    "sum(DISTINCT k)",
    "bool_or(b)",
    "median(n)",
    "stddev(v)",
    "string_agg(g, ',' ORDER BY id)",
    "array_agg(id ORDER BY id)",
    "first_value(g ORDER BY id DESC)",
    "sum(v) FILTER (WHERE b)",
    "approx_distinct(g)",
];

const WINDOWS: [&str; 9] = [
    "row_number()",
    "rank()",
    "dense_rank()",
    "lag(v)",
    "lead(g, 2, 'none')",
    "sum(n)",
    "first_value(id)",
    "ntile(3)",
    "count(*)",
];

const PER_BATCH: [&str; 40] = [
    "SELECT * FROM df",
    "SELECT id, g FROM df",
    "SELECT id AS number, v + 1 AS w, g FROM df",
    "SELECT * FROM df WHERE k > 2",
    "SELECT id FROM df WHERE g LIKE 'a%' OR b",
    "SELECT id, upper(g) AS u, length(g) AS l FROM df WHERE g IS NOT NULL",
    "SELECT CASE WHEN k < 2 THEN 'low' WHEN k IS NULL THEN NULL ELSE g END AS c FROM df",
    "SELECT id, CASE WHEN k < 2 THEN 'low' WHEN k <= 3 OR g IS NULL THEN '' ELSE 'größer, und länger als ein Block' END AS c FROM df",
    "SELECT id, CASE WHEN v < 0 THEN 'minus' WHEN v >= 0 THEN NULL ELSE 'nichts' END AS c, CASE WHEN b THEN 'ja' END AS e FROM df",
    "SELECT id, CASE WHEN k = 1 THEN 1.5 WHEN NOT b THEN 2.5 ELSE NULL END AS c, CASE WHEN v < 0.5 THEN 7 END AS h, CASE WHEN b THEN true ELSE false END AS e FROM df",
    "SELECT id, CASE WHEN g IN ('a', 'b') THEN DATE '2024-02-29' WHEN n BETWEEN 0 AND 9.5 THEN d0 END AS c FROM (SELECT *, DATE '1969-12-31' AS d0 FROM df)",
    "SELECT id, CASE WHEN true THEN 'a' ELSE 'b' END AS c, CASE WHEN k > 1 AND k <> 3 THEN 'drei' WHEN false THEN 'nie' END AS e FROM df",
    "SELECT CASE WHEN k < 2 THEN 'low' ELSE 'high' END, CASE WHEN v > n THEN 1 ELSE 0 END FROM df",
    "SELECT id FROM df WHERE CASE WHEN k < 2 THEN 'low' WHEN k < 4 THEN 'mid' ELSE 'high' END = 'mid'",
    "SELECT id, CASE k WHEN 1 THEN 10 WHEN 2 THEN 20 ELSE 0 END AS c FROM df",
    "SELECT id, v * 2 AS a, v * 2 + 1 AS b2, sqrt(abs(v * 2)) AS c FROM df",
    "SELECT id, date_trunc('month', d) AS m, extract(year FROM t) AS y FROM df",
    "SELECT id, CAST(n AS DOUBLE) AS x, CAST(id AS VARCHAR) AS s FROM df",
    "SELECT id, n * 2 AS twice, n / 3 AS third FROM df",
    "SELECT id, coalesce(g, 'none') AS g, nullif(k, 1) AS k FROM df",
    "SELECT id, concat(g, '-', CAST(k AS VARCHAR)) AS x, g || '!' AS y FROM df",
    "SELECT id, split_part(g, '''', 1) AS p, replace(g, 'a', 'ä') AS q, trim(g) AS r FROM df",
    "SELECT id, regexp_replace(g, '[aeiou]', '*') AS x FROM df WHERE regexp_like(g, '^[a-z]')",
    "SELECT id FROM df WHERE k IN (1, 3, 5)",
    "SELECT id FROM df WHERE k NOT IN (1, 3, 5)",
    "SELECT id FROM df WHERE d BETWEEN DATE '2024-10-10' AND DATE '2024-11-01'",
    "SELECT id FROM df WHERE true",
    "SELECT id FROM (SELECT * FROM df WHERE b) x WHERE x.k = 1",
    "WITH a AS (SELECT id, v * 2 AS w FROM df) SELECT id, w FROM a WHERE w > 10",
    "SELECT x.id, x.w FROM (SELECT id, k + 1 AS w FROM df) AS x WHERE w IS NOT NULL",
    "SELECT id, d + INTERVAL '1 day' AS tomorrow, t - INTERVAL '2 hours' AS before FROM df",
    "SELECT id, round(v, 1) AS r, floor(v) AS f, v % 3 AS m, -v AS minus FROM df",
    "SELECT id, struct(k, g) AS s, make_array(k, id) AS a FROM df",
    "SELECT id, array_length(make_array(k, id)) AS n2, greatest(k, 3) AS gr FROM df",
    "SELECT 1 AS one FROM df",
    "SELECT id, g ILIKE 'B%' AS is_b, g ~ '^z' AS is_z, b AND k > 1 AS both FROM df",
    "SELECT id, to_char(t, '%Y-%m') AS month, to_timestamp('2020-01-01T00:00:00') AS fixed FROM df",
    "SELECT substr(g, 1, 2) AS s, left(g, 1) AS l, reverse(g) AS r, lpad(g, 5, '*') AS p FROM df",
    "SELECT k, k IS DISTINCT FROM 1 AS differs, k IS NOT DISTINCT FROM NULL AS n FROM df",
    "SELECT arrow_typeof(v) AS kind, arrow_cast(g, 'Utf8View') AS view FROM df",
];

const JOINS: [&str; 9] = [
    "JOIN",
    "LEFT JOIN",
    "RIGHT JOIN",
    "FULL JOIN",
    "LEFT SEMI JOIN",
    "LEFT ANTI JOIN",
    "RIGHT SEMI JOIN",
    "RIGHT ANTI JOIN",
    "CROSS JOIN",
];

const SINGLE: [&str; 43] = [
    "SELECT count(*) AS n FROM df",
    "SELECT sum(v) AS s, max(g) AS m FROM df WHERE k > 1",
    "SELECT * FROM df ORDER BY v DESC NULLS LAST, id",
    "SELECT upper(g) AS u, id FROM df WHERE k > 1 ORDER BY n DESC NULLS LAST, id",
    "SELECT * FROM (SELECT id, k + 1 AS l, g AS h FROM df WHERE b) x WHERE l > 2 ORDER BY h, id DESC",
    "SELECT id, k + 1 AS l FROM df ORDER BY l, id",
    "SELECT id, v FROM df ORDER BY t NULLS FIRST, id LIMIT 7",
    "SELECT id FROM df ORDER BY id OFFSET 5",
    "SELECT id FROM df LIMIT 3",
    // Which rows a limit keeps is decided before they are sorted.
    "SELECT id, v FROM (SELECT id, v FROM df LIMIT 10) x ORDER BY v, id",
    "SELECT id, v FROM (SELECT id, v FROM df WHERE b LIMIT 10 OFFSET 3) x ORDER BY v, id",
    "SELECT id, row_number() OVER (ORDER BY v, id) AS r FROM (SELECT * FROM df LIMIT 10) x",
    "SELECT id, lag(id) OVER (ORDER BY v, id) AS l FROM (SELECT * FROM df ORDER BY g NULLS FIRST, id DESC LIMIT 9) x",
    "SELECT id, row_number() OVER (ORDER BY id) AS r FROM df ORDER BY id",
    "SELECT id, sum(k) OVER (ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM df ORDER BY id",
    "SELECT id FROM df WHERE v > (SELECT avg(v) FROM df)",
    "SELECT id, v - (SELECT min(v) FROM df) AS above FROM df",
    "SELECT g FROM df UNION ALL SELECT label FROM other",
    "SELECT id FROM df WHERE false",
    "SELECT df.id, other.label FROM df JOIN other ON df.k < other.w WHERE df.id < 20",
    "SELECT df.id, other.label FROM df, other WHERE df.k + other.w = 7 ORDER BY id, label",
    "SELECT k, g, sum(n) AS s FROM df GROUP BY GROUPING SETS ((k), (g), ()) ORDER BY k, g, s",
    "SELECT k, sum(n) AS s FROM df GROUP BY ROLLUP (k)",
    "SELECT k % 2 AS parity, count(*) AS n FROM df GROUP BY k % 2",
    "SELECT v, count(*) AS n FROM df GROUP BY v",
    "SELECT d, count(*) AS n, sum(v) FILTER (WHERE b) AS s, min(g) AS first FROM df WHERE k > 0 GROUP BY d ORDER BY d",
    "SELECT t, avg(n) AS a, max(id) AS last FROM df GROUP BY t HAVING count(*) > 1 ORDER BY t",
    "SELECT id * 4294967296 AS far, sum(v) AS s FROM df GROUP BY id * 4294967296",
    "SELECT arrow_cast(k, 'UInt32') AS u, arrow_cast(n, 'Decimal64(10, 2)') AS m, count(*) AS c FROM df GROUP BY 1, 2",
    "SELECT arrow_cast(n, 'Decimal64(10, 2)') AS m, count(*) AS c FROM df GROUP BY 1",
    "SELECT a.c, count(*) AS n FROM (SELECT arrow_cast(k, 'Int32') AS l, count(*) AS c FROM df GROUP BY 1) a GROUP BY a.c",
    "SELECT id FROM df WHERE k IN (SELECT k FROM other WHERE w > 10) ORDER BY id",
    "SELECT id FROM df WHERE EXISTS (SELECT 1 FROM other WHERE other.k = df.k AND other.w > df.k) ORDER BY id",
    "SELECT id FROM df WHERE k NOT IN (SELECT k FROM other WHERE k IS NOT NULL) ORDER BY id",
    "SELECT unnest(make_array(k, id)) AS x FROM df",
    "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 5) SELECT r.i, count(*) AS c FROM r, df GROUP BY r.i",
    "WITH RECURSIVE r AS (SELECT id, k FROM df WHERE id < 3 UNION ALL SELECT df.id, df.k FROM df JOIN r ON df.id = r.id + 10) SELECT id, k FROM r",
    "SELECT value AS i FROM generate_series(1, 5) ORDER BY i",
    "SELECT a.id, b.id AS other_id FROM df a JOIN df b ON a.k = b.id",
    "VALUES (1, 'a'), (2, 'b')",
    "SELECT max(id) AS m FROM df HAVING count(*) > 3",
    "SELECT DISTINCT ON (g) g, id FROM df ORDER BY g, id",
    "SELECT k, g FROM df INTERSECT SELECT k, g FROM other ORDER BY k, g",
];

const PARTITIONED: [&str; 28] = [
    "SELECT k FROM df EXCEPT SELECT k FROM other",
    "SELECT DISTINCT g FROM df",
    "SELECT DISTINCT k, g FROM df",
    "SELECT k, count(*) AS n FROM df WHERE v > 0 GROUP BY k HAVING count(*) > 2",
    "SELECT g AS grp, sum(n) AS total FROM df GROUP BY g",
    "SELECT k, max(s) AS m FROM (SELECT k, g, sum(n) AS s FROM df GROUP BY k, g) x GROUP BY k",
    "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY id) AS r FROM df) x WHERE r = 1",
    "SELECT k, d, sum(n) AS s FROM df GROUP BY k, d",
    "SELECT d, count(DISTINCT k) AS ks, count(DISTINCT g) AS gs FROM df GROUP BY d",
    "SELECT a.id, b.id AS peer FROM df a JOIN df b ON a.k = b.k AND a.id < b.id",
    "SELECT df.id, o.label, x.label AS second FROM df JOIN other o ON df.k = o.k LEFT JOIN other x ON df.k = x.k",
    "SELECT df.g, count(*) AS n FROM df JOIN other ON df.g = other.g GROUP BY df.g",
    "SELECT df.g, sum(other.w) AS w FROM df LEFT JOIN other ON df.g = other.g AND other.w > 5 GROUP BY df.g",
    "SELECT k, count(*) AS n FROM (SELECT k FROM df UNION ALL SELECT k FROM other) u GROUP BY k",
    "SELECT k FROM df UNION SELECT k FROM other",
    "SELECT id FROM df WHERE EXISTS (SELECT 1 FROM other WHERE other.k = df.k)",
    "SELECT id FROM df WHERE NOT EXISTS (SELECT 1 FROM other WHERE other.k = df.k)",
    "SELECT id FROM df WHERE k IN (SELECT k FROM other)",
    "SELECT t.k, t.n, o.label FROM (SELECT k, count(*) AS n FROM df GROUP BY k) t JOIN other o ON t.k = o.k",
    "SELECT df.id, a.m FROM df JOIN (SELECT k, max(w) AS m FROM other GROUP BY k) a ON a.k = df.k",
    "SELECT id, v - avg(v) OVER (PARTITION BY g) AS above, sum(v) OVER (PARTITION BY g, k) AS s FROM df",
    "SELECT id, (SELECT max(w) FROM other WHERE other.k = df.k) AS best FROM df",
    "SELECT b, k, count(*) AS n FROM df GROUP BY b, k",
    "SELECT df.k, df.id FROM df JOIN other ON df.k = other.k AND df.g = other.g",
    "SELECT id, ntile(2) OVER (PARTITION BY d ORDER BY id) AS half FROM df WHERE b",
    "SELECT t, count(*) AS n, min(id) AS first FROM df GROUP BY t",
    "SELECT n, count(*) AS c FROM df GROUP BY n",
    "SELECT upper(g) AS u, count(*) AS c FROM (SELECT g FROM df GROUP BY g, k) x GROUP BY g",
];

/// What each query is run with, and how it has to be spread.
fn all() -> Vec<(String, Spread)> {
    let mut all: Vec<(String, Spread)> = Vec::new();
    all.extend(
        PER_BATCH
            .iter()
            .map(|q| ((*q).to_owned(), Spread::PerBatch)),
    );
    all.extend(SINGLE.iter().map(|q| ((*q).to_owned(), Spread::Single)));
    all.extend(
        PARTITIONED
            .iter()
            .map(|q| ((*q).to_owned(), Spread::PerPartition)),
    );
    for aggregate in AGGREGATES {
        for by in ["k", "g", "d, b"] {
            all.push((
                format!("SELECT {by}, {aggregate} AS a FROM df GROUP BY {by}"),
                Spread::PerPartition,
            ));
        }
        all.push((format!("SELECT {aggregate} AS a FROM df"), Spread::Single));
    }
    for window in WINDOWS {
        for (over, spread) in [
            ("PARTITION BY k ORDER BY id", Spread::PerPartition),
            (
                "PARTITION BY g, b ORDER BY t DESC NULLS LAST, id",
                Spread::PerPartition,
            ),
            ("ORDER BY id", Spread::Single),
        ] {
            all.push((
                format!("SELECT id, k, {window} OVER ({over}) AS w FROM df"),
                spread,
            ));
        }
    }
    for join in JOINS {
        let on = |on: &str| {
            if join == "CROSS JOIN" {
                String::new()
            } else {
                format!(" ON {on}")
            }
        };
        let columns = match join {
            "LEFT SEMI JOIN" | "LEFT ANTI JOIN" => "df.id",
            "RIGHT SEMI JOIN" | "RIGHT ANTI JOIN" => "other.label",
            _ => "df.id, other.label",
        };
        let spread = if join == "CROSS JOIN" {
            Spread::Single
        } else {
            Spread::PerPartition
        };
        for keys in [
            "df.k = other.k",
            "df.k = other.k AND df.g = other.g",
            "df.k = other.k AND other.w > 10",
        ] {
            // The order of a product depends on how its rows come.
            let order = if join == "CROSS JOIN" {
                " ORDER BY id, label"
            } else {
                ""
            };
            all.push((
                format!("SELECT {columns} FROM df {join} other{}{order}", on(keys)),
                spread,
            ));
        }
    }
    all
}

#[test]
fn every_query_in_pieces_gives_what_the_engine_gives_on_the_whole() {
    let queries = all();
    assert!(queries.len() > 200, "{}", queries.len());
    let mut wrong = Vec::new();
    for (sql, spread) in &queries {
        let reads_other = sql.contains("other");
        for (rows, seed) in [(61, 7), (0, 1)] {
            let df = tables::df(rows, seed);
            let other = tables::other(if rows == 0 { 5 } else { 23 }, seed + 1);
            let (names, inputs): (&[&str], Vec<RecordBatch>) = if reads_other {
                (&["other"], vec![df, other])
            } else {
                (&[], vec![df])
            };
            let got = std::panic::catch_unwind(AssertUnwindSafe(|| {
                harness::run(&crate::plugin(), "sql", params(sql, names), &inputs)
            }));
            let Ok(Ok(got)) = got else {
                wrong.push(format!("{sql}\n  {got:?}"));
                break;
            };
            let expect = reference(sql, &inputs);
            let ordered = sql.contains("ORDER BY")
                && !sql.contains("OVER (")
                && !sql.contains("(g ORDER")
                && !sql.contains("(id ORDER");
            if rows_of(&got, ordered) != rows_of(&expect, ordered) {
                wrong.push(format!(
                    "{sql}\n  gives another result than DataFusion, {} rows against {}",
                    got.num_rows(),
                    expect.num_rows()
                ));
            }
        }
        let planned = spread_of(sql, reads_other);
        if planned != Some(*spread) {
            wrong.push(format!(
                "{sql}\n  is spread {planned:?}, expected {spread:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        queries.len(),
        wrong.join("\n")
    );
}

fn spread_of(sql: &str, reads_other: bool) -> Option<Spread> {
    let mut schemas = vec![tables::df(0, 1).schema()];
    let mut names = Vec::new();
    if reads_other {
        schemas.push(tables::other(0, 1).schema());
        names.push("other");
    }
    let plugin = crate::plugin();
    let planned = plugin
        .find("sql")
        .unwrap()
        .plan(&params(sql, &names).to_string(), &schemas);
    planned.ok().map(|plan| plan.spread)
}

fn reference(sql: &str, inputs: &[RecordBatch]) -> RecordBatch {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    for (name, batch) in ["df", "other"].iter().zip(inputs) {
        context.register_batch(*name, batch.clone()).unwrap();
    }
    let rows = async {
        let frame = context.sql(sql).await.unwrap();
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let batches = frame.collect().await.unwrap();
        arrow_select::concat::concat_batches(&schema, &batches).unwrap()
    };
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(rows.boxed())
}

/// Rows as text, floats to nine digits; sorted unless their order counts.
fn rows_of(batch: &RecordBatch, ordered: bool) -> Vec<String> {
    let options = FormatOptions::default().with_null("∅");
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap())
        .collect();
    let cell = |column: usize, row: usize| {
        let text = columns[column].value(row).to_string();
        if batch.column(column).data_type().is_floating() && text != "∅" {
            format!("{:.9e}", text.parse::<f64>().unwrap_or(f64::NAN))
        } else {
            text
        }
    };
    let row = |at| {
        (0..columns.len())
            .map(|c| cell(c, at))
            .collect::<Vec<_>>()
            .join("|")
    };
    let mut rows: Vec<String> = (0..batch.num_rows()).map(row).collect();
    if !ordered {
        rows.sort();
    }
    rows
}
