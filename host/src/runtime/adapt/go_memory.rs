//! Makes room for the adapter in the memory of a Go program.
//!
//! Go's runtime takes for its heap all memory behind `runtime.firstmoduledata.end`, and when that grows it does not ask where
//! the new pages are (`sbrk` in its `mem_wasm.go`). So `end` is moved two pages up, and a function that is added to the
//! module hands out the pages in between.
//!
//! Invariant: a module is changed only if exactly one word in it can be `end`.

use std::ops::Range;

use wasm_encoder::{
    ConstExpr, Encode, Function, GlobalType, MemorySection, MemoryType, RawSection, SectionId, ValType,
};
use wasmparser::{BinaryReader, DataKind, Operator, Parser, Payload, TypeRef};

use super::indices::Indices;

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

/// Returns the module with pages for its adapter and a function of this name that hands them out. `None` if the begin of
/// its heap is not found.
pub(super) fn reserve(module: &[u8], name: &str) -> Option<Vec<u8>> {
    let layout = Layout::read(module)?;
    let (at, end) = layout.find_end(module)?;
    let first = end.next_multiple_of(PAGE);
    let room = Room { first: u32::try_from(first).ok()?, behind: u32::try_from(first + PAGES * PAGE).ok()? };
    let mut moved = module.to_vec();
    moved.get_mut(at..at + WORD)?.copy_from_slice(&u64::from(room.behind).to_le_bytes());
    layout.extend(&moved, &room, name)
}

