//! The host's own log events in this process, each with the moment in which it came: finer than the
//! milliseconds of a log line.

use std::fmt::Debug;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt};

/// One event.
#[derive(Clone, Debug)]
pub struct Heard {
    pub at: Instant,
    pub message: String,
}

/// Where the events of the running bench go.
static EAR: Mutex<Option<Sender<Heard>>> = Mutex::new(None);

/// Listens from now on; an earlier listener hears nothing any more.
pub fn listen() -> Receiver<Heard> {
    // Only the first one counts, and there is no other.
    let _installed = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Ears));
    let (tell, heard) = channel();
    *EAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
    heard
}

/// Waits for the next event with this message.
pub fn next(heard: &Receiver<Heard>, message: &str, patience: Duration) -> Result<Instant> {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let event = heard.recv_timeout(left).with_context(|| format!("{message:?} never came"))?;
        if event.message == message {
            return Ok(event.at);
        }
    }
}

struct Ears;

impl<S: Subscriber> Layer<S> for Ears {
    fn on_event(&self, event: &Event<'_>, _context: LayerContext<'_, S>) {
        let at = Instant::now();
        if !event.metadata().target().starts_with("curfew_host") {
            return;
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        if let Some(ear) = &*EAR.lock().unwrap_or_else(PoisonError::into_inner) {
            // The last events of an app come when nobody listens any more.
            let _gone = ear.send(Heard { at, message: message.0 });
        }
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
