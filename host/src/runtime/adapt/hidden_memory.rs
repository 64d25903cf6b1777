//! Hides the memory of the adapter from a module's own allocator.
//!
//! The adapter gets its pages when the module first calls WASI, behind all memory of the module. An allocator that begins
//! later and takes "all there is" would overwrite them. Two do: wasi-libc before 2023, in older C and Rust and with Debian's
//! clang, and AssemblyScript's. Invariant: at its first looks a module sees the memory that it was linked with; later, or
//! after it has grown it, all that there is.
//!
//! Limits: a valid module that looks, and then insists that `memory.grow` goes on from there, finds the adapter's pages in
//! between. It cannot be told from an allocator that would overwrite them, and a trap is the lesser harm. Instructions move in
//! the file, so DWARF is left out: backtraces have names of functions, and no lines.

use wasm_encoder::{BlockType, Encode, Function, Instruction, ValType};
use wasmparser::{BinaryReader, CodeSectionReader, FunctionBody, Operator, Payload};

use super::sections::{Change, Layout, encoded, global, rewrite};

/// Looks of an allocator when it begins: one of wasi-libc's, two of AssemblyScript's.
const LOOKS: i32 = 2;
const DWARF: &str = ".debug_";
/// The types of the added functions: `() -> i32` and `(i32) -> i32`.
const SIZE: [u8; 4] = [0x60, 0, 1, 0x7f];
const GROW: [u8; 5] = [0x60, 1, 0x7f, 1, 0x7f];

/// Returns the module with the memory hidden, `None` if it needs no change or cannot have it.
pub(super) fn hide(module: &[u8]) -> Option<Vec<u8>> {
    let Layout { types, functions, globals, memory } = Layout::read(module)?;
    let initial = i32::try_from(memory.initial).ok()?;
    let grow = functions.checked_add(1)?;
    let mut looks = false;
    let hidden = rewrite(module, 3, |payload| {
        Some(match payload {
            Payload::TypeSection(_) => Change::Append(vec![SIZE.to_vec(), GROW.to_vec()]),
            Payload::FunctionSection(_) => {
                Change::Append(vec![encoded(&types), encoded(&types.checked_add(1)?)])
            }
            Payload::GlobalSection(_) => Change::Append(vec![global(LOOKS)]),
            Payload::CodeSectionStart { range, .. } => {
                let code = BinaryReader::new(module.get(range.clone())?, range.start);
                let mut bodies = Vec::new();
                for body in CodeSectionReader::new(code).ok()? {
                    let body = body.ok()?;
                    let diverted = divert(&body, functions, grow).ok()?;
                    looks |= diverted.is_some();
                    bodies.push(encoded(diverted.as_deref().unwrap_or(body.as_bytes())));
                }
                bodies.extend([size_function(globals, initial), grow_function(globals)]);
                Change::Replace(bodies)
            }
            Payload::CustomSection(section) if section.name().starts_with(DWARF) => Change::LeaveOut,
            _ => Change::Keep,
        })
    });
    hidden.filter(|_| looks)
}

/// Returns a body that calls these functions instead of looking at the memory; `None` if it does not look.
fn divert(body: &FunctionBody<'_>, size: u32, grow: u32) -> wasmparser::Result<Option<Vec<u8>>> {
    let (bytes, start) = (body.as_bytes(), body.range().start);
    let (mut diverted, mut copied) = (Vec::new(), 0);
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let at = operators.original_position() - start;
        let function = match operators.read()? {
            Operator::MemorySize { .. } => size,
            Operator::MemoryGrow { .. } => grow,
            _ => continue,
        };
        diverted.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
        Instruction::Call(function).encode(&mut diverted);
        copied = operators.original_position() - start;
    }
    diverted.extend_from_slice(bytes.get(copied..).unwrap_or_default());
    Ok((copied > 0).then_some(diverted))
}

/// The global `counter` is the number of looks left that see only the module's first memory.
fn size_function(counter: u32, initial: i32) -> Vec<u8> {
    let mut size = Function::new([]);
    size.instructions()
        .global_get(counter)
        .if_(BlockType::Result(ValType::I32))
        .global_get(counter)
        .i32_const(1)
        .i32_sub()
        .global_set(counter)
        .i32_const(initial)
        .else_()
        .memory_size(0)
        .end()
        .end();
    encoded(&size)
}

fn grow_function(counter: u32) -> Vec<u8> {
    let mut grow = Function::new([]);
    grow.instructions().i32_const(0).global_set(counter).local_get(0).memory_grow(0).end();
    encoded(&grow)
}

#[cfg(test)]
mod tests {
    use wasmparser::Parser;
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;

    fn hidden(text: &str) -> Vec<u8> {
        hide(&wat::parse_str(text).unwrap()).unwrap()
    }

    /// The results of a module's functions `size` and `grow`, in this order, after its adapter has got two pages.
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
