//! What the kernel counted against what the replies say.
//!
//! Two witnesses of the same run: connections per real server as the kernel counts them, and the
//! task names in the replies. Reading the counters is not done here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Connections per task as the kernel had counted them before and after a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub before: BTreeMap<String, u64>,
    pub after: BTreeMap<String, u64>,
}

/// The kernel's count and ours, side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossCheck {
    /// Every task that either of the two names, sorted.
    pub tasks: Vec<TaskCheck>,
    /// Whether both say the same of every task.
    pub agrees: bool,
    /// Where they do not: whether the kernel counted more, never less, and in all no more than the
    /// requests that failed. A connection that is refused by its task, for one, is counted.
    pub failures_may_explain: bool,
}

/// One task in both counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCheck {
    pub task: String,
    /// Replies that bore its name.
    pub replies: u64,
    /// Connections the kernel counted meanwhile; none when its counter went back or away, as it
    /// does when the real server is made anew.
    pub counted: Option<u64>,
}

impl CrossCheck {
    /// Compares the replies per task with the growth of the counters. `failed` is how many
    /// requests of the run have no reply.
    pub fn of(replies: &BTreeMap<String, u64>, counters: &Counters, failed: u64) -> Self {
        let mut names: Vec<&String> = replies.keys().collect();
        names.extend(counters.before.keys().chain(counters.after.keys()));
        names.sort_unstable();
        names.dedup();
        let tasks: Vec<TaskCheck> = names
            .into_iter()
            .map(|task| TaskCheck {
                task: task.clone(),
                replies: replies.get(task).copied().unwrap_or(0),
                counted: counters.growth(task),
            })
            .collect();
        Self {
            agrees: tasks.iter().all(|task| task.counted == Some(task.replies)),
            failures_may_explain: surplus(&tasks).is_some_and(|more| more > 0 && more <= failed),
            tasks,
        }
    }
}

impl CrossCheck {
    /// Several sandboxes' checks as one: their sums, and agreement only where each agrees. None of
    /// none.
    pub fn together(checks: &[&Self]) -> Option<Self> {
        let mut tasks: BTreeMap<&str, (u64, Option<u64>)> = BTreeMap::new();
        for check in checks.iter().flat_map(|check| &check.tasks) {
            let sum = tasks.entry(&check.task).or_insert((0, Some(0)));
            sum.0 += check.replies;
            sum.1 = sum.1.zip(check.counted).map(|(sum, counted)| sum + counted);
        }
        let mut odd = checks.iter().filter(|check| !check.agrees).peekable();
        (!checks.is_empty()).then(|| Self {
            tasks: tasks
                .into_iter()
                .map(|(task, (replies, counted))| TaskCheck {
                    task: task.to_owned(),
                    replies,
                    counted,
                })
                .collect(),
            agrees: odd.peek().is_none(),
            failures_may_explain: odd.peek().is_some()
                && odd.all(|check| check.failures_may_explain),
        })
    }
}

impl Counters {
    /// How much a task's counter grew: a task that neither knows grew by 0, one that is new grew
    /// from 0. None when it went back or away.
    fn growth(&self, task: &str) -> Option<u64> {
        match (self.before.get(task), self.after.get(task)) {
            (before, Some(after)) => after.checked_sub(before.copied().unwrap_or(0)),
            (Some(_), None) => None,
            (None, None) => Some(0),
        }
    }
}

/// How much more the kernel counted in all; none when it counted less, or nothing, for any task.
fn surplus(tasks: &[TaskCheck]) -> Option<u64> {
    tasks
        .iter()
        .try_fold(0u64, |sum, task| sum.checked_add(task.counted?.checked_sub(task.replies)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
        pairs.iter().map(|(task, count)| (task.to_string(), *count)).collect()
    }

    fn check(
        replies: &[(&str, u64)],
        before: &[(&str, u64)],
        after: &[(&str, u64)],
        failed: u64,
    ) -> CrossCheck {
        let counters = Counters { before: counts(before), after: counts(after) };
        CrossCheck::of(&counts(replies), &counters, failed)
    }

    #[test]
    fn equal_growth_agrees() {
        let check = check(&[("a", 3), ("b", 2)], &[("a", 10)], &[("a", 13), ("b", 2), ("c", 0)], 0);
        assert!(check.agrees);
    }

    #[test]
    fn a_missing_connection_disagrees_and_no_failure_explains_it() {
        let check = check(&[("a", 3)], &[("a", 10)], &[("a", 12)], 9);
        assert!(!check.agrees && !check.failures_may_explain);
    }

    #[test]
    fn a_surplus_may_be_failed_requests_but_not_more_than_there_were() {
        assert!(check(&[("a", 3)], &[("a", 0)], &[("a", 5)], 2).failures_may_explain);
        assert!(!check(&[("a", 3)], &[("a", 0)], &[("a", 5)], 1).failures_may_explain);
        assert!(!check(&[("a", 3)], &[("a", 0)], &[("a", 5)], 1).agrees);
    }

    #[test]
    fn a_reply_of_a_task_the_kernel_does_not_know_disagrees() {
        assert!(!check(&[("a", 1)], &[], &[], 0).agrees);
    }

    #[test]
    fn a_counter_that_went_back_counts_nothing() {
        let check = check(&[("a", 3)], &[("a", 10)], &[("a", 3)], 0);
        assert_eq!(check.tasks.first().and_then(|task| task.counted), None);
        assert!(!check.agrees);
    }

    #[test]
    fn sandboxes_that_make_up_for_each_other_do_not_agree() {
        let more = check(&[("a", 3)], &[], &[("a", 4)], 1);
        let less = check(&[("a", 3)], &[], &[("a", 2)], 0);
        let good = check(&[("a", 3)], &[], &[("a", 3)], 0);
        let both = CrossCheck::together(&[&more, &less]).expect("two checks");
        assert_eq!(both.tasks, [TaskCheck { task: "a".into(), replies: 6, counted: Some(6) }]);
        assert!(!both.agrees && !both.failures_may_explain);
        assert!(CrossCheck::together(&[&good, &more]).expect("two").failures_may_explain);
        assert!(CrossCheck::together(&[&good, &good]).expect("two").agrees);
        assert_eq!(CrossCheck::together(&[]), None);
    }
}
