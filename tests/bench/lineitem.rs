//! TPC-H's `lineitem` as a Parquet file, made by `tpchgen`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tpchgen::dates::TPCHDate;
use tpchgen::decimal::TPCHDecimal;
use tpchgen::generators::{LineItem, LineItemGenerator};

const BATCH_ROWS: usize = 65_536;

/// Writes it and says how many rows there are.
pub(crate) fn write(path: &Path, scale: f64) -> usize {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let generator = LineItemGenerator::new(scale, 1, 1);
    let mut lines = generator.iter();
    let (mut writer, mut rows) = (None, 0);
    loop {
        let chunk: Vec<LineItem<'_>> = lines.by_ref().take(BATCH_ROWS).collect();
        if chunk.is_empty() {
            break;
        }
        rows += chunk.len();
        let batch = batch(&chunk);
        let writer = writer.get_or_insert_with(|| {
            let properties = WriterProperties::builder()
                .set_compression(Compression::SNAPPY)
                .set_max_row_group_row_count(Some(1 << 20))
                .build();
            let file = File::create(path).unwrap();
            ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap()
        });
        writer.write(&batch).unwrap();
    }
    writer.unwrap().close().unwrap();
    rows
}

fn batch(lines: &[LineItem<'_>]) -> RecordBatch {
    let whole = |of: fn(&LineItem<'_>) -> i64| -> ArrayRef {
        Arc::new(lines.iter().map(of).collect::<Int64Array>())
    };
    let money = |of: fn(&LineItem<'_>) -> TPCHDecimal| -> ArrayRef {
        Arc::new(
            lines
                .iter()
                .map(|l| of(l).as_f64())
                .collect::<Float64Array>(),
        )
    };
    let day = |of: fn(&LineItem<'_>) -> TPCHDate| -> ArrayRef {
        Arc::new(
            lines
                .iter()
                .map(|l| Some(of(l).to_unix_epoch()))
                .collect::<Date32Array>(),
        )
    };
    let text = |texts: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let numbers = lines.iter().map(|l| l.l_linenumber);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("l_orderkey", whole(|l| l.l_orderkey)),
        ("l_partkey", whole(|l| l.l_partkey)),
        ("l_suppkey", whole(|l| l.l_suppkey)),
        ("l_linenumber", Arc::new(numbers.collect::<Int32Array>())),
        ("l_quantity", whole(|l| l.l_quantity)),
        ("l_extendedprice", money(|l| l.l_extendedprice)),
        ("l_discount", money(|l| l.l_discount)),
        ("l_tax", money(|l| l.l_tax)),
        (
            "l_returnflag",
            text(lines.iter().map(|l| l.l_returnflag).collect()),
        ),
        (
            "l_linestatus",
            text(lines.iter().map(|l| l.l_linestatus).collect()),
        ),
        ("l_shipdate", day(|l| l.l_shipdate)),
        ("l_commitdate", day(|l| l.l_commitdate)),
        ("l_receiptdate", day(|l| l.l_receiptdate)),
        (
            "l_shipinstruct",
            text(lines.iter().map(|l| l.l_shipinstruct).collect()),
        ),
        (
            "l_shipmode",
            text(lines.iter().map(|l| l.l_shipmode).collect()),
        ),
        (
            "l_comment",
            text(lines.iter().map(|l| l.l_comment).collect()),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}
