//! The one thread that accepts connections, controls the components and watches for guests that compute for long. It
//! runs no guest code. Invariant: its death is told, whatever it died of.

use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use crate::fail_point;
use crate::runtime::Runtime;
use crate::server::address::acceptor::PendingAcceptor;
use crate::server::generation::Controller;
use crate::server::worker::fairness::FairnessTicker;

/// An order to the thread.
pub(crate) enum Order {
    /// Control a component.
    Control(Box<Controller>),
    /// Accept connections.
    Open(Box<PendingAcceptor>),
}

/// The thread as others hold it. Dropping it is the order to end.
pub(crate) struct Thread {
    orders: UnboundedSender<Order>,
    /// The watch on guests that compute for long.
    pub(crate) ticker: Arc<FairnessTicker>,
}

impl Thread {
    /// Starts it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(runtime: Runtime, died: Arc<dyn Fn() + Send + Sync>) -> std::io::Result<Self> {
        let (orders, received) = tokio::sync::mpsc::unbounded_channel();
        let ticker = Arc::new(FairnessTicker::default());
        let watch = ticker.clone();
        std::thread::Builder::new().name("curfew-http".to_owned()).spawn(move || {
            let mut death = Death(Some(died));
            run(runtime, watch, received);
            death.0 = None;
        })?;
        Ok(Self { orders, ticker })
    }

    /// Gives an order. If the thread is gone, its death has been told.
    pub(crate) fn order(&self, order: Order) {
        let _gone = self.orders.send(order);
    }
}

/// Tells of the thread's death.
struct Death(Option<Arc<dyn Fn() + Send + Sync>>);

impl Drop for Death {
    fn drop(&mut self) {
        if let Some(died) = self.0.take() {
            died();
        }
    }
}

fn run(runtime: Runtime, ticker: Arc<FairnessTicker>, mut orders: UnboundedReceiver<Order>) {
    let executor = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(executor) => executor,
        Err(error) => {
            tracing::error!(%error, "nothing can be served");
            return;
        }
    };
    executor.block_on(async {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { ticker.watch(&runtime).await });
        fail_point::reach("front");
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Control(controller)) => {
                        tasks.spawn(controller.control());
                    }
                    Some(Order::Open(opening)) => {
                        tasks.spawn(opening.accept());
                    }
                    None => return,
                },
                Some(done) = tasks.join_next() => {
                    if let Err(error) = done && let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
    });
}
