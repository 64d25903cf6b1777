//! Core modules for WASI preview 1 that run as they are, without the component model: the functions that they can import, and
//! what `check` says of them.
//!
//! Such a program has no hook and hears of no stop. It has no sockets of its own, no requests and no configuration: WASI
//! preview 1 has no functions for them.

use wasmtime::{Engine, Linker, Module, Result};
use wasmtime_wasi::{I32Exit, p1};

use super::module::PREVIEW_1;
use super::{Import, ImportState, State};
use crate::plan::ComponentPlan;

/// Returns all functions of WASI preview 1. The state of a program, not the linker, decides what it may do with them.
pub(super) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    p1::add_to_linker_async(&mut linker, State::preview_1)?;
    // wasmtime's own traps at statuses above 125.
    linker.allow_shadowing(true);
    linker.func_wrap(PREVIEW_1, "proc_exit", |code: u32| -> Result<()> { Err(exit(code)) })?;
    Ok(linker)
}

/// Returns the error by which a guest leaves with a status.
pub(super) fn exit(code: u32) -> wasmtime::Error {
    // No system has statuses that are larger.
    I32Exit(i32::try_from(code).unwrap_or(i32::MAX)).into()
}

/// Returns the imports of a program that need a grant, and the name of all the others.
pub(super) fn imports(module: &Module, plan: &ComponentPlan) -> Vec<Import> {
    let grants = [("path_open", "dirs", !plan.dirs.is_empty()), ("fd_read", "stdin", plan.stdin)];
    let needed = |function: &str| module.imports().any(|import| import.name() == function);
    let missing = grants.into_iter().filter(|(function, _, granted)| !granted && needed(function));
    let missing = missing.map(|(function, key, _)| Import {
        name: format!("{PREVIEW_1} {function}"),
        state: ImportState::NotGranted(key),
    });
    let all =
        module.imports().next().map(|_| Import { name: PREVIEW_1.to_owned(), state: ImportState::Given });
    all.into_iter().chain(missing).collect()
}

/// Returns the keys of a plan that grant a program what it cannot use.
pub(super) fn unusable(plan: &ComponentPlan) -> Vec<&'static str> {
    let network = &plan.network;
    let has_network =
        network.all || network.names || !network.listen.is_empty() || !network.connect.is_empty();
    let keys = [
        ("network", has_network),
        ("outbound-http", !plan.outbound_http.is_empty()),
        ("config", !plan.config.is_empty()),
    ];
    keys.into_iter().filter(|(_, granted)| *granted).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::runtime::module::FUNCTIONS;
    use crate::runtime::{Runtime, RuntimeOptions};

    #[test]
    fn all_functions_are_named_and_there() {
        let options = RuntimeOptions { cache: None, interruptible: true, kinds: Vec::new() };
        let runtime = Runtime::new(options).unwrap();
        let imports: String =
            FUNCTIONS.iter().map(|name| format!("(import \"{PREVIEW_1}\" \"{name}\" (func))")).collect();
        let compiled = |text: String| Module::new(&runtime.engine, wat::parse_str(text).unwrap()).unwrap();
        let module = compiled(format!("(module {imports})"));
        let named: BTreeSet<_> = module.imports().map(|import| import.name().to_owned()).collect();
        assert_eq!(named.len(), FUNCTIONS.len());
        let definitions = linker(&runtime.engine).unwrap();
        for import in module.imports() {
            let text = format!("(module (import \"{PREVIEW_1}\" \"{}\" (func (param f64))))", import.name());
            let only = compiled(text);
            let error = format!("{:?}", definitions.instantiate_pre(&only).map(drop).unwrap_err());
            assert!(error.contains("incompatible import type"), "{error}");
        }
    }
}
