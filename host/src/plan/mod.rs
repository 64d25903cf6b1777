//! From what the user wrote to a checked [`Plan`]: defaults, cross-key checks, messages. Opens nothing but
//! the manifest itself, and knows neither wasmtime nor clap.

pub mod address;
mod budget;
mod checks;
mod compatible;
mod error;
mod from_files;
mod http;
mod json_schema;
pub mod keys;
mod manifest;
pub mod names;
mod order;
mod origin;
mod overrides;
mod pattern;
mod peer;
mod problem;
mod read;
mod route;
mod scalar;
pub mod schema;
mod syntax;
mod types;

pub use compatible::Diff;
pub use error::{Diagnostic, PlanError, PlanErrorKind};
pub use from_files::Bare;
pub use http::*;
pub use json_schema::json_schema;
pub use manifest::DEFAULT_MANIFEST;
pub use origin::{Origin, OriginHost, OriginPort, parse_origin};
pub use overrides::Overrides;
pub use route::{Route, RouteHost, RouteTable, parse_route};
pub use types::*;
