//! The paths of the guest components that the build script has built, one constant a guest; and the projects in
//! other languages, which are built when they are asked for.

mod environment;
mod project;
mod script;

pub use project::{Language, Project};
pub use script::{Script, blocks};

include!(concat!(env!("OUT_DIR"), "/paths.rs"));
