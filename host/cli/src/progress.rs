//! What a person sees while a run goes on: bars on a terminal, otherwise one line per state change.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use odibi_plan::Plan;
use odibi_plan::config::LogLevel;
use odibi_story::event::{AlertFact, AlertState, Event, NodeFacts, NodeRef, Outcome, RunEvent};
use odibi_story::failure::Failure;
use odibi_story::render::{count, duration, plain};

use crate::log::Teller;
use crate::printer::Printer;

/// Shows events as they come.
pub(crate) struct Display {
    printer: Printer,
    name_width: usize,
    bars: Option<Bars>,
    excerpt: Excerpt,
    teller: Teller,
}

/// The lines of the project that a failure belongs to.
pub(crate) type Excerpt = Box<dyn Fn(&NodeRef, &Failure) -> Option<String> + Send>;

struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    running: BTreeMap<NodeRef, ProgressBar>,
}

impl Display {
    pub(crate) fn new(printer: &Printer, plan: &Plan, excerpt: Excerpt) -> Self {
        let name_width = plan
            .nodes
            .iter()
            .map(|n| n.pipeline.chars().count() + n.name.chars().count() + 1)
            .max()
            .unwrap_or(0);
        let bars = printer.bars().then(|| {
            let all = MultiProgress::new();
            printer.log.set_bars(Some(all.clone()));
            let total = all.add(ProgressBar::new(plan.nodes.len() as u64));
            let style = ProgressStyle::with_template(
                "{bar:30.green/black.bright} {pos}/{len} nodes  {elapsed}",
            );
            total.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            total.enable_steady_tick(Duration::from_millis(200));
            Bars {
                all,
                total,
                running: BTreeMap::new(),
            }
        });
        Self {
            printer: printer.clone(),
            name_width,
            bars,
            excerpt,
            teller: Teller::new(printer.log.clone()),
        }
    }

    pub(crate) fn show(&mut self, event: &Event) {
        if self.printer.log.is_structured() {
            self.teller.tell(event);
            return;
        }
        if self.printer.log.shows(LogLevel::Trace) {
            let json = serde_json::to_string(event).unwrap_or_default();
            self.printer
                .log
                .text(LogLevel::Trace, &format!("{}\n", plain(&json)));
        }
        match &event.kind {
            RunEvent::AttemptStarted { node, attempt } => self.started(node, *attempt),
            RunEvent::NodeProgress {
                node,
                rows_read,
                rows_out,
            } => self.moved(node, *rows_read, *rows_out),
            RunEvent::AttemptFailed {
                node,
                attempt,
                failure,
                retry_in_ms,
            } => {
                let text = format!(
                    "attempt {attempt} failed, again in {}: {}",
                    duration(*retry_in_ms),
                    plain(&failure.message)
                );
                self.state(node, "33", "retry", &text);
            }
            RunEvent::NodeFinished {
                node,
                outcome,
                duration_ms,
                facts,
                failure,
                ..
            } => {
                self.finished(
                    node,
                    *outcome,
                    *duration_ms,
                    facts.as_deref(),
                    failure.as_ref(),
                );
            }
            RunEvent::StoryFailed { pipeline, failure } => {
                self.printer.warning(&format!(
                    "story of pipeline `{pipeline}`: {}",
                    plain(&failure.message)
                ));
            }
            RunEvent::AlertSettled { alert } => self.alert(alert),
            RunEvent::SendingFailed { what, failure } => {
                let message = plain(&failure.message);
                self.printer.warning(&format!("{}: {message}", what.word()));
            }
            RunEvent::CaptureGivenUp {
                node,
                step,
                failure,
            } => {
                self.printer.warning(&format!(
                    "no capsule of `{node}`, step {}: {}",
                    step + 1,
                    plain(&failure.message)
                ));
            }
            RunEvent::RunStarted(_)
            | RunEvent::RunCrashed { .. }
            | RunEvent::FailureCaptured { .. }
            | RunEvent::ExitDecided { .. }
            | RunEvent::PipelineStarted { .. }
            | RunEvent::PipelineFinished { .. }
            | RunEvent::StoryWritten { .. }
            | RunEvent::RunFinished { .. } => {}
        }
    }

    /// Removes the bars.
    pub(crate) fn close(&mut self) {
        if let Some(bars) = self.bars.take() {
            bars.running
                .values()
                .for_each(ProgressBar::finish_and_clear);
            bars.total.finish_and_clear();
            self.printer.log.set_bars(None);
        }
    }

