//! What is known of a node's data: operations, columns, sample, files.

use super::run::digest;
use super::{quarantine, values};
use crate::event::{
    Column, FileFact, GuestNote, INSTANCES_LISTED_MAX, InstanceFact, NodeFacts, OperationFact,
};
use crate::render::document::{Align, Document, Inline, Table};
use crate::render::json::escape_hidden;
use crate::render::{PARAMS_BYTES_MAX, TABLE_ROWS_MAX, costs, words, written};
use crate::story::NodeStory;

/// Writes the blocks that tell of the data of a node.
pub(in crate::render) fn tell(
    node: &NodeStory,
    facts: &NodeFacts,
    pipeline: &str,
    document: &mut Document,
) {
    operations(&facts.operations, document);
    quarantine::tell(facts, document);
    write(facts, document);
    columns(node, &facts.nulls_out, document);
    values::profile(facts, document);
    if let Some(table) = super::origins::table(&node.column_origins, pipeline) {
        document.heading(4, Inline::host("Where columns come from"));
        document.table(table);
    }
    super::privacy::tell(facts, document);
    values::tell(facts, document);
    files(facts, document);
}

/// What the write did to the target, the batch, the versions around it, and what proves it.
fn write(facts: &NodeFacts, document: &mut Document) {
    let Some(fact) = &facts.write else { return };
    document.heading(4, Inline::host("Write"));
    let sentence = written::sentence(fact).unwrap_or_else(|| {
        let rows = facts.rows_written.unwrap_or(facts.rows_out);
        format!("{}: {} written", fact.mode, words::count(rows, "row"))
    });
    let version = |version: &Option<String>| {
        let none = Inline::host("none");
        version.as_deref().map_or(none, Inline::code)
    };
    let (before, after) = (&fact.version_before, &fact.version_after);
    let versions = match (before, after) {
        (None, None) => Inline::host(""),
        (before, after) if before == after => {
            Inline::format(" The target stays at version {}.", [version(before)])
        }
        (before, after) => Inline::format(
            " Version of the target: {}, before it {}.",
            [version(after), version(before)],
        ),
    };
    document.line(Inline::format(
        "{}. Batch {}.{}",
        [Inline::text(sentence), digest(&fact.batch), versions],
    ));
    if let Some(evidence) = &fact.evidence {
        document.line(Inline::format(
            "What proves it in the target: {}.",
            [Inline::code(evidence)],
        ));
    }
}

fn operations(operations: &[OperationFact], document: &mut Document) {
    if operations.is_empty() {
        return;
    }
    let mut table = Table::new([
        ("Step", Align::Right),
        ("Operation", Align::Left),
        ("Plugin", Align::Left),
        ("Digest", Align::Left),
        ("Rows in", Align::Right),
        ("Rows out", Align::Right),
        ("Guest CPU", Align::Right),
        ("Peak guest memory", Align::Right),
    ]);
    for (at, fact) in operations.iter().enumerate() {
        let (identity, ledger) = (&fact.operation, &fact.ledger);
        let costs = match fact.chained_to {
            Some(first) => [
                String::new(),
                String::new(),
                costs::chained(first),
                String::new(),
            ],
            None => [
                words::thousands(ledger.rows_in),
                words::thousands(ledger.rows_out),
                words::duration_ns(ledger.guest_cpu_ns),
                costs::memory(ledger),
            ],
        };
        let [rows_in, rows_out, guest_cpu, memory] = costs.map(Inline::text);
        table.row([
            Inline::text((at + 1).to_string()),
            Inline::code(&identity.reference),
            Inline::list(
                [
                    Inline::text(&identity.plugin),
                    Inline::text(&identity.version),
                ],
                " ",
                "",
            ),
            digest(&identity.digest),
            rows_in,
            rows_out,
            guest_cpu,
            memory,
        ]);
    }
    document.heading(4, Inline::host("Operations"));
    document.table(table);
    boundary(operations, document);
    for (at, fact) in operations.iter().enumerate() {
        instances(at, fact, document);
        step_details(at, fact, document);
    }
}

