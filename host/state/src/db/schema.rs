//! Tables and their versions. A version that was released is never edited: a further one changes it.

use std::path::Path;

use odibi_story::failure::Failure;
use rusqlite::{Connection, TransactionBehavior};

use super::fault::{corrupt, from_sqlite, newer};

/// `odib`, in the header of the file.
const APPLICATION_ID: i64 = 0x6f64_6962;

/// What each version adds to the one before it. The database knows its version as `user_version`.
const VERSIONS: &[&str] = &["
CREATE TABLE run (
    number          INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    project         TEXT NOT NULL,
    config_path     TEXT NOT NULL,
    config_digest   TEXT NOT NULL,
    continues       TEXT,
    logical_time_ns INTEGER NOT NULL,
    odibi_version   TEXT NOT NULL,
    pid             INTEGER NOT NULL,
    boot            TEXT NOT NULL,
    started_at_ms   INTEGER NOT NULL,
    ended_at_ms     INTEGER,
    outcome         TEXT,
    exit_code       INTEGER,
    told            INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE run_selection (
    run  INTEGER NOT NULL REFERENCES run (number) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('pipeline', 'node', 'tag', 'select', 'exclude', 'environment')),
    word TEXT NOT NULL,
    PRIMARY KEY (run, kind, word)
) STRICT, WITHOUT ROWID;
CREATE TABLE run_pipeline (
    run      INTEGER NOT NULL REFERENCES run (number) ON DELETE CASCADE,
    pipeline TEXT NOT NULL,
    slot     TEXT NOT NULL,
    epoch    INTEGER NOT NULL,
    PRIMARY KEY (run, pipeline)
) STRICT, WITHOUT ROWID;
CREATE TABLE run_node (
    run             INTEGER NOT NULL REFERENCES run (number) ON DELETE CASCADE,
    position        INTEGER NOT NULL,
    pipeline        TEXT NOT NULL,
    node            TEXT NOT NULL,
    outcome         TEXT,
    attempts        INTEGER NOT NULL DEFAULT 0,
    duration_ms     INTEGER NOT NULL DEFAULT 0,
    rows_written    INTEGER,
    failure_code    TEXT,
    target_bytes    INTEGER,
    target_modified TEXT,
    PRIMARY KEY (run, pipeline, node)
) STRICT, WITHOUT ROWID;
CREATE TABLE batch (
    project  TEXT NOT NULL,
    target   TEXT NOT NULL,
    batch    TEXT NOT NULL,
    run_id   TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    node     TEXT NOT NULL,
    mode     TEXT NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('staged', 'committed', 'aborted')),
    rows     INTEGER NOT NULL,
    evidence TEXT NOT NULL,
    epoch    INTEGER NOT NULL,
    PRIMARY KEY (project, target, batch)
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_open ON batch (project, target) WHERE state = 'staged';
CREATE TABLE lease (
    id       INTEGER PRIMARY KEY,
    project  TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    epoch    INTEGER NOT NULL,
    run_id   TEXT NOT NULL,
    pid      INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    UNIQUE (project, pipeline)
) STRICT;
CREATE TABLE watermark (
    project TEXT NOT NULL,
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    run_id  TEXT NOT NULL,
    PRIMARY KEY (project, key)
) STRICT, WITHOUT ROWID;
", "
CREATE TABLE run_node_digest (
    run      INTEGER NOT NULL REFERENCES run (number) ON DELETE CASCADE,
    pipeline TEXT NOT NULL,
    node     TEXT NOT NULL,
    digest   TEXT NOT NULL,
    PRIMARY KEY (run, pipeline, node)
) STRICT, WITHOUT ROWID;
", "
CREATE TABLE alert (
    number        INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    project       TEXT NOT NULL,
    environment   TEXT NOT NULL,
    channel       TEXT NOT NULL,
    kind          TEXT NOT NULL,
    about         TEXT NOT NULL,
    subject       TEXT NOT NULL,
    run_id        TEXT NOT NULL,
    body          TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'failed', 'held_back')),
    attempts      INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL,
    due_at_ms     INTEGER NOT NULL DEFAULT 0,
    ended_at_ms   INTEGER,
    claimed_by    TEXT,
    failure_code  TEXT,
    failure       TEXT
) STRICT;
CREATE INDEX alert_waiting ON alert (project, environment, channel, number) WHERE state = 'waiting';
CREATE INDEX alert_kind ON alert (project, environment, channel, about, subject, created_at_ms);
"];

/// Makes the tables of a new file.
pub(super) fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    upgrade(connection, VERSIONS, 0)
}

/// Brings a file up to date, all at once or not at all.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Failure> {
    migrate_to(connection, VERSIONS, path)
}

fn migrate_to(connection: &mut Connection, versions: &[&str], path: &Path) -> Result<(), Failure> {
    let failed = |error: rusqlite::Error| from_sqlite(&error, path);
    let (application, found) = identity(connection).map_err(failed)?;
    if application != APPLICATION_ID {
        return Err(corrupt(path).cause("it is a database of another program"));
    }
    let known = i64::try_from(versions.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(newer(path, found, known));
    }
    if found < known {
        upgrade(connection, versions, found).map_err(failed)?;
    }
    Ok(())
}

fn identity(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn upgrade(connection: &mut Connection, versions: &[&str], expected: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it while this one waited.
    let (_, found) = identity(&transaction)?;
    let from = usize::try_from(found.max(expected)).unwrap_or(usize::MAX);
    for version in versions.iter().skip(from) {
        transaction.execute_batch(version)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", versions.len().max(from))?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(versions: &[&str]) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        upgrade(&mut connection, versions, 0).unwrap();
        connection
    }

    const ONE: &str = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (7);";

    #[test]
    fn older_database_is_brought_up_to_date_and_keeps_its_rows() {
        let mut old = database(&[ONE]);
        let two = "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 1;";
        migrate_to(&mut old, &[ONE, two], Path::new("db")).unwrap();
        let row = old.query_row("SELECT x, y FROM a", (), |r| Ok((r.get(0)?, r.get(1)?)));
        assert_eq!(row, Ok((7, 1)));
        assert_eq!(identity(&old), Ok((APPLICATION_ID, 2)));
        // Again changes nothing.
        migrate_to(&mut old, &[ONE, two], Path::new("db")).unwrap();
    }

    #[test]
    fn upgrade_that_fails_leaves_the_old_version() {
        let mut old = database(&[ONE]);
        let broken = "CREATE TABLE b (x INTEGER); CREATE TABLE b (x INTEGER);";
        let failure = migrate_to(&mut old, &[ONE, broken], Path::new("db")).unwrap_err();
        assert_eq!(failure.code, "internal/state");
        assert_eq!(identity(&old), Ok((APPLICATION_ID, 1)));
        let tables = old.query_row("SELECT count(*) FROM sqlite_schema", (), |r| {
            r.get::<_, i64>(0)
        });
        assert_eq!(tables, Ok(1));
    }

    #[test]
    fn newer_and_foreign_databases_are_refused() {
        let mut newer = database(&[ONE, ""]);
        let failure = migrate_to(&mut newer, &[ONE], Path::new("db")).unwrap_err();
        assert_eq!(failure.code, "state/newer");
        let mut foreign = Connection::open_in_memory().unwrap();
        foreign.execute_batch(ONE).unwrap();
        let failure = migrate_to(&mut foreign, &[ONE], Path::new("db")).unwrap_err();
        assert_eq!(failure.code, "state/corrupt");
        assert_eq!(failure.causes, ["it is a database of another program"]);
    }
}
