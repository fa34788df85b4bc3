//! `swarmlb service …`

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::Serialize;

use super::change::{Change, Reach};
use super::network::{joined, named_once};
use super::resolve::resolved;
use super::session::Session;
use super::{Report, listening, logs, task, update};
use crate::agent::status::TaskState;
use crate::cli::balancing::Options;
use crate::cli::health::upkeep;
use crate::cli::service::{
    Command, Create, EndpointMode as TypedEndpointMode, Mode as TypedMode, Scale,
};
use crate::cli::task::List;
use crate::cli::{Format, Global};
use crate::clock;
use crate::failure::Failure;
use crate::intent::{
    Balancing, Definition, EndpointMode, Health, Image, Intent, IntentError, LogLimits, Mode,
    NetworkName, NetworkSpec, Placement, PortSpec, PublishMode, Service, ServiceName, ServiceSpec,
    Span, Upkeep,
};
use crate::keeper::server::now;
use crate::render;
use crate::render::table::table;

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Create(create) => make(global, *create),
        Command::Ls => ls(global),
        Command::Ps { names, list } => ps(global, &names, &list),
        Command::Inspect { names, pretty } => inspect(global, &names, pretty),
        Command::Logs { name, options } => logs::of_service(global, &name, &options),
        Command::Scale { scales, detach, dry_run } => {
            scale(global, &scales, detach, dry_run.dry_run)
        }
        Command::Update(typed) => update::update(global, &typed),
        Command::Rollback { name, detach, dry_run } => {
            update::rollback(global, &name, detach, dry_run.dry_run)
        }
        Command::Rm { names, dry_run } => rm(global, &names, dry_run.dry_run),
    }
}

/// The network of services that were given none.
const DEFAULT_NETWORK: &str = "default";

fn make(global: &Global, create: Create) -> Result<Report, Failure> {
    let id = crate::random::id(25);
    let name = match &create.name {
        Some(name) => name.clone(),
        None => format!("svc-{}", &id[..8])
            .parse()
            .map_err(|error| Failure::new(crate::failure::Exit::Usage, "choose a name", error))?,
    };
    let what = format!("create service `{name}`");
    let mode = mode(&create, &what)?;
    let session = Session::new(global, what.as_str())?;
    let usage = |error: crate::intent::name::NameError| {
        Failure::new(crate::failure::Exit::Usage, what.as_str(), error)
    };
    let default: NetworkName = DEFAULT_NETWORK.parse().map_err(usage)?;
    let chosen = create.networks.is_empty();
    let mut networks: Vec<NetworkName> = create.networks.iter().map(|on| on.name.clone()).collect();
    if chosen {
        networks.push(default.clone());
    }
    let aliased = create.networks.into_iter().filter(|on| !on.aliases.is_empty());
    let mut spec = ServiceSpec {
        name: name.clone(),
        definition: Definition {
            image: absolute(create.image, &what)?,
            command: create.command,
            environment: super::container::environment(
                &create.container.env_files,
                create.environment,
                &what,
            )?,
            hostname: create.hostname.map(|name| name.to_string()),
            health: create.health.over(&Health::default()),
            log: create.log.limits(LogLimits::default()),
            setup: create.container.setup(),
        },
        mode,
        replicas: create.replicas.unwrap_or(1),
        placement: Placement {
            constraints: create.constraints,
            max_per_node: NonZeroU32::new(create.replicas_max_per_node),
        },
        networks,
        aliases: aliased.map(|on| (on.name, on.aliases.into_iter().collect())).collect(),
        endpoint_mode: match create.endpoint_mode {
            TypedEndpointMode::Vip => EndpointMode::Vip,
            TypedEndpointMode::Dnsrr => EndpointMode::Dnsrr,
        },
        balancing: balancing(&create.balancing, &Balancing::default(), &what)?,
        data_plane: create.data_plane,
        ports: Vec::new(),
        labels: create.labels.into_iter().map(|label| (label.key, label.value)).collect(),
        drain_timeout: create.drain_timeout,
        dns_ttl: create.dns_ttl,
        upkeep: upkeep(&create.health, &create.restart, &Upkeep::default()),
        slow_start: create.slow_start.unwrap_or(Span::from_secs(0)),
        update_config: create.updating.update_config(),
        rollback_config: create.updating.rollback_config(),
    };
    let machine = session.machine()?;
    super::container::check(&session, &spec.definition, &what)?;
    if !session.is_recorded() && !session.intent()?.services.contains_key(&name) {
        spec.definition.image = resolved(spec.definition.image, &create.resolving);
    }
    let network_id = crate::random::id(25);
    let ingress_id = crate::random::id(25);
    let asked: Vec<PortSpec> = create.ports.into_iter().flat_map(|ports| ports.0).collect();
    let meshed = asked.iter().any(|port| port.mode == PublishMode::Ingress);
    let listeners = match asked.is_empty() || session.is_recorded() {
        true => Vec::new(),
        false => listening::everywhere(&session, &session.intent()?, &what)?,
    };
    let created = now();
    let edit = |intent: &mut Intent| -> Result<(), IntentError> {
        if chosen && !intent.networks.contains_key(&default) {
            let spec = NetworkSpec::new(default.clone());
            intent.create_network(spec, network_id.clone(), &machine)?;
        }
        if meshed && intent.mesh().is_none() {
            intent.create_ingress(ingress_id.clone(), &machine)?;
        }
        let ports = intent.choose_ports(&asked, &listeners)?;
        let spec = ServiceSpec { ports, ..spec.clone() };
        intent.create_service(spec, id.clone(), created)
    };
    let reach = Reach::of(create.dry_run.dry_run, create.detach);
    let services = [name];
    Change { global, session: &session, what: &what, services: &services, reach }
        .make(format!("{id}\n"), edit)
}

