//! The binary: hands the process over to the library and exits with its code.

use std::io::IsTerminal as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let redaction = odibi::Redaction::default();
    std::panic::set_hook(Box::new(redaction.panics()));
    let world = odibi::World {
        args: std::env::args_os().collect(),
        current_dir: std::env::current_dir().unwrap_or_else(|_| ".".into()),
        variables: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        stdout: Box::new(std::io::stdout()),
        stderr: Box::new(std::io::stderr()),
        stdout_is_terminal: std::io::stdout().is_terminal(),
        stderr_is_terminal: std::io::stderr().is_terminal(),
        handle_signals: true,
        // Without a name for it, the attempt to start it fails, and says so.
        program: Some(std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into())),
        redaction,
    };
    std::process::ExitCode::from(odibi::run(world))
}
