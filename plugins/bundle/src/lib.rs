//! The first-party components, built for wasm32-wasip2 and embedded in the binary.

/// A component and what is known of it at build time.
#[derive(Debug, Clone, Copy)]
pub struct Component {
    /// Name of the plugin.
    pub name: &'static str,
    /// The component, compressed with zstd.
    pub packed: &'static [u8],
    /// Length of the component.
    pub bytes: u64,
    /// SHA-256 of the component, hex.
    pub digest: &'static str,
    /// The manifest: what `describe` returns, held equal by a test.
    pub manifest: &'static str,
}

/// All of them. A bare operation name is looked up in this order.
pub const COMPONENTS: &[Component] = include!(concat!(env!("OUT_DIR"), "/components.rs"));

/// What the compiler is told for each component.
///
/// SIMD takes a fifth to a quarter off arithmetic. A guest looks at the epoch in every turn of every loop, and keeps fewer
/// values in registers for it (without: aggregate 1.8): unrolled loops do so less often. Measured with the benchmark
/// `boundary`, sandboxed by native: filter 1.30 to 1.25, derive 2.0 to 1.8, aggregate 3.3 to 3.1, for components half as
/// large again.
pub const GUEST_RUSTFLAGS: &str = include_str!("../guest.rustflags").trim_ascii_end();
