//! The other side of the benchmark `sql`: plain DataFusion, one thread, one partition, tables in memory.
//!
//! `native NAME=FILE.arrow…` reads the tables, then answers each line of stdin, a query, with a line of its rows and the
//! CPU nanoseconds it took.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;

use arrow_ipc::reader::FileReader;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

/// CPU time of this thread, as Linux counts it.
fn cpu_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let config = SessionConfig::new().with_target_partitions(1);
    let context = SessionContext::new_with_config(config);
    for argument in std::env::args().skip(1) {
        let (name, path) = argument.split_once('=').unwrap();
        let reader = FileReader::try_new(std::fs::File::open(path).unwrap(), None).unwrap();
        let schema = reader.schema();
        let batches = reader.map(Result::unwrap).collect();
        let table = MemTable::try_new(schema, vec![batches]).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
    }
    let mut answers = std::io::stdout().lock();
    for query in std::io::stdin().lock().lines() {
        let query = query.unwrap();
        let start = cpu_nanos();
        let batches = runtime.block_on(async {
            let frame = context.sql(&query).await.unwrap();
            frame.collect().await.unwrap()
        });
        let took = cpu_nanos() - start;
        let rows: usize = batches.iter().map(|b| b.num_rows()).sum();
        writeln!(answers, "{rows} {took}").unwrap();
        answers.flush().unwrap();
    }
}
