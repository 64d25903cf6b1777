//! Guests that fail, exit, or compute for ever: their connections are reset, and the next ones have a fresh instance.

use std::time::Duration;

use super::client::{Client, End};
use super::lab::{lab, who};
use crate::harness::assert_within;

/// H13 for connections: one trap resets all connections of its instance.
#[test]
fn a_trap_resets_the_connections_of_its_instance() {
    for order in ["trap\n", "half-trap\n", "exit\n"] {
        let app = lab(
            "",
            "instances = { max = 1 }\nrestart = { max = 3, within = \"1m\", backoff = [\"10ms\", \"1s\"] }",
        );
        let before = who(&app).1;
        let mut sibling = Client::new(&app, "lab");
        sibling.send("echo\nhello");
        sibling.expect("hello");
        let mut client = Client::new(&app, "lab");
        client.send(order);
        assert_eq!(client.rest().1, End::Reset, "{order:?}");
        assert_eq!(sibling.rest(), (Vec::new(), End::Reset), "{order:?}");
        assert_ne!(who(&app).1, before, "a fresh instance");
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped");
        assert_eq!(output.records("instance failed", "lab").len(), 1, "{}", output.said());
        assert!(
            output.records("component restarts", "").is_empty(),
            "a client caused it:\n{}",
            output.said()
        );
    }
}

/// Code that does not come back is cut off at the end of the grace, and no earlier.
#[test]
fn a_guest_that_spins_is_cut_off() {
    let app = lab("grace = \"400ms\"", "instances = { max = 1 }");
    let mut client = Client::new(&app, "lab");
    client.send("spin\n");
    std::thread::sleep(Duration::from_millis(100));
    let asked = app.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(client.rest(), (Vec::new(), End::Reset));
    let output = app.wait();
    output.expect_code(124).expect_outcome("lab", "cut-off");
    assert_within(output.after(asked), Duration::from_millis(700), "a cut-off");
}
