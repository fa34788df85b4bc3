//! `swarmlb network …`

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::change::{Change, Reach};
use super::session::Session;
use super::{Report, attachment, confirmation, rotation};
use crate::cli::network::{Command, Create, DriverOption, Filter};
use crate::cli::{Format, Global};
use crate::failure::{Exit, Failure};
use crate::intent::{
    Alias, Attachment, Intent, IntentError, Network, NetworkName, NetworkSpec, NodeName,
};
use crate::lower::overlay;
use crate::render::english::count;
use crate::render::table::{printable, table};

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Create(create) => make(global, create),
        Command::Ls { filters } => ls(global, &filters),
        Command::Prune { force, dry_run } => prune(global, force, dry_run.dry_run),
        Command::Connect(connect) => attachment::connect(global, connect),
        Command::Disconnect { name, target, dry_run } => {
            attachment::disconnect(global, &name, &target, dry_run.dry_run)
        }
        Command::Inspect { names } => inspect(global, &names),
        Command::RotateKeys { name, dry_run } => rotation::run(global, &name, dry_run.dry_run),
        Command::Rm { names, dry_run } => rm(global, &names, dry_run.dry_run),
    }
}

fn make(global: &Global, create: Create) -> Result<Report, Failure> {
    let what = format!("create network `{}`", create.name);
    let session = Session::new(global, what.as_str())?;
    let mut spec = NetworkSpec {
        subnets: create.subnets,
        gateways: create.gateways,
        internal: create.internal,
        attachable: create.attachable,
        labels: create.labels.into_iter().map(|label| (label.key, label.value)).collect(),
        ..NetworkSpec::new(create.name)
    };
    for option in create.options {
        match option {
            DriverOption::Encrypted => spec.encrypted = true,
            DriverOption::Vni(vni) => spec.vni = Some(vni),
            DriverOption::Mtu(mtu) => spec.mtu = Some(mtu),
        }
    }
    let machine = session.machine()?;
    let id = crate::random::id(25);
    let edit = |intent: &mut Intent| intent.create_network(spec.clone(), id.clone(), &machine);
    let reach = Reach::of(create.dry_run.dry_run, false);
    let change = Change { global, session: &session, what: &what, services: &[], reach };
    let report = change.make(format!("{id}\n"), edit)?;
    if !spec.internal && reach == Reach::Converged && !session.is_recorded() {
        warn_of_obstacle();
    }
    Ok(report)
}

/// It was made; but packets to and from the outside may be dropped by a firewall of others.
fn warn_of_obstacle() {
    if let Some(obstacle) = super::system::forward_obstacle() {
        let _ = writeln!(std::io::stderr(), "warning: {obstacle}");
    }
}

/// The one driver that there is.
const DRIVER: &str = "overlay";

/// As Docker does: each key must fit, one of several values is enough, but for labels.
fn fits(network: &Network, filters: &[Filter]) -> bool {
    let any = |fit: &dyn Fn(&Filter) -> Option<bool>| {
        let mut fits = filters.iter().filter_map(fit).peekable();
        fits.peek().is_none() || fits.any(|fits| fits)
    };
    any(&|filter| match filter {
        Filter::Name(part) => Some(network.name.as_str().contains(part)),
        _ => None,
    }) && any(&|filter| match filter {
        Filter::Id(part) => Some(network.id.contains(part)),
        _ => None,
    }) && any(&|filter| match filter {
        Filter::Driver(name) => Some(name == DRIVER),
        _ => None,
    }) && filters.iter().all(|filter| match filter {
        Filter::Label(key, wanted) => {
            let held = network.labels.get(key);
            held.is_some_and(|held| wanted.as_ref().is_none_or(|wanted| wanted == held))
        }
        _ => true,
    })
}

fn ls(global: &Global, filters: &[Filter]) -> Result<Report, Failure> {
    let intent = Session::new(global, "list networks")?.intent()?;
    let networks: Vec<&Network> =
        intent.networks.values().filter(|network| fits(network, filters)).collect();
    if global.format == Format::Json {
        let details: Vec<Detail<'_>> =
            networks.iter().map(|network| Detail::of(&intent, network)).collect();
        return Report::json(&details);
    }
    if global.quiet {
        return Ok(Report::lines(networks.iter().map(|n| &n.id)));
    }
    let rows = networks.iter().map(|network| {
        [
            network.id.chars().take(12).collect(),
            network.name.to_string(),
            DRIVER.into(),
            network.pools.iter().map(|pool| pool.subnet.to_string()).collect::<Vec<_>>().join(", "),
            network.vni.to_string(),
            intent
                .services
                .values()
                .filter(|s| s.networks.contains(&network.name))
                .count()
                .to_string(),
        ]
    });
    let heading = ["NETWORK ID", "NAME", "DRIVER", "SUBNET", "VNI", "SERVICES"];
    Ok(Report::good(table(heading, rows.collect())))
}

