//! Which values of a project are secrets, and where secrets may not stand.

use super::masked::{MAPPINGS, is_credential};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::secret::{Secret, Secrets};
use crate::yaml::{Brought, Node, Resolved, Scalar, Value};

/// Keys whose values are names, paths, words of a format, or prose: they are written to the state, to stories and to
/// messages.
const OPEN: [&str; 52] = [
    "project",
    "pipeline",
    "pipelines",
    "name",
    "node",
    "description",
    "owner",
    "version",
    "layer",
    "tags",
    "connection",
    "type",
    "format",
    "mode",
    "operation",
    "function",
    "transformer",
    "plugin",
    "depends_on",
    "inputs",
    "path",
    "path_prefix",
    "file",
    "base_path",
    "container",
    "container_name",
    "bucket",
    "region",
    "table",
    "sql_file",
    "asset",
    "columns",
    "keys",
    "key",
    "partition_by",
    "order_by",
    "column",
    "on_error",
    "level",
    "digest",
    "schedule",
    "account_name",
    "account",
    "story",
    "register_table",
    "target",
    "key_vault_name",
    "secret_name",
    "output_path",
    "file",
    "namespace",
    "service_name",
];
/// Of these, what is only said of something: a variable with a telling name may stand there, and is not shown.
const PROSE: [&str; 5] = ["description", "owner", "version", "layer", "tags"];
/// Below these, secrets may stand under any key.
const CLOSED: [&str; 6] = [
    "params",
    "vars",
    "recipe_vars",
    "headers",
    "storage_options",
    "auth",
];
/// Of an alert, what may hold one. Everything else is kept in the state or sent along.
const OF_ALERTS: [&str; 2] = ["url", "secret"];
/// Headers that open nothing.
const OPEN_HEADERS: [&str; 6] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "content-type",
    "user-agent",
    "cache-control",
];
/// Credentials that are shown nowhere, but are no secrets that must not be found in other texts.
const IDS: [&str; 1] = ["access_key_id"];
/// Shorter numbers, and shorter words of a credential, are found in too much.
const CHARS_MIN: usize = 8;
const DIGITS_MIN: usize = 6;

/// Secrets that stand where everybody reads them: those of vaults, and variables with telling names in what becomes a key
/// of the state or the name of a file.
pub(super) fn misplaced(root: &Node, brought: &Brought) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if brought.vaulted.is_empty() && brought.telling.is_empty() {
        return found;
    }
    visit(root, &mut Vec::new(), &mut |path, node, scalar| {
        let key = path.last().copied().unwrap_or_default();
        let vaulted = brought.vaulted.contains(&node.span);
        let telling = brought.telling.contains(&node.span) && !PROSE.contains(&key);
        if !(vaulted || telling) || !is_open(path) {
            return;
        }
        let message = format!(
            "{} cannot hold a secret: {}",
            quoted(key),
            quoted(scalar.shown())
        );
        let made = Diagnostic::error(&codes::MISPLACED_SECRET, node.span, message);
        found.push(made.hint(if vaulted {
            "use a variable of the environment, or an entry of `vars`"
        } else {
            "give the variable a name that tells of no secret, if it holds none"
        }));
    });
    found
}

/// Whether everybody reads what stands there.
fn is_open(path: &[&str]) -> bool {
    let key = path.last().copied().unwrap_or_default();
    if path.iter().any(|key| CLOSED.contains(key)) {
        return false;
    }
    if path.contains(&"alerts") {
        return !OF_ALERTS.contains(&key);
    }
    OPEN.contains(&key)
}

/// What nothing may show: what vaults said, credentials, and variables with telling names.
pub(super) fn values(root: &Node, brought: &Brought, known: Option<&Secrets>) -> Vec<Secret> {
    let mut found: Vec<Secret> = brought.told.clone();
    found.extend(known.into_iter().flat_map(|known| known.values().cloned()));
    visit(root, &mut Vec::new(), &mut |path, node, scalar| {
        if !is_secret(path, scalar) || brought.unresolved.contains(&node.span) {
            return;
        }
        found.push(Secret::new(scalar.text.as_str()));
        // `Bearer TOKEN`: the token alone is one as well.
        let words: Vec<&str> = scalar.text.split_whitespace().collect();
        if words.len() > 1 {
            let long = words
                .into_iter()
                .filter(|word| word.chars().count() >= CHARS_MIN);
            found.extend(long.map(Secret::new));
        }
    });
    found.sort_unstable();
    found.dedup();
    found
}

fn is_secret(path: &[&str], scalar: &Scalar) -> bool {
    let plain = match scalar.resolve() {
        Resolved::Null | Resolved::Boolean(_) => true,
        Resolved::Integer(_) | Resolved::Float(_) => scalar.text.len() < DIGITS_MIN,
        Resolved::Text => false,
    };
    let key = path
        .last()
        .map(|key| key.to_ascii_lowercase())
        .unwrap_or_default();
    let owned: Vec<String> = path.iter().map(|&key| key.to_owned()).collect();
    let open = OPEN_HEADERS.contains(&key.as_str()) || IDS.contains(&key.as_str());
    // Options of a store are its region as well as its key: only telling names count there.
    let options = path.iter().rev().skip(1).any(|key| *key == MAPPINGS[1]);
    let telling = !options
        || ["key", "secret", "token", "password", "sas"]
            .iter()
            .any(|word| key.contains(word));
    !plain && !open && telling && is_credential(&owned)
}

