//! What both hostile guests do alike, without any import of WASI's but std's. Included by path.

use std::hint::black_box;
use std::io::{Read, Write};

const PAGES_PER_MIB: usize = 16;

/// The value of the argument `KEY=VALUE`.
pub fn option(key: &str) -> Option<String> {
    std::env::args().find_map(|argument| {
        let (name, value) = argument.split_once('=')?;
        (name == key).then(|| value.to_string())
    })
}

pub fn number(key: &str, default: u64) -> u64 {
    option(key).and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub fn spin() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Three functions deep, so that a backtrace has something to show.
#[inline(never)]
pub fn deep_trap() {
    black_box(deep_trap_middle(black_box(1)));
}

#[inline(never)]
fn deep_trap_middle(depth: u32) -> u32 {
    black_box(deep_trap_inner(depth + 1)) + 1
}

#[inline(never)]
fn deep_trap_inner(depth: u32) -> u32 {
    if black_box(depth) > 0 {
        core::arch::wasm32::unreachable();
    }
    depth
}

#[inline(never)]
pub fn recurse(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX {
        return depth;
    }
    black_box(recurse(depth + 1)) + 1
}

/// Each `memory.fill` is one operation that can not be interrupted.
pub fn fill() -> ! {
    let mut block = vec![1u8; number("mib", 64) as usize * 1024 * 1024];
    loop {
        block.fill(black_box(2));
        black_box(&mut block);
    }
}

pub fn grow() {
    let mut mib = 0;
    while core::arch::wasm32::memory_grow::<0>(PAGES_PER_MIB) != usize::MAX {
        mib += 1;
    }
    println!("grow refused after {mib} MiB");
}

/// Opens a file that may never open, and parks the whole store in it.
pub fn open_fifo() {
    let path = option("path").unwrap_or_else(|| "fifo".to_string());
    match std::fs::File::open(&path) {
        Ok(_) => println!("{path} opened"),
        Err(error) => eprintln!("{path}: {error}"),
    }
}

#[allow(dead_code, reason = "the async guest reads its standard input without blocking")]
pub fn read_stdin() {
    let mut buffer = [0; 1024];
    while std::io::stdin().read(&mut buffer).is_ok_and(|length| length > 0) {}
    println!("stdin ended");
}

pub fn flood_line() {
    println!("{}", "x".repeat(1023));
}

/// A piece of the line that never ends.
pub fn flood_piece() {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(&[b'y'; 1024]);
    let _ = stdout.flush();
}

#[inline(never)]
pub fn panic_on_purpose() {
    panic!("a panic on purpose");
}

pub fn unknown(place: &str, behaviour: &str) -> String {
    format!("unknown behaviour {place}={behaviour}")
}
