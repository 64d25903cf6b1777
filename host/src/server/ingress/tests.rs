//! Tests of `front` with real guests and sockets: a world in which the test is the supervisor. Invariant: nothing here
//! sleeps to wait for something; whatever is waited for has a generous bound.

mod alone;
mod failures;
mod load;
#[path = "../../../../tests/harness/ports.rs"]
mod ports;
mod switching;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::ingress::Ingress;
use crate::plan::{Bare, ComponentPlan, ListenAddress, Plan};
use crate::runtime::{
    InstanceEvent, Link, Loaded, MakeStdio, Notice, NoticeCause, Runtime, RuntimeOptions, Stdio, load_one,
};
use crate::server::http::kind::HTTP;
use crate::server::servers::{IncomingGeneration, PrepareError, Server, ServerParts, StartParts};
use crate::server::tcp::kind::TCP;
use crate::teardown::{GenerationId, Outcome};

/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(20);

/// A front, and everything that its supervisor would know.
struct World {
    front: Ingress,
    runtime: Runtime,
    loaded: BTreeMap<String, Arc<Loaded>>,
    links: BTreeMap<GenerationId, Arc<Link>>,
    tell: Sender<(GenerationId, InstanceEvent)>,
    told: Receiver<(GenerationId, InstanceEvent)>,
    /// What was told and not waited for.
    unread: Vec<(GenerationId, InstanceEvent)>,
    serial: usize,
}

/// Returns the plan of a component of this name.
fn plan(name: &str, source: &str, listen: &[&str]) -> ComponentPlan {
    let mut plan = Plan::from_files(&[source.into()], &Bare::default()).unwrap().components.remove(0);
    plan.name = name.to_owned();
    plan.http.listen = listen.iter().map(|text| address(text)).collect();
    plan
}

fn address(text: &str) -> ListenAddress {
    crate::plan::address::parse_listen_address(text).unwrap()
}

fn free_address() -> String {
    ports::free_address().to_string()
}

impl World {
    fn new() -> Self {
        let runtime =
            Runtime::new(RuntimeOptions { cache: None, interruptible: true, kinds: vec![&HTTP, &TCP] })
                .unwrap();
        let (tell, told) = channel();
        let front =
            Ingress::new(&ServerParts { runtime: runtime.clone(), access: None, died: Arc::new(|| {}) });
        let (loaded, links, unread) = Default::default();
        Self { front, runtime, loaded, links, tell, told, unread, serial: 0 }
    }

    /// Prepares these, and returns their ids.
    fn prepare(
        &mut self,
        plans: &[&ComponentPlan],
        stale: &[GenerationId],
    ) -> Result<Vec<GenerationId>, PrepareError> {
        let mut fresh = Vec::new();
        for plan in plans {
            let source = plan.source.display().to_string();
            let runtime = &self.runtime;
            let loaded =
                self.loaded.entry(source).or_insert_with(|| Arc::new(load_one(runtime, plan).unwrap()));
            let id = GenerationId(self.serial);
            self.serial += 1;
            fresh.push(IncomingGeneration { id, plan: Arc::new((*plan).clone()), loaded: loaded.clone() });
        }
        let ids = fresh.iter().map(|fresh| fresh.id).collect();
        self.front.prepare(fresh, stale)?;
        Ok(ids)
    }

    fn start(&mut self, id: GenerationId) {
        let tell = self.tell.clone();
        let told = Box::new(move |event| drop(tell.send((id, event))));
        let link = Link::new(self.runtime.clock().clone(), told);
        self.links.insert(id, link.clone());
        let make_stdio: MakeStdio = Arc::new(|| {
            let (stdout, stderr) = (Box::new(tokio::io::empty()), Box::new(tokio::io::empty()));
            (Stdio { stdout, stderr }, Box::new(|| {}))
        });
        self.front.start(id, StartParts { link, make_stdio, grace: GRACE });
    }

    /// Starts an app of these.
    fn run(&mut self, plans: &[&ComponentPlan]) -> Vec<GenerationId> {
        let ids = self.prepare(plans, &[]).unwrap();
        self.front.switch();
        ids.iter().for_each(|id| self.start(*id));
        ids.iter().for_each(|id| self.entered(*id));
        ids
    }

