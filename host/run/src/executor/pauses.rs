//! What is tried again, and after which pause. Pure: also the jitter follows from who asks.

use odibi_plan::plan::{Attempts, Backoff};
use odibi_story::failure::{Failure, FailureClass};

/// The pause before the next attempt, or `None` when there is none. `attempt` is the one that failed, from 1; `conflicts`
/// counts those that ended in a conflict, this one included; `seed` tells runs and nodes apart.
///
/// Transient failures and what a guest asks to have repeated go by the policy; a conflict is repeated once, at once,
/// because the next attempt reads afresh; nothing else is.
pub(crate) fn pause_ms(
    policy: &Attempts,
    seed: &str,
    failure: &Failure,
    attempt: u32,
    conflicts: u32,
) -> Option<u64> {
    let by_policy = (attempt < policy.attempts_max).then(|| backoff_ms(policy, seed, attempt));
    match failure.class {
        FailureClass::Conflict => (conflicts <= 1).then_some(0),
        FailureClass::Transient | FailureClass::Guest | FailureClass::Data => {
            match failure.retry_after_ms {
                Some(asked_ms) if asked_ms <= policy.delay_ms_max => {
                    by_policy.map(|ms| ms.max(asked_ms))
                }
                Some(_) => None,
                None if failure.class == FailureClass::Transient => by_policy,
                None => None,
            }
        }
        FailureClass::Trap
        | FailureClass::Limit
        | FailureClass::Contract
        | FailureClass::Denied
        | FailureClass::Missing
        | FailureClass::Cancelled
        | FailureClass::Internal => None,
    }
}

fn backoff_ms(policy: &Attempts, seed: &str, attempt: u32) -> u64 {
    let factor = match policy.backoff {
        Backoff::Exponential => 2_u64.saturating_pow(attempt.saturating_sub(1)),
        Backoff::Linear => u64::from(attempt),
        Backoff::Constant => 1,
    };
    let whole = policy
        .delay_ms
        .saturating_mul(factor)
        .min(policy.delay_ms_max);
    if !policy.jitter {
        return whole;
    }
    // FNV-1a: nodes that failed together shall not come back together.
    let bytes = seed.bytes().chain(attempt.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The high half is the better mixed one.
    let parts = hash >> 32;
    let cut = (u128::from(whole / 2) * u128::from(parts)) >> 32;
    whole - u64::try_from(cut).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(backoff: Backoff, expect: [u64; 5]) {
        let policy = Attempts {
            attempts_max: 9,
            backoff,
            delay_ms: 100,
            delay_ms_max: 450,
            ..Attempts::once()
        };
        let failure = Failure::new(FailureClass::Transient, "test/failed", "no");
        let found = [1, 2, 3, 4, 5].map(|n| pause_ms(&policy, "", &failure, n, 0));
        assert_eq!(found, expect.map(Some));
    }

    #[test]
    fn pauses_grow_as_the_word_says() {
        check(Backoff::Exponential, [100, 200, 400, 450, 450]);
        check(Backoff::Linear, [100, 200, 300, 400, 450]);
        check(Backoff::Constant, [100, 100, 100, 100, 100]);
    }

    #[test]
    fn jitter_takes_up_to_a_half_and_differs() {
        let policy = Attempts {
            attempts_max: 2,
            delay_ms: 1_000,
            ..Attempts::default()
        };
        let failure = Failure::new(FailureClass::Transient, "test/failed", "no");
        let pause = |node: usize| pause_ms(&policy, &format!("run p.n{node}"), &failure, 1, 0);
        let pauses: Vec<u64> = (0..1_000).filter_map(pause).collect();
        assert_eq!(pauses.len(), 1_000);
        assert!(pauses.iter().all(|ms| (500..=1_000).contains(ms)));
        let parts: [std::ops::Range<u64>; 5] = [500..600, 600..700, 700..800, 800..900, 900..1_001];
        for part in parts {
            let count = pauses.iter().filter(|ms| part.contains(*ms)).count();
            assert!((120..280).contains(&count), "{part:?}: {count}");
        }
        assert_eq!(pause(7), pause(7));
    }
}
