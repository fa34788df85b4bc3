//! `swarmlb service update` and `swarmlb service rollback`

use std::num::NonZeroU32;

use super::change::{Change, Reach};
use super::resolve::resolved;
use super::service::absolute;
use super::session::Session;
use super::{Report, listening};
use crate::cli::Global;
use crate::cli::health::upkeep;
use crate::cli::service::EndpointMode as TypedEndpointMode;
use crate::cli::update::Update;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::intent::{
    Alias, EndpointMode, Image, Intent, IntentError, Listener, Machine, Mode, NetworkName,
    PortSpec, PublishMode, PublishedPort, Service, ServiceName,
};

/// Makes a service what it was before its last change.
///
/// # Errors
/// When it was not changed, or what the kernel refuses.
pub fn rollback(
    global: &Global,
    name: &ServiceName,
    detach: bool,
    dry_run: bool,
) -> Result<Report, Failure> {
    let what = format!("roll back service `{name}`");
    let session = Session::new(global, what.as_str())?;
    let now = clock::millis();
    let reach = Reach::of(dry_run, detach);
    let services = [name.clone()];
    Change { global, session: &session, what: &what, services: &services, reach }
        .make(format!("{name}\n"), |intent| intent.rollback_service(name, now))
}

/// Makes a service another one.
///
/// # Errors
/// What the edit or the kernel refused, or when the update does not end well.
pub fn update(global: &Global, typed: &Update) -> Result<Report, Failure> {
    let name = &typed.name;
    if typed.rollback {
        return rollback(global, name, typed.detach, typed.dry_run.dry_run);
    }
    let what = format!("update service `{name}`");
    let mut wanted = Wanted::of(typed, &what)?;
    let session = Session::new(global, what.as_str())?;
    if !session.is_recorded() {
        let intent = session.intent()?;
        let held = intent.service(name).map_err(|error| Failure::intent(what.as_str(), &error))?;
        let mut changed = held.clone();
        wanted.change_definition(&mut changed);
        if changed.definition != held.definition {
            super::container::check(&session, &changed.definition, &what)?;
        }
        wanted.image = wanted.image.map(|image| resolved(image, &typed.resolving));
    }
    let machine = session.machine()?;
    let listeners = match typed.publish_add.is_empty() || session.is_recorded() {
        true => Vec::new(),
        false => listening::everywhere(&session, &session.intent()?, &what)?,
    };
    let place = Place { machine, listeners, ingress_id: crate::random::id(25) };
    let now = clock::millis();
    let reach = Reach::of(typed.dry_run.dry_run, typed.detach);
    let services = [name.clone()];
    Change { global, session: &session, what: &what, services: &services, reach }
        .make(format!("{name}\n"), |intent| wanted.edit(intent, &place, now))
}

/// What was typed, as far as it can be read without the service.
struct Wanted<'a> {
    typed: &'a Update,
    publish: Vec<PortSpec>,
    image: Option<Image>,
    words: Option<Vec<String>>,
}

/// What the edit must know of this machine.
struct Place {
    machine: Machine,
    listeners: Vec<Listener>,
    ingress_id: String,
}

impl<'a> Wanted<'a> {
    fn of(typed: &'a Update, what: &str) -> Result<Self, Failure> {
        let words = typed.args.as_deref().map(|text| {
            shlex::split(text).ok_or_else(|| {
                let problem = "in `--args` a quote is not closed";
                Failure::new(Exit::Usage, what, problem)
                    .hint("write all words in one argument: `--args \"sleep '1 2'\"`")
            })
        });
        let image = typed.image.clone().map(|image| absolute(image, what));
        let publish = typed.publish_add.iter().flat_map(|ports| ports.0.clone()).collect();
        Ok(Self { typed, publish, words: words.transpose()?, image: image.transpose()? })
    }

    fn edit(&self, intent: &mut Intent, place: &Place, now: u64) -> Result<(), IntentError> {
        let mut changed = intent.service(&self.typed.name)?.clone();
        changed.balancing = self.typed.balancing.over(&changed.balancing)?;
        self.change_definition(&mut changed);
        self.change_placement(&mut changed)?;
        self.change_networks(&mut changed);
        self.change_rest(&mut changed);
        changed.ports = self.ports(intent, &changed, place)?;
        let meshed = changed.ports.iter().any(|port| port.mode == PublishMode::Ingress);
        if meshed && intent.mesh().is_none() {
            intent.create_ingress(place.ingress_id.clone(), &place.machine)?;
        }
        intent.update_service(changed, now)
    }

