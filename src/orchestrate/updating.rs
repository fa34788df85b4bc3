//! Updates: which tasks of a service are replaced next, and when an update is over. Time is that of whoever
//! looks at it: one that takes over in the middle goes on, and waits and watches anew what it cannot know.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::intent::{
    FailureAction, Id, Intent, Outcome, Place, Service, ServiceName, Step, Task, UpdateConfig,
};

/// What the nodes say of tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// They run, and every node sends to them.
    pub up: BTreeSet<Id>,
    /// They ended, or could not be started, at least once; how.
    pub failed: BTreeMap<Id, String>,
}

/// What is remembered of the updates that are going.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory(BTreeMap<ServiceName, Followed>);

/// The same of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Followed {
    /// Which it is: when it was asked for.
    started: u64,
    /// Nothing is replaced before.
    not_before: Duration,
    /// Since when new tasks are up.
    up: BTreeMap<Id, Duration>,
}

/// What is to be done about an update, and when to look again though nothing happens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    pub step: Step,
    pub due: Option<Duration>,
}

impl Memory {
    /// What comes next in a service's update. `now` is the time since some moment in the past.
    pub fn look(
        &mut self,
        intent: &Intent,
        name: &ServiceName,
        word: &Word,
        now: Duration,
    ) -> Look {
        let Some((service, started)) = going(intent, name) else {
            self.0.remove(name);
            return Look::default();
        };
        let places = intent.places(name);
        let followed = self.0.entry(name.clone()).or_default();
        if followed.started != started {
            let begins = places.iter().all(|place| !service.is_current(place.task));
            let delay = service.config_now().delay.duration();
            let not_before = if begins { now } else { now + delay };
            *followed = Followed { started, not_before, up: BTreeMap::new() };
        }
        followed.note(service, &places, word, now);
        Scene { service, places, word, now, followed }.look()
    }

    /// Forgets the services that are not updated any more.
    pub fn retain(&mut self, intent: &Intent) {
        self.0.retain(|name, _| going(intent, name).is_some());
    }
}

fn going<'a>(intent: &'a Intent, name: &ServiceName) -> Option<(&'a Service, u64)> {
    let service = intent.services.get(name).filter(|service| service.is_updating())?;
    Some((service, service.update.as_ref()?.started))
}

impl Followed {
    fn note(&mut self, service: &Service, places: &[Place<'_>], word: &Word, now: Duration) {
        let tasks = places.iter().flat_map(|place| [Some(place.task), place.successor]);
        let new: Vec<&Task> = tasks.flatten().filter(|task| service.is_current(task)).collect();
        for task in new.iter().filter(|task| word.up.contains(&task.id)) {
            self.up.entry(task.id.clone()).or_insert(now);
        }
        self.up.retain(|id, _| new.iter().any(|task| task.id == *id));
    }
}

/// How a place stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Its task is of another version.
    Old,
    /// Its task is being replaced.
    Between,
    /// Its task is new, and nothing is waited for any more.
    New,
}

struct Scene<'a> {
    service: &'a Service,
    places: Vec<Place<'a>>,
    word: &'a Word,
    now: Duration,
    followed: &'a Followed,
}

