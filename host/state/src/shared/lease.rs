//! Leases without locks: the holder keeps making a number grow, and who wants the lease watches it.
//!
//! Nobody compares clocks of two machines. A holder counts for dead when its number has not grown for as long as it
//! promised, by the monotonic clock of the one who watches, and was looked at often enough meanwhile. If that was wrong,
//! nothing is lost: the epoch has grown, and what the old holder still writes is refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use odibi_story::failure::{Failure, FailureClass, code};

use super::document::{HolderSheet, LastSheet, LeaseSheet};
use super::shelf::{Change, Desk};
use super::{SharedState, lease_path, lock};
use crate::lease::{Holder, Lease, LeaseRequest, lost};

/// A lease that this process holds. Dropped, it is let go of: the run did not come to its end.
#[derive(Debug)]
pub(crate) struct SharedLease(Arc<LeaseDocument>);

/// Its document.
#[derive(Debug)]
pub(crate) struct LeaseDocument {
    desk: Arc<Desk>,
    path: String,
    pub(crate) pipeline: String,
    run_id: String,
    pub(crate) epoch: u64,
    state: Mutex<Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    since_ms: u64,
    is_over: bool,
}

/// What is known of somebody's number that grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// It has grown since it was first looked at.
    Alive,
    /// It has not grown yet.
    Unknown,
    /// It has not grown for too long.
    Dead,
}

#[derive(Debug)]
struct Sight {
    beat: (u64, u64),
    since_ms: u64,
    seen_ms: u64,
    has_grown: bool,
}

/// Watches numbers that grow.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<BTreeMap<String, Sight>>);

impl Watch {
    /// Looks at a number: that of an epoch, now.
    pub(super) fn look(&self, of: &str, beat: (u64, u64), timeout_ms: u64, now_ms: u64) -> Sign {
        let mut sights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = Sight {
            beat,
            since_ms: now_ms,
            seen_ms: now_ms,
            has_grown: false,
        };
        let Some(sight) = sights.get_mut(of) else {
            sights.insert(of.to_owned(), first);
            return Sign::Unknown;
        };
        if sight.beat.0 != beat.0 {
            *sight = first;
            return Sign::Unknown;
        }
        // Who did not look for long, because this machine slept or the store was away, has to begin anew.
        let has_slept = now_ms.saturating_sub(sight.seen_ms) > timeout_ms / 2;
        sight.seen_ms = now_ms;
        if sight.beat.1 != beat.1 {
            sight.beat = beat;
            sight.since_ms = now_ms;
            sight.has_grown = true;
        } else if has_slept {
            sight.since_ms = now_ms;
        }
        if now_ms.saturating_sub(sight.since_ms) >= timeout_ms {
            Sign::Dead
        } else if sight.has_grown {
            Sign::Alive
        } else {
            Sign::Unknown
        }
    }
}

impl SharedState {
    pub(super) fn take(
        &self,
        request: &LeaseRequest<'_>,
    ) -> Result<Result<Lease, Holder>, Failure> {
        let path = lease_path(request.project, request.pipeline);
        let taken = self.desk.change(&path, |known: Option<LeaseSheet>| {
            let mut sheet = known.unwrap_or_else(|| LeaseSheet {
                pipeline: request.pipeline.to_owned(),
                epoch: 0,
                holder: None,
                last: None,
                others: BTreeMap::new(),
            });
            if let (Some(holder), false) = (&sheet.holder, request.take_over) {
                let beat = (sheet.epoch, holder.beat);
                let now_ms = self.clock.monotonic_ms();
                let sign = self.watch.look(&path, beat, holder.timeout_ms, now_ms);
                if sign == Sign::Dead {
                    lock(&self.dead).insert(holder.run_id.clone());
                } else {
                    return Ok(Change::Leave(Err(Holder {
                        pipeline: request.pipeline.to_owned(),
                        run_id: holder.run_id.clone(),
                        pid: holder.pid,
                        host: holder.host.clone(),
                        since: holder.since,
                        is_silent: sign == Sign::Unknown,
                        pause_ms: self.terms.pause_ms(),
                    })));
                }
            }
            sheet.epoch += 1;
            sheet.holder = Some(HolderSheet {
                run_id: request.run_id.to_owned(),
                pid: std::process::id(),
                host: self.terms.host.clone(),
                since: request.now,
                beat: 0,
                timeout_ms: self.terms.timeout_ms,
            });
            let epoch = sheet.epoch;
            Ok(Change::Put(sheet, Ok(epoch)))
        })?;
        let epoch = match taken {
            Ok(epoch) => epoch,
            Err(holder) => return Ok(Err(holder)),
        };
        let lease = Arc::new(LeaseDocument {
            desk: Arc::clone(&self.desk),
            path,
            pipeline: request.pipeline.to_owned(),
            run_id: request.run_id.to_owned(),
            epoch,
            state: Mutex::new(Held {
                since_ms: self.clock.monotonic_ms(),
                is_over: false,
            }),
        });
        lock(&self.pulse).leases.push(Arc::clone(&lease));
        Ok(Ok(Lease::shared(Arc::new(SharedLease(lease)))))
    }