/// What was typed about balancing, over what is held.
fn balancing(typed: &Options, held: &Balancing, what: &str) -> Result<Balancing, Failure> {
    typed.over(held).map_err(|error| Failure::intent(what, &error))
}

/// An image with its path, where it has one, as seen from here.
pub(super) fn absolute(image: Image, what: &str) -> Result<Image, Failure> {
    match image {
        Image::Oci(reference) if reference.path().is_some() => {
            let here = std::env::current_dir().map_err(|error| Failure::io(what, &error))?;
            Ok(Image::Oci(reference.below(&here)))
        }
        image => Ok(image),
    }
}

/// The mode that was asked for; a global service takes no number of tasks.
fn mode(create: &Create, what: &str) -> Result<Mode, Failure> {
    let refused = |option: &str| {
        let problem = format!("`{option}` is for replicated services, and it shall be global");
        Err(Failure::new(crate::failure::Exit::Usage, what, problem).hint(
            "a global service has one task on every node; say which nodes with `--constraint`",
        ))
    };
    match create.mode {
        TypedMode::Replicated => Ok(Mode::Replicated),
        TypedMode::Global if create.replicas.is_some() => refused("--replicas"),
        TypedMode::Global if create.replicas_max_per_node > 0 => refused("--replicas-max-per-node"),
        TypedMode::Global => Ok(Mode::Global),
    }
}

/// A service on one line.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    name: &'a ServiceName,
    mode: Mode,
    replicas: u32,
    running: usize,
    /// How many of them wait for a place.
    pending: usize,
    max_per_node: Option<NonZeroU32>,
    image: String,
    endpoint_mode: EndpointMode,
    data_plane: String,
    vips: BTreeMap<&'a NetworkName, String>,
    networks: &'a [NetworkName],
    /// As in Docker, those of the mesh; those of single nodes stand at the tasks.
    ports: Vec<String>,
}

