//! Keeps the exit status of a WASI preview-1 program with a world: the adapters know `exit` of WASI 0.2 only, which tells success from
//! failure and no more.
//!
//! Invariant: of a program's imports only `proc_exit` is changed: it becomes a function of the host (`engine`).

use std::borrow::Cow;

use wasm_encoder::EntityType;
use wasmparser::{Import, Payload};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::sections::{Change, encoded, rewrite};
use crate::runtime::module::PREVIEW_1;

const EXIT: &str = "curfew:adapter/exit@1.0.0";
const WIT: &str = "package curfew:adapter@1.0.0;
interface exit { with-code: func(code: u32); }
world adapter { import exit; }";

/// Returns the module with its `proc_exit` imported from the host, and with a world that has the import; unchanged if it has
/// no `proc_exit`. AssemblyScript has two.
pub(super) fn divert(module: Cow<'_, [u8]>) -> anyhow::Result<Cow<'_, [u8]>> {
    let mut diverts = false;
    let diverted = rewrite(&module, 0, |payload| {
        let Payload::ImportSection(section) = payload else { return Some(Change::Keep) };
        let mut imports = Vec::new();
        for import in section.clone().into_imports() {
            let Import { module, name, ty } = import.ok()?;
            let is_exit = (module, name) == (PREVIEW_1, "proc_exit");
            let (module, name) = if is_exit { (EXIT, "with-code") } else { (module, name) };
            let ty = EntityType::try_from(ty).ok()?;
            imports.push([encoded(module), encoded(name), encoded(&ty)].concat());
            diverts |= is_exit;
        }
        Some(Change::Replace(imports))
    });
    let Some(mut diverted) = diverted.filter(|_| diverts) else { return Ok(module) };
    let mut resolve = Resolve::default();
    let package = resolve.push_str("adapter.wit", WIT)?;
    let world = resolve.select_world(&[package], None)?;
    embed_component_metadata(&mut diverted, &resolve, world, StringEncoding::UTF8)?;
    Ok(diverted.into())
}

#[cfg(test)]
mod tests {
    use wasmtime::component::{Component, Linker};
    use wasmtime::{Engine, Store};
    use wasmtime_wasi::I32Exit;

    use super::super::adaptation::tests::{adapted, embed};
    use super::*;

    #[test]
    fn each_exit_brings_its_code_to_the_host() {
        let text = "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
            (import \"wasi_snapshot_preview1\" \"sched_yield\" (func (result i32)))
            (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $again (param i32)))
            (memory (export \"memory\") 1) (func (export \"go\")) (func (export \"_start\") (call FUNCTION (i32.const 42))))";
        for function in ["$exit", "$again"] {
            let component =
                adapted(&embed(&text.replace("FUNCTION", function), "export go: func();")).unwrap();
            let engine = Engine::default();
            let component = Component::new(&engine, component).unwrap();
            let mut linker = Linker::new(&engine);
            let mut exit = linker.instance(EXIT).unwrap();
            exit.func_wrap("with-code", |_, (code,): (u32,)| -> wasmtime::Result<()> {
                Err(I32Exit(i32::try_from(code).unwrap()).into())
            })
            .unwrap();
            linker.define_unknown_imports_as_traps(&component).unwrap();
            let mut store = Store::new(&engine, ());
            let instance = linker.instantiate(&mut store, &component).unwrap();
            let ty = component.component_type();
            let run = ty.exports(&engine).find(|(name, _)| name.starts_with("wasi:cli/run"));
            let interface = component.get_export_index(None, run.unwrap().0).unwrap();
            let run = component.get_export_index(Some(&interface), "run").unwrap();
            let run = instance.get_typed_func::<(), (Result<(), ()>,)>(&mut store, run).unwrap();
            let error = run.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref::<I32Exit>().map(|exit| exit.0), Some(42), "{function}: {error:?}");
        }
    }
}
