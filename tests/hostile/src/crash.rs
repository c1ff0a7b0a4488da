//! Crashes and endless loops, one for each way and place.

pub const OPERATIONS: &[&str] = &[
    "panic",
    "unreachable",
    "exit_zero",
    "exit_one",
    "recursion",
    "out_of_bounds",
    "null_call",
    "panic_in_plan",
    "spin_in_plan",
    "spin_in_open",
    "spin_in_process",
    "spin_in_drain",
    "spin_in_finish",
    "spin_in_host_calls",
];

pub fn plan(operation: &str) {
    match operation {
        "spin_in_plan" => spin(),
        "panic_in_plan" => panic!("a panic while planning"),
        _ => {}
    }
}

pub fn open(operation: &str) {
    if operation == "spin_in_open" {
        spin();
    }
}

pub fn drain(operation: &str) {
    if operation == "spin_in_drain" {
        spin();
    }
}

pub fn finish(operation: &str) {
    if operation == "spin_in_finish" {
        spin();
    }
}

pub fn process(operation: &str) {
    match operation {
        "panic" => panic!("the guest panics with \u{1b}[31mcolour\u{1b}[0m"),
        "unreachable" => core::arch::wasm32::unreachable(),
        "exit_zero" => std::process::exit(0),
        "exit_one" => std::process::exit(1),
        "recursion" => {
            std::hint::black_box(recurse(std::hint::black_box(1)));
        }
        "out_of_bounds" => {
            let address = std::hint::black_box(0xffff_0000_usize as *const u64);
            std::hint::black_box(unsafe { address.read_volatile() });
        }
        "null_call" => {
            let nothing: extern "C" fn() =
                unsafe { std::mem::transmute(std::hint::black_box(0x00ff_ffff_usize)) };
            nothing();
        }
        "spin_in_process" => spin(),
        "spin_in_host_calls" => loop {
            crate::report::log(crate::report::Level::Info, "again", &[]);
        },
        _ => {}
    }
}

pub fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

#[expect(unconditional_recursion, reason = "that is the attack")]
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    recurse(frame[(depth % 64) as usize] + 1) + frame[0]
}
