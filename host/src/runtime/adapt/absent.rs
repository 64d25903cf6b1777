//! A build without the feature `adapt`: core modules with an embedded world are refused.

use std::fmt;

use crate::runtime::Refusal;
use crate::runtime::module::CoreModule;

/// The adaptation of a core module. There is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adaptation {}

impl fmt::Display for Adaptation {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

pub(crate) const MADE_BY: &str = "none";

pub(crate) fn plan(_: &[u8], _: &CoreModule) -> Result<Adaptation, Refusal> {
    Err(Refusal::new(
        "it is a core module with an embedded world, and this build of curfew makes no components of them: it lacks the \
         feature `adapt`",
        "make a component of it: `wasm-tools component new IN.wasm -o OUT.wasm`, with `--adapt` and wasmtime's adapter \
         where it imports WASI preview 1",
    ))
}

pub(crate) fn adapt(_: &[u8], adaptation: Adaptation) -> Result<Vec<u8>, Refusal> {
    match adaptation {}
}

pub(crate) fn world_exports(_: &[u8], _: impl Fn(&str) -> bool) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_with_a_world_is_refused_with_what_to_do() {
        let refusal = plan(b"", &CoreModule::default()).unwrap_err();
        assert!(refusal.found.contains("`adapt`"), "{refusal:?}");
        assert!(refusal.hint.contains("wasm-tools component new"), "{refusal:?}");
    }
}
