//! The reader of one mapping: typed keys with defaults, and at the end a word about every key nobody asked for.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use super::Text;
use crate::diagnostic::{Collector, Diagnostic, Span, codes, nearest, quoted};
use crate::limits::{LISTED_MAX, NAME_CHARS_MAX};
use crate::secret::{Secret, SecretRef, Secrets};
use crate::yaml::{Entry, Mapping, Node, Resolved, Scalar, Value};

/// Where readers report.
pub(super) struct Context {
    faults: RefCell<Collector>,
    /// False when the file could not be read to its end: nothing is called missing then.
    complete: bool,
    /// Every use of a connection, with who uses it: also of reads and writes that are refused for another reason.
    connections: RefCell<Vec<(Text, String)>>,
    /// What the vaults said.
    secrets: Option<Secrets>,
    /// References to vaults that keys of their own make.
    secret_refs: RefCell<Vec<(SecretRef, Span)>>,
}

impl Context {
    pub(super) fn new(complete: bool) -> Self {
        Self {
            faults: RefCell::default(),
            complete,
            connections: RefCell::default(),
            secrets: None,
            secret_refs: RefCell::default(),
        }
    }

    pub(super) fn with_secrets(self, known: Option<&Secrets>) -> Self {
        Self {
            secrets: known.cloned(),
            ..self
        }
    }

    /// What a vault said; `None` when nobody asked yet.
    pub(super) fn secret(&self, reference: SecretRef, span: Span) -> Option<Secret> {
        let found = self
            .secrets
            .as_ref()
            .and_then(|known| known.get(&reference));
        let found = found.cloned();
        self.secret_refs.borrow_mut().push((reference, span));
        found
    }

    pub(super) fn take_secret_refs(&self) -> Vec<(SecretRef, Span)> {
        self.secret_refs.take()
    }

    pub(super) fn report(&self, diagnostic: Diagnostic) {
        self.faults.borrow_mut().push(diagnostic);
    }

    pub(super) fn report_with(&self, make: impl FnOnce() -> Diagnostic) {
        self.faults.borrow_mut().push_with(make);
    }

    pub(super) fn report_all(&self, diagnostics: Vec<Diagnostic>) {
        self.faults.borrow_mut().extend(diagnostics);
    }

    /// Uses of connections, which can be judged when all of them are known.
    pub(super) fn take_connections(&self) -> Vec<(Text, String)> {
        self.connections.take()
    }

    pub(super) fn finish(self) -> Vec<Diagnostic> {
        self.faults.into_inner().finish()
    }

    pub(super) fn wrong_type(&self, node: &Node, subject: &str, wanted: &str) -> Diagnostic {
        let message = format!("{subject} takes {wanted}, not {}", node.describe());
        Diagnostic::error(&codes::WRONG_TYPE, node.span, message)
    }
}

/// Reads one mapping. Every method names the key it reads; [`Reader::finish`] reports the others.
pub(super) struct Reader<'a> {
    context: &'a Context,
    mapping: &'a Mapping,
    /// The whole mapping, or the key it stands under.
    span: Span,
    /// How messages call it: "node `clean`".
    subject: String,
    /// Keys that were asked for, in order.
    known: Vec<&'static str>,
    /// Keys of ODIBI that have no meaning here: worth suggesting for a slip, not worth listing.
    unlisted: Vec<&'static str>,
    read: Vec<bool>,
    /// Keys of which one is missing, and what is to be said of it, unless one of them turns out to be there, misspelt.
    missing: RefCell<Vec<(Vec<&'static str>, Diagnostic)>>,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let missing = self.missing.take().into_iter();
        missing.for_each(|(_, diagnostic)| self.context.report(diagnostic));
    }
}

impl<'a> Reader<'a> {
    /// `None`, reported unless it is missing for another reason, when the node is no mapping. `span` is the place for
    /// keys that are missing.
    pub(super) fn new(
        context: &'a Context,
        node: &'a Node,
        span: Span,
        subject: impl Into<String>,
    ) -> Option<Self> {
        let subject = subject.into();
        match &node.value {
            Value::Mapping(mapping) => {
                let read = vec![false; mapping.entries.len()];
                Some(Self {
                    context,
                    mapping,
                    span,
                    subject,
                    known: Vec::new(),
                    unlisted: Vec::new(),
                    read,
                    missing: RefCell::default(),
                })
            }
            Value::Missing => None,
            Value::Scalar(_) if node.is_null() && !context.complete => None,
            Value::Scalar(_) | Value::Sequence(_) => {
                context.report(context.wrong_type(node, &subject, "a mapping"));
                None
            }
        }
    }

