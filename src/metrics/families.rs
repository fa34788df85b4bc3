//! Which families there are, and what each tells.

use std::collections::BTreeMap;
use std::time::Duration;

use super::exposition::Family;
use super::totals::{TargetName, Totals};
use crate::agent::status::{self, NodeStatus, TaskState};
use crate::intent::{Intent, Liveness, NodeName, Task};
use crate::orchestrate::health::Condition;
use crate::trace::vip::{Step, Target, UP, Walk};

/// One look at a node and its cluster.
pub struct Look<'a> {
    pub intent: &'a Intent,
    pub statuses: &'a BTreeMap<NodeName, NodeStatus>,
    /// Every VIP, as the node's sandboxes hold it.
    pub walks: &'a [Walk],
    pub totals: &'a Totals,
    /// How long it took to look.
    pub took: Duration,
}

/// All that is measured.
pub fn families(look: &Look<'_>) -> Vec<Family> {
    let mut families = vec![of_version(), of_looking(look)];
    families.extend(of_nodes(look));
    families.extend(of_services(look));
    families.extend(of_tasks(look));
    families.extend(of_vips(look.walks));
    families.extend(of_targets(look));
    families
}

fn of_version() -> Family {
    let mut family = Family::gauge("swarmlb_build_info", "The version that looked; always 1.");
    family.add(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    family
}

fn of_looking(look: &Look<'_>) -> Family {
    let name = "swarmlb_look_seconds";
    let mut family = Family::gauge(name, "How long it took to ask the kernel and the resolvers.");
    family.add(&[], look.took.as_secs_f64());
    family
}

fn yes(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

fn of_nodes(look: &Look<'_>) -> [Family; 3] {
    let mut up = Family::gauge("swarmlb_node_up", "Whether a node's lease is alive.");
    let mut settled = Family::gauge(
        "swarmlb_node_settled",
        "Whether a node's kernel held what it should when its agent last reported.",
    );
    let mut revision = Family::gauge(
        "swarmlb_node_revision",
        "The revision of the intent that a node's agent last reported about.",
    );
    for record in look.intent.nodes.values() {
        let labels = [("node", record.name.as_str())];
        up.add(&labels, yes(record.liveness == Liveness::Up));
        if let Some(status) = look.statuses.get(&record.name) {
            settled.add(&labels, yes(status.settled));
            revision.add(&labels, status.revision as f64);
        }
    }
    [up, settled, revision]
}

fn of_services(look: &Look<'_>) -> [Family; 2] {
    let mut wanted = Family::gauge(
        "swarmlb_service_tasks_desired",
        "How many tasks a service should have; those that leave are not counted.",
    );
    let mut running = Family::gauge(
        "swarmlb_service_tasks_running",
        "How many of them run and, where they are checked, are healthy.",
    );
    for service in look.intent.services.values() {
        let labels = [("service", service.name.as_str())];
        let tasks = || {
            let tasks = look.intent.tasks_of(&service.name);
            tasks.filter(|task| task.leaving.is_none())
        };
        wanted.add(&labels, tasks().count() as f64);
        let runs = |task: &&Task| state(look, task) == Some(TaskState::Running);
        running.add(&labels, tasks().filter(runs).count() as f64);
    }
    [wanted, running]
}

fn state(look: &Look<'_>, task: &Task) -> Option<TaskState> {
    status::of_task(look.statuses, task).map(|status| status.state)
}

fn of_tasks(look: &Look<'_>) -> [Family; 3] {
    let mut up = Family::gauge(
        "swarmlb_task_up",
        "Whether a task runs and, where it is checked, is healthy, as its node reports.",
    );
    let mut healthy = Family::gauge(
        "swarmlb_task_healthy",
        "Whether the checks of a task that has some say that it is healthy.",
    );
    let mut failures = Family::counter(
        "swarmlb_task_failures_total",
        "How often a task ended or could not be started.",
    );
    for task in look.intent.tasks.values() {
        let (name, service) = (task.name.to_string(), task.name.service.as_str());
        let labels = [("service", service), ("task", &name), ("node", task.node.as_str())];
        let known = status::of_task(look.statuses, task);
        let runs = |state| matches!(state, TaskState::Running | TaskState::Draining);
        up.add(&labels, yes(known.is_some_and(|status| runs(status.state))));
        let Some(status) = known else { continue };
        failures.add(&labels, f64::from(status.failures));
        if let Some(health) = &status.health {
            healthy.add(&labels, yes(health.condition == Condition::Healthy));
        }
    }
    [up, healthy, failures]
}

fn of_vips(walks: &[Walk]) -> [Family; 4] {
    let mut whole = Family::gauge(
        "swarmlb_vip_whole",
        "Whether every step of the way to a VIP is as it should be, from all sandboxes of this node.",
    );
    let mut sandboxes =
        Family::gauge("swarmlb_vip_sandboxes", "How many sandboxes of this node use a VIP.");
    let mut broken = Family::gauge(
        "swarmlb_vip_broken_sandboxes",
        "In how many sandboxes of this node the way to a VIP is broken, by its first broken step.",
    );
    let mut unresolved = Family::gauge(
        "swarmlb_vip_unresolved_sandboxes",
        "In how many sandboxes of this node the service's name does not resolve as it should.",
    );
    for walk in walks {
        let (address, plane) = (walk.address.to_string(), walk.data_plane.to_string());
        let labels = [("service", walk.service.as_str()), ("network", walk.network.as_str())];
        let described = [
            labels[0],
            labels[1],
            ("address", address.as_str()),
            ("data_plane", plane.as_str()),
            ("scheduler", walk.scheduler.as_str()),
        ];
        whole.add(&described, yes(walk.is_whole()));
        sandboxes.add(&labels, walk.ladders.len() as f64);
        let mut steps = BTreeMap::<String, u32>::new();
        for rung in walk.ladders.iter().filter_map(|ladder| ladder.broken()) {
            *steps.entry(rung.step.words().to_owned()).or_default() += 1;
        }
        for (step, count) in &steps {
            broken.add(&[labels[0], labels[1], ("step", step)], f64::from(*count));
        }
        let rungs = walk.ladders.iter().flat_map(|ladder| &ladder.rungs);
        let wrong = rungs.filter(|rung| rung.step == Step::Name && !rung.holds);
        unresolved.add(&labels, wrong.count() as f64);
    }
    [whole, sandboxes, broken, unresolved]
}

fn of_targets(look: &Look<'_>) -> [Family; 6] {
    let mut up = Family::gauge(
        "swarmlb_target_up",
        "Whether a task behind a VIP can be reached, as far as this node can see.",
    );
    let mut weight =
        Family::gauge("swarmlb_target_weight", "The weight of a task in this node's sandboxes.");
    let mut active = Family::gauge(
        "swarmlb_target_active_connections",
        "Connections from this node's sandboxes to a task behind a VIP that are open.",
    );
    let mut inactive = Family::gauge(
        "swarmlb_target_inactive_connections",
        "Those that are over but remembered, and exchanges of datagrams.",
    );
    let mut connections = Family::counter(
        "swarmlb_target_connections_total",
        "Connections that this node's sandboxes sent to a task behind a VIP.",
    );
    let mut packets = Family::counter(
        "swarmlb_target_packets_total",
        "Packets of these, where the data plane counts them.",
    );
    for walk in look.walks {
        for target in &walk.targets {
            let address = target.address.to_string();
            let labels = [
                ("service", walk.service.as_str()),
                ("network", walk.network.as_str()),
                ("task", target.task.as_str()),
                ("node", target.node.as_str()),
                ("address", address.as_str()),
            ];
            if let Some(state) = &target.state {
                up.add(&labels, yes(state == UP));
            }
            if let Some(held) = target.weight {
                weight.add(&labels, f64::from(held));
            }
            active.add(&labels, target.tally.active as f64);
            inactive.add(&labels, target.tally.inactive as f64);
            let total = look.totals.of(&named(walk, target));
            connections.add(&labels, total.connections as f64);
            if let Some(counted) = total.packets {
                packets.add(&labels, counted as f64);
            }
        }
    }
    [up, weight, active, inactive, connections, packets]
}

fn named(walk: &Walk, target: &Target) -> TargetName {
    let (service, network) = (walk.service.clone(), walk.network.clone());
    TargetName { service, network, task: target.task.clone() }
}
