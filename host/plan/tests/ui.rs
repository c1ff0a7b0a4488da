//! Runs every fixture of `tests/ui` and compares the diagnostics with those written in it.
//!
//! A fixture is a project file. Lines that begin with `#~` stand at its end, are cut off before it is read, and say what
//! is expected:
//!
//! ```text
//! #~ error[config/unknown-node] 14:20-29 node `clean` depends on `rwa`, which does not exist
//! #~     here: not a node of pipeline `orders`
//! #~     also 4:13-16: a further place
//! #~     hint: did you mean `raw`?
//! ```
//!
//! SQL files are those of `tests/ui/files`. A line `# refused: NODE STEP POINTER WORD: MESSAGE` stands for what an operation says of its params
//! when it is asked, a line `# unseen: NODE COLUMN NEAR` for a column of `sensitive` that is not there; `WORD` of the text at `POINTER` is to blame, or the whole of it without a word. Places are line and column from 1, the end exclusive. A line `# select: pipelines=a nodes=b,c tags=d` stands for the
//! command line. The operations are those of `operations.json`. A plugin exports those
//! under its name, or else those of `geo`; one whose path is `NAME.wasm` fails with the code `plugin/NAME`. `UPDATE_EXPECT=1` writes what is found into the files.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use odibi_plan::config::{FileFault, Outside, load_with};
use odibi_plan::diagnostic::{self, Refusal, all_codes, render, render_json};
use odibi_plan::yaml::{Node, Value};
use odibi_plan::{Diagnostic, Manifest, Operations, Plan, Project, Selection, Severity, Sources};

/// No value of a variable may show in a diagnostic.
const CANARY: &str = "hunter2canary";

/// Diagnostics written into a fixture; of more, the first ones and the last two.
const SHOWN_MAX: usize = 60;

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/ui"))
}

fn environment(name: &str) -> Option<String> {
    match name {
        "SET" => Some(CANARY.to_owned()),
        "DATA" => Some("data".to_owned()),
        "EMPTY" => Some(String::new()),
        "ROWS" => Some("7".to_owned()),
        "SHAPE" => Some("x\n- y: [&a *a".to_owned()),
        _ => None,
    }
}

fn fixtures() -> Vec<(PathBuf, String)> {
    let files = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() > 20, "fixtures are missing");
    files
        .into_iter()
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The project text and the expectations of a fixture.
fn split(text: &str) -> (&str, &str) {
    let at = if text.starts_with("#~") {
        Some(0)
    } else {
        text.find("\n#~").map(|at| at + 1)
    };
    text.split_at(at.unwrap_or(text.len()))
}

fn selection(text: &str) -> Selection {
    let mut selection = Selection::all();
    let Some(line) = text
        .lines()
        .find_map(|line| line.strip_prefix("# select: "))
    else {
        return selection;
    };
    for part in line.split(' ') {
        let (kind, words) = part.split_once('=').unwrap();
        let words: Vec<String> = words.split(',').map(str::to_owned).collect();
        match kind {
            "pipelines" => selection.pipelines = words,
            "nodes" => selection.nodes = words,
            "tags" => selection.tags = words,
            "select" => selection.select = words,
            "exclude" => selection.exclude = words,
            _ => panic!("unknown selection: {part}"),
        }
    }
    selection
}

