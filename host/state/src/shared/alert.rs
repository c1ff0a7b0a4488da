//! The outbox of alerts: a document for each channel. What is posted, claimed and settled is one change of it, so nothing
//! is sent twice by two processes and the limits of a channel hold for all of them.
//!
//! A claim counts for as long as the document of its sender is there and its number grows; the number of a run that was
//! killed is taken away by whoever tells its end.

use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use odibi_run::port::{Outbox, OutboxAlert};
use odibi_story::event::AlertState;
use odibi_story::failure::{Failure, FailureClass, code};

use super::document::{AlertSheet, AlertWord, AlertsSheet, SenderSheet};
use super::lease::Sign;
use super::shelf::{Change, Desk};
use super::{SharedState, lock, name_of};
use crate::alert::{AlertRecord, HOUR_MS, KEPT_MS_MAX, NewAlert, Posted, WAITING_MS_MAX, too_old};

/// Alerts of one channel that are kept once they have come to their end, besides those that wait.
const KEPT_MAX: usize = 1_000;

/// The document of a sender, as long as it lives.
#[derive(Debug)]
pub(super) struct SenderDocument {
    desk: Arc<Desk>,
    path: String,
    /// When its number grew; `None` once it is gone.
    renewed_ms: Mutex<Option<u64>>,
}

/// Sends the alerts of one project and environment. Dropped, it lets go of what it has claimed.
#[derive(Debug)]
struct SenderOutbox {
    state: Arc<SharedState>,
    project: String,
    environment: String,
    claimant: String,
    document: Arc<SenderDocument>,
}

impl SenderDocument {
    pub(super) fn is_over(&self) -> bool {
        lock(&self.renewed_ms).is_none()
    }

    pub(super) fn renew(&self, now_ms: u64, every_ms: u64) {
        let mut renewed_ms = lock(&self.renewed_ms);
        if renewed_ms.is_none_or(|at_ms| now_ms.saturating_sub(at_ms) < every_ms) {
            return;
        }
        let renewed = self.desk.change(&self.path, |known: Option<SenderSheet>| {
            Ok(match known {
                Some(sheet) => Change::Put(
                    SenderSheet {
                        beat: sheet.beat + 1,
                    },
                    (),
                ),
                // Somebody has taken this process for dead: what it has claimed is another one's now.
                None => Change::Leave(()),
            })
        });
        if renewed.is_ok() {
            *renewed_ms = Some(now_ms);
        }
    }
}

impl Drop for SenderOutbox {
    fn drop(&mut self) {
        *lock(&self.document.renewed_ms) = None;
        let _ = self.document.desk.remove(&self.document.path);
    }
}

impl SharedState {
    pub(super) fn post_alert(
        &self,
        alert: &NewAlert<'_>,
        render: &dyn Fn(u64) -> String,
    ) -> Result<Posted, Failure> {
        let path = outbox_path(alert.project, alert.environment, alert.channel);
        self.desk.change(&path, |known: Option<AlertsSheet>| {
            let mut sheet = known.unwrap_or_default();
            if sheet.alerts.iter().any(|one| one.id == alert.id) {
                return Ok(Change::Leave(Posted::Known));
            }
            sheet.forget(alert.now);
            let like: Vec<&AlertSheet> = sheet
                .alerts
                .iter()
                .filter(|one| one.about == alert.about && one.subject == alert.subject)
                .collect();
            let is_held_back = is_held_back(&like, alert);
            let body = match is_held_back {
                true => String::new(),
                false => {
                    let held = like.iter().rev();
                    let held = held.take_while(|one| one.state == AlertWord::HeldBack);
                    render(held.count() as u64)
                }
            };
            sheet.alerts.push(AlertSheet {
                id: alert.id.to_owned(),
                environment: alert.environment.to_owned(),
                channel: alert.channel.to_owned(),
                kind: alert.kind.to_owned(),
                about: alert.about.to_owned(),
                subject: alert.subject.to_vec(),
                run_id: alert.run_id.to_owned(),
                body,
                state: match is_held_back {
                    true => AlertWord::HeldBack,
                    false => AlertWord::Waiting,
                },
                attempts: 0,
                created_at: alert.now,
                due_at: None,
                ended_at: None,
                claimed_by: None,
                failure_code: None,
                failure: None,
            });
            let posted = match is_held_back {
                true => Posted::HeldBack,
                false => Posted::Waiting,
            };
            Ok(Change::Put(sheet, posted))
        })
    }

