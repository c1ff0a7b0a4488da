//! The memory of a run: one budget for what the engine reserves and for the linear memory of all guests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that may be held, and by whom they are. Cloned freely; the clones share one account. The default has no limit.
#[derive(Debug, Clone, Default)]
pub struct MemoryBudget {
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    bytes_max: u64,
    engine: AtomicU64,
    guests: AtomicU64,
    /// Both, charged first: so that two who ask at once cannot both have the last bytes.
    total: AtomicU64,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            bytes_max: u64::MAX,
            engine: AtomicU64::default(),
            guests: AtomicU64::default(),
            total: AtomicU64::default(),
        }
    }
}

/// Who holds memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Sorts, repartitions and joins of the engine, which spill when they get no more.
    Engine,
    /// Linear memories of guests.
    Guests,
}

/// More was asked for than is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Bytes asked for.
    pub asked: u64,
    /// The whole budget.
    pub bytes_max: u64,
    /// Held by the engine.
    pub engine: u64,
    /// Held by guests.
    pub guests: u64,
}

impl MemoryBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let account = Account {
            bytes_max,
            ..Account::default()
        };
        Self {
            account: Arc::new(account),
        }
    }

    /// Takes bytes if they are left.
    ///
    /// # Errors
    /// Who holds what, when they are not. Nothing is taken then.
    pub fn try_take(&self, holder: Holder, bytes: u64) -> Result<(), Refused> {
        let account = &*self.account;
        let taken = account
            .total
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |total| {
                total
                    .checked_add(bytes)
                    .filter(|total| *total <= account.bytes_max)
            });
        match taken {
            Ok(_) => {
                account.held(holder).fetch_add(bytes, Ordering::AcqRel);
                Ok(())
            }
            Err(_) => Err(Refused {
                asked: bytes,
                bytes_max: account.bytes_max,
                engine: self.held(Holder::Engine),
                guests: self.held(Holder::Guests),
            }),
        }
    }

    /// Takes bytes whether they are left or not: they are in use already.
    pub fn take(&self, holder: Holder, bytes: u64) {
        self.account.total.fetch_add(bytes, Ordering::AcqRel);
        self.account.held(holder).fetch_add(bytes, Ordering::AcqRel);
    }

    /// Gives bytes back that were taken.
    pub fn give_back(&self, holder: Holder, bytes: u64) {
        self.account.held(holder).fetch_sub(bytes, Ordering::AcqRel);
        self.account.total.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Bytes that are held now.
    #[must_use]
    pub fn held(&self, holder: Holder) -> u64 {
        self.account.held(holder).load(Ordering::Acquire)
    }
}

impl Account {
    fn held(&self, holder: Holder) -> &AtomicU64 {
        match holder {
            Holder::Engine => &self.engine,
            Holder::Guests => &self.guests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_holds_the_other_cannot_have() {
        let budget = MemoryBudget::new(100);
        assert_eq!(budget.try_take(Holder::Engine, 60), Ok(()));
        let refused = Refused {
            asked: 41,
            bytes_max: 100,
            engine: 60,
            guests: 0,
        };
        assert_eq!(budget.clone().try_take(Holder::Guests, 41), Err(refused));
        assert_eq!(budget.try_take(Holder::Guests, 40), Ok(()));
        budget.give_back(Holder::Engine, 60);
        assert_eq!(budget.try_take(Holder::Guests, 60), Ok(()));
        assert_eq!(budget.held(Holder::Guests), 100);
        assert!(budget.try_take(Holder::Engine, u64::MAX).is_err());
    }

    #[test]
    fn many_threads_never_hold_more_than_there_is() {
        let budget = MemoryBudget::new(1_000);
        std::thread::scope(|scope| {
            for holder in [
                Holder::Engine,
                Holder::Guests,
                Holder::Engine,
                Holder::Guests,
            ] {
                let budget = &budget;
                scope.spawn(move || {
                    for bytes in 1..2_000 {
                        if budget.try_take(holder, bytes % 700).is_ok() {
                            let held = budget.held(Holder::Engine) + budget.held(Holder::Guests);
                            assert!(held <= 1_000, "{held}");
                            budget.give_back(holder, bytes % 700);
                        }
                    }
                });
            }
        });
        assert_eq!(
            (budget.held(Holder::Engine), budget.held(Holder::Guests)),
            (0, 0)
        );
        assert_eq!(budget.try_take(Holder::Guests, 1_000), Ok(()));
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        assert_eq!(
            MemoryBudget::default().try_take(Holder::Guests, 1 << 60),
            Ok(())
        );
    }
}
