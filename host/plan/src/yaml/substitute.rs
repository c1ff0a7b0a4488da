//! References (`${…}`) in scalar values, after parsing: a value can never change the shape of the document.
//!
//! | written | becomes |
//! |---|---|
//! | `${NAME}`, `${env:NAME}` | the variable of the environment; a fault when it is unset |
//! | `${NAME:-text}` | the variable, or `text` when it is unset or empty |
//! | `${NAME:?text}` | the variable; a fault that says `text` when it is unset or empty |
//! | `${vars.name}` | the entry of `vars`; as a whole value it keeps its type, and may be a list or a mapping |
//! | `${recipe.name}` | likewise, the entry of `recipe_vars`, inside a recipe |
//! | `${date:expression}` | see [`super::date`] |
//! | `${keyvault:…}`, `${vault:…}`, `${aws-sm:…}` | see [`crate::secret`]; itself, as long as no vault was asked |
//! | `$${` | `${` |
//!
//! One pass: what is put in is not looked at again. Keys are left alone.

use jiff::Timestamp;

use super::date::date;
use super::{Node, Scalar, Value};
use crate::diagnostic::{Collector, Diagnostic, Span, codes, quoted};
use crate::limits::{
    COPIED_BYTES_MAX, FILE_DEPTH_MAX, NODE_BYTES, SECRETS_MAX, SUBSTITUTED_BYTES_MAX,
};
use crate::secret::{Secret, SecretRef, Secrets};

/// Named values, in the order in which they were given.
pub type Scope = Vec<(String, Node)>;

/// One pass over the values of a project.
pub struct Pass<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    at: Timestamp,
    /// Entries of `vars` that may be referred to.
    pub vars: Scope,
    /// Entries of `recipe_vars`, while a recipe is being read.
    pub recipe: Option<Scope>,
    /// What was found so far.
    pub(crate) faults: Collector,
    /// What the vaults said.
    pub(crate) secrets: Option<&'a Secrets>,
    /// What references to vaults and variables with telling names have brought to light.
    pub(crate) brought: Brought,
    bytes_left: usize,
    copies_left: usize,
    depth: usize,
}

/// Secrets that references name.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    /// References to vaults, each with its place.
    pub(crate) references: Vec<(SecretRef, Span)>,
    /// Values that hold something from a vault.
    pub(crate) vaulted: Vec<Span>,
    /// Those whose vault was not asked: they are not what they will be.
    pub(crate) unresolved: Vec<Span>,
    /// Values of variables whose names tell of a secret.
    pub(crate) told: Vec<Secret>,
    /// Values that hold one of those.
    pub(crate) telling: Vec<Span>,
}

impl<'a> Pass<'a> {
    /// `environment` gives the value of a variable, `None` when it is unset; `at` is the run's logical time.
    pub fn new(environment: &'a dyn Fn(&str) -> Option<String>, at: Timestamp) -> Self {
        Self {
            environment,
            at,
            vars: Scope::new(),
            recipe: None,
            faults: Collector::default(),
            secrets: None,
            brought: Brought::default(),
            bytes_left: SUBSTITUTED_BYTES_MAX,
            copies_left: COPIED_BYTES_MAX,
            depth: 0,
        }
    }

    /// Puts values in. What is faulty becomes [`Value::Missing`] and is reported. Recursion is bounded: a tree nests
    /// [`FILE_DEPTH_MAX`] levels, also when something was put in.
    pub fn node(&mut self, node: &mut Node) {
        self.depth += 1;
        self.value_of(node);
        self.depth -= 1;
    }

