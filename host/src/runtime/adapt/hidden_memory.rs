//! Hides the memory of the adapter from a module's own allocator.
//!
//! The adapter gets its pages when the module first calls WASI, behind all memory of the module. An allocator that begins
//! later and takes "all there is" would take these too, and overwrite them. Such are that of wasi-libc before 2023, which is in
//! older C and Rust and comes with Debian's clang, and AssemblyScript's.
//!
//! Invariant: at its first looks a module sees the memory that it was linked with; after these, or after it has grown it, all
//! that there is.
//!
//! Limits: a valid module that looks, and then insists that `memory.grow` goes on from there, finds the adapter's pages in
//! between. It cannot be told from an allocator that would overwrite them (many modules do not name their tools), and a trap is
//! the lesser harm. Instructions move in the file, so DWARF is left out: backtraces have names of functions, and no lines.

use std::convert::Infallible;

use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, Function, FunctionSection, GlobalSection, GlobalType, Instruction,
};
use wasm_encoder::{TypeSection, ValType};
use wasmparser::{FunctionBody, Operator, Parser, Payload};

use super::indices::Indices;

/// Looks of an allocator when it begins: wasi-libc's once, AssemblyScript's twice.
const LOOKS: i32 = 2;

const DWARF: &str = ".debug_";

type Result<T> = std::result::Result<T, reencode::Error<Infallible>>;

/// Returns the module with the memory hidden, or `None` if nothing in it has to be changed, or can be.
pub(super) fn hide(module: &[u8]) -> Option<Vec<u8>> {
    let counts = Counts::of(module)?;
    let mut hider = Hider {
        initial: counts.initial.filter(|_| counts.is_needed)?,
        grow: counts.indices.functions.checked_add(1)?,
        grow_type: counts.indices.types.checked_add(1)?,
        counts,
    };
    let mut hidden = wasm_encoder::Module::new();
    // A module that cannot be written again is refused when it is adapted.
    hider.parse_core_module(&mut hidden, Parser::new(0), module).ok()?;
    Some(hidden.finish())
}

#[derive(Default)]
struct Counts {
    indices: Indices,
    has_globals: bool,
    /// The pages it was linked with, if it has one plain memory of its own.
    initial: Option<i32>,
    is_needed: bool,
}

impl Counts {
    fn of(module: &[u8]) -> Option<Self> {
        let mut counts = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            counts.take(payload.ok()?)?;
        }
        counts.is_needed &= counts.has_globals;
        Some(counts)
    }

    fn take(&mut self, payload: Payload<'_>) -> Option<()> {
        self.indices.count(&payload)?;
        match payload {
            Payload::GlobalSection(_) => self.has_globals = true,
            Payload::MemorySection(section) => {
                let memories: Vec<_> = section.into_iter().collect::<wasmparser::Result<_>>().ok()?;
                self.initial = match memories.as_slice() {
                    [only] if !only.memory64 && !only.shared => i32::try_from(only.initial).ok(),
                    _ => None,
                };
            }
            Payload::CodeSectionEntry(body) => {
                self.is_needed |= looks_at_memory(&body).ok()?;
            }
            _ => {}
        }
        Some(())
    }
}

