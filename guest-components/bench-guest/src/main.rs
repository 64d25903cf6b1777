//! Runs one workload N times and prints the time. Arguments: `tight|strings|sort|sieve|fib|matmul N`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, work)) = args.first().and_then(|name| Some((name, workload(name)?))) else {
        eprintln!("usage: tight|strings|sort|sieve|fib|matmul N");
        return ExitCode::FAILURE;
    };
    let rounds: u32 = args.get(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let start = Instant::now();
    for round in 0..rounds {
        black_box(work(black_box(round)));
    }
    println!("{name} {} ns", start.elapsed().as_nanos());
    ExitCode::SUCCESS
}

fn workload(name: &str) -> Option<fn(u32) -> u64> {
    Some(match name {
        "tight" => tight,
        "strings" => strings,
        "sort" => sort,
        "sieve" => sieve,
        "fib" => |round| fib(26 + (round & 1)),
        "matmul" => matmul,
        _ => return None,
    })
}

/// A linear congruential generator: the workloads need numbers, not good randomness.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *state >> 16
}

fn tight(seed: u32) -> u64 {
    let mut state = u64::from(seed);
    for _ in 0..5_000_000 {
        state = black_box(state.wrapping_mul(31).wrapping_add(7));
    }
    state
}

fn strings(seed: u32) -> u64 {
    let mut state = u64::from(seed);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..20_000 {
        *counts.entry(format!("key-{:04}", next(&mut state) % 2_000)).or_default() += 1;
    }
    counts.iter().map(|(key, count)| key.len() as u64 * count).sum()
}

fn sort(seed: u32) -> u64 {
    let mut state = u64::from(seed);
    let mut numbers: Vec<u64> = (0..100_000).map(|_| next(&mut state)).collect();
    numbers.sort_unstable();
    numbers[50_000]
}

fn sieve(seed: u32) -> u64 {
    const LIMIT: usize = 1_000_000;
    let mut composite = vec![false; LIMIT];
    let mut count = u64::from(seed);
    for number in 2..LIMIT {
        if !composite[number] {
            count += 1;
            for multiple in (number * number..LIMIT).step_by(number) {
                composite[multiple] = true;
            }
        }
    }
    count
}

fn fib(n: u32) -> u64 {
    if n < 2 { u64::from(n) } else { fib(n - 1) + fib(n - 2) }
}

fn matmul(seed: u32) -> u64 {
    const SIZE: usize = 120;
    let mut state = u64::from(seed);
    let mut matrix = || -> Vec<f64> { (0..SIZE * SIZE).map(|_| (next(&mut state) % 100) as f64).collect() };
    let (left, right) = (matrix(), matrix());
    let mut product = vec![0.0; SIZE * SIZE];
    for row in 0..SIZE {
        for column in 0..SIZE {
            let mut sum = 0.0;
            for inner in 0..SIZE {
                sum += left[row * SIZE + inner] * right[inner * SIZE + column];
            }
            product[row * SIZE + column] = sum;
        }
    }
    product.iter().sum::<f64>() as u64
}
