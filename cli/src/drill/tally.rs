//! What became of the requests of a load.
//!
//! Invariant: each request that was begun is counted once. What is a loss is decided here, and depends on when the app
//! was asked to stop: what it never promised to answer is none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A connection that ends so soon after a request was sent may have been closed before it came: nobody accepted it.
const RACE: Duration = Duration::from_millis(250);

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A whole answer with this status.
    Answered(u16),
    /// No connection was to be had.
    Refused,
    /// The connection was closed before the first byte of an answer.
    Unanswered,
    /// The answer began and broke off.
    CutShort,
    /// No end at all.
    Hung,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When it was sent.
    pub sent: Instant,
    /// From then to its end.
    pub took: Duration,
    /// Whether its connection had been used before.
    pub kept: bool,
    /// What became of it.
    pub end: End,
}

/// Since when an app may turn requests away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// Never: it is not asked to stop.
    Never,
    /// Since then.
    Since(Instant),
    /// It is not known since when.
    AnyTime,
    /// Since then; whoever waited for its start in vain, too: the system accepts connections before the app does.
    Starting(Instant),
}

/// A kind of loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// The answer broke off.
    CutShort,
    /// Accepted, sent, and closed without an answer.
    Unanswered,
    /// An error of the server that was not there before the stop.
    Status(u16),
    /// Nobody accepted it, though nobody was to stop.
    Refused,
    /// Nothing came.
    Hung,
}

/// The requests of one aim.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    asked: Vec<Asked>,
    begun: usize,
}

/// What came out for one aim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Whole answers.
    pub answered: u64,
    /// Refused, or closed before the first byte, when that was to be: clients ask again elsewhere.
    pub turned_away: u64,
    /// Lost, by how.
    pub lost: BTreeMap<Loss, u64>,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, asked: Asked) {
        self.asked.push(asked);
    }

    /// Counts an answer whose head has come.
    pub fn begun(&mut self) {
        self.begun += 1;
    }

    /// How many answers have begun.
    pub fn heads(&self) -> usize {
        self.begun
    }

    /// How many whole answers there are.
    pub fn answers(&self) -> usize {
        self.asked.iter().filter(|asked| matches!(asked.end, End::Answered(_))).count()
    }

    /// Counts what became of them all.
    ///
    /// 503 is how one is turned away whose component has ended at an address that others still use (`is_shared`), and how
    /// curfew answers what it cuts off.
    pub fn counts(&self, turns: Turns, is_shared: bool) -> Counts {
        let before = |sent: Instant| match turns {
            Turns::Never => true,
            Turns::Since(then) => sent < then,
            Turns::AnyTime | Turns::Starting(_) => false,
        };
        let usual = self.usual(turns);
        let mut counts = Counts::default();
        for asked in &self.asked {
            let loss = match asked.end {
                End::Answered(503) if is_shared && !before(asked.sent + asked.took) => None,
                End::Answered(503) if is_young_start(asked, turns) && !usual.contains(&503) => None,
                End::Answered(status) if status >= 500 && !usual.contains(&status) => {
                    Some(Loss::Status(status))
                }
                End::Answered(_) => {
                    counts.answered += 1;
                    continue;
                }
                End::Unanswered if matches!(turns, Turns::Starting(_)) => None,
                // A client may ask again, and does: RFC 9112, 9.3.1.
                End::Unanswered if asked.took < RACE && asked.kept => None,
                End::Unanswered if asked.took < RACE && !before(asked.sent) => None,
                End::Unanswered => Some(Loss::Unanswered),
                // A client can begin to connect, and get there after the stop.
                End::Refused => Some(Loss::Refused).filter(|_| before(asked.sent + asked.took)),
                End::CutShort => Some(Loss::CutShort),
                End::Hung => Some(Loss::Hung),
            };
            match loss {
                Some(loss) => *counts.lost.entry(loss).or_default() += 1,
                None => counts.turned_away += 1,
            }
        }
        counts
    }

    /// What the app answers anyway: what it answered before the stop. Where nothing was answered before, or nobody was to
    /// stop, it is what at least every tenth answer has; but never the 503 that a stop itself brings.
    fn usual(&self, turns: Turns) -> BTreeSet<u16> {
        let mut before = BTreeSet::new();
        let mut all: BTreeMap<u16, usize> = BTreeMap::new();
        for asked in &self.asked {
            let End::Answered(status) = asked.end else { continue };
            *all.entry(status).or_default() += 1;
            if matches!(turns, Turns::Since(then) | Turns::Starting(then) if asked.sent + asked.took < then) {
                before.insert(status);
            }
        }
        if !before.is_empty() {
            return before;
        }
        let answers = self.answers();
        let often = all.into_iter().filter(|(_, same)| same * 10 >= answers).map(|(status, _)| status);
        often.filter(|status| *status != 503 || turns == Turns::Never).collect()
    }
}