    /// Who holds a lease, and in which epoch.
    pub(super) fn lease_sheet(
        &self,
        project: &str,
        pipeline: &str,
    ) -> Result<Option<LeaseSheet>, Failure> {
        let read = self.desk.read::<LeaseSheet>(&lease_path(project, pipeline));
        Ok(read?.map(|(sheet, _)| sheet))
    }
}

impl LeaseDocument {
    /// Nothing is left to be renewed.
    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Makes the number grow, when it is time.
    pub(super) fn renew(&self, now_ms: u64, every_ms: u64) {
        let held = *self.lock();
        if held.is_over || now_ms.saturating_sub(held.since_ms) < every_ms {
            return;
        }
        let renewed = self.change_own(|sheet| {
            if let Some(holder) = &mut sheet.holder {
                holder.beat += 1;
            }
        });
        match renewed {
            Ok(()) => self.lock().since_ms = now_ms,
            Err(failure) if failure.code == code::STATE_LEASE_LOST.name => {
                self.lock().is_over = true;
            }
            // The store may be back the next time. Whoever has taken the lease meanwhile is found out then.
            Err(_) => {}
        }
    }

    /// Notes that a run of this environment has begun its work under this lease. `before` is the environment of the last
    /// run, where that is known and the document does not say it.
    pub(super) fn begun(
        &self,
        slot: &str,
        environment: &str,
        before: Option<&str>,
    ) -> Result<(), Failure> {
        self.change_own(|sheet| {
            let last = sheet.last.replace(LastSheet {
                run_id: self.run_id.clone(),
                slot: slot.to_owned(),
                ended: false,
                environment: Some(environment.to_owned()),
            });
            if let Some(mut last) = last.filter(|last| !last.ended)
                && let Some(of) = last.environment.take().or(before.map(str::to_owned))
            {
                last.environment = Some(of.clone());
                sheet.others.insert(of, last);
            }
            // It goes on with that one, or repeats another.
            sheet.others.remove(environment);
        })
    }

    /// Lets go of the lease. `ended`: of what its run has written, nothing is left to be gone on with.
    pub(crate) fn release(&self, ended: bool) -> Result<(), Failure> {
        if std::mem::replace(&mut self.lock().is_over, true) {
            return Ok(());
        }
        self.change_own(|sheet| {
            sheet.holder = None;
            if let Some(last) = sheet
                .last
                .as_mut()
                .filter(|last| last.run_id == self.run_id)
            {
                last.ended |= ended;
            }
        })
    }

    /// Changes the document, if this is still the lease that it tells of.
    fn change_own(&self, body: impl Fn(&mut LeaseSheet)) -> Result<(), Failure> {
        self.desk.change(&self.path, |known: Option<LeaseSheet>| {
            let Some(mut sheet) = known else {
                let message = format!("the lease of pipeline `{}` is gone", self.pipeline);
                return Err(Failure::new(
                    FailureClass::Conflict,
                    code::STATE_LEASE_LOST,
                    message,
                ));
            };
            if sheet.epoch != self.epoch {
                let other = sheet.holder.as_ref().map(|holder| holder.run_id.as_str());
                return Err(lost(&self.pipeline, other));
            }
            body(&mut sheet);
            Ok(Change::Put(sheet, ()))
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        lock(&self.state)
    }
}

impl std::ops::Deref for SharedLease {
    type Target = LeaseDocument;

    fn deref(&self) -> &LeaseDocument {
        &self.0
    }
}

impl Drop for SharedLease {
    fn drop(&mut self) {
        // What cannot be let go of is free when it has not been renewed for long enough.
        let _ = self.release(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holder_is_dead_when_it_was_watched_and_did_not_move() {
        let watch = Watch::default();
        let look = |beat, now_ms| watch.look("a", (1, beat), 100, now_ms);
        assert_eq!(look(5, 0), Sign::Unknown);
        assert_eq!(look(5, 40), Sign::Unknown);
        assert_eq!(look(6, 80), Sign::Alive);
        assert_eq!(look(6, 120), Sign::Alive);
        assert_eq!(look(6, 160), Sign::Alive);
        assert_eq!(look(6, 180), Sign::Dead);
        assert_eq!(look(7, 200), Sign::Alive, "it lives after all");
        let other = watch.look("a", (2, 7), 100, 210);
        assert_eq!(other, Sign::Unknown, "another holder");
    }

    /// The one who watches was stopped, or could not reach the store: that says nothing of the one who is watched.
    #[test]
    fn who_did_not_look_begins_anew() {
        let watch = Watch::default();
        let look = |now_ms| watch.look("a", (1, 5), 100, now_ms);
        assert_eq!(look(0), Sign::Unknown);
        assert_eq!(look(1_000), Sign::Unknown);
        assert_eq!(look(1_050), Sign::Unknown);
        assert_eq!(look(1_100), Sign::Dead);
    }
}