fn ls(global: &Global) -> Result<Report, Failure> {
    let session = Session::new(global, "list services")?;
    let intent = session.intent()?;
    let statuses = session.statuses()?;
    let rows = intent.services.values().map(|service| {
        let running = intent
            .rotation_of(&service.name)
            .filter(|task| {
                task::status(&statuses, task).is_some_and(|s| s.state == TaskState::Running)
            })
            .count();
        let meshed = service.ports.iter().filter(|port| port.mode == PublishMode::Ingress);
        Row {
            id: &service.id,
            name: &service.name,
            mode: service.mode,
            replicas: service.replicas,
            running,
            pending: service.pending.len(),
            max_per_node: service.placement.max_per_node,
            image: service.definition.image.short(),
            endpoint_mode: service.endpoint_mode,
            data_plane: data_plane(&intent, service),
            vips: service.vips.iter().map(|(n, vip)| (n, vip.address.to_string())).collect(),
            networks: &service.networks,
            ports: meshed.map(ToString::to_string).collect(),
        }
    });
    let rows: Vec<Row<'_>> = rows.collect();
    if global.format == Format::Json {
        return Report::json(&rows);
    }
    if global.quiet {
        return Ok(Report::lines(rows.iter().map(|row| &row.id)));
    }
    let cells = rows.iter().map(|row| {
        let vips: Vec<String> = row.vips.values().cloned().collect();
        [
            row.id.chars().take(12).collect(),
            row.name.to_string(),
            row.mode.to_string(),
            match row.max_per_node {
                Some(most) => format!("{}/{} (max {most} per node)", row.running, row.replicas),
                None => format!("{}/{}", row.running, row.replicas),
            },
            row.image.clone(),
            if vips.is_empty() { "(dnsrr)".into() } else { vips.join(", ") },
            row.data_plane.clone(),
            row.ports.join(", "),
        ]
    });
    let heading = ["ID", "NAME", "MODE", "REPLICAS", "IMAGE", "VIP", "PLANE", "PORTS"];
    Ok(Report::good(table(heading, cells.collect())))
}

/// What balances its VIPs, on all nodes; `-` when it has none.
fn data_plane(intent: &Intent, service: &Service) -> String {
    let planes: BTreeSet<String> =
        intent.nodes.values().map(|node| service.data_plane.on(node).to_string()).collect();
    match service.endpoint_mode {
        EndpointMode::Vip => planes.into_iter().collect::<Vec<_>>().join(", "),
        EndpointMode::Dnsrr => "-".into(),
    }
}

fn ps(global: &Global, names: &[ServiceName], list: &List) -> Result<Report, Failure> {
    task::list(
        global,
        task::Which::OfServices(names),
        list,
        format!("list the tasks of service `{}`", joined(names)),
    )
}

/// All of a service, for people or programs.
fn inspect(global: &Global, names: &[ServiceName], pretty: bool) -> Result<Report, Failure> {
    let what = format!("inspect service `{}`", joined(names));
    let intent = Session::new(global, what.as_str())?.intent()?;
    let mut services = Vec::new();
    for name in names {
        let service =
            intent.service(name).map_err(|error| Failure::intent(what.as_str(), &error))?;
        services.push(service);
    }
    if !pretty || global.format == Format::Json {
        return Report::json(&services);
    }
    let in_words =
        |service: &&Service| render::service::pretty(service, &data_plane(&intent, service), now());
    let texts: Vec<String> = services.iter().map(in_words).collect();
    Ok(Report::good(texts.join("\n")))
}

fn scale(
    global: &Global,
    scales: &[Scale],
    detach: bool,
    dry_run: bool,
) -> Result<Report, Failure> {
    let names: Vec<ServiceName> = scales.iter().map(|scale| scale.name.clone()).collect();
    let what = format!("scale service `{}`", joined(&names));
    named_once(&names, &what)?;
    let session = Session::new(global, what.as_str())?;
    let now = clock::millis();
    let edit = |intent: &mut Intent| -> Result<(), IntentError> {
        scales.iter().try_for_each(|scale| intent.drain_service(&scale.name, scale.replicas, now))
    };
    let told = |scale: &Scale| format!("{} scaled to {}\n", scale.name, scale.replicas);
    let told = scales.iter().map(told).collect();
    let reach = Reach::of(dry_run, detach);
    Change { global, session: &session, what: &what, services: &names, reach }.make(told, edit)
}

fn rm(global: &Global, names: &[ServiceName], dry_run: bool) -> Result<Report, Failure> {
    let what = format!("remove service `{}`", joined(names));
    named_once(names, &what)?;
    let session = Session::new(global, what.as_str())?;
    let edit = |intent: &mut Intent| -> Result<(), IntentError> {
        names.iter().try_for_each(|name| intent.remove_service(name))
    };
    let told = names.iter().map(|name| format!("{name}\n")).collect();
    let reach = Reach::of(dry_run, false);
    Change { global, session: &session, what: &what, services: &[], reach }.make(told, edit)
}
