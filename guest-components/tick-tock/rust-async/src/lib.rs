//! The logic of tick-tock: it runs anywhere, and so do its tests. The component around it is in `component.rs`.

#[cfg(target_family = "wasm")]
mod component;

/// What the clock says at its `n`th beat.
pub fn beat(n: u64) -> String {
    let word = if n % 2 == 1 { "tick" } else { "tock" };
    format!("{word} {n}")
}

#[cfg(test)]
mod tests {
    use super::beat;

    #[test]
    fn ticks_and_tocks_alternate() {
        assert_eq!([1, 2, 3].map(beat), ["tick 1", "tock 2", "tick 3"]);
    }
}