fn looks_at_memory(body: &FunctionBody<'_>) -> wasmparser::Result<bool> {
    for operator in body.get_operators_reader()? {
        if matches!(operator?, Operator::MemorySize { .. } | Operator::MemoryGrow { .. }) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes the module again, with two functions and one global behind its own.
struct Hider {
    counts: Counts,
    initial: i32,
    /// The second of the functions, and its type.
    grow: u32,
    grow_type: u32,
}

impl Hider {
    /// The global that counts the looks left that see only the module's first memory.
    fn looks(&self) -> u32 {
        self.counts.indices.globals
    }

    fn size(&self) -> u32 {
        self.counts.indices.functions
    }
}

impl Reencode for Hider {
    type Error = Infallible;

    fn parse_custom_section(
        &mut self,
        module: &mut wasm_encoder::Module,
        section: wasmparser::CustomSectionReader<'_>,
    ) -> Result<()> {
        match section.name().starts_with(DWARF) {
            true => Ok(()),
            false => utils::parse_custom_section(self, module, section),
        }
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Result<()> {
        utils::parse_type_section(self, types, section)?;
        types.ty().function([], [ValType::I32]);
        types.ty().function([ValType::I32], [ValType::I32]);
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Result<()> {
        utils::parse_function_section(self, functions, section)?;
        functions.function(self.counts.indices.types).function(self.grow_type);
        Ok(())
    }

    fn parse_global_section(
        &mut self,
        globals: &mut GlobalSection,
        section: wasmparser::GlobalSectionReader<'_>,
    ) -> Result<()> {
        utils::parse_global_section(self, globals, section)?;
        let flag = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(flag, &ConstExpr::i32_const(LOOKS));
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: wasmparser::CodeSectionReader<'_>,
    ) -> Result<()> {
        utils::parse_code_section(self, code, section)?;
        let mut size = Function::new([]);
        size.instruction(&Instruction::GlobalGet(self.looks()))
            .instruction(&Instruction::If(BlockType::Result(ValType::I32)))
            .instruction(&Instruction::GlobalGet(self.looks()))
            .instruction(&Instruction::I32Const(1))
            .instruction(&Instruction::I32Sub)
            .instruction(&Instruction::GlobalSet(self.looks()))
            .instruction(&Instruction::I32Const(self.initial))
            .instruction(&Instruction::Else)
            .instruction(&Instruction::MemorySize(0))
            .instruction(&Instruction::End)
            .instruction(&Instruction::End);
        let mut grow = Function::new([]);
        grow.instruction(&Instruction::I32Const(0))
            .instruction(&Instruction::GlobalSet(self.looks()))
            .instruction(&Instruction::LocalGet(0))
            .instruction(&Instruction::MemoryGrow(0))
            .instruction(&Instruction::End);
        code.function(&size).function(&grow);
        Ok(())
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<()> {
        if !looks_at_memory(&body)? {
            code.raw(body.as_bytes());
            return Ok(());
        }
        utils::parse_function_body(self, code, body)
    }

    fn instruction<'a>(&mut self, operator: Operator<'a>) -> Result<Instruction<'a>> {
        match operator {
            Operator::MemorySize { .. } => Ok(Instruction::Call(self.size())),
            Operator::MemoryGrow { .. } => Ok(Instruction::Call(self.grow)),
            other => utils::instruction(self, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;

    fn hidden(text: &str) -> Vec<u8> {
        hide(&wat::parse_str(text).unwrap()).unwrap()
    }

    /// What the functions `size` and `grow` of a module return in this order, after its adapter has got two pages.
    fn seen(calls: &[&str]) -> Vec<i32> {
        // The adapter grows the memory itself, not by a function of the module: here the host does.
        let module = hidden(
            "(module (memory (export \"memory\") 3) (global i32 (i32.const 0))
               (func (export \"size\") (result i32) (memory.size))
               (func (export \"grow\") (result i32) (memory.grow (i32.const 1))))",
        );
        let engine = Engine::default();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &Module::new(&engine, &module).unwrap(), &[]).unwrap();
        instance.get_memory(&mut store, "memory").unwrap().grow(&mut store, 2).unwrap();
        let mut call = |name| {
            instance.get_typed_func::<(), i32>(&mut store, name).unwrap().call(&mut store, ()).unwrap()
        };
        calls.iter().map(|name| call(name)).collect()
    }

    #[test]
    fn the_adapters_pages_are_seen_by_who_has_begun_and_by_nobody_else() {
        assert_eq!(seen(&["size", "size", "size"]), [3, 3, 5], "AssemblyScript looks twice");
        assert_eq!(seen(&["grow", "size"]), [5, 6]);
        // The limit: who looks and then grows finds a gap.
        assert_eq!(seen(&["size", "grow", "size"]), [3, 5, 6]);
    }

    fn custom_sections(module: &[u8]) -> Vec<String> {
        let payloads = Parser::new(0).parse_all(module).map(std::result::Result::unwrap);
        let custom = payloads.filter_map(|payload| match payload {
            Payload::CustomSection(section) => Some(section.name().to_owned()),
            _ => None,
        });
        custom.collect()
    }

    #[test]
    fn lines_that_would_be_wrong_are_left_out_and_names_stay() {
        let module = hidden(
            "(module (memory 1) (global i32 (i32.const 0)) (func $named (drop (memory.size)))
               (@custom \".debug_info\" \"\") (@custom \".debug_line\" \"\") (@custom \"producers\" \"\\00\"))",
        );
        let mut kept = custom_sections(&module);
        kept.sort();
        assert_eq!(kept, ["name", "producers"]);
    }
}
