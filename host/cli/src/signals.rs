//! SIGINT and SIGTERM: the first asks the run to stop, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use odibi_plan::config::LogLevel;
use odibi_run::port::Cancel;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::log::Entry;
use crate::printer::Printer;
use crate::{Surroundings, exit};

/// Watches for signals as long as the runtime lives.
pub(crate) struct Signals {
    received: Arc<AtomicU8>,
}

impl Signals {
    /// From now on, signals no longer end the process by themselves.
    ///
    /// # Errors
    /// The system does not let us listen.
    pub(crate) fn watch(
        runtime: &Runtime,
        around: &Surroundings,
        cancel: &Cancel,
        printer: &Printer,
    ) -> std::io::Result<Self> {
        let received = Arc::new(AtomicU8::new(0));
        if !around.handle_signals {
            return Ok(Self { received });
        }
        let (mut interrupt, mut terminate) = {
            let _in_runtime = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            )
        };
        let (first, cancel) = (received.clone(), cancel.clone());
        let printer = printer.clone();
        runtime.spawn(async move {
            loop {
                let code = tokio::select! {
                    _ = interrupt.recv() => exit::INTERRUPTED,
                    _ = terminate.recv() => exit::TERMINATED,
                };
                if first.swap(code, Ordering::AcqRel) != 0 {
                    // The second signal means: at once.
                    signalled(&printer, code, "stopped at once");
                    std::process::exit(i32::from(code));
                }
                cancel.cancel();
                signalled(
                    &printer,
                    code,
                    "nodes stop at their next batch; a second signal ends odibi at once",
                );
            }
        });
        Ok(Self { received })
    }

    /// The exit code of the last signal.
    pub(crate) fn received(&self) -> Option<u8> {
        Some(self.received.load(Ordering::Acquire)).filter(|code| *code != 0)
    }
}

fn signalled(printer: &Printer, code: u8, what: &str) {
    let word = if code == exit::INTERRUPTED {
        "interrupted"
    } else {
        "terminated"
    };
    let said = format!("{word}: {what}");
    if printer.log.is_structured() {
        let entry = Entry::new("signal", &said);
        printer.log.entry(LogLevel::Warning, &entry);
    } else {
        printer.info(&said);
    }
}
