//! The number of inputs of property tests of what clients send.

use proptest::test_runner::Config;

/// Returns as many cases as `CURFEW_FUZZ_INPUTS` says, or some that are soon tried.
pub(crate) fn cases() -> Config {
    let inputs = std::env::var("CURFEW_FUZZ_INPUTS").ok().and_then(|inputs| inputs.parse().ok());
    Config { cases: inputs.unwrap_or(2_000), failure_persistence: None, ..Config::default() }
}