fn visit<'a>(
    node: &'a Node,
    path: &mut Vec<&'a str>,
    each: &mut dyn FnMut(&[&str], &Node, &Scalar),
) {
    match &node.value {
        Value::Missing => {}
        Value::Scalar(scalar) => each(path, node, scalar),
        Value::Sequence(items) => items.iter().for_each(|item| visit(item, path, each)),
        Value::Mapping(mapping) => {
            // `key_vault` beside it: `secret` is the name of one.
            let named =
                mapping.get("key_vault").is_some() || mapping.get("key_vault_name").is_some();
            for entry in &mapping.entries {
                if named && entry.key == "secret" {
                    continue;
                }
                path.push(&entry.key);
                visit(&entry.value, path, each);
                path.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outside, load_with};
    use crate::diagnostic::Sources;
    use crate::secret::{Secret, SecretRef, Secrets};

    const START: &str =
        "project: x\nconnections: {c: {type: http, base_url: 'https://example.com', ";
    const END: &str = "}}\npipelines: [{pipeline: p, nodes: [{name: n, read: {connection: c, format: csv, path: a.csv}}]}]\n";

    fn secrets(keys: &str, known: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let known = known
            .iter()
            .filter_map(|(name, value)| Some((SecretRef::parse(name)?.ok()?, Secret::new(*value))));
        let known: Secrets = known.collect();
        let outside = Outside {
            environment: &|name| Some(format!("value-of-{}", name.to_lowercase())),
            secrets: Some(&known),
            ..Outside::default()
        };
        let text = format!("{START}{keys}{END}");
        let (project, found) = load_with("t", &text, &outside, &mut Sources::default());
        let shown = project.secrets.iter().map(|s| s.expose().to_owned());
        let found = found
            .iter()
            .map(|d| format!("{}: {}", d.code.name, d.message));
        (shown.collect(), found.collect())
    }

    #[track_caller]
    fn check(keys: &str, expect: &[&str]) {
        assert_eq!(
            secrets(keys, &[("aws-sm:known", "from-the-vault")]),
            (
                expect.iter().map(|text| (*text).to_owned()).collect(),
                Vec::new()
            )
        );
    }

    #[test]
    fn credentials_and_what_vaults_said_are_secrets() {
        let vault = "from-the-vault";
        check(
            "auth: {mode: bearer, token: literal-token}",
            &[vault, "literal-token"],
        );
        check(
            "auth: {mode: bearer, token: '${A}'}",
            &[vault, "value-of-a"],
        );
        check("auth: {mode: bearer, token: '${aws-sm:known}'}", &[vault]);
        check("auth: {mode: bearer, token: '${aws-sm:other}'}", &[vault]);
        check(
            "headers: {X-Any: 'Bearer ${A}', Accept: text/csv, X-Flag: 'true'}",
            &["Bearer value-of-a", vault, "true", "value-of-a"],
        );
    }

    #[test]
    fn names_and_paths_hold_no_secrets() {
        let text = "project: ${keyvault:acme/s}\nvars: {v: \"x/${aws-sm:n}\"}\nconnections: {c: {type: local, base_path: \
                    '${vars.v}'}}\npipelines: [{pipeline: p, nodes: [{name: n, read: {connection: c, format: csv, path: a}}]}]\n";
        let (project, found) = load_with("t", text, &Outside::default(), &mut Sources::default());
        let found: Vec<String> = found.iter().map(|d| d.message.clone()).collect();
        assert_eq!(
            found,
            [
                "`project` cannot hold a secret: `${keyvault:acme/s}`",
                "`base_path` cannot hold a secret: `${vars.v}`",
            ]
        );
        assert_eq!(project.secret_refs.len(), 2);
    }

    #[test]
    fn variables_with_telling_names_stand_in_no_name_and_no_path() {
        let text = "project: x\ndescription: '${A_TOKEN}'\nvars: {v: '${A_TOKEN}', w: '${A}'}\nalerts: [{type: slack, url: \
                    'https://example.com/${A_TOKEN}', name: '${A_TOKEN}'}]\nconnections: {c: {type: local, base_path: \
                    '${vars.v}'}}\npipelines: [{pipeline: '${vars.w}', nodes: [{name: n, read: {connection: c, format: csv, path: a}}]}]\n";
        let outside = Outside {
            environment: &|_| Some("value".to_owned()),
            ..Outside::default()
        };
        let (project, found) = load_with("t", text, &outside, &mut Sources::default());
        let found: Vec<String> = found.iter().map(|d| d.message.clone()).collect();
        assert_eq!(
            found,
            [
                "`name` cannot hold a secret: `${A_TOKEN}`",
                "`base_path` cannot hold a secret: `${vars.v}`",
            ]
        );
        assert!(project.secrets.contains(&Secret::new("value")));
    }
}
