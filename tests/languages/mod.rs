//! Components in every language: the projects that `curfew new` writes, the samples as one app, what is hard about
//! large ones, and what other toolchains build.

mod app;
mod first_steps;
mod new;
