//! Requests that the control socket and the admin listener hand to the app, and the answers. A channel that is dropped
//! without an answer counts as a refusal.

use tokio::sync::oneshot;

use super::metrics::Metrics;
use super::status::Status;

/// The app, as the admin thread sees it.
pub trait Operator: Send + Sync + 'static {
    /// Takes a request. Never blocks; is called on the thread `curfew-admin`.
    fn ask(&self, request: OperatorRequest);
}

/// A question or an order, with the channel for its answer. An order stands even if its client has left.
#[derive(Debug)]
pub enum OperatorRequest {
    /// The state of the app. To be answered at once, also while the app stops.
    Snapshot(oneshot::Sender<Box<Snapshot>>),
    /// An order. Answered when it is carried out, or refused.
    Order(OperatorOrder, oneshot::Sender<OperatorAnswer>),
}

/// Orders of operators.
#[derive(Debug, PartialEq, Eq)]
pub enum OperatorOrder {
    /// Stop the app, or one component of it. Carried out when the app's stop has begun, or the component has ended.
    Stop {
        /// The component; `None` is the app.
        component: Option<String>,
        /// For the app: skip its `drain-delay`, or end the one that is under way. For a component: no grace.
        now: bool,
    },
    /// Read the manifest again. A reload that fails changes nothing.
    Reload,
    /// Replace one component by a fresh generation of itself.
    Restart {
        /// The component.
        component: String,
    },
}

/// The result of an order; one line for people.
pub type OperatorAnswer = Result<String, OperatorRefusal>;

/// An order that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorRefusal {
    /// The kind of the reason.
    pub kind: RefusalKind,
    /// The reason, for people; may have several lines.
    pub text: String,
}

/// Kinds of reasons not to carry out an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The app is stopping.
    Stopping,
    /// The host did not try: another order is under way, or the app has nothing to do it with.
    Busy,
    /// There is no such component.
    Unknown,
    /// The host tried, and it failed.
    Failed,
}

/// State of an app at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// All that people and probes are told.
    pub status: Status,
    /// For Prometheus, besides what the status has.
    pub metrics: Metrics,
}