    fn started(&mut self, node: &NodeRef, attempt: u32) {
        if let Some(bars) = &mut self.bars {
            let bar = bars
                .all
                .insert_before(&bars.total, ProgressBar::new_spinner());
            let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_prefix(format!(
                "{:width$}",
                node.to_string(),
                width = self.name_width
            ));
            bar.enable_steady_tick(Duration::from_millis(100));
            bars.running.insert(node.clone(), bar);
        } else {
            let which = if attempt > 1 {
                format!("attempt {attempt}")
            } else {
                String::new()
            };
            self.state(node, "36", "started", &which);
        }
    }

    /// A line for an alert: always when it did not get through, else with `-v`.
    fn alert(&self, alert: &AlertFact) {
        let (channel, about) = (plain(&alert.channel), &alert.about);
        let of = alert.of_run.as_ref();
        let of = of.map_or_else(String::new, |run| format!(" of run {}", plain(run)));
        let why = alert.failure.as_ref();
        let why = why.map_or_else(String::new, |f| format!(": {}", plain(&f.message)));
        let what = format!("alert `{channel}`: {about}{of} {}{why}", alert.state.word());
        match alert.state {
            AlertState::Waiting => {
                self.printer
                    .warning(&format!("{what}; it is sent when the next run starts"));
            }
            AlertState::Failed => {
                self.printer.warning(&what);
            }
            AlertState::Delivered | AlertState::HeldBack => self.printer.debug(&what),
        }
    }

    fn moved(&mut self, node: &NodeRef, rows_read: u64, rows_out: u64) {
        if let Some(bar) = self.bars.as_ref().and_then(|b| b.running.get(node)) {
            bar.set_message(format!(
                "{} read, {} out",
                count(rows_read, "row"),
                count(rows_out, "row")
            ));
        }
    }

    fn finished(
        &mut self,
        node: &NodeRef,
        outcome: Outcome,
        ms: u64,
        facts: Option<&NodeFacts>,
        failure: Option<&Failure>,
    ) {
        if let Some(bars) = &mut self.bars {
            if let Some(bar) = bars.running.remove(node) {
                bar.finish_and_clear();
            }
            bars.total.inc(1);
        }
        let colour = match outcome {
            Outcome::Succeeded | Outcome::Recovered => "32",
            Outcome::Failed => "1;31",
            Outcome::Skipped | Outcome::Cancelled => "33",
        };
        let quarantined = |f: &NodeFacts| match f.rows_quarantined {
            0 => String::new(),
            rows => format!("{} quarantined  ", count(rows, "row")),
        };
        let rows = facts
            .map(|f| format!("{}  {}", count(f.rows_out, "row"), quarantined(f)))
            .unwrap_or_default();
        let text = match outcome {
            Outcome::Skipped => failure.map_or_else(String::new, |f| plain(&f.message)),
            Outcome::Succeeded | Outcome::Recovered | Outcome::Failed | Outcome::Cancelled => {
                format!("{rows}{}", duration(ms))
            }
        };
        self.state(node, colour, outcome.word(), &text);
        if let (Outcome::Failed, Some(failure)) = (outcome, failure) {
            let text = self.failure(node, failure);
            self.printer.log.text(LogLevel::Error, &text);
        }
    }

    /// A failure in full: code, message, place, causes, hints.
    fn failure(&self, node: &NodeRef, failure: &Failure) -> String {
        let p = &self.printer;
        let mut text = format!(
            "{} {}\n",
            p.styled("1;31", &format!("error[{}]:", failure.code)),
            plain(&failure.message)
        );
        if let Some(excerpt) = (self.excerpt)(node, failure) {
            text.push_str(&excerpt);
        }
        for cause in &failure.causes {
            text.push_str(&format!(
                "  caused by: {}\n",
                plain(cause).replace('\n', "\n    ")
            ));
        }
        for hint in &failure.hints {
            text.push_str(&format!("{} {}\n", p.styled("1;36", "hint:"), plain(hint)));
        }
        text
    }

    fn state(&self, node: &NodeRef, colour: &str, word: &str, text: &str) {
        // Padding comes first: escape codes have no width on a screen but do in a format string.
        let word = self.printer.styled(colour, &format!("{word:9}"));
        let line = format!(
            "{:width$}  {word}  {text}",
            node.to_string(),
            width = self.name_width
        );
        self.printer.info(line.trim_end());
    }
}
