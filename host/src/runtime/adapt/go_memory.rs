//! Makes room for the adapter in the memory of a Go program.
//!
//! Go's heap is all memory behind `runtime.firstmoduledata.end`. When memory grows, Go's runtime does not ask where the new
//! pages are (`sbrk` in its `mem_wasm.go`). So `end` moves two pages up, and an added function hands out the pages in
//! between. Invariant: a module is changed only if exactly one word in it can be `end`.

use wasm_encoder::{BlockType, Function, MemoryType};
use wasmparser::{Data, DataKind, Operator, Parser, Payload};

use super::sections::{Change, Layout, encoded, global, rewrite};

const PAGE: u64 = 64 << 10;
/// A page for the adapter's stack, one for its state.
const PAGES: u64 = 2;
/// A program starts with this much more memory than `end` since Go 1.24, and than `edata` before.
const SLACK: u64 = 1 << 20;
const OLD_SLACK: u64 = 16 << 20;
/// Go puts nothing below; a pointer to there is nil with an offset.
const LOWEST: u64 = 4096;
const WORD: usize = 8;
/// The words of `moduledata` from `noptrdata` to `end`.
const WORDS: usize = 11;

/// The type of the added function: `(i32, i32, i32, i32) -> i32`.
const HAND_OUT: [u8; 8] = [0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f];

/// Returns the module with pages, and a function `name` that hands them out; `None` if the begin of its heap is not found.
pub(super) fn reserve(module: &[u8], name: &str) -> Option<Vec<u8>> {
    let Layout { types, functions, globals, memory } = Layout::read(module)?;
    let (at, end) = find_end(module, memory.initial)?;
    let room = end.next_multiple_of(PAGE);
    let behind = room + PAGES * PAGE;
    let mut moved = module.to_vec();
    moved.get_mut(at..at + WORD)?.copy_from_slice(&behind.to_le_bytes());
    let (room, behind) = (u32::try_from(room).ok()?.cast_signed(), u32::try_from(behind).ok()?.cast_signed());
    let minimum = memory.initial.checked_add(PAGES)?;
    if memory.maximum.is_some_and(|maximum| maximum < minimum) {
        return None;
    }
    rewrite(&moved, 5, |payload| {
        let item = match payload {
            Payload::MemorySection(_) => {
                let larger = MemoryType { minimum, ..memory.into() };
                return Some(Change::Replace(vec![encoded(&larger)]));
            }
            Payload::TypeSection(_) => HAND_OUT.to_vec(),
            Payload::FunctionSection(_) => encoded(&types),
            Payload::GlobalSection(_) => global(room),
            Payload::ExportSection(_) => [encoded(name), vec![0], encoded(&functions)].concat(),
            Payload::CodeSectionStart { .. } => encoded(&hand_out(globals, behind)),
            _ => return Some(Change::Keep),
        };
        Some(Change::Append(vec![item]))
    })
}

/// Returns whether a module may have the table of functions that Go's runtime needs. Tools that strip names of tools keep the
/// table. A program that carries a Go program with it has it, too.
pub(super) fn is_likely(module: &[u8]) -> bool {
    // Since Go 1.20: the magic number, two zeros, the size of an instruction and of a pointer.
    const PCLNTAB: &[u8] = &[0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    module.windows(PCLNTAB.len()).any(|bytes| bytes == PCLNTAB)
}

/// Returns the segments of a module with their addresses. Go has only segments at fixed addresses of its one memory.
fn segments(module: &[u8]) -> Option<Vec<(u64, Data<'_>)>> {
    let mut segments = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        let Payload::DataSection(section) = payload.ok()? else { continue };
        for data in section {
            let data = data.ok()?;
            let DataKind::Active { memory_index: 0, offset_expr } = &data.kind else { return None };
            let Ok(Operator::I32Const { value }) = offset_expr.get_operators_reader().read() else {
                return None;
            };
            segments.push((u64::from(value.cast_unsigned()), data));
        }
    }
    Some(segments)
}

/// Returns the offset of `end` in the file, and its value.
fn find_end(module: &[u8], pages: u64) -> Option<(usize, u64)> {
    let memory = pages.checked_mul(PAGE).filter(|size| *size <= 1 << 32)?;
    let segments = segments(module)?;
    let last = segments.iter().map(|(address, data)| address + data.data.len() as u64).max()?;
    let mut found = None;
    for (address, data) in &segments {
        let to_first_word = usize::try_from(address.next_multiple_of(WORD as u64) - address).ok()?;
        let bytes = data.data.get(to_first_word..).unwrap_or_default();
        let words: Vec<_> = bytes.as_chunks::<WORD>().0.iter().collect();
        for (index, words) in words.windows(WORDS).enumerate() {
            let value = |at: usize| words.get(at).map_or(0, |word| u64::from_le_bytes(**word));
            let end = value(WORDS - 1);
            if end < last || end > memory || !are_of_moduledata(value, pages) {
                continue;
            }
            let at = data.range.end - bytes.len() + (index + WORDS - 1) * WORD;
            if found.replace((at, end)).is_some() {
                return None;
            }
        }
    }
    found
}

