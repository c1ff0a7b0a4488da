//! The filter that everything passes which is printed or written: it knows the values of secrets and puts `***` in
//! their place, also where they are escaped, encoded, cut short or broken over lines.
//!
//! Values shorter than [`CHARS_MIN`] are not looked for: they would be found in everything. The type
//! [`Secret`](crate::secret::Secret) alone keeps those.

mod forms;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::secret::Secret;

/// Shorter values are not looked for.
pub const CHARS_MIN: usize = 4;
/// Keys of JSON objects are only looked at for longer ones: shorter ones may be words of a format.
const KEY_CHARS_MIN: usize = 12;
/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Bytes by which needles are found.
const HEAD: usize = 4;

/// Puts [`MASK`] in place of known secrets.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Every form of every secret.
    needles: Vec<String>,
    /// By their first bytes.
    heads: HashMap<[u8; HEAD], Vec<usize>>,
    /// The values themselves.
    values: BTreeSet<String>,
}

/// What becomes of a whole text of a JSON document that looks like a word of its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// It is looked at like every other.
    Redact,
    /// It stays, if it is made of lowercase letters and underscores alone.
    Keep,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.values.len())
    }
}

impl Redactor {
    /// A filter for these.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut made = Self::default();
        made.learn(secrets);
        made
    }

    /// Knows these as well.
    pub fn learn<'a>(&mut self, secrets: impl IntoIterator<Item = &'a Secret>) {
        for secret in secrets {
            let value = secret.expose();
            if value.trim().chars().count() < CHARS_MIN || !self.values.insert(value.to_owned()) {
                continue;
            }
            for form in forms::of(value) {
                let Some(head) = head(form.as_bytes()) else {
                    continue;
                };
                let heads = self.heads.entry(head).or_default();
                if heads.iter().all(|at| self.needles[*at] != form) {
                    heads.push(self.needles.len());
                    self.needles.push(form);
                }
            }
        }
    }

    /// True when it knows of nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// The text, without secrets.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut found = self.find(text.as_bytes());
        found.extend(self.cut_short(text));
        if text.contains(['\n', '\u{1b}']) {
            found.extend(self.broken(text));
        }
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_unstable();
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for (from, to) in found {
            if from >= end {
                out.push_str(&text[end..from]);
                out.push_str(MASK);
            }
            end = end.max(to);
        }
        out.push_str(&text[end..]);
        Cow::Owned(out)
    }

    /// Takes secrets out of every text of a document, and out of long keys. True when there was one.
    pub fn json(&self, value: &mut Value, words: Words) -> bool {
        if self.is_empty() {
            return false;
        }
        match value {
            Value::Null | Value::Bool(_) => false,
            Value::Number(number) => {
                let secret = self.values.contains(&number.to_string());
                if secret {
                    *value = Value::from(MASK);
                }
                secret
            }
            Value::String(text) => {
                let word = |c: char| c.is_ascii_lowercase() || c == '_';
                if words == Words::Keep && text.chars().all(word) {
                    return false;
                }
                match self.text(text) {
                    Cow::Borrowed(_) => false,
                    Cow::Owned(redacted) => {
                        *text = redacted;
                        true
                    }
                }
            }
            Value::Array(items) => items
                .iter_mut()
                .fold(false, |any, item| self.json(item, words) | any),
            Value::Object(entries) => {
                let mut any = false;
                for (_, value) in entries.iter_mut() {
                    any |= self.json(value, words);
                }
                let hit = |key: &String| {
                    key.chars().count() >= KEY_CHARS_MIN && matches!(self.text(key), Cow::Owned(_))
                };
                if entries.keys().any(hit) {
                    any = true;
                    let old = std::mem::take(entries);
                    entries.extend(old.into_iter().map(|(key, value)| {
                        if hit(&key) {
                            (self.text(&key).into_owned(), value)
                        } else {
                            (key, value)
                        }
                    }));
                }
                any
            }
        }
    }

    fn find(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for (at, window) in text.windows(HEAD).enumerate() {
            let Some(candidates) = head(window).and_then(|head| self.heads.get(&head)) else {
                continue;
            };
            let fits = candidates
                .iter()
                .map(|index| self.needles[*index].as_bytes())
                .filter(|needle| text[at..].starts_with(needle));
            if let Some(longest) = fits.map(<[u8]>::len).max() {
                found.push((at, at + longest));
            }
        }
        found
    }

    /// The beginning of a secret before an ellipsis, and its end behind one.
    fn cut_short(&self, text: &str) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for mark in ["…", "..."] {
            for (at, _) in text.match_indices(mark) {
                let (before, behind) = (&text[..at], &text[at + mark.len()..]);
                for value in &self.values {
                    let begun = prefixes(value).find(|start| before.ends_with(start));
                    found.extend(begun.map(|start| (at - start.len(), at)));
                    let ended = suffixes(value).find(|end| behind.starts_with(end));
                    let end = at + mark.len();
                    found.extend(ended.map(|rest| (end, end + rest.len())));
                }
            }
        }
        found
    }

    /// Secrets that line breaks with indentation, or colours, tear apart.
    fn broken(&self, text: &str) -> Vec<(usize, usize)> {
        let (mut joined, mut places) = (Vec::with_capacity(text.len()), Vec::new());
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b'\n' | b'\r' => {
                    at += 1;
                    let rest = text[at..].trim_start_matches([' ', '\t', '|', '│', '>']);
                    at = text.len() - rest.len();
                }
                0x1b if bytes.get(at + 1) == Some(&b'[') => {
                    let end = text[at + 2..].find(|c: char| c.is_ascii_alphabetic());
                    at = end.map_or(text.len(), |end| at + 2 + end + 1);
                }
                byte => {
                    joined.push(byte);
                    places.push(at);
                    at += 1;
                }
            }
        }
        let place = |(from, to): (usize, usize)| (places[from], places[to - 1] + 1);
        self.find(&joined).into_iter().map(place).collect()
    }
}

