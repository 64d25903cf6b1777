//! Core modules become components while they are loaded: wasmtime's adapters translate WASI preview 1.
//!
//! Invariant, for the cache: the same module always becomes the same component, which depends on [`MADE_BY`] only.

use std::fmt;
use std::panic::{UnwindSafe, catch_unwind};
use std::sync::LazyLock;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW_1, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Parser, Payload, Validator, WasmFeatures};
use wit_component::ComponentEncoder;
use wit_component::metadata::{self, Bindgen};

use super::core_module::Module;
use super::sections::{Change, rewrite};
use super::{adapter_memory, diagnosis, exit_code};
use crate::runtime::Refusal;
use crate::runtime::diagnose::CALLED;

/// The tools that make components of modules. The last number grows when this folder makes another component of a module that
/// could be adapted before.
pub(crate) const MADE_BY: &str = "wit-component 0.254.2, adapters 48.0.8, own changes 7";

const START: &str = "_start";
const MEMORY: &str = "memory";

/// The way in which a core module becomes a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adaptation {
    /// It is a program: its `_start` becomes `wasi:cli/run`.
    Command,
    /// It exports what its embedded world says.
    Reactor,
    /// Both: a program that exports more, its hook for instance.
    CommandWithWorld,
}

impl fmt::Display for Adaptation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "a core module with `_start`, adapted as a WASI preview-1 command",
            Self::Reactor => "a core module with an embedded world, adapted as a WASI preview-1 reactor",
            Self::CommandWithWorld => {
                "a core module with `_start` and an embedded world, adapted as a WASI preview-1 command"
            }
        })
    }
}

/// Returns the way in which a file becomes a component, `None` if it is one. Reads its sections, not its code.
pub(crate) fn plan(bytes: &[u8]) -> Result<Option<Adaptation>, Refusal> {
    if !Parser::is_core_wasm(bytes) {
        return Ok(None);
    }
    let module = Module::read(bytes).map_err(damaged)?;
    let adaptation = match (module.has(START), module.has_world) {
        (true, true) if exports_what_is_called(bytes) => Adaptation::Reactor,
        (true, true) => Adaptation::CommandWithWorld,
        (false, true) => Adaptation::Reactor,
        (true, false) => Adaptation::Command,
        (false, false) => return Err(diagnosis::reason(&module)),
    };
    match foreign_import(&module) {
        Some(refusal) => Err(refusal),
        // WASI preview 1 passes all data through it.
        None if !module.has(MEMORY) => Err(diagnosis::without_memory()),
        None => Ok(Some(adaptation)),
    }
}

/// Makes a component of a module.
///
/// # Errors
/// When the module is damaged, does not fit its embedded world, or has an import that is in none.
pub(crate) fn adapt(bytes: &[u8], adaptation: Adaptation) -> Result<Vec<u8>, Refusal> {
    // From here on, numbers in the file can be trusted. The compiler refuses a feature that is too new.
    Validator::new_with_features(WasmFeatures::all()).validate_all(bytes).map_err(damaged)?;
    or_refused(|| encode(bytes, adaptation))
}

/// Turns a panic into a refusal: a file that meets a bug of the adapting code must not end the app that runs already.
fn or_refused(make: impl FnOnce() -> Result<Vec<u8>, Refusal> + UnwindSafe) -> Result<Vec<u8>, Refusal> {
    catch_unwind(make).unwrap_or_else(|_told_by_the_hook| {
        let found = "its core module cannot be adapted: curfew fails at it, which is a bug in curfew";
        Err(Refusal::new(found, "build it for WASI 0.2, target `wasm32-wasip2`: then it is not adapted"))
    })
}

fn encode(bytes: &[u8], adaptation: Adaptation) -> Result<Vec<u8>, Refusal> {
    let adapter = match adaptation {
        Adaptation::Command | Adaptation::CommandWithWorld => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        Adaptation::Reactor => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    };
    let (provided, by_growing) = adapter_memory::provide(bytes)?;
    let wrap = |module: &[u8]| {
        let encoder = ComponentEncoder::default().module(module)?.adapter(PREVIEW_1, adapter)?;
        encoder.realloc_via_memory_grow(by_growing).encode()
    };
    let encoded = exit_code::divert(provided)
        .and_then(|module| wrap(&module).or_else(|error| wrap(&without_names(&module).ok_or(error)?)));
    encoded.map_err(|error| match adaptation {
        Adaptation::Command => Refusal::new(
            format!("its core module cannot be adapted: {error:#}"),
            "build it for WASI preview 1 or 2 with tools of today",
        ),
        Adaptation::Reactor | Adaptation::CommandWithWorld => Refusal::new(
            format!("its core module does not fit the world that is embedded in it: {error:#}"),
            "make the bindings again from the same WIT, and define each function that the world exports",
        ),
    })
}

/// Returns the module without the sections that tools read and programs do not need: the encoder writes them anew, and
/// refuses those that are damaged or of an unknown form.
fn without_names(module: &[u8]) -> Option<Vec<u8>> {
    rewrite(module, 0, |payload| match payload {
        Payload::CustomSection(section) if matches!(section.name(), "name" | "producers") => {
            Some(Change::LeaveOut)
        }
        _ => Some(Change::Keep),
    })
}

