//! How a service becomes another one: the edits by which an update begins, goes on and ends.

use std::collections::{BTreeMap, BTreeSet};

use super::leaving::Departure;
use super::update::Update;
use super::{
    EndpointMode, FailureAction, Id, Intent, IntentError, Mode, NetworkName, Order, Pending,
    Reason, Service, ServiceName, TaskName, UpdateState, Vip,
};
use crate::orchestrate::placement;

/// What comes next in an update.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// Tasks that others take the places of from now on.
    pub replace: Vec<TaskName>,
    /// Tasks whose places others have taken.
    pub retire: Vec<TaskName>,
    /// New tasks that failed since.
    pub failed: BTreeSet<Id>,
    pub outcome: Option<Outcome>,
}

/// How an update ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    /// A task failed: what happened to which.
    Failed(String),
}

impl Step {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Service {
    /// As it is kept to go back to: what was chosen for it stays its own meanwhile.
    fn to_go_back_to(&self) -> Box<Service> {
        Box::new(Service {
            former: None,
            update: None,
            older: BTreeMap::new(),
            pending: BTreeMap::new(),
            vips: BTreeMap::new(),
            ingress: None,
            ..self.clone()
        })
    }

    /// The version of a template that is `changed`'s: the one that it had when there was an equal one.
    fn version_of(&self, changed: &Service) -> u64 {
        let wanted = changed.template();
        if self.template() == wanted {
            return self.version;
        }
        let former = self.former.as_deref();
        let older = self.older.iter().find(|(_, template)| **template == wanted);
        let known = older.map(|(version, _)| *version);
        let known = known.or_else(|| {
            former.filter(|former| former.template() == wanted).map(|former| former.version)
        });
        let versions = self.older.keys().copied().chain(former.map(|former| former.version));
        known.unwrap_or_else(|| versions.fold(self.version, u64::max) + 1)
    }
}

impl Intent {
    /// Makes a service what `changed` says: `changed` is made from what it is. Its tasks are replaced some
    /// at a time, by whoever calls [`Intent::advance_update`]. An update that is going gives way to this
    /// one. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// When there is no such service, or it cannot be so.
    pub fn update_service(&mut self, changed: Service, now: u64) -> Result<(), IntentError> {
        let held = self.service(&changed.name)?;
        if *held == changed {
            return self.resume_update(&changed.name.clone(), now);
        }
        let former = Some(held.to_go_back_to());
        let changed = Service { former, ..changed };
        self.renew(changed, UpdateState::Updating, "update in progress", now)
    }

    /// Goes on with an update that was paused.
    fn resume_update(&mut self, name: &ServiceName, now: u64) -> Result<(), IntentError> {
        let service = self.service(name)?;
        if service.is_updating() {
            return Ok(());
        }
        let changed = service.clone();
        self.renew(changed, UpdateState::Updating, "update in progress", now)
    }

    /// Makes a service what it was before it was changed last; done twice it is as it is now.
    /// `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// When there is no such service, it was not changed, or cannot be again what it was.
    pub fn rollback_service(&mut self, name: &ServiceName, now: u64) -> Result<(), IntentError> {
        let former = Some(self.service(name)?.to_go_back_to());
        self.go_back(name, former, "manually requested rollback", now)
    }

    fn go_back(
        &mut self,
        name: &ServiceName,
        former: Option<Box<Service>>,
        message: &str,
        now: u64,
    ) -> Result<(), IntentError> {
        let service = self.service(name)?;
        let Some(before) = service.former.as_deref() else {
            return Err(IntentError::NothingToGoBackTo { name: name.clone() });
        };
        let replicas = match service.mode {
            Mode::Replicated => before.replicas,
            Mode::Global => service.replicas,
        };
        let changed = Service { former, replicas, ..before.clone() };
        self.renew(changed, UpdateState::RollbackStarted, message, now)
    }

    fn renew(
        &mut self,
        changed: Service,
        state: UpdateState,
        message: &str,
        now: u64,
    ) -> Result<(), IntentError> {
        let mut edited = self.clone();
        let name = changed.name.clone();
        edited.put_service(changed, now)?;
        edited.begin_update(&name, state, message, now);
        *self = edited;
        Ok(())
    }

