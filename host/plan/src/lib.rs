//! YAML to `Project` to `Plan`. Pure and synchronous: no files, no clock, no environment of its own.
//!
//! ```text
//! text ── yaml::parse ──► Tree ── config::check ──► Project ── plan::plan ──► Plan
//! ```
//! No phase fails: each returns what it could make and the [`Diagnostic`]s of what it could not.

pub mod config;
pub mod diagnostic;
pub mod graph;
pub mod guest_limits;
pub mod limits;
pub mod operation;
pub mod plan;
pub mod redact;
pub mod secret;
pub mod yaml;

pub use config::{Project, load};
pub use diagnostic::{Code, Diagnostic, FileId, Label, Severity, Sources, Span};
pub use graph::Selection;
pub use guest_limits::{GuestLimit, GuestLimits};
pub use operation::{Manifest, Operations};
pub use plan::Plan;
pub use redact::Redactor;
pub use secret::{Secret, SecretRef};
