//! Projects for component authors: what `curfew new` writes.
//!
//! The samples in `guest-components/` are the templates: a project is a copy of one under another name, so what is
//! built and drilled in our tests is what users get.

mod create;
mod templates;

pub(crate) use create::{NewError, ProjectName, create, find};
pub use templates::{Language, ProjectKind, TEMPLATES, Template};
