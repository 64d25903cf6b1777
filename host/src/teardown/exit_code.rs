//! Exit code of an app that ran (I11). `cli/src/error.rs` maps errors before that to the same codes.

use super::{Outcome, Signal};

/// Exit code of the process. [`ExitCode::MEANINGS`] explains each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCode(pub u8);

impl ExitCode {
    /// Everything ended cleanly.
    pub const CLEAN: Self = Self(0);
    /// A component failed.
    pub const FAILED: Self = Self(1);
    /// The command line cannot be understood.
    pub const USAGE: Self = Self(2);
    /// Stopped in time, but a hook failed.
    pub const HOOK_FAILED: Self = Self(3);
    /// A file could not be read at the start.
    pub const UNAVAILABLE: Self = Self(69);
    /// A bug in the host.
    pub const HOST_BUG: Self = Self(70);
    /// A restart budget was spent.
    pub const GAVE_UP: Self = Self(75);
    /// The manifest or a component is invalid.
    pub const INVALID: Self = Self(78);
    /// A component was cut off.
    pub const CUT_OFF: Self = Self(124);

    /// Each code with its meaning, for the manual and the guide. `n` is the number of a signal.
    pub const MEANINGS: &[(&str, &str)] = &[
        ("0", "all components ended cleanly, for any cause of the stop"),
        ("1", "a component failed; the first failure is named as the cause"),
        ("2", "the command line cannot be understood"),
        ("3", "stopped in time, but a hook failed"),
        ("69", "at the start, an address, a file or a name could not be had, or the machine was too small"),
        ("70", "a bug in curfew"),
        ("75", "a component failed more often than its `restart` allows"),
        ("78", "the manifest or a component is invalid; nothing was started"),
        ("124", "a component was cut off at the end of its grace"),
        ("128+n", "forced by signal n: a second INT, or TERM or INT with `signals = \"nginx\"`"),
    ];
}

/// Returns the exit code of an app that ran. The order of the lines is the precedence. `host_bug`: a task of the host died.
/// `forced`: the signal by which an operator cut the stop short.
pub fn exit_code(host_bug: bool, forced: Option<Signal>, outcomes: &[Outcome]) -> ExitCode {
    if host_bug {
        return ExitCode::HOST_BUG;
    }
    if let Some(signal) = forced {
        return ExitCode(128 + signal.number());
    }
    let worst = outcomes.iter().copied().map(code_of).max_by_key(|&(rank, _)| rank);
    worst.map_or(ExitCode::CLEAN, |(_, code)| code)
}

/// Returns the rank and the code of one outcome; the highest rank decides.
fn code_of(outcome: Outcome) -> (u8, ExitCode) {
    match outcome {
        Outcome::GaveUp => (4, ExitCode::GAVE_UP),
        Outcome::Failed => (3, ExitCode::FAILED),
        Outcome::CutOff | Outcome::Leaked => (2, ExitCode::CUT_OFF),
        Outcome::HookFailed => (1, ExitCode::HOOK_FAILED),
        Outcome::Finished | Outcome::Stopped | Outcome::NotStarted => (0, ExitCode::CLEAN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_meaning() {
        let all = [
            ExitCode::CLEAN,
            ExitCode::FAILED,
            ExitCode::USAGE,
            ExitCode::HOOK_FAILED,
            ExitCode::UNAVAILABLE,
            ExitCode::HOST_BUG,
            ExitCode::GAVE_UP,
            ExitCode::INVALID,
            ExitCode::CUT_OFF,
        ];
        let codes = all.map(|code| code.0.to_string());
        let named: Vec<&str> = ExitCode::MEANINGS.iter().map(|(code, _)| *code).collect();
        assert_eq!(named, codes.iter().map(String::as_str).chain(["128+n"]).collect::<Vec<_>>());
    }

    /// The guide's precedence: 70, 128+n, 75, 1, 124, 3, 0.
    #[test]
    fn the_worst_outcome_decides_and_the_cause_can_overrule() {
        use Outcome::*;
        let all = [Finished, Stopped, NotStarted, HookFailed, CutOff, Failed, GaveUp];
        let expected = [0, 0, 0, 3, 124, 1, 75];
        for (last, want) in expected.iter().enumerate() {
            assert_eq!(exit_code(false, None, &all[..=last]), ExitCode(*want), "{:?}", &all[..=last]);
        }
        assert_eq!(exit_code(false, None, &[Leaked]), ExitCode(124));
        assert_eq!(exit_code(false, Some(Signal::Int), &all), ExitCode(130));
        assert_eq!(exit_code(false, Some(Signal::Term), &[CutOff]), ExitCode(143));
        assert_eq!(exit_code(true, Some(Signal::Int), &all), ExitCode(70));
        assert_eq!(exit_code(false, None, &[Failed, CutOff]), ExitCode(1));
        assert_eq!(exit_code(false, None, &[]), ExitCode(0));
    }
}
