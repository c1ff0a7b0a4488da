//! A clock that stands still while anything can still happen, and then jumps to the next moment somebody waits for.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use jiff::Timestamp;

use super::lock;
use crate::port::Clock;

/// 2026-01-01 00:00:00 UTC.
const START_MS: i64 = 1_767_225_600_000;

/// A simulated clock. Clones show the same time.
#[derive(Debug, Clone, Default)]
pub struct SimClock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    now_ms: u64,
    sleepers_ever: u64,
    /// By the moment they wait for, then in the order in which they came.
    sleepers: BTreeMap<(u64, u64), Option<Waker>>,
}

impl SimClock {
    fn sleep(&self, ms: u64) -> Sleep {
        let mut state = lock(&self.state);
        let key = (state.now_ms.saturating_add(ms), state.sleepers_ever);
        state.sleepers_ever += 1;
        state.sleepers.insert(key, None);
        Sleep {
            state: self.state.clone(),
            key,
        }
    }

    /// Jumps to the next moment that somebody waits for and wakes them. False when nobody waits.
    pub fn advance(&self) -> bool {
        let mut state = lock(&self.state);
        let Some((moment, _)) = state.sleepers.first_key_value().map(|(key, _)| *key) else {
            return false;
        };
        state.now_ms = moment.max(state.now_ms);
        let due: Vec<Waker> = state
            .sleepers
            .range_mut(..=(moment, u64::MAX))
            .filter_map(|(_, waker)| waker.take())
            .collect();
        drop(state);
        due.into_iter().for_each(Waker::wake);
        true
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let ms = i64::try_from(lock(&self.state).now_ms).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(START_MS.saturating_add(ms)).unwrap_or(Timestamp::MAX)
    }

    fn monotonic_ms(&self) -> u64 {
        lock(&self.state).now_ms
    }

    async fn sleep_ms(&self, ms: u64) {
        self.sleep(ms).await;
    }
}

struct Sleep {
    state: Arc<Mutex<State>>,
    key: (u64, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.now_ms >= self.key.0 {
            return Poll::Ready(());
        }
        state
            .sleepers
            .insert(self.key, Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        lock(&self.state).sleepers.remove(&self.key);
    }
}

/// Runs a future on one thread; time jumps whenever all tasks wait. Always the same course of events.
///
/// # Panics
/// When the machine gives no thread. Hangs when all tasks wait for something other than `clock`.
pub fn block_on<T>(clock: &SimClock, work: impl Future<Output = T>) -> T {
    let idle = clock.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .on_thread_park(move || {
            idle.advance();
        })
        .build()
        .expect("a runtime without drivers needs nothing of the machine");
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_jumps_to_the_earliest_sleeper() {
        let clock = SimClock::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sleeper = |name: &'static str, ms: u64| {
            let (clock, seen) = (clock.clone(), seen.clone());
            async move {
                clock.sleep_ms(ms).await;
                lock(&seen).push((name, clock.monotonic_ms()));
            }
        };
        block_on(&clock, async {
            futures::join!(
                sleeper("day", 86_400_000),
                sleeper("now", 0),
                sleeper("later", 20),
                sleeper("soon", 10)
            )
        });
        assert_eq!(
            *lock(&seen),
            [("now", 0), ("soon", 10), ("later", 20), ("day", 86_400_000)]
        );
        assert_eq!(clock.now().to_string(), "2026-01-02T00:00:00Z");
        assert!(!clock.advance());
    }

    #[test]
    fn dropped_sleeper_does_not_move_time() {
        let clock = SimClock::default();
        block_on(&clock, async {
            tokio::select! {
                () = clock.sleep_ms(1_000) => {}
                () = clock.sleep_ms(5) => {}
            }
            clock.sleep_ms(10).await;
        });
        assert_eq!(clock.monotonic_ms(), 15);
    }
}
