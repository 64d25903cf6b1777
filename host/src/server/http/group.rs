//! One address and the components that share it: where their requests come in, and how that ends.
//!
//! Invariant: the stage only rises. The listener and each connection that can still bring a request hold the
//! intake open; when the last of them lets go, each component hears that no more requests come from here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

use super::access::AccessLog;
use super::component::Component;
use crate::plan::{LimitsPlan, RouteTable};

/// How the connections of an address are treated. The order is the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Requests are served.
    Serving,
    /// The same, but clients are told to come back on another connection.
    Delay,
    /// What was accepted is finished, nothing new is accepted.
    Drain,
    /// Whatever is left is closed.
    Cut,
}

/// See the module's documentation.
pub struct Group {
    /// As users write it.
    pub url: String,
    /// TLS, when it is spoken there.
    pub tls: Option<TlsAcceptor>,
    /// Who serves what.
    pub routes: RouteTable<Arc<Component>>,
    /// Everybody on it.
    pub members: Vec<Arc<Component>>,
    /// Where ended requests are written, if anywhere.
    pub access: Option<Arc<AccessLog>>,
    /// What its clients may do: the limits of its first member.
    pub limits: LimitsPlan,
    stage: watch::Sender<Stage>,
    holders: AtomicUsize,
    /// Members that were asked to stop.
    asked: AtomicUsize,
    ready: AtomicUsize,
    over: AtomicUsize,
    opened: Notify,
    connections: AtomicUsize,
    freed: Notify,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Keeps the intake of an address open while it exists.
#[derive(Debug)]
pub struct Intake(Arc<Group>);

impl Drop for Intake {
    fn drop(&mut self) {
        if self.0.holders.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.members.iter().for_each(|member| member.intake_over());
        }
    }
}

/// One connection, counted while it exists.
#[derive(Debug)]
pub struct Counted(Arc<Group>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
        self.0.freed.notify_one();
        if let [only] = self.0.members.as_slice() {
            only.count_out();
        }
    }
}

impl Group {
    /// Returns a group that serves nothing yet.
    pub fn new(
        url: String,
        tls: Option<TlsAcceptor>,
        members: Vec<Arc<Component>>,
        access: Option<Arc<AccessLog>>,
    ) -> Arc<Self> {
        let routes = members.iter().map(|member| (member.plan.http.routes.clone(), member.clone()));
        members.iter().for_each(|member| member.add_intake());
        Arc::new(Self {
            routes: RouteTable::new(routes),
            url,
            tls,
            access,
            limits: members.first().map(|member| member.plan.http.limits).unwrap_or_default(),
            members,
            stage: watch::Sender::new(Stage::Serving),
            holders: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            ready: AtomicUsize::new(0),
            over: AtomicUsize::new(0),
            opened: Notify::new(),
            connections: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    /// Returns the names of everybody on it, for logs.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.members.iter().map(|member| member.plan.name.as_str()).collect();
        names.join(", ")
    }

    /// Holds the intake open.
    pub fn intake(self: &Arc<Self>) -> Intake {
        self.holders.fetch_add(1, Ordering::SeqCst);
        Intake(self.clone())
    }

    /// Counts a connection.
    pub fn count(self: &Arc<Self>) -> Counted {
        self.connections.fetch_add(1, Ordering::SeqCst);
        if let [only] = self.members.as_slice() {
            only.count_in();
        }
        Counted(self.clone())
    }

    /// Returns whose threads serve a connection that comes in now: the first that has not ended.
    pub fn host(&self) -> Option<&Arc<Component>> {
        self.members.iter().find(|member| !member.has_ended())
    }

    /// Returns whether several components share the address.
    pub fn is_shared(&self) -> bool {
        self.members.len() > 1
    }

    /// Notes that a member has no more use for connections. When none has, whatever is left is closed.
    pub fn member_over(&self) {
        if self.over.fetch_add(1, Ordering::SeqCst) + 1 == self.members.len() {
            self.raise(Stage::Cut);
        }
    }

    /// Returns once there is room for a connection more.
    pub async fn room(&self) {
        while self.connections.load(Ordering::SeqCst) >= self.limits.connections {
            self.freed.notified().await;
        }
    }

    /// Notes that a member can serve. When all can, connections are accepted.
    pub fn member_ready(&self) {
        if self.ready.fetch_add(1, Ordering::SeqCst) + 1 == self.members.len() {
            self.opened.notify_one();
        }
    }

    /// Returns once connections may be accepted.
    pub async fn opened(&self) {
        self.opened.notified().await;
    }

    /// Notes that a member was asked to stop. When all were, the address drains.
    pub fn member_asked(&self) {
        if self.asked.fetch_add(1, Ordering::SeqCst) + 1 >= self.members.len() {
            self.raise(Stage::Drain);
        }
    }

    /// Raises the stage.
    pub fn raise(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let higher = stage > *now;
            *now = (*now).max(stage);
            higher
        });
    }

    /// Returns the stage as it is.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Returns a view on the stage.
    pub fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }
}
