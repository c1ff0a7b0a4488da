//! The same kernels behind the interface that other systems use: each call takes a whole table as an Arrow IPC stream, in
//! one list of bytes, and returns a whole table the same way. What the benchmark `peers` compares odibi's interface with.

use std::cell::RefCell;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Schema};
use arrow_select::filter::filter_record_batch;

use crate::{AGGREGATE, DERIVE, FILTER, Groups, PARSE, derive, derived, filter, parse, parsed};

thread_local! {
    static GROUPS: RefCell<Groups> = RefCell::default();
}

/// One call. An empty list instead of a table ends the aggregate.
///
/// # Errors
/// Bytes that are no stream of one batch.
pub fn call(kernel: &str, bytes: &[u8]) -> Result<Vec<u8>, ArrowError> {
    if bytes.is_empty() {
        return GROUPS.with_borrow_mut(|groups| encode(&groups.finish()?));
    }
    let batch = decode(bytes)?;
    match kernel {
        "identity" => encode(&batch),
        "filter" => {
            let keep = filter(&only(&batch, &FILTER)?);
            encode(&filter_record_batch(&batch, &keep)?)
        }
        "derive" => encode(&with(
            &batch,
            derived().into(),
            derive(&only(&batch, &DERIVE)?),
        )?),
        "parse" => encode(&with(
            &batch,
            parsed().into(),
            parse(&only(&batch, &PARSE)?),
        )?),
        "aggregate" => {
            let read = only(&batch, &AGGREGATE)?;
            GROUPS.with_borrow_mut(|groups| groups.add(&read));
            Ok(Vec::new())
        }
        other => Err(ArrowError::InvalidArgumentError(other.to_owned())),
    }
}

/// Reads a stream of one batch.
///
/// # Errors
/// The bytes are something else.
pub fn decode(bytes: &[u8]) -> Result<RecordBatch, ArrowError> {
    let mut reader = StreamReader::try_new(bytes, None)?;
    let none = || ArrowError::IpcError("a stream without a batch".to_owned());
    reader.next().ok_or_else(none)?
}

/// Writes a stream of one batch.
///
/// # Errors
/// As arrow's writer.
pub fn encode(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
    writer.write(batch)?;
    writer.into_inner()
}

fn only(batch: &RecordBatch, names: &[&str]) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema_ref();
    let indices: Result<Vec<usize>, ArrowError> =
        names.iter().map(|n| schema.index_of(n)).collect();
    batch.project(&indices?)
}

fn with(
    batch: &RecordBatch,
    fields: Vec<arrow_schema::Field>,
    made: Vec<ArrayRef>,
) -> Result<RecordBatch, ArrowError> {
    let old = batch.schema_ref().fields().iter().cloned();
    let fields: Vec<_> = old.chain(fields.into_iter().map(Arc::new)).collect();
    let columns = batch.columns().iter().cloned().chain(made).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

#[cfg(target_arch = "wasm32")]
#[allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    reason = "generated"
)]
mod exported {
    odibi_sdk::guest::wit_bindgen::generate!({
        inline: r#"
            package bench:peer;
            world peer {
                export call: func(kernel: string, batch: list<u8>) -> result<list<u8>, string>;
            }
        "#,
        runtime_path: "odibi_sdk::guest::wit_bindgen::rt",
    });

    struct Peer;

    impl Guest for Peer {
        fn call(kernel: String, batch: Vec<u8>) -> Result<Vec<u8>, String> {
            super::call(&kernel, &batch).map_err(|e| e.to_string())
        }
    }

    export!(Peer);
}
