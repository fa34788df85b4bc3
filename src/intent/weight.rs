//! Which share of new connections a task gets beside the others of its service.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    DataPlane, Id, Intent, IntentError, Scheduler, Service, ServiceName, Span, Task, TaskName,
};

/// The weight of a task that nobody gave another.
pub const WEIGHT: u32 = 1;
/// The greatest weight that IPVS takes.
pub const MOST_WEIGHT: u32 = 65535;
/// Most turns that the tasks of a service have where nftables balances: each is an element of a map.
pub const MOST_TURNS: u64 = 4096;
/// How many parts of its weight a task has that nothing keeps from it.
pub const PARTS: u32 = 20;
/// What is done to every sandbox is not done more often than this.
const SHORTEST_STEP: Duration = Duration::from_millis(250);

/// How far a task that began is on its way to its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ramp {
    /// How many of the [`PARTS`] of its weight it has: from 1 on.
    pub parts: u32,
}

impl Ramp {
    /// Of a task that has been there for `age`; none when it has its whole weight.
    pub fn after(age: Duration, slow_start: Span) -> Option<Self> {
        let whole = slow_start.duration();
        if age >= whole {
            return None;
        }
        let (steps, step) = steps(whole);
        let done = (age.as_nanos() / step.as_nanos().max(1)).min(u128::from(steps - 1)) as u32;
        Some(Self { parts: ((done + 1) * PARTS / (steps + 1)).max(1) })
    }

    /// How long it takes from `age` until it has more.
    pub fn next(age: Duration, slow_start: Span) -> Option<Duration> {
        let whole = slow_start.duration();
        let (steps, step) = steps(whole);
        (1..steps).map(|done| step * done).chain([whole]).find(|at| *at > age).map(|at| at - age)
    }
}

/// In how many steps a weight rises, and how long each is.
fn steps(whole: Duration) -> (u32, Duration) {
    let fit = whole.as_nanos() / SHORTEST_STEP.as_nanos();
    let steps = (fit as u32).clamp(1, PARTS - 1);
    (steps, whole / steps)
}

impl Task {
    /// Whether anybody new is sent to it.
    pub fn takes_new(&self) -> bool {
        self.in_rotation() && self.weight > 0
    }
}

impl Intent {
    /// The weight of each task of a service that stands in tables, by slot, in parts that are as many
    /// for all.
    pub fn weights<'a>(
        &'a self,
        service: &'a ServiceName,
    ) -> impl Iterator<Item = (&'a Task, u32)> {
        let rises = self.rotation_of(service).any(|task| task.ramp.is_some());
        self.tasks_of(service).map(move |task| {
            let parts = match (rises, task.ramp) {
                (false, _) => 1,
                (true, Some(ramp)) => ramp.parts,
                (true, None) => PARTS,
            };
            (task, if task.in_rotation() { task.weight.saturating_mul(parts) } else { 0 })
        })
    }

    /// Gives a task another weight.
    ///
    /// # Errors
    /// When it leaves, or its service's data plane has no room for such a difference, or its scheduler
    /// takes no account of it.
    pub fn weigh_task(&mut self, name: &TaskName, weight: u32) -> Result<(), IntentError> {
        let mut edited = self.clone();
        let Some(task) = edited.tasks.get_mut(name) else { return Ok(()) };
        if task.leaving.is_some() {
            return Err(IntentError::WeightOfLeaving { name: name.clone() });
        }
        task.weight = weight;
        edited.check_turns(&name.service)?;
        if let Some(service) = edited.services.get(&name.service) {
            edited.check_weights_heeded(service)?;
        }
        edited.rearrange(|_| ());
        *self = edited;
        Ok(())
    }

    fn check_turns(&self, name: &ServiceName) -> Result<(), IntentError> {
        let Some(service) = self.services.get(name) else { return Ok(()) };
        let mut nodes = self.nodes.values();
        if !nodes.any(|node| service.data_plane.on(node) == DataPlane::Nftables) {
            return Ok(());
        }
        let weights: Vec<u32> = self.rotation_of(name).map(|task| task.weight).collect();
        let turns = turns_needed(&weights);
        match turns > MOST_TURNS {
            true => Err(IntentError::TooManyTurns { name: name.clone(), turns, most: MOST_TURNS }),
            false => Ok(()),
        }
    }

    /// How IPVS has to pick for a service.
    pub(super) fn scheduler_for(&self, service: &Service) -> Scheduler {
        if let Some(asked) = service.balancing.scheduler {
            return asked;
        }
        let weights: BTreeSet<u32> = self
            .rotation_of(&service.name)
            .map(|task| task.weight)
            .filter(|weight| *weight > 0)
            .collect();
        match weights.len() > 1 || service.slow_start.millis() > 0 {
            true => Scheduler::Wrr,
            false => Scheduler::Rr,
        }
    }

    /// The services whose scheduler is not the one that they need.
    pub(super) fn otherwise_scheduled(&self) -> Vec<(ServiceName, BTreeSet<Id>)> {
        let other = |service: &&Service| service.scheduler != self.scheduler_for(service);
        let ids = |service: &Service| {
            self.rotation_of(&service.name).map(|task| task.id.clone()).collect()
        };
        let services = self.services.values().filter(other);
        services.map(|service| (service.name.clone(), ids(service))).collect()
    }
}

