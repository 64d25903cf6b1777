//! I12 at length: reloads and restarts of each kind of component under load leave no descriptor, thread or memory behind.

use std::net::SocketAddr;

use artifacts::{HELLO_HTTP, HELLO_HTTP_CLASSIC, HTTP_LAB, SERVER, SERVER_CLASSIC};

use crate::harness::{Address, App, CONTROL, Host, Load, Target, app, component, free_port, until, web};

/// After how many reloads the host is looked at. What the allocator keeps differs by some 15 MiB from one look to the next,
/// so the lowest of the last ones is compared with the highest of the first.
const EARLY: [u32; 3] = [4, 8, 12];
const LATE: [u32; 3] = [42, 46, 50];
const RESTARTS: u32 = 20;
/// By how much that may differ: by 100 KiB or so for each generation that comes and goes in between.
const SPREAD_MIB: f64 = 16.0;
const NAMES: [&str; 6] = ["clock", "classic-clock", "web", "one", "two", "mover"];

/// The ports that tests need to know.
struct Ports {
    shared: u16,
    moving: [u16; 2],
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Services, an http component on an address of its own, two on a shared one, and one that moves with each version.
fn manifest(ports: &Ports, version: u32) -> String {
    let env = format!("env = {{ V = \"{version}\" }}");
    // The thread of a second instance stays for the next one: when it is made is a matter of the load.
    let instances = "instances = { max = 1 }";
    let on = |port: u16, more: &str| format!("listen = [\"{}\"]\n{more}\n{instances}\n{env}", local(port));
    let moving = ports.moving[version as usize % 2];
    app(&format!("grace = \"10s\"\n{CONTROL}"))
        + &component("clock", SERVER, &env)
        + &component("classic-clock", SERVER_CLASSIC, &format!("{env}\noverlap = true"))
        + &web("web", HELLO_HTTP, &format!("{instances}\n{env}"))
        + &component("one", HELLO_HTTP, &on(ports.shared, "routes = [\"/one\"]"))
        + &component("two", HELLO_HTTP_CLASSIC, &on(ports.shared, ""))
        + &component("mover", HTTP_LAB, &on(moving, ""))
}

/// What the host takes when nothing goes on and nobody is there but the newest generations.
#[derive(Clone, Copy, Debug)]
struct Taken {
    memory: f64,
    descriptors: usize,
    threads: usize,
}

struct Steady {
    app: App,
    ports: Ports,
    version: u32,
    restarts: u32,
}

impl Steady {
    /// Reloads up to this version, with restarts in between, under load. Returns what the host takes after that, which is at
    /// most what it took before.
    fn reload_up_to(&mut self, version: u32, restarts: u32, most: Option<Taken>) -> Taken {
        let shared = Address::Tcp(local(self.ports.shared));
        let targets = [
            Target::new("web", self.app.address("web"), "/"),
            Target::new("one", shared.clone(), "/one"),
            Target::new("two", shared, "/"),
        ];
        let load = Load::start(60, &targets);
        while self.version < version {
            self.version += 1;
            self.app.reload(&manifest(&self.ports, self.version));
            if self.restarts < restarts {
                self.restarts += 1;
                for name in NAMES {
                    self.app.order(&format!("/restart?component={name}")).expect(200);
                }
            }
        }
        let tally = load.end();
        assert!(tally.others(&[]).is_empty(), "{tally:?}");
        assert!(tally.answered("web", 200) > 0, "no load");
        self.rest(most)
    }

    /// Waits until nobody is left but the newest generations, and until no more is taken than this.
    fn rest(&self, most: Option<Taken>) -> Taken {
        for name in NAMES {
            self.app.wait_for_generation(name, u64::from(self.version + self.restarts));
        }
        let take = || Taken {
            memory: self.app.resident_mib(),
            descriptors: self.app.descriptors(),
            threads: self.app.threads(),
        };
        let Some(most) = most else {
            // The load's connections are gone when there are no more of them than after a while without any.
            return settled(take);
        };
        let mut last = take();
        let end = std::time::Instant::now() + crate::harness::patience();
        while last.descriptors > most.descriptors || last.threads > most.threads {
            assert!(std::time::Instant::now() < end, "{most:?} before, {last:?} after");
            std::thread::sleep(std::time::Duration::from_millis(50));
            last = take();
        }
        last
    }
}

/// What is taken when that has not changed for a while: the system tells nobody when the last connection is gone.
fn settled(take: impl Fn() -> Taken) -> Taken {
    let (mut last, mut same) = (take(), 0);
    until("the host comes to rest", || {
        let now = take();
        same = if (now.descriptors, now.threads) == (last.descriptors, last.threads) { same + 1 } else { 0 };
        last = now;
        (same > 100).then_some(now)
    })
}

#[test]
fn many_reloads_and_restarts_leave_nothing_behind() {
    let ports = Ports { shared: free_port(), moving: [free_port(), free_port()] };
    let app = Host::manifest(&manifest(&ports, 1)).start_ready();
    let mut steady = Steady { app, ports, version: 1, restarts: 0 };
    let early = EARLY.map(|reloads| steady.reload_up_to(reloads + 1, 3, None));
    let late = LATE.map(|reloads| steady.reload_up_to(reloads + 1, RESTARTS, Some(early[2])));
    eprintln!("after {EARLY:?} reloads: {early:?}; after {LATE:?}: {late:?}");
    let highest = early.iter().map(|taken| taken.memory).fold(0.0, f64::max);
    let lowest = late.iter().map(|taken| taken.memory).fold(f64::MAX, f64::min);
    assert!(lowest <= highest + SPREAD_MIB, "memory grows: {early:?}, {late:?}");
    let Steady { app, .. } = steady;
    let status = app.status();
    assert_eq!((&status["reloads"], &status["failed_reloads"]), (&LATE[2].into(), &0.into()), "{status}");
    let output = app.stop();
    output.expect_code(0);
    let errors: Vec<_> = output.records.iter().filter(|record| record.text("level") == "ERROR").collect();
    assert!(errors.is_empty(), "{errors:?}");
}