    fn change_definition(&self, changed: &mut Service) {
        let (typed, definition) = (self.typed, &mut changed.definition);
        if let Some(image) = &self.image {
            // What was said to the one means nothing to the other, unless both are alike.
            if self.words.is_none()
                && std::mem::discriminant(image) != std::mem::discriminant(&definition.image)
            {
                definition.command.clear();
            }
            definition.image = image.clone();
        }
        if let Some(words) = &self.words {
            definition.command.clone_from(words);
        }
        definition.environment.retain(|name, _| !typed.env_rm.contains(name));
        let set = typed.env_add.iter().map(|set| (set.name.clone(), set.value.clone()));
        definition.environment.extend(set);
        if let Some(hostname) = &typed.hostname {
            definition.hostname = Some(hostname.to_string());
        }
        definition.health = typed.health.over(&definition.health);
        definition.log = typed.log.limits(definition.log);
        definition.setup = typed.container.over(&definition.setup);
        changed.forced += u64::from(typed.force);
    }

    fn change_placement(&self, changed: &mut Service) -> Result<(), IntentError> {
        let typed = self.typed;
        let asked = typed.replicas.is_some() || typed.replicas_max_per_node.is_some_and(|n| n > 0);
        if asked && changed.mode == Mode::Global {
            return Err(IntentError::ScaleGlobal { name: changed.name.clone() });
        }
        changed.replicas = typed.replicas.unwrap_or(changed.replicas);
        let placement = &mut changed.placement;
        if let Some(most) = typed.replicas_max_per_node {
            placement.max_per_node = NonZeroU32::new(most);
        }
        placement.constraints.retain(|held| !typed.constraint_rm.contains(held));
        for added in &typed.constraint_add {
            if !placement.constraints.contains(added) {
                placement.constraints.push(added.clone());
            }
        }
        Ok(())
    }

    fn change_networks(&self, changed: &mut Service) {
        let gone = |name: &NetworkName| self.typed.network_rm.contains(name);
        changed.networks.retain(|name| !gone(name));
        changed.aliases.retain(|name, _| !gone(name));
        for added in &self.typed.network_add {
            if !changed.networks.contains(&added.name) {
                changed.networks.push(added.name.clone());
            }
            let aliases =
                added.aliases.iter().cloned().collect::<std::collections::BTreeSet<Alias>>();
            match aliases.is_empty() {
                true => changed.aliases.remove(&added.name),
                false => changed.aliases.insert(added.name.clone(), aliases),
            };
        }
    }

    fn change_rest(&self, changed: &mut Service) {
        let typed = self.typed;
        changed.labels.retain(|key, _| !typed.label_rm.contains(key));
        let set = typed.label_add.iter().map(|set| (set.key.clone(), set.value.clone()));
        changed.labels.extend(set);
        changed.endpoint_mode = match typed.endpoint_mode {
            Some(TypedEndpointMode::Vip) => EndpointMode::Vip,
            Some(TypedEndpointMode::Dnsrr) => EndpointMode::Dnsrr,
            None => changed.endpoint_mode,
        };
        changed.drain_timeout = typed.drain_timeout.unwrap_or(changed.drain_timeout);
        changed.dns_ttl = typed.dns_ttl.unwrap_or(changed.dns_ttl);
        changed.upkeep = upkeep(&typed.health, &typed.restart, &changed.upkeep);
        changed.slow_start = typed.slow_start.unwrap_or(changed.slow_start);
        changed.update_config = typed.updating.update_over(&changed.update_config);
        changed.rollback_config = typed.updating.rollback_over(&changed.rollback_config);
    }

    /// The ports of the service: those that it keeps, and then those that are new.
    fn ports(
        &self,
        intent: &Intent,
        changed: &Service,
        place: &Place,
    ) -> Result<Vec<PublishedPort>, IntentError> {
        let typed = self.typed;
        let mut kept = changed.ports.clone();
        kept.retain(|port| {
            let is = |gone: &crate::cli::update::TargetPort| {
                gone.target == port.target && gone.transport == port.transport
            };
            let again = |added: &PortSpec| {
                added.published == Some(port.published) && added.transport == port.transport
            };
            !typed.publish_rm.iter().any(is) && !self.publish.iter().any(again)
        });
        // Beside those of others, not beside its own of before.
        let mut others = intent.clone();
        if let Some(held) = others.services.get_mut(&changed.name) {
            held.ports.clone_from(&kept);
        }
        kept.extend(others.choose_ports(&self.publish, &place.listeners)?);
        Ok(kept)
    }
}
