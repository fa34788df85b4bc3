//! What happened to tasks.

use std::collections::BTreeMap;

use super::{Event, Kind, View, pairs};
use crate::agent::status::{self, TaskState, TaskStatus};
use crate::intent::{Id, Task, TaskName};
use crate::render::time::Moment;

pub fn between(before: &View, after: &View, time: Moment) -> Vec<Event> {
    let mut events = Vec::new();
    for ((_, id), was, is) in pairs(&by_id(before), &by_id(after)) {
        let event = |action, task: &Task| about(task, action, time);
        match (was, is) {
            (Some(was), None) => events.push(event("remove", was).with("id", id)),
            (None, Some(is)) => events.push(event("create", is).with("id", id)),
            (Some(was), Some(is)) => {
                if was.leaving.is_none() && is.leaving.is_some() {
                    events.push(event("drain", is));
                }
                if was.leaving.is_some() && is.leaving.is_none() {
                    events.push(event("recall", is));
                }
                if was.weight != is.weight {
                    events.push(event("weigh", is).with("weight", is.weight));
                }
            }
            (None, None) => {}
        }
        if let Some((task, status)) =
            is.and_then(|task| Some((*task, status::of_task(&after.statuses, task)?)))
        {
            let before = was.and_then(|task| status::of_task(&before.statuses, task));
            events.extend(of_process(task, before, status, time));
        }
    }
    events
}

/// One under the same name as another may be a new one.
fn by_id(view: &View) -> BTreeMap<(&TaskName, &Id), &Task> {
    view.intent.tasks.values().map(|task| ((&task.name, &task.id), task)).collect()
}

fn about(task: &Task, action: &'static str, time: Moment) -> Event {
    let event = Event::new(time, Kind::Task, action, &task.name);
    event.with("service", &task.name.service).with("node", &task.node)
}

fn of_process(task: &Task, was: Option<&TaskStatus>, is: &TaskStatus, time: Moment) -> Vec<Event> {
    let event = |action| about(task, action, time);
    let mut events = Vec::new();
    let failures = was.map_or(0, |was| was.failures);
    let ended =
        |state| matches!(state, TaskState::Complete | TaskState::Failed | TaskState::Rejected);
    let state = was.map(|was| was.state);
    if is.failures > failures || (ended(is.state) && state.is_none_or(|state| !ended(state))) {
        let died = event("die").with("failures", is.failures);
        events.push(died.with_any("error", is.error.clone()));
    }
    let has_another_process = is.pid.is_some() && is.pid != was.and_then(|was| was.pid);
    if has_another_process {
        events.push(event("start").with_any("pid", is.pid));
    }
    let health = |status: &TaskStatus| status.health.as_ref().map(|health| health.condition);
    let condition = health(is);
    if let (true, Some(condition)) = (was.and_then(health) != condition, condition) {
        let unhealthy = is.state == TaskState::Unhealthy;
        let error = is.error.clone().filter(|_| unhealthy);
        events.push(event("health_status").with("health", condition).with_any("error", error));
    }
    events
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TIME, view};
    use super::super::{View, between};
    use super::*;
    use crate::agent::status::{HealthStatus, NodeStatus};
    use crate::intent::TaskName;
    use crate::orchestrate::health::Condition;

    fn name() -> TaskName {
        "collabweb.2".parse().unwrap()
    }

    /// The story, with what a node reports of one task.
    fn reported(change: impl FnOnce(&mut TaskStatus)) -> View {
        let mut view = view();
        let task = view.intent.tasks[&name()].clone();
        let mut status = TaskStatus {
            task: task.id,
            state: TaskState::Running,
            pid: Some(7),
            since: 0,
            failures: 0,
            error: None,
            connections: None,
            exit: None,
            over: false,
            health: None,
        };
        change(&mut status);
        let report =
            NodeStatus { settled: true, tasks: [(name(), status)].into(), ..NodeStatus::default() };
        view.statuses.insert(task.node, report);
        view
    }

    fn said(before: &View, after: &View) -> Vec<String> {
        let words = |event: &Event| event.to_string().split_once(' ').unwrap().1.to_owned();
        between(before, after, TIME).iter().map(words).collect()
    }

    #[test]
    fn a_process_starts_dies_and_starts_again_though_nobody_saw_it_gone() {
        let (before, running) = (view(), reported(|_| ()));
        let node = running.intent.tasks[&name()].node.clone();
        let whose = format!("node={node}");
        let tail = "service=collabweb";
        assert_eq!(
            said(&before, &running),
            [format!("task start collabweb.2 ({whose}, pid=7, {tail})")]
        );
        let again = reported(|status| {
            (status.pid, status.failures) = (Some(8), 1);
            status.error = Some("killed by signal 9".into());
        });
        assert_eq!(
            said(&running, &again),
            [
                format!(
                    "task die collabweb.2 (error=killed by signal 9, failures=1, {whose}, {tail})"
                ),
                format!("task start collabweb.2 ({whose}, pid=8, {tail})"),
            ]
        );
        let complete = reported(|status| (status.state, status.pid) = (TaskState::Complete, None));
        let ended = said(&running, &complete);
        assert_eq!(ended, [format!("task die collabweb.2 (failures=0, {whose}, {tail})")]);
        assert_eq!(said(&complete, &complete), [""; 0]);
    }

    #[test]
    fn health_is_said_when_it_changes_and_drains_and_weights_are() {
        let healthy = |condition| {
            reported(|status| {
                status.health = Some(HealthStatus { condition, since: 0, ended_it: false });
            })
        };
        let told = said(&healthy(Condition::Starting), &healthy(Condition::Healthy));
        assert!(told[0].starts_with("task health_status collabweb.2 (health=healthy"), "{told:?}");
        let mut weighed = reported(|_| ());
        weighed.intent.tasks.get_mut(&name()).unwrap().weight = 3;
        let told = said(&reported(|_| ()), &weighed);
        assert!(told[0].starts_with("task weigh collabweb.2 (node="), "{told:?}");
        assert!(told[0].ends_with("weight=3)"), "{told:?}");
    }
}
