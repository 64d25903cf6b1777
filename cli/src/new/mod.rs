//! Projects for component authors: what `curfew new` writes.
//!
//! The samples in `guest-components/` are the templates: a project is a copy of one under another name, so what is
//! built and drilled in our tests is what users get.

pub(crate) mod command;
mod create;
mod files;
mod name;
mod template;

pub use create::{NewError, create};
pub use files::TEMPLATES;
pub use name::{NameError, ProjectName};
pub use template::{Language, ProjectKind, Template, Unavailable, find};
