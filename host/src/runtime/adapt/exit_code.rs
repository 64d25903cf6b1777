//! Keeps the exit status of a WASI preview-1 program: the adapters know `exit` of WASI 0.2 only, which tells success from
//! failure and no more.
//!
//! Invariant: of a program's imports only `proc_exit` is changed: it goes to a small adapter of our own, which calls the
//! host.

use wasmparser::{Parser, Payload};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The module that the adapter stands for. It is as long as the name that it takes the place of.
pub const MODULE: &str = "curfew_proc_exit_codes";
const PREVIEW_1: &str = "wasi_snapshot_preview1";
const _: () = assert!(MODULE.len() == PREVIEW_1.len());

const WIT: &str = "package curfew:adapter@1.0.0;
interface exit { with-code: func(code: u32); }
world adapter { import exit; }";
const ADAPTER: &str = r#"(module
  (import "curfew:adapter/exit@1.0.0" "with-code" (func $exit (param i32)))
  (func (export "proc_exit") (param i32) (call $exit (local.get 0)) (unreachable)))"#;

/// Returns the adapter.
///
/// # Errors
/// Never, unless there is a bug in it.
pub fn adapter() -> anyhow::Result<Vec<u8>> {
    let mut bytes = wat::parse_str(ADAPTER)?;
    let mut resolve = Resolve::default();
    let package = resolve.push_str("adapter.wit", WIT)?;
    let world = resolve.select_world(&[package], None)?;
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)?;
    Ok(bytes)
}

/// Returns the module with its `proc_exit` imported from [`MODULE`]; unchanged if it has none.
pub fn divert(module: &[u8]) -> Vec<u8> {
    let mut diverted = module.to_vec();
    for at in places(module).unwrap_or_default() {
        if let Some(name) = diverted.get_mut(at..at + MODULE.len()) {
            name.copy_from_slice(MODULE.as_bytes());
        }
    }
    diverted
}

/// Returns where in the file the name is of the module that `proc_exit` is imported from: of each such import (AssemblyScript
/// has two), unless another function's import uses the same bytes.
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
