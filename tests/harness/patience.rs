//! How long tests wait, and how much later than promised is still accepted.

use std::time::Duration;

/// The time that a busy machine may add to any promised time: it runs several hosts and spinning guests at once, and other
/// work beside them. `CURFEW_TEST_SLACK_MS` sets it, for a tighter look at a desk; benchmarks measure the real figures.
fn slack() -> Duration {
    let millis = std::env::var("CURFEW_TEST_SLACK_MS").ok().and_then(|text| text.parse().ok());
    Duration::from_millis(millis.unwrap_or(2500))
}

/// The longest wait for anything that must happen: generous, since it is only spent by a failing test.
pub fn patience() -> Duration {
    let seconds = std::env::var("CURFEW_TEST_PATIENCE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// Fails when `took` is longer than what is promised, a busy machine taken into account.
#[track_caller]
pub fn assert_within(took: Duration, promised: Duration, what: &str) {
    let slack = slack();
    assert!(took <= promised + slack, "{what}: took {took:?}, promised within {promised:?} (+ {slack:?})");
}
