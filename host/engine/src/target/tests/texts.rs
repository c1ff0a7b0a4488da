//! Targets of CSV whose values are easily taken for something else: space, nothing, and dates in other formats.

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use odibi_plan::plan::{CsvRead, CsvWrite, ReadFormat};

use super::*;
use crate::target::rows::lines::Dialect;
use crate::target::rows::lines::tests::lines_of;

#[test]
fn rows_of_space_in_the_only_column_are_rows() {
    let house = House::new();
    house.put("t", "s\n \nx\n\t\n\n");
    house.put("a.csv", "s\n  \n\ty\n\t\t\n");
    let node = |mode: WriteMode| Kind::Csv.node("a.csv", mode);
    house.run_in("1", &node(WriteMode::Append)).unwrap();
    assert_eq!(house.text("t"), "s\n \nx\n\t\n\"  \"\n\ty\n\"\t\t\"\n");
    let (facts, _) = house.copy(csv_in(), "t").unwrap();
    assert_eq!(facts.rows_out, 6);
    // By their keys, quoted or not.
    house.put("b.csv", "s\n \n  \n   \n");
    let facts = house
        .run_in("2", &Kind::Csv.node("b.csv", WriteMode::Upsert(keys("s"))))
        .unwrap();
    assert_eq!(counts(&facts)[0], 1, "only the last is new");
    let (facts, _) = house.copy(csv_in(), "t").unwrap();
    assert_eq!(facts.rows_out, 7);
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % 1_000_003).unwrap() % n
    }

    fn one_of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}

/// Texts that mean something to somebody who reads lines.
const PIECES: [&str; 16] = [
    "", " ", "\t", "\n", "\r", "\r\n", "\"", "\"\"", ",", ";", "NA", "a", "\u{feff}", "\u{a0}",
    "\u{c}", "é",
];

#[test]
fn any_texts_are_read_back_as_they_were() {
    let house = House::new();
    house.put("t", "");
    let (mut blank, mut read) = (0, 0);
    for seed in 1..=400_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let width = random.one_of(&[1, 1, 2]);
        let rows = random.below(6);
        let cell = |random: &mut Random| {
            let pieces = random.below(4);
            let text: String = (0..pieces).map(|_| random.one_of(&PIECES)).collect();
            (random.below(5) > 0).then_some(text)
        };
        let columns: Vec<Vec<Option<String>>> = (0..width)
            .map(|_| (0..rows).map(|_| cell(&mut random)).collect())
            .collect();
        let options = CsvWrite {
            header: random.below(2) == 0,
            delimiter: random.one_of(b",;\t"),
            quote_all: random.below(3) == 0,
            null_value: random.one_of(&["", "NA", "-"]).to_owned(),
            mark: random.below(3) == 0,
            ..CsvWrite::default()
        };
        let named = columns.iter().zip(["s", "t"]).map(|(column, name)| {
            let array: ArrayRef = Arc::new(StringArray::from(column.clone()));
            (name, array, true)
        });
        let batch = RecordBatch::try_from_iter_with_nullable(named).unwrap();
        let file = std::fs::File::create(house.path("t")).unwrap();
        let format = WriteFormat::Csv(options.clone());
        let mut writer = crate::write::begin(&format, &batch.schema(), file, "t").unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let text = house.text("t");
        let what = format!("seed {seed}: {columns:?} with {options:?} is {text:?}");

        // A merge sees every row, and null is not an empty text but where nothing can tell them apart.
        let alone = width == 1 && options.null_value.is_empty();
        let row = |row: usize| -> Vec<Option<String>> {
            let cells = columns.iter().map(|column| column[row].clone());
            let cells = cells.map(|cell| {
                if alone {
                    cell.or(Some(String::new()))
                } else {
                    cell
                }
            });
            cells.collect()
        };
        let expected: Vec<Vec<Option<String>>> = (0..rows).map(row).collect();
        let found = lines_of(&Dialect::of(&format).unwrap(), &text);
        let from = usize::from(options.header);
        assert_eq!(found[from..], expected, "{what}");
        blank += expected
            .iter()
            .flatten()
            .flatten()
            .filter(|c| c.trim().is_empty())
            .count();

        // So does a reader, to whom an empty text is null.
        if rows == 0 {
            continue;
        }
        let csv = CsvRead {
            header: options.header,
            delimiter: options.delimiter,
            null_values: vec![options.null_value.clone()],
            ..CsvRead::default()
        };
        let node = node()
            .read(ReadFormat::Csv(csv), "t")
            .write(parquet_out(), "p");
        let facts = house
            .run(&node)
            .unwrap_or_else(|failure| panic!("{what}: {failure:?}"));
        assert_eq!(facts.rows_out, rows as u64, "{what}");
        let is_null = |cell: &Option<String>| {
            cell.as_ref()
                .is_none_or(|c| c.is_empty() || *c == options.null_value)
        };
        let nulls: Vec<u64> = columns
            .iter()
            .map(|column| column.iter().filter(|cell| is_null(cell)).count() as u64)
            .collect();
        assert_eq!(facts.nulls_out, nulls, "{what}");
        read += rows;
    }
    assert!(blank > 200 && read > 500, "{blank} {read}");
}

