//! The demo app's page in headless Chromium: its rows show what the app's components say, and that they have stopped.

use std::net::SocketAddr;

use artifacts::{EVENTS, HELLO_HTTP, HELLO_HTTP_CLASSIC, SERVER, WEB};

use crate::harness::{Address, App, Browser, Host, Wire, app, component, free_address};

const NAMES: [&str; 5] = ["a", "hello", "classic", "events", "web"];

/// As the demo's manifest has them: one address, a route for each, and the page takes the rest.
fn manifest(address: SocketAddr) -> String {
    let listen = |routes: &str| format!("listen = [\"{address}\"]\n{routes}");
    let config = "[component.web.config]\n\"component.a\" = \"service\"\n\"component.hello\" = \"http /hello\"\n\
                  \"component.classic\" = \"http /classic\"\n\"component.events\" = \"events /events\"\n\
                  \"component.web\" = \"http /web\"\n";
    app("grace = \"20s\"")
        + &component("a", SERVER, "")
        + &component("hello", HELLO_HTTP, &listen("routes = [\"/hello\"]"))
        + &component("classic", HELLO_HTTP_CLASSIC, &listen("routes = [\"/classic\"]"))
        + &component("events", EVENTS, &listen("routes = [\"/events\"]"))
        + &component("web", WEB, &listen(""))
        + config
}

fn start() -> (App, SocketAddr) {
    let free = free_address();
    (Host::manifest(&manifest(free)).start_ready(), free)
}

/// The cell that says what the component says.
fn says(name: &str) -> String {
    format!("tr[data-name=\"{name}\"] .says")
}

#[test]
fn the_page_shows_the_components_of_the_app() {
    let (app, address) = start();
    let Some(mut browser) = Browser::open(&format!("http://{address}/")) else { return };
    browser.wait_for_text("h1", |text| text == "The demo app");
    browser.wait_for_text(&says("hello"), |text| text == "Hello");
    browser.wait_for_text(&says("classic"), |text| text == "Hello");
    browser.wait_for_text(&says("a"), |text| text == "running");
    browser.wait_for_text(&says("events"), |text| text.starts_with("tick "));
    browser.wait_for_text(&says("web"), |text| text == "page served 1 times");
    // The page is open, with its endless stream of events, when the stop comes.
    let asked = std::time::Instant::now();
    let output = app.stop();
    output.expect_code(0);
    for name in NAMES {
        output.expect_outcome(name, "stopped");
    }
    crate::harness::assert_within(output.after(asked), super::lab::MS * 500, "the stop with a browser");
    for name in NAMES {
        browser.wait_for_text(&says(name), |text| text == "stopped");
    }
}

/// Without a browser: the page itself, with a row for each component.
#[test]
fn the_page_is_whole_in_itself() {
    let (app, address) = start();
    let mut wire = Wire::connect(&Address::Tcp(address));
    let page = wire.get("/").expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let text = page.text();
    for name in NAMES {
        assert!(text.contains(&format!("data-name=\"{name}\"")), "{name} is not in\n{text}");
    }
    assert!(
        !text.contains("src=\"http") && !text.contains("href=\"http"),
        "it needs something from elsewhere"
    );
    assert_eq!(wire.get("/web").expect(200).text(), "page served 1 times");
    app.stop().expect_code(0);
}
