//! From a manifest or a command line to a checked [`Plan`]. Opens nothing but the manifest, and knows neither wasmtime nor clap.

pub mod address;
mod budget;
mod checks;
mod command_line;
mod compatible;
mod declare;
mod error;
mod json_schema;
pub mod keys;
mod manifest;
mod meant;
pub mod names;
mod order;
mod origin;
mod read;
mod resolved;
mod route;
mod scalar;
pub mod schema;
mod section;

pub use address::{ListenAddress, Peer, PeerHost};
pub use command_line::{Bare, Overrides};
pub(crate) use error::in_lines;
pub use error::{Diagnostic, KeyPlaces, ManifestPlace, PlanError};
pub use json_schema::json_schema;
pub use keys::*;
pub use manifest::{DEFAULT_MANIFEST, ManifestReading};
pub use order::{Needs, all_waves, reversed};
pub use origin::{Origin, OriginHost, OriginPort, parse_origin};
pub use resolved::{KindDefaults, Resolved};
pub use route::{Route, RouteHost, RouteTable, parse_route};

pub(in crate::plan) use address::*;
pub(in crate::plan) use budget::time_to_go;
pub(in crate::plan) use declare::{Table, count, fallback, joined, table, words};
pub(in crate::plan) use error::{Problem, Span};
pub(in crate::plan) use names::*;
pub(in crate::plan) use order::waves;
pub(in crate::plan) use schema::*;
pub(in crate::plan) use section::*;
