//! What describes odibi to other programs: the JSON Schema of projects, shell completions, man pages.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::exit;
use crate::printer::Printer;

/// `odibi schema`.
pub(crate) fn schema(printer: &Printer) -> u8 {
    printer.json(&odibi_plan::config::schema());
    exit::DONE
}

/// `odibi completions SHELL`.
pub(crate) fn completions(shell: Shell, printer: &Printer) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "odibi", &mut script);
    printer.result(&String::from_utf8_lossy(&script));
    exit::DONE
}

/// `odibi man [COMMAND…]`: the page of odibi, or of one of its commands.
pub(crate) fn man(words: &[String], printer: &Printer) -> u8 {
    let mut command = Arguments::command();
    command.build();
    let mut found = &command;
    for word in words {
        let Some(next) = found
            .find_subcommand(word)
            .filter(|next| !next.is_hide_set())
        else {
            printer.error(&format!("no command `{word}` of `{}`", found.get_name()));
            return exit::USAGE;
        };
        found = next;
    }
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(found.clone()).render(&mut page);
    if let Err(error) = rendered {
        printer.error(&error.to_string());
        return exit::NOT_STARTED;
    }
    printer.result(&String::from_utf8_lossy(&page));
    exit::DONE
}
