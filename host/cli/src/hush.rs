//! What the process says of its own panics. Their text may come from data, and then only the place is told.

use std::sync::atomic::{AtomicBool, Ordering};

static HUSHED: AtomicBool = AtomicBool::new(false);

/// From now on the text of a panic is not printed.
pub(crate) fn hush() {
    HUSHED.store(true, Ordering::Release);
}

/// Puts the text of panics under our control. For the program, once; a library must not.
pub fn own_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !HUSHED.load(Ordering::Acquire) {
            usual(info);
        } else if let Some(place) = info.location() {
            use std::io::Write as _;
            // Nobody is left to tell when this fails.
            let _ = writeln!(std::io::stderr(), "odibi panicked at {place}");
        }
    }));
}
