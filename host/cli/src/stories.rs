//! Stories, from events to documents below a connection; the index of those that are there, and their end.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use odibi_engine::{DataEngine, Documents};
use odibi_plan::plan;
use odibi_story::event::{Event, RunEvent};
use odibi_story::failure::{Failure, FailureClass};
use odibi_story::render;
use odibi_story::render::docs::MEMO_SUFFIX;
use odibi_story::story::compare::{PastRun, compare};
use odibi_story::story::shelf::{ENDINGS, Index, Refusal, Retention, Shelved};
use odibi_story::story::{FORMAT_VERSION, Fold, Story};

/// Runs before a story that it tells of.
const HISTORY_RUNS_MAX: usize = 40;
/// Longest story that is read, in bytes.
const STORY_BYTES_MAX: usize = 256 << 20;
/// Stories that the index does not know and that a run reads for it; the rest waits for the next one.
const UNKNOWN_MAX: usize = 1_000;
/// The clock of the store may show so much more or less.
const CLOCKS_APART_MAX: SignedDuration = SignedDuration::from_hours(24);

/// Makes a text of a story.
type Rendering = fn(&Story) -> String;

/// The story of a pipeline, and where it was written.
pub(crate) struct Written {
    pub(crate) pipeline: String,
    pub(crate) paths: Vec<String>,
    pub(crate) story: Story,
}

/// Folds and writes the story of each pipeline that the events mention, and says so. A story that cannot be written
/// never changes the outcome of a run.
pub(crate) fn write(
    events: &[Event],
    settings: Option<&plan::Story>,
    engine: &DataEngine,
    now: Timestamp,
    say: &mut dyn FnMut(RunEvent),
) -> Vec<Written> {
    let mut fold = Fold::default();
    events.iter().for_each(|event| fold.push(event));
    let mut written = Vec::new();
    let pipelines: Vec<String> = fold.pipelines().into_iter().map(str::to_owned).collect();
    for pipeline in &pipelines {
        let Some(mut story) = fold.take(pipeline) else {
            continue;
        };
        let mut paths = Vec::new();
        if let Some(settings) = settings {
            let mut failed = |failure| {
                let pipeline = pipeline.to_owned();
                say(RunEvent::StoryFailed { pipeline, failure });
            };
            match engine.documents(&settings.connection) {
                Ok(documents) => {
                    let place = Place::new(&documents, &settings.path);
                    let index = place.compared(&mut story, &mut failed);
                    paths = place.put(&story, &mut failed);
                    if let Some(docs) = &settings.docs {
                        paths.extend(place.put_docs(&story, docs, &mut failed));
                    }
                    if let Some(index) = index.filter(|_| !paths.is_empty()) {
                        let rule = retention(settings);
                        place.keep(index, &story, rule, now, &mut failed);
                    }
                }
                Err(failure) => failed(failure),
            }
            if !paths.is_empty() {
                say(RunEvent::StoryWritten {
                    pipeline: pipeline.to_owned(),
                    paths: paths.clone(),
                });
            }
        }
        written.push(Written {
            pipeline: pipeline.to_owned(),
            paths,
            story,
        });
    }
    written
}

/// Puts what became of the alerts into the stories that were written, and writes those anew. Alerts name the files of
/// stories, so these are there before.
pub(crate) fn tell_of_alerts(
    written: &mut [Written],
    events: &[Event],
    settings: Option<&plan::Story>,
    engine: &DataEngine,
) -> Vec<RunEvent> {
    let mut fold = Fold::default();
    events.iter().for_each(|event| fold.push(event));
    let mut failures = Vec::new();
    for one in written {
        let now = fold.story(&one.pipeline);
        one.story.alerts = now.map(|story| story.alerts).unwrap_or_default();
        let Some(settings) = settings.filter(|_| !one.story.alerts.is_empty()) else {
            continue;
        };
        let mut failed = |failure| {
            let pipeline = one.pipeline.clone();
            failures.push(RunEvent::StoryFailed { pipeline, failure });
        };
        match engine.documents(&settings.connection) {
            Ok(documents) if !one.paths.is_empty() => {
                Place::new(&documents, &settings.path).put(&one.story, &mut failed);
            }
            Ok(_) => {}
            Err(failure) => failed(failure),
        }
    }
    failures
}

