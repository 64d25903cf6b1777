//! What is said to an app that runs: requests of the load, and orders over its control socket.
//!
//! Invariant: every wait has an end, and the end of the drill ends them all.

use std::time::{Duration, Instant};

use super::aim::Aim;
use super::error::DrillError;
use super::finding::Finding;
use super::judge::NO_ANSWER;
use super::load::Load;
use super::perform::{Scene, Stage};
use super::tally::Tally;
use crate::operate::Status;
use crate::operate::client::Client;

/// How long an address may take to give its first answers.
const FIRST_ANSWERS: Duration = Duration::from_secs(5);
/// How long whole answers are waited for when all have begun: some never end.
const MORE_ANSWERS: Duration = Duration::from_millis(500);

impl Stage {
    /// Sends requests, and waits until they are answered.
    pub(super) fn load(&self, scene: &mut Scene) -> Result<(), DrillError> {
        let aims = self.aims()?;
        let load = Load::start(&aims, self.subject().clients)?;
        let (many, until) = (self.subject().clients, Instant::now() + FIRST_ANSWERS);
        scene.child.wait(until, |all| {
            let waits = all.exit.is_none() && !load.behind(|tally| tally.heads() < many).is_empty();
            (!waits).then_some(())
        })?;
        for aim in load.behind(|tally| tally.heads() == 0) {
            let text = format!("{} gave no answer within {} s", aim.name, FIRST_ANSWERS.as_secs());
            let advice = "name an address and a path that the app answers on with --load URL";
            scene.found.push(Finding::failure(NO_ANSWER, text).advise(advice));
        }
        let until = Instant::now() + MORE_ANSWERS;
        scene.child.wait(until, |all| {
            let waits =
                all.exit.is_none() && !load.behind(|tally: &Tally| tally.answers() < 4 * many).is_empty();
            (!waits).then_some(())
        })?;
        scene.load = Some(load);
        scene.aims = aims;
        Ok(())
    }

    /// Returns where requests go: what was named, or the first address of each http component, with its first route.
    pub(super) fn aims(&self) -> Result<Vec<Aim>, DrillError> {
        if !self.subject().aims.is_empty() {
            return Ok(self.subject().aims.clone());
        }
        let status = self.status()?;
        let mut aims = Vec::new();
        for component in status.components.iter().filter(|component| component.kind == "http") {
            let plan = self.subject().plan.components.iter().find(|plan| plan.name == component.name);
            let route = plan.and_then(|plan| plan.http.routes.first());
            let address = component.addresses.first();
            aims.extend(address.and_then(|address| Aim::of_component(&component.name, address, route)));
        }
        Ok(aims)
    }

    /// Asks the app how it is.
    pub(super) fn status(&self) -> Result<Status, DrillError> {
        let client = Client::new(self.control_file());
        let document = block_on(async move { client.get("/status").await })?;
        // An app that does not answer is one that has nothing to tell.
        Ok(document.ok().and_then(|document| serde_json::from_str(&document).ok()).unwrap_or_default())
    }

    /// Gives the app an order and waits until it is carried out. Returns what it said, also when it refused.
    pub(super) fn order(&self, target: &str, within: Duration) -> Result<Result<String, String>, DrillError> {
        let (client, interrupt) = (Client::new(self.control_file()), self.interrupt.clone());
        let target = target.to_owned();
        let said = block_on(async move {
            let ordered = tokio::time::timeout(within, client.post(&target));
            let interrupted = async {
                while !interrupt.is_raised() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::select! {
                said = ordered => Some(said.map(|said| said.map_err(|error| error.to_string()))),
                () = interrupted => None,
            }
        })?;
        match said {
            Some(Ok(said)) => Ok(said),
            Some(Err(_late)) => Ok(Err(format!("it was not done within {} s", within.as_secs()))),
            None => Err(DrillError::Interrupted),
        }
    }

    /// Returns how long the app's own times let an order take.
    pub(super) fn patience(&self) -> Duration {
        let plan = &self.subject().plan;
        let start = plan.components.iter().map(|component| component.start_timeout).max().unwrap_or_default();
        plan.app.grace.saturating_add(start)
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T, DrillError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(DrillError::system("make an event loop"))?.block_on(work))
}
