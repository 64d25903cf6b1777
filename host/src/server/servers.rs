//! The servers of an app: each runs the generations of one or more kinds. The supervisor gives its orders to [`Servers`] and
//! never asks which kind it has.
//!
//! Invariant: what is prepared is prepared by all servers or by none, and nothing changes before the switch.

use std::sync::Arc;
use std::time::Duration;

use super::connection::access_log::AccessLog;
use super::connection::tls::TlsError;
use super::generation::Stats;
use super::instance::{SingleServer, SingleWork};
use crate::plan::{ComponentPlan, ListenAddress};
use crate::runtime::{Kind, Link, Loaded, MakeStdio, Runtime};
use crate::teardown::GenerationId;

/// Reason for a preparation that failed.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The system refuses an address.
    #[error("[component.{component}] listen: cannot listen on {address}: {cause}")]
    Bind {
        /// The component whose address it is.
        component: String,
        /// The address.
        address: ListenAddress,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// A certificate or a key cannot be used.
    #[error("[component.{component}] tls: {cause}")]
    Tls {
        /// The component whose certificate it is.
        component: String,
        /// The reason.
        cause: TlsError,
    },
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// A generation of a component that is to serve.
#[derive(Clone, Debug)]
pub(crate) struct IncomingGeneration {
    /// Its own id, never used before.
    pub(crate) id: GenerationId,
    pub(crate) plan: Arc<ComponentPlan>,
    pub(crate) loaded: Arc<Loaded>,
}

/// The parts of an app that its servers share.
pub(crate) struct ServerParts {
    pub(crate) runtime: Runtime,
    pub(crate) access: Option<Arc<AccessLog>>,
    /// Hears of the death of a server's own thread, which is a bug of the host.
    pub(crate) died: Arc<dyn Fn() + Send + Sync>,
}

pub(crate) struct StartParts {
    /// The connection to the supervisor: it tells `Entered`, and `Ended` when nothing of the generation is left.
    pub(crate) link: Arc<Link>,
    pub(crate) make_stdio: MakeStdio,
    /// The time of an instance that ends before its generation does.
    pub(crate) grace: Duration,
}

/// Runs the generations of one or more kinds. Unknown generations are passed over in silence.
pub(crate) trait Server: Send {
    /// Gets all that the incoming generations need, and starts nothing. After the switch the outgoing ones, and others of the
    /// same names, have no addresses any more. What was prepared before and not switched to is taken back first.
    ///
    /// # Errors
    /// When something cannot be had: everything is as before then.
    fn prepare(
        &mut self,
        incoming: Vec<IncomingGeneration>,
        outgoing: &[GenerationId],
    ) -> Result<(), PrepareError>;

    /// Has all that was prepared take over.
    fn switch(&mut self);

    /// Takes back what was prepared. Started generations are ended through their links.
    fn roll_back(&mut self);

    /// Starts a generation that was prepared, or starts it again.
    fn start(&mut self, id: GenerationId, parts: StartParts);

    fn forget(&mut self, id: GenerationId);

    /// Removes what would outlast the process.
    fn leave(&self) {}

    fn stats(&self, id: GenerationId) -> Option<Arc<Stats>>;

    /// Returns the number of its instances that are alive.
    fn instances(&self, id: GenerationId) -> usize;

    /// Returns the number of calls that go on although their clients have left.
    fn orphans(&self, _id: GenerationId) -> usize {
        0
    }

    /// Returns the number of its requests or connections that wait for an instance.
    fn waiting(&self, _id: GenerationId) -> usize {
        0
    }

    /// Returns the longest time for which a thread of it has not paused.
    fn busy(&self, id: GenerationId) -> Duration;

    /// Returns the addresses that it is on, as users write them.
    fn urls(&self, _id: GenerationId) -> Vec<String> {
        Vec::new()
    }
}

/// Kinds, and the server that runs their generations. An app is started with a list of these.
#[derive(Clone, Debug)]
pub struct KindSet {
    /// The kinds.
    pub kinds: &'static [&'static Kind],
    pub(crate) make: fn(&ServerParts) -> Box<dyn Server>,
}

impl KindSet {
    /// Returns a kind whose components have one instance at a time, on a thread of its own, which does this work.
    pub fn single<W: SingleWork>(kinds: &'static [&'static Kind]) -> Self {
        Self { kinds, make: |parts| Box::new(SingleServer::<W>::new(parts)) }
    }
}

/// The servers of an app. Its methods are those of [`Server`].
pub(crate) struct Servers(Vec<(KindSet, Box<dyn Server>)>);

opaque_debug!(Servers);

impl Servers {
    pub(crate) fn new(sets: &[KindSet], parts: &ServerParts) -> Self {
        Self(sets.iter().map(|set| (set.clone(), (set.make)(parts))).collect())
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Box<dyn Server>> {
        self.0.iter_mut().map(|(_, server)| server)
    }

    pub(crate) fn prepare(
        &mut self,
        mut incoming: Vec<IncomingGeneration>,
        outgoing: &[GenerationId],
    ) -> Result<(), PrepareError> {
        for (set, server) in &mut self.0 {
            let (its, others) = incoming.into_iter().partition(|one| set.kinds.contains(&one.loaded.kind));
            incoming = others;
            if let Err(error) = server.prepare(its, outgoing) {
                self.roll_back();
                return Err(error);
            }
        }
        Ok(())
    }

    pub(crate) fn switch(&mut self) {
        self.all().for_each(|server| server.switch());
    }

    pub(crate) fn roll_back(&mut self) {
        self.all().for_each(|server| server.roll_back());
    }

    pub(crate) fn start(&mut self, id: GenerationId, parts: StartParts) {
        if let Some(server) = self.all().find(|server| server.stats(id).is_some()) {
            server.start(id, parts);
        }
    }

    pub(crate) fn forget(&mut self, id: GenerationId) {
        self.all().for_each(|server| server.forget(id));
    }

    pub(crate) fn leave(&self) {
        self.0.iter().for_each(|(_, server)| server.leave());
    }

    pub(crate) fn stats(&self, id: GenerationId) -> Option<Arc<Stats>> {
        self.0.iter().find_map(|(_, server)| server.stats(id))
    }

    pub(crate) fn instances(&self, id: GenerationId) -> usize {
        self.0.iter().map(|(_, server)| server.instances(id)).sum()
    }

    pub(crate) fn orphans(&self, id: GenerationId) -> usize {
        self.0.iter().map(|(_, server)| server.orphans(id)).sum()
    }

    pub(crate) fn waiting(&self, id: GenerationId) -> usize {
        self.0.iter().map(|(_, server)| server.waiting(id)).sum()
    }

    pub(crate) fn busy(&self, id: GenerationId) -> Duration {
        self.0.iter().map(|(_, server)| server.busy(id)).max().unwrap_or_default()
    }

    pub(crate) fn urls(&self, id: GenerationId) -> Vec<String> {
        self.0.iter().flat_map(|(_, server)| server.urls(id)).collect()
    }
}
