//! What the process says of its own panics. Their text may come from data, and then only the place is told.

use std::sync::atomic::{AtomicBool, Ordering};

static HUSHED: AtomicBool = AtomicBool::new(false);

/// From now on the text of a panic is not printed.
pub(crate) fn hush() {
    HUSHED.store(true, Ordering::Release);
}

/// True when it is not.
pub(crate) fn is_hushed() -> bool {
    HUSHED.load(Ordering::Acquire)
}