    /// Puts a service in the place of the one that is there, with what was chosen for that one.
    fn put_service(&mut self, mut changed: Service, now: u64) -> Result<(), IntentError> {
        let name = changed.name.clone();
        let held = self.service(&name)?.clone();
        if changed.mode == Mode::Global && changed.replicas != held.replicas {
            return Err(IntentError::ScaleGlobal { name });
        }
        self.check_changed(&changed)?;
        changed.vips = self.vips_of(&changed, &held)?;
        changed.ingress = match (changed.template().meshed, held.ingress.clone()) {
            (true, None) => Some(self.choose_mesh_vip()?),
            (true, ingress) => ingress,
            (false, _) => None,
        };
        changed.scheduler = held.scheduler;
        changed.version = held.version_of(&changed);
        changed.older = held.older.clone();
        changed.older.insert(held.version, held.template());
        changed.older.remove(&changed.version);
        changed.pending.clone_from(&held.pending);
        self.rearrange(|intent| {
            let departure = Departure::of(&changed, now);
            let keep = match changed.mode {
                Mode::Replicated => changed.replicas,
                Mode::Global => u32::MAX,
            };
            intent.services.insert(name.clone(), changed);
            let surplus = intent.give_up_places(&name, keep);
            intent.depart(&surplus, departure);
            intent.leave_nodes(&name, now);
        });
        Ok(())
    }

    fn check_changed(&self, changed: &Service) -> Result<(), IntentError> {
        changed.check(self)?;
        let mut others = self.clone();
        others.services.remove(&changed.name);
        let outward = self.is_outward(&changed.networks);
        others.check_publishing(&changed.ports, changed.endpoint_mode, outward)
    }

    /// A VIP on each network, those that it has kept.
    fn vips_of(
        &mut self,
        changed: &Service,
        held: &Service,
    ) -> Result<BTreeMap<NetworkName, Vip>, IntentError> {
        let mut vips = BTreeMap::new();
        if changed.endpoint_mode == EndpointMode::Dnsrr {
            return Ok(vips);
        }
        for network in &changed.networks {
            let vip = match held.vips.get(network) {
                Some(vip) => vip.clone(),
                None => self.choose_vip(network)?,
            };
            vips.insert(network.clone(), vip);
        }
        Ok(vips)
    }

    fn begin_update(&mut self, name: &ServiceName, state: UpdateState, message: &str, now: u64) {
        let Some(service) = self.services.get(name) else { return };
        let old = |place: &&super::Place<'_>| {
            let successor = place.successor.is_some_and(|task| !service.is_current(task));
            successor || !service.is_current(place.task)
        };
        let tasks = self.places(name).iter().filter(old).count();
        let vacant = service.pending.len() as u32;
        let update = match (tasks, state) {
            (0, UpdateState::Updating) => None,
            (0, _) => Some(Update {
                completed: Some(now),
                ..Update::begun(UpdateState::RollbackCompleted, "rollback completed", 0, now)
            }),
            _ => Some(Update { vacant, ..Update::begun(state, message, tasks, now) }),
        };
        if let Some(service) = self.services.get_mut(name) {
            service.update = update;
        }
    }

    /// Does what comes next in an update. `now` is in milliseconds since 1970.
    pub fn advance_update(&mut self, name: &ServiceName, step: &Step, now: u64) {
        let Some(service) = self.services.get_mut(name) else { return };
        let Some(update) = &mut service.update else { return };
        update.failed.extend(step.failed.iter().cloned());
        match &step.outcome {
            Some(outcome) => self.end_update(name, outcome, now),
            None => self.replace_tasks(name, step, now),
        }
    }

