//! The logic of say-hello: it runs anywhere, and so do its tests. The component around it is in `component.rs`.

#[cfg(target_family = "wasm")]
mod component;

/// The answer to the `n`th request.
pub fn greeting(n: u64) -> String {
    format!("Hello, you are number {n}\n")
}

#[cfg(test)]
mod tests {
    use super::greeting;

    #[test]
    fn a_greeting_says_the_number() {
        assert_eq!(greeting(3), "Hello, you are number 3\n");
    }
}