    /// Paths of the channels of a project, in all environments or in one.
    fn channels(&self, project: &str, environment: Option<&str>) -> Result<Vec<String>, Failure> {
        let root = format!("{}/alerts", name_of(project));
        let environments = match environment {
            Some(one) => vec![name_of(one)],
            None => self.desk.names(&root)?,
        };
        let mut paths = Vec::new();
        for environment in environments {
            let dir = format!("{root}/{environment}");
            let names = self.desk.names(&dir)?.into_iter();
            paths.extend(names.map(|name| format!("{dir}/{name}")));
        }
        Ok(paths)
    }

    pub(super) fn all_alerts(&self, project: &str) -> Result<Vec<AlertRecord>, Failure> {
        let mut all = Vec::new();
        for path in self.channels(project, None)? {
            if let Some((sheet, _)) = self.desk.read::<AlertsSheet>(&path)? {
                let alerts = sheet.alerts.into_iter();
                all.extend(alerts.map(|alert| record(project, alert)));
            }
        }
        // Those of one moment stay as they were posted.
        all.sort_by_key(|alert| alert.created_at);
        all.reverse();
        Ok(all)
    }

    pub(super) fn wake_alerts(
        &self,
        project: &str,
        environment: &str,
        failed_too: bool,
    ) -> Result<usize, Failure> {
        let mut waiting = 0;
        for path in self.channels(project, Some(environment))? {
            waiting += self.desk.change(&path, |known: Option<AlertsSheet>| {
                let Some(mut sheet) = known else {
                    return Ok(Change::Leave(0));
                };
                let mut count = 0;
                for alert in &mut sheet.alerts {
                    let again =
                        failed_too && alert.state == AlertWord::Failed && !alert.body.is_empty();
                    if again || alert.state == AlertWord::Waiting {
                        alert.state = AlertWord::Waiting;
                        alert.due_at = None;
                        alert.ended_at = None;
                        count += 1;
                    }
                }
                Ok(match count {
                    0 => Change::Leave(0),
                    count => Change::Put(sheet, count),
                })
            })?;
        }
        Ok(waiting)
    }

    pub(super) fn outbox(
        self: Arc<Self>,
        claimant: &str,
        project: &str,
        environment: &str,
    ) -> Result<Arc<dyn Outbox>, Failure> {
        let path = sender_path(project, claimant);
        self.desk.change(&path, |_: Option<SenderSheet>| {
            Ok(Change::Put(SenderSheet::default(), ()))
        })?;
        let document = Arc::new(SenderDocument {
            desk: Arc::clone(&self.desk),
            path,
            renewed_ms: Mutex::new(Some(self.clock.monotonic_ms())),
        });
        lock(&self.pulse).senders.push(Arc::clone(&document));
        self.beat()?;
        Ok(Arc::new(SenderOutbox {
            project: project.to_owned(),
            environment: environment.to_owned(),
            claimant: claimant.to_owned(),
            document,
            state: self,
        }))
    }
}

impl SenderOutbox {
    fn path(&self, channel: &str) -> String {
        outbox_path(&self.project, &self.environment, channel)
    }

