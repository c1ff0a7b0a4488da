//! One attack in one place: the operation `attack`, whose params are `"ATTACK@PLACE"`.
//!
//! It plans and copies honestly, without Arrow, except in the place that it aims at:
//!
//! | place | armed by |
//! |---|---|
//! | `start` | the logical time of the session: [`EPOCH_MS`] and the number of the attack |
//! | `load.start`, `load.describe`, `load.describe.post` | [`SWITCH`], overwritten in the bytes of the component |
//! | `plan`, `open`, `process`, `drain`, `finish` | the params |
//! | `….realloc` | the params, which lie in memory already when the host asks for room for the arguments behind them |
//! | `process.import.realloc` | `process`, which then calls an import that answers with a list |
//! | `….post` | the address of a string that the host has freed after it has read it |

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};

use crate::odibi::node::logical;
use crate::{
    Appetite, Columns, Failure, FailureKind, Feed, InputPlan, NodePlan, Origin, OutputPlan, Spread,
    attack, failure, send,
};

pub const OPERATION: &str = "attack";

/// Logical times from here on name an attack.
const EPOCH_MS: u64 = 1_000_000_000_000;

/// The byte after `=` says where: `s`tart, `d`escribe, its `p`ost-return; or what `describe` returns: see [`manifest`].
/// The next one is the number of the attack, from `A`.
#[used]
static SWITCH: [u8; 24] = *b"odibi-hostile-switch=--\n";

/// Volatile: the compiler must not fold in what a test overwrites afterwards.
fn switch(at: usize) -> u8 {
    unsafe { std::ptr::read_volatile(&raw const SWITCH[21 + at]) }
}

