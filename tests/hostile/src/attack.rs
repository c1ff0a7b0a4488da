//! Attacks that can stand in any place, each a few lines. The place is chosen by `aim`.

use std::hint::black_box;
use std::num::NonZeroU32;

use crate::odibi::node::report;

/// Name and deed of each. A deed that returns leaves the guest to go on as if nothing had happened.
pub const ATTACKS: &[(&str, fn())] = &[
    ("spin", spin),
    ("spin_fill", spin_fill),
    ("spin_log", spin_log),
    ("spin_cancelled", spin_cancelled),
    ("stderr_flood", stderr_flood),
    ("random_flood", random_flood),
    ("random_huge", random_huge),
    ("panic", || panic!("a panic with \u{1b}[31mcolour\u{1b}[0m")),
    ("unreachable", || core::arch::wasm32::unreachable()),
    ("abort", || std::process::abort()),
    ("exit_zero", || std::process::exit(0)),
    ("exit_one", || std::process::exit(1)),
    ("divide", divide),
    ("read_outside", read_outside),
    ("write_outside", write_outside),
    ("null_call", null_call),
    ("outside_call", outside_call),
    ("mismatched_call", mismatched_call),
    ("recursion", recursion),
    ("grow", grow),
    ("reserve", reserve),
    ("table", table),
    ("handles", handles),
    // Lies of the allocator: `aim` tells them.
    ("realloc_zero", || {}),
    ("realloc_misaligned", || {}),
    ("realloc_outside", || {}),
    ("realloc_same", || {}),
];

/// The number of an attack, from 1.
pub fn number(name: &str) -> u8 {
    let found = ATTACKS.iter().position(|(known, _)| *known == name);
    found.map_or(0, |i| i as u8 + 1)
}

pub fn run(number: u8) {
    if let Some((_, deed)) = ATTACKS.get(usize::from(number).wrapping_sub(1)) {
        deed();
    }
}

pub fn spin() {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Nothing stops one `memory.fill`; between two of them there is a chance.
fn spin_fill() {
    let mut much = vec![0_u8; 32 << 20];
    loop {
        much.fill(black_box(7));
        black_box(&much);
    }
}

fn spin_log() {
    let text = "again ".repeat(1_000);
    loop {
        report::log(report::Level::Info, &text, &[]);
    }
}

/// Asks, and does not listen.
fn spin_cancelled() {
    loop {
        black_box(report::cancelled());
    }
}

fn stderr_flood() {
    loop {
        eprintln!("a line");
    }
}

#[repr(C)]
struct Bytes {
    at: *mut u8,
    len: usize,
}

// What the standard library itself would call, without its bounds.
unsafe extern "C" {
    fn random_get_random_bytes(len: u64, bytes: *mut Bytes);
    fn stdout_get_stdout() -> i32;
    fn free(at: *mut u8);
}

/// The host allocates in the guest for the answer.
pub fn random(len: u64) {
    let mut bytes = Bytes {
        at: std::ptr::null_mut(),
        len: 0,
    };
    unsafe {
        random_get_random_bytes(len, &mut bytes);
        free(bytes.at);
    }
}

fn random_flood() {
    loop {
        random(64 << 10);
    }
}

fn random_huge() {
    random(1 << 40);
}

fn divide() {
    let none = unsafe { NonZeroU32::new_unchecked(black_box(0)) };
    black_box(black_box(1_u32) / none);
}

const OUTSIDE: usize = 0xffff_0000;

fn read_outside() {
    black_box(unsafe { black_box(OUTSIDE as *const u64).read_volatile() });
}

fn write_outside() {
    unsafe { black_box(OUTSIDE as *mut u64).write_volatile(1) };
}

fn call(element: usize) {
    let function: extern "C" fn() = unsafe { std::mem::transmute(black_box(element)) };
    function();
}

fn null_call() {
    call(0);
}

fn outside_call() {
    call(0x00ff_ffff);
}

extern "C" fn other(a: f64, b: f64) -> f64 {
    a * b
}

fn mismatched_call() {
    call(other as *const () as usize);
}

fn recursion() {
    black_box(recurse(black_box(1)));
}

#[expect(unconditional_recursion, reason = "that is the attack")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(frame[(depth % 64) as usize] + 1) + frame[0]
}

/// Grows until the host refuses, and then aborts, as Rust does.
fn grow() {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(vec![1; 1 << 20]);
        black_box(&held);
    }
}

fn reserve() {
    black_box(vec![1_u8; 1 << 30]);
}

/// No Rust code can grow a table: a test overwrites this `memory.grow` with a `table.grow` of 8,000 elements.
#[inline(never)]
fn grown() -> usize {
    core::arch::wasm32::memory_grow::<0>(0x0bad_cafe)
}

fn table() {
    while black_box(grown()) != usize::MAX {}
    core::arch::wasm32::unreachable();
}

fn handles() {
    loop {
        black_box(unsafe { stdout_get_stdout() });
    }
}