/// How many turns tasks of these weights have before the first comes again.
fn turns_needed(weights: &[u32]) -> u64 {
    let divisor = weights.iter().fold(0, |divisor, weight| common(divisor, *weight)).max(1);
    weights.iter().map(|weight| u64::from(weight / divisor)).sum()
}

fn common(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { common(other, one % other) }
}

/// Whose turn it is, one after another, by index: each as often as its weight says, those of one as far
/// apart as can be. Weights that need more than [`MOST_TURNS`] are rounded.
pub fn turns(weights: &[u32]) -> Vec<usize> {
    let needed = turns_needed(weights);
    let divisor = weights.iter().fold(0, |divisor, weight| common(divisor, *weight)).max(1);
    let count = |weight: u32| -> u64 {
        let weight = u64::from(weight / divisor);
        match needed > MOST_TURNS && weight > 0 {
            true => (weight * MOST_TURNS / needed).max(1),
            false => weight,
        }
    };
    let mut turns: Vec<(f64, usize)> = Vec::new();
    for (index, weight) in weights.iter().enumerate() {
        let count = count(*weight);
        turns.extend((0..count).map(|turn| ((turn as f64 + 0.5) / count as f64, index)));
    }
    turns.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    turns.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::story;
    use super::super::{DataPlaneChoice, Vip};
    use super::*;

    #[test]
    fn a_weight_rises_step_by_step_from_little_to_all() {
        let ten: Span = "10s".parse().unwrap();
        let mut age = Duration::ZERO;
        let mut seen = vec![Ramp::after(age, ten).unwrap().parts];
        while let Some(wait) = Ramp::next(age, ten) {
            assert!(wait >= SHORTEST_STEP && wait <= Duration::from_secs(1), "{wait:?}");
            age += wait;
            seen.extend(Ramp::after(age, ten).map(|ramp| ramp.parts));
        }
        assert_eq!(age, ten.duration());
        assert_eq!(seen[0], 1);
        assert!(
            seen.windows(2).all(|pair| pair[0] < pair[1] && pair[1] - pair[0] <= 2),
            "{seen:?}"
        );
        assert!(*seen.last().unwrap() < PARTS);
        assert_eq!(Ramp::after(ten.duration(), ten), None);
        assert_eq!(Ramp::after(Duration::ZERO, Span::from_secs(0)), None);
        let short: Span = "300ms".parse().unwrap();
        assert_eq!(Ramp::next(Duration::ZERO, short), Some(short.duration()));
    }

    #[test]
    fn turns_come_as_often_as_weights_say_and_far_apart() {
        assert_eq!(turns(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(turns(&[5, 5]), [0, 1]);
        assert_eq!(turns(&[3, 1]), [0, 0, 1, 0]);
        assert_eq!(turns(&[2, 0, 1]), [0, 2, 0]);
        assert_eq!(turns(&[]), Vec::<usize>::new());
        assert_eq!(turns(&[0]), Vec::<usize>::new());
        let rounded = turns(&[65535, 1, 32768]);
        assert!(rounded.len() as u64 <= MOST_TURNS + 3);
        let of = |index| rounded.iter().filter(|turn| **turn == index).count();
        assert_eq!(of(1), 1);
        assert!((of(0) as f64 / of(2) as f64 - 2.0).abs() < 0.01);
    }

    fn web() -> ServiceName {
        "collabweb".parse().unwrap()
    }

    fn vip(intent: &Intent) -> &Vip {
        intent.services[&web()].vips.values().next().unwrap()
    }

    #[test]
    fn unequal_weights_want_another_scheduler_under_another_mark() {
        let mut intent = story();
        let first = vip(&intent).fwmark;
        let task: TaskName = "collabweb.2".parse().unwrap();
        intent.weigh_task(&task, 3).unwrap();
        assert_eq!(intent.services[&web()].scheduler, Scheduler::Wrr);
        let retired = &vip(&intent).retired[0];
        assert_eq!((retired.fwmark, retired.scheduler), (first, Scheduler::Rr));
        let second = vip(&intent).fwmark;
        intent.weigh_task(&task, 5).unwrap();
        assert_eq!(vip(&intent).fwmark, second, "a weight alone changes in place");
        intent.weigh_task(&task, 1).unwrap();
        assert_eq!(intent.services[&web()].scheduler, Scheduler::Rr);
        assert_ne!(vip(&intent).fwmark, second);
    }

    #[test]
    fn a_scheduler_waits_until_there_is_room_for_another_mark() {
        let mut intent = story();
        for replicas in (2..4).cycle().take(30) {
            intent.drain_service(&web(), replicas, 0).unwrap();
        }
        let (marks, task) = (intent.retired_marks(), "collabweb.1".parse().unwrap());
        intent.weigh_task(&task, 3).unwrap();
        assert_eq!(intent.services[&web()].scheduler, Scheduler::Rr);
        intent.forget_retired(&marks);
        assert_eq!(intent.services[&web()].scheduler, Scheduler::Wrr);
        assert_eq!(vip(&intent).retired.len(), 1);
    }

    #[test]
    fn what_leaves_has_no_weight_and_what_has_none_takes_nobody() {
        let mut intent = story();
        let task: TaskName = "collabweb.3".parse().unwrap();
        intent.weigh_task(&task, 0).unwrap();
        assert!(intent.tasks[&task].in_rotation() && !intent.tasks[&task].takes_new());
        assert_eq!(intent.rotation_of(&web()).count(), 3, "nobody is made in its place");
        intent.drain_service(&web(), 2, 0).unwrap();
        let refused = intent.weigh_task(&task, 1).unwrap_err().to_string();
        assert_eq!(refused, "task collabweb.3 leaves");
    }

    #[test]
    fn where_nftables_balances_a_difference_may_be_too_great() {
        let mut intent = story();
        let task: TaskName = "collabweb.1".parse().unwrap();
        intent.weigh_task(&task, 65535).unwrap();
        intent.weigh_task(&task, 1).unwrap();
        intent.services.get_mut(&web()).unwrap().data_plane = DataPlaneChoice::Nftables;
        let before = intent.clone();
        let refused = intent.weigh_task(&task, 65535).unwrap_err().to_string();
        assert!(refused.contains("65537 turns"), "{refused}");
        assert_eq!(intent, before);
        intent.weigh_task(&task, 100).unwrap();
    }
}
