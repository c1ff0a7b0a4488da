//! The first-party components, built for wasm32-wasip2 and embedded in the binary.

/// A component and what is known of it at build time.
#[derive(Debug, Clone, Copy)]
pub struct Component {
    /// Name of the plugin.
    pub name: &'static str,
    /// The bytes of the component.
    pub wasm: &'static [u8],
    /// SHA-256 of the bytes, hex.
    pub digest: &'static str,
    /// The manifest: what `describe` returns, held equal by a test.
    pub manifest: &'static str,
}

/// All of them. A bare operation name is looked up in this order.
pub const COMPONENTS: &[Component] = include!(concat!(env!("OUT_DIR"), "/components.rs"));

/// What the compiler is told for each component: see [`flags.rs`](../flags.rs), which the build script shares.
pub const GUEST_RUSTFLAGS: &str = include!("../flags.rs");