    /// Names the thing that is read, once its name is known.
    pub(super) fn rename(&mut self, subject: impl Into<String>) {
        self.subject = subject.into();
    }

    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    pub(super) fn context(&self) -> &'a Context {
        self.context
    }

    pub(super) fn span(&self) -> Span {
        self.span
    }

    /// True when a key may only seem to be missing.
    pub(super) fn truncated(&self) -> bool {
        self.mapping.truncated || !self.context.complete
    }

    /// The entry of a key, even when its value is null.
    pub(super) fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.find(key)
    }

    fn unlisted(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.unlisted.push(key);
        self.find(key)
            .filter(|entry| asks_for_something(&entry.value))
    }

    fn find(&mut self, key: &str) -> Option<&'a Entry> {
        let index = self
            .mapping
            .entries
            .iter()
            .position(|entry| entry.key == key)?;
        self.read[index] = true;
        self.mapping.entries.get(index)
    }

    /// The entry of a key that holds something.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.entry(key)
            .filter(|entry| !entry.value.is_null() && entry.value.value != Value::Missing)
    }

    /// As [`Reader::optional`]; it is a fault when there is none.
    pub(super) fn required(&mut self, key: &'static str) -> Option<&'a Entry> {
        let found = self.entry(key);
        self.require(&[key], found)
    }

    /// The first of several spellings that is there; two of them together are a fault.
    pub(super) fn one_of(&mut self, keys: &[&'static str]) -> Option<&'a Entry> {
        let found: Vec<&'a Entry> = keys.iter().filter_map(|key| self.optional(key)).collect();
        if let [first, second, ..] = &found[..] {
            self.exclusive(first, second);
        }
        found.first().copied()
    }

    /// As [`Reader::one_of`]; it is a fault when there is none.
    pub(super) fn required_one_of(&mut self, keys: &[&'static str]) -> Option<&'a Entry> {
        if let Some(found) = self.one_of(keys) {
            return Some(found);
        }
        let found = keys.iter().find_map(|key| self.mapping.get(key));
        self.require(keys, found)
    }

    /// `keys` may stand for one another; the first is the one to be named.
    fn require(&self, keys: &[&'static str], found: Option<&'a Entry>) -> Option<&'a Entry> {
        match found {
            None if self.truncated() => None,
            None => {
                let key = keys.first().copied().unwrap_or_default();
                let message = format!("{} lacks the key {}", self.subject, quoted(key));
                let made = Diagnostic::error(&codes::MISSING_KEY, self.span, message);
                self.missing.borrow_mut().push((keys.to_vec(), made));
                None
            }
            Some(entry) if entry.value.value == Value::Missing => None,
            Some(entry) if entry.value.is_null() && !self.context.complete => None,
            Some(entry) if entry.value.is_null() => {
                let message = format!("{} of {} has no value", quoted(&entry.key), self.subject);
                self.context.report(Diagnostic::error(
                    &codes::MISSING_KEY,
                    entry.key_span,
                    message,
                ));
                None
            }
            Some(entry) => Some(entry),
        }
    }

    /// Reports two keys that exclude each other.
    pub(super) fn exclusive(&self, first: &Entry, second: &Entry) {
        let message = format!(
            "{} has both {} and {}",
            self.subject,
            quoted(&first.key),
            quoted(&second.key)
        );
        let made = Diagnostic::error(&codes::EXCLUSIVE_KEYS, second.key_span, message)
            .also(first.key_span, String::new())
            .hint("keep one of them");
        self.context.report(made);
    }

    /// How messages call the value of a key.
    fn value_subject(&self, entry: &Entry) -> String {
        format!("{} of {}", quoted(&entry.key), self.subject)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<Text> {
        let entry = self.optional(key)?;
        self.as_text(entry)
    }

    pub(super) fn required_text(&mut self, key: &'static str) -> Option<Text> {
        let entry = self.required(key)?;
        self.as_text(entry)
    }

    /// The value as a text. Numbers count as the text that stands in the file.
    pub(super) fn as_text(&self, entry: &Entry) -> Option<Text> {
        self.node_as_text(&entry.value, &self.value_subject(entry))
    }

    pub(super) fn node_as_text(&self, node: &Node, subject: &str) -> Option<Text> {
        let fault = match &node.value {
            Value::Missing => return None,
            Value::Scalar(scalar) => match scalar.resolve() {
                Resolved::Text | Resolved::Integer(_) | Resolved::Float(_) => {
                    return Some(Text::new(scalar, node.span));
                }
                Resolved::Null => self.context.wrong_type(node, subject, "a text"),
                Resolved::Boolean(_) => {
                    self.context
                        .wrong_type(node, subject, "a text")
                        .hint(format!(
                            "put it in quotes: {}",
                            quoted(&format!("\"{}\"", scalar.shown()))
                        ))
                }
            },
            Value::Sequence(_) | Value::Mapping(_) => {
                self.context.wrong_type(node, subject, "a text")
            }
        };
        self.context.report(fault);
        None
    }

    /// A text that is not empty.
    pub(super) fn filled(&self, text: Option<Text>, key: &str) -> Option<Text> {
        let text = text?;
        if !text.value.trim().is_empty() {
            return Some(text);
        }
        let message = format!("{} of {} is empty", quoted(key), self.subject);
        self.context
            .report(Diagnostic::error(&codes::BAD_VALUE, text.span, message));
        None
    }

    /// The key `connection`, whose value is looked up once all connections are known.
    pub(super) fn connection(&mut self) -> Option<Text> {
        let name = self.required_text("connection")?;
        self.context
            .connections
            .borrow_mut()
            .push((name.clone(), self.subject.clone()));
        Some(name)
    }

    /// Checks a name by the rule of names.
    pub(super) fn check_name(&self, text: &Text) {
        if is_name(&text.value) {
            return;
        }
        let message = format!(
            "the name of {} is not made of letters, digits and underscores: {}",
            self.subject,
            quoted(text.shown())
        );
        let mut made = Diagnostic::error(&codes::BAD_NAME, text.span, message);
        let mended = mend_name(&text.value);
        if text.written.is_none() && is_name(&mended) && mended.contains(|c: char| c != '_') {
            made = made.hint(format!("write for example {}", quoted(&mended)));
        }
        self.context.report(made);
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(entry) = self.optional(key) else {
            return default;
        };
        if let Value::Scalar(scalar) = &entry.value.value
            && let Some(value) = scalar.as_boolean()
        {
            return value;
        }
        let subject = self.value_subject(entry);
        self.context.report(
            self.context
                .wrong_type(&entry.value, &subject, "`true` or `false`"),
        );
        default
    }

    /// A whole number within the range.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
    ) -> Option<usize> {
        let entry = self.optional(key)?;
        let subject = self.value_subject(entry);
        let Value::Scalar(scalar) = &entry.value.value else {
            self.context.report(
                self.context
                    .wrong_type(&entry.value, &subject, "a whole number"),
            );
            return None;
        };
        let Resolved::Integer(value) = scalar.resolve() else {
            self.context.report(
                self.context
                    .wrong_type(&entry.value, &subject, "a whole number"),
            );
            return None;
        };
        ambiguous(self.context, scalar, entry.value.span);
        if let Some(value) = usize::try_from(value)
            .ok()
            .filter(|value| range.contains(value))
        {
            return Some(value);
        }
        let wanted = match (*range.start(), *range.end()) {
            (least, usize::MAX) => format!("at least {least}"),
            (least, most) => format!("between {least} and {most}"),
        };
        let message = format!("{subject} must be {wanted}: {}", quoted(scalar.shown()));
        self.context.report(Diagnostic::error(
            &codes::BAD_VALUE,
            entry.value.span,
            message,
        ));
        None
    }

    /// One of a closed list of words. `later` are words that ODIBI knows and this version does not carry out.
    pub(super) fn choice<T: Copy>(
        &self,
        text: &Text,
        key: &str,
        choices: &[(&'static str, T)],
        later: &[&'static str],
    ) -> Option<T> {
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text.value) {
            return Some(*value);
        }
        let subject = format!("{} of {}", quoted(key), self.subject);
        let words = words(choices);
        let listed = words
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(", ");
        self.context.report_with(|| {
            if later.contains(&text.value.as_str()) {
                let message = format!("{subject} is not supported yet: {}", quoted(text.shown()));
                return Diagnostic::error(&codes::NOT_YET, text.span, message)
                    .hint(format!("use one of: {listed}"));
            }
            let message = format!("{subject} is not one of {listed}: {}", quoted(text.shown()));
            Diagnostic::error(&codes::BAD_VALUE, text.span, message)
                .suggest(&text.value, words.iter().copied())
        });
        None
    }

    /// The items of a list; empty when the key is absent.
    pub(super) fn list(&mut self, key: &'static str) -> &'a [Node] {
        match self.optional(key) {
            Some(entry) => self.as_list(entry),
            None => &[],
        }
    }

    pub(super) fn as_list(&self, entry: &'a Entry) -> &'a [Node] {
        match &entry.value.value {
            Value::Sequence(items) => items,
            Value::Missing => &[],
            Value::Scalar(_) | Value::Mapping(_) => {
                self.wants_list(entry);
                &[]
            }
        }
    }

    /// Reports a value that is no list.
    pub(super) fn wants_list(&self, entry: &Entry) {
        let subject = self.value_subject(entry);
        let mut made = self.context.wrong_type(&entry.value, &subject, "a list");
        if let Value::Scalar(scalar) = &entry.value.value {
            made = made.hint(format!(
                "write {}",
                quoted(&format!("{}: [{}]", entry.key, scalar.shown()))
            ));
        }
        self.context.report(made);
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<Text> {
        let items = self.list(key);
        let subject = format!("an item of `{key}` of {}", self.subject);
        items
            .iter()
            .filter_map(|item| self.node_as_text(item, &subject))
            .collect()
    }

    /// The reader of a mapping under a key.
    pub(super) fn mapping(&mut self, key: &'static str) -> Option<Self> {
        let entry = self.optional(key)?;
        Self::new(
            self.context,
            &entry.value,
            entry.key_span,
            self.value_subject(entry),
        )
    }

    /// Entries of a mapping whose keys are names given by the author.
    pub(super) fn named(&self, entry: &'a Entry) -> &'a [Entry] {
        match &entry.value.value {
            Value::Mapping(mapping) => &mapping.entries,
            Value::Missing => &[],
            Value::Scalar(_) | Value::Sequence(_) => {
                let subject = self.value_subject(entry);
                self.context
                    .report(self.context.wrong_type(&entry.value, &subject, "a mapping"));
                &[]
            }
        }
    }

    /// Keys of ODIBI that this version does not carry out. A value that asks for nothing (`false`, null, an empty
    /// list or mapping) passes. True when there was one.
    pub(super) fn not_yet(&mut self, keys: &[&'static str]) -> bool {
        let mut any = false;
        for key in keys {
            let Some(entry) = self.unlisted(key) else {
                continue;
            };
            any = true;
            let message = format!("{} is not supported yet", self.value_subject(entry));
            let made = Diagnostic::error(&codes::NOT_YET, entry.key_span, message);
            self.context
                .report(made.hint("remove it to run without it"));
        }
        any
    }

    /// Keys of ODIBI that change no result here.
    pub(super) fn ignored(&mut self, keys: &[&'static str], why: &str) {
        for key in keys {
            let Some(entry) = self.unlisted(key) else {
                continue;
            };
            let message = format!("{} has no effect: {why}", self.value_subject(entry));
            self.context.report(Diagnostic::warning(
                &codes::IGNORED_KEY,
                entry.key_span,
                message,
            ));
        }
    }

    /// Entries that nobody has read, in a mapping that is open.
    pub(super) fn rest(&mut self) -> Vec<&'a Entry> {
        let entries = self.mapping.entries.iter().zip(&mut self.read);
        let unread = entries.filter_map(|(entry, read)| {
            let seen = std::mem::replace(read, true);
            let empty = entry.value.is_null() || entry.value.value == Value::Missing;
            (!seen && !empty).then_some(entry)
        });
        unread.collect()
    }

    /// Reports the keys that nobody read. `others` are words that people write here, each with the key they mean, or
    /// with a whole hint.
    pub(super) fn finish_with(self, others: &[(&str, &'static str)]) {
        self.finish_or(others, None);
    }

    /// As [`Reader::finish_with`]; a key that resembles no other gets the hint `otherwise`.
    pub(super) fn finish_or(self, others: &[(&str, &'static str)], otherwise: Option<&str>) {
        #[cfg(test)]
        asked::note(&self);
        for (entry, _) in self
            .mapping
            .entries
            .iter()
            .zip(&self.read)
            .filter(|(_, read)| !**read)
        {
            let other = others.iter().find(|(word, _)| *word == entry.key);
            let hint = other
                .map(|(_, meant)| *meant)
                .filter(|meant| meant.contains(' '));
            let meant = match other {
                Some((_, meant)) => Some(*meant).filter(|_| hint.is_none()),
                None => nearest(&entry.key, self.known.iter().chain(&self.unlisted).copied()),
            };
            if let Some(meant) = meant {
                // One slip, one fault.
                let mut missing = self.missing.borrow_mut();
                missing.retain(|(keys, _)| !keys.contains(&meant));
            }
            self.context.report_with(|| {
                let message = format!("{} has no key {}", self.subject, quoted(&entry.key));
                let made = Diagnostic::error(&codes::UNKNOWN_KEY, entry.key_span, message);
                if let Some(meant) = meant {
                    return made.hint(format!("did you mean {}?", quoted(meant)));
                }
                if let Some(hint) = hint.or(otherwise) {
                    return made.hint(hint);
                }
                if self.known.len() > LISTED_MAX {
                    return made;
                }
                let listed = self
                    .known
                    .iter()
                    .map(|key| quoted(key))
                    .collect::<Vec<_>>()
                    .join(", ");
                made.hint(format!("use one of: {listed}"))
            });
        }
    }

    pub(super) fn finish(self) {
        self.finish_with(&[]);
    }
}

/// The words of a table of [`Reader::choice`].
pub(super) fn words<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(word, _)| *word).collect()
}

/// Warns of a number that YAML 1.1 reads otherwise.
pub(super) fn ambiguous(context: &Context, scalar: &Scalar, span: Span) {
    if scalar.is_ambiguous() {
        let message = format!(
            "a number with a leading zero is decimal here and octal for PyYAML: {}",
            quoted(scalar.shown())
        );
        let made = Diagnostic::warning(&codes::AMBIGUOUS_NUMBER, span, message);
        context.report(made.hint("put it in quotes if it is a text, or leave out the zero"));
    }
}

/// False for `false`, null, an empty list or mapping.
pub(super) fn asks_for_something(node: &Node) -> bool {
    match &node.value {
        Value::Missing => false,
        Value::Scalar(scalar) => {
            scalar.resolve() != Resolved::Null && scalar.as_boolean() != Some(false)
        }
        Value::Sequence(items) => !items.is_empty(),
        Value::Mapping(mapping) => !mapping.entries.is_empty(),
    }
}

/// `^[a-zA-Z_][a-zA-Z0-9_]*$`, as ODIBI has it.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.len() <= NAME_CHARS_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn mend_name(text: &str) -> String {
    let mended: String = text
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if mended.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{mended}")
    } else {
        mended
    }
}

#[cfg(test)]
pub(super) use asked::{forget_keys, known_keys};

/// Which keys were asked for, for the test that compares them with the JSON Schema.
#[cfg(test)]
mod asked {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};

    use super::Reader;

    type Keys = BTreeSet<&'static str>;

    thread_local! {
        static KEYS: RefCell<BTreeMap<String, (Keys, Keys)>> = RefCell::default();
    }

    /// "the project" and "node `x`" are called by their word, "`retry` of …" by its key.
    pub(super) fn note(reader: &Reader<'_>) {
        let subject = reader
            .subject
            .strip_prefix("the ")
            .unwrap_or(&reader.subject);
        let word = subject.split(' ').next().unwrap_or_default();
        KEYS.with_borrow_mut(|all| {
            let (listed, known) = all.entry(word.trim_matches('`').to_owned()).or_default();
            listed.extend(reader.known.iter().copied());
            known.extend(reader.known.iter().chain(&reader.unlisted).copied());
        });
    }

    /// Begins anew.
    pub(in crate::config) fn forget_keys() {
        KEYS.with_borrow_mut(BTreeMap::clear);
    }

    /// Those that messages offer, and all.
    pub(in crate::config) fn known_keys(word: &str) -> (Keys, Keys) {
        KEYS.with_borrow(|all| all.get(word).cloned().unwrap_or_default())
    }
}
