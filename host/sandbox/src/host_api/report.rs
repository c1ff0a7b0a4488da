//! The side channel: log lines, notes, counters and gauges, and the lines of stdout and stderr. All of it is text of a
//! stranger: capped, and stripped of everything that could steer a terminal or fake a line.

use std::collections::{BTreeMap, VecDeque};

use odibi_story::event::GuestNote;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList, WasmStr};

use super::Guest;
use crate::contract::{self, Level};
use crate::limits::Limits;

/// Lines of stderr kept to explain a crash.
const STDERR_TAIL_LINES: usize = 8;
/// At the end of what was cut.
const ELLIPSIS: char = '…';
/// Rust's advice after a panic: it explains nothing, and the guest has no environment to follow it in.
const RUST_ADVICE: &str = "note: run with `RUST_BACKTRACE=1`";
/// Fields kept of one log line.
const FIELDS_MAX: usize = 16;

/// What an instance has said.
#[derive(Debug)]
pub(crate) struct Report {
    line_bytes_max: usize,
    lines_left: u64,
    bytes_left: u64,
    metrics_max: usize,
    notes: Vec<GuestNote>,
    counters: BTreeMap<String, u64>,
    gauges: BTreeMap<String, f64>,
    stderr_tail: VecDeque<String>,
    /// Lines over the cap.
    pub(crate) dropped: u64,
}

impl Report {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            line_bytes_max: limits.line_bytes_max,
            lines_left: limits.lines_max,
            bytes_left: limits.lines_bytes_max,
            metrics_max: limits.metrics_max,
            notes: Vec::new(),
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            stderr_tail: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Keeps a line, or counts it as dropped.
    pub(crate) fn line(&mut self, kind: &str, text: &str) {
        if self.lines_left == 0 || self.bytes_left == 0 {
            self.dropped += 1;
            return;
        }
        let room = usize::try_from(self.bytes_left).unwrap_or(usize::MAX);
        let is_last = room < self.line_bytes_max && room < text.len();
        let text = clean(text, self.line_bytes_max.min(room));
        self.lines_left -= 1;
        self.bytes_left = match is_last {
            true => 0,
            false => self.bytes_left.saturating_sub(text.len() as u64),
        };
        self.notes.push(GuestNote {
            kind: kind.to_owned(),
            text,
        });
    }

    /// A line of stderr: kept like any other, and remembered in case the guest crashes.
    pub(crate) fn stderr_line(&mut self, text: &str) {
        if !text.starts_with(RUST_ADVICE) {
            if self.stderr_tail.len() == STDERR_TAIL_LINES {
                self.stderr_tail.pop_front();
            }
            self.stderr_tail.push_back(clean(text, self.line_bytes_max));
        }
        self.line("stderr", text);
    }

    /// The last lines of stderr: where a panic leaves its message.
    pub(crate) fn stderr_tail(&self) -> impl Iterator<Item = &str> {
        self.stderr_tail
            .iter()
            .map(String::as_str)
            .filter(|line| !line.trim().is_empty())
    }

    fn count(&mut self, name: &str, delta: u64) {
        if let Some(slot) = slot(
            &mut self.counters,
            name,
            self.metrics_max,
            &mut self.dropped,
        ) {
            *slot = slot.saturating_add(delta);
        }
    }

    fn gauge(&mut self, name: &str, value: f64) {
        if let Some(slot) = slot(&mut self.gauges, name, self.metrics_max, &mut self.dropped) {
            *slot = value;
        }
    }

    /// Everything said since the last call; counters and gauges come last and start anew.
    pub(crate) fn take(&mut self) -> Vec<GuestNote> {
        let mut notes = std::mem::take(&mut self.notes);
        let counters = std::mem::take(&mut self.counters)
            .into_iter()
            .map(|(name, n)| ("counter", format!("{name}={n}")));
        notes.extend(counters.map(|(kind, text)| GuestNote {
            kind: kind.to_owned(),
            text,
        }));
        let gauges = std::mem::take(&mut self.gauges)
            .into_iter()
            .map(|(name, n)| ("gauge", format!("{name}={n}")));
        notes.extend(gauges.map(|(kind, text)| GuestNote {
            kind: kind.to_owned(),
            text,
        }));
        notes
    }
}

fn slot<'a, V: Default>(
    map: &'a mut BTreeMap<String, V>,
    name: &str,
    names_max: usize,
    dropped: &mut u64,
) -> Option<&'a mut V> {
    let name = clean(name, 128);
    if map.len() >= names_max && !map.contains_key(&name) {
        *dropped += 1;
        return None;
    }
    Some(map.entry(name).or_default())
}

/// Text without control and direction characters, cut to a number of bytes. Line breaks and tabs become spaces. What is cut
/// ends with `…`: a secret that was cut is only found before one.
pub(crate) fn clean(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars() {
        let c = match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => continue,
            '\u{200e}'
            | '\u{200f}'
            | '\u{061c}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => continue,
            '\u{2028}' | '\u{2029}' => ' ',
            c => c,
        };
        if out.len() + c.len_utf8() > bytes_max {
            return cut(out, bytes_max);
        }
        out.push(c);
    }
    out
}

