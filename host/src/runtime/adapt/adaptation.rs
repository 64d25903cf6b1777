//! Core modules with an embedded world become components while they are loaded: wasmtime's adapters translate WASI preview 1.
//!
//! Invariant, for the cache: the same module always becomes the same component, which depends on [`MADE_BY`] only.

use std::fmt;
use std::panic::{UnwindSafe, catch_unwind};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW_1, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Payload, Validator, WasmFeatures};
use wit_component::ComponentEncoder;
use wit_component::metadata::{self, Bindgen};

use super::sections::{Change, rewrite};
use super::{adapter_memory, exit_code};
use crate::runtime::Refusal;
use crate::runtime::diagnose::CALLED;
use crate::runtime::module::{CoreModule, START, damaged};

/// The tools that make components of modules. The last number grows when this folder makes another component of a module that
/// could be adapted before.
pub(crate) const MADE_BY: &str = "wit-component 0.254.2, adapters 48.0.8, own changes 8";

/// The way in which a core module becomes a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adaptation {
    /// It is a program, whose `_start` becomes `wasi:cli/run`, and exports more, its hook for instance.
    Command,
    /// It exports what its embedded world says.
    Reactor,
}

impl fmt::Display for Adaptation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => {
                "a core module with `_start` and an embedded world, adapted as a WASI preview-1 command"
            }
            Self::Reactor => "a core module with an embedded world, adapted as a WASI preview-1 reactor",
        })
    }
}

/// Returns the way in which a module with an embedded world becomes a component.
pub(crate) fn plan(bytes: &[u8], module: &CoreModule) -> Result<Adaptation, Refusal> {
    Ok(match module.has(START) && !exports_what_is_called(bytes) {
        true => Adaptation::Command,
        false => Adaptation::Reactor,
    })
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
        Adaptation::Command => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        Adaptation::Reactor => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    };
    let (provided, by_growing) = adapter_memory::provide(bytes)?;
    let wrap = |module: &[u8]| {
        let encoder = ComponentEncoder::default().module(module)?.adapter(PREVIEW_1, adapter)?;
        encoder.realloc_via_memory_grow(by_growing).encode()
    };
    let encoded = exit_code::divert(provided)
        .and_then(|module| wrap(&module).or_else(|error| wrap(&without_names(&module).ok_or(error)?)));
    encoded.map_err(|error| {
        Refusal::new(
            format!("its core module does not fit the world that is embedded in it: {error:#}"),
            "make the bindings again from the same WIT, and define each function that the world exports",
        )
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

#[cfg(test)]
pub(super) mod tests {
    use wit_component::{StringEncoding, embed_component_metadata};
    use wit_parser::Resolve;

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

    /// Embeds a world in a module, as `wasm-tools component embed` does.
    pub(in crate::runtime::adapt) fn embed(module: &str, world: &str) -> Vec<u8> {
        let mut module = wat::parse_str(module).unwrap();
        let mut resolve = Resolve::default();
        let package =
            resolve.push_str("app.wit", &format!("package my:app; world app {{ {world} }}")).unwrap();
        let world = resolve.select_world(&[package], None).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF16).unwrap();
        module
    }

    pub(in crate::runtime::adapt) fn adapted(module: &[u8]) -> Result<Vec<u8>, Refusal> {
        adapt(module, plan(module, &CoreModule::read(module).map_err(damaged)?)?)
    }

    const PROGRAM: &str = "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func (param i32)))
        (memory (export \"memory\") 1) (global (mut i32) (i32.const 0)) (func (export \"go\"))
        (func (export \"_start\") (call 0 (memory.grow (memory.size)))) MORE)";
    const WORLD: &str = "export go: func();";

    #[test]
    fn a_module_says_itself_how_it_is_adapted() {
        let planned = |module: &[u8]| plan(module, &CoreModule::read(module).unwrap()).unwrap();
        assert_eq!(planned(&embed(&PROGRAM.replace("MORE", ""), WORLD)), Adaptation::Command);
        assert_eq!(planned(&embed("(module (func (export \"go\")))", WORLD)), Adaptation::Reactor);
    }

    /// `wasmtime run` warns of them, and runs the program.
    #[test]
    fn damaged_names_and_producers_harm_no_program() {
        for section in ["\"producers\" \"\\01\\03foo\\01\\01x\\00\"", "\"name\" \"\\01\\04\\01\\00\\01\\ff\""]
        {
            let text = PROGRAM.replace("MORE", &format!("(@custom {section})"));
            adapted(&embed(&text, WORLD)).unwrap();
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
            (memory (export \"memory\") 1) (global i32 (i32.const 77)) (func (export \"go\"))
            (func (export \"_start\") (drop (memory.size))))";
        let mut module = embed(text, WORLD);
        // The section with its one global, an `i32.const 77` that is constant.
        let section = [6, 7, 1, 0x7f, 0, 0x41, 77 | 0x80, 0, 0x0b];
        let at = module.windows(section.len()).position(|bytes| bytes == section).unwrap();
        module.splice(at..at + 3, [6, 11, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(hidden_memory::hide(&module), None);
        let refusal = adapted(&module).unwrap_err();
        assert!(refusal.found.starts_with("it is not a valid core module: "), "{refusal:?}");
    }

    #[test]
    fn a_damaged_module_is_refused_or_adapted_and_never_a_panic() {
        let text = PROGRAM.replace("MORE", "");
        let (whole, code) = (embed(&text, WORLD), wat::parse_str(&text).unwrap().len());
        for at in 8..code {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                let _either = adapted(&damaged);
            }
        }
    }
}
