//! What several of the tcp tests need: hosts with one component.

use artifacts::{ECHO_HANDLER, TCP_LAB};

use super::client::Client;
use crate::harness::{App, Host, app, web};

/// A host that serves the component `lab`.
#[track_caller]
pub fn lab(app_keys: &str, keys: &str) -> App {
    Host::manifest(&(app(app_keys) + &web("lab", TCP_LAB, keys))).start_ready()
}

/// A host that serves the component `echo`.
#[track_caller]
pub fn echo(app_keys: &str, keys: &str) -> App {
    Host::manifest(&(app(app_keys) + &web("echo", ECHO_HANDLER, keys))).start_ready()
}

/// The number of the instance that serves a new connection, and the address that it sees.
#[track_caller]
pub fn who(app: &App) -> (String, String) {
    let mut client = Client::new(app, "lab");
    client.send("who\n");
    let (text, _) = client.rest_text();
    let (peer, id) = text.trim_end().split_once(' ').unwrap_or_else(|| panic!("{text:?} is no answer"));
    (peer.to_owned(), id.to_owned())
}