/// What the project says of how long stories are kept.
pub(crate) fn retention(settings: &plan::Story) -> Retention {
    Retention {
        days: settings.retention_days,
        count: settings.retention_count,
    }
}

/// The story directory of a connection.
pub(crate) struct Place<'a> {
    documents: &'a Documents,
    dir: String,
}

impl<'a> Place<'a> {
    pub(crate) fn new(documents: &'a Documents, dir: &str) -> Self {
        let dir = dir.trim_end_matches('/').to_owned();
        Self { documents, dir }
    }

    /// Compares the story with earlier ones, and returns which there are.
    fn compared(&self, story: &mut Story, failed: &mut dyn FnMut(Failure)) -> Option<Index> {
        let index = match self.shelf(&story.pipeline, UNKNOWN_MAX) {
            Ok(index) => index,
            Err(failure) => {
                failed(failure);
                return None;
            }
        };
        let before = index.runs.iter().map(|shelved| &shelved.run);
        let before =
            before.filter(|run| run.run_id != story.run_id && run.started_at <= story.started_at);
        let mut history: Vec<PastRun> = before.cloned().collect();
        history.drain(..history.len().saturating_sub(HISTORY_RUNS_MAX));
        story.history = history;
        if let Some(last) = index.last_success(&story.run_id) {
            match self.read(&story.pipeline, &last.file) {
                Ok(last) => story.comparison = Some(compare(&last, story)),
                Err(failure) => failed(failure),
            }
        }
        Some(index)
    }

    /// Writes the story, one rendering after the other.
    fn put(&self, story: &Story, failed: &mut dyn FnMut(Failure)) -> Vec<String> {
        let base = format!("{}/{}", self.dir, render::path(story));
        let renderings: [(&str, Rendering); 3] = [
            ("json", render::json::render),
            ("md", render::markdown::render),
            ("html", render::html::render),
        ];
        let mut paths = Vec::new();
        for (extension, render) in renderings {
            let path = format!("{base}.{extension}");
            match self.documents.write(&path, render(story).as_bytes()) {
                Ok(path) => paths.push(path),
                Err(failure) => failed(failure),
            }
        }
        paths
    }

    /// Writes the memo of the run, and the documents of its pipeline; the path of the memo.
    fn put_docs(
        &self,
        story: &Story,
        docs: &plan::StoryDocs,
        failed: &mut dyn FnMut(Failure),
    ) -> Option<String> {
        for doc in render::docs::documents(story, docs) {
            let path = format!("{}/{}", docs.path.trim_end_matches('/'), doc.path);
            if let Err(failure) = self.documents.write(&path, doc.text.as_bytes()) {
                failed(failure);
                break;
            }
        }
        if !docs.run_memo {
            return None;
        }
        let path = format!("{}/{}{MEMO_SUFFIX}", self.dir, render::path(story));
        let memo = render::docs::memo(story);
        let written = self.documents.write(&path, memo.as_bytes());
        written.map_err(failed).ok()
    }

    /// Writes the index anew and removes what is no longer kept.
    fn keep(
        &self,
        mut index: Index,
        story: &Story,
        rule: Retention,
        now: Timestamp,
        failed: &mut dyn FnMut(Failure),
    ) {
        let base = render::path(story);
        let file = base.split_once('/').map_or(base.as_str(), |(_, file)| file);
        index.add(file, PastRun::of(story));
        match self.prune(&mut index, rule, now, false) {
            Ok(Ok(_)) => {}
            Ok(Err(refusal)) => failed(refused(refusal)),
            Err(failure) => failed(failure),
        }
    }

    /// Takes stories out of the index, writes it, and then removes their files.
    pub(crate) fn prune(
        &self,
        index: &mut Index,
        rule: Retention,
        now: Timestamp,
        yes: bool,
    ) -> Result<Result<Vec<Shelved>, Refusal>, Failure> {
        let gone = if !yes && self.clocks_differ(index, rule, now)? {
            Err(Refusal::ClocksDiffer)
        } else {
            rule.apply(index, now, yes)
        };
        self.write_index(index)?;
        let dir = self.directory(&index.pipeline);
        let files = |shelved: &Shelved| {
            let of = |ending: &&str| format!("{dir}/{}{ending}", shelved.file);
            ENDINGS.iter().map(of).collect()
        };
        let groups: Vec<Vec<String>> = gone.iter().flatten().map(files).collect();
        self.documents.remove_all(&groups)?;
        let days = gone
            .iter()
            .flatten()
            .filter_map(|shelved| shelved.file.split_once('/'));
        let days: BTreeSet<&str> = days.map(|(day, _)| day).collect();
        for day in days {
            self.documents.remove_empty(&format!("{dir}/{day}"));
        }
        Ok(gone)
    }

