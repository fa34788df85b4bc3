//! What is wrong with VIPs as sandboxes see them, with nodes, services, networks and the machine.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::codes::code;
use super::{Finding, Look};
use crate::agent::status::{self, TaskState};
use crate::intent::{Availability, Liveness, NetworkName, Task, UpdateState};
use crate::trace::vip::{Rung, Step, Target, UP, Walk};

fn found(name: &str, place: impl ToString, evidence: impl ToString) -> Option<Finding> {
    code(name).map(|code| Finding::new(code, place, evidence))
}

/// Names that do not resolve, and steps that are broken though the kernel holds what it should.
pub fn of_walks(look: &Look<'_>) -> Vec<Finding> {
    let mut findings = of_names(look.walks);
    // What is different in the kernel is told as that.
    let is_drift = !look.ops.is_empty();
    for walk in look.walks.iter().filter(|_| !is_drift) {
        let command = format!("swarmlb inspect vip {}", walk.service);
        for ladder in &walk.ladders {
            let broken =
                |rung: &&Rung| !rung.holds && !matches!(rung.step, Step::Name | Step::Tasks);
            if let Some(rung) = ladder.rungs.iter().find(broken) {
                let place = format!("sandbox {}", ladder.sandbox);
                let evidence =
                    format!("{}: {}: {}", walk.service, rung.step.words(), rung.evidence);
                findings
                    .extend(found("vip-broken", place, evidence).map(|f| f.mended_by(&command)));
            }
        }
        for target in walk.targets.iter().filter(|target| !target.leaving) {
            if let Some(state) = target.state.as_ref().filter(|state| *state != UP) {
                let evidence = format!("{} of {}: {state}", target.address, walk.service);
                let place = format!("task {}", target.task);
                let command = format!("swarmlb task inspect {}", target.task);
                findings.extend(
                    found("task-unreachable", place, evidence).map(|f| f.mended_by(command)),
                );
            }
        }
    }
    for walk in look.walks {
        let takes_new =
            |target: &Target| !target.leaving && target.weight.is_none_or(|weight| weight > 0);
        if !walk.targets.iter().any(takes_new) {
            let place = format!("service {}", walk.service);
            let evidence = format!("VIP {} on network {}", walk.address, walk.network);
            let command = format!("swarmlb service ps {}", walk.service);
            findings
                .extend(found("vip-without-tasks", place, evidence).map(|f| f.mended_by(command)));
        }
    }
    findings
}

/// One finding for each sandbox, or one for all when no resolver answers.
fn of_names(walks: &[Walk]) -> Vec<Finding> {
    let mut sandboxes: BTreeMap<&str, (usize, Vec<String>)> = BTreeMap::new();
    for walk in walks {
        for ladder in &walk.ladders {
            let (asked, wrong) = sandboxes.entry(&ladder.sandbox).or_default();
            for rung in ladder.rungs.iter().filter(|rung| rung.step == Step::Name) {
                *asked += 1;
                wrong.extend((!rung.holds).then(|| rung.evidence.clone()));
            }
        }
    }
    sandboxes.retain(|_, (asked, _)| *asked > 0);
    let is_silent = |(_, wrong): &(usize, Vec<String>)| {
        !wrong.is_empty() && wrong.iter().all(|evidence| evidence.contains("did not answer"))
    };
    let command = "swarmlb agent status";
    if !sandboxes.is_empty() && sandboxes.values().all(is_silent) {
        let evidence = format!("none of {} resolvers answers", sandboxes.len());
        let finding = found("resolvers-silent", "the node's agent", evidence);
        return finding.map(|finding| finding.mended_by(command)).into_iter().collect();
    }
    let wrong = sandboxes.into_iter().filter_map(|(sandbox, (_, wrong))| {
        let evidence = wrong.first()?;
        let more = match wrong.len() {
            1 => String::new(),
            all => format!("; and {} more", all - 1),
        };
        let finding =
            found("name-wrong", format!("sandbox {sandbox}"), format!("{evidence}{more}"));
        finding.map(|finding| finding.mended_by(command))
    });
    wrong.collect()
}

