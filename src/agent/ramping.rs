//! Slow start: since when tasks are there, and which part of their weight they have by now.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::intent::{Absences, Id, Intent, Ramp, ServiceName, Span, Task};

/// Since when tasks are sent to. Of all services: one may be told later to be in no hurry.
#[derive(Debug, Default)]
pub struct Ramps {
    /// None where it is too long ago to matter.
    since: BTreeMap<Id, Option<Instant>>,
    /// Whether it was looked before: who was there at the first look began at some time before.
    looked: bool,
}

impl Ramps {
    /// Takes note of who is there. `age` tells for how long a task was there before the first look; one
    /// of which that is not known has its whole weight.
    pub fn note(
        &mut self,
        intent: &Intent,
        absences: &Absences,
        age: impl Fn(&Task) -> Option<Duration>,
    ) {
        let now = Instant::now();
        let there: BTreeMap<&Id, &Task> = (intent.tasks.values())
            .filter(|task| task.in_rotation() && !absences.has(&task.id))
            .map(|task| (&task.id, task))
            .collect();
        self.since.retain(|id, _| there.contains_key(id));
        for task in there.into_values() {
            if !self.since.contains_key(&task.id) {
                let before = if self.looked { Some(Duration::ZERO) } else { age(task) };
                let since = before.and_then(|before| now.checked_sub(before));
                self.since.insert(task.id.clone(), since);
            }
        }
        self.looked = true;
    }

    /// Lays over an intent which part of its weight each task has now.
    pub fn lay_over(&self, intent: &mut Intent) {
        let slow: BTreeMap<ServiceName, Span> =
            slow(intent).map(|(name, time)| (name.clone(), time)).collect();
        for task in intent.tasks.values_mut() {
            let time = slow.get(&task.name.service);
            let since = self.since.get(&task.id).copied().flatten();
            task.ramp =
                time.zip(since).and_then(|(time, since)| Ramp::after(since.elapsed(), *time));
        }
    }

    /// Which part each task that has not all has: what was lowered with other parts is to be lowered anew.
    pub fn parts(&self, intent: &Intent) -> BTreeMap<Id, Ramp> {
        let ramps = self.rising(intent);
        ramps.filter_map(|(id, age, time)| Some((id.clone(), Ramp::after(age, time)?))).collect()
    }

    /// When the next task has more.
    pub fn due(&self, intent: &Intent) -> Option<Instant> {
        let next = self.rising(intent).filter_map(|(_, age, time)| Ramp::next(age, time));
        next.min().map(|next| Instant::now() + next)
    }

    fn rising<'a>(
        &'a self,
        intent: &'a Intent,
    ) -> impl Iterator<Item = (&'a Id, Duration, Span)> + 'a {
        let tasks = slow(intent)
            .flat_map(|(name, time)| intent.tasks_of(name).map(move |task| (task, time)));
        tasks.filter_map(|(task, time)| {
            let (id, since) = self.since.get_key_value(&task.id)?;
            Some((id, (*since)?.elapsed(), time))
        })
    }
}

/// The services whose tasks begin slowly, and how long they take.
fn slow(intent: &Intent) -> impl Iterator<Item = (&ServiceName, Span)> {
    let slow = intent.services.values().filter(|service| service.slow_start.millis() > 0);
    slow.map(|service| (&service.name, service.slow_start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::story;

    fn web() -> ServiceName {
        "collabweb".parse().unwrap()
    }

    /// The story, whose web servers take an hour.
    fn slow_story() -> Intent {
        let mut intent = story();
        intent.services.get_mut(&web()).unwrap().slow_start = "1h".parse().unwrap();
        intent
    }

    fn rising(ramps: &Ramps, intent: &Intent) -> Vec<u32> {
        let mut intent = intent.clone();
        ramps.lay_over(&mut intent);
        let rising = intent.tasks.values().filter(|task| task.ramp.is_some());
        rising.map(|task| task.name.slot).collect()
    }

    #[test]
    fn who_comes_later_rises_and_who_was_there_only_if_it_is_known_since_when() {
        let mut intent = slow_story();
        let mut ramps = Ramps::default();
        let young = |task: &Task| (task.name.slot == 2).then_some(Duration::from_secs(60));
        ramps.note(&intent, &Absences::default(), young);
        assert_eq!(rising(&ramps, &intent), [2]);
        intent.scale_service(&web(), 4).unwrap();
        ramps.note(&intent, &Absences::default(), |_| None);
        assert_eq!(rising(&ramps, &intent), [2, 4]);
        assert_eq!(ramps.parts(&intent).len(), 2);
        let due = ramps.due(&intent).unwrap();
        assert!(due > Instant::now() + Duration::from_secs(60), "a twentieth of an hour each");
        intent.services.get_mut(&web()).unwrap().slow_start = Span::from_secs(0);
        assert!(rising(&ramps, &intent).is_empty() && ramps.due(&intent).is_none());
    }

    #[test]
    fn who_was_there_for_long_does_not_rise_when_their_service_is_slowed() {
        let mut intent = story();
        let mut ramps = Ramps::default();
        ramps.note(&intent, &Absences::default(), |_| None);
        intent = slow_story();
        ramps.note(&intent, &Absences::default(), |_| None);
        assert!(rising(&ramps, &intent).is_empty());
    }

    #[test]
    fn one_that_was_away_rises_anew() {
        let intent = slow_story();
        let mut ramps = Ramps::default();
        ramps.note(&intent, &Absences::default(), |_| None);
        assert!(rising(&ramps, &intent).is_empty());
        let task = intent.tasks[&"collabweb.3".parse().unwrap()].id.clone();
        let away = Absences { resting: [task].into(), ..Absences::default() };
        ramps.note(&intent, &away, |_| None);
        ramps.note(&intent, &Absences::default(), |_| None);
        assert_eq!(rising(&ramps, &intent), [3]);
    }
}
