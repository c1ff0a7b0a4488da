//! Values that occur nowhere else, and the search for them in whatever form they may have been written down.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use aho_corasick::AhoCorasick;
use arrow_array::builder::{Int64Builder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Int64Array, RecordBatch,
    StringArray, StructArray,
};
use arrow_schema::{DataType, Field, Schema};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use support::base64;

/// More than a sample shows, so that the extremes of a profile are values of their own.
pub(crate) const ROWS: usize = 24;
/// The columns that hold canaries.
pub(crate) const SENSITIVE: [&str; 9] = [
    "email", "phone", "salary", "birthday", "token", "city", "nicks", "person", "tags",
];

/// The same in every run: digits of a hash of where it stands.
fn number(column: &str, row: usize, digits: u32) -> i64 {
    let hash = Sha256::digest(format!("{column} {row}"));
    let hash = u64::from_be_bytes(hash[..8].try_into().unwrap());
    let least = 10_u64.pow(digits - 1);
    i64::try_from(least + hash % (9 * least)).unwrap()
}

/// `CNRY`, two letters for the column, twelve for the row.
pub(crate) fn text(column: &str, row: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha256::digest(format!("{column}/{row}"));
    let letters = hash[..12]
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    let head = column[..2].to_uppercase();
    format!("CNRY{head}").chars().chain(letters).collect()
}

fn phone(row: usize) -> i64 {
    number("phone", row, 15)
}

/// Without its point, which stands before the last four digits.
fn salary(row: usize) -> i64 {
    number("salary", row, 16)
}

/// A day of the year 1873.
fn birthday(row: usize) -> i32 {
    -35_428 + i32::try_from(row * 11).unwrap()
}

/// A table of which every row holds a canary in every column but the first two; the third row's `id` is 13.
pub(crate) fn table() -> RecordBatch {
    let ids: Vec<i64> = (0..ROWS)
        .map(|row| if row == 2 { 13 } else { 100 + row as i64 })
        .collect();
    let words =
        |column: &str| StringArray::from_iter_values((0..ROWS).map(|row| text(column, row)));
    let tokens: Vec<String> = (0..ROWS).map(|row| text("token", row)).collect();
    let cities: DictionaryArray<Int32Type> = (0..ROWS)
        .map(|row| text("city", row))
        .collect::<Vec<_>>()
        .iter()
        .map(String::as_str)
        .collect();
    let mut nicks = ListBuilder::new(StringBuilder::new());
    let mut tags = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for row in 0..ROWS {
        nicks.append_value([Some(text("nicks", row)), None]);
        tags.keys().append_value(text("tags", row));
        tags.values().append_value(1);
        tags.append(true).unwrap();
    }
    let columns: [(&str, ArrayRef); 11] = [
        ("id", Arc::new(Int64Array::from(ids))),
        (
            "country",
            Arc::new(StringArray::from_iter_values(
                (0..ROWS).map(|row| ["it", "ch"][row % 2]),
            )),
        ),
        ("email", Arc::new(words("email"))),
        (
            "phone",
            Arc::new(Int64Array::from_iter_values((0..ROWS).map(phone))),
        ),
        (
            "salary",
            Arc::new(
                Decimal128Array::from_iter_values((0..ROWS).map(|row| salary(row).into()))
                    .with_precision_and_scale(20, 4)
                    .unwrap(),
            ),
        ),
        (
            "birthday",
            Arc::new(Date32Array::from_iter_values((0..ROWS).map(birthday))),
        ),
        ("token", Arc::new(BinaryArray::from_iter_values(&tokens))),
        ("city", Arc::new(cities)),
        ("nicks", Arc::new(nicks.finish())),
        ("person", Arc::new(person())),
        ("tags", Arc::new(tags.finish())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn person() -> StructArray {
    let emails: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..ROWS).map(|row| text("person", row)),
    ));
    let ages: ArrayRef = Arc::new(Int64Array::from_iter_values(
        (0..ROWS).map(|row| row as i64),
    ));
    let field = |name: &str, kind| Arc::new(Field::new(name, kind, true));
    StructArray::from(vec![
        (field("email", DataType::Utf8), emails),
        (field("age", DataType::Int64), ages),
    ])
}

/// An Arrow file of some columns of a table.
pub(crate) fn arrow_file(table: &RecordBatch, columns: &[&str]) -> Vec<u8> {
    let indices: Vec<usize> = columns
        .iter()
        .map(|name| table.schema().index_of(name).unwrap())
        .collect();
    let table = table.project(&indices).unwrap();
    let schema: Arc<Schema> = table.schema();
    let mut writer = arrow_ipc::writer::FileWriter::try_new(Vec::new(), &schema).unwrap();
    writer.write(&table).unwrap();
    writer.into_inner().unwrap()
}

/// Finds a canary in bytes.
pub(crate) fn find(bytes: &[u8]) -> Option<String> {
    static NEEDLES: OnceLock<AhoCorasick> = OnceLock::new();
    let needles = NEEDLES.get_or_init(|| AhoCorasick::new(needles()).unwrap());
    let found = needles.find(bytes)?;
    let from = found.start().saturating_sub(60);
    let to = (found.end() + 60).min(bytes.len());
    Some(String::from_utf8_lossy(&bytes[from..to]).into_owned())
}