fn switched(place: u8) -> u8 {
    if switch(0) == place {
        switch(1) - b'@'
    } else {
        0
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    attack::run(switched(b's'));
    let code = logical::run_time_ms().wrapping_sub(EPOCH_MS);
    attack::run(u8::try_from(code).unwrap_or(0));
}

pub fn manifest(mut operations: Vec<String>) -> String {
    attack::run(switched(b'd'));
    match switch(0) {
        b'm' => return "[".repeat(100_000),
        b'j' => return "{\"name\":\u{1b}[2J".into(),
        b'b' => return " ".repeat(2 << 20),
        b'o' => operations = vec!["not a name\u{202e}".into()],
        b't' => operations.push(OPERATION.into()),
        b'e' => operations.clear(),
        _ => {}
    }
    let known: Vec<&str> = attack::ATTACKS.iter().map(|(name, _)| *name).collect();
    operations.push(OPERATION.into());
    let listed: Vec<String> = operations
        .iter()
        .map(|name| {
            let summary = if name == OPERATION {
                known.join(" ")
            } else {
                String::new()
            };
            format!(r#"{{"name":"{name}","summary":"{summary}","params":{{}}}}"#)
        })
        .collect();
    let json = format!(
        r#"{{"name":"odibi-hostile","version":"0.1.0","operations":[{}]}}"#,
        listed.join(",")
    );
    // A copy has no spare room, so it stays where it is on its way to the host.
    let json = String::from(json.as_str());
    mine(switched(b'p'), json.as_ptr());
    json
}

/// What the allocators below do, and when.
static IN_REALLOC: AtomicU8 = AtomicU8::new(0);
static IN_POST: AtomicU8 = AtomicU8::new(0);
static MINE: AtomicUsize = AtomicUsize::new(0);
static REALLOCS: AtomicUsize = AtomicUsize::new(0);
static LAST: AtomicUsize = AtomicUsize::new(0);
static LAST_LEN: AtomicUsize = AtomicUsize::new(0);

/// The attack goes off when `at` is freed.
fn mine(attack: u8, at: *const u8) {
    if attack != 0 {
        IN_POST.store(attack, Relaxed);
        MINE.store(at as usize, Relaxed);
    }
}

struct Mined;

#[global_allocator]
static ALLOCATOR: Mined = Mined;

unsafe impl GlobalAlloc for Mined {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if at as usize == MINE.load(Relaxed) {
            MINE.store(0, Relaxed);
            attack::run(IN_POST.load(Relaxed));
        }
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Ours wins over the weak symbol of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(
    old: *mut u8,
    old_len: usize,
    align: usize,
    len: usize,
) -> *mut u8 {
    peek();
    let armed = IN_REALLOC.load(Relaxed);
    attack::run(armed);
    let lie = attack::ATTACKS.get(usize::from(armed).wrapping_sub(1));
    let at = match lie.map_or("", |(name, _)| name) {
        "realloc_zero" => null_mut(),
        "realloc_misaligned" => unsafe { allocate(old, old_len, align, len + align).add(1) },
        "realloc_outside" => 0xffff_0000_usize as *mut u8,
        "realloc_same" => SAME.0.get().cast(),
        _ => unsafe { allocate(old, old_len, align, len) },
    };
    REALLOCS.fetch_add(1, Relaxed);
    LAST.store(at as usize, Relaxed);
    LAST_LEN.store(len, Relaxed);
    at
}

struct Same(std::cell::UnsafeCell<[u64; 8_192]>);
unsafe impl Sync for Same {}
static SAME: Same = Same(std::cell::UnsafeCell::new([0; 8_192]));

unsafe fn allocate(old: *mut u8, old_len: usize, align: usize, len: usize) -> *mut u8 {
    let layout = |len| Layout::from_size_align(len, align).unwrap_or(Layout::new::<u8>());
    match (old_len, len) {
        (0, 0) => align as *mut u8,
        (0, _) => unsafe { System.alloc(layout(len)) },
        _ => unsafe { System.realloc(old, layout(old_len), len) },
    }
}

/// Looks at the argument that the host wrote last. In `plan` the params are the second, in `open` a later one.
fn peek() {
    let before = REALLOCS.load(Relaxed);
    if before < 2 || IN_REALLOC.load(Relaxed) != 0 {
        return;
    }
    let (at, len) = (LAST.load(Relaxed), LAST_LEN.load(Relaxed));
    let text = unsafe { std::slice::from_raw_parts(at as *const u8, len) };
    let place = if before == 2 {
        "plan.realloc"
    } else {
        "open.realloc"
    };
    if let Ok(text) = std::str::from_utf8(text)
        && let Some((name, aimed)) = text.trim_matches('"').split_once('@')
        && aimed == place
    {
        IN_REALLOC.store(attack::number(name), Relaxed);
    }
}

thread_local! {
    /// Number of the attack, and its place.
    static AIM: RefCell<(u8, String)> = const { RefCell::new((0, String::new())) };
}

/// The attack for a place, or 0.
fn aimed(place: &str) -> u8 {
    AIM.with_borrow(|(attack, at)| if at == place { *attack } else { 0 })
}

fn aim(params: &str) {
    if let Some((name, place)) = params.trim_matches('"').split_once('@') {
        AIM.set((attack::number(name), place.into()));
    }
}

/// `Ok`, or a failure that is mined.
fn answer(post: &str) -> Result<(), Failure> {
    let attack = aimed(post);
    if attack == 0 {
        return Ok(());
    }
    let failure = failure(
        FailureKind::Internal,
        "this is read before the mine goes off",
    );
    mine(attack, failure.code.as_ptr());
    Err(failure)
}

/// Input and output are alike, so their schema can stay bytes.
pub fn plan(params: &str, inputs: &[Vec<u8>]) -> Result<NodePlan, Failure> {
    aim(params);
    attack::run(aimed("plan"));
    let state = b"hostile".to_vec();
    mine(aimed("plan.post"), state.as_ptr());
    Ok(NodePlan {
        inputs: vec![InputPlan {
            need: Columns::All,
            feed: Feed::Streamed,
            partition_by: vec![],
            sorted_by: vec![],
            keep_order: false,
        }],
        outputs: vec![OutputPlan {
            schema: inputs[0].clone(),
            pass_through: vec![],
        }],
        spread: Spread::Single,
        batch_rows: None,
        state,
    })
}

pub fn open(params: &str) -> Result<(), Failure> {
    aim(params);
    attack::run(aimed("open"));
    IN_REALLOC.store(aimed("process.realloc"), Relaxed);
    answer("open.post")
}

pub fn process(batch: &[u8]) -> Result<Appetite, Failure> {
    attack::run(aimed("process"));
    if aimed("process.import.realloc") != 0 {
        IN_REALLOC.store(aimed("process.import.realloc"), Relaxed);
        attack::random(100);
    }
    send(&[batch], Origin::Fresh)?;
    answer("process.post").map(|()| Appetite::More)
}

pub fn drain() -> Result<(), Failure> {
    attack::run(aimed("drain"));
    answer("drain.post")
}

pub fn finish() -> Result<Option<String>, Failure> {
    attack::run(aimed("finish"));
    answer("finish.post").map(|()| None)
}
