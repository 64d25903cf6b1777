//! The requests of a load, and which of them were lost.
//!
//! Invariant: each request is counted once; one that the app never accepted is no loss.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// If a connection ends so soon after a request was sent, the app may have closed it before the request came.
const RACE: Duration = Duration::from_millis(250);

/// The outcome of one request. The order is that in which losses are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RequestOutcome {
    /// The answer began and broke off.
    CutShort,
    /// The connection was closed before the first byte of an answer.
    Unanswered,
    /// A complete answer with this status. It is a loss if the status is an error that did not occur before the stop.
    Answered(u16),
    /// No connection was made. It is a loss while the app is not stopping.
    Refused,
    /// No end until the load ended.
    Hung,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SentRequest {
    pub(super) sent: Instant,
    pub(super) took: Duration,
    pub(super) reused: bool,
    pub(super) outcome: RequestOutcome,
}

/// The time in which the app may reject requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RejectionWindow {
    Never,
    /// From the stop on.
    From(Instant),
    /// At any time: it is not known when the stop began.
    AnyTime,
    /// From the stop during a start on; requests that waited for the start may be lost, too.
    DuringStart(Instant),
    /// At any time: the component behind the target had not started before the stop, so requests waited for it.
    NotStarted,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct RequestLog {
    pub(super) requests: Vec<SentRequest>,
    pub(super) answers_begun: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestCounts {
    pub(super) answered: u64,
    /// Answers with a status of 5xx, which are no losses: they are usual.
    pub(super) errors: u64,
    /// Refused, or closed before the first byte, as a stop may: clients ask again elsewhere.
    pub(super) turned_away: u64,
    pub(super) lost: BTreeMap<RequestOutcome, u64>,
}

impl RequestLog {
    pub(super) fn answers(&self) -> usize {
        self.requests.iter().filter(|request| matches!(request.outcome, RequestOutcome::Answered(_))).count()
    }

    /// Counts the requests by their outcome. At a shared address, 503 is the rejection after a component has ended.
    pub(super) fn counts(&self, window: RejectionWindow, is_shared: bool) -> RequestCounts {
        let before = |sent: Instant| match window {
            RejectionWindow::Never => true,
            RejectionWindow::From(then) => sent < then,
            RejectionWindow::AnyTime | RejectionWindow::DuringStart(_) | RejectionWindow::NotStarted => false,
        };
        let usual = self.usual_statuses(window);
        let mut counts = RequestCounts::default();
        for request in &self.requests {
            let ended = request.sent + request.took;
            let is_lost = match request.outcome {
                RequestOutcome::Answered(503) if is_shared && !before(ended) => false,
                RequestOutcome::Answered(503) if may_be_unready(request, window) && !usual.contains(&503) => {
                    false
                }
                RequestOutcome::Answered(status) if status >= 500 && !usual.contains(&status) => true,
                RequestOutcome::Answered(status) => {
                    counts.answered += 1;
                    // A component that has not started answers nothing by itself.
                    let is_unready = status == 503 && window.is_in_start();
                    counts.errors += u64::from(status >= 500 && !is_unready);
                    continue;
                }
                RequestOutcome::Unanswered if window.is_in_start() => false,
                // Clients send such a request again: RFC 9112, 9.3.1.
                RequestOutcome::Unanswered if request.took < RACE && request.reused => false,
                RequestOutcome::Unanswered if request.took < RACE && !before(request.sent) => false,
                // A connection may begin before the stop and arrive after it.
                RequestOutcome::Refused => before(ended),
                RequestOutcome::Unanswered | RequestOutcome::CutShort | RequestOutcome::Hung => true,
            };
            match is_lost {
                true => *counts.lost.entry(request.outcome).or_default() += 1,
                false => counts.turned_away += 1,
            }
        }
        counts
    }

    /// Returns the usual statuses: those of answers before the stop. If there were none, or there is no stop, those of at
    /// least every tenth answer, but not the 503 that a stop brings.
    fn usual_statuses(&self, window: RejectionWindow) -> BTreeSet<u16> {
        let mut before = BTreeSet::new();
        let mut all: BTreeMap<u16, usize> = BTreeMap::new();
        for request in &self.requests {
            let RequestOutcome::Answered(status) = request.outcome else { continue };
            *all.entry(status).or_default() += 1;
            if matches!(window, RejectionWindow::From(then) | RejectionWindow::DuringStart(then) if request.sent + request.took < then)
            {
                before.insert(status);
            }
        }
        if !before.is_empty() {
            return before;
        }
        let answers = self.answers();
        let frequent = all.into_iter().filter(|(_, same)| same * 10 >= answers).map(|(status, _)| status);
        frequent.filter(|status| *status != 503 || window == RejectionWindow::Never).collect()
    }
}

/// Returns whether the component may not have been ready for the request: it had not started, or the stop came at once.
fn may_be_unready(request: &SentRequest, window: RejectionWindow) -> bool {
    window == RejectionWindow::NotStarted || window.is_in_start() && request.took < RACE
}

impl RejectionWindow {
    fn is_in_start(self) -> bool {
        matches!(self, Self::DuringStart(_) | Self::NotStarted)
    }
}

impl RequestCounts {
    pub(super) fn lost(&self) -> u64 {
        self.lost.values().sum()
    }
}

impl RequestOutcome {
    pub(super) fn loss_text(self, count: u64) -> String {
        let (noun, were) = if count == 1 { ("request", "was") } else { ("requests", "were") };
        match self {
            Self::CutShort if count == 1 => "1 answer was cut short".to_owned(),
            Self::CutShort => format!("{count} answers were cut short"),
            Self::Unanswered => format!("{count} {noun} {were} accepted and got no answer"),
            Self::Answered(status) => format!("{count} {noun} got {status}, which did not occur before"),
            Self::Refused => format!("{count} {noun} {were} refused while the app was not stopping"),
            Self::Hung => format!("{count} {noun} did not end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn lost(
        requests: &[(i32, bool, RequestOutcome)],
        window: impl Fn(Instant) -> RejectionWindow,
    ) -> (u64, u64, Vec<(RequestOutcome, u64)>) {
        let zero = Instant::now();
        let mut log = RequestLog::default();
        for (at, reused, outcome) in requests {
            let sent = if *at < 0 { zero } else { zero + MS * 2 };
            log.requests.push(SentRequest { sent, took: MS / 2, reused: *reused, outcome: *outcome });
        }
        let counts = log.counts(window(zero + MS), false);
        (counts.answered, counts.turned_away, counts.lost.into_iter().collect())
    }

    #[test]
    fn what_was_sent_before_the_stop_must_be_answered() {
        let requests = [
            (-1, false, RequestOutcome::Answered(200)),
            (-1, true, RequestOutcome::Answered(200)),
            (-1, false, RequestOutcome::Unanswered),
            (-1, true, RequestOutcome::Unanswered),
            (-1, true, RequestOutcome::CutShort),
            (-1, false, RequestOutcome::Refused),
        ];
        let losses = vec![
            (RequestOutcome::CutShort, 1),
            (RequestOutcome::Unanswered, 1),
            (RequestOutcome::Refused, 1),
        ];
        assert_eq!(lost(&requests, RejectionWindow::From), (2, 1, losses.clone()));
        assert_eq!(lost(&requests, |_| RejectionWindow::Never), (2, 1, losses));
        assert_eq!(
            lost(&requests, |_| RejectionWindow::AnyTime),
            (2, 3, vec![(RequestOutcome::CutShort, 1)])
        );
    }

    #[test]
    fn what_was_under_way_for_long_was_accepted() {
        let sent = Instant::now();
        for (window, lost) in [
            (RejectionWindow::From(sent), 1),
            (RejectionWindow::Never, 1),
            (RejectionWindow::AnyTime, 1),
            (RejectionWindow::DuringStart(sent), 0),
        ] {
            for reused in [false, true] {
                let mut log = RequestLog::default();
                log.requests.push(SentRequest {
                    sent,
                    took: RACE,
                    reused,
                    outcome: RequestOutcome::Unanswered,
                });
                assert_eq!(log.counts(window, false).lost(), lost, "{window:?} {reused}");
            }
        }
    }

    #[test]
    fn what_was_sent_after_it_may_be_turned_away_and_never_be_cut_short() {
        let requests = [
            (1, false, RequestOutcome::Refused),
            (1, false, RequestOutcome::Unanswered),
            (1, false, RequestOutcome::CutShort),
            (1, false, RequestOutcome::Hung),
            (1, true, RequestOutcome::Answered(404)),
        ];
        assert_eq!(
            lost(&requests, RejectionWindow::From),
            (1, 2, vec![(RequestOutcome::CutShort, 1), (RequestOutcome::Hung, 1)])
        );
    }

    #[test]
    fn a_refusal_after_the_stop_has_begun_is_no_loss() {
        let sent = Instant::now();
        let mut log = RequestLog::default();
        log.requests.push(SentRequest {
            sent,
            took: MS * 2,
            reused: false,
            outcome: RequestOutcome::Refused,
        });
        assert_eq!(log.counts(RejectionWindow::From(sent + MS), false).lost(), 0);
        assert_eq!(log.counts(RejectionWindow::From(sent + MS * 3), false).lost(), 1);
    }

    #[test]
    fn an_error_is_a_loss_unless_it_was_there_before() {
        let new = [(-1, true, RequestOutcome::Answered(200)), (1, true, RequestOutcome::Answered(503))];
        assert_eq!(lost(&new, RejectionWindow::From), (1, 0, vec![(RequestOutcome::Answered(503), 1)]));
        let old = [
            (-1, true, RequestOutcome::Answered(500)),
            (1, true, RequestOutcome::Answered(500)),
            (1, true, RequestOutcome::Answered(404)),
        ];
        assert_eq!(lost(&old, RejectionWindow::From), (3, 0, vec![]));
        let mut rare = vec![(-1, true, RequestOutcome::Answered(200)); 20];
        rare.push((-1, true, RequestOutcome::Answered(502)));
        assert_eq!(
            lost(&rare, |_| RejectionWindow::Never),
            (20, 0, vec![(RequestOutcome::Answered(502), 1)])
        );
        assert_eq!(
            lost(&[(-1, true, RequestOutcome::Answered(500))], |_| RejectionWindow::Never),
            (1, 0, vec![])
        );
    }

    fn answered(sent: Instant, took: Duration, status: u16) -> SentRequest {
        SentRequest { sent, took, reused: true, outcome: RequestOutcome::Answered(status) }
    }

    #[test]
    fn the_error_of_a_request_that_was_cut_off_was_not_there_before() {
        let sent = Instant::now();
        let mut log = RequestLog::default();
        log.requests.push(answered(sent, MS, 200));
        log.requests.push(answered(sent, MS * 9, 503));
        assert_eq!(log.counts(RejectionWindow::From(sent + MS * 5), false).lost(), 1);
        assert_eq!(log.counts(RejectionWindow::From(sent + MS * 10), false).lost(), 0);
    }

    #[test]
    fn the_errors_of_a_stop_do_not_make_themselves_usual() {
        let sent = Instant::now();
        let mut log = RequestLog::default();
        log.requests.push(answered(sent, MS, 200));
        log.requests.push(answered(sent, RACE, 503));
        for window in
            [RejectionWindow::From(sent), RejectionWindow::From(sent + MS * 5), RejectionWindow::AnyTime]
        {
            assert_eq!(log.counts(window, false).lost(), 1, "{window:?}");
        }
        let starting = [RejectionWindow::DuringStart(sent), RejectionWindow::DuringStart(sent + MS * 5)];
        assert_eq!(starting.map(|window| log.counts(window, false).lost()), [1, 1]);
        log.requests.push(answered(sent, MS * 2, 503));
        let counts = |window| {
            let counts = log.counts(window, false);
            (counts.answered, counts.turned_away, counts.lost())
        };
        assert_eq!(counts(RejectionWindow::DuringStart(sent)), (1, 1, 1), "busy from its first moment");
        assert_eq!(counts(RejectionWindow::DuringStart(sent + MS * 5)), (3, 0, 0), "it was there before");
    }

    /// The system accepts connections for a component that is still starting; when the stop comes first, they get 503.
    #[test]
    fn a_component_that_had_not_started_may_reject_what_waited_for_it() {
        let sent = Instant::now();
        for (outcome, lost) in [
            (RequestOutcome::Answered(503), 0),
            (RequestOutcome::Unanswered, 0),
            (RequestOutcome::Refused, 0),
            (RequestOutcome::CutShort, 1),
            (RequestOutcome::Hung, 1),
        ] {
            let mut log = RequestLog::default();
            log.requests.push(SentRequest { sent, took: RACE * 2, reused: false, outcome });
            assert_eq!(log.counts(RejectionWindow::NotStarted, false).lost(), lost, "{outcome:?}");
        }
    }

    #[test]
    fn usual_errors_are_counted() {
        let sent = Instant::now();
        let mut log = RequestLog::default();
        for status in [200, 500, 599, 404, 502] {
            log.requests.push(answered(sent, MS, status));
        }
        let counts = log.counts(RejectionWindow::From(sent + MS * 5), false);
        assert_eq!((counts.answered, counts.errors, counts.lost()), (5, 3, 0));
        log.requests = vec![answered(sent, MS, 503), answered(sent, MS, 502)];
        let counts = log.counts(RejectionWindow::DuringStart(sent + MS * 5), false);
        assert_eq!((counts.answered, counts.errors), (2, 1), "503 is no error of a component that starts");
    }

    /// Without an answer before the stop, frequent statuses count as usual.
    #[test]
    fn an_app_of_errors_loses_nothing_by_them() {
        let sent = Instant::now();
        let mut log = RequestLog::default();
        log.requests.push(answered(sent, RACE, 500));
        for window in
            [RejectionWindow::From(sent), RejectionWindow::DuringStart(sent), RejectionWindow::AnyTime]
        {
            assert_eq!(log.counts(window, false).lost(), 0, "{window:?}");
        }
    }

    #[test]
    fn an_address_that_others_use_turns_away_with_503() {
        let now = Instant::now();
        let mut log = RequestLog::default();
        for (sent, outcome) in
            [(now, RequestOutcome::Answered(200)), (now + MS, RequestOutcome::Answered(503))]
        {
            log.requests.push(SentRequest { sent, took: MS / 2, reused: true, outcome });
        }
        let counts = |window, is_shared| {
            let counts = log.counts(window, is_shared);
            (counts.answered, counts.turned_away, counts.lost())
        };
        assert_eq!(counts(RejectionWindow::From(now + MS), true), (1, 1, 0));
        assert_eq!(counts(RejectionWindow::From(now + MS), false), (1, 0, 1));
        assert_eq!(counts(RejectionWindow::From(now + MS * 2), true), (2, 0, 0), "it was there before");
    }

    #[test]
    fn losses_are_told_in_words() {
        assert_eq!(RequestOutcome::CutShort.loss_text(1), "1 answer was cut short");
        assert_eq!(RequestOutcome::Unanswered.loss_text(2), "2 requests were accepted and got no answer");
        assert_eq!(
            RequestOutcome::Answered(503).loss_text(1),
            "1 request got 503, which did not occur before"
        );
    }
}
