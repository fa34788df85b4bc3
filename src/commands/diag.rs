//! `swarmlb diag …`

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::Report;
use super::session::{Session, must_be_root};
use crate::cli::diag::{Command, Compare};
use crate::cli::{Format, Global};
use crate::failure::{Exit, Failure};
use crate::intent::{DataPlane, Image, Intent, NetworkName, Service, Task, TaskName, Vip};
use crate::keeper::sockets::RESOLVER;
use crate::kernel::{netns, traffic};
use crate::lower::dns::expected;
use crate::node::SandboxName;
use crate::probe::crowd::{self, Plan, Resolve, ResolveFailure};
use crate::probe::ports::Ports;
use crate::probe::resolve::{Client, RecordType, resolve};
use crate::render;
use crate::render::table::table;
use crate::trace::balance::{Run, compare};
use crate::trace::counters::Counters;
use crate::trace::sample::{Sample, Way};
use crate::trace::vip::Traffic;

/// How old IPVS's counters may be: the kernel sums them up every 2 seconds (ip_vs_est.c), and before
/// Linux 6.2 it tells the sums only. A little more, for a timer that is late.
const ESTIMATION: Duration = Duration::from_millis(2200);
/// How often the ways take turns.
const TURNS: u32 = 10;
/// How long a resolver or a task may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Dns { name, from } => dns(global, &name, from.as_deref()),
        Command::Compare(compare) => measure(global, &compare),
    }
}

/// What one sandbox's resolver answered.
#[derive(Serialize)]
struct Asked {
    sandbox: TaskName,
    /// In the order received.
    addresses: Vec<IpAddr>,
    ttl: Option<u32>,
    verdict: String,
    /// Whether the cluster answered, or the machine's own resolver was asked.
    from_cluster: bool,
    microseconds: u128,
    /// What it should have answered; none for a name that is not the cluster's.
    expected: Option<Vec<Ipv4Addr>>,
    right: bool,
}

fn dns(global: &Global, name: &str, from: Option<&str>) -> Result<Report, Failure> {
    let what = format!("resolve `{}`", name.escape_debug());
    let session = Session::new(global, what.as_str())?;
    let intent = session.intent()?;
    must_be_root(&what)?;
    let tasks: Vec<&Task> = match from {
        Some(from) => vec![task(&intent, from, &what)?],
        None => intent.tasks.values().filter(|task| task.node == session.node).collect(),
    };
    if tasks.is_empty() {
        return Err(Failure::new(Exit::Usage, what, "there is no task's sandbox to ask in")
            .hint("make one: `swarmlb service create`"));
    }
    let mut asked = Vec::new();
    for task in tasks {
        asked.push(ask(&intent, task, name, &what)?);
    }
    let all_right = asked.iter().all(|asked| asked.right);
    let text = match global.format {
        Format::Json => Report::json(&asked)?.text,
        Format::Table => dns_text(&asked),
    };
    Ok(if all_right { Report::good(text) } else { Report::bad(text) })
}

fn task<'a>(intent: &'a Intent, name: &str, what: &str) -> Result<&'a Task, Failure> {
    let parsed: Option<TaskName> = name.parse().ok();
    parsed.and_then(|name| intent.tasks.get(&name)).ok_or_else(|| {
        let names: Vec<String> = intent.tasks.keys().map(ToString::to_string).collect();
        let problem = format!("there is no task `{}`", name.escape_debug());
        let failure = Failure::new(Exit::Usage, what, problem);
        match crate::intent::name::nearest(name, names.iter().map(String::as_str)) {
            Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
            None => failure.hint("see `swarmlb sandbox ls`"),
        }
    })
}

fn ask(intent: &Intent, task: &Task, name: &str, what: &str) -> Result<Asked, Failure> {
    let namespace = netns::open(&task.name.to_string())
        .map_err(|error| Failure::io(what, &error).fact("sandbox:", task.name.to_string()))?;
    let answer =
        resolve(namespace.as_fd(), SocketAddr::V4(RESOLVER), name, RecordType::A, PATIENCE);
    let expected = expected(intent, task, name);
    Ok(match answer {
        Ok(resolution) => {
            let mut got: Vec<IpAddr> = resolution.addresses.clone();
            got.sort_unstable();
            let right = expected.as_ref().is_none_or(|expected| {
                let mut expected: Vec<IpAddr> = expected.iter().copied().map(IpAddr::V4).collect();
                expected.sort_unstable();
                got == expected
            });
            Asked {
                sandbox: task.name.clone(),
                addresses: resolution.addresses.clone(),
                ttl: resolution.ttl,
                verdict: resolution.verdict(),
                from_cluster: resolution.authoritative,
                microseconds: resolution.elapsed.as_micros(),
                expected,
                right,
            }
        }
        Err(error) => Asked {
            sandbox: task.name.clone(),
            addresses: Vec::new(),
            ttl: None,
            verdict: error.to_string(),
            from_cluster: false,
            microseconds: 0,
            right: false,
            expected,
        },
    })
}

