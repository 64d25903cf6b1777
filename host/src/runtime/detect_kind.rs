//! A look at the exports of a file before it is loaded. Nothing is checked here: loading tells what cannot be read.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use wasmparser::{Parser, Payload};

use super::adapt::world_exports;
use super::load::LARGEST;

/// Returns whether a file exports one of these interfaces, in any version. What is not a regular file is not opened.
pub fn exports_any(path: &Path, interfaces: &[&str]) -> bool {
    let regular = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST);
    let mut bytes = Vec::new();
    let read = regular && File::open(path).is_ok_and(|mut file| file.read_to_end(&mut bytes).is_ok());
    let is_one = |name: &str| name.split_once('@').is_some_and(|(name, _)| interfaces.contains(&name));
    read && match Parser::is_core_wasm(&bytes) {
        true => world_exports(&bytes, is_one),
        false => has_export(&bytes, is_one),
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

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLERS: [&str; 2] = ["wasi:http/incoming-handler", "wasi:http/handler"];

    fn serves(text: &str) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), wat::parse_str(text).unwrap()).unwrap();
        exports_any(file.path(), &HANDLERS)
    }

    #[test]
    fn only_what_the_component_itself_exports_counts() {
        let exports = |name: &str| format!("(instance $i) (export \"{name}\" (instance $i))");
        for (name, http) in [
            ("wasi:http/incoming-handler@0.2.3", true),
            ("wasi:http/handler@0.3.0", true),
            ("wasi:cli/run@0.2.0", false),
        ] {
            assert_eq!(serves(&format!("(component {})", exports(name))), http, "{name}");
            assert!(!serves(&format!("(component (component {}))", exports(name))), "{name} of one inside");
        }
        assert!(serves(&format!("(component (component) {})", exports("wasi:http/handler@0.3.0"))));
        assert!(!serves("(module)"));
    }

    #[test]
    fn what_cannot_be_read_serves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let text = dir.path().join("text");
        std::fs::write(&text, "wasi:http/handler@0.3.0").unwrap();
        for path in [dir.path(), &fifo, &text, &dir.path().join("none")] {
            assert!(!exports_any(path, &HANDLERS), "{}", path.display());
        }
    }
}