    fn end_update(&mut self, name: &ServiceName, outcome: &Outcome, now: u64) {
        let Some(service) = self.services.get(name) else { return };
        let Some(update) = &service.update else { return };
        let is_back = update.state.is_back();
        let action = service.config_now().failure_action;
        let word = if is_back { "rollback" } else { "update" };
        let (state, message) = match outcome {
            Outcome::Completed if is_back => (UpdateState::RollbackCompleted, String::new()),
            Outcome::Completed => (UpdateState::Completed, String::new()),
            // The way back has no way back.
            Outcome::Failed(why) if !is_back && action == FailureAction::Rollback => {
                let message = format!("update rolled back due to {why}");
                match self.go_back(name, None, &message, now) {
                    Ok(()) => return self.note_reason(name, message),
                    Err(error) => {
                        let why = format!("{why}; it cannot be rolled back: {error}");
                        (UpdateState::Paused, why)
                    }
                }
            }
            Outcome::Failed(why) if is_back => (UpdateState::RollbackPaused, why.clone()),
            Outcome::Failed(why) => (UpdateState::Paused, why.clone()),
        };
        let Some(update) = self.services.get_mut(name).and_then(|held| held.update.as_mut()) else {
            return;
        };
        // Why it went back is told by the end of it too.
        match (outcome, is_back && update.message.starts_with("update ")) {
            (Outcome::Completed, true) => {}
            (Outcome::Completed, false) => update.message = format!("{word} completed"),
            (Outcome::Failed(_), _) => update.message = format!("{word} paused due to {message}"),
        }
        update.completed = (*outcome == Outcome::Completed).then_some(now);
        update.state = state;
    }

    fn note_reason(&mut self, name: &ServiceName, message: String) {
        if let Some(update) = self.services.get_mut(name).and_then(|held| held.update.as_mut()) {
            update.message = message;
        }
    }

    fn replace_tasks(&mut self, name: &ServiceName, step: &Step, now: u64) {
        let Some(service) = self.services.get(name).cloned() else { return };
        let departure = Departure::of(&service, now);
        self.rearrange(|intent| {
            intent.depart(&step.retire, departure);
            match service.config_now().order {
                Order::StopFirst => intent.depart(&step.replace, departure.handing_on()),
                Order::StartFirst => {
                    for old in &step.replace {
                        intent.follow(&service, old);
                    }
                }
            }
        });
    }

    /// Makes the task that takes the place of another, as if that one were gone; nothing where there is
    /// no place for both.
    fn follow(&mut self, service: &Service, old: &TaskName) {
        let Some(task) = self.tasks.remove(old) else { return };
        let node = match service.mode {
            Mode::Replicated => placement::spread(self, service, 1).nodes.pop(),
            Mode::Global => Some(task.node.clone()).filter(|node| {
                let record = self.nodes.get(node);
                record.is_some_and(|record| placement::has_room(self, record, service).is_ok())
            }),
        };
        let id = task.id.clone();
        self.tasks.insert(old.clone(), task);
        let is_scarce = |network: &NetworkName| self.left_on(network) == 0;
        let scarce = self.networks_of_tasks(service).into_iter().find(is_scarce);
        let reason = match (node, scarce) {
            (Some(node), None) => {
                let slot = self.free_slots(&service.name, 1)[0];
                self.add_tasks(service, vec![(slot, node)]);
                let name = TaskName { service: service.name.clone(), slot };
                if let Some(task) = self.tasks.get_mut(&name) {
                    task.follows = Some(id);
                }
                return;
            }
            (None, _) => placement::spread(self, service, 1).rest,
            (_, Some(network)) => {
                let capacity = self.networks.get(&network).map_or(0, super::Network::capacity);
                Some(Reason::NoAddress { network, capacity })
            }
        };
        let reason = reason.unwrap_or(Reason::NoNode(Vec::new()));
        let pending = Pending { node: None, reason };
        let message = format!("whoever follows {old} waits for a place: {}", pending.reason);
        self.note_reason(&service.name, message);
    }

    /// Forgets the templates that no task is made from any more.
    pub(super) fn forget_versions(&mut self, name: &ServiceName) {
        let used: BTreeSet<u64> = self.tasks_of(name).map(|task| task.version).collect();
        if let Some(service) = self.services.get_mut(name) {
            service.older.retain(|version, _| used.contains(version));
        }
    }
}