/// What the sandbox cost besides the guest's own work, and what crossed its border.
fn boundary(operations: &[OperationFact], document: &mut Document) {
    let metered = operations.iter().any(|fact| fact.ledger.work.is_some());
    let mut headers = vec![
        ("Step", Align::Right),
        ("Component", Align::Left),
        ("Instances", Align::Right),
        ("Encode", Align::Right),
        ("Decode", Align::Right),
        ("Batches in", Align::Right),
        ("Emits", Align::Right),
        ("Bytes in", Align::Right),
        ("Bytes out", Align::Right),
        ("Growths refused", Align::Right),
        ("Log lines dropped", Align::Right),
        ("Granted", Align::Left),
    ];
    if metered {
        headers.push(("Work", Align::Right));
    }
    let headers = headers
        .into_iter()
        .map(|(name, align)| (Inline::host(name), align));
    let mut table = Table::with_headers(headers.collect());
    let apart = |(_, fact): &(usize, &OperationFact)| fact.chained_to.is_none();
    for (at, fact) in operations.iter().enumerate().filter(apart) {
        let ledger = &fact.ledger;
        let mut row = vec![
            Inline::text((at + 1).to_string()),
            Inline::text(fact.component.map_or_else(String::new, costs::origin)),
            Inline::text(words::thousands(u64::from(ledger.instances))),
            Inline::text(words::duration_ns(ledger.encode_cpu_ns)),
            Inline::text(words::duration_ns(ledger.decode_cpu_ns)),
            Inline::text(words::thousands(ledger.batches_in)),
            Inline::text(words::thousands(ledger.emits)),
            Inline::text(words::bytes(ledger.bytes_in)),
            Inline::text(words::bytes(ledger.bytes_out)),
            Inline::text(words::thousands(ledger.growths_refused)),
            Inline::text(words::thousands(ledger.log_lines_dropped)),
            Inline::list(fact.grants.iter().map(Inline::code), ", ", "nothing"),
        ];
        if metered {
            let work = ledger.work.map(words::thousands).unwrap_or_default();
            row.push(Inline::text(&work));
        }
        table.row(row);
    }
    document.heading(4, Inline::host("Sandbox"));
    document.table(table);
}

fn instances(at: usize, fact: &OperationFact, document: &mut Document) {
    if fact.instances.is_empty() {
        return;
    }
    let mut table = Table::new([
        ("Partition", Align::Right),
        ("Rows in", Align::Right),
        ("Rows out", Align::Right),
        ("Bytes in", Align::Right),
        ("Bytes out", Align::Right),
        ("Guest CPU", Align::Right),
        ("Peak guest memory", Align::Right),
    ]);
    for InstanceFact { partition, ledger } in fact.instances.iter().take(INSTANCES_LISTED_MAX) {
        table.row([
            Inline::text((u64::from(*partition) + 1).to_string()),
            Inline::text(words::thousands(ledger.rows_in)),
            Inline::text(words::thousands(ledger.rows_out)),
            Inline::text(words::bytes(ledger.bytes_in)),
            Inline::text(words::bytes(ledger.bytes_out)),
            Inline::text(words::duration_ns(ledger.guest_cpu_ns)),
            Inline::text(costs::memory(ledger)),
        ]);
    }
    document.line(Inline::words(format!("Instances of step {}:", at + 1)));
    document.table(table);
    let listed = fact.instances.len().min(INSTANCES_LISTED_MAX) as u64;
    let left_out = u64::from(fact.ledger.instances).saturating_sub(listed);
    if left_out > 0 {
        document.line(Inline::words(format!(
            "{} left out here.",
            words::count(left_out, "instance")
        )));
    }
}

fn step_details(at: usize, fact: &OperationFact, document: &mut Document) {
    if let Some(layout) = costs::layout(fact) {
        document.line(Inline::format(
            "Rows of step {}: {}.",
            [Inline::text((at + 1).to_string()), Inline::text(layout)],
        ));
    }
    if let Some(granted) = costs::granted(fact) {
        document.line(Inline::format(
            "The plugin of step {} was {}.",
            [Inline::text((at + 1).to_string()), Inline::text(granted)],
        ));
    }
    let no_params = fact
        .params
        .as_object()
        .is_none_or(serde_json::Map::is_empty);
    if !no_params || !fact.params.is_object() {
        document.line(Inline::format(
            "Params of step {}, {}:",
            [
                Inline::text((at + 1).to_string()),
                Inline::code(&fact.operation.reference),
            ],
        ));
        let params = escape_hidden(&format!("{:#}", fact.params));
        if params.len() > PARAMS_BYTES_MAX {
            document.line(Inline::format(
                "{} of JSON; the JSON of this story holds them.",
                [Inline::text(words::bytes(params.len() as u64))],
            ));
        } else {
            document.code("json", params);
        }
    }
    if !fact.notes.is_empty() || fact.ledger.log_lines_dropped > 0 {
        document.line(Inline::words(format!("Notes of step {}:", at + 1)));
        document.table(notes(&fact.notes, fact.ledger.log_lines_dropped));
    }
}