pub fn of_nodes(look: &Look<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for record in look.intent.nodes.values() {
        let place = format!("node {}", record.name);
        if record.liveness == Liveness::Down {
            let finding = found("node-down", &place, "its lease ran out");
            findings.extend(finding.map(|f| f.mended_by("swarmlb agent run, on that node")));
            continue;
        }
        if record.availability == Availability::Drain {
            let command = format!("swarmlb node activate {}", record.name);
            findings.extend(found("node-drained", &place, "drained").map(|f| f.mended_by(command)));
        }
        let Some(status) = look.statuses.get(&record.name) else {
            let finding = found("node-silent", &place, "no report");
            findings.extend(finding.map(|f| f.mended_by("swarmlb agent status, on that node")));
            continue;
        };
        let refused =
            status.refusal.as_ref().map(|refusal| format!("{}: {}", refusal.op, refusal.sentence));
        match (status.settled, refused.or_else(|| status.unreadable.clone())) {
            (true, _) => {}
            (false, Some(problem)) => findings.extend(found("node-refuses", &place, problem)),
            (false, None) => {
                let evidence = format!("at revision {}", status.revision);
                findings.extend(found("node-unsettled", &place, evidence));
            }
        }
    }
    findings
}

pub fn of_services(look: &Look<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in look.intent.services.values() {
        let place = format!("service {}", service.name);
        let ps = format!("swarmlb service ps {}", service.name);
        for (slot, pending) in &service.pending {
            let evidence = format!("{}.{slot}: {}", service.name, pending.reason);
            findings.extend(found("service-waits", &place, evidence).map(|f| f.mended_by(&ps)));
        }
        let tasks = || look.intent.tasks_of(&service.name).filter(|task| task.leaving.is_none());
        let runs = tasks().filter(|task| {
            status::of_task(look.statuses, task)
                .is_some_and(|status| status.state == TaskState::Running)
        });
        let (runs, wanted) = (runs.count(), tasks().count());
        if runs < wanted {
            let evidence = format!("{runs} of {wanted} run");
            findings.extend(found("service-short", &place, evidence).map(|f| f.mended_by(&ps)));
        }
        let update = service.update.as_ref();
        let is_paused = |state| matches!(state, UpdateState::Paused | UpdateState::RollbackPaused);
        if let Some(update) = update.filter(|update| is_paused(update.state)) {
            let command = format!(
                "swarmlb service update {0}, or swarmlb service rollback {0}",
                service.name
            );
            let finding = found("update-paused", &place, &update.message);
            findings.extend(finding.map(|finding| finding.mended_by(command)));
        }
        for task in tasks() {
            findings.extend(of_task(look, task));
        }
    }
    findings
}

fn of_task(look: &Look<'_>, task: &Task) -> Vec<Finding> {
    let mut findings = Vec::new();
    let place = format!("task {}", task.name);
    if task.weight == 0 {
        let command = format!("swarmlb task update --weight 1 {}", task.name);
        findings.extend(found("weight-0", &place, "weight 0").map(|f| f.mended_by(command)));
    }
    let Some(status) = status::of_task(look.statuses, task) else { return findings };
    let error = status.error.clone().unwrap_or_else(|| "no reason is known".to_owned());
    let logs = format!("swarmlb service logs {}", task.name);
    if status.state == TaskState::Unhealthy {
        findings.extend(found("task-unhealthy", &place, &error).map(|f| f.mended_by(&logs)));
    } else if status.rests() && !status.over {
        let evidence = format!("ended {} times: {error}", status.failures);
        findings.extend(found("task-fails", &place, evidence).map(|f| f.mended_by(logs)));
    }
    findings
}

pub fn of_networks(look: &Look<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut held: BTreeMap<(&NetworkName, Ipv4Addr), &Task> = BTreeMap::new();
    for task in look.intent.tasks.values() {
        for endpoint in &task.endpoints {
            if let Some(other) = held.insert((&endpoint.network, endpoint.address), task) {
                let place = format!("network {}", endpoint.network);
                let evidence =
                    format!("{} is of {} and of {}", endpoint.address, other.name, task.name);
                let command = format!("swarmlb service update --force {}", task.name.service);
                findings
                    .extend(found("address-twice", place, evidence).map(|f| f.mended_by(command)));
            }
        }
    }
    for network in look.intent.networks.values() {
        let place = format!("network {}", network.name);
        for pool in &network.pools {
            let range = pool.subnet.net();
            let meets = |route: &&ipnet::Ipv4Net| route.contains(&range) || range.contains(*route);
            if let Some(route) = look.machine.routes.iter().find(meets) {
                let evidence =
                    format!("{range} of the network, {route} of a route of node {}", look.node);
                findings.extend(found("subnet-overlaps", &place, evidence));
            }
        }
    }
    findings
}

pub fn of_machine(look: &Look<'_>) -> Vec<Finding> {
    let finding =
        (!look.ipvs).then(|| found("no-ipvs", format!("node {}", look.node), "no ip_vs")).flatten();
    finding.map(|finding| finding.mended_by("modprobe ip_vs")).into_iter().collect()
}
