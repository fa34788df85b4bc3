//! `swarmlb network …`

use std::collections::BTreeMap;

use serde::Serialize;

use super::Report;
use super::change::{Change, Reach};
use super::session::Session;
use crate::cli::network::{Command, Create, DriverOption};
use crate::cli::{Format, Global};
use crate::failure::{Exit, Failure};
use crate::intent::{Intent, IntentError, Network, NetworkName, NetworkSpec};
use crate::render::english::count;
use crate::render::table::table;

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Create(create) => make(global, create),
        Command::Ls => ls(global),
        Command::Inspect { names } => inspect(global, &names),
        Command::Rm { names, dry_run } => rm(global, &names, dry_run.dry_run),
    }
}

fn make(global: &Global, create: Create) -> Result<Report, Failure> {
    let what = format!("create network `{}`", create.name);
    let session = Session::new(global, what.as_str())?;
    let mut spec = NetworkSpec {
        name: create.name,
        subnets: create.subnet.into_iter().collect(),
        vni: None,
        mtu: None,
    };
    for option in create.options {
        match option {
            DriverOption::Vni(vni) => spec.vni = Some(vni),
            DriverOption::Mtu(mtu) => spec.mtu = Some(mtu),
        }
    }
    let machine = session.machine()?;
    let id = crate::random::id(25);
    let edit = |intent: &mut Intent| intent.create_network(spec.clone(), id.clone(), &machine);
    let reach = Reach::of(create.dry_run.dry_run, false);
    Change { global, session: &session, what: &what, services: &[], reach }
        .make(format!("{id}\n"), edit)
}

fn ls(global: &Global) -> Result<Report, Failure> {
    let intent = Session::new(global, "list networks")?.intent()?;
    if global.format == Format::Json {
        let networks: Vec<Detail<'_>> =
            intent.networks.values().map(|network| Detail::of(&intent, network)).collect();
        return Report::json(&networks);
    }
    if global.quiet {
        return Ok(Report::lines(intent.networks.values().map(|n| &n.id)));
    }
    let rows = intent.networks.values().map(|network| {
        [
            network.id.chars().take(12).collect(),
            network.name.to_string(),
            "overlay".into(),
            network.pool.subnet.to_string(),
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
    subnet: String,
    gateway: String,
    vni: u32,
    mtu: u32,
    addresses_left: u32,
    services: Vec<ServiceDetail<'a>>,
}

#[derive(Serialize)]
struct ServiceDetail<'a> {
    name: &'a str,
    vip: Option<String>,
    fwmark: Option<u32>,
    /// How many of its tasks are on each node.
    tasks: BTreeMap<&'a str, usize>,
}

impl<'a> Detail<'a> {
    fn of(intent: &'a Intent, network: &'a Network) -> Self {
        let used = intent.addresses_used(&network.name).len() as u32;
        let on_it = intent.services.values().filter(|s| s.networks.contains(&network.name));
        let services = on_it
            .map(|service| {
                let vip = service.vips.get(&network.name);
                let mut tasks = BTreeMap::new();
                for task in intent.tasks_of(&service.name) {
                    *tasks.entry(task.node.as_str()).or_default() += 1;
                }
                ServiceDetail {
                    name: service.name.as_str(),
                    vip: vip.map(|vip| vip.address.to_string()),
                    fwmark: vip.map(|vip| vip.fwmark.0),
                    tasks,
                }
            })
            .collect();
        Self {
            id: &network.id,
            name: &network.name,
            driver: "overlay",
            subnet: network.pool.subnet.to_string(),
            gateway: network.pool.gateway.to_string(),
            vni: network.vni.0,
            mtu: network.mtu,
            addresses_left: network.pool.subnet.capacity().saturating_sub(used),
            services,
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} ({})\n  driver     {}\n  subnet     {}, gateway {}, {} left\n  VNI        {}\n  MTU        {}\n",
            self.name,
            self.id,
            self.driver,
            self.subnet,
            self.gateway,
            count(self.addresses_left as usize, "address"),
            self.vni,
            self.mtu
        );
        if self.services.is_empty() {
            text.push_str("  services   none\n");
            return text;
        }
        let rows = self.services.iter().map(|service| {
            let tasks = service.tasks.iter().map(|(node, count)| format!("{count} on {node}"));
            [
                format!("  {}", service.name),
                service.vip.clone().unwrap_or_else(|| "(dnsrr)".into()),
                service.fwmark.map_or_else(|| "-".into(), |mark| format!("{mark:#x}")),
                tasks.collect::<Vec<_>>().join(", "),
            ]
        });
        text.push_str(&table(["  SERVICE", "VIP", "FWMARK", "TASKS"], rows.collect()));
        text
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