fn dns_text(asked: &[Asked]) -> String {
    let rows = asked.iter().map(|asked| {
        let addresses: Vec<String> = asked.addresses.iter().map(ToString::to_string).collect();
        let source = if asked.from_cluster { "cluster" } else { "forwarded" };
        let judgement = match (&asked.expected, asked.right) {
            (None, _) if asked.right => "not the cluster's name".into(),
            (_, true) => "as it should be".into(),
            (Some(expected), false) => {
                let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
                format!("WRONG: should be {}", expected.join(" "))
            }
            (None, false) => "WRONG: no answer".into(),
        };
        [
            asked.sandbox.to_string(),
            if addresses.is_empty() { "-".into() } else { addresses.join(" ") },
            asked.ttl.map_or_else(|| "-".into(), |ttl| format!("{ttl} s")),
            asked.verdict.clone(),
            source.into(),
            format!("{} µs", asked.microseconds),
            judgement,
        ]
    });
    let heading = ["ASKED IN", "ANSWER", "TTL", "CODE", "FROM", "TOOK", "JUDGEMENT"];
    table(heading, rows.collect())
}

fn measure(global: &Global, options: &Compare) -> Result<Report, Failure> {
    let what = format!("compare DNS and IPVS for service `{}`", options.service);
    let session = Session::new(global, what.as_str())?;
    let intent = session.intent()?;
    must_be_root(&what)?;
    let service =
        intent.service(&options.service).map_err(|error| Failure::intent(what.as_str(), &error))?;
    let (network, vip) = measurable(&intent, service, &what)?;
    let client = match &options.from {
        Some(from) => task(&intent, from, &what)?,
        None => first_client(&intent, service, network).ok_or_else(|| {
            Failure::new(Exit::Usage, what.as_str(), "there is no sandbox to ask from")
        })?,
    };
    if client.endpoint(network).is_none() {
        let problem = format!("task {} is not on network `{network}`", client.name);
        return Err(Failure::new(Exit::Usage, what, problem));
    }
    let plane =
        intent.nodes.get(&client.node).map_or(DataPlane::Nftables, |n| service.data_plane.on(n));
    let ports = Arc::new(ports(&intent, service, client, &what)?);
    let bench =
        Bench { intent: &intent, service, network, vip, client, options, what: &what, ports };
    let progress = bar(global, u64::from(options.requests) * 2);
    if plane == DataPlane::Ipvs {
        // Connections of before the command must not be counted as its own.
        std::thread::sleep(ESTIMATION);
    }
    let before = bench.counted()?;
    let (mut dns, mut kernel) = (Vec::new(), Vec::new());
    // In turns, so that a machine that becomes busier meanwhile does so for both.
    for share in shares(options.requests) {
        bench.requests(Way::Dns, share, &format!("tasks.{}", service.name), &mut dns, &progress)?;
        bench.requests(Way::Vip, share, service.name.as_str(), &mut kernel, &progress)?;
    }
    let after = bench.counted_after(&before, &kernel)?;
    progress.finish_and_clear();
    let counters = Counters { before, after };
    let mechanism = match plane {
        DataPlane::Ipvs => format!("IPVS {}", service.scheduler),
        DataPlane::Nftables => "nftables numgen".into(),
    };
    let expected: Vec<String> =
        intent.tasks_of(&service.name).map(|t| t.name.to_string()).collect();
    let runs = [
        Run { way: Way::Dns, mechanism: "RR-DNS", samples: &dns, counters: None },
        Run { way: Way::Vip, mechanism: &mechanism, samples: &kernel, counters: Some(&counters) },
    ];
    let comparison = compare(&runs, &expected);
    let bad = comparison.verdict.failures > 0 || comparison.verdict.agrees == Some(false);
    let text = match global.format {
        Format::Json => Report::json(&comparison)?.text,
        Format::Table => {
            let heading = format!(
                "{} requests each way from {} to {} on network {}, {} at a time\n\n",
                options.requests, client.name, service.name, network, options.concurrency
            );
            format!("{heading}{}\n", render::comparison::table(&comparison).trim_end())
        }
    };
    Ok(if bad { Report::bad(text) } else { Report::good(text) })
}

fn measurable<'a>(
    intent: &Intent,
    service: &'a Service,
    what: &str,
) -> Result<(&'a NetworkName, &'a Vip), Failure> {
    let usage = |problem: String| Failure::new(Exit::Usage, what, problem);
    if service.image != Image::Whoami {
        let problem =
            format!("its image is `{}`, whose replies do not name their task", service.image);
        return Err(usage(problem).hint("measure a service of `builtin:whoami`"));
    }
    if intent.tasks_of(&service.name).next().is_none() {
        return Err(usage("it has no tasks".into())
            .hint(format!("give it some: `swarmlb service scale {}=3`", service.name)));
    }
    service
        .vips
        .first_key_value()
        .ok_or_else(|| usage("it has endpoint mode dnsrr and no VIP to compare with".into()))
}

