//! What several of the http tests need: hosts with one component of the lab, and what its hook counted.

use std::time::Duration;

use artifacts::{HTTP_LAB, HTTP_LAB_CLASSIC};

use crate::harness::{App, Host, Output, Wire, app, until, web};

pub const MS: Duration = Duration::from_millis(1);

/// The lab in both generations of WASI.
pub const LABS: [&str; 2] = [HTTP_LAB, HTTP_LAB_CLASSIC];

/// One instance with one request at a time, for tests that count.
pub const SINGLE: &str = "instances = { max = 1, concurrency = 1 }";

/// A host that serves the component `lab` on a port of the system's choice.
#[track_caller]
pub fn serve(source: &str, app_keys: &str, keys: &str) -> App {
    Host::manifest(&(app(app_keys) + &web("lab", source, keys))).start_ready()
}

/// A connection to the component `lab`.
#[track_caller]
pub fn connect(app: &App) -> Wire {
    Wire::connect(&app.address("lab"))
}

/// GET over a connection of its own.
#[track_caller]
pub fn text_of(app: &App, path: &str) -> String {
    connect(app).get(path).expect(200).text()
}

/// The identity of an instance, and how often it was asked for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    pub id: String,
    pub count: u64,
}

impl State {
    #[track_caller]
    pub fn parse(text: &str) -> State {
        let (count, id) = text.split_once(' ').unwrap_or_else(|| panic!("{text:?} is no state"));
        State { id: id.to_string(), count: count.parse().unwrap() }
    }
}

#[track_caller]
pub fn state(app: &App) -> State {
    State::parse(&text_of(app, "/state"))
}

/// Waits until another instance than these answers.
#[track_caller]
pub fn other_state(app: &App, not: &[&State]) -> State {
    until("an answer of another instance", || {
        let answer = connect(app).get("/state");
        let state = (answer.status == 200).then(|| State::parse(&answer.text()))?;
        (!not.iter().any(|old| old.id == state.id)).then_some(state)
    })
}

/// How many requests the hooks of a component say its instances served.
pub fn served(output: &Output, component: &str) -> u64 {
    let start = format!("{component} | hook: served ");
    let numbers = output.lines.iter().filter_map(|line| line.strip_prefix(&start)?.split(' ').next());
    numbers.map(|number| number.parse::<u64>().expect("the hook counts")).sum()
}

/// I1: the hook was called exactly once for each instance that was started.
#[track_caller]
pub fn expect_one_hook_each(output: &Output, component: &str) {
    let numbers = |message: &str| {
        let records = output.records(message, component);
        let mut numbers: Vec<String> = records.iter().map(|record| record.text("instance")).collect();
        numbers.sort();
        numbers
    };
    assert_eq!(
        numbers("hook started"),
        numbers("instance started"),
        "hooks of {component}:\n{}",
        output.said()
    );
}