/// A network and what is on it.
#[derive(Serialize)]
struct Detail<'a> {
    id: &'a str,
    name: &'a NetworkName,
    driver: &'static str,
    subnets: Vec<SubnetDetail>,
    vni: u32,
    mtu: u32,
    /// Whether its tasks reach nothing outside.
    internal: bool,
    /// Whether namespaces of others may be joined to it.
    attachable: bool,
    /// Whether what is between nodes is encrypted.
    encrypted: bool,
    /// Of all subnets together.
    addresses_left: u32,
    labels: &'a BTreeMap<String, String>,
    /// The nodes that hold something of it.
    peers: Vec<PeerDetail<'a>>,
    services: Vec<ServiceDetail<'a>>,
    namespaces: Vec<NamespaceDetail<'a>>,
}

/// A namespace of others on a network.
#[derive(Serialize)]
struct NamespaceDetail<'a> {
    target: &'a str,
    path: &'a str,
    identity: u64,
    node: &'a str,
    link: &'a str,
    address: String,
    names: Vec<String>,
}

/// A node with something on a network.
#[derive(Serialize)]
struct PeerDetail<'a> {
    node: &'a str,
    /// Where other nodes send the network's packets for it; none where it is alone.
    address: Option<String>,
    /// How many tasks and namespaces it has there.
    endpoints: usize,
}

#[derive(Serialize)]
struct SubnetDetail {
    subnet: String,
    gateway: String,
    addresses_left: u32,
}

#[derive(Serialize)]
struct ServiceDetail<'a> {
    name: &'a str,
    aliases: Vec<&'a str>,
    vip: Option<String>,
    fwmark: Option<u32>,
    /// How many of its tasks are on each node.
    tasks: BTreeMap<&'a str, usize>,
}

impl<'a> Detail<'a> {
    fn of(intent: &'a Intent, network: &'a Network) -> Self {
        let used = intent.addresses_used(&network.name);
        let subnets = network.pools.iter().map(|pool| SubnetDetail {
            subnet: pool.subnet.to_string(),
            gateway: pool.gateway.to_string(),
            addresses_left: pool.left(&used),
        });
        let subnets: Vec<SubnetDetail> = subnets.collect();
        let on_it = intent.services.values().filter(|s| s.networks.contains(&network.name));
        let services = on_it
            .map(|service| {
                let vip = service.vips.get(&network.name);
                let aliases = service.aliases.get(&network.name).into_iter().flatten();
                let mut tasks = BTreeMap::new();
                for task in intent.tasks_of(&service.name) {
                    *tasks.entry(task.node.as_str()).or_default() += 1;
                }
                ServiceDetail {
                    name: service.name.as_str(),
                    aliases: aliases.map(Alias::as_str).collect(),
                    vip: vip.map(|vip| vip.address.to_string()),
                    fwmark: vip.map(|vip| vip.fwmark.0),
                    tasks,
                }
            })
            .collect();
        Self {
            id: &network.id,
            name: &network.name,
            driver: DRIVER,
            addresses_left: subnets.iter().map(|subnet| subnet.addresses_left).sum(),
            subnets,
            vni: network.vni.0,
            mtu: overlay::mtu(intent, network),
            internal: network.internal,
            attachable: network.attachable,
            encrypted: network.encrypted,
            labels: &network.labels,
            peers: peers(intent, network),
            services,
            namespaces: intent.attached_to(&network.name).map(NamespaceDetail::of).collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{} ({})\n", self.name, self.id);
        let mut line = |label: &str, value: &str| {
            text.push_str(&format!("  {label:<10} {}\n", printable(value)));
        };
        line("driver", self.driver);
        for held in &self.subnets {
            let left = count(held.addresses_left as usize, "address");
            line("subnet", &format!("{}, gateway {}, {left} left", held.subnet, held.gateway));
        }
        line("VNI", &self.vni.to_string());
        line("MTU", &self.mtu.to_string());
        if self.internal {
            line("internal", "yes: nothing outside is reached from it");
        }
        if self.attachable {
            line("attachable", "yes: namespaces of others may be joined to it");
        }
        if self.encrypted {
            line("encrypted", "yes: between nodes, by ESP with AES-GCM");
        }
        for held in &self.namespaces {
            let names = match held.names.is_empty() {
                true => String::new(),
                false => format!(", named {}", held.names.join(", ")),
            };
            let (address, link, node) = (&held.address, held.link, held.node);
            let value = format!("{}: {address} on its {link}{names}, on {node}", held.target);
            line("namespace", &value);
        }
        // A node that is alone has no peers.
        for peer in self.peers.iter().filter(|peer| peer.address.is_some()) {
            let address = peer.address.as_deref().unwrap_or_default();
            let held = count(peer.endpoints, "endpoint");
            line("peer", &format!("{}, {address}, {held}", peer.node));
        }
        for (key, value) in self.labels {
            line("label", &format!("{key}={value}"));
        }
        if self.services.is_empty() {
            text.push_str("  services   none\n");
            return text;
        }
        let rows = self.services.iter().map(|service| {
            let tasks = service.tasks.iter().map(|(node, count)| format!("{count} on {node}"));
            let names = std::iter::once(service.name).chain(service.aliases.iter().copied());
            [
                format!("  {}", names.collect::<Vec<_>>().join(", ")),
                service.vip.clone().unwrap_or_else(|| "(dnsrr)".into()),
                service.fwmark.map_or_else(|| "-".into(), |mark| format!("{mark:#x}")),
                tasks.collect::<Vec<_>>().join(", "),
            ]
        });
        text.push_str(&table(["  SERVICE", "VIP", "FWMARK", "TASKS"], rows.collect()));
        text
    }
}

fn peers<'a>(intent: &'a Intent, network: &Network) -> Vec<PeerDetail<'a>> {
    let mut counts = BTreeMap::<&NodeName, usize>::new();
    for (node, _) in overlay::members(intent).remove(&network.name).unwrap_or_default() {
        *counts.entry(node).or_default() += 1;
    }
    let address = |node| Some(intent.nodes.get(node)?.address?.to_string());
    let peer = |(node, endpoints): (&'a NodeName, usize)| PeerDetail {
        node: node.as_str(),
        address: address(node),
        endpoints,
    };
    counts.into_iter().map(peer).collect()
}

