//! The borders at which events are cut.

use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use super::Shift;

const DAY_SECONDS: i64 = 86_400;

/// Periods without gaps, the same every day.
#[derive(Debug)]
pub(super) struct Periods {
    /// Length of a day, or of whatever the pattern repeats after.
    cycle: i64,
    /// Where each part of the cycle ends, ascending, the last at `cycle`; and its shift.
    parts: Vec<(i64, Option<usize>)>,
    names: Vec<String>,
}

impl Periods {
    /// Periods of one length.
    pub(super) fn every(length: i64) -> Self {
        Self {
            cycle: length,
            parts: vec![(length, None)],
            names: Vec::new(),
        }
    }

    /// # Errors
    /// Times that are none, shifts that overlap, no shift at all.
    pub(super) fn of_shifts(shifts: &[Shift], second: i64) -> Result<Self> {
        if shifts.is_empty() {
            return Err(Failure::param("/shifts", "at least one shift is needed"));
        }
        // Seconds of the day from, to, and whose.
        let mut spans: Vec<(i64, i64, usize)> = Vec::new();
        for (i, shift) in shifts.iter().enumerate() {
            let pointer = child("/shifts", i);
            let start = time(&child(&pointer, "start"), &shift.start)?;
            let end = time(&child(&pointer, "end"), &shift.end)?;
            let start = if start == DAY_SECONDS { 0 } else { start };
            let new = if start < end {
                vec![(start, end, i)]
            } else {
                vec![(start, DAY_SECONDS, i), (0, end, i)]
            };
            for (from, to, _) in &new {
                if let Some((_, _, other)) = spans.iter().find(|(f, t, _)| f < to && from < t) {
                    let message = format!(
                        "shift `{}` overlaps shift `{}`",
                        shift.name, shifts[*other].name
                    );
                    return Err(Failure::param(pointer, message));
                }
            }
            spans.extend(new.into_iter().filter(|(from, to, _)| from < to));
        }
        spans.sort_unstable();
        let mut parts = Vec::new();
        let mut reached = 0;
        for (from, to, shift) in spans {
            if from > reached {
                parts.push((from * second, None));
            }
            parts.push((to * second, Some(shift)));
            reached = to;
        }
        if reached < DAY_SECONDS {
            parts.push((DAY_SECONDS * second, None));
        }
        // A shift over midnight is not cut there, nor is what lies outside of all.
        Ok(Self {
            cycle: DAY_SECONDS * second,
            parts,
            names: shifts.iter().map(|s| s.name.clone()).collect(),
        })
    }

    /// Where the period that holds this time ends, and its shift.
    pub(super) fn around(&self, ticks: i64) -> (i64, Option<usize>) {
        let of_cycle = ticks.rem_euclid(self.cycle);
        let begin = ticks.saturating_sub(of_cycle);
        let found = self.parts.iter().find(|(end, _)| of_cycle < *end);
        let (end, shift) = found.copied().unwrap_or((self.cycle, None));
        let border = begin.saturating_add(end);
        match self.parts.first() {
            // The period goes on after midnight.
            Some((first, same)) if end == self.cycle && *same == shift && self.parts.len() > 1 => {
                (border.saturating_add(*first), shift)
            }
            Some(_) | None => (border, shift),
        }
    }

    /// Name of a shift.
    pub(super) fn name(&self, shift: usize) -> Option<&str> {
        self.names.get(shift).map(String::as_str)
    }
}

/// `06:00` or `06:00:00` in seconds, up to `24:00`.
fn time(pointer: &str, text: &str) -> Result<i64> {
    let wrong = || {
        Failure::param(
            pointer,
            format!("expected a time of day such as `06:00`: `{text}`"),
        )
        .hint("put it in quotes: \"06:00\"")
    };
    let parts: Vec<&str> = text.split(':').collect();
    let number = |part: &str| -> Result<i64> {
        let digits = matches!(part.len(), 1 | 2) && part.bytes().all(|b| b.is_ascii_digit());
        let number = if digits { part.parse().ok() } else { None };
        number.ok_or_else(wrong)
    };
    let (hours, minutes, seconds) = match parts.as_slice() {
        [hours, minutes] => (number(hours)?, number(minutes)?, 0),
        [hours, minutes, seconds] => (number(hours)?, number(minutes)?, number(seconds)?),
        _ => return Err(wrong()),
    };
    let of_day = hours * 3600 + minutes * 60 + seconds;
    if minutes > 59 || seconds > 59 || of_day > DAY_SECONDS {
        return Err(wrong());
    }
    Ok(of_day)
}