    fn value_of(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::Missing => {}
            Value::Scalar(scalar) if scalar.text.contains("${") => {
                node.value = self.scalar(scalar, node.span).unwrap_or(Value::Missing);
            }
            Value::Scalar(_) => {}
            Value::Sequence(items) => items.iter_mut().for_each(|item| self.node(item)),
            Value::Mapping(mapping) => mapping
                .entries
                .iter_mut()
                .for_each(|entry| self.node(&mut entry.value)),
        }
    }

    /// A copy, as far as the memory for copies reaches.
    pub fn copy(&mut self, node: &Node, place: Span) -> Option<Node> {
        let bytes = bytes(node);
        if self.depth + height(node) > FILE_DEPTH_MAX {
            let message = format!("this nests deeper than allowed: {FILE_DEPTH_MAX} levels");
            self.faults
                .push(Diagnostic::error(&codes::LIMIT, place, message));
            return None;
        }
        if bytes > self.copies_left {
            let message =
                format!("references copy more memory than allowed: {COPIED_BYTES_MAX} bytes");
            self.faults
                .push(Diagnostic::error(&codes::LIMIT, place, message));
            return None;
        }
        self.copies_left -= bytes;
        Some(node.clone())
    }

    fn scalar(&mut self, scalar: &Scalar, span: Span) -> Option<Value> {
        if let Some(reference) = whole(&scalar.text)
            && let Some(found) = self.named(reference, span)
        {
            let found = found.map_err(|fault| self.faults.push(*fault)).ok()?;
            self.inherit(found.span, span);
            let Node { mut value, .. } = self.copy(&found, span)?;
            if let Value::Scalar(found) = &mut value
                && found.resolve() != super::Resolved::Null
            {
                found.written = Some(scalar.text.clone());
            }
            return Some(value);
        }
        self.text(scalar, span).map(Value::Scalar)
    }

    /// `None` when something was refused.
    fn text(&mut self, scalar: &Scalar, span: Span) -> Option<Scalar> {
        let mut out = String::new();
        let mut rest = scalar.text.as_str();
        let mut put_in = false;
        let mut good = true;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at - 1]);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let inner = &rest[at + 2..];
            let Some(end) = inner.find('}') else {
                self.faults.push_with(|| malformed(span, &rest[at..]));
                return None;
            };
            put_in = true;
            match self.value(&inner[..end], span) {
                Ok(value) if value.len() <= self.bytes_left => {
                    self.bytes_left -= value.len();
                    out.push_str(&value);
                }
                Ok(_) => {
                    let message =
                        format!("variables add more bytes than allowed: {SUBSTITUTED_BYTES_MAX}");
                    self.faults
                        .push(Diagnostic::error(&codes::LIMIT, span, message));
                    return None;
                }
                Err(fault) => {
                    self.faults.push(*fault);
                    good = false;
                }
            }
            rest = &inner[end + 1..];
        }
        out.push_str(rest);
        good.then(|| Scalar {
            text: out,
            plain: scalar.plain,
            written: if put_in {
                Some(scalar.text.clone())
            } else {
                scalar.written.clone()
            },
        })
    }

    /// An entry of `vars` or `recipe_vars`; `None` when the reference is of another kind.
    fn named(&self, reference: &str, span: Span) -> Option<Result<Node, Box<Diagnostic>>> {
        let (scope, name, what) = if let Some(name) = reference.strip_prefix("vars.") {
            (Some(&self.vars), name, "vars")
        } else if let Some(name) = reference.strip_prefix("recipe.") {
            (self.recipe.as_ref(), name, "recipe_vars")
        } else {
            return None;
        };
        let shown = quoted(&format!("${{{reference}}}"));
        let Some(scope) = scope else {
            let message = format!("there is no recipe here: {shown}");
            let made = Diagnostic::error(&codes::BAD_SUBSTITUTION, span, message);
            return Some(Err(Box::new(
                made.hint("write it inside the `template` of a recipe"),
            )));
        };
        let found = scope.iter().find(|(known, _)| known == name);
        Some(match found {
            Some((_, node)) => Ok(node.clone()),
            None => {
                let message = format!("{} is not in `{what}`", quoted(name));
                let made = Diagnostic::error(&codes::UNSET_VARIABLE, span, message);
                let names = scope.iter().map(|(name, _)| name.as_str());
                let made = made.suggest(name, names);
                Err(Box::new(if made.hints.is_empty() {
                    made.hint(format!("add it to `{what}`, before the values that use it"))
                } else {
                    made
                }))
            }
        })
    }

    /// What comes from a place where a secret was put in holds one too.
    fn inherit(&mut self, from: Span, to: Span) {
        let Brought {
            vaulted,
            unresolved,
            telling,
            ..
        } = &mut self.brought;
        for spans in [vaulted, unresolved, telling] {
            if spans.contains(&from) && !spans.contains(&to) {
                spans.push(to);
            }
        }
    }

    /// What the vault said; the reference as it is written when nobody asked.
    fn secret(&mut self, reference: SecretRef, span: Span) -> Result<String, Box<Diagnostic>> {
        if self.brought.references.len() >= SECRETS_MAX {
            let message = format!("more references to vaults than allowed: {SECRETS_MAX}");
            return Err(Box::new(Diagnostic::error(&codes::LIMIT, span, message)));
        }
        self.brought.vaulted.push(span);
        let found = self.secrets.and_then(|secrets| secrets.get(&reference));
        let text = found.map(|secret| secret.expose().to_owned());
        let text = text.unwrap_or_else(|| {
            self.brought.unresolved.push(span);
            format!("${{{reference}}}")
        });
        self.brought.references.push((reference, span));
        Ok(text)
    }

    fn value(&mut self, reference: &str, span: Span) -> Result<String, Box<Diagnostic>> {
        if let Some(read) = SecretRef::parse(reference) {
            return match read {
                Ok(found) => self.secret(found, span),
                Err((fault, hint)) => {
                    let message = format!("{fault}: {}", quoted(&format!("${{{reference}}}")));
                    let made = Diagnostic::error(&codes::BAD_SUBSTITUTION, span, message);
                    Err(Box::new(made.hint(hint)))
                }
            };
        }
        if let Some(found) = self.named(reference, span) {
            let found = found?;
            self.inherit(found.span, span);
            return match found.value {
                Value::Scalar(scalar) => Ok(scalar.text),
                // Reported where it stands.
                Value::Missing => Ok(String::new()),
                Value::Sequence(_) | Value::Mapping(_) => {
                    let message = format!(
                        "a list or mapping can only be the whole value: {}",
                        quoted(&format!("${{{reference}}}"))
                    );
                    Err(Box::new(Diagnostic::error(
                        &codes::BAD_SUBSTITUTION,
                        span,
                        message,
                    )))
                }
            };
        }
        if let Some(words) = reference.strip_prefix("date:") {
            return date(words, self.at).map_err(|why| {
                let message = format!("{why}: {}", quoted(&format!("${{{reference}}}")));
                let made = Diagnostic::error(&codes::BAD_SUBSTITUTION, span, message);
                Box::new(made.hint(
                    "write for example `${date:today}`, `${date:-7d}` or `${date:now:%Y%m%dT%H%M}`",
                ))
            });
        }
        self.variable(reference, span)
    }

    fn variable(&mut self, reference: &str, span: Span) -> Result<String, Box<Diagnostic>> {
        let operator = [":-", ":?"].into_iter().filter_map(|operator| {
            let at = reference.find(operator)?;
            Some((at, operator))
        });
        let (name, operator, rest) = match operator.min() {
            Some((at, operator)) => (&reference[..at], operator, &reference[at + 2..]),
            None => (reference, "", ""),
        };
        let name = name.strip_prefix("env:").unwrap_or(name);
        let valid =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !valid || rest.contains("${") {
            return Err(Box::new(unknown_form(reference, span)));
        }
        let value = (self.environment)(name);
        if let Some(value) = value.as_ref().filter(|_| is_secret_name(name)) {
            self.brought.told.push(Secret::new(value.as_str()));
            self.brought.telling.push(span);
        }
        let filled = |value: Option<String>| value.filter(|text| !text.is_empty());
        match operator {
            ":-" => Ok(filled(value).unwrap_or_else(|| rest.to_owned())),
            ":?" => filled(value).ok_or_else(|| {
                let what = if rest.is_empty() { "not set" } else { rest };
                let message = format!("variable {} is not set or empty: {what}", quoted(name));
                Box::new(Diagnostic::error(&codes::UNSET_VARIABLE, span, message))
            }),
            _ => value.ok_or_else(|| {
                let message = format!("variable {} is not set", quoted(name));
                let made = Diagnostic::error(&codes::UNSET_VARIABLE, span, message);
                Box::new(made.hint(format!(
                    "set it, or write `${{{name}:-default}}` to give a default"
                )))
            }),
        }
    }
}