fn head(bytes: &[u8]) -> Option<[u8; HEAD]> {
    bytes.get(..HEAD)?.try_into().ok()
}

/// Beginnings of a text, the longest first, down to [`CHARS_MIN`].
fn prefixes(text: &str) -> impl Iterator<Item = &str> {
    let ends = text.char_indices().skip(CHARS_MIN).map(|(at, _)| at);
    let mut ends: Vec<usize> = ends.collect();
    ends.reverse();
    ends.into_iter().map(|end| &text[..end])
}

fn suffixes(text: &str) -> impl Iterator<Item = &str> {
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let many = starts.len().saturating_sub(CHARS_MIN);
    starts
        .into_iter()
        .skip(1)
        .take(many)
        .map(|start| &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(values: &[&str]) -> Redactor {
        let secrets: Vec<Secret> = values.iter().map(|value| Secret::new(*value)).collect();
        Redactor::new(&secrets)
    }

    #[track_caller]
    fn check(values: &[&str], text: &str, expect: &str) {
        assert_eq!(of(values).text(text), expect, "{values:?}");
    }

    #[test]
    fn values_are_taken_out_of_texts() {
        check(&[], "hunter2", "hunter2");
        check(&["hunter2"], "a hunter2 b hunter2", "a *** b ***");
        check(&["hunter2"], "a hunter b", "a hunter b");
        check(&["abc"], "abc", "abc");
        check(&["abcdef", "defghi"], "xabcdefghix", "x***x");
        check(&["pass", "password"], "the password", "the ***");
        check(&["ünïcödé"], "é ünïcödé é", "é *** é");
        check(&["HunTer2xyz"], "hunter2xyz HUNTER2XYZ", "*** ***");
    }

    #[test]
    fn encoded_values_are_taken_out() {
        let value = "p@ss/wörd+1 \"x\"";
        check(&[value], "p%40ss%2Fw%C3%B6rd%2B1%20%22x%22", "***");
        check(&[value], "p%40ss%2fw%c3%b6rd%2b1%20%22x%22", "***");
        check(&[value], "q=p%40ss%2Fw%C3%B6rd%2B1+%22x%22&r", "q=***&r");
        check(&[value], r#"{"a":"p@ss/wörd+1 \"x\""}"#, r#"{"a":"***"}"#);
        check(&[value], "p@ss/wörd+1 &quot;x&quot;", "***");
        check(&["a&b<c>d"], "a&amp;b&lt;c&gt;d", "***");
        check(&["hunter2"], "68756e74657232 68756E74657232", "*** ***");
        check(&["line one\nline two"], "at line one: x", "at ***: x");
        check(&["line one\nline two"], r"line one\nline two", "***");
        check(&["tab\tbed"], "tab\u{2409}bed", "***");
    }

    #[test]
    fn base64_of_a_name_and_a_password_is_taken_out() {
        // `u:`, `us:` and `use:` before the password: each alignment.
        for (encoded, start) in [
            ("dTpodW50ZXIyaHVudGVy", "d"),
            ("dXM6aHVudGVyMmh1bnRlcg==", "d"),
            ("dXNlOmh1bnRlcjJodW50ZXI=", "d"),
        ] {
            let shown = of(&["hunter2hunter"]).text(encoded).into_owned();
            assert!(shown.starts_with(start) && shown.contains(MASK), "{shown}");
            assert!(!shown.contains("aHVudGVy") && shown.len() < 14, "{shown}");
        }
    }

    #[test]
    fn what_is_cut_or_broken_is_taken_out() {
        check(&["hunter2hunter3"], "bad: `hunter2hu…`", "bad: `***…`");
        check(&["hunter2hunter3"], "bad: hun... and", "bad: hun... and");
        check(&["hunter2hunter3"], "…unter3 is bad", "…*** is bad");
        check(&["hunter2hunter3"], "a hunter2\n  | hunter3 b", "a *** b");
        check(
            &["hunter2hunter3"],
            "\u{1b}[31mhunter2\u{1b}[0mhunter3",
            "\u{1b}[31m***",
        );
    }

    #[test]
    fn parts_of_composed_values_are_taken_out() {
        let string = "AccountName=acme;AccountKey=c2VjcmV0a2V5;EndpointSuffix=x";
        check(&[string], "acme refused c2VjcmV0a2V5", "acme refused ***");
        let sas = "?sv=2024&sp=rw&sig=a%2Bb%2Fc1234%3D";
        check(&[sas], "sig=a%2Bb%2Fc1234%3D&sv=2024", "sig=***&sv=2024");
        check(&[sas], "a+b/c1234=", "***");
        let hook = "https://hooks.example.com/services/T000/B000/XXXXYYYYZZZZ";
        check(&[hook], "POST /services/T000/B000/XXXXYYYYZZZZ", "POST ***");
        check(
            &[hook],
            "hooks.example.com is down",
            "hooks.example.com is down",
        );
        let dsn = "postgres://me:hunter2%21@db/x";
        check(&[dsn], "no hunter2! for hunter2%21", "no *** for ***");
    }

    #[test]
    fn documents_keep_their_shape() {
        let redactor = of(&["failed", "12345678", "hunter2hunter2"]);
        let mut value = json!({
            "status": "failed", "n": 12345678, "m": 1234567890, "hunter2hunter2": ["x hunter2hunter2", true, null],
        });
        let mut kept = value.clone();
        assert!(redactor.json(&mut value, Words::Redact));
        assert_eq!(
            value,
            json!({ "status": "***", "n": "***", "m": 1234567890, "***": ["x ***", true, null] })
        );
        assert!(redactor.json(&mut kept, Words::Keep));
        assert_eq!(kept["status"], "failed");
        let mut clean = json!({ "a": ["b"] });
        assert!(!redactor.json(&mut clean, Words::Redact));
    }
}