impl Departure {
    /// The same, with the place kept for another task.
    fn handing_on(self) -> Self {
        match self {
            Self::AtOnce => Self::AtOnce,
            Self::Drained(leaving) => Self::Drained(super::Leaving { handed_on: true, ..leaving }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{network, spec, story};
    use super::super::{
        Image, Machine, NodeName, PublishMode, PublishedPort, ServiceSpec, Source, Transport,
    };
    use super::*;

    const NOW: u64 = 1_000_000;

    fn web() -> ServiceName {
        "collabweb".parse().unwrap()
    }

    fn changed(intent: &Intent, change: impl FnOnce(&mut Service)) -> Service {
        let mut service = intent.services[&web()].clone();
        change(&mut service);
        service
    }

    fn update(intent: &mut Intent, change: impl FnOnce(&mut Service)) {
        let changed = changed(intent, change);
        intent.update_service(changed, NOW).unwrap();
    }

    fn image_of(intent: &Intent, task: &str) -> String {
        let task = &intent.tasks[&task.parse().unwrap()];
        intent.definition_of(task).unwrap().image.to_string()
    }

    fn step(replace: &[&str]) -> Step {
        let replace = replace.iter().map(|name| name.parse().unwrap()).collect();
        Step { replace, ..Step::default() }
    }

    fn finish(intent: &mut Intent) {
        let left: Vec<_> =
            intent.leaving().map(|(task, _)| (task.name.clone(), task.id.clone())).collect();
        intent.finish_leaving(&left);
    }

    #[test]
    fn tasks_are_what_they_were_made_from_until_they_are_replaced() {
        let mut intent = story();
        update(&mut intent, |service| service.definition.image = Image::Echo);
        let service = &intent.services[&web()];
        assert_eq!((service.version, service.older.len()), (2, 1));
        assert_eq!(service.update.as_ref().unwrap().tasks, 3);
        assert_eq!(image_of(&intent, "collabweb.2"), "builtin:whoami");
        intent.advance_update(&web(), &step(&["collabweb.2"]), NOW);
        assert!(intent.tasks[&"collabweb.2".parse().unwrap()].leaving.unwrap().handed_on);
        assert_eq!(intent.tasks_of(&web()).count(), 3, "its place is kept for when it is gone");
        finish(&mut intent);
        assert_eq!(image_of(&intent, "collabweb.2"), "builtin:echo");
        assert_eq!(image_of(&intent, "collabweb.1"), "builtin:whoami");
    }

    #[test]
    fn with_start_first_a_new_task_is_beside_the_old_one_and_counts_once_that_leaves() {
        let mut intent = story();
        update(&mut intent, |service| {
            service.definition.image = Image::Echo;
            service.update_config.order = Order::StartFirst;
        });
        intent.advance_update(&web(), &step(&["collabweb.1"]), NOW);
        assert_eq!(image_of(&intent, "collabweb.4"), "builtin:echo");
        assert_eq!(intent.rotation_of(&web()).count(), 4);
        let names = |intent: &Intent| -> Vec<String> {
            intent.places(&web()).iter().map(|place| place.task.name.to_string()).collect()
        };
        assert_eq!(names(&intent), ["collabweb.1", "collabweb.2", "collabweb.3"]);
        intent.settle();
        assert_eq!(intent.tasks_of(&web()).count(), 4, "nothing is missing");
        let retire = vec!["collabweb.1".parse().unwrap()];
        intent.advance_update(&web(), &Step { retire, ..Step::default() }, NOW);
        finish(&mut intent);
        assert_eq!(names(&intent), ["collabweb.2", "collabweb.3", "collabweb.4"]);
        // Scaled down in the middle, both of a place go.
        intent.advance_update(&web(), &step(&["collabweb.2"]), NOW);
        intent.drain_service(&web(), 0, NOW).unwrap();
        assert_eq!(intent.rotation_of(&web()).count(), 0);
    }

    #[test]
    fn what_is_not_of_tasks_holds_at_once_and_replaces_none() {
        let mut intent = story();
        update(&mut intent, |service| {
            service.labels.insert("tier".into(), "front".into());
            service.replicas = 2;
        });
        let service = &intent.services[&web()];
        assert_eq!((service.version, service.update.clone()), (1, None));
        assert_eq!(intent.rotation_of(&web()).count(), 2);
        intent.rollback_service(&web(), NOW).unwrap();
        let service = &intent.services[&web()];
        assert_eq!((service.replicas, service.labels.len()), (3, 0));
        assert_eq!(service.update.as_ref().unwrap().state, UpdateState::RollbackCompleted);
        intent.rollback_service(&web(), NOW).unwrap();
        assert_eq!(intent.services[&web()].replicas, 2, "and forth");
    }

    #[test]
    fn asked_for_again_nothing_changes_and_by_force_all_tasks_do() {
        let mut intent = story();
        let before = intent.clone();
        update(&mut intent, |_| ());
        assert_eq!(intent, before);
        update(&mut intent, |service| service.forced += 1);
        assert_eq!(intent.services[&web()].update.as_ref().unwrap().tasks, 3);
        let refused = before.clone().rollback_service(&web(), NOW).unwrap_err();
        assert!(refused.to_string().contains("was not changed since it was made"), "{refused}");
    }

    #[test]
    fn a_network_more_is_for_new_tasks_and_its_vip_is_there_at_once() {
        let mut intent = story();
        network(&mut intent, "other", "10.0.9.0/24");
        let (old, other) = ("collabnet".parse().unwrap(), "other".parse().unwrap());
        update(&mut intent, |service| service.networks = vec![NetworkName::clone(&other)]);
        let service = &intent.services[&web()];
        assert_eq!(service.vips.keys().collect::<Vec<_>>(), [&other]);
        intent.advance_update(&web(), &step(&["collabweb.1"]), NOW);
        finish(&mut intent);
        let on = |task: &str| &intent.tasks[&task.parse().unwrap()].endpoints[0].network;
        assert_eq!((on("collabweb.1"), on("collabweb.2")), (&other, &old));
        let mut left = intent.clone();
        left.remove_service(&"collab-box".parse().unwrap()).unwrap();
        let refused = left.remove_network(&old).unwrap_err().to_string();
        assert_eq!(refused, "network `collabnet` is in use by service collabweb");
    }

    #[test]
    fn tasks_that_a_new_constraint_keeps_from_their_node_leave_it() {
        let mut intent = story();
        let name: NodeName = "node-2".parse().unwrap();
        intent.nodes.insert(name.clone(), super::super::NodeRecord::new(name.clone(), true));
        update(&mut intent, |service| {
            service.placement.constraints.push("node.name==node-2".parse().unwrap());
        });
        let mut rotation = intent.tasks.values().filter(|task| task.in_rotation());
        assert!(rotation.all(|task| task.name.service != web() || task.node == name));
        assert_eq!(intent.leaving().count(), 3);
    }

    #[test]
    fn what_could_not_be_is_refused_and_changes_nothing() {
        let mut intent = story();
        let before = intent.clone();
        let mut refused = |change: &dyn Fn(&mut Service)| {
            let service = changed(&intent, change);
            intent.update_service(service, NOW).unwrap_err().to_string()
        };
        assert_eq!(
            refused(&|service| service.networks.clear()),
            "service `collabweb` would be on no network"
        );
        assert_eq!(
            refused(&|service| service.networks.push("nowhere".parse().unwrap())),
            "there is no network `nowhere`"
        );
        assert!(refused(&|service| service.replicas = 300).contains("too few addresses"));
        assert_eq!(
            refused(&|service| service.definition.image = Image::Host),
            "image `host` needs a command to run"
        );
        assert_eq!(intent, before);
    }

    #[test]
    fn of_two_tasks_one_cannot_have_the_others_port() {
        let mut intent = story();
        let machine = Machine::default();
        intent.settle_egress(&"node-1".parse().unwrap(), Ok(&machine));
        let port = PublishedPort {
            published: 8080,
            target: 80,
            transport: Transport::Tcp,
            mode: PublishMode::Host,
            address: None,
            source: Source::Mesh,
        };
        let spec = ServiceSpec { ports: vec![port], ..spec("host", "collabnet", 1) };
        intent.create_service(spec, "id-host".into(), 0).unwrap();
        let name: ServiceName = "host".parse().unwrap();
        let mut service = intent.services[&name].clone();
        service.update_config.order = Order::StartFirst;
        let refused = intent.clone().update_service(service, NOW).unwrap_err().to_string();
        assert!(refused.starts_with("a new task cannot start first: port 8080/tcp"), "{refused}");
        let mut service = intent.services[&name].clone();
        service.definition.image = Image::Echo;
        intent.update_service(service, NOW).unwrap();
        intent.advance_update(&name, &step(&["host.1"]), NOW);
        finish(&mut intent);
        assert_eq!(image_of(&intent, "host.1"), "builtin:echo");
    }
}
