//! The commands, one module for each or for those that belong together: `control` has `status`, `stop`, `reload` and
//! `restart`, `check` has `inspect`, `manual` has `schema`, `completions` and `man`.

pub(crate) mod check;
pub(crate) mod control;
pub(crate) mod drill;
pub(crate) mod manual;
pub(crate) mod new;
pub(crate) mod run;
