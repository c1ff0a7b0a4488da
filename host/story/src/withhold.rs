//! What is left of free text, samples and params in a run with sensitive columns. Acts on events before they are said, so
//! that whatever is made of them later (log, story, alert, terminal) has nothing to hide.
//!
//! A guest, a parser or a database may put any value into its text, in any form, so nothing is looked for: text is
//! replaced as a whole by its length and a fingerprint. Odibi's own words stay.

mod params;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::event::{
    ColumnProfile, FileFact, NodeFacts, PrivacyFact, RejectionFact, RunEvent, Sample,
};
use crate::failure::{Failure, FailureClass, is_open};

/// What stands in place of a value.
pub const REDACTED: &str = "[REDACTED]";
/// Causes of a failure that are told of; more would only repeat that something is withheld.
const CAUSES_MAX: usize = 8;
/// Hex digits of a fingerprint.
const FINGERPRINT_DIGITS: usize = 8;

/// Withholds. Its key is made for one run and kept nowhere, so a fingerprint tells equal texts of one run and nothing else.
#[derive(Clone)]
pub struct Withhold {
    key: [u8; 32],
}

impl std::fmt::Debug for Withhold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Withhold")
    }
}

impl Withhold {
    /// With a key that nobody can guess.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// What is told of a text.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let characters = text.chars().count();
        let s = if characters == 1 { "" } else { "s" };
        match self.fingerprint(text) {
            Some(mark) => format!("[withheld: {characters} character{s}, fingerprint {mark}]"),
            None => "[withheld]".to_owned(),
        }
    }

    fn fingerprint(&self, text: &str) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(text.as_bytes());
        let digest = mac.finalize().into_bytes();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(hex.chars().take(FINGERPRINT_DIGITS).collect())
    }

    /// An event as it may be said.
    pub fn event(&self, event: &mut RunEvent) {
        match event {
            RunEvent::AttemptFailed { failure, .. }
            | RunEvent::StoryFailed { failure, .. }
            | RunEvent::SendingFailed { failure, .. }
            | RunEvent::CaptureGivenUp { failure, .. } => self.within(failure),
            RunEvent::AlertSettled { alert } => {
                (alert.failure.iter_mut()).for_each(|failure| self.within(failure));
            }
            RunEvent::NodeFinished { facts, failure, .. } => {
                facts.iter_mut().for_each(|facts| self.facts(facts));
                failure.iter_mut().for_each(|failure| self.within(failure));
            }
            RunEvent::RunStarted(_)
            | RunEvent::PipelineStarted { .. }
            | RunEvent::AttemptStarted { .. }
            | RunEvent::NodeProgress { .. }
            | RunEvent::PipelineFinished { .. }
            | RunEvent::StoryWritten { .. }
            | RunEvent::FailureCaptured { .. }
            | RunEvent::ExitDecided { .. }
            | RunEvent::RunCrashed { .. }
            | RunEvent::RunFinished { .. } => {}
        }
    }

    fn within(&self, failure: &mut Failure) {
        let empty = Failure::new(failure.class, String::new(), String::new());
        *failure = self.failure(std::mem::replace(failure, empty));
    }

    /// A failure without anything that may come from data: its class, code, place and numbers stay, and what odibi itself
    /// says of it.
    #[must_use]
    pub fn failure(&self, mut failure: Failure) -> Failure {
        let open = is_open(&failure.code) && failure.class != FailureClass::Guest;
        let own = std::mem::take(&mut failure.own);
        failure.message = match own.message() {
            Some(own) => paths(own),
            None if open => paths(&failure.message),
            None => self.text(&failure.message),
        };
        let mut causes = Vec::new();
        for cause in failure.causes.iter().take(CAUSES_MAX) {
            causes.push(if own.causes().contains(cause) || is_of_the_system(cause) {
                paths(cause)
            } else {
                self.text(cause)
            });
        }
        failure.causes = causes;
        if !open {
            failure.hints = own.hints().to_vec();
        }
        // Below the name of a param a pointer may go through keys that are values.
        failure.param = failure.param.map(|pointer| {
            let end = pointer.get(1..).and_then(|rest| rest.find('/'));
            pointer[..end.map_or(pointer.len(), |end| end + 1)].to_owned()
        });
        failure
    }

    /// What is known of a node's data without a value of a sensitive column, and without free text. A sample that comes
    /// without word of which columns are sensitive is left out.
    pub fn facts(&self, facts: &mut NodeFacts) {
        let privacy = facts.privacy.take();
        match &privacy {
            Some(privacy) => values(facts, privacy),
            None => {
                facts.sample = Sample::default();
                facts.profile = None;
                for input in &mut facts.inputs {
                    input.sample = Sample::default();
                }
            }
        }
        let known = params::columns(facts, privacy.as_deref());
        for operation in &mut facts.operations {
            for note in &mut operation.notes {
                note.text = self.text(&note.text);
            }
            if operation.sensitive || privacy.is_none() {
                self.params(
                    &operation.operation.reference,
                    &mut operation.params,
                    &known,
                );
            }
        }
        let files = (facts.sources.iter_mut())
            .chain(&mut facts.target)
            .chain(facts.quarantine.iter_mut().map(|fact| &mut fact.file))
            .chain(
                facts
                    .unread
                    .iter_mut()
                    .filter_map(|fact| fact.file.as_mut()),
            );
        files.for_each(file);
        let proof = facts.write.iter_mut().flat_map(|write| &mut write.evidence);
        proof.for_each(|proof| *proof = paths(proof));
        let reasons = (facts.quarantine.iter_mut().map(|fact| &mut fact.reasons))
            .chain(facts.unread.iter_mut().map(|fact| &mut fact.reasons));
        reasons.for_each(|reasons| self.reasons(reasons));
        if let Some(mut privacy) = privacy {
            names(facts, &mut privacy);
            facts.privacy = Some(privacy).filter(|privacy| !privacy.is_empty());
        }
    }

    fn reasons(&self, reasons: &mut [RejectionFact]) {
        for reason in reasons {
            reason.message = self.text(&reason.message);
        }
    }
}

