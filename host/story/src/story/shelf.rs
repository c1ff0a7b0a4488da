//! The stories of a pipeline that are kept: the index of what is there, and which of them may go. A serialised format,
//! see [`FORMAT_VERSION`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Status;
use super::compare::PastRun;
use crate::render::docs::MEMO_SUFFIX;

/// Version of the index's format. An index of a higher one is made anew from the stories.
pub const FORMAT_VERSION: u32 = 1;

/// How the files of one story end. The JSON goes last: as long as it is there the story can be found.
pub const ENDINGS: [&str; 4] = [MEMO_SUFFIX, ".html", ".md", ".json"];

/// So many stories may go at once whatever their share is: a small shelf would never shrink otherwise.
const AT_ONCE_MIN: usize = 1;
/// Of more, at most this share may go at once, in percent.
const AT_ONCE_PERCENT: usize = 20;

/// The stories of one pipeline that are there, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Index {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The pipeline.
    pub pipeline: String,
    /// Its runs.
    pub runs: Vec<Shelved>,
}

/// A story that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Shelved {
    /// Its files, below the directory of the pipeline and without extension.
    pub file: String,
    /// The run in short.
    #[serde(flatten)]
    pub run: PastRun,
}

impl Index {
    /// What an index still knows of the `files` that are there, as paths below the pipeline's directory; and the stories
    /// that it does not know, which have to be read.
    #[must_use]
    pub fn reconcile(known: Option<Self>, pipeline: &str, files: &[String]) -> (Self, Vec<String>) {
        let known = known
            .filter(|index| index.format_version == FORMAT_VERSION && index.pipeline == pipeline);
        let mut known: BTreeMap<String, Shelved> = known
            .into_iter()
            .flat_map(|index| index.runs)
            .map(|shelved| (shelved.file.clone(), shelved))
            .collect();
        let there: BTreeSet<&str> = files.iter().filter_map(|path| stem(path)).collect();
        let mut index = Self {
            format_version: FORMAT_VERSION,
            pipeline: pipeline.to_owned(),
            runs: Vec::new(),
        };
        let mut unknown = Vec::new();
        for file in there {
            match known.remove(file) {
                Some(shelved) => index.runs.push(shelved),
                None => unknown.push(file.to_owned()),
            }
        }
        index.sort();
        (index, unknown)
    }

    /// Adds a story, or replaces what was said of it.
    pub fn add(&mut self, file: &str, run: PastRun) {
        self.runs.retain(|shelved| shelved.file != file);
        let file = file.to_owned();
        self.runs.push(Shelved { file, run });
        self.sort();
    }

    /// Adds stories that it does not know.
    pub fn extend(&mut self, stories: impl IntoIterator<Item = Shelved>) {
        self.runs.extend(stories);
        self.sort();
    }

    fn sort(&mut self) {
        fn key(s: &Shelved) -> (Timestamp, &str, &str) {
            (s.run.started_at, &s.run.run_id, &s.file)
        }
        self.runs.sort_by(|a, b| key(a).cmp(&key(b)));
    }

    /// The last run that succeeded, other than `run_id`.
    #[must_use]
    pub fn last_success(&self, run_id: &str) -> Option<&Shelved> {
        let mut runs = self.runs.iter().rev();
        runs.find(|shelved| shelved.run.run_id != run_id && succeeded(shelved.run.outcome))
    }
}

/// `2026-11-23/run_08-30-00_0190` of its JSON.
fn stem(path: &str) -> Option<&str> {
    let stem = path.strip_suffix(".json")?;
    let (day, file) = stem.split_once('/')?;
    let is_day = day.len() == 10 && day.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    (is_day && file.starts_with("run_") && !file.contains('/')).then_some(stem)
}

fn succeeded(status: Status) -> bool {
    matches!(status, Status::Succeeded | Status::Recovered)
}

fn failed(status: Status) -> bool {
    matches!(status, Status::Failed | Status::Crashed)
}

/// How long stories are kept. Without a number nothing goes for that reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Stories of runs that began longer ago go.
    pub days: Option<u32>,
    /// Older stories than so many go.
    pub count: Option<usize>,
}

