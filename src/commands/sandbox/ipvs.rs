//! `swarmlb sandbox ipvs`

use std::os::fd::AsFd;

use super::find::{Target, find};
use crate::cli::sandbox::{Ipvs as Options, Only, Shown};
use crate::cli::{Format, Global};
use crate::commands::Report;
use crate::dump::ipvs::Server;
use crate::failure::{Exit, Failure};
use crate::ipvsadm::{self, Columns, Listing};
use crate::kernel::ipvs::wire::{Family, Info, Key, Protocol, Timeouts};
use crate::kernel::ipvs::{Ipvs, connections};
use crate::kernel::{Refusal, namespaces, netns};
use crate::node::{Entry, VirtualServerKey};

pub fn run(global: &Global, options: &Options) -> Result<Report, Failure> {
    let what = format!("list IPVS of sandbox `{}`", options.name.escape_debug());
    let only =
        only(options).map_err(|problem| Failure::new(Exit::Usage, what.as_str(), problem))?;
    if options.exact && !(options.shown.stats || options.shown.rate) {
        let problem = "--exact is for --stats and --rate";
        return Err(Failure::new(Exit::Usage, what, problem));
    }
    let machine = namespaces::machine();
    let target = find(&machine, &options.name, &what)?;
    if options.connection {
        return listed_connections(global, options, &target, only.as_ref(), &what);
    }
    let mut held = read(&target, &what)?;
    if options.timeout {
        return timeouts(global, held.timeouts);
    }
    if let Some(only) = &only {
        held.entries.retain(|entry| entry.server.key == *only);
        if held.entries.is_empty() {
            let problem = format!("there is no virtual server {}", VirtualServerKey::from(only));
            return Err(Failure::new(Exit::Usage, what, problem)
                .hint(format!("see `swarmlb sandbox ipvs {}`", options.name.escape_debug())));
        }
    }
    if !options.nosort {
        ipvsadm::sort(&mut held.entries);
    }
    if global.format == Format::Json {
        return Report::json(&held.entries.iter().map(Server::from).collect::<Vec<_>>());
    }
    if options.save {
        return Ok(Report::good(ipvsadm::saved(&held.entries).join("\n")));
    }
    let listing = Listing { columns: columns(&options.shown), exact: options.exact };
    // As ipvsadm: the version is told of whole tables.
    let info = held.info.filter(|_| only.is_none());
    Ok(Report::good(listing.of(info, &held.entries)))
}

/// What a namespace's tables hold.
pub(super) struct Held {
    pub info: Option<Info>,
    pub timeouts: Option<Timeouts>,
    pub entries: Vec<Entry>,
}

/// Reads the tables; asks for no module.
pub(super) fn read(target: &Target, what: &str) -> Result<Held, Failure> {
    let look = || -> Result<Option<Held>, Refusal> {
        let Some(mut ipvs) = Ipvs::present_here()? else { return Ok(None) };
        let (info, timeouts) = (ipvs.version()?, ipvs.timeouts()?);
        Ok(Some(Held { info, timeouts, entries: ipvs.entries()? }))
    };
    let looked = netns::within(target.file.as_fd(), look);
    let looked = looked.map_err(|error| Failure::io(what, &error))?;
    let held = looked.map_err(|refusal| Failure::kernel(what, &refusal))?;
    held.ok_or_else(|| no_ipvs(what))
}

/// Where the kernel has none, or nobody has needed it yet.
pub(super) fn no_ipvs(what: &str) -> Failure {
    let problem = "IPVS is not there: the kernel has no module ip_vs, or it is not loaded";
    Failure::new(Exit::Cannot, what, problem)
        .hint("`modprobe ip_vs` loads it; see `swarmlb system info`")
}

fn columns(shown: &Shown) -> Columns {
    let choices = [
        (shown.stats, Columns::Counters),
        (shown.rate, Columns::Rates),
        (shown.thresholds, Columns::Thresholds),
        (shown.persistent_conn, Columns::Persistence),
        (shown.tun_info, Columns::Tunnels),
    ];
    choices.into_iter().find(|(asked, _)| *asked).map_or(Columns::Connections, |choice| choice.1)
}

fn timeouts(global: &Global, held: Option<Timeouts>) -> Result<Report, Failure> {
    let Timeouts { tcp, tcp_fin, udp } = held.unwrap_or_default();
    match global.format {
        Format::Json => {
            Report::json(&serde_json::json!({ "tcp": tcp, "tcp_fin": tcp_fin, "udp": udp }))
        }
        _ => Ok(Report::good(format!("Timeout (tcp tcpfin udp): {tcp} {tcp_fin} {udp}"))),
    }
}

fn listed_connections(
    global: &Global,
    options: &Options,
    target: &Target,
    only: Option<&Key>,
    what: &str,
) -> Result<Report, Failure> {
    let held = connections(target.file.as_fd());
    let held = held.map_err(|refusal| Failure::kernel(what, &refusal))?;
    let mut held = held.ok_or_else(|| no_ipvs(what))?;
    if let Some(only) = only {
        held.retain(|entry| ipvsadm::is_of(entry, only));
    }
    match global.format {
        Format::Json => Report::json(&held),
        _ => Ok(Report::good(ipvsadm::connections(&held, options.shown.persistent_conn))),
    }
}

/// The virtual server that was asked for.
fn only(options: &Options) -> Result<Option<Key>, String> {
    let Only { tcp_service, udp_service, sctp_service, fwmark_service } = &options.only;
    let by_address = [
        (tcp_service, Protocol::TCP),
        (udp_service, Protocol::UDP),
        (sctp_service, Protocol::SCTP),
    ];
    for (text, protocol) in by_address {
        if let Some(text) = text {
            return ipvsadm::key_of(protocol, text).map(Some);
        }
    }
    let Some(text) = fwmark_service else { return Ok(None) };
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let family = if options.ipv6 { Family::V6 } else { Family::V4 };
    match number.filter(|mark| *mark > 0) {
        Some(mark) => Ok(Some(Key::Fwmark { mark, family })),
        None => Err(format!("`{}` is no mark, as 268 or 0x10c", text.escape_debug())),
    }
}
