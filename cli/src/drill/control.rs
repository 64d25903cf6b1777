//! The drill's client of the app's control socket.
//!
//! Invariant: every wait has an end, and the end of the drill ends them all.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::error::DrillError;
use super::interrupt::Interrupt;
use curfew_host::admin::Status;
use curfew_host::admin::client::ControlClient;

/// How often a wait polls the interrupt.
const INTERRUPT_POLL: Duration = Duration::from_millis(20);

/// A client of the control socket whose waits end with the drill.
#[derive(Debug)]
pub(super) struct AppControl {
    client: ControlClient,
    interrupt: Interrupt,
}

impl AppControl {
    /// Returns a client of this socket, which need not exist yet.
    pub(super) fn new(socket: PathBuf, interrupt: Interrupt) -> Self {
        Self { client: ControlClient::new(socket), interrupt }
    }

    /// Returns the status of the app, or why the app does not return it.
    pub(super) fn status(&self) -> Result<Result<Status, String>, DrillError> {
        let document = self.unless_interrupted(self.client.get("/status"))?;
        Ok(document.map_err(|error| error.to_string()).and_then(|document| {
            serde_json::from_str(&document).map_err(|error| format!("its status cannot be read: {error}"))
        }))
    }

    /// Sends an order and waits until it is carried out. Returns the app's answer or refusal.
    pub(super) fn order(&self, target: &str, within: Duration) -> Result<Result<String, String>, DrillError> {
        self.unless_interrupted(async {
            match timeout(within, self.client.post(target)).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_late) => Err(format!("it was not done within {} s", within.as_secs())),
            }
        })
    }

    fn unless_interrupted<T>(&self, work: impl Future<Output = T>) -> Result<T, DrillError> {
        let interrupted = async {
            while !self.interrupt.is_raised() {
                tokio::time::sleep(INTERRUPT_POLL).await;
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(DrillError::system("make an event loop"))?.block_on(async {
            tokio::select! {
                done = work => Ok(done),
                () = interrupted => Err(DrillError::Interrupted),
            }
        })
    }
}
