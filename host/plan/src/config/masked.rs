//! Which values are credentials, so that the configuration can be shown without them.

use std::collections::BTreeSet;

use crate::secret::PREFIXES;
use crate::yaml::{Node, Value};

/// Keys whose value is a credential, wherever they stand.
const KEYS: [&str; 22] = [
    "access_key",
    "access_key_id",
    "account_key",
    "api_key",
    "client_certificate_password",
    "client_secret",
    "connection_string",
    "credential",
    "credentials",
    "password",
    "passwd",
    "private_key",
    "pwd",
    "salt",
    "sas_token",
    "secret",
    "secret_access_key",
    "secret_key",
    "service_account",
    "service_account_key",
    "session_token",
    "token",
];
/// Mappings all of whose values are: HTTP headers carry tokens under any name.
pub(super) const MAPPINGS: [&str; 2] = ["headers", "storage_options"];
/// Words in the name of an environment variable that tell of a credential.
const WORDS: [&str; 9] = [
    "CREDENTIAL",
    "KEY",
    "PASSWD",
    "PASSWORD",
    "PRIVATE",
    "PWD",
    "SAS",
    "SECRET",
    "TOKEN",
];
/// Shorter values are not looked for elsewhere: they would be found in everything.
const CHARS_MIN: usize = 4;
pub use crate::redact::MASK;

/// Replaces credentials by [`MASK`]: literal ones, what references put into their place, what references to variables
/// with telling names put anywhere, and every other occurrence of such a value. References that still stand as they are
/// written are left, for they hold nothing.
pub fn mask(root: &mut Node) {
    let mut values = BTreeSet::new();
    let mut path = Vec::new();
    visit(root, &mut path, &mut |path, scalar| {
        let open = scalar.written.as_ref().is_none_or(|w| *w == scalar.text);
        let reference = open && scalar.text.contains("${");
        let secret = is_credential(path) || scalar.written.as_deref().is_some_and(is_telling);
        if secret && !reference && !scalar.text.is_empty() {
            let text = std::mem::replace(&mut scalar.text, MASK.to_owned());
            if text.chars().count() >= CHARS_MIN {
                values.insert(text);
            }
        }
    });
    visit(root, &mut path, &mut |_, scalar| {
        for value in &values {
            if scalar.text.contains(value.as_str()) {
                scalar.text = MASK.to_owned();
            }
        }
    });
}

pub(super) fn visit(
    node: &mut Node,
    path: &mut Vec<String>,
    each: &mut dyn FnMut(&[String], &mut crate::yaml::Scalar),
) {
    match &mut node.value {
        Value::Missing => {}
        Value::Scalar(scalar) => each(path, scalar),
        Value::Sequence(items) => items.iter_mut().for_each(|item| visit(item, path, each)),
        Value::Mapping(mapping) => {
            for entry in &mut mapping.entries {
                path.push(entry.key.clone());
                visit(&mut entry.value, path, each);
                path.pop();
            }
        }
    }
}

pub(super) fn is_credential(path: &[String]) -> bool {
    let key = path.last().map_or("", String::as_str).to_ascii_lowercase();
    KEYS.contains(&key.as_str())
        || path
            .iter()
            .rev()
            .skip(1)
            .any(|key| MAPPINGS.contains(&key.as_str()))
        // The address of a channel is its password.
        || (key == "url" && path.iter().any(|part| part == "alerts"))
}

/// A reference to a variable whose name tells of a credential.
fn is_telling(written: &str) -> bool {
    written.split("${").skip(1).any(|rest| {
        if PREFIXES.iter().any(|prefix| rest.starts_with(prefix)) {
            return true;
        }
        let name = rest.split([':', '}']).find(|part| *part != "env");
        let name = name.unwrap_or_default().to_ascii_uppercase();
        WORDS.iter().any(|word| name.contains(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Sources;
    use crate::yaml::{self, Pass};

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let mut sources = Sources::default();
        let file = sources.add("t.yaml", text);
        let (mut tree, _) = yaml::parse(&sources, file);
        let environment = |name: &str| Some(format!("value-of-{}", name.to_lowercase()));
        Pass::new(&environment, jiff::Timestamp::UNIX_EPOCH).node(&mut tree.root);
        mask(&mut tree.root);
        assert_eq!(yaml::write(&tree.root, &|_| None), expect);
    }

    #[test]
    fn credentials_are_masked() {
        check("account_key: ${A}\n", "account_key: \"***\"\n");
        check(
            "auth: {Password: literal}\n",
            "auth:\n  Password: \"***\"\n",
        );
        check(
            "headers: {X-Any: [a, b]}\n",
            "headers:\n  X-Any:\n    - \"***\"\n    - \"***\"\n",
        );
        check(
            "alerts: [{url: 'https://x'}]\n",
            "alerts:\n  - url: \"***\"\n",
        );
        check(
            "pipelines: [{alerts: [{url: 'https://x'}]}]\n",
            "pipelines:\n  - alerts:\n      - url: \"***\"\n",
        );
        check("url: 'https://x'\n", "url: https://x\n");
        check("base_path: ${DATA}\n", "base_path: value-of-data\n");
        check("path: x/${env:DB_PASSWORD}\n", "path: \"***\"\n");
        check("path: x/${API_TOKEN:-none}\n", "path: \"***\"\n");
        check(
            "token: 12345\nn: a 12345 b\n",
            "token: \"***\"\nn: \"***\"\n",
        );
        check("token: 1\nn: 1\n", "token: \"***\"\nn: 1\n");
    }
}