impl Scene<'_> {
    fn look(&self) -> Look {
        let mut step = Step { failed: self.newly_failed(), ..Step::default() };
        if let Some(why) = self.reason_to_stop(&step.failed) {
            step.outcome = Some(Outcome::Failed(why));
            return Look { step, due: None };
        }
        step.retire = self.places.iter().filter_map(|place| self.retired(place)).collect();
        let room = self.room();
        let mut old: Vec<&Place<'_>> =
            self.places.iter().filter(|place| self.standing(place) == Standing::Old).collect();
        // Who does not serve anyhow is missed least.
        old.sort_by_key(|place| (self.word.up.contains(&place.task.id), place.task.name.slot));
        if self.now >= self.followed.not_before {
            step.replace = old.iter().take(room).map(|place| place.task.name.clone()).collect();
        }
        if step.is_empty() && self.is_through() {
            step.outcome = Some(Outcome::Completed);
        }
        Look { due: self.due(), step }
    }

    fn config(&self) -> &UpdateConfig {
        self.service.config_now()
    }

    fn is_new(&self, task: &Task) -> bool {
        self.service.is_current(task)
    }

    /// Whether its failure was seen, now or before.
    fn has_failed(&self, task: &Task) -> bool {
        let known = self.service.update.as_ref().is_some_and(|u| u.failed.contains(&task.id));
        known || self.word.failed.contains_key(&task.id)
    }

    fn is_up(&self, task: &Task) -> bool {
        self.word.up.contains(&task.id)
    }

    /// New tasks that failed while they were watched, which nobody took note of yet.
    fn newly_failed(&self) -> BTreeSet<Id> {
        let tasks = self.places.iter().flat_map(|place| [Some(place.task), place.successor]);
        let watched = |task: &&Task| match self.followed.up.get(&task.id) {
            Some(since) => self.now.saturating_sub(*since) <= self.config().monitor.duration(),
            None => true,
        };
        let known = |task: &&Task| {
            self.service.update.as_ref().is_some_and(|update| update.failed.contains(&task.id))
        };
        let new = tasks.flatten().filter(|task| self.is_new(task) && task.leaving.is_none());
        let failed = new.filter(|task| self.word.failed.contains_key(&task.id));
        failed.filter(watched).filter(|task| !known(task)).map(|task| task.id.clone()).collect()
    }

    /// Which failure is one too many.
    fn reason_to_stop(&self, newly: &BTreeSet<Id>) -> Option<String> {
        let update = self.service.update.as_ref()?;
        let config = self.config();
        let failures = update.failed.union(newly).count();
        let tolerated = config.failure_action == FailureAction::Continue
            || !config.max_failure_ratio.is_exceeded_by(failures, update.tasks as usize);
        if tolerated || newly.is_empty() {
            return None;
        }
        let tasks = self.places.iter().flat_map(|place| [Some(place.task), place.successor]);
        let task = tasks.flatten().find(|task| newly.contains(&task.id))?;
        let how = self.word.failed.get(&task.id).filter(|how| !how.is_empty());
        let how = how.map(|how| format!(" ({how})")).unwrap_or_default();
        Some(format!("failure or early termination of task {}{how}", task.name))
    }

    /// Who of a place has nothing to do there any more.
    fn retired(&self, place: &Place<'_>) -> Option<crate::intent::TaskName> {
        let successor = place.successor?;
        if self.is_new(place.task) || !self.is_new(successor) {
            return Some(successor.name.clone());
        }
        let is_taken = self.is_up(successor) || self.has_failed(successor);
        is_taken.then(|| place.task.name.clone())
    }

    fn standing(&self, place: &Place<'_>) -> Standing {
        if place.is_handed_on() || place.successor.is_some() {
            return Standing::Between;
        }
        if !self.is_new(place.task) {
            return Standing::Old;
        }
        let rested = match self.followed.up.get(&place.task.id) {
            Some(since) => self.now >= *since + self.config().delay.duration(),
            None => false,
        };
        match rested || self.has_failed(place.task) {
            true => Standing::New,
            false => Standing::Between,
        }
    }

    /// How many may be replaced beside those that are being replaced.
    fn room(&self) -> usize {
        let between =
            self.places.iter().filter(|place| self.standing(place) == Standing::Between).count();
        let vacant = self.service.update.as_ref().map_or(0, |update| update.vacant as usize);
        let lacking = self.service.pending.len().saturating_sub(vacant);
        match self.config().parallelism {
            0 => usize::MAX,
            most => (most as usize).saturating_sub(between + lacking),
        }
    }

    /// Whether every task is new, and was watched for long enough.
    fn is_through(&self) -> bool {
        let is_done = |place: &Place<'_>| {
            place.successor.is_none()
                && self.is_new(place.task)
                && !place.is_handed_on()
                && (self.followed.up.contains_key(&place.task.id) || self.has_failed(place.task))
        };
        let watched = self.followed.up.values().all(|since| self.now >= self.watched_until(*since));
        self.places.iter().all(is_done) && watched
    }

    fn watched_until(&self, since: Duration) -> Duration {
        since + self.config().monitor.duration()
    }

    fn due(&self) -> Option<Duration> {
        let up = self.followed.up.values();
        let rested = up.clone().map(|since| *since + self.config().delay.duration());
        let watched = up.map(|since| self.watched_until(*since));
        let moments = rested.chain(watched).chain([self.followed.not_before]);
        moments.filter(|moment| *moment > self.now).min()
    }
}

#[cfg(test)]
mod tests;
