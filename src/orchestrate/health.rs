//! Health: what a task's checks, one after the other, say of it, and when it is checked next. Time is
//! counted from any moment that stays the same.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::intent::health::Test;

/// How a task is checked, down to the last number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub test: Test,
    /// From the beginning of one check to the beginning of the next; never are there two at once.
    pub interval: Duration,
    pub timeout: Duration,
    /// How long failures do not count for a task that was never healthy.
    pub start_period: Duration,
    /// The interval during that time.
    pub start_interval: Duration,
    /// How many checks in a row make it healthy.
    pub rise: u32,
    /// How many failed ones in a row make it unhealthy.
    pub fall: u32,
}

/// How a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It was neither healthy nor unhealthy yet.
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// What one check said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Passed,
    Failed,
}

/// The most by which an interval is cut, so that checks that began together do not stay together: a
/// tenth. It is never made longer, for whoever gave it counts on it.
const SPREAD: f64 = 0.1;

/// What is known of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    pub condition: Condition,
    /// How many checks passed in a row.
    pub passed: u32,
    /// How many failed in a row; in the start period none is counted.
    pub failed: u32,
    /// When its process started.
    begun: Duration,
}

impl Course {
    /// Of a process that started then.
    pub fn new(begun: Duration) -> Self {
        Self { condition: Condition::Starting, passed: 0, failed: 0, begun }
    }

    /// As it was left, by somebody who is no more.
    #[must_use]
    pub fn resumed(self, condition: Condition, failed: u32) -> Self {
        Self { condition, failed, ..self }
    }

    /// Whether it still may fail without that being held against it.
    fn is_excused(&self, check: &Check, at: Duration) -> bool {
        self.condition == Condition::Starting && at.saturating_sub(self.begun) < check.start_period
    }

    /// Takes note of a check that began at `at`; true when the task is another than before.
    pub fn note(&mut self, check: &Check, at: Duration, said: Said) -> bool {
        let before = self.condition;
        match said {
            Said::Passed => {
                self.failed = 0;
                self.passed = self.passed.saturating_add(1);
                if self.passed >= check.rise {
                    self.condition = Condition::Healthy;
                }
            }
            Said::Failed => {
                self.passed = 0;
                if !self.is_excused(check, at) {
                    self.failed = self.failed.saturating_add(1);
                }
                if self.failed >= check.fall {
                    self.condition = Condition::Unhealthy;
                }
            }
        }
        self.condition != before
    }

    /// When the check after one that began at `at` begins. `draw` is a random number from 0 to 1.
    pub fn next(&self, check: &Check, at: Duration, draw: f64) -> Duration {
        at + self.interval(check, at).mul_f64(1.0 - SPREAD * draw)
    }

    /// When the first check begins. One of a task that starts does not wait for an interval; those of
    /// tasks that are there are spread over one.
    pub fn first(&self, check: &Check, now: Duration, draw: f64) -> Duration {
        match self.condition {
            Condition::Starting => now,
            _ => now + self.interval(check, now).mul_f64(draw),
        }
    }