fn notes(notes: &[GuestNote], dropped: u64) -> Table {
    let mut table = Table::new([("Kind", Align::Left), ("Note", Align::Left)]);
    for note in notes.iter().take(TABLE_ROWS_MAX) {
        table.row([Inline::text(&note.kind), Inline::text(&note.text)]);
    }
    let left_out = (notes.len().saturating_sub(TABLE_ROWS_MAX) as u64).saturating_add(dropped);
    if left_out > 0 {
        let told = format!("{} left out", words::count(left_out, "line"));
        table.row([Inline::host(""), Inline::text(&told)]);
    }
    table
}

fn columns(node: &NodeStory, nulls: &[u64], document: &mut Document) {
    let (before, after) = (node.schema_in(), node.schema_out());
    if before.is_empty() && after.is_empty() {
        return;
    }
    let mut table = Table::new([
        ("Column", Align::Left),
        ("Type in", Align::Left),
        ("Type out", Align::Left),
        ("Change", Align::Left),
        ("Nulls out", Align::Right),
    ]);
    let changes = &node.columns;
    for (at, column) in after.iter().enumerate().take(TABLE_ROWS_MAX) {
        let was = before.iter().find(|c| c.name == column.name);
        let change = if changes.added.contains(column) {
            "added"
        } else if changes.changed.iter().any(|change| change.after == *column) {
            "changed"
        } else {
            ""
        };
        table.row([
            Inline::code(&column.name),
            was.map_or(Inline::host(""), column_type),
            column_type(column),
            Inline::tag(change),
            nulls
                .get(at)
                .map_or(Inline::host(""), |n| Inline::text(words::thousands(*n))),
        ]);
    }
    for column in changes.removed.iter().take(TABLE_ROWS_MAX) {
        let none = Inline::host("");
        table.row([
            Inline::code(&column.name),
            column_type(column),
            none.clone(),
            Inline::tag("removed"),
            none,
        ]);
    }
    document.heading(4, Inline::host("Columns"));
    document.table(table);
    let left_out = after.len().saturating_sub(TABLE_ROWS_MAX)
        + changes.removed.len().saturating_sub(TABLE_ROWS_MAX);
    if left_out > 0 {
        document.line(Inline::words(format!(
            "{} left out here.",
            words::count(left_out as u64, "column")
        )));
    }
}

pub(in crate::render) fn column_type(column: &Column) -> Inline {
    let null = Inline::host(if column.nullable { "" } else { "not null" });
    let kind = Inline::text(&column.data_type);
    if column.nullable {
        kind
    } else {
        Inline::list([kind, null], ", ", "")
    }
}

fn files(facts: &NodeFacts, document: &mut Document) {
    if facts.sources.is_empty() && facts.target.is_none() {
        return;
    }
    let with_version = facts.sources.iter().any(|source| source.version.is_some());
    let mut headers = vec![
        ("", Align::Left),
        ("File", Align::Left),
        ("Size", Align::Right),
        ("Modified", Align::Left),
    ];
    if with_version {
        headers.push(("Version", Align::Left));
    }
    let headers = headers
        .into_iter()
        .map(|(name, align)| (Inline::host(name), align));
    let mut table = Table::with_headers(headers.collect());
    let mut file = |role: &'static str, file: &FileFact, version: Option<&String>| {
        table.row([
            Inline::host(role),
            Inline::code(format!("{}:{}", file.connection, file.path)),
            Inline::text(words::bytes(file.bytes)),
            file.modified
                .map_or(Inline::host(""), |at| Inline::text(words::instant(at))),
            version.map_or(Inline::host(""), Inline::code),
        ]);
    };
    facts
        .sources
        .iter()
        .take(TABLE_ROWS_MAX)
        .for_each(|source| file("read", source, source.version.as_ref()));
    let after = facts
        .write
        .as_ref()
        .and_then(|fact| fact.version_after.as_ref());
    facts
        .target
        .iter()
        .for_each(|target| file("written", target, after));
    document.heading(4, Inline::host("Files"));
    document.table(table);
    let left_out = facts.sources.len().saturating_sub(TABLE_ROWS_MAX);
    if left_out > 0 {
        document.line(Inline::words(format!(
            "{} left out here.",
            words::count(left_out as u64, "file")
        )));
    }
}
