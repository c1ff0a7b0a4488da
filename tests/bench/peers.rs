//! odibi's interface against the one that other systems with sandboxed functions use: a whole Arrow IPC stream in a list of
//! bytes goes in with each call, and one comes back. The kernels, the component, the engine's settings and the table are
//! the same; what differs is what crosses, and how.
//!
//! `cargo bench -p odibi-tests --bench peers`; `-- --rows 200000 --rounds 3` makes it short. Time is CPU time of the one
//! thread that does the work, both sides take turns, and a ratio belongs to one round.

#![allow(clippy::print_stdout, reason = "the table is the result")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark is told by its environment what to try"
)]

mod cpu;
mod measure;
mod noise;
mod shared;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use odibi_bench_kernels::peer::{decode, encode};
use odibi_run::port::Session;
use wasmtime::component::{Component, Linker, TypedFunc};
use wasmtime::{Config, Engine, Store, StoreContextMut};

use cpu::cpu_nanos;
use measure::Spread;
use shared::{Arguments, Kernel, batches, component, name, open, per, sandbox};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH_ROWS: usize = 65_536;
/// How much faster odibi's interface must be.
const TARGET: f64 = 2.0;

type Call = TypedFunc<(String, Vec<u8>), (Result<Vec<u8>, String>,)>;

fn main() {
    let Some(Arguments {
        rows,
        rounds,
        kernels,
    }) = Arguments::read()
    else {
        println!("peers: nothing is measured without `cargo bench`");
        return;
    };
    let batches = batches(rows, BATCH_ROWS);
    let (sandbox, mut peer) = (sandbox(), Peer::start());
    println!(
        "{rows} rows in batches of {BATCH_ROWS}, {rounds} rounds, CPU time of one thread, median (min-max)"
    );
    println!(
        "{:<10} {:>22}  {:>22}  {:>20}  target",
        "kernel", "stream ns/row", "odibi ns/row", "stream / odibi"
    );
    for kernel in kernels {
        let mut session = open(&sandbox, kernel);
        agree(kernel, &mut peer, session.as_mut(), &batches);
        let mut costs = Vec::with_capacity(rounds);
        for round in 0..rounds {
            let mut theirs =
                || cpu_nanos(|| batches.iter().for_each(|b| drop(peer.call(kernel, b))));
            let mut ours = || {
                cpu_nanos(|| {
                    batches
                        .iter()
                        .for_each(|b| drop(process(session.as_mut(), b)))
                })
            };
            let (theirs, ours) = if round.is_multiple_of(2) {
                let theirs = theirs();
                (theirs, ours())
            } else {
                let ours = ours();
                (theirs(), ours)
            };
            costs.push((theirs / rows as f64, ours / rows as f64));
        }
        let ratio = Spread::of(costs.iter().map(|c| c.0 / c.1));
        println!(
            "{:<10} {:>22}  {:>22}  {:>20}  >= {TARGET}: {}",
            name(kernel),
            Spread::of(costs.iter().map(|c| c.0)).show(1),
            Spread::of(costs.iter().map(|c| c.1)).show(1),
            ratio.show(2),
            if ratio.median >= TARGET {
                "met"
            } else {
                "missed"
            },
        );
    }
    println!(
        "{:.1} bytes a row",
        per(batches.iter().map(shared::bytes).sum(), rows)
    );
}

fn process(session: &mut dyn Session, batch: &RecordBatch) -> Vec<RecordBatch> {
    let mut out = Vec::new();
    session.process(0, batch, &mut out).unwrap();
    out
}

/// Both sides take a first pass, must agree on it, and are then warm.
fn agree(kernel: Kernel, peer: &mut Peer, session: &mut dyn Session, batches: &[RecordBatch]) {
    for batch in batches {
        let (theirs, ours) = (peer.call(kernel, batch), process(session, batch));
        match theirs {
            None => assert!(ours.is_empty(), "{kernel:?}"),
            Some(theirs) => {
                let ours = concat_batches(ours[0].schema_ref(), &ours).unwrap();
                assert_eq!(ours.columns(), theirs.columns(), "{kernel:?}");
            }
        }
    }
}

/// The other interface.
struct Peer {
    store: Store<()>,
    call: Call,
}

impl Peer {
    fn start() -> Self {
        // As in `odibi-sandbox`: what is compared is the interface.
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .concurrency_support(false)
            .epoch_interruption(true)
            .memory_may_move(false);
        let engine = Engine::new(&config).unwrap();
        let component =
            Component::from_binary(&engine, &component().bytes.plain().unwrap()).unwrap();
        let mut linker: Linker<()> = Linker::new(&engine);
        // Hash maps ask for a seed; nothing else is called on this path.
        let kind = component.component_type();
        for (import, _) in kind.imports(&engine) {
            if import.starts_with("wasi:random/insecure-seed@") {
                let mut interface = linker.instance(import).unwrap();
                let seed = |_: StoreContextMut<'_, ()>, (): ()| Ok(((7_u64, 11_u64),));
                interface.func_wrap("insecure-seed", seed).unwrap();
            }
        }
        linker.allow_shadowing(true);
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = linker.instantiate(&mut store, &component).unwrap();
        let call = instance.get_typed_func(&mut store, "call").unwrap();
        Self { store, call }
    }

    fn call(&mut self, kernel: Kernel, batch: &RecordBatch) -> Option<RecordBatch> {
        let params = (name(kernel).to_owned(), encode(batch).unwrap());
        let (answer,) = self.call.call(&mut self.store, params).unwrap();
        let bytes = answer.unwrap();
        (!bytes.is_empty()).then(|| decode(&bytes).unwrap())
    }
}
