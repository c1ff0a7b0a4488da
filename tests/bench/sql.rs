//! What SQL costs in the sandbox: the same queries, as steps and in plain DataFusion. How is said in `against.rs`.
//!
//! `cargo bench -p odibi-tests --bench sql`; `-- --rows 200000 --rounds 3` makes it short, `-- --only join` picks a query.

#![allow(clippy::print_stdout, reason = "the table is the result")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark is told by its environment what to try"
)]

mod against;
mod cpu;
mod measure;
mod noise;

use serde_json::json;

use against::{Work, compare};

/// Name, query, tables behind `df`, the ratio that should not be exceeded.
const QUERIES: [(&str, &str, &[&str], f64); 8] = [
    (
        "filter",
        "SELECT id, price * quantity AS total, name FROM df WHERE quantity > 5",
        &[],
        1.7,
    ),
    (
        "case",
        "SELECT id, CASE WHEN price < 10 THEN 'low' WHEN price < 50 THEN 'middle' ELSE 'high' END AS tier FROM df",
        &[],
        1.7,
    ),
    (
        "strings",
        "SELECT id, upper(name) AS loud, substr(name, 3, 5) AS part, concat(name, '-', low) AS tag FROM df",
        &[],
        1.7,
    ),
    (
        "group-low",
        "SELECT low, sum(price) AS s, avg(quantity) AS a, count(*) AS n FROM df GROUP BY low",
        &[],
        2.2,
    ),
    (
        "group-high",
        "SELECT high, sum(price) AS s, count(*) AS n FROM df GROUP BY high",
        &[],
        1.5,
    ),
    (
        "join",
        "SELECT df.id, df.price, customers.country FROM df JOIN customers ON df.customer = customers.id",
        &["customers"],
        2.0,
    ),
    (
        "row-number",
        "SELECT id, row_number() OVER (PARTITION BY customer ORDER BY at) AS place FROM df",
        &[],
        2.0,
    ),
    (
        "order-by",
        "SELECT id, price, name FROM df ORDER BY price, id",
        &[],
        2.0,
    ),
];

fn main() {
    let works = QUERIES.map(|(name, sql, further, ratio_max)| Work {
        name,
        operation: "sql",
        params: json!({ "sql": sql, "tables": further }),
        main: "df",
        further,
        sql,
        ratio_max: Some(ratio_max),
    });
    compare("query", &works);
}
