//! The generations on an address and their routes at one moment: swapped as a whole, never changed.
//!
//! Invariant: there is at least one member, and all of them speak the same TLS: a checked plan has it so.

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use crate::plan::{LimitsPlan, RouteTable};
use crate::runtime::Kind;
use crate::server::generation::generation::Generation;
use crate::server::generation::state::GenerationState;
use crate::teardown::GenerationId;

/// See the module's documentation.
pub(crate) struct Routing {
    /// The generations.
    pub(crate) members: Vec<Arc<Generation>>,
    /// Their routes.
    pub(crate) routes: RouteTable<Arc<Generation>>,
    /// TLS, when it is spoken there.
    pub(crate) tls: Option<TlsAcceptor>,
    /// The limits of its clients: those of its first member.
    pub(crate) limits: LimitsPlan,
}

impl std::fmt::Debug for Routing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routing").field("members", &self.names()).finish_non_exhaustive()
    }
}

impl Routing {
    /// Returns the routing between these.
    pub(crate) fn new(members: Vec<Arc<Generation>>, tls: Option<TlsAcceptor>) -> Self {
        let routes = members.iter().map(|member| (member.plan.http.routes.clone(), member.clone()));
        let routes = RouteTable::new(routes);
        let limits = members.first().map(|member| member.plan.http.limits).unwrap_or_default();
        Self { members, routes, tls, limits }
    }

    /// Returns the names of everybody on it, for logs.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.members.iter().map(|member| member.plan.name.as_str()).collect();
        names.join(", ")
    }

    /// Returns whether a component of this name is on it.
    pub(crate) fn names_one(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.plan.name == name)
    }

    /// Returns of which kind its members are: a loaded plan has one kind on an address.
    pub(crate) fn kind(&self) -> Option<&'static Kind> {
        self.members.first().map(|first| first.loaded.kind)
    }

    /// Returns whether this generation is on it.
    pub(crate) fn has(&self, id: GenerationId) -> bool {
        self.members.iter().any(|member| member.id == id)
    }

    /// Returns how far its members are.
    pub(crate) fn states(&self) -> impl Iterator<Item = &GenerationState> + Clone {
        self.members.iter().map(|member| &member.state)
    }
}