    fn interval(&self, check: &Check, at: Duration) -> Duration {
        if self.is_excused(check, at) { check.start_interval } else { check.interval }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn check() -> Check {
        Check {
            test: Test::Tcp(7.try_into().unwrap()),
            interval: ms(1000),
            timeout: ms(1000),
            start_period: ms(30_000),
            start_interval: ms(200),
            rise: 1,
            fall: 3,
        }
    }

    /// A task that answers, or not, at any moment; what is seen of it until `end`, at each change.
    fn simulated(
        check: &Check,
        begun: Course,
        end: Duration,
        answers: impl Fn(Duration) -> bool,
    ) -> Vec<(Duration, Condition)> {
        let mut course = begun;
        let mut at = course.first(check, course.begun, 0.5);
        let mut changes = Vec::new();
        while at < end {
            let (said, took) = match answers(at) {
                true => (Said::Passed, ms(1)),
                false => (Said::Failed, check.timeout),
            };
            if course.note(check, at, said) {
                changes.push((at + took, course.condition));
            }
            at = course.next(check, at, 0.5).max(at + took);
        }
        changes
    }

    #[test]
    fn a_task_is_healthy_with_its_first_answer_and_unhealthy_after_three_failures() {
        let changes = simulated(&check(), Course::new(ms(0)), ms(20_000), |at| {
            (ms(2000)..ms(10_000)).contains(&at)
        });
        assert_eq!(changes.len(), 2, "{changes:?}");
        let (healthy, unhealthy) = (changes[0], changes[1]);
        assert_eq!(healthy.1, Condition::Healthy);
        assert!(healthy.0 < ms(3300), "it is asked often while it starts: {changes:?}");
        assert_eq!(unhealthy.1, Condition::Unhealthy);
        assert!(unhealthy.0 <= ms(14_000), "{changes:?}");
    }

    #[test]
    fn failures_count_only_after_the_start_period_or_the_first_success() {
        let never = |_| false;
        let changes = simulated(&check(), Course::new(ms(0)), ms(60_000), never);
        assert_eq!(changes.len(), 1);
        let (at, condition) = changes[0];
        assert_eq!(condition, Condition::Unhealthy);
        assert!((ms(32_000)..ms(35_000)).contains(&at), "{at:?}");
        let short = |at| at < ms(500);
        let changes = simulated(&check(), Course::new(ms(0)), ms(20_000), short);
        assert_eq!(changes[1].1, Condition::Unhealthy, "it was healthy: {changes:?}");
        assert!(changes[1].0 < ms(6000), "{changes:?}");
    }

    #[test]
    fn who_comes_back_must_rise_as_often_as_was_asked() {
        let check = Check { rise: 3, ..check() };
        let mut course = Course::new(ms(0)).resumed(Condition::Unhealthy, 3);
        let mut note = |said| {
            course.note(&check, ms(50_000), said);
            course.condition
        };
        for said in [Said::Passed, Said::Passed, Said::Failed, Said::Passed, Said::Passed] {
            assert_eq!(note(said), Condition::Unhealthy);
        }
        assert_eq!(note(Said::Passed), Condition::Healthy);
        for said in [Said::Failed, Said::Failed, Said::Passed, Said::Failed, Said::Failed] {
            assert_eq!(note(said), Condition::Healthy);
        }
        assert_eq!(note(Said::Failed), Condition::Unhealthy);
    }

    #[test]
    fn a_task_that_was_there_already_keeps_its_condition_and_its_turn() {
        let course = Course::new(ms(0)).resumed(Condition::Healthy, 0);
        assert_eq!(course.first(&check(), ms(5000), 0.25), ms(5250));
        assert_eq!(Course::new(ms(5000)).first(&check(), ms(5000), 0.25), ms(5000));
    }

    /// Runs a property on cases that follow from a fixed seed, which is printed.
    fn always<S: Strategy>(strategy: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
        let seed = [0x5a; 32];
        println!("seed: {seed:02x?}");
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let config = Config { cases: 512, failure_persistence: None, ..Config::default() };
        TestRunner::new_with_rng(config, random).run(&strategy, property).unwrap();
    }

    #[test]
    fn a_task_that_falls_silent_is_out_in_time_whatever_the_numbers() {
        let numbers = (10_u64..5000, 1_u64..5000, 1_u32..6, 1_u32..6, 0_u64..100_000);
        always(numbers, |(interval, timeout, rise, fall, silent)| {
            let check = Check {
                interval: ms(interval),
                timeout: ms(timeout),
                rise,
                fall,
                start_period: ms(0),
                ..check()
            };
            let course = Course::new(ms(0)).resumed(Condition::Healthy, 0);
            let end = ms(silent) + check.interval.max(check.timeout) * (fall + 2);
            let changes = simulated(&check, course, end, |at| at < ms(silent));
            let longest = ms(silent) + check.interval + check.interval.max(check.timeout) * fall;
            prop_assert_eq!(changes.len(), 1);
            prop_assert_eq!(changes[0].1, Condition::Unhealthy);
            prop_assert!(changes[0].0 <= longest, "{:?} > {:?}", changes[0].0, longest);
            Ok(())
        });
    }

    #[test]
    fn no_change_without_as_many_in_a_row_and_none_missed_with() {
        let says = proptest::collection::vec(any::<bool>(), 0..60);
        always((says, 1_u32..5, 1_u32..5), |(says, rise, fall)| {
            let check = Check { rise, fall, start_period: ms(0), ..check() };
            let mut course = Course::new(ms(0));
            let mut row = (true, 0_u32);
            for (number, passed) in says.into_iter().enumerate() {
                let said = if passed { Said::Passed } else { Said::Failed };
                let before = course.condition;
                let changed = course.note(&check, ms(number as u64 * 1000), said);
                row = if row.0 == passed { (passed, row.1 + 1) } else { (passed, 1) };
                let (enough, becomes) = match passed {
                    true => (row.1 >= rise, Condition::Healthy),
                    false => (row.1 >= fall, Condition::Unhealthy),
                };
                prop_assert_eq!(course.condition, if enough { becomes } else { before });
                prop_assert_eq!(changed, course.condition != before);
            }
            Ok(())
        });
    }

    #[test]
    fn intervals_are_cut_a_little_and_never_longer() {
        always(0.0..=1.0_f64, |draw| {
            let course = Course::new(ms(0)).resumed(Condition::Healthy, 0);
            let next = course.next(&check(), ms(7000), draw);
            prop_assert!((ms(7900)..=ms(8000)).contains(&next), "{next:?}");
            Ok(())
        });
    }
}
