//! What tests of reloads look at: an app whose every part would show that it was touched.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use artifacts::{HTTP_LAB, SERVICE_LAB};

use crate::harness::{Address, App, CONTROL, LineClient, Wire, app, component, free_address, keys};

/// The identity of an instance of the lab, and how often it was asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub id: String,
    pub count: u64,
}

/// Asks over this connection which instance answers there.
#[track_caller]
pub fn seen(wire: &mut Wire) -> Seen {
    let text = wire.get("/state").expect(200).text();
    let (count, id) = text.split_once(' ').unwrap_or_else(|| panic!("{text:?} is no state"));
    Seen { id: id.to_string(), count: count.parse().unwrap() }
}

/// One instance of the lab that listens there. Another `version` is another component.
pub fn lab(name: &str, address: SocketAddr, version: u32, more: &str) -> String {
    let keys =
        format!("listen = [\"{address}\"]\ninstances = {{ max = 1 }}\nenv = {{ V = \"{version}\" }}\n{more}");
    component(name, HTTP_LAB, &keys)
}

/// A component `web` that listens at a fixed address, and a service `desk` with a listener of its own.
pub struct Shop {
    pub web: SocketAddr,
    pub desk: SocketAddr,
}

impl Shop {
    pub fn new() -> Shop {
        Shop { web: free_address(), desk: free_address() }
    }

    /// The manifest with this version of `web`.
    pub fn manifest(&self, version: u32) -> String {
        self.manifest_with(version, "", "")
    }

    pub fn manifest_with(&self, version: u32, app_keys: &str, web_keys: &str) -> String {
        let desk = self.desk;
        let args = keys(&[&format!("listen={desk}"), "alive=50"]);
        app(&format!("{CONTROL}\ngrace = \"20s\"\n{app_keys}"))
            + &lab("web", self.web, version, web_keys)
            + &component("desk", SERVICE_LAB, &format!("{args}\nnetwork = {{ listen = [\"{desk}\"] }}"))
    }
}

/// Clients that stay, and what they knew last.
pub struct Witness {
    web: Wire,
    desk: LineClient,
    before: Seen,
    listeners: BTreeMap<SocketAddr, u64>,
}

impl Witness {
    #[track_caller]
    pub fn of(app: &App, shop: &Shop) -> Witness {
        let mut web = Wire::connect(&Address::Tcp(shop.web));
        let before = seen(&mut web);
        app.wait_for_line("desk | listening on ");
        let listeners = app.listeners();
        let has = |address| listeners.contains_key(address);
        assert!(has(&shop.web) && has(&shop.desk), "{listeners:?}");
        Witness { web, desk: LineClient::connect(shop.desk.port()), before, listeners }
    }

    /// Same instances, same listening sockets, same connections: nothing has been touched.
    #[track_caller]
    pub fn expect_untouched(&mut self, app: &App, after: &str) {
        let now = seen(&mut self.web);
        let expected = Seen { count: now.count, ..self.before.clone() };
        assert_eq!(now, expected, "another instance of web answers after {after}");
        assert!(now.count > self.before.count, "web lost its memory after {after}");
        self.before = now;
        self.desk.send(after);
        assert_eq!(self.desk.receive().as_deref(), Some(after), "the connection to desk");
        assert_eq!(app.listeners(), self.listeners, "listening sockets after {after}");
        for name in ["web", "desk"] {
            assert_eq!(
                app.generations(name).len(),
                1,
                "generations of {name} after {after}: {}",
                app.status()
            );
            assert_eq!(app.component(name).number("generation"), 1, "{name} after {after}");
        }
    }
}
