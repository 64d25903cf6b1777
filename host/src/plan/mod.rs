//! From what the user wrote to a checked [`Plan`]: defaults, cross-key checks, messages. Opens nothing but
//! the manifest itself, and knows neither wasmtime nor clap.

pub mod address;
mod checks;
mod error;
mod files;
pub mod keys;
mod manifest;
pub mod names;
mod overrides;
mod problem;
mod read;
mod scalar;
pub mod schema;
mod syntax;
mod types;
pub mod units;

pub use error::{Diagnostic, PlanError, PlanErrorKind};
pub use manifest::DEFAULT_MANIFEST;
pub use overrides::Overrides;
pub use types::*;
