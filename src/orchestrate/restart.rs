//! Restarts: when a task that ended is started again, and when it is given up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::intent::RestartPolicy;
use crate::intent::restart::Condition;

/// The first pause before an ended task is started again; it doubles up to the longest, which is
/// Docker's restart delay. None is shorter.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A task that lived this long starts over with the first pause.
pub const STEADY: Duration = Duration::from_secs(10);

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Not with exit code 0, or its start was refused.
    pub is_failure: bool,
    /// How long its process was there.
    pub lived: Duration,
    /// Milliseconds since 1970.
    pub at: u64,
}

/// What happened to one task so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// Ends in a row without a steady while between.
    pub in_a_row: u32,
    /// When it was started again, as far as that counts: milliseconds since 1970, the oldest first.
    restarts: Vec<u64>,
}

/// What follows from an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is started again after a pause.
    Again(Duration),
    Over(Why),
}

/// Why a task is not started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The policy's condition does not cover such an end.
    Condition,
    /// After so many attempts.
    Attempts(u32),
}

impl History {
    /// Takes note of an end, and says what follows.
    pub fn ended(&mut self, policy: &RestartPolicy, end: End) -> Verdict {
        self.in_a_row = if end.lived >= STEADY { 1 } else { self.in_a_row.saturating_add(1) };
        let covered = match policy.condition {
            Condition::None => false,
            Condition::OnFailure => end.is_failure,
            Condition::Any => true,
        };
        if !covered {
            return Verdict::Over(Why::Condition);
        }
        if let Some(most) = policy.max_attempts {
            if let Some(window) = policy.window {
                let from = end.at.saturating_sub(window.millis());
                self.restarts.retain(|restart| *restart >= from);
            }
            if self.restarts.len() >= most.get() as usize {
                return Verdict::Over(Why::Attempts(most.get()));
            }
            self.restarts.push(end.at);
        }
        Verdict::Again(self.pause(policy))
    }

    fn pause(&self, policy: &RestartPolicy) -> Duration {
        match policy.delay {
            Some(delay) => delay.duration().max(FIRST_PAUSE),
            None => {
                let doubled = 1 << self.in_a_row.saturating_sub(1).min(16);
                (FIRST_PAUSE * doubled).min(LONGEST_PAUSE)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

    use super::*;
    use crate::intent::Span;

    fn policy(condition: Condition, most: u32, window: u64) -> RestartPolicy {
        RestartPolicy {
            condition,
            delay: None,
            max_attempts: NonZeroU32::new(most),
            window: (window > 0).then(|| Span::from_secs(window)),
        }
    }

    fn end(is_failure: bool, lived: u64, at: u64) -> End {
        End { is_failure, lived: Duration::from_secs(lived), at: at * 1000 }
    }

    const AFTER_CONDITION: Verdict = Verdict::Over(Why::Condition);

    #[test]
    fn the_condition_says_which_ends_are_followed_by_a_start() {
        let again = |condition, is_failure| {
            History::default().ended(&policy(condition, 0, 0), end(is_failure, 0, 0))
        };
        let first = Verdict::Again(FIRST_PAUSE);
        assert_eq!(again(Condition::None, true), AFTER_CONDITION);
        assert_eq!(again(Condition::None, false), AFTER_CONDITION);
        assert_eq!(again(Condition::OnFailure, true), first);
        assert_eq!(again(Condition::OnFailure, false), AFTER_CONDITION);
        assert_eq!(again(Condition::Any, true), first);
        assert_eq!(again(Condition::Any, false), first);
    }

    #[test]
    fn pauses_double_until_it_lived_steadily() {
        let policy = policy(Condition::Any, 0, 0);
        let mut history = History::default();
        let mut pause = |lived| match history.ended(&policy, end(true, lived, 0)) {
            Verdict::Again(pause) => pause.as_millis(),
            Verdict::Over(why) => panic!("{why:?}"),
        };
        let pauses: Vec<u128> = (0..8).map(|_| pause(1)).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pause(10), 100);
        assert_eq!(pause(9), 200);
        assert!(history.restarts.is_empty(), "what does not count is not kept");
    }

    #[test]
    fn a_delay_that_was_asked_for_is_kept_but_for_one_that_would_spin() {
        let paused = |delay: &str| {
            let delay = Some(delay.parse().unwrap());
            let policy = RestartPolicy { delay, ..RestartPolicy::default() };
            let mut history = History { in_a_row: 9, ..History::default() };
            history.ended(&policy, end(true, 0, 0))
        };
        assert_eq!(paused("7s"), Verdict::Again(Duration::from_secs(7)));
        assert_eq!(paused("0"), Verdict::Again(FIRST_PAUSE));
    }

    #[test]
    fn it_is_given_up_after_as_many_attempts_as_the_window_may_have() {
        let verdicts = |window, times: &[u64]| {
            let policy = policy(Condition::Any, 3, window);
            let mut history = History::default();
            let ended =
                |at: &u64| matches!(history.ended(&policy, end(true, 60, *at)), Verdict::Again(_));
            times.iter().map(ended).collect::<Vec<bool>>()
        };
        assert_eq!(verdicts(0, &[0, 100, 10_000, 1_000_000]), [true, true, true, false]);
        assert_eq!(verdicts(120, &[0, 60, 119, 120]), [true, true, true, false]);
        assert_eq!(verdicts(120, &[0, 60, 119, 121, 181]), [true, true, true, true, true]);
        let mut history = History { in_a_row: 0, restarts: vec![1, 2, 3] };
        let policy = policy(Condition::Any, 3, 0);
        assert_eq!(history.ended(&policy, end(true, 0, 9)), Verdict::Over(Why::Attempts(3)));
    }

    #[test]
    fn no_window_ever_has_more_restarts_than_were_allowed() {
        let seed = [0x17; 32];
        println!("seed: {seed:02x?}");
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let config = Config { cases: 512, failure_persistence: None, ..Config::default() };
        let gaps = proptest::collection::vec(0_u64..40, 0..50);
        let cases = (gaps, 1_u32..6, 1_u64..120);
        TestRunner::new_with_rng(config, random)
            .run(&cases, |(gaps, most, window)| {
                let policy = policy(Condition::Any, most, window);
                let (mut history, mut at, mut restarts) = (History::default(), 0, Vec::new());
                for gap in gaps {
                    at += gap;
                    let held = restarts.iter().filter(|then| **then + window >= at).count();
                    match history.ended(&policy, end(true, gap, at)) {
                        Verdict::Again(pause) => {
                            prop_assert!((FIRST_PAUSE..=LONGEST_PAUSE).contains(&pause));
                            prop_assert!(held < most as usize);
                            restarts.push(at);
                        }
                        Verdict::Over(why) => {
                            prop_assert_eq!(why, Why::Attempts(most));
                            prop_assert_eq!(held, most as usize);
                            break;
                        }
                    }
                }
                prop_assert!(history.restarts.len() <= most as usize);
                Ok(())
            })
            .unwrap();
    }
}
