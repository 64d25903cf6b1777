//! Memory for the preview-1 adapter inside the memory of its program: two pages, for good.
//!
//! Invariant: a program whose runtime is known to take all memory gets no adapter with pages in it. `hidden_memory` hides grown
//! pages from an allocator.

use std::borrow::Cow;

use super::hidden_memory;
use crate::runtime::Refusal;
use crate::runtime::module::{CoreModule, START};

/// The functions that the adapter calls for its pages: the first that the module exports.
const FOR_ADAPTER: &str = "cabi_realloc_adapter";
const REALLOC: &str = "cabi_realloc";

/// Chooses the way in which the adapter of a module takes its pages. True: by `memory.grow`. False: it calls an export of the
/// module, which is returned changed for this.
///
/// By `memory.grow` is the rule: unlike most programs' `cabi_realloc`, it works before the language's runtime is initialized. It
/// does not disturb an allocator that asks `memory.grow` where its new pages are: C, C++, Swift, Rust, Zig, `tlsf` of
/// AssemblyScript. Go and `TinyGo` do not ask, nor do AssemblyScript's `--runtime stub` and Kotlin: these two overwrite the
/// adapter's pages when they need more than they began with, and nothing in a module tells them. (Tried: C, Go, AssemblyScript.
/// The others are known from their sources.)
///
/// # Errors
/// When the two would overwrite each other.
pub(super) fn provide(bytes: &[u8]) -> Result<(Cow<'_, [u8]>, bool), Refusal> {
    let module = CoreModule::read(bytes).unwrap_or_default();
    let grown = || (hidden_memory::hide(bytes).map_or(bytes.into(), Cow::from), true);
    let asked = (bytes.into(), false);
    if module.has(FOR_ADAPTER) {
        return Ok(asked);
    }
    let says_tinygo = module.is_made_by("TinyGo");
    if says_tinygo || exports_as_tinygo(&module) {
        // Its first call comes with the program's first call, when TinyGo's heap is there.
        return if module.has(REALLOC) { Ok(asked) } else { Err(tinygo(says_tinygo)) };
    }
    let says_go = module.made_by.iter().any(|maker| maker == "Go");
    let has_realloc = module.has(REALLOC);
    if says_go && !has_realloc {
        return Err(go());
    }
    // Each call of a C program's export from outside ends with its `atexit` functions: no way to get memory.
    let can_ask = !module.has(START) || says_go || carries_go(bytes);
    Ok(if has_realloc && can_ask { asked } else { grown() })
}

/// Returns whether a module may have the table of functions that Go's runtime needs. Tools that strip names of tools keep the
/// table. A program that carries a Go program with it has it, too.
fn carries_go(module: &[u8]) -> bool {
    // Since Go 1.20: the magic number, two zeros, the size of an instruction and of a pointer.
    const PCLNTAB: &[u8] = &[0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    module.windows(PCLNTAB.len()).any(|bytes| bytes == PCLNTAB)
}

/// `TinyGo` with `-no-debug` leaves no names of tools, but its own exports. A C program with Binaryen's asyncify and an
/// allocator for its host has the same exports, and names its tools.
fn exports_as_tinygo(module: &CoreModule) -> bool {
    let exported = ["malloc", "calloc", "realloc", "free", "asyncify_start_unwind", "asyncify_get_state"];
    module.made_by.is_empty() && exported.iter().all(|name| module.has(name))
}

fn go() -> Refusal {
    Refusal::new(
        "it is built by Go, with an embedded world and without `cabi_realloc`: Go takes all memory for its own, also what its \
         host needs a part of",
        "export `cabi_realloc`, as a project of `curfew new --lang go` does; a program without a world needs none",
    )
}

fn tinygo(says_so: bool) -> Refusal {
    let (built, hint) = match says_so {
        true => ("it is built by TinyGo for WASI preview 1", ""),
        false => (
            "by its exports it looks like TinyGo's, for WASI preview 1, and it does not say who made it",
            "; if another compiler made it, do not strip its `producers` section",
        ),
    };
    let why = "TinyGo takes all memory for its own, also what its host needs a part of";
    Refusal::new(
        format!("{built}: {why}"),
        format!("build it for WASI 0.2: `tinygo build -target=wasip2 -o app.wasm`{hint}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With no maker, there is nothing in the section that names them.
    fn provided(made_by: &str, exports: &[&str]) -> Result<bool, Refusal> {
        let text = |text: &str| format!("\\{:02x}{text}", text.len());
        let maker = match made_by {
            "" => "\\00".to_owned(),
            made_by => format!("\\01{}\\01{}{}", text("language"), text(made_by), text("")),
        };
        let functions = exports.iter().map(|name| format!("(func (export \"{name}\"))")).collect::<String>();
        let module = format!("(module (memory 1) {functions} (@custom \"producers\" \"{maker}\"))");
        provide(&wat::parse_str(module).unwrap()).map(|(_, by_growing)| by_growing)
    }

    #[test]
    fn who_takes_all_memory_is_asked_or_refused() {
        assert_eq!(provided("C11", &[]), Ok(true));
        assert_eq!(provided("C11", &[REALLOC]), Ok(false));
        assert_eq!(provided("C11", &[REALLOC, START]), Ok(true));
        assert_eq!(provided("Golem", &[]), Ok(true));
        assert_eq!(provided("Go", &[REALLOC]), Ok(false));
        assert_eq!(provided("Go", &[FOR_ADAPTER]), Ok(false));
        assert_eq!(provided("Go", &[]), Err(go()));
        let carries_go = "(module (memory 1) (data (i32.const 8) \"\\f1\\ff\\ff\\ff\\00\\00\\01\\08\"))";
        assert!(provide(&wat::parse_str(carries_go).unwrap()).unwrap().1, "it is not of Go itself");
        assert_eq!(provided("TinyGo", &[REALLOC]), Ok(false));
        assert_eq!(provided("TinyGo", &[]), Err(tinygo(true)));
        let exported = ["malloc", "calloc", "realloc", "free", "asyncify_start_unwind", "asyncify_get_state"];
        assert_eq!(provided("", &exported), Err(tinygo(false)));
        assert_eq!(provided("", &exported[..4]), Ok(true));
        assert_eq!(provided("C11", &exported), Ok(true), "it says that it is of another compiler");
    }
}
