//! `plugins`: third-party components and the name under which steps find their operations.
//!
//! ```yaml
//! plugins:
//!   geo: {path: plugins/geo.wasm}
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::Text;
use super::connection::key_name;
use super::reader::Reader;
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::plan::PluginSource;

/// Plugins by the name before the slash in `operation: name/…`, and the names of those that were refused and reported.
pub(super) fn read_all(
    project: &mut Reader<'_>,
) -> (BTreeMap<String, PluginSource>, BTreeSet<String>) {
    let (mut plugins, mut refused) = (BTreeMap::new(), BTreeSet::new());
    let Some(entry) = project.optional("plugins") else {
        return (plugins, refused);
    };
    let context = project.context();
    for entry in project.named(entry) {
        let name = key_name(context, entry, "plugin").value;
        let subject = format!("plugin {}", quoted(&name));
        let path = Reader::new(context, &entry.value, entry.key_span, subject).and_then(path);
        match path {
            Some(path) => {
                plugins.insert(
                    name,
                    PluginSource {
                        path: path.value,
                        span: path.span,
                    },
                );
            }
            None => {
                refused.insert(name);
            }
        }
    }
    (plugins, refused)
}

fn path(mut reader: Reader<'_>) -> Option<Text> {
    let path = reader.required_text("path");
    let path = reader.filled(path, "path");
    let subject = reader.subject().to_owned();
    let context = reader.context();
    reader.finish_with(&[("file", "path"), ("url", "path")]);
    let path = path?;
    if path.value.chars().any(char::is_control) {
        let message = format!(
            "`path` of {subject} holds a control character: {}",
            quoted(path.shown())
        );
        context.report(Diagnostic::error(&codes::BAD_PATH, path.span, message));
        return None;
    }
    Some(path)
}