/// The reference that a text consists of.
fn whole(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("${")?.strip_suffix('}')?;
    (!inner.contains('}')).then_some(inner)
}

fn height(node: &Node) -> usize {
    match &node.value {
        Value::Missing | Value::Scalar(_) => 0,
        Value::Sequence(items) => 1 + items.iter().map(height).max().unwrap_or_default(),
        Value::Mapping(mapping) => {
            let values = mapping.entries.iter().map(|entry| height(&entry.value));
            1 + values.max().unwrap_or_default()
        }
    }
}

fn bytes(node: &Node) -> usize {
    NODE_BYTES
        + match &node.value {
            Value::Missing => 0,
            Value::Scalar(scalar) => {
                scalar.text.len() + scalar.written.as_ref().map_or(0, String::len)
            }
            Value::Sequence(items) => items.iter().map(bytes).sum(),
            Value::Mapping(mapping) => mapping
                .entries
                .iter()
                .map(|entry| entry.key.len() + bytes(&entry.value))
                .sum(),
        }
}

/// Words in the name of a variable that tell of a secret.
const SECRET_WORDS: [&str; 8] = [
    "PASSWORD",
    "PASSWD",
    "PWD",
    "SECRET",
    "TOKEN",
    "CREDENTIAL",
    "CREDENTIALS",
    "SAS",
];
/// What stands before `KEY` in the name of a variable that holds a secret. Keys of rows are none.
const SECRET_KEYS: [&str; 9] = [
    "API",
    "ACCESS",
    "ACCOUNT",
    "AUTH",
    "ENCRYPTION",
    "PRIVATE",
    "SHARED",
    "SIGNING",
    "STORAGE",
];

