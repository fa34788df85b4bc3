//! `swarmlb diag compare-dns-ipvs`: what was typed becomes a measurement, a verdict and reports.

use indicatif::{ProgressBar, ProgressStyle};

use super::bench::{Bench, Manner, Subject};
use super::outage::{CACHES, Script, Stage};
use super::report_file::Draft;
use super::seat;
use super::throwaway::{self, Made, Target, Wanted};
use crate::cli::diag::{ClientCache as TypedCache, Compare};
use crate::cli::{Format, Global};
use crate::commands::Report;
use crate::commands::session::{Session, must_be_root};
use crate::failure::{Exit, Failure};
use crate::intent::{DataPlane, Image, Intent, NetworkName, Service, ServiceName, Task, Vip};
use crate::keeper::server::now;
use crate::node::SandboxName;
use crate::probe::crowd::MOST_WORKERS;
use crate::render;
use crate::render::figure::{count, thousands};
use crate::trace::balance::{Comparison, Run, compare};
use crate::trace::conditions::{ClientCache, Conditions};
use crate::trace::outage::Outages;

/// So many clients ask a service that is made for it: with three tasks, six clients that begin with
/// the same one are more than chance.
const CLIENTS: u32 = 6;
/// Most requests each way of one client: each needs a port of its own, both ways together.
const MOST_REQUESTS: u32 = 25_000;

pub fn run(global: &Global, options: &Compare) -> Result<Report, Failure> {
    let what = match &options.service {
        Some(service) => format!("compare DNS and IPVS for service `{service}`"),
        None => "compare DNS and IPVS".to_owned(),
    };
    let command = Command { global, options, what: &what };
    command.check_numbers()?;
    let session = Session::new(global, what.as_str())?;
    let intent = session.intent()?;
    if let Some(service) = &options.service {
        command.seating(&session, &intent, service)?;
    }
    must_be_root(&what)?;
    let drafts = Draft::all(&options.report)?;
    let left = throwaway::remove_left(&session, &intent, &what)?;
    if !left.is_empty() {
        eprintln!("Removed what a killed comparison had left: {}.", left.join(", "));
    }
    let (comparison, runs) = command.measure_somewhere(&session, intent)?;
    for draft in drafts {
        let path = draft.finish(&comparison, &runs)?;
        if !global.quiet {
            eprintln!("Wrote {}.", path.display());
        }
    }
    let text = match global.format {
        Format::Json => Report::json(&comparison)?.text,
        Format::Table => render::comparison::table(&comparison) + "\n",
    };
    let verdict = &comparison.verdict;
    let bad = verdict.failures > 0 || verdict.agrees == Some(false);
    Ok(if bad { Report::bad(text) } else { Report::good(text) })
}

/// What was typed, and what it is called in errors.
struct Command<'a> {
    global: &'a Global,
    options: &'a Compare,
    what: &'a str,
}