fn dated(format: &str, source: &str, mode: WriteMode) -> PlannedNode {
    let csv = CsvWrite {
        date_format: Some(format.to_owned()),
        ..CsvWrite::default()
    };
    let mut node = node()
        .read(csv_in(), source)
        .write(WriteFormat::Csv(csv), "t");
    node.write.as_mut().unwrap().mode = mode;
    node
}

#[test]
fn keys_are_dates_in_the_format_they_are_written_in() {
    let house = House::new();
    house.put("a.csv", "day,v\n2024-02-01,1\n2024-02-03,2\n");
    house.put("b.csv", "day,v\n2024-02-03,9\n2024-03-01,3\n");
    let by_day = || WriteMode::Upsert(keys("day"));
    house
        .run_in("1", &dated("%d/%m/%Y", "a.csv", by_day()))
        .unwrap();
    assert_eq!(house.text("t"), "day,v\n01/02/2024,1\n03/02/2024,2\n");
    let facts = house
        .run_in("2", &dated("%d/%m/%Y", "b.csv", by_day()))
        .unwrap();
    assert_eq!(counts(&facts), [1, 1, 0, 0]);
    let rows = "day,v\n01/02/2024,1\n03/02/2024,9\n01/03/2024,3\n";
    assert_eq!(house.text("t"), rows);
    let once = WriteMode::AppendOnce(Some(keys("day")));
    let facts = house
        .run_in("3", &dated("%d/%m/%Y", "a.csv", once))
        .unwrap();
    assert_eq!(counts(&facts), [0, 0, 0, 2]);
    // A target in another format is not guessed at.
    house.put("c.csv", "day,v\n2024-02-01,7\n");
    let failure = house
        .run_in("4", &dated("%d.%m.%Y", "c.csv", by_day()))
        .unwrap_err();
    assert_eq!(failure.code, "write/schema-mismatch");
    assert_eq!(house.text("t"), rows);
}

#[test]
fn duplicates_are_told_apart_by_dates_in_their_format() {
    let house = House::new();
    house.put(
        "a.csv",
        "id,at\n1,2024-02-01 10:00:00\n1,2024-01-31 23:00:00\n",
    );
    let mut last = keys("id");
    last.duplicate_keys = DuplicateKeys::Last(Some(keys("at").columns.remove(0)));
    let node = |format| dated(format, "a.csv", WriteMode::Upsert(last.clone()));
    house.run(&node("%d.%m.%Y %H:%M")).unwrap();
    assert_eq!(house.text("t"), "id,at\n1,01.02.2024 10:00\n");
    let failure = house.run_in("2", &node("%d.%m.%Y")).unwrap_err();
    assert_eq!(failure.code, "write/bad-key");
}

#[test]
fn a_format_that_does_not_tell_a_key_is_refused() {
    let house = House::new();
    house.put("a.csv", "day,v\n2024-02-01,1\n");
    house.put("b.csv", "day,v\n2024-02-01 05:00:00,1\n");
    let by_day = || WriteMode::Upsert(keys("day"));
    let refused = |node: &PlannedNode| {
        let failure = house.run(node).unwrap_err();
        assert_eq!(failure.code, "write/bad-key", "{failure:?}");
        assert!(failure.message.contains("`day`"), "{failure:?}");
        assert!(!house.path("t").exists());
        house.progress.rows_read.load(Ordering::Relaxed)
    };
    assert_eq!(
        refused(&dated("%d/%m", "a.csv", by_day())),
        0,
        "before any row"
    );
    assert_eq!(
        refused(&dated("%H:%M", "b.csv", by_day())),
        0,
        "before any row"
    );
    // Only the values say that this one loses something.
    refused(&dated("%d/%m/%Y", "b.csv", by_day()));
    house
        .run(&dated("%d/%m", "a.csv", WriteMode::Append))
        .unwrap();
    assert_eq!(house.text("t"), "day,v\n01/02,1\n");
    house
        .run_in("2", &dated("%d/%m", "a.csv", WriteMode::Upsert(keys("v"))))
        .unwrap();
}
