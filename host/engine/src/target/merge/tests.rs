//! Merges against a naive model, on random histories.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_schema::{DataType, Field, Schema};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use odibi_plan::diagnostic::{FileId, Span};
use odibi_plan::plan::{ColumnName, DuplicateKeys, NullKeys};

use super::*;
use crate::target::keys::{KeyMaker, Side};

/// Key, value, and what decides between duplicates.
type Row = (Option<String>, Option<i64>, Option<i64>);

struct Source {
    chunks: std::vec::IntoIter<Vec<Row>>,
    maker: KeyMaker,
    side: Side,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("v", DataType::Int64, true),
        Field::new("o", DataType::Int64, true),
    ]))
}

impl KeyedRows for Source {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn next(&mut self) -> Result<Option<Keyed>, Failure> {
        let Some(rows) = self.chunks.next() else {
            return Ok(None);
        };
        let keys: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|r| r.0.clone())));
        let values: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.1)));
        let orders: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.2)));
        let columns = [Arc::clone(&keys), Arc::clone(&orders)];
        let made = self.maker.make(&columns, self.side)?;
        Ok(Some(Keyed {
            rows: RecordBatch::try_new(schema(), vec![keys, values, orders]).unwrap(),
            keys: made.keys,
            order: made.order,
        }))
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn one_of<T: Clone>(&mut self, items: &[T]) -> T {
        items[usize::try_from(self.below(items.len() as u64)).unwrap()].clone()
    }

    fn row(&mut self, nulls: bool) -> Row {
        let names = [
            "", "a", "b", "é", "e\u{301}", "日本", "\"", ",\n", "z", "NULL", "😀",
        ];
        let key = self.one_of(&names).to_owned();
        let null = nulls && self.below(6) == 0;
        let number = |r: &mut Self| (r.below(5) > 0).then_some(1).map(|_: i64| 0);
        let value = number(self).map(|_| i64::try_from(self.below(3)).unwrap());
        let order = number(self).map(|_| i64::try_from(self.below(4)).unwrap() - 2);
        ((!null).then_some(key), value, order)
    }
}

/// The rows after an honest, slow merge, and what was done.
fn model(
    before: &[Row],
    batch: &[Row],
    keys: &Keys,
    replaces: bool,
) -> Result<(Vec<Row>, Counts), &'static str> {
    let is_null = |row: &Row| row.0.is_none() && keys.null_keys != NullKeys::Equal;
    if keys.null_keys == NullKeys::Error && batch.iter().any(|row| row.0.is_none()) {
        return Err("write/null-key");
    }
    let mut counts = Counts::default();
    let mut kept: Vec<Row> = Vec::new();
    for (at, row) in batch.iter().enumerate() {
        let twins: Vec<usize> = (0..batch.len())
            .filter(|other| !is_null(row) && batch[*other].0 == row.0)
            .collect();
        if is_null(row) || twins.len() == 1 {
            kept.push(row.clone());
            continue;
        }
        let best = match &keys.duplicate_keys {
            DuplicateKeys::Error => return Err("write/duplicate-key"),
            DuplicateKeys::First(None) => twins[0],
            DuplicateKeys::Last(None) => twins[twins.len() - 1],
            DuplicateKeys::First(Some(_)) => {
                let least = twins.iter().map(|t| batch[*t].2).min().unwrap();
                *twins.iter().find(|t| batch[**t].2 == least).unwrap()
            }
            DuplicateKeys::Last(Some(_)) => {
                let most = twins.iter().map(|t| batch[*t].2).max().unwrap();
                *twins.iter().rev().find(|t| batch[**t].2 == most).unwrap()
            }
        };
        if best == at {
            kept.push(row.clone());
        } else {
            counts.duplicate += 1;
        }
    }
    let mut after = before.to_vec();
    for row in kept {
        let places: Vec<usize> = (0..before.len())
            .filter(|at| !is_null(&row) && before[*at].0 == row.0)
            .collect();
        match (&places[..], replaces) {
            ([], _) => {
                counts.inserted += 1;
                after.push(row);
            }
            (_, false) => counts.present += 1,
            ([at], true) if before[*at] == row => counts.unchanged += 1,
            ([at], true) => {
                counts.updated += 1;
                after[*at] = row;
            }
            (_, true) => return Err("write/duplicate-key"),
        }
    }
    Ok((after, counts))
}

