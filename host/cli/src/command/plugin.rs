//! `odibi plugin …`: a look into components and their failures.

mod compile;
mod inspect;
mod replay;

use crate::Surroundings;
use crate::args::PluginCommand;
use crate::printer::Printer;

pub(crate) fn plugin(command: &PluginCommand, around: &Surroundings, printer: &Printer) -> u8 {
    match command {
        PluginCommand::Compile { config } => compile::compile(config, around, printer),
        PluginCommand::Inspect(args) => inspect::inspect(args, around, printer),
        PluginCommand::Replay(args) => replay::replay(args, around, printer),
    }
}