/// The text with `…` at its end, in so many bytes; nothing, where that has no room.
fn cut(mut text: String, bytes_max: usize) -> String {
    let Some(room) = bytes_max.checked_sub(ELLIPSIS.len_utf8()) else {
        return String::new();
    };
    while text.len() > room {
        text.pop();
    }
    text.push(ELLIPSIS);
    text
}

/// Adds `odibi:node/report`.
pub(crate) fn add(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut report = linker.instance(&contract::versioned("odibi:node/report"))?;
    report.func_wrap("log", log)?;
    report.func_wrap(
        "count",
        |mut cx: StoreContextMut<'_, Guest>, (name, delta): (WasmStr, u64)| {
            let name = short(&name, &cx, 256)?;
            cx.data_mut().report.count(&name, delta);
            Ok(())
        },
    )?;
    report.func_wrap(
        "gauge",
        |mut cx: StoreContextMut<'_, Guest>, (name, value): (WasmStr, f64)| {
            let name = short(&name, &cx, 256)?;
            cx.data_mut().report.gauge(&name, value);
            Ok(())
        },
    )?;
    report.func_wrap(
        "note",
        |mut cx: StoreContextMut<'_, Guest>, (kind, body): (WasmStr, WasmStr)| {
            let bytes_max = cx.data().report.line_bytes_max;
            let (kind, body) = (
                clean(&short(&kind, &cx, 64)?, 64),
                short(&body, &cx, bytes_max)?,
            );
            cx.data_mut().report.line(&kind, &body);
            Ok(())
        },
    )?;
    report.func_wrap("cancelled", |cx: StoreContextMut<'_, Guest>, (): ()| {
        Ok((cx.data().meter.is_cancelled(),))
    })?;
    Ok(())
}

fn log(
    mut cx: StoreContextMut<'_, Guest>,
    (level, message, fields): (Level, WasmStr, WasmList<(WasmStr, WasmStr)>),
) -> wasmtime::Result<()> {
    let bytes_max = cx.data().report.line_bytes_max;
    let mut text = short(&message, &cx, bytes_max)?;
    for i in 0..fields.len().min(FIELDS_MAX) {
        let Some(field) = fields.get(&mut cx, i) else {
            break;
        };
        let (name, value) = field?;
        text.push(' ');
        text.push_str(&short(&name, &cx, 128)?);
        text.push('=');
        text.push_str(&short(&value, &cx, bytes_max)?);
    }
    cx.data_mut().report.line(level.word(), &text);
    Ok(())
}

/// The start of a guest's string. Looks at no more than it has to copy.
fn short(
    text: &WasmStr,
    cx: &StoreContextMut<'_, Guest>,
    bytes_max: usize,
) -> wasmtime::Result<String> {
    let text = text.to_str(cx)?;
    if text.len() <= bytes_max {
        return Ok(text.into_owned());
    }
    Ok(format!(
        "{}{ELLIPSIS}",
        &text[..text.floor_char_boundary(bytes_max)]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_never_get_through() {
        let cases = [
            ("plain text", "plain text"),
            ("\u{1b}[31mred\u{1b}[0m", "[31mred[0m"),
            ("two\r\nlines", "two  lines"),
            ("bell\u{7}null\0del\u{7f}c1\u{9b}", "bellnulldelc1"),
            ("bidi\u{202e}evil\u{2069}", "bidievil"),
        ];
        for (input, expect) in cases {
            assert_eq!(clean(input, 100), expect);
        }
        assert_eq!(clean("äöü", 6), "äöü");
        assert_eq!(clean("äöü", 5), "ä…");
        assert_eq!(clean("äöü", 3), "…");
        assert_eq!(clean("äöü", 2), "");
    }

    #[test]
    fn lines_over_the_cap_are_counted() {
        let limits = Limits {
            lines_max: 2,
            line_bytes_max: 4,
            ..Limits::default()
        };
        let mut report = Report::new(&limits);
        for _ in 0..5 {
            report.line("info", "a long line");
        }
        assert_eq!(report.dropped, 3);
        let notes = report.take();
        assert_eq!(notes.len(), 2);
        assert_eq!(notes[0].text, "a…");
        assert!(report.take().is_empty());
    }

    #[test]
    fn nothing_is_kept_behind_the_line_that_had_no_room() {
        let limits = Limits {
            lines_bytes_max: 10,
            ..Limits::default()
        };
        let mut report = Report::new(&limits);
        for _ in 0..5 {
            report.line("info", "12345678");
        }
        assert_eq!(report.dropped, 3);
        let texts: Vec<String> = report.take().into_iter().map(|n| n.text).collect();
        assert_eq!(texts, ["12345678", ""]);
    }

    #[test]
    fn metric_names_are_capped() {
        let limits = Limits {
            metrics_max: 2,
            ..Limits::default()
        };
        let mut report = Report::new(&limits);
        for name in ["a", "b", "c", "a"] {
            report.count(name, u64::MAX);
        }
        assert_eq!(report.dropped, 1);
        let texts: Vec<String> = report.take().into_iter().map(|n| n.text).collect();
        assert_eq!(
            texts,
            [format!("a={}", u64::MAX), format!("b={}", u64::MAX)]
        );
    }
}