    /// Does another sender have it that lives?
    fn is_taken(&self, alert: &AlertSheet) -> Result<bool, Failure> {
        let other = alert.claimed_by.as_ref();
        let Some(other) = other.filter(|other| **other != self.claimant) else {
            return Ok(false);
        };
        let path = sender_path(&self.project, other);
        let Some((sheet, _)) = self.state.desk.read::<SenderSheet>(&path)? else {
            return Ok(false);
        };
        let now_ms = self.state.clock.monotonic_ms();
        let timeout_ms = self.state.terms.timeout_ms;
        let sign = self
            .state
            .watch
            .look(&path, (0, sheet.beat), timeout_ms, now_ms);
        if sign != Sign::Dead {
            return Ok(true);
        }
        self.state.desk.remove(&path)?;
        Ok(false)
    }

    /// Where the oldest alert stands that waits, that nobody else is sending, and that is not skipped.
    fn first(&self, sheet: &AlertsSheet, skipped: &[String]) -> Result<Option<usize>, Failure> {
        for (at, alert) in sheet.alerts.iter().enumerate() {
            let waits = alert.state == AlertWord::Waiting && !skipped.contains(&alert.id);
            if waits && !self.is_taken(alert)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Changes one alert, whatever channel it goes to.
    fn change(&self, id: &str, body: impl Fn(&mut AlertSheet)) -> Result<(), Failure> {
        for path in self
            .state
            .channels(&self.project, Some(&self.environment))?
        {
            let done = self
                .state
                .desk
                .change(&path, |known: Option<AlertsSheet>| {
                    let mut sheet = known.unwrap_or_default();
                    let Some(alert) = sheet.alerts.iter_mut().find(|alert| alert.id == id) else {
                        return Ok(Change::Leave(false));
                    };
                    body(alert);
                    Ok(Change::Put(sheet, true))
                })?;
            if done {
                break;
            }
        }
        Ok(())
    }
}

impl Outbox for SenderOutbox {
    fn claim(
        &self,
        channel: &str,
        now: Timestamp,
        skipped: &[String],
    ) -> Result<Option<OutboxAlert>, Failure> {
        let path = self.path(channel);
        self.state.desk.change(&path, |known: Option<AlertsSheet>| {
            let Some(mut sheet) = known else {
                return Ok(Change::Leave(None));
            };
            let has_given_up = sheet.give_up_old(now);
            let leave = |sheet| match has_given_up {
                true => Change::Put(sheet, None),
                false => Change::Leave(None),
            };
            let Some(at) = self.first(&sheet, skipped)? else {
                return Ok(leave(sheet));
            };
            let alert = &mut sheet.alerts[at];
            // What is behind it waits as well: the receiver has asked for a pause.
            if alert.due_at.is_some_and(|due| due > now) {
                return Ok(leave(sheet));
            }
            alert.claimed_by = Some(self.claimant.clone());
            let claimed = OutboxAlert {
                id: alert.id.clone(),
                run_id: alert.run_id.clone(),
                about: alert.about.clone(),
                body: alert.body.clone(),
                attempts: alert.attempts,
            };
            Ok(Change::Put(sheet, Some(claimed)))
        })
    }

    fn delivered(&self, id: &str, now: Timestamp) -> Result<(), Failure> {
        self.change(id, |alert| {
            alert.state = AlertWord::Delivered;
            alert.ended_at = Some(now);
            alert.claimed_by = None;
            alert.failure_code = None;
            alert.failure = None;
            alert.body.clear();
            alert.attempts += 1;
        })
    }

    fn put_off(
        &self,
        id: &str,
        why: &Failure,
        not_before: Option<Timestamp>,
    ) -> Result<(), Failure> {
        self.change(id, |alert| {
            if alert.state != AlertWord::Waiting {
                return;
            }
            alert.claimed_by = None;
            alert.attempts += 1;
            alert.due_at = not_before;
            alert.failure_code = Some(why.code.clone());
            alert.failure = Some(why.message.clone());
        })
    }

    fn give_up(&self, id: &str, why: &Failure, now: Timestamp) -> Result<(), Failure> {
        self.change(id, |alert| {
            alert.state = AlertWord::Failed;
            alert.ended_at = Some(now);
            alert.claimed_by = None;
            alert.failure_code = Some(why.code.clone());
            alert.failure = Some(why.message.clone());
            alert.attempts += u32::from(why.code != code::ALERT_TOO_OLD.name);
        })
    }

    fn next_due(&self, channel: &str, skipped: &[String]) -> Result<Option<Timestamp>, Failure> {
        let read = self.state.desk.read::<AlertsSheet>(&self.path(channel))?;
        let Some((sheet, _)) = read else {
            return Ok(None);
        };
        let first = self.first(&sheet, skipped)?;
        Ok(first.map(|at| sheet.alerts[at].due_at.unwrap_or_default()))
    }
}

impl AlertsSheet {
    /// What became of alerts is forgotten after a month, and when there are too many of them.
    fn forget(&mut self, now: Timestamp) {
        let mut settled = self
            .alerts
            .iter()
            .filter(|alert| alert.state != AlertWord::Waiting)
            .count();
        self.alerts.retain(|alert| {
            let waits = alert.state == AlertWord::Waiting;
            let is_old = age_ms(alert, now) > KEPT_MS_MAX || settled > KEPT_MAX;
            let stays = waits || !is_old;
            settled -= usize::from(!stays);
            stays
        });
    }

    fn give_up_old(&mut self, now: Timestamp) -> bool {
        let why = too_old();
        let old = self.alerts.iter_mut().filter(|alert| {
            alert.state == AlertWord::Waiting && age_ms(alert, now) > WAITING_MS_MAX
        });
        let mut any = false;
        for alert in old {
            alert.state = AlertWord::Failed;
            alert.ended_at = Some(now);
            alert.body.clear();
            alert.failure_code = Some(why.code.clone());
            alert.failure.get_or_insert_with(|| why.message.clone());
            any = true;
        }
        any
    }
}

fn age_ms(alert: &AlertSheet, now: Timestamp) -> i64 {
    now.as_millisecond() - alert.created_at.as_millisecond()
}

/// Was there one like it shortly before, or were there too many?
fn is_held_back(like: &[&AlertSheet], alert: &NewAlert<'_>) -> bool {
    let count = |window_ms: i64| {
        let window = SignedDuration::from_millis(window_ms);
        let sent = like.iter().filter(|one| {
            matches!(one.state, AlertWord::Waiting | AlertWord::Delivered)
                // One from the future says that the clock was set back.
                && one.created_at.duration_since(alert.now).abs() < window
        });
        sent.count()
    };
    let throttle_ms = i64::try_from(alert.throttle_ms).unwrap_or(i64::MAX / 2);
    let soon = throttle_ms > 0 && count(throttle_ms) > 0;
    let most = alert.hourly_max.map(|most| most as usize);
    soon || most.is_some_and(|most| count(HOUR_MS) >= most)
}

fn record(project: &str, sheet: AlertSheet) -> AlertRecord {
    AlertRecord {
        id: sheet.id,
        project: project.to_owned(),
        environment: sheet.environment,
        channel: sheet.channel,
        kind: sheet.kind,
        about: sheet.about,
        subject: sheet.subject,
        run_id: sheet.run_id,
        state: match sheet.state {
            AlertWord::Waiting => AlertState::Waiting,
            AlertWord::Delivered => AlertState::Delivered,
            AlertWord::Failed => AlertState::Failed,
            AlertWord::HeldBack => AlertState::HeldBack,
        },
        attempts: sheet.attempts,
        created_at: sheet.created_at,
        ended_at: sheet.ended_at,
        failure: sheet
            .failure_code
            .zip(sheet.failure)
            .map(|(code, message)| Failure::new(FailureClass::Transient, code, message)),
    }
}

fn outbox_path(project: &str, environment: &str, channel: &str) -> String {
    let (project, environment) = (name_of(project), name_of(environment));
    format!("{project}/alerts/{environment}/{}.json", name_of(channel))
}

pub(super) fn sender_path(project: &str, claimant: &str) -> String {
    format!("{}/senders/{}.json", name_of(project), name_of(claimant))
}