impl<'a> NamespaceDetail<'a> {
    fn of(held: &'a Attachment) -> Self {
        Self {
            target: &held.namespace.target,
            path: &held.namespace.path,
            identity: held.namespace.identity,
            node: held.node.as_str(),
            link: &held.link,
            address: held.endpoint.address.to_string(),
            names: held.names().iter().map(ToString::to_string).collect(),
        }
    }
}

fn inspect(global: &Global, names: &[NetworkName]) -> Result<Report, Failure> {
    let what = format!("inspect network `{}`", joined(names));
    let intent = Session::new(global, what.as_str())?.intent()?;
    let mut details = Vec::new();
    for name in names {
        let network =
            intent.network(name).map_err(|error| Failure::intent(what.as_str(), &error))?;
        details.push(Detail::of(&intent, network));
    }
    match global.format {
        Format::Json => Report::json(&details),
        Format::Table => {
            let texts: Vec<String> = details.iter().map(Detail::text).collect();
            Ok(Report::good(texts.join("\n")))
        }
    }
}

fn prune(global: &Global, force: bool, dry_run: bool) -> Result<Report, Failure> {
    let what = "remove unused networks";
    let session = Session::new(global, what)?;
    let idle = |intent: &Intent| -> Vec<NetworkName> {
        intent.idle_networks().map(|network| network.name.clone()).collect()
    };
    let names = idle(&session.intent()?);
    if names.is_empty() && !dry_run {
        return Ok(Report::good(""));
    }
    if !force && !dry_run {
        let question = format!("This removes {}: {}.", count(names.len(), "network"), told(&names));
        confirmation::ask(what, &question, "--force")?;
    }
    // Those that were told and agreed to, unless something came to be on them meanwhile.
    let removed = std::cell::RefCell::new(Vec::new());
    let edit = |intent: &mut Intent| -> Result<(), IntentError> {
        let still = idle(intent).into_iter().filter(|name| names.contains(name)).collect();
        removed.replace(still);
        removed.borrow().iter().try_for_each(|name| intent.remove_network(name))
    };
    let reach = Reach::of(dry_run, false);
    let change = Change { global, session: &session, what, services: &[], reach };
    let report = change.make(String::new(), edit)?;
    match dry_run {
        true => Ok(report),
        false => Ok(Report::lines(removed.borrow().iter())),
    }
}

/// Names in a sentence.
fn told(names: &[NetworkName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn rm(global: &Global, names: &[NetworkName], dry_run: bool) -> Result<Report, Failure> {
    let what = format!("remove network `{}`", joined(names));
    named_once(names, &what)?;
    let session = Session::new(global, what.as_str())?;
    let edit = |intent: &mut Intent| -> Result<(), IntentError> {
        names.iter().try_for_each(|name| intent.remove_network(name))
    };
    let told = names.iter().map(|name| format!("{name}\n")).collect();
    let reach = Reach::of(dry_run, false);
    Change { global, session: &session, what: &what, services: &[], reach }.make(told, edit)
}

/// Names in an error's first line: `a` or `a`, `b`.
pub fn joined<T: ToString>(names: &[T]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join("`, `")
}

/// # Errors
/// When one of the names is there twice: it would not be clear what was meant.
pub fn named_once<T: ToString + Ord>(names: &[T], what: &str) -> Result<(), Failure> {
    let mut seen = std::collections::BTreeSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        None => Ok(()),
        Some(twice) => {
            let problem = format!("`{}` is named twice", twice.to_string());
            Err(Failure::new(Exit::Usage, what, problem))
        }
    }
}
