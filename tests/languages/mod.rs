//! Components in every language: the projects that `curfew new` writes, the samples as one app, and what is hard about
//! large ones.

mod app;
mod new;
