//! The wasmtime engine: which proposals a guest may use, and the ticker that lets a looping guest be stopped.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::thread;
use std::time::Duration;

use odibi_story::failure::{Failure, FailureClass};
use wasmtime::{Config, Engine, EngineWeak, OptLevel};

/// How often the epoch moves on: a stopped guest stops within two of these.
pub const TICK: Duration = Duration::from_millis(10);

/// Wasm stack of one call. Sync calls use the thread's own stack, so a thread that calls a guest needs a good deal more.
pub(crate) const WASM_STACK_BYTES_MAX: usize = 512 << 10;

/// What could be otherwise. Only for the benchmark `settings`, which shows why it is as it is.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// How often the epoch moves on.
    pub tick: Duration,
    /// Is the first content of a memory mapped from the artifact, and copied page by page where it is written?
    pub copy_on_write: bool,
}

/// An engine with its ticker running.
///
/// # Errors
/// `Internal` when this machine cannot run the engine or start a thread.
pub(crate) fn start() -> Result<Engine, Failure> {
    run(&config(), TICK)
}

/// As [`start`], with other settings.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_tuned(tuning: Tuning) -> Result<Engine, Failure> {
    let mut config = config();
    config.memory_init_cow(tuning.copy_on_write);
    run(&config, tuning.tick)
}

/// As [`start`]; the engine counts the work of its guests, and gives the same floating-point bits on every machine.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_metered() -> Result<Engine, Failure> {
    run(&metered_config(), TICK)
}

fn run(config: &Config, every: Duration) -> Result<Engine, Failure> {
    let engine = Engine::new(config).map_err(|e| internal(&format!("{e:#}")))?;
    let weak = engine.weak();
    thread::Builder::new()
        .name("odibi-epoch".to_owned())
        .stack_size(128 << 10)
        .spawn(move || tick(&weak, every))
        .map_err(|e| internal(&e.to_string()))?;
    Ok(engine)
}

/// Every kind of settings that an engine of ours may have.
const SETTINGS: [fn() -> Config; 2] = [config, metered_config];

/// An engine that only compiles, for the engine whose [`settings_hash`] is given; `None` when this program has none such.
pub(crate) fn compiling(settings_hash: u64) -> Option<Engine> {
    SETTINGS
        .iter()
        .filter_map(|settings| Engine::new(&settings()).ok())
        .find(|engine| self::settings_hash(engine) == settings_hash)
}

/// Stands for everything that an artifact depends on besides the component: settings, processor, version of wasmtime.
pub(crate) fn settings_hash(engine: &Engine) -> u64 {
    let mut hash = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hash);
    hash.finish()
}

/// An OS thread of its own: a task of a busy async runtime would stop ticking exactly when it is needed.
fn tick(engine: &EngineWeak, every: Duration) {
    while let Some(engine) = engine.upgrade() {
        engine.increment_epoch();
        drop(engine);
        thread::sleep(every);
    }
}

/// Changing any of this changes the compatibility hash, so stored artifacts are compiled again.
fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES_MAX)
        .parallel_compilation(true)
        .cranelift_opt_level(OptLevel::Speed)
        // Traces name functions, not places in them, and wasmtime unwinds by itself: these would be a sixth of an artifact.
        .generate_address_map(false)
        .native_unwind_info(false)
        .memory_init_cow(true)
        .memory_may_move(false);
    // Each proposal is attack surface; Rust guests need none of these.
    config
        .shared_memory(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    config
}

/// Fuel is the only count that is the same on every machine. The epoch stays: it is what stops a guest.
fn metered_config() -> Config {
    let mut config = config();
    config
        .consume_fuel(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true);
    config
}

fn internal(why: &str) -> Failure {
    Failure::new(
        FailureClass::Internal,
        "internal/engine",
        format!("the sandbox engine cannot start: {why}"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_compiling_engine_is_found_by_the_settings_of_a_running_one() {
        let hash = settings_hash(&start().unwrap());
        let found = compiling(hash).map(|engine| settings_hash(&engine));
        assert_eq!(found, Some(hash));
        assert!(compiling(hash ^ 1).is_none());
    }

    #[test]
    fn engine_starts_and_its_ticker_ends_with_it() {
        let engine = start().unwrap();
        let weak = engine.weak();
        drop(engine);
        // The ticker holds a strong reference only for an instant.
        while weak.upgrade().is_some() {
            thread::yield_now();
        }
    }
}