/// Whether the bytes are packed in a way that hides what they hold.
pub(crate) fn is_packed(bytes: &[u8]) -> bool {
    let heads: [&[u8]; 5] = [
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
        b"PAR1",
        b"PK\x03\x04",
        b"ARROW1",
    ];
    heads.iter().any(|head| bytes.starts_with(head))
}

fn needles() -> Vec<Vec<u8>> {
    let mut needles = BTreeSet::new();
    for row in 0..ROWS {
        for column in ["email", "token", "city", "nicks", "person", "tags"] {
            of_text(&text(column, row), &mut needles);
        }
        of_digits(&phone(row).to_string(), 0, &mut needles);
        of_digits(&salary(row).to_string(), 4, &mut needles);
    }
    // Of birthdays the year with the first digit of the month, as people and programs write it.
    for word in ["1873-0", "1873-1", "1873/0", "1873/1", "/1873"] {
        needles.insert(word.as_bytes().to_vec());
    }
    needles.into_iter().collect()
}

fn of_text(value: &str, needles: &mut BTreeSet<Vec<u8>>) {
    let letters: Vec<char> = value.chars().collect();
    for window in letters.windows(8) {
        let word: String = window.iter().collect();
        needles.insert(word.to_lowercase().into_bytes());
        needles.insert(word.chars().rev().collect::<String>().into_bytes());
        needles.insert(word.encode_utf16().flat_map(u16::to_le_bytes).collect());
        needles.insert(word.encode_utf16().flat_map(u16::to_be_bytes).collect());
        needles.insert(hex(word.as_bytes()).into_bytes());
        needles.insert(hex(word.as_bytes()).to_uppercase().into_bytes());
        // As `Debug` shows bytes.
        let bytes: Vec<String> = word.bytes().map(|byte| byte.to_string()).collect();
        needles.insert(bytes.join(", ").into_bytes());
        needles.insert(bytes.join(",").into_bytes());
        needles.insert(word.into_bytes());
    }
    for offset in 0..3 {
        needles.insert(base64(value.as_bytes(), offset).into_bytes());
    }
    // A digest of a value that can be guessed tells it.
    for digest in digests(value) {
        needles.insert(digest.to_uppercase().into_bytes());
        needles.insert(digest.into_bytes());
    }
}

/// The beginnings of digests without a key.
fn digests(value: &str) -> [String; 3] {
    [
        hex(&Md5::digest(value)[..8]),
        hex(&Sha1::digest(value)[..8]),
        hex(&Sha256::digest(value)[..8]),
    ]
}

fn of_digits(digits: &str, scale: usize, needles: &mut BTreeSet<Vec<u8>>) {
    for window in digits.as_bytes().windows(10) {
        needles.insert(window.to_vec());
    }
    let whole = &digits[..digits.len() - scale];
    let mut pointed = whole.to_owned();
    if scale > 0 {
        write!(pointed, ".{}", &digits[digits.len() - scale..]).unwrap();
    }
    needles.insert(pointed.into_bytes());
    for between in [",", ".", "_", "'", " "] {
        let head = whole.len() % 3;
        let mut groups: Vec<&str> = if head > 0 {
            vec![&whole[..head]]
        } else {
            vec![]
        };
        groups.extend((head..whole.len()).step_by(3).map(|at| &whole[at..at + 3]));
        needles.insert(groups.join(between).into_bytes());
    }
    needles.insert(format!("{}.{}", &digits[..1], &digits[1..9]).into_bytes());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the files that the cells read below `dir`.
pub(crate) fn write_files(dir: &Path) {
    let table = table();
    let all: Vec<&str> = ["id", "country"].into_iter().chain(SENSITIVE).collect();
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("all.arrow"), arrow_file(&table, &all)).unwrap();
    std::fs::write(
        dir.join("person.arrow"),
        arrow_file(&table, &["id", "country", "person"]),
    )
    .unwrap();
    // The same with fields that are not what they are declared to be.
    let mut csv = String::from("id,country,email\n");
    for row in 0..ROWS {
        writeln!(csv, "{},it,{}", 100 + row, text("email", row)).unwrap();
    }
    std::fs::write(dir.join("bad.csv"), csv).unwrap();
    // A directory for each value.
    for row in 0..4 {
        let day = dir.join(format!("days/email={}", text("email", row)));
        std::fs::create_dir_all(&day).unwrap();
        std::fs::write(day.join("a.csv"), format!("id,country\n{row},it\n")).unwrap();
    }
}

#[test]
fn canaries_are_found_in_every_form_and_nowhere_else() {
    let (word, number) = (text("nicks", 7), phone(5));
    let bytes: Vec<u8> = word.bytes().collect();
    for told in [
        format!("…{word}…"),
        word.to_lowercase(),
        word[5..13].to_owned(),
        hex(&bytes),
        format!("{:?}", bytes),
        format!("x{}", base64(&bytes, 1)),
        number.to_string(),
        format!("{:e}", number as f64),
        format!("{}.{:04}", salary(3) / 10_000, salary(3) % 10_000),
        format!("{}", &table()["birthday"].len()) + " 1873-06-01",
        hex(&Md5::digest(&word)),
        hex(&Sha1::digest(&word)).to_uppercase(),
        hex(&Sha256::digest(&word)),
    ] {
        assert!(find(told.as_bytes()).is_some(), "{told}");
    }
    assert_eq!(
        find(b"CNRY 1873 [withheld: 12 characters, fingerprint 5ac01e2b]"),
        None
    );
}