impl Command<'_> {
    fn usage(&self, problem: impl std::fmt::Display) -> Failure {
        Failure::new(Exit::Usage, self.what, problem)
    }

    /// How many clients shall be made.
    fn new_clients(&self) -> Option<u32> {
        let default = self.options.service.is_none().then_some(CLIENTS.min(self.options.requests));
        self.options.clients.or(default)
    }

    /// Numbers that do not go together, as far as that can be told from what was typed.
    fn check_numbers(&self) -> Result<(), Failure> {
        self.check_clients(self.new_clients().unwrap_or(1))
    }

    fn check_clients(&self, clients: u32) -> Result<(), Failure> {
        let Compare { requests, concurrency, .. } = *self.options;
        if requests < clients {
            let requests = count(requests.into(), "request", "requests");
            let problem = format!("{requests} cannot be shared among {clients} clients");
            return Err(self.usage(problem).hint(format!("say `--requests {clients}` or more")));
        }
        if requests.div_ceil(clients.max(1)) > MOST_REQUESTS {
            let enough = requests.div_ceil(MOST_REQUESTS);
            let problem = format!(
                "{} of {} are more than one client has ports for, which is {}",
                count(requests.into(), "request", "requests"),
                count(clients.into(), "client", "clients"),
                thousands(MOST_REQUESTS.into())
            );
            let hint = format!("say `--clients {enough}` or more, or fewer requests");
            return Err(self.usage(problem).hint(hint));
        }
        if concurrency * clients > MOST_WORKERS {
            let problem = format!(
                "{} with {} at a time are more than {MOST_WORKERS} at a time",
                count(clients.into(), "client", "clients"),
                count(concurrency.into(), "request", "requests")
            );
            let hint = format!("say `--concurrency {}` or less", MOST_WORKERS / clients.max(1));
            return Err(self.usage(problem).hint(hint));
        }
        Ok(())
    }

    /// Who asks a service that is there, where nobody is made for it.
    fn seating(
        &self,
        session: &Session,
        intent: &Intent,
        name: &ServiceName,
    ) -> Result<Made, Failure> {
        let service = intent.service(name).map_err(|error| Failure::intent(self.what, &error))?;
        let (network, _) = self.measurable(intent, service)?;
        let clients = match &self.options.from[..] {
            _ if self.options.clients.is_some() => Vec::new(),
            [] => {
                let first = first_client(intent, service, network);
                let nobody = || self.usage("there is no sandbox to ask from");
                vec![SandboxName::from(&first.ok_or_else(nobody)?.name)]
            }
            typed => self.named_clients(session, intent, typed, network)?,
        };
        if !clients.is_empty() {
            self.check_clients(clients.len() as u32)?;
        }
        Ok(Made { service: name.clone(), network: network.clone(), clients })
    }

    /// The sandboxes of `--from`, where a service stands for all of its own.
    fn named_clients(
        &self,
        session: &Session,
        intent: &Intent,
        typed: &[String],
        network: &NetworkName,
    ) -> Result<Vec<SandboxName>, Failure> {
        let mut clients: Vec<SandboxName> = Vec::new();
        for name in typed {
            let service = name.parse::<ServiceName>().ok();
            let sandboxes: Vec<SandboxName> = match service
                .filter(|s| intent.services.contains_key(s))
            {
                Some(service) => {
                    intent.tasks_of(&service).map(|task| SandboxName::from(&task.name)).collect()
                }
                None => vec![seat::sandbox(session, intent, name, self.what)?],
            };
            if sandboxes.is_empty() {
                return Err(self.usage(format!("service `{name}` has no tasks to ask from")));
            }
            for sandbox in sandboxes {
                let called = sandbox.called();
                if !seat::is_on(intent, &sandbox, network) {
                    return Err(self.usage(format!("{called} is not on network `{network}`")));
                }
                if clients.contains(&sandbox) {
                    return Err(self.usage(format!("`--from` names {called} twice")));
                }
                clients.push(sandbox);
            }
        }
        Ok(clients)
    }

    fn measurable<'i>(
        &self,
        intent: &'i Intent,
        service: &'i Service,
    ) -> Result<(&'i NetworkName, Option<&'i Vip>), Failure> {
        if service.definition.image != Image::Whoami {
            let problem = format!(
                "its image is `{}`, whose replies do not name their task",
                service.definition.image
            );
            return Err(self.usage(problem).hint("measure a service of `builtin:whoami`"));
        }
        if intent.rotation_of(&service.name).next().is_none() {
            return Err(self
                .usage("it has no tasks")
                .hint(format!("give it some: `swarmlb service scale {}=3`", service.name)));
        }
        match (service.vips.first_key_value(), service.networks.first()) {
            (Some((network, vip)), _) => Ok((network, Some(vip))),
            (None, Some(network)) => Ok((network, None)),
            (None, None) => Err(self.usage("it is on no network")),
        }
    }

    /// With what is there, or with what is made and removed.
    fn measure_somewhere(
        &self,
        session: &Session,
        intent: Intent,
    ) -> Result<(Comparison, Vec<Run>), Failure> {
        let there = match &self.options.service {
            Some(service) => Some(self.seating(session, &intent, service)?),
            None => None,
        };
        let Some(clients) = self.new_clients() else {
            // A service that is there and clients that are: nothing is made.
            let seating = there.ok_or_else(|| self.usage("there is no sandbox to ask from"))?;
            return self.measure(session, &intent, &seating);
        };
        let target = match there {
            Some(seating) => Target::There(seating.service, seating.network),
            None => Target::New(self.options.data_plane),
        };
        if session.is_recorded() {
            return Err(self.usage("nothing can be made on a recorded node"));
        }
        let wanted = Wanted::new(session, target, clients)?;
        let quiet = self.global.quiet || self.global.format == Format::Json;
        throwaway::during(session, self.what, quiet, &wanted, |intent, made| {
            self.measure(session, intent, made)
        })
    }

    fn measure(
        &self,
        session: &Session,
        intent: &Intent,
        seating: &Made,
    ) -> Result<(Comparison, Vec<Run>), Failure> {
        let service =
            intent.service(&seating.service).map_err(|error| Failure::intent(self.what, &error))?;
        let vip = service.vips.get(&seating.network);
        let plane = intent
            .nodes
            .get(&session.node)
            .map_or(DataPlane::Nftables, |node| service.data_plane.on(node));
        let plane = seat::plane(plane, &seating.clients).ok_or_else(|| {
            self.usage(
                "of these clients, tasks are balanced by IPVS and namespaces of others by nftables",
            )
            .hint("ask from one kind at a time")
        })?;
        let subject = Subject { intent, service, network: &seating.network, vip, plane };
        let manner = Manner {
            requests: self.options.requests,
            concurrency: self.options.concurrency,
            cache: self.cache(),
            clients_are_new: self.new_clients().is_some(),
        };
        let conditions = self.conditions(session, &subject, seating);
        let ways = if vip.is_some() { 2 } else { 1 };
        let progress = self.bar(u64::from(self.options.requests) * ways);
        let runs = Bench::open(subject, manner, &seating.clients, self.what, progress)?.run()?;
        let expected: Vec<String> =
            intent.rotation_of(&service.name).map(|t| t.name.to_string()).collect();
        let mut comparison = compare(conditions, &runs, &expected);
        comparison.outages = self.outages(session, subject, &seating.clients)?;
        Ok((comparison, runs))
    }

    /// What clients meet when a task is killed, if that was asked for.
    fn outages(
        &self,
        session: &Session,
        subject: Subject<'_>,
        clients: &[SandboxName],
    ) -> Result<Option<Outages>, Failure> {
        let Some(part) = self.options.kill_task_at else { return Ok(None) };
        let one = [self.cache()];
        let caches = match self.options.client_cache {
            Some(_) => &one[..],
            None => &CACHES[..],
        };
        let lasts = self.options.episode.duration();
        let script = Script {
            lasts,
            kill_after: lasts.mul_f64(part),
            requests: self.options.requests,
            concurrency: self.options.concurrency,
            caches,
        };
        let ways = if subject.vip.is_some() { 2 } else { 1 };
        let progress = self.bar(u64::from(self.options.requests) * ways * caches.len() as u64);
        let stage = Stage { session, subject, clients, what: self.what, progress };
        stage.play(&script).map(Some)
    }

    fn cache(&self) -> ClientCache {
        match self.options.client_cache {
            None | Some(TypedCache::None) => ClientCache::None,
            Some(TypedCache::Ttl) => ClientCache::Ttl,
            Some(TypedCache::Forever) => ClientCache::Forever,
        }
    }

    fn conditions(&self, session: &Session, subject: &Subject<'_>, seating: &Made) -> Conditions {
        let release = nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default();
        Conditions {
            service: subject.service.name.to_string(),
            network: subject.network.to_string(),
            node: session.node.to_string(),
            data_plane: subject.vip.map(|_| subject.plane.to_string()),
            clients: seating.clients.iter().map(|client| client.called().to_owned()).collect(),
            requests: self.options.requests.into(),
            concurrency: self.options.concurrency,
            client_cache: self.cache(),
            throwaway_service: self.options.service.is_none(),
            throwaway_clients: self.new_clients().is_some(),
            kernel: release,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: now(),
        }
    }

    fn bar(&self, length: u64) -> ProgressBar {
        if self.global.quiet || self.global.format == Format::Json {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("requests {bar:30} {pos} of {len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(length).with_style(style)
    }
}

/// Another service's task on the network, else the service's own first.
fn first_client<'a>(
    intent: &'a Intent,
    service: &Service,
    network: &'a NetworkName,
) -> Option<&'a Task> {
    let on_it = || intent.tasks_on(network).map(|(task, _)| task);
    on_it().find(|task| task.name.service != service.name).or_else(|| on_it().next())
}