    /// Is this machine's clock wrong, as far as a store can tell that has one of its own? Asked only when something
    /// would go.
    fn clocks_differ(
        &self,
        index: &Index,
        rule: Retention,
        now: Timestamp,
    ) -> Result<bool, Failure> {
        if rule.expired(index, now).is_empty() {
            return Ok(false);
        }
        self.write_index(index)?;
        let path = format!("{}/index.json", self.directory(&index.pipeline));
        let modified = self.documents.modified(&path)?;
        let apart = modified.map(|there| there.duration_since(now).abs());
        Ok(apart.is_some_and(|apart| apart > CLOCKS_APART_MAX))
    }

    fn write_index(&self, index: &Index) -> Result<(), Failure> {
        let dir = self.directory(&index.pipeline);
        for (extension, text) in [
            ("json", render::index::json(index)),
            ("md", render::index::markdown(index)),
            ("html", render::index::html(index)),
        ] {
            self.documents
                .write(&format!("{dir}/index.{extension}"), text.as_bytes())?;
        }
        Ok(())
    }

    /// The index of a pipeline, as it follows from what is there; of stories that it does not know, so many are read.
    pub(crate) fn shelf(&self, pipeline: &str, unknown_max: usize) -> Result<Index, Failure> {
        let dir = self.directory(pipeline);
        let prefix = format!("{dir}/");
        let paths = self.documents.list(&dir)?;
        let files: Vec<String> = paths
            .iter()
            .filter_map(|path| path.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect();
        let known = self
            .documents
            .read(&format!("{dir}/index.json"), STORY_BYTES_MAX)
            .ok()
            .flatten()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let (mut index, unknown) = Index::reconcile(known, pipeline, &files);
        // A story that cannot be read is not in the index, and is left alone.
        let read = |file: String| {
            let story = self.read(pipeline, &file).ok()?;
            let run = PastRun::of(&story);
            (story.pipeline == pipeline).then_some(Shelved { file, run })
        };
        index.extend(unknown.into_iter().rev().take(unknown_max).filter_map(read));
        Ok(index)
    }

    /// Reads the story of a run.
    pub(crate) fn read(&self, pipeline: &str, file: &str) -> Result<Story, Failure> {
        let path = self.path(pipeline, file, "json");
        let bytes = self.documents.read(&path, STORY_BYTES_MAX)?;
        parse(&bytes.unwrap_or_default(), &self.documents.shown(&path))
    }

    /// A file of a story, as a person would type it.
    pub(crate) fn shown(&self, pipeline: &str, file: &str, extension: &str) -> String {
        self.documents.shown(&self.path(pipeline, file, extension))
    }

    fn path(&self, pipeline: &str, file: &str, extension: &str) -> String {
        format!("{}/{file}.{extension}", self.directory(pipeline))
    }

    fn directory(&self, pipeline: &str) -> String {
        format!("{}/{}", self.dir, render::directory(pipeline))
    }
}

/// A story from its JSON.
pub(crate) fn parse(bytes: &[u8], shown: &str) -> Result<Story, Failure> {
    let bad = |cause: String| {
        let what = format!("this is no story that can be read: {shown}");
        Failure::new(FailureClass::Data, "story/unreadable", what).cause(cause)
    };
    let story: Story = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    if story.format_version > FORMAT_VERSION {
        return Err(bad("it was written by a newer odibi".to_owned()));
    }
    Ok(story)
}

fn refused(refusal: Refusal) -> Failure {
    let what = format!("no old story was removed: {refusal}");
    Failure::new(FailureClass::Conflict, "story/retention-refused", what)
        .hint("look at them with `odibi story prune --dry-run`, and remove them with `odibi story prune --yes`")
}
