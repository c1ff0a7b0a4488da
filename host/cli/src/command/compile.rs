//! `odibi compile-component`, hidden: the process that compiles one component for another odibi. It takes its own stdin,
//! stdout and resources, so it does nothing when odibi is merely called as a library.

use std::io;

use crate::printer::Printer;
use crate::{Surroundings, exit};

/// The word on the command line.
pub(crate) const NAME: &str = "compile-component";

pub(crate) fn compile(around: &Surroundings, printer: &Printer) -> u8 {
    if around.program.is_none() {
        printer.problem("this command needs a process of its own");
        return exit::USAGE;
    }
    match odibi_sandbox::compile_as_child(&mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => exit::DONE,
        Err(fault) => {
            printer.problem(&fault.to_string());
            fault.exit_code
        }
    }
}
