//! The form of a file, which decides how its code is made. Reads the sections of a core module, not its code.

use wasmparser::Parser;

use super::core_module::CoreModule;
use super::{FUNCTIONS, PREVIEW_1, START, diagnosis};
use crate::runtime::Refusal;

const MEMORY: &str = "memory";

/// The form of a file.
#[derive(Debug)]
pub(crate) enum Form {
    Component,
    /// A core module with `_start`: it runs as it is.
    Program,
    /// A core module with an embedded world: a component is made of it.
    WithWorld(CoreModule),
}

impl Form {
    /// # Errors
    /// When it is a core module that cannot run, or is damaged.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, Refusal> {
        if !Parser::is_core_wasm(bytes) {
            return Ok(Self::Component);
        }
        let module = CoreModule::read(bytes).map_err(damaged)?;
        if !module.has_world && !module.has(START) {
            return Err(diagnosis::reason(&module));
        }
        match unfit(&module) {
            Some(refusal) => Err(refusal),
            None if module.has_world => Ok(Self::WithWorld(module)),
            None => Ok(Self::Program),
        }
    }
}

/// Refuses an import that is provided nowhere. For a module with a world, the encoder checks the other imports.
fn unfit(module: &CoreModule) -> Option<Refusal> {
    let of_preview_1 = |from: &str| from == PREVIEW_1;
    let extension = module
        .imports
        .iter()
        .find(|(from, function)| of_preview_1(from) && !FUNCTIONS.contains(&function.as_str()))
        .map(|(_, function)| diagnosis::extension(function));
    let foreign = || match module.has_world {
        true => diagnosis::known_import(module),
        false => {
            let is_foreign = module.is_threaded || module.import_from(|from| !of_preview_1(from)).is_some();
            is_foreign.then(|| diagnosis::reason(module))
        }
    };
    // WASI preview 1 passes all data through it.
    let needs_memory = module.has_world || module.import_from(of_preview_1).is_some();
    let without_memory = || (needs_memory && !module.has(MEMORY)).then(diagnosis::without_memory);
    extension.or_else(foreign).or_else(without_memory)
}

pub(crate) fn damaged(error: wasmparser::Error) -> Refusal {
    Refusal::new(
        format!("it is not a valid core module: {error}"),
        "build it again; it may be cut short (`wasm-tools validate --features all FILE` tells more)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Result<Form, Refusal> {
        Form::of(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn a_file_says_itself_what_it_is() {
        assert!(matches!(form("(component)"), Ok(Form::Component)));
        let program = "(module (memory (export \"memory\") 1) (func (export \"_start\")) WORLD)";
        assert!(matches!(form(&program.replace("WORLD", "")), Ok(Form::Program)));
        let world = "(@custom \"component-type:my\" \"\")";
        assert!(matches!(form(&program.replace("WORLD", world)), Ok(Form::WithWorld(_))));
        assert!(form("(module)").unwrap_err().found.contains("`_start`"));
    }

    #[test]
    fn only_a_program_without_imports_needs_no_memory() {
        let program = |import: &str| {
            form(&format!("(module {import} (func (export \"_start\")))")).map(drop).map_err(|no| no.found)
        };
        let import = |name: &str| format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func))");
        assert_eq!(program(""), Ok(()));
        assert!(program(&import("sched_yield")).unwrap_err().contains("`memory`"));
        assert!(program(&import("sock_open")).unwrap_err().contains("`sock_open`"));
    }

    #[test]
    fn a_damaged_module_is_never_a_panic() {
        let text = "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func (param i32)))
            (memory (export \"memory\") 1) (global (mut i32) (i32.const 0))
            (func (export \"_start\") (call 0 (memory.grow (memory.size)))))";
        let whole = wat::parse_str(text).unwrap();
        for at in 8..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                let _either = Form::of(&damaged);
            }
            assert!(Form::of(&whole[..at]).is_err(), "cut at {at}");
        }
    }
}