    /// Replaces `stale` by these, as a reload does; it is asked, and not waited for.
    fn switch(&mut self, plans: &[&ComponentPlan], stale: &[GenerationId]) -> Vec<GenerationId> {
        let ids = self.prepare(plans, stale).unwrap();
        ids.iter().for_each(|id| self.start(*id));
        ids.iter().for_each(|id| self.entered(*id));
        self.front.switch();
        stale.iter().for_each(|id| self.ask(*id));
        ids
    }

    fn link(&self, id: GenerationId) -> &Link {
        &self.links[&id]
    }

    fn ask(&self, id: GenerationId) {
        let notice = Notice { cause: NoticeCause::Reload, grace: GRACE };
        self.link(id).orders.ask(notice, self.runtime.clock().now() + GRACE);
    }

    fn cut(&self, id: GenerationId) {
        self.link(id).orders.cut();
        self.runtime.bump();
    }

    /// Returns what is told of a component, once it is something of this kind.
    fn hear<T>(&mut self, id: GenerationId, what: &str, wanted: impl Fn(&InstanceEvent) -> Option<T>) -> T {
        let until = Instant::now() + LONG;
        loop {
            let found = self.unread.iter().position(|(who, event)| *who == id && wanted(event).is_some());
            if let Some(at) = found {
                return wanted(&self.unread.remove(at).1).unwrap();
            }
            match self.told.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) => self.unread.push(event),
                Err(_) => panic!("{id:?} is never {what}; it told {:?}", self.unread),
            }
        }
    }

    fn entered(&mut self, id: GenerationId) {
        self.hear(id, "entered", |event| matches!(event, InstanceEvent::Entered).then_some(()));
    }

    /// Waits for the end of a component, and forgets it.
    fn ended(&mut self, id: GenerationId) -> Outcome {
        let outcome = self.hear(id, "ended", |event| match event {
            InstanceEvent::Ended(outcome) => Some(*outcome),
            _ => None,
        });
        self.front.forget(id);
        outcome
    }

    /// Returns whether this was told of an instance until now.
    fn was_told(&mut self, wanted: impl Fn(&InstanceEvent) -> bool) -> bool {
        self.unread.extend(self.told.try_iter());
        self.unread.iter().any(|(_, event)| match event {
            InstanceEvent::InPool(_, event) => wanted(event),
            event => wanted(event),
        })
    }

    /// Waits until an instance has failed, and returns whether that counts.
    fn instance_failed(&mut self, id: GenerationId) -> bool {
        self.hear(id, "failed", |event| match event {
            InstanceEvent::InPool(_, event) => match **event {
                InstanceEvent::Lost { counts, .. } => Some(counts),
                _ => None,
            },
            _ => None,
        })
    }

    fn socket(&self, id: GenerationId) -> SocketAddr {
        let urls = self.front.urls(id);
        urls[0].strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Stops all of these, each of which has to end well.
    fn stop(&mut self, ids: &[GenerationId]) {
        ids.iter().for_each(|id| self.ask(*id));
        for id in ids {
            assert_eq!(self.ended(*id), Outcome::Stopped);
        }
    }
}

/// A client's connection.
struct Client(TcpStream);

/// What a client got: status, head, body.
struct Got {
    status: u16,
    head: String,
    body: String,
}

impl Client {
    fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(LONG))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    fn to(address: SocketAddr) -> Self {
        Self::connect(address).unwrap()
    }

    fn send(&mut self, path: &str) -> std::io::Result<()> {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())
    }

    /// Reads one answer that has a length.
    fn receive(&mut self) -> std::io::Result<Got> {
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            if let Some(got) = whole(&text) {
                return Ok(got);
            }
            match self.0.read(&mut chunk)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                read => text.extend_from_slice(&chunk[..read]),
            }
        }
    }

    fn get(&mut self, path: &str) -> Got {
        self.send(path).unwrap();
        self.receive().unwrap()
    }
}

/// Returns an answer if all of it has come.
fn whole(text: &[u8]) -> Option<Got> {
    let text = String::from_utf8_lossy(text);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    (body.len() >= length).then(|| Got { status, head: head.to_owned(), body: body.to_owned() })
}

/// Waits until something holds.
#[expect(
    clippy::disallowed_methods,
    reason = "a pause between two looks at what tells nobody that it has changed"
)]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns how many threads of this process have this name.
fn threads_named(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.trim_end() == name).count()
}
