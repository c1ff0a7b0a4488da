//! All operations as one page of Markdown; `docs/operations.md` is this page, held equal by a test.

use std::fmt::Write as _;

use odibi_plan::operation::{Example, FurtherInputs, OperationSpec};

use super::{described, flow};

const HEAD: &str = "\
# Operations

Every operation that comes with odibi, as `odibi list reference` prints them. One stands in a project as
`- operation: NAME` with its `params`; `odibi show NAME` shows one of these sections in the terminal.
The examples are tests: each runs in the sandbox as it stands here.
";

pub(super) fn page<'a>(operations: impl Iterator<Item = (&'a str, &'a OperationSpec)>) -> String {
    let mut page = String::from(HEAD);
    for (name, operation) in operations {
        section(&mut page, name, operation);
    }
    page
}

fn section(page: &mut String, name: &str, operation: &OperationSpec) {
    let mut summary = operation.summary.clone();
    if let Some(first) = summary.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let _ = write!(page, "\n## {name}\n\n{summary}.");
    match &operation.further_inputs {
        FurtherInputs::None => {}
        FurtherInputs::One { param } => {
            let _ = write!(page, " Reads a second table, which `{param}` names.");
        }
        FurtherInputs::Many { param } => {
            let _ = write!(page, " Reads further tables, which `{param}` names.");
        }
    }
    page.push('\n');
    let params = described(&operation.params);
    if !params.is_empty() {
        page.push_str("\n| param | type | | |\n|---|---|---|---|\n");
    }
    for param in params {
        let cells = [param.kind, param.must, param.description];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(page, "| `{}` | {} |", param.key, cells.join(" | "));
    }
    for example in &operation.examples {
        shown(page, name, example);
    }
}

fn shown(page: &mut String, name: &str, example: &Example) {
    let (summary, params) = (&example.summary, flow(&example.params));
    let _ = write!(
        page,
        "\nExample: {summary}\n\n```yaml\n- operation: {name}\n"
    );
    if !example.params.is_null() {
        let _ = writeln!(page, "  params: {params}");
    }
    page.push_str("```\n\n```\n");
    for (at, input) in example.inputs.iter().enumerate() {
        let number = if example.inputs.len() > 1 {
            format!(" {}", at + 1)
        } else {
            String::new()
        };
        let _ = writeln!(page, "in{number}\n{}", indented(input));
    }
    let _ = writeln!(page, "out\n{}```", indented(&example.output));
}

fn indented(table: &str) -> String {
    table.lines().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "  {line}");
        text
    })
}
