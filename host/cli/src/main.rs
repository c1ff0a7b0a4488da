//! The binary: hands the process over to the library and exits with its code.

use std::io::IsTerminal as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pages of 2 MiB, which the allocator asks for, are a fifth more memory, and no faster here. On a virtual machine whose host
/// takes back what is free, it has to find each of them anew, which takes 2 ms and more: a short run took twice its time.
#[cfg(target_os = "linux")]
fn small_pages() {
    // A kernel without such pages has nothing to switch off.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

#[cfg(not(target_os = "linux"))]
fn small_pages() {}

fn main() -> std::process::ExitCode {
    small_pages();
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
