//! What `docs/sql.md` says of DuckDB's SQL: that its spelling is refused, and that ours is understood.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, TimeUnit};

use crate::query::Query;

fn plans(sql: &str) -> Result<(), String> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("amount", DataType::Float64, true),
    ]));
    let query = Query {
        sql: sql.to_owned(),
        tables: vec![vec!["df".to_owned()]],
    };
    query
        .plan(&[schema])
        .map(|_| ())
        .map_err(|failure| failure.to_string())
}

#[test]
fn the_table_for_people_who_come_from_duckdb_is_right() {
    let page = include_str!("../../../../docs/sql.md");
    let (_, table) = page.split_once("| DuckDB | here |").unwrap();
    let mut rows = 0;
    for row in table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
    {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [theirs, ours] = cells[..] else {
            panic!("two cells a row: {row}");
        };
        let theirs = theirs.trim_matches('`');
        assert!(plans(theirs).is_err(), "understood after all: {theirs}");
        if let Some(ours) = ours.strip_prefix('`').and_then(|o| o.strip_suffix('`'))
            && !ours.starts_with("operation:")
        {
            assert_eq!(plans(ours), Ok(()), "{ours}");
        }
        rows += 1;
    }
    assert!(rows > 10, "{rows}");
}

#[test]
fn what_the_page_calls_the_same_is_understood() {
    for sql in [
        "SELECT * EXCLUDE (id) FROM df",
        "SELECT * REPLACE (id + 1 AS id) FROM df",
        "SELECT id FROM df QUALIFY row_number() OVER (PARTITION BY name ORDER BY at) = 1",
        "SELECT DISTINCT ON (name) name, id FROM df ORDER BY name, id",
        "SELECT name, sum(amount) AS s FROM df GROUP BY ALL",
        "SELECT TRY_CAST(name AS INT) AS n FROM df",
        "SELECT count(*) FILTER (WHERE id > 1) AS n FROM df",
        "SELECT string_agg(name, ',') AS n FROM df",
        "SELECT date_trunc('month', at) AS m FROM df",
        "SELECT unnest([1, 2]) AS n",
    ] {
        assert_eq!(plans(sql), Ok(()), "{sql}");
    }
}
