//! Components that are small and valid, or nearly so, and cost a compiler dearly.

use libtest_mimic::Trial;
use odibi_sandbox::CompileLimits;
use wasm_encoder::{
    CodeSection, Component, ComponentExportKind, ComponentExportSection, ComponentInstanceSection,
    ComponentTypeSection, ComponentValType, DataSection, ExportKind, Function, FunctionSection,
    MemorySection, MemoryType, Module, ModuleSection, NestedComponentSection, PrimitiveValType,
    TypeSection, ValType,
};

use crate::{child, load, test};

/// What a function body may have, a little less than the 7,654,321 bytes that validation allows.
const BODY_BYTES: usize = 7_600_000;
/// As many locals as validation allows.
const LOCALS: u32 = 49_999;
/// What the host may take beyond what it had, whatever bombs do: about the largest of them.
const RESIDENT_BYTES_MAX: u64 = 8 << 20;
/// Looks at what the host holds until it must have let go: some seconds of them.
const LOOKS_MAX: u32 = 50_000;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "bombs_end_in_a_named_failure_or_compile_within_the_limits",
            bombs_end,
        ),
        test("memory_that_is_refused_is_named", memory_is_named),
        test("machine_code_without_measure_is_named", output_is_named),
    ]
}

type Bomb = (&'static str, fn() -> Vec<u8>, &'static [&'static str]);

const CPU: &str = "limit/compile-cpu";
const MEMORY: &str = "limit/compile-memory";
const REFUSED: &str = "plugin/compile-failed";
const COMPILED: &str = "compiled";

/// Name, component, and the ends that it may have: which limit comes first is a matter of the machine.
const BOMBS: &[Bomb] = &[
    ("100,000 locals", too_many_locals, &[REFUSED]),
    ("locals × loops", locals_in_loops, &[MEMORY, CPU]),
    ("branch tables", branch_tables, &[CPU, MEMORY]),
    ("nested blocks", nested_blocks, &[CPU, MEMORY]),
    ("straight line", straight_line, &[CPU, MEMORY]),
    ("900,000 functions", many_functions, &[CPU, MEMORY]),
    ("900 modules", many_modules, &[CPU, MEMORY, COMPILED]),
    ("nested components", nested_components, &[COMPILED]),
    ("doubling types", doubling_types, &[REFUSED]),
    ("data at both ends", sparse_data, &[COMPILED]),
];

fn limits() -> CompileLimits {
    CompileLimits {
        cpu_s_max: 2,
        cpu_s_per_mib_max: 0,
        wall_ms_max: 30_000,
        memory_bytes_max: 2 << 30,
        artifact_bytes_max: 64 << 20,
    }
}

fn bombs_end() {
    let limits = limits();
    // The first sandbox of a process starts what later ones share.
    let honest = load(&component(&[]), child("compile", limits.clone()), None);
    assert_eq!(honest.end(), "compiled", "{}", honest.text());
    give_back();
    let before = resident_bytes();
    println!(
        "{:<18} {:>10} {:>8} {:>9}  end",
        "bomb", "bytes", "s", "host MiB"
    );
    for (name, make, ends) in BOMBS {
        let bytes = make();
        let loaded = load(&bytes, child("compile", limits.clone()), None);
        let took = loaded.compiled.unwrap();
        let size = bytes.len();
        drop(bytes);
        let grown = settled(before);
        println!(
            "{name:<18} {size:>10} {:>8.2} {:>9.1}  {}",
            took.as_secs_f64(),
            grown as f64 / f64::from(1 << 20),
            loaded.text()
        );
        assert!(ends.contains(&loaded.end()), "{name}: {}", loaded.text());
        assert!(
            took.as_millis() <= u128::from(limits.wall_ms_max) + 2_000,
            "{name}: {took:?}"
        );
        assert!(
            grown <= RESIDENT_BYTES_MAX,
            "{name}: the host grew by {grown} bytes"
        );
    }
}

/// What is taken beyond `before`, once the thread that fed the child has ended: on a busy machine that takes a moment.
fn settled(before: u64) -> u64 {
    let look = || {
        give_back();
        resident_bytes().saturating_sub(before)
    };
    for _ in 0..LOOKS_MAX {
        if look() <= RESIDENT_BYTES_MAX {
            break;
        }
        std::thread::yield_now();
    }
    look()
}

fn memory_is_named() {
    let limits = CompileLimits {
        memory_bytes_max: 96 << 20,
        ..CompileLimits::default()
    };
    let loaded = load(&locals_in_loops(), child("compile", limits), None);
    assert_eq!(loaded.end(), "limit/compile-memory", "{}", loaded.text());
}

fn output_is_named() {
    let limits = CompileLimits {
        artifact_bytes_max: 1 << 10,
        ..CompileLimits::default()
    };
    let loaded = load(&component(&[]), child("compile", limits), None);
    assert_eq!(loaded.end(), "limit/compile-output", "{}", loaded.text());
}

/// What was freed goes back to the system: glibc keeps up to 64 MiB of it, how much is a matter of what was freed before.
#[cfg_attr(
    target_env = "gnu",
    allow(unsafe_code, reason = "there is no safe name for it")
)]
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes nothing that is in use, from whichever thread it is called.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// A component with the exports that are looked for before compiling, and these modules, which nothing uses.
pub(crate) fn component(modules: &[Module]) -> Vec<u8> {
    let mut component = Component::new();
    for module in modules {
        component.section(&ModuleSection(module));
    }
    finish(component)
}