/// What the command line would load, and its diagnostics of the plugins that fail.
fn operations(project: &Project) -> (Operations, Vec<Diagnostic>) {
    let text = std::fs::read_to_string(directory().join("operations.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut operations = Operations {
        first_party: vec![Manifest::from_value(&all["odibi"]).unwrap()],
        ..Operations::default()
    };
    let mut faults = Vec::new();
    for (name, source) in &project.plugins {
        let code = format!("plugin/{}", source.path.trim_end_matches(".wasm"));
        if all_codes().iter().any(|known| known.name == code) {
            operations.failed_plugins.insert(name.clone());
            let message = format!("plugin {} cannot be used: {code}", diagnostic::quoted(name));
            faults.push(diagnostic::plugin(
                name,
                source.span,
                &code,
                &message,
                &["mend it".to_owned()],
            ));
        } else {
            let manifest = Manifest::from_value(all.get(name).unwrap_or(&all["geo"])).unwrap();
            operations.plugins.insert(name.clone(), manifest);
        }
    }
    (operations, faults)
}

/// SQL files of the fixtures; `link.sql` stands for a symbolic link that leads elsewhere.
fn file(path: &str, bytes_max: usize) -> Result<Vec<u8>, FileFault> {
    match path {
        "files/link.sql" => Err(FileFault::Outside),
        "files/denied.sql" => Err(FileFault::Unreadable("permission denied".to_owned())),
        "files/long.sql" => Ok(vec![b' '; bytes_max + 1]),
        "files/latin1.sql" => Ok(b"SELECT '\xe9' FROM df".to_vec()),
        "files/empty.sql" => Ok(b"\xef\xbb\xbf \n".to_vec()),
        "env.prod.yaml" => Ok(std::fs::read(directory().join("files/env.prod.yaml")).unwrap()),
        _ => std::fs::read(directory().join(path)).map_err(|_| FileFault::Missing),
    }
}

fn diagnose(name: &str, text: &str) -> (Vec<Diagnostic>, Sources) {
    let mut sources = Sources::default();
    let outside = Outside {
        environment: &environment,
        file: &file,
        selected: text.lines().find_map(|line| line.strip_prefix("# env: ")),
        at: "2024-02-29T12:00:00Z".parse().unwrap(),
        ..Outside::default()
    };
    let (project, mut found) = load_with(name, text, &outside, &mut sources);
    let (operations, faults) = operations(&project);
    found.extend(faults);
    let (plan, faults) = odibi_plan::plan::plan(&project, &selection(text), &operations);
    found.extend(faults);
    found.extend(refusals(text, &plan, &sources));
    diagnostic::sort(&mut found);
    (found, sources)
}

/// What the lines `# refused: …` say.
fn refusals(text: &str, plan: &Plan, sources: &Sources) -> Vec<Diagnostic> {
    let lines = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("# refused: "));
    let one = |line: &str| {
        let (head, message) = line.split_once(": ").unwrap();
        let head: Vec<&str> = head.split(' ').collect();
        let [node, step, param, words @ ..] = head.as_slice() else {
            panic!("{line}")
        };
        let node = plan.nodes.iter().find(|n| n.name == *node).unwrap();
        let step: usize = step.parse().unwrap();
        let value = node.steps[step].params.value.pointer(param);
        let range = words.first().map(|word| {
            let value = value.and_then(|v| v.as_str()).unwrap();
            let at = value
                .find(word)
                .unwrap_or_else(|| panic!("{word} in {value}"));
            at..at + word.len()
        });
        let refusal = Refusal {
            step,
            message,
            param: Some(param),
            text: range,
            hints: &["mend it".to_owned()],
        };
        diagnostic::refused(sources, node, &refusal)
    };
    let unseen = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("# unseen: "));
    let unseen = unseen.map(|line| {
        let [node, name, near] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let node = plan.nodes.iter().find(|n| n.name == node).unwrap();
        let mut named = node.privacy.sensitive.columns().iter();
        let column = named.find(|column| column.name == name).unwrap();
        diagnostic::unknown_sensitive(node, column, [near])
    });
    lines.map(one).chain(unseen).collect()
}

fn place(sources: &Sources, span: odibi_plan::Span) -> String {
    let at = sources.position(span);
    let other = if span.file.0 == 0 {
        String::new()
    } else {
        format!("{}:", at.file)
    };
    let start = format!("{other}{}:{}", at.line, at.column);
    match (at.line == at.end_line, at.column == at.end_column) {
        (true, true) => start,
        (true, false) => format!("{start}-{}", at.end_column),
        (false, _) => format!("{start}-{}:{}", at.end_line, at.end_column),
    }
}

fn expectation(found: &[Diagnostic], sources: &Sources) -> String {
    let mut out = String::new();
    for (index, diagnostic) in found.iter().enumerate() {
        if found.len() > SHOWN_MAX && index == SHOWN_MAX / 2 {
            writeln!(out, "#~ …").unwrap();
        }
        if found.len() > SHOWN_MAX && (SHOWN_MAX / 2..found.len() - 2).contains(&index) {
            continue;
        }
        let word = if diagnostic.severity == Severity::Error {
            "error"
        } else {
            "warning"
        };
        let at = diagnostic
            .span()
            .map(|span| format!(" {}", place(sources, span)))
            .unwrap_or_default();
        writeln!(
            out,
            "#~ {word}[{}]{at} {}",
            diagnostic.code.name, diagnostic.message
        )
        .unwrap();
        for (index, label) in diagnostic.labels.iter().enumerate() {
            match (index, label.text.as_str()) {
                (0, "") => {}
                (0, text) => writeln!(out, "#~     here: {text}").unwrap(),
                (_, text) => {
                    writeln!(
                        out,
                        "{}",
                        format!("#~     also {}: {text}", place(sources, label.span)).trim_end()
                    )
                    .unwrap();
                }
            }
        }
        for hint in &diagnostic.hints {
            writeln!(out, "#~     hint: {hint}").unwrap();
        }
    }
    out
}

#[test]
fn fixtures_give_the_diagnostics_written_in_them() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch for the person who runs the tests"
    )]
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = String::new();
    for (path, text) in fixtures() {
        let (project, expected) = split(&text);
        let name = path.file_name().unwrap().to_string_lossy();
        let (found, sources) = diagnose(&name, project);
        let found = expectation(&found, &sources);
        if update && found != expected {
            let gap = if project.is_empty() || project.ends_with('\n') || found.is_empty() {
                ""
            } else {
                "\n"
            };
            std::fs::write(&path, format!("{project}{gap}{found}")).unwrap();
        } else if found != expected {
            write!(wrong, "\n{name}: expected\n{expected}found\n{found}").unwrap();
        }
    }
    assert!(
        wrong.is_empty(),
        "run again with UPDATE_EXPECT=1 and read what changed\n{wrong}"
    );
}

