//! Markdown documents of a pipeline, `docs:` of a story: what it is and does, as its last successful run showed it, and a
//! memo of each run.

use odibi_plan::plan::StoryDocs;

use super::document::{Align, Document, Inline, Table};
use super::json::escape_hidden;
use super::{PARAMS_BYTES_MAX, TABLE_ROWS_MAX, markdown, section, segment, words};
use crate::event::{Column, NodeFacts};
use crate::story::{NodeStory, Status, Story};

/// The operation whose params are statements.
const SQL: &str = "sql";
/// Its param that holds the text.
const SQL_PARAM: &str = "sql";
/// What stands behind the name of a story's files when it is a memo.
pub const MEMO_SUFFIX: &str = "_memo.md";

/// A document: its path below the directory of documents, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doc {
    /// `<pipeline>/README.md`
    pub path: String,
    /// Markdown.
    pub text: String,
}

/// The documents of the pipeline; none for a run that did not succeed, which must not replace those of one that did.
#[must_use]
pub fn documents(story: &Story, docs: &StoryDocs) -> Vec<Doc> {
    if !matches!(story.outcome, Status::Succeeded | Status::Recovered) {
        return Vec::new();
    }
    let dir = segment(&story.pipeline);
    let mut written = Vec::new();
    let mut add = |path: String, document: &Document| {
        let (path, text) = (format!("{dir}/{path}"), markdown::write(document));
        written.push(Doc { path, text });
    };
    if docs.readme {
        add("README.md".to_owned(), &readme(story, docs));
    }
    if docs.technical_details {
        add("TECHNICAL_DETAILS.md".to_owned(), &details(story, docs));
    }
    if docs.node_cards {
        for node in &story.nodes {
            let path = format!("node_cards/{}.md", segment(&node.outline.name));
            add(path, &card(node, story, docs));
        }
    }
    written
}

/// The memo of a run, of any outcome: what happened, what changed, what failed.
#[must_use]
pub fn memo(story: &Story) -> String {
    let mut memo = Document::default();
    memo.heading(
        1,
        Inline::format(
            "Run of {}: {}",
            [Inline::code(&story.pipeline), Inline::status(story.outcome)],
        ),
    );
    memo.line(Inline::words(section::run::closing_line(story)));
    memo.line(Inline::format(
        "Run {}, started {}.",
        [
            Inline::code(&story.run_id),
            Inline::text(words::instant(story.started_at)),
        ],
    ));
    if let Some(comparison) = &story.comparison {
        memo.heading(2, Inline::host("What changed"));
        section::compare::tell(comparison, &mut memo);
    }
    let failed: Vec<&NodeStory> = story.nodes.iter().filter(|n| n.failure.is_some()).collect();
    if !failed.is_empty() {
        memo.heading(2, Inline::host("What failed"));
    }
    for node in failed.iter().take(TABLE_ROWS_MAX) {
        let name = Inline::code(&node.outline.name);
        let status = Inline::status(node.outcome);
        memo.heading(3, Inline::format("{}: {}", [name, status]));
        if let Some(failure) = &node.failure {
            memo.code(
                "text",
                section::node::failure_text(failure, &node.outline.operations),
            );
        }
    }
    let aside = |of: fn(&NodeFacts) -> u64| {
        let facts = story.nodes.iter().filter_map(|node| node.facts.as_ref());
        facts.map(of).fold(0, u64::saturating_add)
    };
    let (quarantined, unread) = (aside(|f| f.rows_quarantined), aside(|f| f.rows_unread));
    if quarantined > 0 || unread > 0 {
        memo.heading(2, Inline::host("Rows left out"));
        memo.line(Inline::words(format!(
            "{} quarantined, {} unread.",
            words::count(quarantined, "row"),
            words::count(unread, "row")
        )));
    }
    memo.heading(2, Inline::host("Nodes"));
    memo.table(section::run::overview(&story.nodes));
    let story_file = super::path(story);
    let file = story_file.rsplit('/').next().unwrap_or_default();
    memo.line(Inline::format(
        "The whole story: {}.",
        [Inline::file("page", file, "html")],
    ));
    markdown::write(&memo)
}

fn readme(story: &Story, docs: &StoryDocs) -> Document {
    let mut readme = Document::default();
    readme.heading(1, Inline::code(&story.pipeline));
    if let Some(description) = story.description.as_deref() {
        readme.prose(description);
    }
    readme.heading(2, Inline::host("Last successful run"));
    let mut table = Table::new([("Run", Align::Left), ("", Align::Left)]);
    let mut fact = |name: &'static str, value: Inline| table.row([Inline::host(name), value]);
    fact("Project", Inline::code(&story.project));
    fact("Run id", Inline::code(&story.run_id));
    fact("Outcome", Inline::status(story.outcome));
    fact("Started", Inline::text(words::instant(story.started_at)));
    fact("Duration", Inline::text(words::duration(story.duration_ms)));
    fact("Odibi version", Inline::text(&story.odibi_version));
    readme.table(table);
    readme.heading(2, Inline::host("Nodes"));
    let mut table = Table::new([
        ("Node", Align::Left),
        ("Reads", Align::Left),
        ("Operations", Align::Left),
        ("Writes", Align::Left),
        ("Rows out", Align::Right),
    ]);
    let list = |names: &[String]| Inline::list(names.iter().map(Inline::code), ", ", "");
    for node in &story.nodes {
        let outline = &node.outline;
        let name = if docs.node_cards {
            let path = format!("node_cards/{}", segment(&outline.name));
            Inline::file(&outline.name, &path, "md")
        } else {
            Inline::code(&outline.name)
        };
        let writes = outline.writes.as_ref();
        let rows = node.facts.as_ref().map(|facts| facts.rows_out);
        table.row([
            name,
            list(&outline.reads),
            list(&outline.operations),
            writes.map_or(Inline::default(), Inline::code),
            rows.map_or(Inline::default(), |rows| {
                Inline::text(words::thousands(rows))
            }),
        ]);
    }
    readme.table(table);
    if docs.technical_details {
        readme.line(Inline::format(
            "More: {}.",
            [Inline::file("technical details", "TECHNICAL_DETAILS", "md")],
        ));
    }
    readme
}

