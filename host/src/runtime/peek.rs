//! A look at a file before it is loaded: whether the host has to listen for it. Nothing is checked here; what cannot be read is
//! told when it is loaded.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use wasmparser::{Parser, Payload};

use super::adapt::exported_by_world;
use super::load::LARGEST;

const HANDLERS: [&str; 2] = ["wasi:http/incoming-handler@", "wasi:http/handler@"];

/// Returns whether a file is of kind `http`. Reads it; what is not a regular file is not opened.
pub fn serves_http(path: &Path) -> bool {
    let regular = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST);
    let mut bytes = Vec::new();
    let read = regular && File::open(path).is_ok_and(|mut file| file.read_to_end(&mut bytes).is_ok());
    let is_handler = |name: &str| HANDLERS.iter().any(|handler| name.starts_with(handler));
    read && match Parser::is_core_wasm(&bytes) {
        true => exported_by_world(&bytes).iter().any(|name| is_handler(name)),
        false => has_export(&bytes, is_handler),
    }
}

/// Whether the component itself, not one inside it, has an export whose name is good.
fn has_export(component: &[u8], is_it: impl Fn(&str) -> bool) -> bool {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload {
            Ok(Payload::Version { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::ComponentExportSection(section)) if depth == 1 => {
                if section.into_iter().flatten().any(|export| is_it(export.name.name)) {
                    return true;
                }
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}
