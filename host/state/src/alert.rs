//! The outbox of alerts: what is to be sent, what became of it, and who is sending it now.
//!
//! An address is never kept, only the name of its channel. An alert is claimed in the name of a file that the claiming
//! process holds locked, so the claim of one that was killed counts no more.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use odibi_run::port::{Outbox, OutboxAlert};
use odibi_story::event::AlertState;
use odibi_story::failure::{Failure, FailureClass, code};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use crate::db::{Fault, StateDb, beside, try_lock};

/// Where the locked files are, below the state directory.
const DIRECTORY: &str = "alerts";
/// An hour.
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// Alerts that could not be delivered for so long are given up: a week.
pub(crate) const WAITING_MS_MAX: i64 = 7 * 24 * HOUR_MS;
/// What became of an alert is forgotten after so long: 30 days.
pub(crate) const KEPT_MS_MAX: i64 = 30 * 24 * HOUR_MS;
const COLUMNS: &str = "id, project, environment, channel, kind, about, subject, run_id, state, attempts, \
                       created_at_ms, ended_at_ms, failure_code, failure";

/// An alert that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAlert<'a> {
    /// The same for whoever posts it again.
    pub id: &'a str,
    /// `project:` of the YAML.
    pub project: &'a str,
    /// Environment; empty for none. Another one may know another address by the name of the channel.
    pub environment: &'a str,
    /// Name of the channel.
    pub channel: &'a str,
    /// Its type.
    pub kind: &'a str,
    /// What it is about: `on_failure`.
    pub about: &'a str,
    /// Pipelines that give cause for it.
    pub subject: &'a [String],
    /// Run that it tells of.
    pub run_id: &'a str,
    /// Now.
    pub now: Timestamp,
    /// No second one of the same channel, event and pipelines within this time.
    pub throttle_ms: u64,
    /// At most so many of these in an hour; `None` for any number.
    pub hourly_max: Option<u32>,
}

/// What became of posting an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It waits to be sent.
    Waiting,
    /// It is not sent: there was one like it shortly before.
    HeldBack,
    /// It was posted before.
    Known,
}

/// An alert as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRecord {
    /// The same for every try.
    pub id: String,
    /// `project:` of the YAML.
    pub project: String,
    /// Environment; empty for none.
    pub environment: String,
    /// Name of its channel.
    pub channel: String,
    /// Type of the channel.
    pub kind: String,
    /// What it is about.
    pub about: String,
    /// Pipelines that gave cause for it.
    pub subject: Vec<String>,
    /// Run that it tells of.
    pub run_id: String,
    /// How far it came.
    pub state: AlertState,
    /// Tries so far.
    pub attempts: u32,
    /// When it was posted.
    pub created_at: Timestamp,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
    /// Why the last try failed.
    pub failure: Option<Failure>,
}