fn damaged(error: wasmparser::Error) -> Refusal {
    Refusal::new(
        format!("it is not a valid core module: {error}"),
        "build it again; it may be cut short (`wasm-tools validate --features all FILE` tells more)",
    )
}

/// Returns whether the embedded world itself exports what the host calls: the command adapter would add a second export.
fn exports_what_is_called(bytes: &[u8]) -> bool {
    let is_called = |name: &str| CALLED.iter().any(|(called, _)| *called == name);
    world_exports(bytes, |name| name.split_once('@').is_some_and(|(name, _)| is_called(name)))
}

/// Returns whether the embedded world has such an export. A damaged world is refused later, by [`adapt`].
pub(crate) fn world_exports(bytes: &[u8], is_it: impl Fn(&str) -> bool) -> bool {
    let Ok((_, Bindgen { resolve, world, .. })) = metadata::decode(bytes) else { return false };
    let exports = resolve.worlds.get(world).into_iter().flat_map(|world| world.exports.keys());
    exports.map(|key| resolve.name_world_key(key)).any(|name| is_it(&name))
}

/// Refuses an import that is provided nowhere. For a module with a world, the encoder checks the other imports.
fn foreign_import(module: &Module) -> Option<Refusal> {
    static FUNCTIONS: LazyLock<Module> =
        LazyLock::new(|| Module::read(WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER).unwrap_or_default());
    let extension = module
        .imports
        .iter()
        .find(|(from, function)| from == PREVIEW_1 && !FUNCTIONS.has(function))
        .map(|(_, function)| diagnosis::extension(function));
    extension.or_else(|| match module.has_world {
        true => diagnosis::known_import(module),
        false => module.import_from(|from| from != PREVIEW_1).map(|_| diagnosis::reason(module)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::hidden_memory;
    use super::*;

    /// Cached components are found by these names.
    #[test]
    fn what_made_a_component_is_named_with_its_versions() {
        let lock = include_str!("../../../../Cargo.lock");
        let is_locked =
            |name: &str, version: &str| lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\""));
        let parts: Vec<&str> = MADE_BY.split(", ").collect();
        assert!(is_locked("wit-component", parts[0].strip_prefix("wit-component ").unwrap()));
        let adapters = parts[1].strip_prefix("adapters ").unwrap();
        assert!(is_locked("wasi-preview1-component-adapter-provider", adapters));
    }

    fn planned(text: &str) -> Result<Option<Adaptation>, Refusal> {
        plan(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn a_module_says_itself_how_it_is_adapted() {
        assert_eq!(planned("(component)"), Ok(None));
        let program = "(module (memory (export \"memory\") 1) (func (export \"_start\")))";
        assert_eq!(planned(program), Ok(Some(Adaptation::Command)));
        assert!(planned("(module)").unwrap_err().found.contains("`_start`"));
        let unknown =
            "(module (import \"wasi_snapshot_preview1\" \"sock_open\" (func)) (func (export \"_start\")))";
        assert!(planned(unknown).unwrap_err().found.contains("`sock_open`"));
    }

    /// `wasmtime run` warns of them, and runs the program.
    #[test]
    fn damaged_names_and_producers_harm_no_program() {
        for section in ["\"producers\" \"\\01\\03foo\\01\\01x\\00\"", "\"name\" \"\\01\\04\\01\\00\\01\\ff\""]
        {
            let text = format!(
                "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func (param i32)))
                (memory (export \"memory\") 1) (func (export \"_start\")) (@custom {section}))"
            );
            adapt(&wat::parse_str(text).unwrap(), Adaptation::Command).unwrap();
        }
    }

    #[test]
    fn a_bug_in_what_adapts_refuses_the_file_only() {
        let refusal = or_refused(|| panic!("for this test")).unwrap_err();
        assert!(refusal.found.contains("bug in curfew"), "{refusal:?}");
    }

    /// More globals than there are numbers for: the one that is imported, and these.
    #[test]
    fn a_count_that_cannot_be_is_refused() {
        let text = "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (global i32))
            (memory (export \"memory\") 1) (global i32 (i32.const 77))
            (func (export \"_start\") (drop (memory.size))))";
        let mut module = wat::parse_str(text).unwrap();
        // The section with its one global, an `i32.const 77` that is constant.
        let section = [6, 7, 1, 0x7f, 0, 0x41, 77 | 0x80, 0, 0x0b];
        let at = module.windows(section.len()).position(|bytes| bytes == section).unwrap();
        module.splice(at..at + 3, [6, 11, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(hidden_memory::hide(&module), None);
        let adaptation = plan(&module).unwrap().unwrap();
        let refusal = adapt(&module, adaptation).unwrap_err();
        assert!(refusal.found.starts_with("it is not a valid core module: "), "{refusal:?}");
    }

    #[test]
    fn a_damaged_module_is_refused_or_adapted_and_never_a_panic() {
        let text = "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func (param i32)))
            (memory (export \"memory\") 1) (global (mut i32) (i32.const 0))
            (func (export \"_start\") (call 0 (memory.grow (memory.size)))))";
        let whole = wat::parse_str(text).unwrap();
        for at in 8..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                if let Ok(Some(adaptation)) = plan(&damaged) {
                    let _either = adapt(&damaged, adaptation);
                }
            }
            assert!(plan(&whole[..at]).is_err(), "cut at {at}");
        }
    }
}