fn finish(mut component: Component) -> Vec<u8> {
    let mut instances = ComponentInstanceSection::new();
    instances.export_items::<&str, [(&str, ComponentExportKind, u32); 0]>([]);
    component.section(&instances);
    let mut exports = ComponentExportSection::new();
    for name in ["odibi:node/planning@0.2.0", "odibi:node/execution@0.2.0"] {
        exports.export(name, ComponentExportKind::Instance, 0, None);
    }
    component.section(&exports);
    component.finish()
}

/// One function, or the same function many times; exported, so that it is not left out.
fn module(functions: u32, function: &Function) -> Module {
    let mut module = Module::new();
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], []);
    let (mut declared, mut code) = (FunctionSection::new(), CodeSection::new());
    for _ in 0..functions {
        declared.function(0);
        code.function(function);
    }
    let mut exports = wasm_encoder::ExportSection::new();
    exports.export("f", ExportKind::Func, 0);
    let mut memories = MemorySection::new();
    memories.memory(memory(1));
    (module.section(&types).section(&declared).section(&memories))
        .section(&exports)
        .section(&code);
    module
}

fn memory(minimum: u64) -> MemoryType {
    MemoryType {
        minimum,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    }
}

fn one(locals: u32, body: &[u8]) -> Vec<u8> {
    let mut function = Function::new([(locals, ValType::I32)]);
    function.raw(body.iter().copied()).instructions().end();
    component(&[module(1, &function)])
}

/// An instruction with an index.
fn indexed(opcode: u8, mut index: u32, to: &mut Vec<u8>) {
    to.push(opcode);
    while index >= 0x80 {
        to.push(u8::try_from(index & 0x7f).unwrap() | 0x80);
        index >>= 7;
    }
    to.push(u8::try_from(index).unwrap());
}

const LOCAL_GET: u8 = 0x20;
const LOCAL_SET: u8 = 0x21;
const I32_CONST: u8 = 0x41;
const I32_STORE: u8 = 0x36;
const ADD: u8 = 0x6a;
const ROTATE: u8 = 0x77;
const END: u8 = 0x0b;

fn too_many_locals() -> Vec<u8> {
    one(100_000, &[])
}