/// Why nothing was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The clock shows a time before the newest story.
    ClockWentBack,
    /// The clock of the store shows another day.
    ClocksDiffer,
    /// Too many would go at once.
    TooMany {
        /// So many.
        stories: usize,
        /// Of so many.
        of: usize,
    },
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ClockWentBack => f.write_str("the clock shows a time before the newest story"),
            Self::ClocksDiffer => {
                f.write_str("the clock of the store shows another day than that of this machine")
            }
            Self::TooMany { stories, of } => {
                write!(f, "{stories} of {of} stories would go at once")
            }
        }
    }
}

impl Retention {
    /// The stories that go, by their place in the index. Never an unfinished run's, the last success's and the last
    /// failure's.
    #[must_use]
    pub fn expired(&self, index: &Index, now: Timestamp) -> Vec<usize> {
        let runs = &index.runs;
        let last = |is: fn(Status) -> bool| runs.iter().rposition(|s| is(s.run.outcome));
        let kept = [last(succeeded), last(failed)];
        let oldest = self.days.map(|days| {
            let age = SignedDuration::from_hours(24 * i64::from(days));
            now.checked_sub(age).unwrap_or(Timestamp::MIN)
        });
        let expired = |at: &usize| {
            let run = &runs[*at].run;
            let newer = runs.len() - 1 - at;
            let too_old = oldest.is_some_and(|oldest| run.started_at < oldest);
            let too_many = self.count.is_some_and(|count| newer >= count);
            (too_old || too_many) && run.outcome != Status::Unfinished && !kept.contains(&Some(*at))
        };
        (0..runs.len()).filter(expired).collect()
    }