fn details(story: &Story, docs: &StoryDocs) -> Document {
    let mut details = Document::default();
    details.heading(
        1,
        Inline::format("Technical details of {}", [Inline::code(&story.pipeline)]),
    );
    details.table(section::run::facts(story));
    details.heading(2, Inline::host("Nodes"));
    details.table(section::run::overview(&story.nodes));
    if docs.schema {
        for node in story.nodes.iter().filter(|n| n.outline.writes.is_some()) {
            let Some(written) = &node.outline.writes else {
                continue;
            };
            details.heading(2, Inline::format("Columns of {}", [Inline::code(written)]));
            details.table(columns(node.schema_out()));
        }
    }
    if let Some(comparison) = &story.comparison {
        details.heading(2, Inline::host("Since the last successful run"));
        section::compare::tell(comparison, &mut details);
    }
    details
}

fn card(node: &NodeStory, story: &Story, docs: &StoryDocs) -> Document {
    let mut card = Document::default();
    card.heading(1, Inline::code(&node.outline.name));
    card.line(Inline::format(
        "A node of {}.",
        [Inline::file(&story.pipeline, "../README", "md")],
    ));
    section::node::introduce(node, &story.pipeline, &mut card);
    let Some(facts) = &node.facts else {
        return card;
    };
    if docs.schema {
        for (name, schema) in [
            ("Columns in", &facts.schema_in),
            ("Columns out", &facts.schema_out),
        ] {
            if !schema.is_empty() {
                card.heading(2, Inline::host(name));
                card.table(columns(schema));
            }
        }
    }
    for (at, operation) in facts.operations.iter().enumerate() {
        card.heading(
            2,
            Inline::format(
                "Step {}, {}",
                [
                    Inline::text((at + 1).to_string()),
                    Inline::code(&operation.operation.reference),
                ],
            ),
        );
        let identity = &operation.operation;
        card.line(Inline::format(
            "Plugin {} {}, digest {}.",
            [
                Inline::text(&identity.plugin),
                Inline::text(&identity.version),
                section::run::digest(&identity.digest),
            ],
        ));
        let statement = operation.params.get(SQL_PARAM).and_then(|sql| sql.as_str());
        match statement.filter(|_| identity.reference == SQL) {
            Some(sql) if docs.sql => card.code("sql", shown(&escape_hidden(sql))),
            Some(_) => {}
            None if docs.config_snapshot => {
                let params = escape_hidden(&format!("{:#}", operation.params));
                card.code("json", shown(&params));
            }
            None => {}
        }
    }
    card
}

/// Not cut in the middle: the story holds what is too long.
fn shown(text: &str) -> String {
    if text.len() > PARAMS_BYTES_MAX {
        format!("{}; the story holds it", words::bytes(text.len() as u64))
    } else {
        text.to_owned()
    }
}

fn columns(columns: &[Column]) -> Table {
    let mut table = Table::new([("Column", Align::Left), ("Type", Align::Left)]);
    for column in columns.iter().take(TABLE_ROWS_MAX) {
        table.row([
            Inline::code(&column.name),
            section::data::column_type(column),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn everything() -> StoryDocs {
        StoryDocs {
            path: "docs".to_owned(),
            readme: true,
            technical_details: true,
            node_cards: true,
            run_memo: true,
            sql: true,
            config_snapshot: true,
            schema: true,
        }
    }

    fn succeeded() -> Story {
        let mut story = example::with_history();
        story.outcome = Status::Succeeded;
        story
    }

    #[test]
    fn documents_say_what_a_pipeline_does() {
        let docs = documents(&succeeded(), &everything());
        let text: Vec<String> = docs
            .iter()
            .map(|doc| format!("=== {}\n{}", doc.path, doc.text))
            .collect();
        expect_test::expect_file!["docs/testdata/documents.md"].assert_eq(&text.concat());
        expect_test::expect_file!["docs/testdata/memo.md"]
            .assert_eq(&memo(&example::with_history()));
    }

    #[test]
    fn a_failed_run_replaces_no_document() {
        assert_eq!(documents(&example::story(), &everything()), []);
    }

    #[test]
    fn what_is_switched_off_is_not_there() {
        let nothing = StoryDocs {
            readme: false,
            technical_details: false,
            node_cards: false,
            ..everything()
        };
        assert_eq!(documents(&succeeded(), &nothing), []);
        let bare = StoryDocs {
            sql: false,
            config_snapshot: false,
            schema: false,
            ..everything()
        };
        let docs = documents(&succeeded(), &bare);
        let cards = docs.iter().filter(|doc| doc.path.contains("/node_cards/"));
        let cards: String = cards.map(|doc| doc.text.as_str()).collect();
        assert!(
            !cards.contains("```json") && !cards.contains("Float64"),
            "{cards}"
        );
    }

    #[test]
    fn paths_stay_below_the_directory_whatever_the_names_are() {
        let mut story = succeeded();
        story.pipeline = "../x".to_owned();
        story.nodes[0].outline.name = "/etc/passwd".to_owned();
        for doc in documents(&story, &everything()) {
            assert!(
                doc.path.starts_with("%2E.%2Fx/") && !doc.path.contains(".."),
                "{}",
                doc.path
            );
        }
    }
}