/// Values of sensitive columns: in samples of the result and of the inputs, and in the profile.
fn values(facts: &mut NodeFacts, privacy: &PrivacyFact) {
    redact(&mut facts.sample, &privacy.columns);
    for input in &mut facts.inputs {
        let sensitive = privacy.inputs.iter().find(|s| s.input == input.name);
        redact(&mut input.sample, sensitive.map_or(&[], |s| &s.columns));
    }
    let profile = facts
        .profile
        .iter_mut()
        .flat_map(|profile| &mut profile.columns);
    for column in profile.filter(|column| privacy.columns.contains(&column.column)) {
        *column = ColumnProfile {
            column: std::mem::take(&mut column.column),
            ..ColumnProfile::default()
        };
    }
}

fn redact(sample: &mut Sample, sensitive: &[String]) {
    let hidden: Vec<bool> = (sample.columns.iter())
        .map(|column| sensitive.contains(column))
        .collect();
    for row in &mut sample.rows {
        for (at, cell) in row.iter_mut().enumerate() {
            if hidden.get(at).copied().unwrap_or(true) {
                *cell = Some(REDACTED.to_owned());
            }
        }
    }
}

fn file(file: &mut FileFact) {
    file.path = paths(&file.path);
}

/// `No space left on device (os error 28)`: words of the system that name nothing.
fn is_of_the_system(cause: &str) -> bool {
    let words = cause
        .strip_suffix(')')
        .and_then(|c| c.split_once(" (os error "));
    words.is_some_and(|(words, number)| {
        words
            .chars()
            .all(|c| c.is_ascii_alphabetic() || " -,/".contains(c))
            && number.chars().all(|c| c.is_ascii_digit())
    })
}

/// A text whose paths name no partition: in `a/country=it/x` the value is left out.
fn paths(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let ends = |c: char| "/`\"'".contains(c) || c.is_whitespace();
    for piece in text.split_inclusive(ends) {
        let part = piece.trim_end_matches(ends);
        match part.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                out.push_str(name);
                out.push('=');
                out.push_str(REDACTED);
                out.push_str(&piece[part.len()..]);
            }
            _ => out.push_str(piece),
        }
    }
    out
}

