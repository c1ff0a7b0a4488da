//! Stories, from events to documents below a connection.

use odibi_engine::DataEngine;
use odibi_plan::plan;
use odibi_story::event::{Event, RunEvent};
use odibi_story::render;
use odibi_story::story::{Fold, Story};

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
    let mut written = Vec::new();
    for pipeline in fold.pipelines() {
        let Some(story) = fold.story(pipeline) else {
            continue;
        };
        let mut paths = Vec::new();
        if let Some(settings) = settings {
            let base = format!(
                "{}/{}",
                settings.path.trim_end_matches('/'),
                render::path(&story)
            );
            let documents = [
                ("md", render::markdown::render(&story)),
                ("json", render::json::render(&story)),
            ];
            for (extension, text) in documents {
                let path = format!("{base}.{extension}");
                match engine.write_document(&settings.connection, &path, text.as_bytes()) {
                    Ok(path) => paths.push(path),
                    Err(failure) => say(RunEvent::StoryFailed {
                        pipeline: pipeline.to_owned(),
                        failure,
                    }),
                }
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
