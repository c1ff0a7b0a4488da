//! Lines of the log, one by one.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use odibi_plan::Secret;
use serde_json::Value;

use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *lock(&self.0))).expect("UTF-8")
    }
}

fn log(format: LogFormat, level: LogLevel) -> (Log, Captured) {
    let captured = Captured::default();
    let given = Given {
        level: Some(level),
        format: Some(format),
    };
    let redaction = crate::Redaction::default();
    (
        Log::new(Box::new(captured.clone()), false, given, redaction),
        captured,
    )
}

#[test]
fn line_is_one_object_whatever_is_in_it() {
    let (log, captured) = log(LogFormat::Json, LogLevel::Info);
    let evil = "a\nb\r\u{1b}[31m\u{9b}\u{2028}\u{202e}\"}{\0\u{e0001}é";
    log.of_run("r1");
    let entry = Entry {
        node: Some(evil),
        hints: Some(evil),
        ..Entry::new("message", evil)
    };
    log.entry(LogLevel::Warning, &entry);
    let text = captured.take();
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    assert!(text.ends_with('\n'));
    let shown = text.trim_end();
    assert!(
        !shown.chars().any(odibi_story::render::is_hidden),
        "{shown}"
    );
    let value: Value = serde_json::from_str(shown).expect("JSON");
    for field in ["message", "node", "hints"] {
        assert_eq!(value[field], evil);
    }
    assert_eq!(value["level"], "WARNING");
    assert_eq!(value["run_id"], "r1");
    assert_eq!(value["attempt"], Value::Null);
    assert_eq!(value.get("bytes"), None);
}

#[test]
fn level_leaves_out_what_is_less_serious() {
    use LogLevel::{Debug, Error, Info, Trace, Warning};
    for level in [Error, Warning, Info, Debug, Trace] {
        for format in [LogFormat::Json, LogFormat::Text] {
            let (log, captured) = log(format, level);
            for said in [Error, Warning, Info, Debug, Trace] {
                match format {
                    LogFormat::Json => log.entry(said, &Entry::new("message", "x")),
                    LogFormat::Text => log.text(said, "x\n"),
                }
                assert_eq!(
                    captured.take().is_empty(),
                    said > level,
                    "{said:?} {level:?}"
                );
            }
        }
    }
}

#[test]
fn long_texts_are_cut() {
    let (log, captured) = log(LogFormat::Json, LogLevel::Info);
    log.entry(LogLevel::Info, &Entry::new("message", &"ü".repeat(100_000)));
    let text = captured.take();
    assert!(text.len() < 20_000, "{}", text.len());
    assert!(text.contains("ü…\""), "{}", &text[text.len() - 200..]);
}

#[test]
fn libraries_are_heard_when_they_warn_and_their_fields_never() {
    for (format, level, warned) in [
        (LogFormat::Json, LogLevel::Info, true),
        (LogFormat::Text, LogLevel::Info, false),
        (LogFormat::Text, LogLevel::Debug, true),
        (LogFormat::Json, LogLevel::Error, false),
    ] {
        let (log, captured) = log(format, level);
        tracing::dispatcher::with_default(&log.dispatch, || {
            tracing::warn!(target: "lib", url = "https://x?sig=s3cret", "slow\u{1b}[2J");
            tracing::info!(target: "lib", "s3cret");
            tracing::debug!(target: "lib", "s3cret");
        });
        let text = captured.take();
        assert_eq!(
            text.contains("slow"),
            warned,
            "{format:?} {level:?}: {text}"
        );
        assert!(
            !text.contains("s3cret") && !text.contains('\u{1b}'),
            "{text}"
        );
        if warned && format == LogFormat::Json {
            let value: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(
                (&value["event"], &value["library"]),
                (&"library".into(), &"lib".into())
            );
        }
    }
}

