//! `story`: where the story of each run goes and what it shows.
//!
//! ```yaml
//! story: {connection: lake, path: stories, max_sample_rows: 10, retention_days: 30, retention_count: 100, record_user: true,
//!         docs: {enabled: true, output_path: docs/generated, outputs: {run_memo: false}, include: {sql: true}}}
//! ```

use super::Text;
use super::path::{self, Purpose};
use super::reader::Reader;
use crate::limits::SAMPLE_ROWS_MAX;
use crate::plan::StoryDocs;

/// Directory below the connection when `path` is not given.
const PATH_DEFAULT: &str = "stories";
/// Sample rows of each node when `max_sample_rows` is not given, as in ODIBI.
const SAMPLE_ROWS_DEFAULT: usize = 10;

/// Directory of documents when `output_path` is not given, as in ODIBI.
const DOCS_PATH_DEFAULT: &str = "docs/generated";

/// A century.
pub(super) const RETENTION_DAYS_MAX: usize = 36_500;
/// Stories that can be asked to be kept.
pub(super) const RETENTION_COUNT_MAX: usize = 1_000_000;

/// Keys of ODIBI that change nothing.
pub(super) const IGNORED: &[&str] = &["async_generation", "generate_lineage"];
/// Keys of ODIBI that this version does not carry out.
pub(super) const LATER: &[&str] = &[
    "failure_sample_size",
    "max_failure_samples",
    "max_sampled_validations",
];
/// What `docs.outputs` switches.
pub(super) const OUTPUTS: [&str; 4] = ["readme", "technical_details", "node_cards", "run_memo"];
/// What `docs.include` switches.
pub(super) const INCLUDE: [&str; 3] = ["sql", "config_snapshot", "schema"];

/// The story section.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// Connection it is written to.
    pub connection: Text,
    /// Directory below its root.
    pub path: String,
    /// Sample rows kept for each node.
    pub sample_rows_max: usize,
    /// Stories of runs that began longer ago are removed.
    pub retention_days: Option<usize>,
    /// So many are kept.
    pub retention_count: Option<usize>,
    /// Who started a run is told.
    pub record_user: bool,
    /// Documents written beside the stories, when they are wanted.
    pub docs: Option<StoryDocs>,
}

pub(super) fn read(project: &mut Reader<'_>) -> Option<Story> {
    let mut reader = project.mapping("story")?;
    reader.rename("the story");
    let connection = reader.connection();
    let path = match reader.text("path") {
        Some(text) => {
            let text = reader.filled(Some(text), "path");
            text.and_then(|text| path::check(&reader, text, Purpose::Directory))
                .map(|text| text.value)
        }
        None => Some(PATH_DEFAULT.to_owned()),
    };
    let sample_rows_max = reader
        .integer("max_sample_rows", 0..=SAMPLE_ROWS_MAX)
        .unwrap_or(SAMPLE_ROWS_DEFAULT);
    let retention_days = reader.integer("retention_days", 1..=RETENTION_DAYS_MAX);
    let retention_count = reader.integer("retention_count", 1..=RETENTION_COUNT_MAX);
    let wanted = reader.boolean("auto_generate", true);
    reader.ignored(IGNORED, "a story is always written whole, with its lineage");
    reader.not_yet(LATER);
    let record_user = reader.boolean("record_user", false);
    let docs = docs(&mut reader);
    reader.finish();
    let story = Story {
        connection: connection?,
        path: path?,
        sample_rows_max,
        retention_days,
        retention_count,
        record_user,
        docs,
    };
    wanted.then_some(story)
}

/// What is switched off is checked nevertheless.
fn docs(story: &mut Reader<'_>) -> Option<StoryDocs> {
    let mut reader = story.mapping("docs")?;
    reader.rename("the documents of the story");
    let enabled = reader.boolean("enabled", false);
    let path = match reader.text("output_path") {
        Some(text) => {
            let text = reader.filled(Some(text), "output_path");
            text.and_then(|text| path::check(&reader, text, Purpose::Directory))
                .map(|text| text.value)
        }
        None => Some(DOCS_PATH_DEFAULT.to_owned()),
    };
    let name = "the outputs of the documents";
    let [readme, technical_details, node_cards, run_memo] =
        switches(&mut reader, "outputs", name, OUTPUTS);
    let name = "what the documents include";
    let [sql, config_snapshot, schema] = switches(&mut reader, "include", name, INCLUDE);
    reader.finish();
    let docs = StoryDocs {
        path: path?,
        readme,
        technical_details,
        node_cards,
        run_memo,
        sql,
        config_snapshot,
        schema,
    };
    enabled.then_some(docs)
}

/// Switches of a mapping, which are on unless they are switched off.
fn switches<const N: usize>(
    docs: &mut Reader<'_>,
    key: &'static str,
    name: &str,
    keys: [&'static str; N],
) -> [bool; N] {
    let Some(mut reader) = docs.mapping(key) else {
        return [true; N];
    };
    reader.rename(name);
    let switched = keys.map(|key| reader.boolean(key, true));
    reader.finish();
    switched
}
