//! Part G × HUP for kind `http`: a fresh generation takes the address over from one that misbehaves, which ends within its
//! grace; siblings and their connections do not notice, and the app goes on to be asked and stopped.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal::SIGTERM;

use super::cases::{Client, HOOKS};
use super::{Cell, MS, connect, served};
use crate::harness::{App, End, Load, Output, Target, Wire, assert_within, until};

/// What is added to a grace by those who are cut off.
const CUT: Duration = Duration::from_millis(250);
/// How long a reload takes at most when nothing has to be compiled.
const RELOAD: Duration = Duration::from_secs(1);

impl Cell {
    fn grace(self) -> Duration {
        self.event.times().1
    }

    /// The reload, and the first answer of the fresh generation.
    #[track_caller]
    fn reload(self, app: &App, instances: &str) -> Instant {
        let asked = Instant::now();
        let reloaded = app.reload(&self.manifest(instances, 2));
        assert_within(reloaded.at - asked, RELOAD, "reload");
        connect(app).get("/").expect(200);
        assert_within(asked.elapsed(), RELOAD + 250 * MS, "first answer of the fresh generation");
        asked
    }

    /// The old generation ends in bound, and as the table says.
    #[track_caller]
    fn expect_end_of_the_old(self, app: &App, asked: Instant) -> String {
        let ended = app.wait_for_log("component ended", "lab");
        assert_within(ended.at - asked, self.grace() + CUT, "end of the old generation");
        assert_eq!(ended.text("outcome"), self.outcome(), "{}", ended.fields);
        until("the fresh generation alone", || {
            let numbers: Vec<_> = app.generations("lab").iter().map(|one| one.number("generation")).collect();
            (numbers == [2]).then_some(())
        });
        for sibling in ["sibling", "web"] {
            let all = app.generations(sibling);
            assert_eq!((all.len(), all[0].number("generation")), (1, 1), "{all:?}");
            assert_eq!((all[0].text("state"), all[0].number("restarts")), ("running", 0), "{all:?}");
        }
        ended.text("outcome")
    }

    /// The fresh generation has done nothing yet that could hold the stop up but its hook.
    #[track_caller]
    fn stop(self, app: App) -> Output {
        let asked = app.signal(SIGTERM);
        let output = app.wait();
        assert_within(output.after(asked), self.grace() + CUT, "exit");
        let outcome = HOOKS[self.hook].2;
        let code = match outcome {
            "cut-off" => 124,
            "hook-failed" => 3,
            _ => 0,
        };
        output.expect_outcome("lab", outcome).expect_code(code);
        for sibling in ["sibling", "web"] {
            output.expect_outcome(sibling, "stopped").expect_hook(sibling, "ok");
        }
        output
    }

    pub(super) fn run_hup(self) -> String {
        let peer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let app = self.start("max = 1", &peer);
        let mut client = self.misbehave(&app);
        if client.is_none() {
            connect(&app).get("/").expect(200);
        }
        let mut kept = Wire::connect(&app.address("web"));
        kept.get("/").expect(200);
        let asked = self.reload(&app, "max = 1");
        kept.get("/").expect(200);
        if let Some(wire) = &mut client {
            self.expect_told(wire);
        }
        let outcome = self.expect_end_of_the_old(&app, asked);
        kept.get("/").expect(200);
        let output = self.stop(app);
        assert_eq!(served(&output, "web"), 3, "{}", output.said());
        format!("{outcome}, reloaded")
    }

    /// The same with plain requests to it and to its sibling, which loses none.
    pub(super) fn run_hup_under_load(self) {
        let peer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let app = self.start("max = 3", &peer);
        let targets = ["lab", "web"].map(|name| Target::new(name, app.address(name), "/"));
        let load = Load::start(120, &targets);
        load.wait_for_answers(40);
        let mut client = self.misbehave(&app);
        let asked = self.reload(&app, "max = 3");
        self.expect_end_of_the_old(&app, asked);
        if let (Some(wire), Client::Waits | Client::Reads) = (&mut client, self.case().client) {
            self.expect_told(wire);
        }
        let tally = load.end();
        let output = self.stop(app);
        let lost = tally.count(|name, _, end| name == "web" && *end != End::Answered(200));
        assert_eq!(lost, 0, "the sibling lost requests: {tally:?}");
        assert_eq!(served(&output, "web"), tally.answered("web", 200), "{}", output.said());
        // The address of the guest never was without a listener, whatever became of those that its old generation had.
        let refused = tally.count(|_, _, end| matches!(end, End::Refused | End::Hung));
        assert_eq!(refused, 0, "{tally:?}");
    }
}
