//! The documents of the OCI runtime-spec 1.3 as plain data.
//!
//! Every struct here mirrors one object of the specification; a field is the
//! property of the same name (`camelCase` in JSON), so the specification is
//! their documentation. A property that may be absent is an `Option`, a `Vec`
//! or a map; `null` counts as absent, as it does for Go's decoder, whose
//! encoders write `null` for an empty list. Unknown properties are skipped
//! (config.md, "Extensibility").
//!
//! Names that the specification leaves open to future kernels (capabilities,
//! rlimits, mount options) stay strings here and are judged by the runtime,
//! which knows whether an unknown one is an error or a warning.

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic where nobody reads")]

mod config;
mod document;
mod features;
mod linux;
mod load;
mod locate;
mod resources;
mod seccomp;
mod state;

pub use config::*;
pub use features::*;
pub use linux::*;
pub use load::*;
pub use resources::*;
pub use seccomp::*;
pub use state::*;

/// The version of the runtime-spec that these types describe.
pub const VERSION: &str = "1.3.0";
