//! SQL inside the sandbox: the operation `sql`, and operations that are one statement.

mod batchwise;
mod database;
mod fault;
#[cfg(target_arch = "wasm32")]
mod no_files;
mod order;
mod parse;
mod port;
mod query;
mod spread;
mod sql;
mod stream;
mod types;

odibi_sdk::export!(name = "sql", operations = [sql::Sql]);

#[cfg(test)]
mod tests;