#[test]
fn every_code_has_a_fixture() {
    let mut seen = BTreeSet::new();
    for (_, text) in fixtures() {
        let codes = split(&text)
            .1
            .lines()
            .filter_map(|line| line.split_once('[')?.1.split_once(']'));
        seen.extend(codes.map(|(code, _)| code.to_owned()));
    }
    let all: BTreeSet<String> = all_codes()
        .iter()
        .map(|code| code.name.to_owned())
        .collect();
    let without: Vec<&String> = all.difference(&seen).collect();
    assert!(without.is_empty(), "codes without a fixture: {without:?}");
}

#[test]
fn no_value_of_a_variable_is_shown() {
    for (path, text) in fixtures() {
        let (found, sources) = diagnose("f.yaml", split(&text).0);
        for diagnostic in &found {
            let shown =
                render(diagnostic, &sources, true) + &render_json(diagnostic, &sources).to_string();
            assert!(!shown.contains(CANARY), "{}: {shown}", path.display());
        }
    }
}

/// Places of all scalar values.
fn scalars(node: &Node, out: &mut Vec<odibi_plan::Span>) {
    match &node.value {
        Value::Missing => {}
        Value::Scalar(_) => out.push(node.span),
        Value::Sequence(items) => items.iter().for_each(|item| scalars(item, out)),
        Value::Mapping(mapping) => {
            mapping
                .entries
                .iter()
                .for_each(|entry| scalars(&entry.value, out));
        }
    }
}

#[test]
fn no_value_of_a_variable_is_shown_wherever_it_is_put() {
    let text = std::fs::read_to_string(directory().join("valid_full.yaml")).unwrap();
    let mut sources = Sources::default();
    let file = sources.add("f.yaml", text.as_str());
    let mut places = Vec::new();
    scalars(&odibi_plan::yaml::parse(&sources, file).0.root, &mut places);
    let mut refused = 0;
    for place in &places {
        for put in ["\"${SET}\"", "'x/${SET}'", "\"${SET} ${UNSET}\""] {
            let mut changed = text.clone();
            changed.replace_range(place.start as usize..place.end as usize, put);
            let (found, sources) = diagnose("f.yaml", &changed);
            refused += usize::from(diagnostic::has_errors(&found));
            for diagnostic in &found {
                let shown = render(diagnostic, &sources, false)
                    + &render_json(diagnostic, &sources).to_string();
                assert!(!shown.contains(CANARY), "{put} at {place:?}: {shown}");
            }
        }
    }
    assert!(
        places.len() > 80 && refused > places.len(),
        "{} places, {refused} refused",
        places.len()
    );
}

#[test]
fn valid_fixtures_have_no_errors() {
    let valid = fixtures()
        .into_iter()
        .filter(|(path, _)| path.to_string_lossy().contains("valid"));
    let mut count = 0;
    for (path, text) in valid {
        let (found, _) = diagnose("f.yaml", split(&text).0);
        assert!(
            !diagnostic::has_errors(&found),
            "{}: {found:?}",
            path.display()
        );
        count += 1;
    }
    assert!(count >= 2);
}

/// Decodes every scalar of the fixtures. Line breaks at the end of a block lie outside of its place.
#[test]
fn every_scalar_of_the_fixtures_is_decoded_as_it_was_read() {
    fn walk(node: &Node, sources: &Sources, seen: &mut usize) {
        match &node.value {
            Value::Missing => {}
            Value::Scalar(scalar) => {
                let file = sources.text(node.span.file);
                let written = &file[node.span.start as usize..node.span.end as usize];
                if written.starts_with('*') || scalar.text.trim().is_empty() {
                    return;
                }
                let text = scalar.text.trim_end_matches('\n');
                for (at, c) in text.char_indices().filter(|(_, c)| c.is_alphanumeric()) {
                    let range = at..at + c.len_utf8();
                    let span = diagnostic::within(sources, node.span, &scalar.text, range);
                    let found = &file[span.start as usize..span.end as usize];
                    let escaped = found.starts_with('\\');
                    assert!(
                        found == c.to_string() || escaped,
                        "{c} of {written}: {found}"
                    );
                    *seen += 1;
                }
            }
            Value::Sequence(items) => items.iter().for_each(|i| walk(i, sources, seen)),
            Value::Mapping(mapping) => {
                mapping
                    .entries
                    .iter()
                    .for_each(|e| walk(&e.value, sources, seen));
            }
        }
    }
    let mut seen = 0;
    for (_, text) in fixtures() {
        let mut sources = Sources::default();
        let file = sources.add("t.yaml", text);
        let tree = odibi_plan::yaml::parse(&sources, file).0;
        walk(&tree.root, &sources, &mut seen);
    }
    assert!(seen > 5000, "{seen}");
}