/// Whether a module may have the table of functions that Go's runtime needs. The table stays when a tool has stripped the
/// names of tools; a program that carries a Go program with it has it, too.
pub(super) fn is_likely(module: &[u8]) -> bool {
    // Since Go 1.20: the magic number, two zeros, the size of an instruction and of a pointer.
    const PCLNTAB: &[u8] = &[0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    module.windows(PCLNTAB.len()).any(|bytes| bytes == PCLNTAB)
}

struct Room {
    first: u32,
    behind: u32,
}

struct Segment {
    address: u64,
    bytes: Range<usize>,
}

#[derive(Default)]
struct Layout {
    indices: Indices,
    memory: Option<wasmparser::MemoryType>,
    segments: Vec<Segment>,
}

impl Layout {
    fn read(module: &[u8]) -> Option<Self> {
        let mut layout = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            layout.take(payload.ok()?)?;
        }
        Some(layout)
    }

    fn take(&mut self, payload: Payload<'_>) -> Option<()> {
        self.indices.count(&payload)?;
        match payload {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    // Go has its own memory.
                    if let TypeRef::Memory(_) = import.ok()?.ty {
                        return None;
                    }
                }
            }
            Payload::MemorySection(section) => {
                let mut memories = section.into_iter();
                self.memory = Some(memories.next()?.ok()?);
                return memories.next().is_none().then_some(());
            }
            Payload::DataSection(section) => {
                for data in section {
                    let data = data.ok()?;
                    // Go has only segments at fixed addresses of its one memory.
                    let DataKind::Active { memory_index: 0, offset_expr } = data.kind else { return None };
                    let Ok(Operator::I32Const { value }) = offset_expr.get_operators_reader().read() else {
                        return None;
                    };
                    let address = u64::from(value.cast_unsigned());
                    let begin = data.range.end - data.data.len();
                    self.segments.push(Segment { address, bytes: begin..data.range.end });
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Returns where in the file `end` is, and what it is.
    fn find_end(&self, module: &[u8]) -> Option<(usize, u64)> {
        let pages = self.memory?.initial;
        let memory = pages.checked_mul(PAGE).filter(|size| *size <= 1 << 32)?;
        let last = self.segments.iter().map(|segment| segment.address + segment.bytes.len() as u64).max()?;
        let mut found = None;
        for segment in &self.segments {
            let to_first_word = segment.address.next_multiple_of(WORD as u64) - segment.address;
            let bytes = module.get(segment.bytes.clone())?.get(usize::try_from(to_first_word).ok()?..);
            let words: Vec<_> = bytes.unwrap_or_default().as_chunks::<WORD>().0.iter().collect();
            for (index, words) in words.windows(WORDS).enumerate() {
                let value = |at: usize| words.get(at).map_or(0, |word| u64::from_le_bytes(**word));
                let end = value(WORDS - 1);
                if end < last || end > memory || !are_of_moduledata(value, pages) {
                    continue;
                }
                let at = segment.bytes.end - bytes.map_or(0, <[u8]>::len) + (index + WORDS - 1) * WORD;
                if found.replace((at, end)).is_some() {
                    return None;
                }
            }
        }
        found
    }

    /// Returns the module with the function that hands out the room, and memory for it.
    fn extend(&self, module: &[u8], room: &Room, name: &str) -> Option<Vec<u8>> {
        let mut extended = wasm_encoder::Module::new();
        let mut added = 0;
        for payload in Parser::new(0).parse_all(module) {
            let Some((id, range)) = payload.ok()?.as_section() else { continue };
            let section = module.get(range)?;
            let item = match id {
                id if id == SectionId::Memory as u8 => {
                    extended.section(&self.larger_memory()?);
                    continue;
                }
                // (i32, i32, i32, i32) -> i32
                id if id == SectionId::Type as u8 => vec![0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f],
                id if id == SectionId::Function as u8 => encoded(&self.indices.types),
                id if id == SectionId::Global as u8 => next_page(room),
                id if id == SectionId::Export as u8 => {
                    let mut export = encoded(name);
                    export.push(0);
                    self.indices.functions.encode(&mut export);
                    export
                }
                id if id == SectionId::Code as u8 => encoded(&hand_out(self.indices.globals, room)),
                id => {
                    extended.section(&RawSection { id, data: section });
                    continue;
                }
            };
            added += 1;
            extended.section(&RawSection { id, data: &with_item(section, &item)? });
        }
        (added == 5).then(|| extended.finish())
    }

    fn larger_memory(&self) -> Option<MemorySection> {
        let memory = self.memory?;
        let minimum = memory.initial.checked_add(PAGES)?;
        let is_plain = !memory.memory64 && !memory.shared && memory.page_size_log2.is_none();
        if !is_plain || memory.maximum.is_some_and(|maximum| maximum < minimum) {
            return None;
        }
        let mut section = MemorySection::new();
        let maximum = memory.maximum;
        section.memory(MemoryType { minimum, maximum, memory64: false, shared: false, page_size_log2: None });
        Some(section)
    }
}

/// Whether these words can be what Go's linker writes: `noptrdata`, `enoptrdata`, `data`, `edata`, `bss`, `ebss`,
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

fn next_page(room: &Room) -> Vec<u8> {
    let mut global = encoded(&GlobalType { val_type: ValType::I32, mutable: true, shared: false });
    ConstExpr::i32_const(room.first.cast_signed()).encode(&mut global);
    global
}

/// The function: it hands out single new pages, as the adapter wants them, and traps when it is asked for anything else.
fn hand_out(global: u32, room: &Room) -> Function {
    const BYTES: i32 = 64 << 10;
    let mut function = Function::new([]);
    function
        .instructions()
        .local_get(0)
        .local_get(3)
        .i32_const(BYTES)
        .i32_ne()
        .i32_or()
        .global_get(global)
        .i32_const(room.behind.cast_signed())
        .i32_eq()
        .i32_or()
        .if_(wasm_encoder::BlockType::Empty)
        .unreachable()
        .end()
        .global_get(global)
        .global_get(global)
        .i32_const(BYTES)
        .i32_add()
        .global_set(global)
        .end();
    function
}

fn encoded(item: &(impl Encode + ?Sized)) -> Vec<u8> {
    let mut bytes = Vec::new();
    item.encode(&mut bytes);
    bytes
}

/// A section that is a list, with one more item.
fn with_item(section: &[u8], item: &[u8]) -> Option<Vec<u8>> {
    let mut reader = BinaryReader::new(section, 0);
    let count = reader.read_var_u32().ok()?;
    let items = section.get(reader.original_position()..)?;
    let mut longer = encoded(&count.checked_add(1)?);
    longer.extend_from_slice(items);
    longer.extend_from_slice(item);
    Some(longer)
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;

    const END: u64 = 0x30010;
    /// Where Go's heap begins, and with it the room.
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
            assert_eq!(layout.memory.unwrap().initial, pages + 2);
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
