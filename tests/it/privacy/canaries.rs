//! Values that occur nowhere else, one for each kind of column and each row, and a scanner that finds them in any dress.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Rows of the table. The thirteenth is the unlucky one.
pub(super) const ROWS: usize = 24;
/// Kinds of columns, in the order of the table.
pub(super) const KINDS: [&str; 9] = [
    "text", "number", "amount", "born", "blob", "word", "tags", "person", "attrs",
];
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The value of a column in a row, as text: 20 characters, or 15 digits, or a date of a rare year.
pub(super) fn canary(kind: &str, row: usize) -> String {
    let digest = Sha256::digest(format!("{kind} {row}"));
    match kind {
        "number" | "amount" => {
            // No zero at either end, so that no format drops a digit.
            let digits = digest.iter().take(15).map(|b| char::from(b'1' + b % 9));
            digits.collect()
        }
        "born" => format!("1873-{:02}-{:02}", row % 12 + 1, row + 1),
        _ => {
            let tail = digest
                .iter()
                .take(16)
                .map(|b| char::from(ALPHABET[usize::from(b % 32)]));
            format!("CNRY{}", tail.collect::<String>())
        }
    }
}

/// Finds canaries.
pub(super) struct Scanner {
    /// The kind of a canary, by any eight bytes of one of its dresses.
    windows: HashMap<[u8; 8], &'static str>,
    /// Whether any window begins with these two bytes: most places are left at once.
    first: Vec<bool>,
}

/// Where a canary was found: the artefact, what kind it is of.
pub(super) type Hits = BTreeMap<String, BTreeSet<&'static str>>;

impl Scanner {
    pub(super) fn new() -> Self {
        let mut scanner = Self {
            windows: HashMap::new(),
            first: vec![false; 1 << 16],
        };
        for kind in KINDS {
            for row in 0..ROWS {
                let value = canary(kind, row);
                if kind == "born" {
                    scanner.learn(kind, value.as_bytes(), 10);
                    scanner.learn(kind, value.replace('-', "/").as_bytes(), 10);
                    continue;
                }
                for dress in dresses(&value) {
                    scanner.learn(kind, &dress, 8);
                }
            }
        }
        scanner
    }

    /// Any `least` bytes of it tell: the windows of eight at a distance that covers that.
    fn learn(&mut self, kind: &'static str, bytes: &[u8], least: usize) {
        if bytes.len() < least {
            return;
        }
        let last = if least > 8 { 0 } else { bytes.len() - 8 };
        for at in 0..=last {
            let mut window = [0; 8];
            window.copy_from_slice(&bytes[at..at + 8]);
            self.first[usize::from(u16::from_be_bytes([window[0], window[1]]))] = true;
            self.windows.insert(window, kind);
        }
    }

    /// Kinds of which something is in there.
    pub(super) fn found(&self, haystack: &[u8]) -> BTreeSet<&'static str> {
        let mut found = BTreeSet::new();
        self.search(haystack, &mut found);
        // Numbers may come with separators and exponents.
        let mut bare = Vec::with_capacity(haystack.len());
        let digit = |at: Option<usize>| {
            at.and_then(|at| haystack.get(at))
                .is_some_and(u8::is_ascii_digit)
        };
        for (at, byte) in haystack.iter().enumerate() {
            let between = digit(at.checked_sub(1)) && digit(Some(at + 1));
            if !(between && b",._' ".contains(byte)) {
                bare.push(*byte);
            }
        }
        self.search(&bare, &mut found);
        found
    }

    fn search(&self, haystack: &[u8], found: &mut BTreeSet<&'static str>) {
        for window in haystack.windows(8) {
            if self.first[usize::from(u16::from_be_bytes([window[0], window[1]]))]
                && let Some(kind) = self.windows.get(window)
            {
                found.insert(kind);
            }
        }
    }
}

/// The ways in which a value may be written. Escapes of URLs, JSON and HTML leave letters and digits as they are.
fn dresses(value: &str) -> Vec<Vec<u8>> {
    let upper = value.to_uppercase();
    let lower = value.to_lowercase();
    let reversed: String = value.chars().rev().collect();
    let mut dresses = vec![
        value.as_bytes().to_vec(),
        upper.into_bytes(),
        lower.clone().into_bytes(),
        reversed.into_bytes(),
        hex(value.as_bytes()).into_bytes(),
        hex(value.as_bytes()).to_uppercase().into_bytes(),
        value.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        value.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        // Full-width forms, which NFKC folds.
        value
            .chars()
            .filter_map(|c| char::from_u32(u32::from(c) + 0xfee0))
            .collect::<String>()
            .into_bytes(),
        hex(&Sha256::digest(value)).into_bytes(),
        hex(&Sha256::digest(lower)).into_bytes(),
    ];
    // In base64 a value begins at any of three places; both alphabets agree on these bytes.
    for lead in ["", "x", "xx"] {
        let coded = base64(format!("{lead}{value}").as_bytes());
        let inner = &coded[lead.len().div_ceil(2) * 2 + usize::from(!lead.is_empty())..];
        dresses.push(inner[..inner.len() - 4].as_bytes().to_vec());
    }
    dresses
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0u32, |n, at| {
            n << 8 | u32::from(*three.get(at).unwrap_or(&0))
        });
        for at in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= three.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
}

/// Every file below a directory, but those whose path begins so.
pub(super) fn files(root: &Path, but: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if but.iter().any(|but| name.starts_with(but)) {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn canaries_are_found_in_every_dress() {
    let scanner = Scanner::new();
    let value = canary("text", 5);
    let number = canary("number", 7);
    let grouped = format!("{},{},{}", &number[..3], &number[3..9], &number[9..]);
    let exponent = format!("{}.{}e14", &number[..1], &number[1..]);
    let shown: Vec<(&str, String)> = vec![
        ("part", value[3..12].to_owned()),
        ("lower", value.to_lowercase()),
        ("reversed", value.chars().rev().collect()),
        ("hex", hex(value.as_bytes())),
        ("digest", hex(&Sha256::digest(&value))),
        ("base64", base64(value.as_bytes())),
        ("base64 after one", base64(format!("a{value}b").as_bytes())),
        ("base64 after two", base64(format!("ab{value}").as_bytes())),
        ("grouped", grouped),
        ("exponent", exponent),
        ("date", canary("born", 3)),
        ("escaped", format!("\\u0022{value}%20&quot;")),
    ];
    for (dress, text) in shown {
        let around = format!("some text before {text} and behind");
        assert!(
            !scanner.found(around.as_bytes()).is_empty(),
            "{dress}: {text}"
        );
    }
    let wide: Vec<u8> = value.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(!scanner.found(&wide).is_empty());
    let innocent =
        "a story of 24 rows, 2026-11-26T21:00:00Z, sha256 0123456789abcdef, 123456789012345";
    assert!(scanner.found(innocent.as_bytes()).is_empty());
}
