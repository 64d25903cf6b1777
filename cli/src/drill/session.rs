//! A whole drill: what is tried, in which order, and what is left out because of what was seen before.

use std::time::{Duration, Instant};

use super::document::{Drill, Tried, Verdict};
use super::error::DrillError;
use super::finding::Finding;
use super::judge::{NO_ANSWER, SLOW_START, findings};
use super::observation::{Exit, Observation};
use super::perform::{Moment, Stage, Subject};
use super::scenario::Scenario;
use super::target::Target;
use curfew_host::plan::ListenAddress;

/// Stops during the start are tried at so many moments.
const MOMENTS: u32 = 10;
/// Why nothing more makes sense once that was seen.
const ENDS: &str = "the app ends by itself";
/// How much longer than twice the last start one may take to say as much.
const PATIENCE: Duration = Duration::from_secs(10);

/// Holds a drill of these tries. `tell` hears of each before it is begun: how many came before it, how many there are,
/// and which it is.
///
/// # Errors
/// When the app does not start at all, or the drill is to end.
pub fn hold(
    stage: &Stage,
    tries: &[Scenario],
    mut tell: impl FnMut(usize, usize, &str),
) -> Result<Drill, DrillError> {
    let began = Instant::now();
    let app = &stage.subject().plan.app;
    let mut session = Session {
        stage,
        ready: Duration::ZERO,
        records: 1,
        loadable: listens(stage.subject()),
        aims: Vec::new(),
        unanswered: false,
        over: None,
        tried: Vec::new(),
    };
    let total = tries.len() * 2;
    if tries.first() != Some(&Scenario::Term) || Scenario::Term.makes_no_sense(app).is_some() {
        tell(0, total, "a first start");
        session.learn()?;
    }
    for (number, what) in tries.iter().enumerate() {
        for load in [false, true] {
            let mut tried = Tried::empty(*what, load);
            tell(number * 2 + usize::from(load), total, &tried.title());
            let began = Instant::now();
            match session.why_not(*what, load) {
                Some(because) if because.is_empty() => continue,
                Some(because) => tried = Tried::skipped(*what, load, because),
                None => session.hold(*what, &mut tried)?,
            }
            if load && !session.loadable && tried.verdict != Verdict::Failed {
                // What listens is of kind tcp.
                continue;
            }
            tried.took_ms = millis(began.elapsed());
            session.tried.push(tried);
        }
    }
    let ok = session.tried.iter().all(|tried| tried.verdict != Verdict::Failed);
    Ok(Drill {
        app: app.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        ok,
        took_ms: millis(began.elapsed()),
        error: None,
        tries: session.tried,
    })
}

/// Whether somebody may be there to be asked; of which kind they are, only the app knows.
fn listens(subject: &Subject) -> bool {
    !subject.aims.is_empty()
        || subject.plan.components.iter().any(|component| !component.http.listen.is_empty())
}

struct Session<'a> {
    stage: &'a Stage,
    /// How long the last start took.
    ready: Duration,
    /// How many records its log had then.
    records: usize,
    /// Whether somebody can be asked over HTTP.
    loadable: bool,
    /// Who was asked the last time.
    aims: Vec<Target>,
    /// Whether they did not answer.
    unanswered: bool,
    /// Why nothing more makes sense.
    over: Option<String>,
    tried: Vec<Tried>,
}

impl Session<'_> {
    /// Runs the app once, to know how long it takes to start and who listens.
    fn learn(&mut self) -> Result<(), DrillError> {
        let seen = self.stage.perform(Scenario::Term, false)?;
        self.know(&seen);
        Ok(())
    }

    /// Spreads them over the time that the last start took, and over what the log says meanwhile.
    fn moments(&self) -> impl Iterator<Item = Moment> + use<> {
        let (ready, records) = (self.ready, self.records);
        let times = (0..MOMENTS / 2).map(move |number| Moment::After(ready * number / (MOMENTS / 2)));
        let parts = 1..=MOMENTS as usize / 2;
        let within = ready.saturating_mul(2).saturating_add(PATIENCE);
        times.chain(
            parts
                .map(move |number| Moment::Record((records * number * 2).div_ceil(MOMENTS as usize), within)),
        )
    }

    /// Returns who can be asked before the app has started: their addresses are the same each time.
    fn aims(&self) -> Vec<Target> {
        let subject = self.stage.subject();
        let mut listen = subject.plan.components.iter().flat_map(|component| &component.http.listen);
        let is_known = !subject.aims.is_empty() || !listen.any(ListenAddress::is_any_port);
        if is_known { self.aims.clone() } else { Vec::new() }
    }

    fn know(&mut self, seen: &Observation) {
        if !seen.aims.is_empty() {
            self.aims.clone_from(&seen.aims);
        }
        self.ready = seen.ready.unwrap_or(self.ready);
        let started = seen.records.iter().position(|record| record.is("app started", ""));
        self.records = started.map_or(self.records, |before| before + 1);
        if matches!(seen.exit, Exit::Early(_)) {
            self.over = Some(ENDS.to_owned());
        }
    }

    /// Says why something is left out; an empty text for what nobody would expect.
    fn why_not(&self, what: Scenario, load: bool) -> Option<String> {
        if load && !self.loadable {
            return Some(String::new());
        }
        if load && self.unanswered {
            return Some("nobody answered before".to_owned());
        }
        if let Some(over) = &self.over {
            return Some(over.clone());
        }
        if let Some(because) = what.makes_no_sense(&self.stage.subject().plan.app) {
            return Some(because.to_owned());
        }
        if what == Scenario::Start && load && self.aims().is_empty() {
            return Some(String::new());
        }
        let overran =
            |tried: &Tried| tried.name == Scenario::Term.word() && tried.findings.iter().any(overruns);
        (what == Scenario::Quit && self.tried.iter().any(overran))
            .then(|| "TERM has used up the whole grace, and QUIT has four times as much of it".to_owned())
    }

    fn hold(&mut self, what: Scenario, tried: &mut Tried) -> Result<(), DrillError> {
        let plan = &self.stage.subject().plan;
        if what == Scenario::Start {
            let aims = if tried.load { self.aims() } else { Vec::new() };
            for moment in self.moments() {
                let seen = self.stage.during_start(moment, &aims)?;
                if seen.exit == Exit::Early(0) {
                    self.over = Some(ENDS.to_owned());
                }
                tried.add(&seen, findings(&seen, plan));
            }
            return Ok(());
        }
        match self.stage.perform(what, tried.load) {
            Ok(seen) => {
                self.loadable &= !seen.cannot_be_asked;
                let is_first = self.ready.is_zero();
                self.know(&seen);
                self.unanswered |= seen.found.iter().any(|finding| finding.code == NO_ANSWER);
                let mut found = findings(&seen, plan);
                // The first start may have compiled everything.
                found.retain(|finding| finding.code != SLOW_START || !is_first);
                tried.add(&seen, found);
                Ok(())
            }
            // It did before: that it does not now is a finding.
            Err(error @ DrillError::CannotStart { .. }) if !self.ready.is_zero() => {
                tried.fail(Finding::failure("cannot-start", error.to_string()));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

fn overruns(finding: &Finding) -> bool {
    matches!(
        finding.code,
        "requests-cut" | "cut-off" | "hook-not-entered" | "hook-cut-off" | "run-goes-on" | "leaked"
    )
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