/// Returns whether these words can be what Go's linker writes: `noptrdata`, `enoptrdata`, `data`, `edata`, `bss`, `ebss`,
/// `noptrbss`, `enoptrbss`, `covctrs`, `ecovctrs` and `end`. The last section ends where all does; the counters of
/// `go build -cover` are in it.
fn are_of_moduledata(word: impl Fn(usize) -> u64, pages: u64) -> bool {
    let (edata, noptrbss, enoptrbss, covctrs, ecovctrs, end) =
        (word(3), word(6), word(7), word(8), word(9), word(10));
    enoptrbss == end
        && word(0) >= LOWEST
        && (1..8).all(|at| word(at - 1) <= word(at))
        && noptrbss <= covctrs
        && covctrs <= ecovctrs
        && ecovctrs <= end
        && ((end + SLACK) / PAGE == pages || (edata + OLD_SLACK) / PAGE == pages)
}

/// The added function: it hands out single new pages, as the adapter wants them, and traps on any other request.
fn hand_out(next: u32, behind: i32) -> Function {
    const BYTES: i32 = 64 << 10;
    let mut function = Function::new([]);
    function
        .instructions()
        .local_get(0)
        .local_get(3)
        .i32_const(BYTES)
        .i32_ne()
        .i32_or()
        .global_get(next)
        .i32_const(behind)
        .i32_eq()
        .i32_or()
        .if_(BlockType::Empty)
        .unreachable()
        .end()
        .global_get(next)
        .global_get(next)
        .i32_const(BYTES)
        .i32_add()
        .global_set(next)
        .end();
    function
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;

    const END: u64 = 0x30010;
    /// The start of Go's heap, and of the room.
    const FIRST: i32 = 0x40000;
    const MODULEDATA: [u64; 13] =
        [0, 0x1f00, 0x2000, 0x3000, 0x3000, 0x4000, 0x4010, 0x5000, 0x5000, END, END, END, END];

    /// A module with these words and this many pages.
    fn module(words: &[u64], pages: u64, more: &str) -> Vec<u8> {
        let bytes: String =
            words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect();
        let text = format!(
            "(module (import \"a\" \"b\" (func)) (import \"a\" \"c\" (global i32)) (memory (export \"memory\") {pages})
               (global i64 (i64.const 1)) (func (export \"_start\")) {more} (data (i32.const 4099) \"Go!!!{bytes}\"))"
        );
        wat::parse_str(text).unwrap()
    }

    fn since_1_24() -> u64 {
        (END + (1 << 20)) / PAGE
    }

    #[test]
    fn room_is_made_where_the_heap_began_and_handed_out_by_pages() {
        let old = (0x4000 + (16 << 20)) / PAGE;
        for pages in [since_1_24(), old] {
            let reserved = reserve(&module(&MODULEDATA, pages, ""), "room").unwrap();
            let layout = Layout::read(&reserved).unwrap();
            assert_eq!(layout.memory.initial, pages + 2);
            let end = u64::try_from(FIRST).unwrap() + 2 * PAGE;
            assert!(reserved.windows(WORD).any(|word| word == end.to_le_bytes()));

            let engine = Engine::default();
            let module = Module::new(&engine, &reserved).unwrap();
            let mut store = Store::new(&engine, ());
            let global_type = wasmtime::GlobalType::new(wasmtime::ValType::I32, wasmtime::Mutability::Const);
            let global = wasmtime::Global::new(&mut store, global_type, wasmtime::Val::I32(0)).unwrap();
            let function = wasmtime::Func::wrap(&mut store, || {});
            let instance = Instance::new(&mut store, &module, &[function.into(), global.into()]).unwrap();
            let room = instance.get_typed_func::<(i32, i32, i32, i32), i32>(&mut store, "room").unwrap();
            assert!(room.call(&mut store, (0, 0, 8, 100)).is_err(), "only pages");
            assert!(room.call(&mut store, (FIRST, 0, 8, 65536)).is_err(), "only new ones");
            assert_eq!(room.call(&mut store, (0, 0, 8, 65536)).unwrap(), FIRST);
            assert_eq!(room.call(&mut store, (0, 0, 8, 65536)).unwrap(), FIRST + 65536);
            assert!(room.call(&mut store, (0, 0, 8, 65536)).is_err(), "there are two");
        }
    }

    #[test]
    fn counters_of_go_build_cover_are_within() {
        let mut words = MODULEDATA;
        (words[10], words[11]) = (0x5100, 0x5200);
        assert!(reserve(&module(&words, since_1_24(), ""), "room").is_some());
    }

    #[test]
    fn a_module_that_may_be_different_is_left_alone() {
        let pages = since_1_24();
        let reserved = |words: &[u64], pages, more: &str| reserve(&module(words, pages, more), "room");
        assert!(reserved(&MODULEDATA, pages, "").is_some());
        assert!(reserved(&[MODULEDATA, MODULEDATA].concat(), pages, "").is_none(), "which one?");
        assert!(reserved(&MODULEDATA, pages + 1, "").is_none(), "another size of memory");
        assert!(
            reserved(&MODULEDATA, pages, "(data (i32.const 0x30020) \"x\")").is_none(),
            "data behind the end"
        );
        assert!(reserved(&MODULEDATA, pages, "(data \"x\")").is_none(), "data that has no place");
        assert!(reserved(&MODULEDATA, pages, "(memory 1)").is_none());
        for (at, word) in [(2, 0), (4, 0x2000), (9, END - 8), (10, 0x4000), (11, 0x4000), (12, END + 8)] {
            let mut words = MODULEDATA;
            words[at] = word;
            assert!(reserved(&words, pages, "").is_none(), "word {at}");
        }
    }

    #[test]
    fn a_damaged_module_is_never_a_panic() {
        let whole = module(&MODULEDATA, since_1_24(), "");
        for at in 8..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                let _either = reserve(&damaged, "room");
            }
            let _either = reserve(&whole[..at], "room");
        }
    }
}