/// Replaces names of columns that are values, wherever they stand.
fn names(facts: &mut NodeFacts, privacy: &mut PrivacyFact) {
    let hidden = std::mem::take(&mut privacy.value_names);
    if hidden.is_empty() {
        return;
    }
    let replace = |name: &mut String| {
        if let Some(at) = hidden.iter().position(|value| value == name) {
            *name = format!("{REDACTED} {}", at + 1);
        }
    };
    (facts.schema_in.iter_mut().chain(&mut facts.schema_out))
        .for_each(|column| replace(&mut column.name));
    let samples = facts.inputs.iter_mut().map(|input| &mut input.sample);
    for sample in samples.chain([&mut facts.sample]) {
        sample.columns.iter_mut().for_each(replace);
    }
    let profile = facts
        .profile
        .iter_mut()
        .flat_map(|profile| &mut profile.columns);
    profile.for_each(|column| replace(&mut column.column));
    for flow in facts.operations.iter_mut().filter_map(|o| o.flow.as_mut()) {
        for port in &mut flow.ports {
            port.needed.iter_mut().for_each(replace);
        }
        for column in &mut flow.columns {
            replace(&mut column.column);
            if let Some(passed) = &mut column.passed {
                replace(&mut passed.column);
            }
        }
    }
    (privacy
        .inputs
        .iter_mut()
        .flat_map(|input| &mut input.columns))
    .chain(&mut privacy.columns)
    .chain(&mut privacy.changed)
    .chain(&mut privacy.declassified)
    .for_each(replace);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::{
        Column, ColumnFlow, ColumnProfile, GuestNote, InputFact, PassedColumn, PortFlow,
        PrivacyFact, Profile, Sample, SensitiveInput, StepFlow, UnreadFact, ValueCount,
    };
    use crate::example;
    use crate::failure::code;

    const VALUE: &str = "ann@example.com";

    fn withhold() -> Withhold {
        Withhold::new([7; 32])
    }

    #[test]
    fn a_text_becomes_its_length_and_a_mark_of_this_run() {
        let said = withhold().text("é1");
        assert!(
            said.starts_with("[withheld: 2 characters, fingerprint "),
            "{said}"
        );
        assert_eq!(said, withhold().text("é1"));
        assert_ne!(said, Withhold::new([8; 32]).text("é1"));
        assert_ne!(said, withhold().text("é2"));
        assert!(withhold().text("x").contains("1 character,"));
        assert!(!format!("{:?}", withhold()).contains('7'));
    }

    #[test]
    fn failures_keep_what_odibi_says_and_lose_the_rest() {
        let failure = Failure::new(FailureClass::Guest, "guest/data", VALUE)
            .cause(format!("the plugin's code: {VALUE}"))
            .own_cause("row 3 of the node's input fails alone")
            .hint(VALUE)
            .own_hint("set such rows aside")
            .at_param(format!("/mapping/{VALUE}"))
            .at_step(2);
        let told = withhold().failure(failure);
        assert!(!format!("{told:?}").contains("ann"), "{told:?}");
        assert_eq!(told.code, "guest/data");
        assert_eq!(told.causes[1], "row 3 of the node's input fails alone");
        assert_eq!(told.hints, ["set such rows aside"]);
        assert_eq!(told.param.as_deref(), Some("/mapping"));
        assert_eq!(told.step, Some(2));
    }

    #[test]
    fn failures_in_words_of_odibi_stay_readable() {
        let open = Failure::new(
            FailureClass::Missing,
            code::READ_MISSING,
            "no such file: `in/country=it/a.csv`",
        )
        .cause("No such file or directory (os error 2)")
        .cause(format!("near {VALUE}"))
        .hint("look");
        let told = withhold().failure(open);
        assert_eq!(told.message, "no such file: `in/country=[REDACTED]/a.csv`");
        assert_eq!(told.causes[0], "No such file or directory (os error 2)");
        assert!(told.causes[1].starts_with("[withheld: "), "{told:?}");
        assert_eq!(told.hints, ["look"]);
        let closed = Failure::new(FailureClass::Data, code::READ_BAD_ROW, VALUE)
            .own_message("`a.csv`, line 3: the row cannot be understood");
        let told = withhold().failure(closed);
        assert_eq!(
            told.message,
            "`a.csv`, line 3: the row cannot be understood"
        );
    }

    /// Facts with the value in every place that can hold one.
    fn full() -> NodeFacts {
        let mut facts = example::quarantining();
        let column = |name: &str| Column {
            name: name.to_owned(),
            data_type: "Utf8".to_owned(),
            nullable: true,
        };
        facts.schema_in = vec![column("id"), column("email")];
        facts.schema_out = vec![column("id"), column("email"), column(VALUE)];
        facts.sample = Sample {
            columns: vec!["id".to_owned(), "email".to_owned(), VALUE.to_owned()],
            rows: vec![vec![Some("1".to_owned()), Some(VALUE.to_owned()), None]],
            columns_left_out: 0,
        };
        facts.inputs = vec![InputFact {
            name: "df".to_owned(),
            rows: 1,
            columns_unread: 0,
            sample: facts.sample.clone(),
        }];
        facts.profile = Some(Profile {
            rows_counted: 1,
            columns: vec![ColumnProfile {
                column: "email".to_owned(),
                min: Some(VALUE.to_owned()),
                max: Some(VALUE.to_owned()),
                distinct: Some(1),
                top: vec![ValueCount {
                    value: VALUE.to_owned(),
                    rows: 1,
                }],
            }],
        });
        facts.sources[0].path = format!("in/email={VALUE}/a.csv");
        facts.quarantine[0].reasons[0].message = VALUE.to_owned();
        facts.quarantine[0].file.path = format!("q/email={VALUE}/1.csv");
        let write = facts.write.as_mut().expect("it writes");
        write.evidence = Some(format!("file email={VALUE}/part-1.parquet"));
        facts.unread = vec![UnreadFact {
            input: "df".to_owned(),
            rows: 1,
            reasons: facts.quarantine[0].reasons.clone(),
            rows_of_other_reasons: 0,
            file: None,
        }];
        let operation = &mut facts.operations[0];
        operation.sensitive = true;
        operation.params = json!({"group_by": ["id", "email"], "values": [VALUE]});
        operation.notes = vec![GuestNote {
            kind: "info".to_owned(),
            text: VALUE.to_owned(),
        }];
        operation.flow = Some(StepFlow {
            ports: vec![PortFlow {
                input: Some(0),
                needed: vec!["email".to_owned(), VALUE.to_owned()],
            }],
            columns: vec![ColumnFlow {
                column: VALUE.to_owned(),
                passed: Some(PassedColumn {
                    port: 0,
                    column: VALUE.to_owned(),
                }),
            }],
        });
        facts.privacy = Some(Box::new(PrivacyFact {
            inputs: vec![SensitiveInput {
                input: "df".to_owned(),
                columns: vec!["email".to_owned(), VALUE.to_owned()],
            }],
            columns: vec!["email".to_owned(), VALUE.to_owned()],
            value_names: vec![VALUE.to_owned()],
            ..PrivacyFact::default()
        }));
        facts
    }

    #[test]
    fn facts_hold_no_value_anywhere() {
        let mut facts = full();
        assert!(serde_json::to_string(&facts).expect("json").contains(VALUE));
        withhold().facts(&mut facts);
        let said = serde_json::to_string(&facts).expect("json");
        assert!(!said.contains("ann"), "{said}");
        assert_eq!(facts.sample.rows[0][0].as_deref(), Some("1"));
        assert_eq!(facts.sample.rows[0][1].as_deref(), Some(REDACTED));
        assert_eq!(facts.sample.rows[0][2].as_deref(), Some(REDACTED));
        assert_eq!(
            facts.operations[0].params["group_by"],
            json!(["id", "email"])
        );
        assert_eq!(facts.sources[0].path, "in/email=[REDACTED]/a.csv");
    }

    #[test]
    fn without_word_of_columns_no_sample_is_shown() {
        let mut facts = full();
        facts.privacy = None;
        withhold().facts(&mut facts);
        assert_eq!(facts.sample, Sample::default());
        assert_eq!(
            (&facts.profile, &facts.inputs[0].sample),
            (&None, &Sample::default())
        );
        assert!(
            !format!("{:?}", facts.operations[0].params).contains("ann"),
            "{facts:?}"
        );
    }
}