/// Client ports that neither the client's sandbox nor any task of the service remembers.
fn ports(intent: &Intent, service: &Service, client: &Task, what: &str) -> Result<Ports, Failure> {
    let failed = |error: std::io::Error| Failure::io(what, &error);
    let namespace = netns::open(&client.name.to_string()).map_err(failed)?;
    let mut targets = Vec::new();
    for task in intent.tasks_of(&service.name).filter(|task| task.node == client.node) {
        targets.push(netns::open(&task.name.to_string()).map_err(failed)?.into());
    }
    Ports::of(namespace.as_fd(), &targets).map_err(failed)
}

/// A number of requests as turns of one way: ten, or as many as there are.
fn shares(requests: u32) -> impl Iterator<Item = u32> {
    let turns = requests.min(TURNS);
    (0..turns).map(move |turn| requests / turns + u32::from(turn < requests % turns))
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

struct Bench<'a> {
    intent: &'a Intent,
    service: &'a Service,
    network: &'a NetworkName,
    vip: &'a Vip,
    client: &'a Task,
    options: &'a Compare,
    what: &'a str,
    /// Of both runs together: a task that still remembers a connection of the first would disturb
    /// one of the second.
    ports: Arc<Ports>,
}

impl Bench<'_> {
    fn requests(
        &self,
        way: Way,
        requests: u32,
        name: &str,
        samples: &mut Vec<Sample>,
        progress: &ProgressBar,
    ) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::io(self.what, &error);
        let namespace = netns::open(&self.client.name.to_string()).map_err(failed)?;
        let plan = Plan {
            requests,
            concurrency: self.options.concurrency,
            timeout: PATIENCE,
            port: 80,
            path: "/".into(),
            ports: Some(Arc::clone(&self.ports)),
        };
        let resolver = || {
            let server = SocketAddr::V4(RESOLVER);
            let client = Client::open(namespace.as_fd(), server, PATIENCE);
            let client = client.map_err(std::io::Error::other)?;
            Ok(Names { client, name: name.to_owned() })
        };
        let before = progress.position();
        let told = |done: u32| progress.set_position(before + u64::from(done));
        let more = crowd::run(namespace.as_fd(), way, &plan, resolver, &told).map_err(failed)?;
        // As if they had been one run: the other way's turns do not count as time.
        let (sequence, started) = match samples.last() {
            Some(last) => (last.sequence + 1, last.started + last.total),
            None => (0, Duration::ZERO),
        };
        samples.extend(more.into_iter().map(|sample| Sample {
            sequence: sample.sequence + sequence,
            started: sample.started + started,
            ..sample
        }));
        Ok(())
    }

    /// The counters once they have taken in every answered request, or after two estimations.
    fn counted_after(
        &self,
        before: &BTreeMap<String, u64>,
        samples: &[Sample],
    ) -> Result<BTreeMap<String, u64>, Failure> {
        let sum = |counted: &BTreeMap<String, u64>| counted.values().sum::<u64>();
        let answered = samples.iter().filter(|sample| sample.outcome.is_ok()).count() as u64;
        let deadline = Instant::now() + 2 * ESTIMATION;
        loop {
            let after = self.counted()?;
            let grown = sum(&after).saturating_sub(sum(before));
            if grown >= answered || Instant::now() > deadline {
                return Ok(after);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Connections by task, as the client's sandbox counted them.
    fn counted(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let mut counted = Traffic::new();
        let sandbox = SandboxName::from(&self.client.name);
        traffic::count(&sandbox, &mut counted)
            .map_err(|refusal| Failure::kernel(self.what, &refusal))?;
        let mut by_task = BTreeMap::new();
        for task in self.intent.tasks_of(&self.service.name) {
            let Some(endpoint) = task.endpoint(self.network) else { continue };
            let at = (sandbox.clone(), self.vip.fwmark, endpoint.address);
            if let Some(tally) = counted.get(&at) {
                by_task.insert(task.name.to_string(), tally.connections);
            }
        }
        Ok(by_task)
    }
}

struct Names {
    client: Client,
    name: String,
}

impl Resolve for Names {
    fn resolve(&mut self) -> Result<Vec<IpAddr>, ResolveFailure> {
        match self.client.lookup(&self.name, RecordType::A) {
            Ok(resolution) if resolution.addresses.is_empty() => {
                Err(ResolveFailure(resolution.verdict()))
            }
            Ok(resolution) => Ok(resolution.addresses),
            Err(error) => Err(ResolveFailure(error.to_string())),
        }
    }
}

fn bar(global: &Global, length: u64) -> ProgressBar {
    if global.quiet || global.format == Format::Json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("requests {bar:30} {pos} of {len}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}
