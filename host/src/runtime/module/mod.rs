//! Core modules: their facts, the form in which they run, and the refusals of those that cannot.

mod core_module;
mod diagnosis;
mod form;
mod preview_1;

pub(crate) use core_module::CoreModule;
pub(crate) use form::Form;
#[cfg(feature = "adapt")]
pub(crate) use form::damaged;
pub(crate) use preview_1::{FUNCTIONS, PREVIEW_1, START};
