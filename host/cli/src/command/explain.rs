//! `odibi explain`: the paragraph that stands beside a code.

use serde_json::json;

use crate::args::Output;
use crate::exit;
use crate::printer::Printer;

pub(crate) fn explain(code: Option<&str>, printer: &Printer) -> u8 {
    let codes = codes();
    let Some(code) = code else {
        match printer.output {
            Output::Json => printer.json(&json!(codes.iter().map(|c| c.0).collect::<Vec<_>>())),
            Output::Text => codes
                .iter()
                .for_each(|(name, _)| printer.result(&format!("{name}\n"))),
        }
        return exit::DONE;
    };
    // People paste what they see: `error[config/unknown-node]:`
    let wanted = code
        .trim_start_matches("error")
        .trim_start_matches("warning")
        .trim_matches(|c| "[]: ".contains(c));
    if let Some((name, explanation)) = codes.iter().find(|(name, _)| *name == wanted) {
        match printer.output {
            Output::Json => printer.json(&json!({ "code": name, "explanation": explanation })),
            Output::Text => printer.result(&format!("{name}\n\n{}\n", wrap(explanation))),
        }
        return exit::DONE;
    }
    let message = format!("no code `{wanted}`");
    match odibi_plan::diagnostic::nearest(wanted, codes.iter().map(|c| c.0)) {
        Some(near) => printer.error_with_hint(&message, &format!("did you mean `{near}`?")),
        None => printer.error(&message),
    }
    exit::USAGE
}

/// All codes with their explanations, sorted.
fn codes() -> Vec<(&'static str, &'static str)> {
    let diagnostics = odibi_plan::diagnostic::all_codes()
        .iter()
        .map(|c| (c.name, c.explanation));
    let failures = odibi_story::failure::all_codes()
        .iter()
        .map(|c| (c.name, c.explanation));
    let mut codes: Vec<_> = diagnostics.chain(failures).collect();
    codes.sort_unstable();
    codes.dedup_by_key(|c| c.0);
    codes
}

/// Breaks lines at 80 characters.
fn wrap(text: &str) -> String {
    let mut wrapped = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > 80 {
            wrapped.push('\n');
            width = 0;
        } else if width > 0 {
            wrapped.push(' ');
            width += 1;
        }
        wrapped.push_str(word);
        width += length;
    }
    wrapped
}
