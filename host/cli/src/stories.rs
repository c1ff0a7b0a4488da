//! Stories, from events to documents below a connection; the index of those that are there, and their end.

use jiff::Timestamp;
use odibi_engine::{DataEngine, Documents};
use odibi_plan::plan;
use odibi_story::event::{Event, RunEvent};
use odibi_story::failure::{Failure, FailureClass};
use odibi_story::render;
use odibi_story::story::compare::{PastRun, compare};
use odibi_story::story::shelf::{EXTENSIONS, Index, Refusal, Retention, Shelved};
use odibi_story::story::{FORMAT_VERSION, Fold, Story};

/// Runs before a story that it tells of.
const HISTORY_RUNS_MAX: usize = 40;
/// Longest story that is read, in bytes.
const STORY_BYTES_MAX: usize = 256 << 20;
/// Stories that the index does not know and that are read for it at once; the rest waits for the next time.
const UNKNOWN_MAX: usize = 1_000;

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
    say: &mut dyn FnMut(RunEvent),
) -> Vec<Written> {
    let mut fold = Fold::default();
    events.iter().for_each(|event| fold.push(event));
    let now = events
        .iter()
        .map(|event| event.at)
        .max()
        .unwrap_or_default();
    let mut written = Vec::new();
    for pipeline in fold.pipelines() {
        let Some(mut story) = fold.story(pipeline) else {
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
                    paths = place.put(&mut story, &mut failed);
                    if !paths.is_empty() {
                        let rule = retention(settings);
                        place.keep(&story, rule, now, &mut failed);
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
                Place::new(&documents, &settings.path).write(&one.story, &mut failed);
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

    /// Compares the story with earlier ones and writes it.
    fn put(&self, story: &mut Story, failed: &mut dyn FnMut(Failure)) -> Vec<String> {
        match self.shelf(&story.pipeline) {
            Ok(index) => {
                let before = index.runs.iter().map(|shelved| &shelved.run);
                let before = before
                    .filter(|run| run.run_id != story.run_id && run.started_at <= story.started_at);
                let mut history: Vec<PastRun> = before.cloned().collect();
                history.drain(..history.len().saturating_sub(HISTORY_RUNS_MAX));
                story.history = history;
                if let Some(last) = index.last_success(&story.run_id) {
                    match self.read(&story.pipeline, &last.file) {
                        Ok(last) => story.comparison = Some(compare(&last, story)),
                        Err(failure) => failed(failure),
                    }
                }
            }
            Err(failure) => failed(failure),
        }
        self.write(story, failed)
    }

    /// Writes the three files of a story.
    fn write(&self, story: &Story, failed: &mut dyn FnMut(Failure)) -> Vec<String> {
        let base = format!("{}/{}", self.dir, render::path(story));
        let mut paths = Vec::new();
        for (extension, text) in [
            ("json", render::json::render(story)),
            ("md", render::markdown::render(story)),
            ("html", render::html::render(story)),
        ] {
            match self
                .documents
                .write(&format!("{base}.{extension}"), text.as_bytes())
            {
                Ok(path) => paths.push(path),
                Err(failure) => failed(failure),
            }
        }
        paths
    }

    /// Writes the index anew and removes what is no longer kept.
    fn keep(
        &self,
        story: &Story,
        rule: Retention,
        now: Timestamp,
        failed: &mut dyn FnMut(Failure),
    ) {
        let kept = self.shelf(&story.pipeline).and_then(|mut index| {
            let base = render::path(story);
            let file = base.split_once('/').map_or(base.as_str(), |(_, file)| file);
            index.add(file, PastRun::of(story));
            self.prune(&mut index, rule, now, false)
        });
        match kept {
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
        let gone = rule.apply(index, now, yes);
        let dir = self.directory(&index.pipeline);
        for (extension, text) in [
            ("json", render::index::json(index)),
            ("md", render::index::markdown(index)),
            ("html", render::index::html(index)),
        ] {
            self.documents
                .write(&format!("{dir}/index.{extension}"), text.as_bytes())?;
        }
        for shelved in gone.iter().flatten() {
            for extension in EXTENSIONS {
                self.documents
                    .remove(&format!("{dir}/{}.{extension}", shelved.file))?;
            }
        }
        Ok(gone)
    }

    /// The index of a pipeline, as it follows from what is there.
    pub(crate) fn shelf(&self, pipeline: &str) -> Result<Index, Failure> {
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
        for file in unknown.iter().rev().take(UNKNOWN_MAX) {
            if let Ok(story) = self.read(pipeline, file)
                && story.pipeline == pipeline
            {
                index.add(file, PastRun::of(&story));
            }
        }
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
