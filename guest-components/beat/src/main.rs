//! Sleeps again and again, and prints how late it woke at worst. Arguments: `ROUNDS [PERIOD_MS]`.

use std::time::{Duration, Instant};

fn main() {
    let mut args = std::env::args().skip(1);
    let rounds: u32 = args.next().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let period = Duration::from_millis(args.next().and_then(|text| text.parse().ok()).unwrap_or(1));
    let mut worst = Duration::ZERO;
    let mut total = Duration::ZERO;
    for _ in 0..rounds {
        let start = Instant::now();
        std::thread::sleep(period);
        let late = start.elapsed().saturating_sub(period);
        worst = worst.max(late);
        total += late;
    }
    println!("worst lateness {} us", worst.as_micros());
    println!("mean lateness {} us", total.as_micros() / u128::from(rounds.max(1)));
}