#[test]
fn words_of_a_faulty_command_line_are_guessed() {
    let check = |args: &[&str], variable: &str, expect: Option<LogFormat>| {
        let args: Vec<std::ffi::OsString> = args.iter().map(Into::into).collect();
        let variables = BTreeMap::from([("ODIBI_LOG_FORMAT", variable)]);
        let variable = |name: &str| variables.get(name).map(|v| (*v).to_owned());
        assert_eq!(Given::guessed(&args, &variable).format, expect, "{args:?}");
    };
    let (json, text) = (Some(LogFormat::Json), Some(LogFormat::Text));
    check(&["odibi", "x"], "", None);
    check(&["odibi", "x"], "json", json);
    check(&["odibi", "x"], "xml", None);
    check(&["odibi", "x", "--log-format=json"], "", json);
    check(&["odibi", "--log-format", "JSON", "x"], "text", json);
    check(
        &["odibi", "--log-format=json", "--log-format=text"],
        "",
        text,
    );
    check(&["odibi", "--log-format"], "json", json);
    check(&["odibi", "--log-format=xml"], "json", json);
    check(&["odibi", "--", "--log-format=json"], "", None);
}

#[test]
fn terminal_is_shown_colours_of_ours_and_nothing_else() {
    let text = "a\u{1b}[1;31mred\u{1b}[0m\u{1b}[2J\u{1b}]0;t\u{7}\r\n\tb\u{9b}";
    assert_eq!(
        visible(text, true),
        "a\u{1b}[1;31mred\u{1b}[0m␛[2J␛]0;t␇␍\n    b\\u{9b}"
    );
    assert_eq!(
        visible(text, false),
        "a␛[1;31mred␛[0m␛[2J␛]0;t␇␍\n    b\\u{9b}"
    );
    assert_eq!(visible("\u{1b}", true), "␛");
    assert_eq!(visible("\u{1b}[", true), "␛[");
}

/// Set in the process that panics.
const PANICS: &str = "ODIBI_TEST_PANICS";
/// A secret that is in its messages.
const CANARY: &str = "hunter2-in-a-panic";

/// Run by itself it does nothing.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "it is told what to do by its environment"
)]
fn panicking_process() {
    let Some(format) = std::env::var_os(PANICS) else {
        return;
    };
    let format = if format == "json" {
        LogFormat::Json
    } else {
        LogFormat::Text
    };
    let given = Given {
        level: None,
        format: Some(format),
    };
    let redaction = crate::Redaction::default();
    redaction.learn(&[Secret::new(CANARY)]);
    // As `main` has it, and then as a log has it.
    std::panic::set_hook(Box::new(redaction.panics()));
    let early = std::panic::catch_unwind(|| panic!("early {CANARY}"));
    assert!(early.is_err());
    let log = Log::new(Box::new(std::io::stderr()), false, given, redaction);
    log.own_process();
    let thread = std::thread::Builder::new().name("work".to_owned());
    let panicking = thread
        .spawn(|| panic!("{CANARY} two\nlines \u{1b}[31m"))
        .expect("a thread");
    assert!(panicking.join().is_err());
}

#[test]
fn panics_are_lines_of_the_log() {
    let said = |format: &str| {
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "log::tests::panicking_process", "--nocapture"])
            .env(PANICS, format)
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .output()
            .expect("it starts");
        assert!(output.status.success());
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(!said.contains(CANARY), "{said}");
        let (early, said) = said.split_once("\nearly ***\n").expect("both panics");
        assert!(early.contains("panicked at"), "{early}");
        said.to_owned()
    };
    let text = said("json");
    let value: Value = serde_json::from_str(&text).expect("one line of JSON");
    assert_eq!(
        (&value["event"], &value["level"]),
        (&"panic".into(), &"ERROR".into())
    );
    let message = value["message"].as_str().expect("a message");
    assert!(message.ends_with("*** two\nlines \u{1b}[31m"), "{message}");
    assert!(
        value["file"]
            .as_str()
            .expect("a file")
            .ends_with("tests.rs")
    );
    let text = said("text");
    assert!(
        text.contains("thread `work` of odibi panicked at"),
        "{text}"
    );
    assert!(text.ends_with("*** two\nlines ␛[31m\n"), "{text}");
}

#[test]
fn every_event_is_described() {
    let sources = [
        include_str!("told.rs"),
        include_str!("guests.rs"),
        include_str!("panics.rs"),
        include_str!("../lib.rs"),
        include_str!("../printer.rs"),
        include_str!("../signals.rs"),
    ];
    let page = include_str!("../../../../docs/logs.md");
    let mut events = 0;
    for rest in sources
        .iter()
        .flat_map(|text| text.split("Entry::new(\"").skip(1))
    {
        let event = rest.split('"').next().unwrap_or_default();
        assert!(page.contains(&format!("`{event}`")), "{event}");
        events += 1;
    }
    assert!(events > 20, "{events}");
}
