//! What a run tells the outside: alerts, lineage events, traces and metrics.
//!
//! Nothing here changes what a run does or how it ends. Addresses are secrets: no message holds one, and what a receiver
//! answers is not shown.

pub mod alerts;
mod client;
pub mod lineage;
mod sign;
pub mod telemetry;
#[cfg(test)]
mod testing;

pub use alerts::{Sender, Settled, Terms, send_once};
pub use client::Network;