fn chunked(random: &mut Random, rows: &[Row]) -> Vec<Vec<Row>> {
    let mut rest = rows;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let n = usize::try_from(random.below(4) + 1)
            .unwrap()
            .min(rest.len());
        chunks.push(rest[..n].to_vec());
        rest = &rest[n..];
    }
    chunks
}

fn keys(random: &mut Random) -> Keys {
    let column = |name: &str| ColumnName {
        name: name.to_owned(),
        span: Span {
            file: FileId(0),
            start: 0,
            end: 0,
        },
    };
    Keys {
        columns: vec![column("k")],
        null_keys: random.one_of(&[NullKeys::Error, NullKeys::Distinct, NullKeys::Equal]),
        duplicate_keys: random.one_of(&[
            DuplicateKeys::Error,
            DuplicateKeys::First(None),
            DuplicateKeys::Last(None),
            DuplicateKeys::First(Some(column("o"))),
            DuplicateKeys::Last(Some(column("o"))),
        ]),
    }
}

#[test]
fn a_thousand_histories_are_as_the_model_has_them() {
    let scratch = tempfile::tempdir().unwrap();
    let (mut refused, mut updated, mut divided) = (0, 0, 0);
    for seed in 1..=1_000_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut state: Vec<Row> = Vec::new();
        // Memory that holds everything, or nothing.
        let memory_bytes_max = random.one_of(&[1 << 30, 64]);
        let nulls = random.below(2) == 0;
        for step in 0..=random.below(5) {
            let keys = keys(&mut random);
            let replaces = random.below(2) == 0;
            let rows = random.below(9);
            let batch: Vec<Row> = (0..rows).map(|_| random.row(nulls)).collect();
            let expected = model(&state, &batch, &keys, replaces);
            let source = |random: &mut Random, rows: &[Row], side| Source {
                chunks: chunked(random, rows).into_iter(),
                maker: KeyMaker::new(&keys, &schema(), "t").unwrap(),
                side,
            };
            let mut existing = source(&mut random, &state, Side::Existing);
            let mut new = source(&mut random, &batch, Side::Batch);
            let work = Workspace {
                scratch: scratch.path().to_owned(),
                runtime: RuntimeEnvBuilder::new().build_arc().unwrap(),
                memory_bytes_max,
                batch_rows: 3,
                stop: &|| false,
            };
            let mut out: Vec<Row> = Vec::new();
            let how = How {
                keys: &keys,
                replaces,
                shown: "t",
            };
            let merged = merge(
                Some(&mut existing),
                &mut new,
                rows,
                how,
                &work,
                &mut |some| {
                    out.extend(rows_of(some));
                    Ok(())
                },
            );
            let what = format!("seed {seed}, step {step}: {batch:?} with {keys:?} into {state:?}");
            match (merged, expected) {
                (Err(failure), Err(code)) => {
                    assert_eq!(failure.code, code, "{what}");
                    refused += 1;
                }
                (Ok(counts), Ok((after, expected))) => {
                    assert_eq!(counts, expected, "{what}");
                    updated += counts.updated;
                    if memory_bytes_max == 64 {
                        divided += 1;
                        out.sort();
                        let mut sorted = after.clone();
                        sorted.sort();
                        assert_eq!(out, sorted, "{what}");
                    } else {
                        assert_eq!(out, after, "{what}");
                    }
                    state = after;
                }
                (merged, expected) => panic!("{what}: {merged:?} instead of {expected:?}"),
            }
        }
    }
    assert!(
        refused > 200 && updated > 500 && divided > 500,
        "{refused} {updated} {divided}"
    );
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::Int64Type;
    let keys = batch.column(0).as_string::<i32>();
    let values = batch.column(1).as_primitive::<Int64Type>();
    let orders = batch.column(2).as_primitive::<Int64Type>();
    let rows = keys.iter().zip(values).zip(orders);
    rows.map(|((k, v), o)| (k.map(str::to_owned), v, o))
        .collect()
}

struct Chunked(std::vec::IntoIter<Keyed>);

impl KeyedRows for Chunked {
    fn schema(&self) -> SchemaRef {
        line(b"").schema()
    }

    fn next(&mut self) -> Result<Option<Keyed>, Failure> {
        Ok(self.0.next())
    }
}

/// One row of one line.
fn line(bytes: &[u8]) -> RecordBatch {
    let lines: ArrayRef = Arc::new(BinaryArray::from_vec(vec![bytes]));
    RecordBatch::try_from_iter([("line", lines)]).unwrap()
}