/// The value of a variable of this name is kept secret, wherever it stands.
fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    // The directory of the shell.
    if name == "PWD" {
        return false;
    }
    let words: Vec<&str> = name.split('_').collect();
    words.iter().any(|word| SECRET_WORDS.contains(word))
        || words
            .windows(2)
            .any(|pair| pair[1] == "KEY" && SECRET_KEYS.contains(&pair[0]))
}

/// Other references than these look right to those who know them from elsewhere.
fn unknown_form(reference: &str, span: Span) -> Diagnostic {
    let made = malformed(span, &format!("${{{reference}}}"));
    if reference.starts_with("secret:") {
        return made.hint("name the vault: `${keyvault:VAULT/SECRET}`, `${vault:MOUNT/PATH#FIELD}` or `${aws-sm:NAME}`");
    }
    made
}

fn malformed(span: Span, text: &str) -> Diagnostic {
    Diagnostic::error(
        &codes::BAD_SUBSTITUTION,
        span,
        format!("not a reference to a variable: {}", quoted(text)),
    )
    .hint("write `${NAME}`, `${NAME:-default}` or `${vars.name}`; `$${` for a literal `${`")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::diagnostic::FileId;
    use crate::yaml::Resolved;

    const NOWHERE: Span = Span {
        file: FileId(0),
        start: 0,
        end: 0,
    };

    fn environment(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".into()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${A} }\n- x: *y".into()),
            "LARGE" => Some("x".repeat(SUBSTITUTED_BYTES_MAX / 2 + 1)),
            _ => None,
        }
    }

    fn scalar(text: &str, plain: bool) -> Node {
        Node {
            span: NOWHERE,
            value: Value::Scalar(Scalar {
                text: text.into(),
                plain,
                written: None,
            }),
        }
    }

    fn run(text: &str) -> (Value, Vec<&'static str>) {
        let mut node = scalar(text, true);
        let mut pass = Pass::new(&environment, Timestamp::UNIX_EPOCH);
        pass.vars = vec![
            ("n".to_owned(), scalar("7", true)),
            ("t".to_owned(), scalar("8", false)),
            ("none".to_owned(), scalar("null", true)),
            (
                "list".to_owned(),
                Node {
                    span: NOWHERE,
                    value: Value::Sequence(vec![scalar("${A}", true)]),
                },
            ),
        ];
        pass.node(&mut node);
        let faults = pass.faults.finish();
        (node.value, faults.iter().map(|d| d.code.name).collect())
    }

    #[track_caller]
    fn becomes(text: &str, expect: &str) {
        let (Value::Scalar(scalar), faults) = run(text) else {
            panic!("{text}: refused")
        };
        assert_eq!((scalar.text.as_str(), faults.len()), (expect, 0));
        assert_eq!(
            scalar.shown(),
            if scalar.written.is_some() {
                text
            } else {
                expect
            }
        );
    }

    #[test]
    fn references_become_values() {
        becomes("x", "x");
        becomes("${A}", "one");
        becomes("${env:A}/${A}", "one/one");
        becomes("${EMPTY}", "");
        becomes("${NO:-two words}", "two words");
        becomes("${EMPTY:-x}", "x");
        becomes("${A:-x}", "one");
        becomes("${NO:-}", "");
        becomes("${NO:-a:?b}", "a:?b");
        becomes("${A:?why}", "one");
        becomes("$${A}", "${A}");
        becomes("$$${A}", "$${A}");
        becomes("a $5 {b}", "a $5 {b}");
        becomes("é${A}é", "éoneé");
        becomes("${vars.n}-${vars.t}", "7-8");
        becomes("${date:today}", "1970-01-01");
        becomes("x/${date:-1d:%Y}", "x/1969");
    }

    #[test]
    fn references_to_vaults_stay_until_somebody_asked() {
        becomes("${keyvault:acme/s}", "${keyvault:acme/s}");
        becomes("a ${vault:kv/a/b#c}", "a ${vault:kv/a/b#c}");
        let known = SecretRef::parse("aws-sm:x").unwrap().unwrap();
        let secrets = Secrets::from([(known, Secret::new("${A}: 'x'\n- y # {z} !!str"))]);
        let mut pass = Pass::new(&environment, Timestamp::UNIX_EPOCH);
        pass.secrets = Some(&secrets);
        let mut node = scalar("<${aws-sm:x}>${aws-sm:y}", true);
        pass.node(&mut node);
        let Value::Scalar(found) = node.value else {
            panic!("refused")
        };
        assert_eq!(found.text, "<${A}: 'x'\n- y # {z} !!str>${aws-sm:y}");
        assert_eq!(pass.brought.references.len(), 2);
        assert_eq!(pass.brought.unresolved.len(), 1);
    }

    #[test]
    fn names_of_variables_tell_of_secrets() {
        for name in [
            "DB_PASSWORD",
            "api_key",
            "SAS",
            "AZURE_STORAGE_KEY",
            "X_TOKEN_2",
            "DB_PWD",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "PRIMARY_KEY",
            "SORT_KEY",
            "KEY",
            "SASKIA",
            "PWD",
            "DATA",
            "TOKENS_TABLE",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn whole_reference_to_vars_keeps_the_type() {
        let resolved = |text| {
            let Value::Scalar(scalar) = run(text).0 else {
                panic!("{text}")
            };
            scalar.resolve()
        };
        assert_eq!(resolved("${vars.n}"), Resolved::Integer(7));
        assert_eq!(resolved("${vars.t}"), Resolved::Text);
        assert_eq!(resolved("${vars.none}"), Resolved::Null);
        assert_eq!(resolved("${vars.n}${vars.n}"), Resolved::Text);
        assert_eq!(
            run("${vars.list}").0,
            Value::Sequence(vec![scalar("${A}", true)])
        );
    }

    #[test]
    fn value_of_a_variable_is_not_looked_at_again() {
        becomes("${TRICK}", "${A} }\n- x: *y");
    }

    #[track_caller]
    fn refused(text: &str, expect: &[&str]) {
        assert_eq!(run(text), (Value::Missing, expect.to_vec()));
    }

    #[test]
    fn faulty_references_are_refused() {
        refused("${NO}", &["config/unset-variable"]);
        refused(
            "${NO} ${NONE}",
            &["config/unset-variable", "config/unset-variable"],
        );
        refused("${NO:?set it}", &["config/unset-variable"]);
        refused("${EMPTY:?}", &["config/unset-variable"]);
        refused("${A", &["config/bad-substitution"]);
        refused("${}", &["config/bad-substitution"]);
        refused("${a b}", &["config/bad-substitution"]);
        refused("${${A}}", &["config/bad-substitution"]);
        refused("${A:-${B}}", &["config/bad-substitution"]);
        refused("${vars.x}", &["config/unset-variable"]);
        refused("x${vars.list}", &["config/bad-substitution"]);
        refused("${recipe.x}", &["config/bad-substitution"]);
        refused("${date:tomorow}", &["config/bad-substitution"]);
        refused("${keyvault:v/s}", &["config/bad-substitution"]);
        refused("${secret:s}", &["config/bad-substitution"]);
        refused("${keyvault:${A}/s}", &["config/bad-substitution"]);
        refused("${LARGE}${LARGE}", &["yaml/limit"]);
    }
}
