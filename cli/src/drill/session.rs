//! A whole drill: which scenarios run, in which order, and which are skipped because of earlier results.

use std::time::{Duration, Instant};

use super::{
    DrillConfig, DrillReport, Finding, NO_ANSWER, Observation, ProcessExit, Runner, SERVER_ERRORS,
    SLOW_START, Scenario, ScenarioResult, Severity, StopMoment, Target, Verdict, evaluate, millis,
};
use crate::error::CliError;
use curfew_host::plan::ListenAddress;

const MOMENTS: u32 = 10;
/// The reason to skip all scenarios after an app has ended by itself.
const ENDS_BY_ITSELF: &str = "the app ends by itself";
/// Time that a start may take to log as much as the last one, besides twice its time.
const START_MARGIN: Duration = Duration::from_secs(10);

/// Runs a drill of these scenarios. Before each it calls `progress` with the numbers done and of all, and a title.
pub(crate) fn run_drill(
    runner: &Runner,
    scenarios: &[Scenario],
    mut progress: impl FnMut(usize, usize, &str),
) -> Result<DrillReport, CliError> {
    let began = Instant::now();
    let app = &runner.config.plan.app;
    let mut session = Session {
        runner,
        startup: Duration::ZERO,
        records: 1,
        // There may be a target: only the app knows the kinds of the components that listen.
        has_http: !runner.config.targets.is_empty() || runner.config.listen().next().is_some(),
        targets: Vec::new(),
        is_unanswered: false,
        skip_all: None,
        results: Vec::new(),
    };
    let total = scenarios.len() * 2;
    if scenarios.first() != Some(&Scenario::Term) || Scenario::Term.skip_reason(app).is_some() {
        progress(0, total, "a first start");
        // The other scenarios need to know how long a start takes, and the targets.
        let run = runner.run(Scenario::Term, false)?;
        session.learn(&run);
    }
    for (number, scenario) in scenarios.iter().enumerate() {
        for load in [false, true] {
            let mut result = ScenarioResult::new(*scenario, load);
            progress(number * 2 + usize::from(load), total, &result.title());
            let began = Instant::now();
            match session.skip(*scenario, load) {
                Some(Skip::Silently) => continue,
                Some(Skip::Because(reason)) => result = result.skipped(reason),
                None => session.run(&mut result)?,
            }
            if load && !session.has_http && result.verdict != Verdict::Failed {
                // Only components of kind tcp listen.
                continue;
            }
            result.took_ms = millis(began.elapsed());
            session.results.push(result);
        }
    }
    Ok(DrillReport {
        app: app.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        ok: session.results.iter().all(|result| result.verdict != Verdict::Failed),
        took_ms: millis(began.elapsed()),
        error: None,
        results: session.results,
    })
}

/// The way in which a scenario is skipped.
enum Skip {
    /// Without a row in the table: an app without HTTP has no load.
    Silently,
    Because(&'static str),
}

struct Session<'a> {
    runner: &'a Runner,
    /// The time that the last start took.
    startup: Duration,
    records: usize,
    has_http: bool,
    targets: Vec<Target>,
    is_unanswered: bool,
    skip_all: Option<&'static str>,
    results: Vec<ScenarioResult>,
}

impl Session<'_> {
    /// Spreads moments over the time that the last start took, and over its log.
    fn moments(&self) -> impl Iterator<Item = StopMoment> + use<> {
        let (startup, all) = (self.startup, self.records);
        let half = MOMENTS / 2;
        let times = (0..half).map(move |number| startup * number / half);
        let timed = times.map(|within| StopMoment { records: usize::MAX, within });
        let within = startup.saturating_mul(2).saturating_add(START_MARGIN);
        let records = (1..=half as usize).map(move |number| (all * number).div_ceil(half as usize));
        timed.chain(records.map(move |records| StopMoment { records, within }))
    }

    /// Returns the targets for a load before the app has started: those whose address is the same at each start.
    fn early_targets(&self) -> &[Target] {
        let config = &self.runner.config;
        let is_known = !config.targets.is_empty() || !config.listen().any(ListenAddress::is_any_port);
        if is_known { &self.targets } else { &[] }
    }

    fn learn(&mut self, run: &Observation) {
        if !run.targets.is_empty() {
            self.targets.clone_from(&run.targets);
        }
        self.startup = run.startup.unwrap_or(self.startup);
        let started = run.records.iter().position(|record| record.is("app started", ""));
        self.records = started.map_or(self.records, |before| before + 1);
        if matches!(run.exit, ProcessExit::Early(_)) {
            self.skip_all = Some(ENDS_BY_ITSELF);
        }
    }

    fn skip(&self, scenario: Scenario, load: bool) -> Option<Skip> {
        if load && !self.has_http {
            return Some(Skip::Silently);
        }
        if load && self.is_unanswered {
            return Some(Skip::Because("nobody answered before"));
        }
        let for_app = || scenario.skip_reason(&self.runner.config.plan.app);
        if let Some(reason) = self.skip_all.or_else(for_app) {
            return Some(Skip::Because(reason));
        }
        if scenario == Scenario::Start && load && self.early_targets().is_empty() {
            return Some(Skip::Silently);
        }
        let overran = |result: &ScenarioResult| {
            result.scenario == Scenario::Term && result.findings.iter().any(is_overrun)
        };
        let reason = "TERM has used up the whole grace, and QUIT has four times as much of it";
        (scenario == Scenario::Quit && self.results.iter().any(overran)).then_some(Skip::Because(reason))
    }

    /// Returns the findings about a run. Errors that are allowed are notes.
    fn judge(&self, run: &Observation) -> Vec<Finding> {
        let DrillConfig { plan, allow_errors, .. } = &self.runner.config;
        let mut findings = evaluate(run, plan);
        for finding in findings.iter_mut().filter(|finding| *allow_errors && finding.code == SERVER_ERRORS) {
            (finding.severity, finding.advice) = (Severity::Note, None);
        }
        findings
    }

    fn run(&mut self, result: &mut ScenarioResult) -> Result<(), CliError> {
        if result.scenario == Scenario::Start {
            let targets = if result.load { self.early_targets().to_vec() } else { Vec::new() };
            for moment in self.moments() {
                let run = self.runner.run_during_start(moment, &targets)?;
                if run.exit == ProcessExit::Early(0) {
                    self.skip_all = Some(ENDS_BY_ITSELF);
                }
                result.add(&run, self.judge(&run));
            }
            return Ok(());
        }
        let run = match self.runner.run(result.scenario, result.load) {
            Ok(run) => run,
            // The app started before: a failed start is a finding.
            Err(error @ CliError::CannotStart { .. }) if !self.startup.is_zero() => {
                result.fail(Finding::failure("cannot-start", error.to_string()));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.has_http &= !run.has_no_http;
        let is_first = self.startup.is_zero();
        self.learn(&run);
        self.is_unanswered |= run.findings.iter().any(|finding| finding.code == NO_ANSWER);
        let mut findings = self.judge(&run);
        // The first start may have compiled all components.
        findings.retain(|finding| finding.code != SLOW_START || !is_first);
        result.add(&run, findings);
        Ok(())
    }
}

fn is_overrun(finding: &Finding) -> bool {
    matches!(
        finding.code,
        "requests-cut" | "cut-off" | "hook-not-entered" | "hook-cut-off" | "run-goes-on" | "leaked"
    )
}
