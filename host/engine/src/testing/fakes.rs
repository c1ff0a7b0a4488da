//! Native operations that the tests share, and the table they run over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, Int64Array, RecordBatch};
use arrow_select::filter::filter_record_batch;
use odibi_run::port::{Appetite, SortKey, Spread};
use odibi_story::failure::{Failure, FailureClass};

use super::{Call, Fake, more, plan_like};

/// `n,k` with n from 0 and k = n mod 7.
pub(super) fn numbers(rows: i64) -> String {
    let mut text = String::from("n,k\n");
    for n in 0..rows {
        text += &format!("{n},{}\n", n % 7);
    }
    text
}

pub(super) fn column(batch: &RecordBatch, index: usize) -> &Int64Array {
    batch.column(index).as_primitive::<Int64Type>()
}

pub(super) fn identity(spread: Spread) -> Arc<Fake> {
    Fake::map(spread, |batch| more(vec![batch.clone()]))
}

/// Keeps even `n`.
pub(super) fn even(spread: Spread) -> Arc<Fake> {
    Fake::map(spread, |batch| {
        let keep: BooleanArray = column(batch, 0)
            .iter()
            .map(|n| n.map(|n| n % 2 == 0))
            .collect();
        more(vec![filter_record_batch(batch, &keep).unwrap()])
    })
}

/// The first row of every `k`, in the order asked for.
pub(super) fn first_of_key(sorted_by: Vec<SortKey>) -> Arc<Fake> {
    Fake::new(
        move |inputs| {
            let mut plan = plan_like(inputs, Spread::PerPartition);
            plan.inputs[0].partition_by = vec![1];
            plan.inputs[0].sorted_by.clone_from(&sorted_by);
            plan
        },
        |_| {
            let mut seen = std::collections::HashSet::new();
            Box::new(move |call| match call {
                Call::Process(_, batch) => {
                    let keep: BooleanArray = column(batch, 1)
                        .iter()
                        .map(|k| Some(seen.insert(k)))
                        .collect();
                    more(vec![filter_record_batch(batch, &keep).unwrap()])
                }
                Call::Drain(_) | Call::Finish => more(Vec::new()),
            })
        },
    )
}

pub(super) fn limit(rows: usize) -> Arc<Fake> {
    Fake::new(
        |inputs| plan_like(inputs, Spread::Single),
        move |_| {
            let mut left = rows;
            Box::new(move |call| match call {
                Call::Process(_, batch) => {
                    let taken = left.min(batch.num_rows());
                    left -= taken;
                    let appetite = if left == 0 {
                        Appetite::Enough
                    } else {
                        Appetite::More
                    };
                    Ok((vec![batch.slice(0, taken)], appetite))
                }
                Call::Drain(_) | Call::Finish => more(Vec::new()),
            })
        },
    )
}

/// Fails, or panics, at the batch that holds this `n`.
pub(super) fn breaking(spread: Spread, at: i64, panics: bool) -> Arc<Fake> {
    Fake::map(spread, move |batch| {
        if column(batch, 0).iter().flatten().any(|n| n == at) {
            assert!(!panics, "planted");
            return Err(Failure::new(
                FailureClass::Guest,
                "guest/planted",
                "planted",
            ));
        }
        more(vec![batch.clone()])
    })
}

/// Spins longer for some batches, so that instances overtake each other.
pub(super) fn uneven() -> Arc<Fake> {
    let calls = Arc::new(AtomicUsize::new(0));
    Fake::map(Spread::PerBatch, move |batch| {
        let turns = if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            20_000
        } else {
            1
        };
        for _ in 0..turns {
            std::hint::spin_loop();
        }
        more(vec![batch.clone()])
    })
}