/// More text than one column can hold, in memory only once: every chunk is the same line under another key.
#[test]
fn a_batch_that_fits_may_have_more_text_than_a_column() {
    const CHUNKS: u64 = 140;
    let long = vec![b'x'; crate::limits::RECORD_BYTES_MAX];
    let all = CHUNKS * long.len() as u64;
    assert!(all > u64::from(i32::MAX.unsigned_abs()));
    let long = line(&long);
    let names: Vec<[u8; 1]> = (0..140).map(|n| [n]).collect();
    let mut random = Random(7);
    let mut keys = keys(&mut random);
    (keys.null_keys, keys.duplicate_keys) = (NullKeys::Error, DuplicateKeys::Error);
    let scratch = tempfile::tempdir().unwrap();
    let work = Workspace {
        scratch: scratch.path().to_owned(),
        runtime: RuntimeEnvBuilder::new().build_arc().unwrap(),
        memory_bytes_max: 1 << 40,
        batch_rows: 1_000,
        stop: &|| false,
    };
    let how = How {
        keys: &keys,
        replaces: true,
        shown: "t",
    };
    let batch = || {
        let chunks = names.iter().map(|name| Keyed {
            rows: long.clone(),
            keys: BinaryArray::from_vec(vec![name.as_slice()]),
            order: None,
        });
        Chunked(chunks.collect::<Vec<_>>().into_iter())
    };
    let (mut rows, mut bytes) = (0, 0);
    let mut out = |some: &RecordBatch| {
        use arrow_array::cast::AsArray as _;
        rows += some.num_rows() as u64;
        bytes += some.column(0).as_binary::<i32>().value_data().len() as u64;
        Ok(())
    };
    let counts = merge(None, &mut batch(), CHUNKS, how, &work, &mut out).unwrap();
    assert_eq!(counts.inserted, CHUNKS);
    // All of them in the places of the rows of one chunk.
    let short: Vec<&[u8]> = vec![b"short"; names.len()];
    let short: ArrayRef = Arc::new(BinaryArray::from_vec(short));
    let existing = Keyed {
        rows: RecordBatch::try_from_iter([("line", short)]).unwrap(),
        keys: BinaryArray::from_vec(names.iter().map(|name| name.as_slice()).collect()),
        order: None,
    };
    let mut existing = Chunked(vec![existing].into_iter());
    let counts = merge(
        Some(&mut existing),
        &mut batch(),
        CHUNKS,
        how,
        &work,
        &mut out,
    );
    assert_eq!(counts.unwrap().updated, CHUNKS);
    assert_eq!((rows, bytes), (2 * CHUNKS, 2 * all));
}

/// They equal nothing, and would make one bucket of all of them.
#[test]
fn rows_without_a_key_go_to_all_buckets() {
    let scratch = tempfile::tempdir().unwrap();
    let work = Workspace {
        scratch: scratch.path().to_owned(),
        runtime: RuntimeEnvBuilder::new().build_arc().unwrap(),
        memory_bytes_max: 64,
        batch_rows: 3,
        stop: &|| false,
    };
    let chunks = (0..40).map(|_| Keyed {
        rows: line(b"x"),
        keys: BinaryArray::new_null(1),
        order: None,
    });
    let mut batch = Chunked(chunks.collect::<Vec<_>>().into_iter());
    let loaded = Loaded::default();
    let made = buckets::divide(loaded, &mut batch, None, 4, &work).unwrap();
    for at in 0..4 {
        let chunks = made.batch(at).unwrap().chunks;
        let rows: usize = chunks.iter().map(|chunk| chunk.rows.num_rows()).sum();
        assert_eq!(rows, 10, "bucket {at}");
    }
}

#[test]
fn columns_that_are_no_keys_are_refused() {
    let mut random = Random(7);
    let mut keys = keys(&mut random);
    let check = |keys: &Keys, data_type: DataType, code: &str| {
        let schema = Schema::new(vec![Field::new("k", data_type, true)]);
        let failure = KeyMaker::new(keys, &schema, "t").unwrap_err();
        assert_eq!(failure.code, code);
        failure.message
    };
    keys.duplicate_keys = DuplicateKeys::Error;
    let list = DataType::new_list(DataType::Int64, true);
    assert!(check(&keys, DataType::Float64, "write/bad-key").contains("floating point"));
    assert!(check(&keys, list, "write/bad-key").contains("nested"));
    keys.columns[0].name = "K".to_owned();
    assert!(check(&keys, DataType::Int64, "write/bad-key").contains("no column `K`"));
}
