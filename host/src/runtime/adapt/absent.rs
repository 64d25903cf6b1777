//! A build without the feature `adapt`: core modules are refused.

use std::fmt;

use wasmparser::Parser;

use crate::runtime::Refusal;

/// The adaptation of a core module. There is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adaptation {}

impl fmt::Display for Adaptation {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

pub(crate) const MADE_BY: &str = "none";

pub(crate) fn plan(bytes: &[u8]) -> Result<Option<Adaptation>, Refusal> {
    if !Parser::is_core_wasm(bytes) {
        return Ok(None);
    }
    Err(Refusal::new(
        "it is a core module, and this build of curfew runs components only: it lacks the feature `adapt`",
        "make a component of it: `wasm-tools component new IN.wasm -o OUT.wasm`, with `--adapt` and wasmtime's adapter \
         where it imports WASI preview 1; or build it for `wasm32-wasip2`",
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
    fn a_core_module_is_refused_with_what_to_do() {
        assert_eq!(plan(b"\0asm\x0d\0\x01\0"), Ok(None), "a component");
        let refusal = plan(b"\0asm\x01\0\0\0").unwrap_err();
        assert!(refusal.found.contains("`adapt`"), "{refusal:?}");
        assert!(refusal.hint.contains("wasm-tools component new"), "{refusal:?}");
    }
}
