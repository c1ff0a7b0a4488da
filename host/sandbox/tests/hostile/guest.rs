//! The hostile component and what every test of it needs: built, spoilt, resolved, fed.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use odibi_plan::GuestLimits;
use odibi_plan::plan::OperationRef;
use odibi_run::port::{Cancel, Operation, SessionContext, Transforms as _};
use odibi_sandbox::Sandbox;
use odibi_story::failure::Failure;

/// Where the tests keep things between runs.
pub(crate) fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The hostile component, built once for a run of the tests.
pub(crate) fn component() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| table_grows(build("hostile", &[])))
}

/// Builds it in a target directory of that name.
pub(crate) fn build(dir: &str, arguments: &[&str]) -> Vec<u8> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hostile/Cargo.toml");
    // Cargo does not tell the components of two checkouts apart.
    let checkout = BuildHasherDefault::<DefaultHasher>::default().hash_one(&manifest);
    let target = scratch().join(format!("{dir}-{checkout:016x}"));
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--target", "wasm32-wasip2"])
        .args([
            "--manifest-path".as_ref(),
            manifest.as_os_str(),
            "--target-dir".as_ref(),
            target.as_os_str(),
        ])
        .args(arguments)
        // Flags for the host, such as those of a coverage run, are wrong for the guest.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status();
    assert!(
        built.unwrap().success(),
        "the hostile component does not build"
    );
    std::fs::read(target.join("wasm32-wasip2/release/odibi_hostile.wasm")).unwrap()
}

/// Rust has no way to grow a table. The attack `table` holds a `memory.grow` by `0x0badcafe` pages, in eight bytes;
/// these become a `table.grow` by 8,000 null functions.
pub(crate) fn table_grows(bytes: Vec<u8>) -> Vec<u8> {
    let memory = [0x41, 0xfe, 0x95, 0xb7, 0xdd, 0x00, 0x40, 0x00];
    let table = [0xd0, 0x70, 0x41, 0xc0, 0x3e, 0xfc, 0x0f, 0x00];
    overwritten(&bytes, &memory, &table)
}

/// A component like this one, with some bytes overwritten by as many others wherever they stand.
#[track_caller]
pub(crate) fn overwritten(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let at: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|at| bytes[*at..].starts_with(from))
        .collect();
    assert!(!at.is_empty(), "{from:x?} is not in the component");
    at.into_iter()
        .for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
    bytes
}

pub(crate) fn resolve(
    sandbox: &Sandbox,
    plugin: Option<&str>,
    name: &str,
) -> Result<Arc<dyn Operation>, Failure> {
    resolve_under(sandbox, plugin, name, &GuestLimits::default())
}

pub(crate) fn resolve_under(
    sandbox: &Sandbox,
    plugin: Option<&str>,
    name: &str,
    limits: &GuestLimits,
) -> Result<Arc<dyn Operation>, Failure> {
    let reference = OperationRef {
        plugin: plugin.map(str::to_owned),
        name: name.to_owned(),
    };
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(sandbox.resolve(&reference, limits))
}

/// `id` without nulls, `name` with one.
pub(crate) fn table(rows: i64) -> RecordBatch {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
    ];
    let ids = Int64Array::from_iter_values(0..rows);
    let names: StringArray = (0..rows)
        .map(|i| (i % 7 != 3).then(|| format!("name {i}")))
        .collect();
    RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        vec![Arc::new(ids) as ArrayRef, Arc::new(names)],
    )
    .unwrap()
}

pub(crate) fn context(cancel: Cancel) -> SessionContext {
    SessionContext {
        sensitive: std::sync::Arc::default(),
        run_id: "run".into(),
        pipeline: "pipeline".into(),
        node: "node".into(),
        step: 0,
        searching: false,
        memory: odibi_run::MemoryBudget::default(),
        partition: 0,
        partitions: 1,
        attempt: 1,
        logical_time: "2024-02-29T12:34:56.789Z".parse().unwrap(),
        cancel,
    }
}