/// Whether a start that ends at once may have turned it away: an app that is busy from its first moment does.
fn is_young_start(asked: &Asked, turns: Turns) -> bool {
    matches!(turns, Turns::Starting(_)) && asked.took < RACE
}

impl Counts {
    /// How many were lost.
    pub fn lost(&self) -> u64 {
        self.lost.values().sum()
    }
}

impl Loss {
    /// Says what was lost, for so many of them.
    pub fn text(self, count: u64) -> String {
        let (noun, were) = if count == 1 { ("request", "was") } else { ("requests", "were") };
        match self {
            Self::CutShort if count == 1 => "1 answer was cut short".to_owned(),
            Self::CutShort => format!("{count} answers were cut short"),
            Self::Unanswered => format!("{count} {noun} {were} accepted and got no answer"),
            Self::Status(status) => format!("{count} {noun} got {status}, which did not occur before"),
            Self::Refused => format!("{count} {noun} {were} refused while the app was not to stop"),
            Self::Hung => format!("{count} {noun} got no end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn lost(asked: &[(i32, bool, End)], turns: impl Fn(Instant) -> Turns) -> (u64, u64, Vec<(Loss, u64)>) {
        let zero = Instant::now();
        let mut tally = Tally::default();
        for (at, kept, end) in asked {
            let sent = if *at < 0 { zero } else { zero + MS * 2 };
            tally.add(Asked { sent, took: MS / 2, kept: *kept, end: *end });
        }
        let counts = tally.counts(turns(zero + MS), false);
        (counts.answered, counts.turned_away, counts.lost.into_iter().collect())
    }

    #[test]
    fn what_was_sent_before_the_stop_must_be_answered() {
        let asked = [
            (-1, false, End::Answered(200)),
            (-1, true, End::Answered(200)),
            (-1, false, End::Unanswered),
            (-1, true, End::Unanswered),
            (-1, true, End::CutShort),
            (-1, false, End::Refused),
        ];
        let losses = vec![(Loss::CutShort, 1), (Loss::Unanswered, 1), (Loss::Refused, 1)];
        assert_eq!(lost(&asked, Turns::Since), (2, 1, losses.clone()));
        assert_eq!(lost(&asked, |_| Turns::Never), (2, 1, losses));
        assert_eq!(lost(&asked, |_| Turns::AnyTime), (2, 3, vec![(Loss::CutShort, 1)]));
    }

    #[test]
    fn what_was_under_way_for_long_was_accepted() {
        let sent = Instant::now();
        for (turns, lost) in
            [(Turns::Since(sent), 1), (Turns::Never, 1), (Turns::AnyTime, 1), (Turns::Starting(sent), 0)]
        {
            for kept in [false, true] {
                let mut tally = Tally::default();
                tally.add(Asked { sent, took: RACE, kept, end: End::Unanswered });
                assert_eq!(tally.counts(turns, false).lost(), lost, "{turns:?} {kept}");
            }
        }
    }

    #[test]
    fn what_was_sent_after_it_may_be_turned_away_and_never_be_cut_short() {
        let asked = [
            (1, false, End::Refused),
            (1, false, End::Unanswered),
            (1, false, End::CutShort),
            (1, false, End::Hung),
            (1, true, End::Answered(404)),
        ];
        assert_eq!(lost(&asked, Turns::Since), (1, 2, vec![(Loss::CutShort, 1), (Loss::Hung, 1)]));
    }

    #[test]
    fn who_is_refused_when_the_stop_has_begun_is_turned_away() {
        let sent = Instant::now();
        let mut tally = Tally::default();
        tally.add(Asked { sent, took: MS * 2, kept: false, end: End::Refused });
        assert_eq!(tally.counts(Turns::Since(sent + MS), false).lost(), 0);
        assert_eq!(tally.counts(Turns::Since(sent + MS * 3), false).lost(), 1);
    }

    #[test]
    fn an_error_is_a_loss_unless_it_was_there_before() {
        let new = [(-1, true, End::Answered(200)), (1, true, End::Answered(503))];
        assert_eq!(lost(&new, Turns::Since), (1, 0, vec![(Loss::Status(503), 1)]));
        let old =
            [(-1, true, End::Answered(500)), (1, true, End::Answered(500)), (1, true, End::Answered(404))];
        assert_eq!(lost(&old, Turns::Since), (3, 0, vec![]));
        let mut rare = vec![(-1, true, End::Answered(200)); 20];
        rare.push((-1, true, End::Answered(502)));
        assert_eq!(lost(&rare, |_| Turns::Never), (20, 0, vec![(Loss::Status(502), 1)]));
        assert_eq!(lost(&[(-1, true, End::Answered(500))], |_| Turns::Never), (1, 0, vec![]));
    }

    #[test]
    fn the_error_of_a_request_that_was_cut_off_was_not_there_before() {
        let sent = Instant::now();
        let mut tally = Tally::default();
        tally.add(Asked { sent, took: MS, kept: true, end: End::Answered(200) });
        tally.add(Asked { sent, took: MS * 9, kept: true, end: End::Answered(503) });
        assert_eq!(tally.counts(Turns::Since(sent + MS * 5), false).lost(), 1);
        assert_eq!(tally.counts(Turns::Since(sent + MS * 10), false).lost(), 0);
    }

    #[test]
    fn the_errors_of_a_stop_do_not_make_themselves_usual() {
        let sent = Instant::now();
        let mut tally = Tally::default();
        tally.add(Asked { sent, took: MS, kept: true, end: End::Answered(200) });
        tally.add(Asked { sent, took: RACE, kept: true, end: End::Answered(503) });
        for turns in [Turns::Since(sent), Turns::Since(sent + MS * 5), Turns::AnyTime] {
            assert_eq!(tally.counts(turns, false).lost(), 1, "{turns:?}");
        }
        let starting = [Turns::Starting(sent), Turns::Starting(sent + MS * 5)];
        assert_eq!(starting.map(|turns| tally.counts(turns, false).lost()), [1, 1]);
        tally.add(Asked { sent, took: MS * 2, kept: true, end: End::Answered(503) });
        let counts = |turns| {
            let counts = tally.counts(turns, false);
            (counts.answered, counts.turned_away, counts.lost())
        };
        assert_eq!(counts(Turns::Starting(sent)), (1, 1, 1), "busy from its first moment");
        assert_eq!(counts(Turns::Starting(sent + MS * 5)), (3, 0, 0), "it was there before");
    }

    /// Without an answer before the stop what is answered often is taken for usual.
    #[test]
    fn an_app_of_errors_loses_nothing_by_them() {
        let sent = Instant::now();
        let mut tally = Tally::default();
        tally.add(Asked { sent, took: RACE, kept: true, end: End::Answered(500) });
        for turns in [Turns::Since(sent), Turns::Starting(sent), Turns::AnyTime] {
            assert_eq!(tally.counts(turns, false).lost(), 0, "{turns:?}");
        }
    }

    #[test]
    fn an_address_that_others_use_turns_away_with_503() {
        let now = Instant::now();
        let mut tally = Tally::default();
        for (sent, end) in [(now, End::Answered(200)), (now + MS, End::Answered(503))] {
            tally.add(Asked { sent, took: MS / 2, kept: true, end });
        }
        let counts = |turns, is_shared| {
            let counts = tally.counts(turns, is_shared);
            (counts.answered, counts.turned_away, counts.lost())
        };
        assert_eq!(counts(Turns::Since(now + MS), true), (1, 1, 0));
        assert_eq!(counts(Turns::Since(now + MS), false), (1, 0, 1));
        assert_eq!(counts(Turns::Since(now + MS * 2), true), (2, 0, 0), "it was there before");
    }

    #[test]
    fn losses_are_told_in_words() {
        assert_eq!(Loss::CutShort.text(1), "1 answer was cut short");
        assert_eq!(Loss::Unanswered.text(2), "2 requests were accepted and got no answer");
        assert_eq!(Loss::Status(503).text(1), "1 request got 503, which did not occur before");
    }
}