/// Every local changes inside of thousands of loops, so that each loop has 50,000 values to merge.
fn locals_in_loops() -> Vec<u8> {
    const LOOPS: usize = 5_000;
    let mut body = [0x03, 0x40].repeat(LOOPS);
    for local in 1..LOCALS {
        indexed(LOCAL_GET, local - 1, &mut body);
        indexed(LOCAL_GET, local, &mut body);
        body.push(ADD);
        indexed(LOCAL_SET, local, &mut body);
    }
    // Back to the beginning of the loop, should local 0 not be 0.
    body.extend([LOCAL_GET, 0, 0x0d, 0, END].repeat(LOOPS));
    one(LOCALS, &body)
}

/// What takes all the time that it is given.
pub(crate) fn slow() -> Vec<u8> {
    straight_line()
}

/// Tables of 60,000 targets, one after the other.
fn branch_tables() -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < BODY_BYTES - 70_000 {
        // block; local.get 0; br_table
        body.extend([0x02, 0x40, LOCAL_GET, 0]);
        indexed(0x0e, 60_000, &mut body);
        body.extend(std::iter::repeat_n(0, 60_001));
        body.push(END);
    }
    one(0, &body)
}

fn nested_blocks() -> Vec<u8> {
    let depth = BODY_BYTES / 3;
    let mut body = [0x02, 0x40].repeat(depth);
    body.extend(std::iter::repeat_n(END, depth));
    one(0, &body)
}

/// One block of code without end, where every value depends on others far away.
fn straight_line() -> Vec<u8> {
    let mut body = Vec::new();
    for local in 1..LOCALS {
        body.extend([LOCAL_GET, 0]);
        indexed(LOCAL_GET, local - 1, &mut body);
        body.push(ROTATE);
        indexed(LOCAL_SET, local, &mut body);
    }
    let mut local = 1_u32;
    while body.len() < BODY_BYTES - 10 * LOCALS as usize {
        indexed(LOCAL_GET, local, &mut body);
        indexed(LOCAL_GET, local.wrapping_mul(7_919) % LOCALS, &mut body);
        body.push(ROTATE);
        indexed(LOCAL_SET, local.wrapping_mul(104_729) % LOCALS, &mut body);
        local = local % (LOCALS - 1) + 1;
    }
    // Without an effect it would all be left out.
    for local in 1..LOCALS {
        body.extend([I32_CONST, 0]);
        indexed(LOCAL_GET, local, &mut body);
        body.extend([I32_STORE, 2, 0]);
    }
    one(LOCALS, &body)
}

fn many_functions() -> Vec<u8> {
    let mut function = Function::new([]);
    function.instructions().end();
    component(&[module(900_000, &function)])
}

fn many_modules() -> Vec<u8> {
    let mut function = Function::new([]);
    function.instructions().end();
    let modules: Vec<Module> = (0..900).map(|_| module(200, &function)).collect();
    component(&modules)
}

fn nested_components() -> Vec<u8> {
    let mut inner = Component::new();
    for _ in 0..2_000 {
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&inner));
        inner = outer;
    }
    let mut outer = Component::new();
    outer.section(&NestedComponentSection(&inner));
    finish(outer)
}

/// Each type is a pair of the one before: 2^64 fields in 64 lines.
fn doubling_types() -> Vec<u8> {
    let mut component = Component::new();
    let mut types = ComponentTypeSection::new();
    types.defined_type().primitive(PrimitiveValType::U8);
    for index in 0..64 {
        let inner = ComponentValType::Type(index);
        types.defined_type().tuple([inner, inner]);
    }
    component.section(&types);
    finish(component)
}

/// One byte at either end of 4 GiB of memory.
fn sparse_data() -> Vec<u8> {
    let mut module = Module::new();
    let mut memories = MemorySection::new();
    memories.memory(memory(65_536));
    let mut data = DataSection::new();
    for at in [0, -1] {
        data.active(0, &wasm_encoder::ConstExpr::i32_const(at), [1]);
    }
    module.section(&memories).section(&data);
    component(&[module])
}
