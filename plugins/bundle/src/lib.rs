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

/// What the compiler is told for each component: SIMD takes a fifth to a quarter off arithmetic.
pub const GUEST_RUSTFLAGS: &str = include_str!("../guest.rustflags").trim_ascii_end();
