//! DataFusion's memory pool on the budget of the run: what guests hold, sorts and repartitions cannot have, and spill.

use std::fmt;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use odibi_run::memory::{Holder, MemoryBudget};

/// Shares its part of the budget fairly among those that can spill.
#[derive(Debug)]
pub(crate) struct BudgetPool {
    fair: FairSpillPool,
    budget: MemoryBudget,
}

impl BudgetPool {
    /// Reserves at most `bytes_max` of the budget: what is left guests can always have.
    pub(crate) fn new(bytes_max: usize, budget: MemoryBudget) -> Self {
        Self {
            fair: FairSpillPool::new(bytes_max),
            budget,
        }
    }
}

impl fmt::Display for BudgetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fair)
    }
}

impl MemoryPool for BudgetPool {
    fn name(&self) -> &'static str {
        "budget"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.fair.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.fair.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.fair.grow(reservation, additional);
        self.budget.take(Holder::Engine, additional as u64);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.fair.shrink(reservation, shrink);
        self.budget.give_back(Holder::Engine, shrink as u64);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.fair.try_grow(reservation, additional)?;
        let taken = self.budget.try_take(Holder::Engine, additional as u64);
        taken.map_err(|refused| {
            self.fair.shrink(reservation, additional);
            DataFusionError::ResourcesExhausted(format!(
                "{} bytes more for {} than the run has left: plugins hold {} of {}",
                additional,
                reservation.consumer().name(),
                refused.guests,
                refused.bytes_max
            ))
        })
    }

    fn reserved(&self) -> usize {
        self.fair.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.fair.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_guests_hold_is_not_there_to_be_reserved() {
        let budget = MemoryBudget::new(100);
        let pool: Arc<dyn MemoryPool> = Arc::new(BudgetPool::new(75, budget.clone()));
        let reservation = MemoryConsumer::new("sort")
            .with_can_spill(true)
            .register(&pool);
        budget.try_take(Holder::Guests, 60).unwrap();
        assert!(reservation.try_grow(41).is_err());
        assert_eq!((pool.reserved(), budget.held(Holder::Engine)), (0, 0));
        reservation.try_grow(40).unwrap();
        assert!(budget.try_take(Holder::Guests, 1).is_err());
        reservation.shrink(10);
        budget.try_take(Holder::Guests, 10).unwrap();
        drop(reservation);
        assert_eq!((pool.reserved(), budget.held(Holder::Engine)), (0, 0));
    }

    #[test]
    fn a_part_of_the_budget_is_left_to_guests() {
        let budget = MemoryBudget::new(100);
        let pool: Arc<dyn MemoryPool> = Arc::new(BudgetPool::new(75, budget.clone()));
        let reservation = MemoryConsumer::new("sort")
            .with_can_spill(true)
            .register(&pool);
        assert!(reservation.try_grow(76).is_err());
        reservation.try_grow(75).unwrap();
        budget.try_take(Holder::Guests, 25).unwrap();
    }
}
