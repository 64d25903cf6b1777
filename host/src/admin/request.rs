//! What the control socket and the admin listener ask of the app, and what comes back.
//!
//! Invariant: asking never waits. Each question carries the channel for its answer; one that is dropped without an
//! answer counts as refused.

use tokio::sync::oneshot;

use super::metrics::Metrics;
use super::status::Status;

/// The one who answers: whoever controls the app.
pub trait Operator: Send + Sync + 'static {
    /// Takes a question. Never blocks; is called on the thread `curfew-operate`.
    fn ask(&self, question: OperatorRequest);
}

/// Something to tell or to do. That the asker is gone when the answer comes is no error, and takes nothing back.
#[derive(Debug)]
pub enum OperatorRequest {
    /// How is everything? To be answered at once, also while the app stops.
    Snapshot(oneshot::Sender<Box<Snapshot>>),
    /// Stop the app, or one component of it.
    Stop {
        /// The component; `None` is the app.
        component: Option<String>,
        /// The app: without its `drain-delay`; while it is in its delay already, ends that. A component: without its
        /// grace.
        now: bool,
        /// Answered when the stop of the app has begun, or when the component has ended.
        answer: oneshot::Sender<OperatorAnswer>,
    },
    /// Read the manifest again. Answered when the reload has ended: it took over, or it failed and changed nothing.
    Reload(oneshot::Sender<OperatorAnswer>),
    /// Replace one component by a fresh generation of itself.
    Restart {
        /// The component.
        component: String,
        /// Answered when the fresh generation has taken over, or has failed.
        answer: oneshot::Sender<OperatorAnswer>,
    },
}

/// What became of an order: one line for people.
pub type OperatorAnswer = Result<String, Refusal>;

/// An order that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of which kind the reason is.
    pub why: RefusalKind,
    /// The reason, for people; may have several lines.
    pub text: String,
}

/// Kinds of reasons not to carry out an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The app is stopping.
    Stopping,
    /// It was not tried: another order is under way, or what the app is made of does not allow it.
    Busy,
    /// There is no such component.
    Unknown,
    /// It was tried.
    Failed,
}

/// Everything there is to tell of an app at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// For people, probes and `curfew status`.
    pub status: Status,
    /// For Prometheus, besides what the status has.
    pub metrics: Metrics,
}
