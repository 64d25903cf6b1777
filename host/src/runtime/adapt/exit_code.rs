//! Keeps the exit status of a WASI preview-1 program: the adapters know `exit` of WASI 0.2 only, which tells success from
//! failure and no more.
//!
//! Invariant: of a program's imports only `proc_exit` is changed: it goes to a small adapter of our own, which calls the
//! host (`linker`).

use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection, Module,
    TypeSection, ValType,
};
use wasmparser::{Parser, Payload};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The module that the adapter stands for. Its name is as long as the one that it replaces.
pub(super) const MODULE: &str = "curfew_proc_exit_codes";
const PREVIEW_1: &str = "wasi_snapshot_preview1";
const _: () = assert!(MODULE.len() == PREVIEW_1.len());

const WIT: &str = "package curfew:adapter@1.0.0;
interface exit { with-code: func(code: u32); }
world adapter { import exit; }";

/// Returns the adapter: it exports `proc_exit`, and passes the code on to the host.
pub(super) fn adapter() -> anyhow::Result<Vec<u8>> {
    let (mut types, mut imports, mut functions) =
        (TypeSection::new(), ImportSection::new(), FunctionSection::new());
    types.ty().function([ValType::I32], []);
    imports.import("curfew:adapter/exit@1.0.0", "with-code", EntityType::Function(0));
    functions.function(0);
    let (mut exports, mut code, mut proc_exit) =
        (ExportSection::new(), CodeSection::new(), Function::new([]));
    exports.export("proc_exit", ExportKind::Func, 1);
    proc_exit.instructions().local_get(0).call(0).unreachable().end();
    code.function(&proc_exit);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
    let mut bytes = module.finish();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("adapter.wit", WIT)?;
    let world = resolve.select_world(&[package], None)?;
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)?;
    Ok(bytes)
}

/// Returns the module with its `proc_exit` imported from [`MODULE`]; unchanged if it has none.
pub(super) fn divert(module: &[u8]) -> Vec<u8> {
    let mut diverted = module.to_vec();
    for at in places(module).unwrap_or_default() {
        if let Some(name) = diverted.get_mut(at..at + MODULE.len()) {
            name.copy_from_slice(MODULE.as_bytes());
        }
    }
    diverted
}

/// Returns where the file has the module name of each import of `proc_exit` (AssemblyScript has two), unless the import
/// of another function uses the same bytes.
fn places(module: &[u8]) -> wasmparser::Result<Vec<usize>> {
    let place = |name: &str| name.as_ptr().addr().wrapping_sub(module.as_ptr().addr());
    let (mut exits, mut others) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ImportSection(section) = payload? {
            for import in section.into_imports() {
                let import = import?;
                match (import.module, import.name) {
                    (PREVIEW_1, "proc_exit") => exits.push(place(import.module)),
                    (other, _) => others.push(place(other)),
                }
            }
            break;
        }
    }
    exits.retain(|exit| !others.contains(exit));
    Ok(exits)
}