    /// Takes the stories that go out of the index.
    ///
    /// # Errors
    /// Why they stay, unless somebody looked at them and said yes.
    pub fn apply(
        &self,
        index: &mut Index,
        now: Timestamp,
        yes: bool,
    ) -> Result<Vec<Shelved>, Refusal> {
        let expired = self.expired(index, now);
        let (stories, of) = (expired.len(), index.runs.len());
        if !yes && stories > 0 {
            if index
                .runs
                .last()
                .is_some_and(|newest| now < newest.run.started_at)
            {
                return Err(Refusal::ClockWentBack);
            }
            if stories > AT_ONCE_MIN && stories * 100 > of * AT_ONCE_PERCENT {
                return Err(Refusal::TooMany { stories, of });
            }
        }
        let mut gone = Vec::new();
        let mut at = 0;
        index.runs.retain(|shelved| {
            let goes = expired.binary_search(&at).is_ok();
            at += 1;
            if goes {
                gone.push(shelved.clone());
            }
            !goes
        });
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000 + hours)
    }

    fn shelf(runs: &[(i64, Status)]) -> Index {
        let mut index = Index {
            format_version: 1,
            ..Index::default()
        };
        for (at_run, (hours, outcome)) in runs.iter().enumerate() {
            let run = PastRun {
                run_id: format!("{at_run:04}"),
                started_at: at(*hours),
                outcome: *outcome,
                duration_ms: 1,
                rows_written: 0,
            };
            index.add(&format!("2026-01-01/run_{at_run:04}"), run);
        }
        index
    }

    /// What the reference says, run by run: the survivors.
    fn model(
        index: &Index,
        now: Timestamp,
        days: Option<u32>,
        count: Option<usize>,
    ) -> Vec<String> {
        let mut survivors = Vec::new();
        let (mut success, mut failure) = (false, false);
        for (newer, shelved) in index.runs.iter().rev().enumerate() {
            let run = &shelved.run;
            let mut keep = true;
            if let Some(days) = days {
                let age_hours = (now.as_second() - run.started_at.as_second()) as f64 / 3600.0;
                keep = keep && age_hours <= f64::from(days) * 24.0;
            }
            if let Some(count) = count {
                keep = keep && newer < count;
            }
            match run.outcome {
                Status::Unfinished => keep = true,
                Status::Succeeded | Status::Recovered => {
                    keep = keep || !success;
                    success = true;
                }
                Status::Failed | Status::Crashed => {
                    keep = keep || !failure;
                    failure = true;
                }
                Status::Skipped | Status::Cancelled | Status::NotStarted => {}
            }
            if keep {
                survivors.insert(0, shelved.file.clone());
            }
        }
        survivors
    }

    fn status() -> impl Strategy<Value = Status> {
        prop_oneof![
            Just(Status::Succeeded),
            Just(Status::Recovered),
            Just(Status::Failed),
            Just(Status::Cancelled),
            Just(Status::Unfinished),
            Just(Status::Crashed),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn survivors_are_those_of_the_model(
            runs in proptest::collection::vec((0_i64..2_000, status()), 0..60),
            now in 0_i64..3_000,
            days in proptest::option::of(0_u32..80),
            count in proptest::option::of(0_usize..70),
        ) {
            let mut index = shelf(&runs);
            let expect = model(&index, at(now), days, count);
            let before: Vec<String> = index.runs.iter().map(|s| s.file.clone()).collect();
            let rule = Retention { days, count };
            let gone = rule.apply(&mut index, at(now), true).expect("somebody said yes");
            let left: Vec<String> = index.runs.iter().map(|s| s.file.clone()).collect();
            prop_assert_eq!(&left, &expect);
            prop_assert_eq!(gone.len() + left.len(), before.len());
            prop_assert_eq!(rule.apply(&mut index, at(now), true).expect("yes"), vec![], "a second time takes nothing");
        }
    }

    #[test]
    fn too_many_at_once_are_refused_until_somebody_says_yes() {
        let runs: Vec<_> = (0..100).map(|n| (n, Status::Succeeded)).collect();
        let keep = |count| Retention {
            days: None,
            count: Some(count),
        };
        let refused = keep(79).apply(&mut shelf(&runs), at(200), false);
        assert_eq!(
            refused,
            Err(Refusal::TooMany {
                stories: 21,
                of: 100
            })
        );
        assert_eq!(
            keep(79)
                .apply(&mut shelf(&runs), at(200), true)
                .map(|g| g.len()),
            Ok(21)
        );
        assert_eq!(
            keep(80)
                .apply(&mut shelf(&runs), at(200), false)
                .map(|g| g.len()),
            Ok(20)
        );
        // One may always go.
        let small = |stories: usize, count| {
            let gone = keep(count).apply(&mut shelf(&runs[..stories]), at(200), false);
            gone.map(|gone| gone.len())
        };
        assert_eq!(small(2, 1), Ok(1));
        assert_eq!(small(3, 1), Err(Refusal::TooMany { stories: 2, of: 3 }));
        assert_eq!(small(10, 8), Ok(2));
    }

    #[test]
    fn nothing_goes_when_the_clock_went_back() {
        let runs: Vec<_> = (0..10).map(|n| (n, Status::Succeeded)).collect();
        let rule = Retention {
            days: None,
            count: Some(9),
        };
        assert_eq!(
            rule.apply(&mut shelf(&runs), at(5), false),
            Err(Refusal::ClockWentBack)
        );
        assert_eq!(rule.apply(&mut shelf(&runs[..9]), at(5), false), Ok(vec![]));
    }

    #[test]
    fn index_follows_what_is_there() {
        let old = shelf(&[(1, Status::Succeeded), (2, Status::Failed)]);
        let files: Vec<String> = [
            "2026-01-01/run_0001.json",
            "2026-01-01/run_0001.md",
            "2026-01-02/run_new.json",
            "2026-01-02/run_half.html",
            "index.json",
            "notes/run_x.json",
            "2026-01-02/deep/run_x.json",
        ]
        .map(str::to_owned)
        .to_vec();
        let (index, unknown) = Index::reconcile(Some(old.clone()), "", &files);
        assert_eq!(index.runs, [old.runs[1].clone()]);
        assert_eq!(unknown, ["2026-01-02/run_new"]);
        let other = Index {
            format_version: 2,
            ..old
        };
        assert_eq!(Index::reconcile(Some(other), "", &files).1.len(), 2);
    }

    #[test]
    fn last_success_is_not_the_run_itself() {
        let index = shelf(&[
            (1, Status::Succeeded),
            (2, Status::Failed),
            (3, Status::Recovered),
        ]);
        assert_eq!(
            index.last_success("").map(|s| s.run.run_id.as_str()),
            Some("0002")
        );
        assert_eq!(
            index.last_success("0002").map(|s| s.run.run_id.as_str()),
            Some("0000")
        );
    }
}