impl StateDb {
    /// Posts an alert. `render` makes its text, and is told how many of its kind were held back before it.
    ///
    /// # Errors
    /// The state cannot be used: it is not posted.
    pub fn post(
        &self,
        alert: &NewAlert<'_>,
        render: &dyn Fn(u64) -> String,
    ) -> Result<Posted, Failure> {
        let now_ms = alert.now.as_millisecond();
        let subject = alert.subject.join("\n");
        self.write(|t| {
            t.execute(
                "DELETE FROM alert WHERE state != 'waiting' AND created_at_ms < ?1",
                params![now_ms - KEPT_MS_MAX],
            )?;
            let known: i64 = t.query_row(
                "SELECT count(*) FROM alert WHERE id = ?1",
                params![alert.id],
                |row| row.get(0),
            )?;
            if known > 0 {
                return Ok(Posted::Known);
            }
            let (body, state) = if is_held_back(t, alert, &subject)? {
                (String::new(), AlertState::HeldBack)
            } else {
                (render(held_before(t, alert, &subject)?), AlertState::Waiting)
            };
            t.execute(
                "INSERT INTO alert (id, project, environment, channel, kind, about, subject, run_id, body, state, \
                 created_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    alert.id,
                    alert.project,
                    alert.environment,
                    alert.channel,
                    alert.kind,
                    alert.about,
                    subject,
                    alert.run_id,
                    body,
                    word(state),
                    now_ms,
                ],
            )?;
            Ok(match state {
                AlertState::HeldBack => Posted::HeldBack,
                AlertState::Waiting | AlertState::Delivered | AlertState::Failed => Posted::Waiting,
            })
        })
    }

    /// Alerts of a project, the newest first; of one run, when that is named.
    ///
    /// # Errors
    /// The state cannot be used.
    pub fn alerts(
        &self,
        project: &str,
        run_id: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AlertRecord>, Failure> {
        self.read(|t| {
            let mut statement = t.prepare(&format!(
                "SELECT {COLUMNS} FROM alert WHERE project = ?1 AND (?2 IS NULL OR run_id = ?2) \
                 ORDER BY number DESC LIMIT ?3"
            ))?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![project, run_id, limit], record)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// One alert.
    ///
    /// # Errors
    /// The state cannot be used.
    pub fn alert(&self, id: &str) -> Result<Option<AlertRecord>, Failure> {
        self.read(|t| {
            let text = format!("SELECT {COLUMNS} FROM alert WHERE id = ?1");
            Ok(t.query_row(&text, params![id], record).optional()?)
        })
    }

    /// True when something waits for one of these channels.
    ///
    /// # Errors
    /// The state cannot be used.
    pub fn alerts_wait(&self, project: &str, environment: &str) -> Result<bool, Failure> {
        self.read(|t| {
            let waiting: i64 = t.query_row(
                "SELECT count(*) FROM alert WHERE state = 'waiting' AND project = ?1 AND environment = ?2",
                params![project, environment],
                |row| row.get(0),
            )?;
            Ok(waiting > 0)
        })
    }

    /// Lets alerts that were given up be sent again, and those that are put off be sent now. How many wait then.
    ///
    /// # Errors
    /// The state cannot be used.
    pub fn alerts_again(
        &self,
        project: &str,
        environment: &str,
        failed_too: bool,
    ) -> Result<usize, Failure> {
        self.write(|t| {
            t.execute(
                "UPDATE alert SET state = 'waiting', due_at_ms = 0, ended_at_ms = NULL \
                 WHERE project = ?1 AND environment = ?2 \
                 AND (state = 'waiting' OR (?3 AND state = 'failed' AND body != ''))",
                params![project, environment, failed_too],
            )
            .map_err(Fault::from)
        })
    }
}

/// Sends the alerts of one project and environment. Dropped, it lets go of what it has claimed.
#[derive(Debug)]
pub struct AlertSender {
    db: Arc<StateDb>,
    project: String,
    environment: String,
    claimant: String,
    path: PathBuf,
    _lock: File,
}

impl AlertSender {
    /// A sender with a name that no other one has.
    ///
    /// # Errors
    /// The state cannot be used.
    pub fn new(
        db: Arc<StateDb>,
        claimant: impl Into<String>,
        project: impl Into<String>,
        environment: impl Into<String>,
    ) -> Result<Self, Failure> {
        let claimant = claimant.into();
        let directory = db.directory().join(DIRECTORY);
        let path = lock_path(&db, &claimant);
        // While the state is being changed nobody else looks at these files.
        let lock = db.write(|_| {
            std::fs::create_dir_all(&directory)
                .and_then(|()| remove_abandoned(&directory))
                .and_then(|()| File::options().create_new(true).write(true).open(&path))
                .and_then(|file| file.lock().map(|()| file))
                .map_err(|error| beside(&error, &path).into())
        })?;
        Ok(Self {
            db,
            project: project.into(),
            environment: environment.into(),
            claimant,
            path,
            _lock: lock,
        })
    }

    /// The oldest that waits for a channel, that nobody else is sending, and that is not skipped: id, run, event, text,
    /// attempts, and when it is due.
    fn first(
        &self,
        t: &Transaction<'_>,
        channel: &str,
        skipped: &[String],
    ) -> Result<Option<(OutboxAlert, i64)>, Fault> {
        let mut statement = t.prepare(
            "SELECT id, run_id, about, body, attempts, due_at_ms, claimed_by FROM alert \
             WHERE state = 'waiting' AND project = ?1 AND environment = ?2 AND channel = ?3 ORDER BY number",
        )?;
        let mut rows = statement.query(params![self.project, self.environment, channel])?;
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            let claimed_by: Option<String> = row.get(6)?;
            let taken = match claimed_by {
                Some(other) if other != self.claimant => is_locked(&lock_path(&self.db, &other))?,
                Some(_) | None => false,
            };
            if skipped.contains(&id) || taken {
                continue;
            }
            let alert = OutboxAlert {
                id,
                run_id: row.get(1)?,
                about: row.get(2)?,
                body: row.get(3)?,
                attempts: row.get(4)?,
            };
            return Ok(Some((alert, row.get(5)?)));
        }
        Ok(None)
    }

    fn settle(
        &self,
        id: &str,
        state: AlertState,
        why: Option<&Failure>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        self.db.write(|t| {
            t.execute(
                "UPDATE alert SET state = ?2, ended_at_ms = ?3, claimed_by = NULL, failure_code = ?4, failure = ?5, \
                 body = CASE ?2 WHEN 'delivered' THEN '' ELSE body END, attempts = attempts + ?6 WHERE id = ?1",
                params![
                    id,
                    word(state),
                    now.as_millisecond(),
                    why.map(|f| f.code.as_str()),
                    why.map(|f| f.message.as_str()),
                    u32::from(why.is_none_or(|f| f.code != code::ALERT_TOO_OLD.name)),
                ],
            )?;
            Ok(())
        })
    }
}

impl Drop for AlertSender {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Outbox for AlertSender {
    fn claim(
        &self,
        channel: &str,
        now: Timestamp,
        skipped: &[String],
    ) -> Result<Option<OutboxAlert>, Failure> {
        let now_ms = now.as_millisecond();
        let why = too_old();
        self.db.write(|t| {
            t.execute(
                "UPDATE alert SET state = 'failed', ended_at_ms = ?1, body = '', \
                 failure_code = ?2, failure = coalesce(failure, ?3) \
                 WHERE state = 'waiting' AND created_at_ms < ?4",
                params![now_ms, why.code, why.message, now_ms - WAITING_MS_MAX],
            )?;
            let Some((alert, due_at_ms)) = self.first(t, channel, skipped)? else {
                return Ok(None);
            };
            // What is behind it waits as well: the receiver has asked for a pause.
            if due_at_ms > now_ms {
                return Ok(None);
            }
            t.execute(
                "UPDATE alert SET claimed_by = ?2 WHERE id = ?1",
                params![alert.id, self.claimant],
            )?;
            Ok(Some(alert))
        })
    }

    fn delivered(&self, id: &str, now: Timestamp) -> Result<(), Failure> {
        self.settle(id, AlertState::Delivered, None, now)
    }

    fn put_off(
        &self,
        id: &str,
        why: &Failure,
        not_before: Option<Timestamp>,
    ) -> Result<(), Failure> {
        self.db.write(|t| {
            t.execute(
                "UPDATE alert SET claimed_by = NULL, attempts = attempts + 1, due_at_ms = ?2, \
                 failure_code = ?3, failure = ?4 WHERE id = ?1 AND state = 'waiting'",
                params![
                    id,
                    not_before.map_or(0, Timestamp::as_millisecond),
                    why.code,
                    why.message
                ],
            )?;
            Ok(())
        })
    }

    fn give_up(&self, id: &str, why: &Failure, now: Timestamp) -> Result<(), Failure> {
        self.settle(id, AlertState::Failed, Some(why), now)
    }

    fn next_due(&self, channel: &str, skipped: &[String]) -> Result<Option<Timestamp>, Failure> {
        let first = self.db.read(|t| self.first(t, channel, skipped))?;
        Ok(first.map(|(_, due_ms)| Timestamp::from_millisecond(due_ms).unwrap_or_default()))
    }
}

/// Why an alert is given up that nobody took.
pub(crate) fn too_old() -> Failure {
    Failure::new(
        FailureClass::Transient,
        code::ALERT_TOO_OLD,
        "the alert could not be delivered for a week",
    )
}

/// Was there one like it shortly before, or were there too many?
fn is_held_back(t: &Transaction<'_>, alert: &NewAlert<'_>, subject: &str) -> Result<bool, Fault> {
    let now_ms = alert.now.as_millisecond();
    let since = |window_ms: i64| -> Result<i64, Fault> {
        Ok(t.query_row(
            "SELECT count(*) FROM alert WHERE project = ?1 AND environment = ?2 AND channel = ?3 AND about = ?4 \
             AND subject = ?5 AND state IN ('waiting', 'delivered') AND created_at_ms > ?6 AND created_at_ms <= ?7",
            params![
                alert.project,
                alert.environment,
                alert.channel,
                alert.about,
                subject,
                now_ms - window_ms,
                // One from the future says that the clock was set back.
                now_ms + window_ms,
            ],
            |row| row.get(0),
        )?)
    };
    let throttle_ms = i64::try_from(alert.throttle_ms).unwrap_or(i64::MAX / 2);
    let soon = throttle_ms > 0 && since(throttle_ms)? > 0;
    Ok(soon
        || match alert.hourly_max {
            Some(most) => since(HOUR_MS)? >= i64::from(most),
            None => false,
        })
}

/// Those that were held back since the last one that was not.
fn held_before(t: &Transaction<'_>, alert: &NewAlert<'_>, subject: &str) -> Result<u64, Fault> {
    let count: i64 = t.query_row(
        "SELECT count(*) FROM alert WHERE project = ?1 AND environment = ?2 AND channel = ?3 AND about = ?4 \
         AND subject = ?5 AND state = 'held_back' AND number > (SELECT coalesce(max(number), 0) FROM alert \
         WHERE project = ?1 AND environment = ?2 AND channel = ?3 AND about = ?4 AND subject = ?5 \
         AND state != 'held_back')",
        params![
            alert.project,
            alert.environment,
            alert.channel,
            alert.about,
            subject
        ],
        |row| row.get(0),
    )?;
    Ok(u64::try_from(count).unwrap_or(0))
}

fn record(row: &Row<'_>) -> rusqlite::Result<AlertRecord> {
    let time = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or_default();
    let subject: String = row.get(6)?;
    let code: Option<String> = row.get(12)?;
    let message: Option<String> = row.get(13)?;
    Ok(AlertRecord {
        id: row.get(0)?,
        project: row.get(1)?,
        environment: row.get(2)?,
        channel: row.get(3)?,
        kind: row.get(4)?,
        about: row.get(5)?,
        subject: subject.lines().map(str::to_owned).collect(),
        run_id: row.get(7)?,
        state: state(&row.get::<_, String>(8)?),
        attempts: row.get(9)?,
        created_at: time(row.get(10)?),
        ended_at: row.get::<_, Option<i64>>(11)?.map(time),
        failure: code
            .zip(message)
            .map(|(code, message)| Failure::new(FailureClass::Transient, code, message)),
    })
}

fn word(state: AlertState) -> &'static str {
    match state {
        AlertState::Waiting => "waiting",
        AlertState::Delivered => "delivered",
        AlertState::Failed => "failed",
        AlertState::HeldBack => "held_back",
    }
}

fn state(word: &str) -> AlertState {
    match word {
        "delivered" => AlertState::Delivered,
        "failed" => AlertState::Failed,
        "held_back" => AlertState::HeldBack,
        _ => AlertState::Waiting,
    }
}

fn lock_path(db: &StateDb, claimant: &str) -> PathBuf {
    db.directory()
        .join(DIRECTORY)
        .join(format!("{claimant}.lock"))
}

fn is_locked(path: &Path) -> Result<bool, Fault> {
    let locked = match File::open(path) {
        Ok(file) => try_lock(&file).map(|free| !free),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    locked.map_err(|error| beside(&error, path).into())
}

/// Files of processes that were killed.
fn remove_abandoned(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if let Ok(file) = File::open(&path)
            && try_lock(&file)?
        {
            let _ = std::fs::remove_file(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
