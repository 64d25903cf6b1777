//! What is said to an app that runs: requests of the load, and orders over its control socket.
//!
//! Invariant: every wait has an end, and the end of the drill ends them all.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::error::DrillError;
use super::finding::Finding;
use super::judge::NO_ANSWER;
use super::load::Load;
use super::perform::{Scene, Stage};
use super::tally::Tally;
use super::target::Target;
use curfew_host::admin::Status;
use curfew_host::admin::client::ControlClient;

/// How long an address may take to give its first answers.
const FIRST_ANSWERS: Duration = Duration::from_secs(5);
/// How long whole answers are waited for when all have begun: some never end.
const MORE_ANSWERS: Duration = Duration::from_millis(500);
/// How much later than the end of its control socket the end of an app may be heard of.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// How often somebody who waits looks whether the drill is to end.
const LOOK: Duration = Duration::from_millis(20);

impl Stage {
    /// Sends requests, and waits until they are answered.
    pub(super) fn load(&self, scene: &mut Scene) -> Result<(), DrillError> {
        let Some(aims) = self.aims(scene)? else { return Ok(()) };
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
        scene.cannot_be_asked = aims.is_empty();
        scene.aims = aims;
        Ok(())
    }

    /// Returns where requests go: what was named, or the first address of each http component, with its first route.
    /// `None` if the app does not tell, which is a finding unless it has ended.
    fn aims(&self, scene: &mut Scene) -> Result<Option<Vec<Target>>, DrillError> {
        if !self.subject().aims.is_empty() {
            return Ok(Some(self.subject().aims.clone()));
        }
        let status = match self.status()? {
            Ok(status) => status,
            Err(told) => {
                self.no_status(scene, &told)?;
                return Ok(None);
            }
        };
        let mut aims = Vec::new();
        for component in status.components.iter().filter(|component| component.kind == "http") {
            let plan = self.subject().plan.components.iter().find(|plan| plan.name == component.name);
            let route = plan.and_then(|plan| plan.http.routes.first());
            let address = component.addresses.first();
            let aim = address.and_then(|address| Target::of_component(&component.name, address, route));
            let shares =
                status.components.iter().filter(|other| other.addresses.first() == address).count() > 1;
            aims.extend(aim.map(|aim| Target { is_shared: shares, ..aim }));
        }
        Ok(Some(aims))
    }

    /// Asks the app how it is; an error says why it does not tell.
    pub(super) fn status(&self) -> Result<Result<Status, String>, DrillError> {
        let client = ControlClient::new(self.control_file());
        let document = self.heeding(client.get("/status"))?;
        Ok(document.map_err(|error| error.to_string()).and_then(|document| {
            serde_json::from_str(&document).map_err(|error| format!("its status cannot be read: {error}"))
        }))
    }

    /// Notes that an app that runs did not tell how it is.
    pub(super) fn no_status(&self, scene: &mut Scene, told: &str) -> Result<(), DrillError> {
        // Its end closes the socket a moment before it is heard of, and is judged by itself.
        if scene.child.wait(Instant::now() + LAST_MOMENT, |all| all.exit)?.is_none() {
            let text = format!("it did not tell how it is: {told}");
            let advice = "that is curfew's fault, not the app's: please report it";
            scene.find(Finding::failure("no-status", text).advise(advice));
        }
        Ok(())
    }

    /// Gives the app an order and waits until it is carried out. Returns what it said, also when it refused.
    pub(super) fn order(&self, target: &str, within: Duration) -> Result<Result<String, String>, DrillError> {
        let client = ControlClient::new(self.control_file());
        self.heeding(async {
            match timeout(within, client.post(target)).await {
                Ok(said) => said.map_err(|error| error.to_string()),
                Err(_late) => Err(format!("it was not done within {} s", within.as_secs())),
            }
        })
    }

    /// Does something that takes its time, unless the drill is to end.
    fn heeding<T>(&self, work: impl Future<Output = T>) -> Result<T, DrillError> {
        let interrupted = async {
            while !self.interrupt.is_raised() {
                tokio::time::sleep(LOOK).await;
            }
        };
        block_on(async {
            tokio::select! {
                done = work => Ok(done),
                () = interrupted => Err(DrillError::Interrupted),
            }
        })?
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
