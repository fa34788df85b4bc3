//! Reads what `ipvsadm -S` wrote: each line is a virtual server (`-A`) or a real server of one (`-a`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::SplitAsciiWhitespace;

use super::save::{CHECKSUMS, flag_names};
use super::words;
use crate::kernel::ipvs::wire::{
    Family, Flags, Forwarding, Key, Name, Netmask, Protocol, RealServer, Tunnel, TunnelKind,
    VirtualServer,
};
use crate::node::Entry;

/// What `ipvsadm` takes where nothing is said.
const SCHEDULER: &str = "wlc";
const PERSISTENCE: u32 = 300;
/// The most seconds of persistence, as in `ipvsadm`: 31 days.
const LONGEST: u32 = 31 * 86_400;
const HEAVIEST: u32 = 65_535;
const LONGEST_PREFIX: u32 = 128;

/// A line that says nothing that can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedError {
    /// From 1.
    pub line: usize,
    pub problem: String,
}

impl fmt::Display for SavedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for SavedError {}

/// The virtual servers of a text, in its order, each with its real servers. Empty lines, and what is
/// behind a `#`, say nothing.
///
/// # Errors
/// The first line that `ipvsadm -R` would refuse, that does anything but add, or that would come to nothing:
/// a key or a real server twice, a port where the kernel keeps the client's.
pub fn parse(text: &str) -> Result<Vec<Entry>, SavedError> {
    let mut tables = Tables::default();
    for (number, line) in (1..).zip(text.lines()) {
        let said = line.split('#').next().unwrap_or_default();
        if said.trim().is_empty() {
            continue;
        }
        let taken = Line::read(said).and_then(|line| tables.take(&line));
        taken.map_err(|problem| SavedError { line: number, problem })?;
    }
    Ok(tables.entries)
}

#[derive(Default)]
struct Tables {
    entries: Vec<Entry>,
    places: BTreeMap<Key, usize>,
}

impl Tables {
    fn take(&mut self, line: &Line<'_>) -> Result<(), String> {
        let key = line.key()?;
        match line.command {
            Some(Command::AddServer) => self.add(line.server(key)?),
            Some(Command::AddReal) => {
                let Some(entry) = self.places.get(&key).and_then(|at| self.entries.get_mut(*at))
                else {
                    let key = words::typed(&key);
                    return Err(format!("no line above adds the virtual server: `-A {key}`"));
                };
                let real = line.real(key)?;
                let same = |one: &RealServer| (one.address, one.port) == (real.address, real.port);
                if entry.real_servers.iter().any(same) {
                    return Err("it has this real server already".into());
                }
                entry.real_servers.push(real);
                Ok(())
            }
            None => Err("it has neither -A nor -a".into()),
        }
    }

    fn add(&mut self, server: VirtualServer) -> Result<(), String> {
        if self.places.insert(server.key, self.entries.len()).is_some() {
            return Err("this virtual server is there already".into());
        }
        self.entries.push(Entry { server, real_servers: Vec::new() });
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    AddServer,
    AddReal,
}

/// The words of a line, by what they are for.
#[derive(Debug, Default)]
struct Line<'a> {
    command: Option<Command>,
    /// The option and its text.
    key: Option<(char, &'a str)>,
    v6: bool,
    scheduler: Option<&'a str>,
    persistence: Option<u32>,
    netmask: Option<&'a str>,
    engine: Option<&'a str>,
    one_packet: bool,
    flags: Option<&'a str>,
    real: Option<&'a str>,
    forwarding: Option<Forwarding>,
    weight: Option<u32>,
    upper_threshold: u32,
    lower_threshold: u32,
    tunnel_kind: Option<TunnelKind>,
    tunnel_port: Option<u16>,
    tunnel_flags: Option<u16>,
}

/// What stands for long options that have no short one: for private use, so nobody's letters.
const SCTP: char = '\u{e000}';
const ENGINE: char = '\u{e001}';
const TUN_TYPE: char = '\u{e002}';
const TUN_PORT: char = '\u{e003}';
const TUN_FLAGS: char = '\u{e004}';

/// The words behind one, which some of its options take.
struct Words<'a> {
    words: SplitAsciiWhitespace<'a>,
    /// What stands in the same word behind the option's letter or `=`.
    joined: Option<&'a str>,
    name: &'a str,
}

impl<'a> Words<'a> {
    fn value(&mut self) -> Result<&'a str, String> {
        let next = self.joined.take().or_else(|| self.words.next());
        next.ok_or_else(|| format!("nothing stands behind `{}`", self.name.escape_debug()))
    }

    /// One that may be left out.
    fn optional(&mut self) -> Option<&'a str> {
        let ahead = self.words.clone().next().filter(|word| !word.starts_with('-'));
        let next = self.joined.take().or_else(|| ahead.and_then(|_| self.words.next()));
        next.filter(|text| !text.is_empty())
    }

    fn number(&mut self, from: u32, to: u32) -> Result<u32, String> {
        let name = self.name;
        number(name, self.value()?, from, to)
    }
}

fn number(name: &str, text: &str, from: u32, to: u32) -> Result<u32, String> {
    let parsed = text.parse().ok().filter(|number| (from..=to).contains(number));
    parsed.ok_or_else(|| {
        let (name, text) = (name.escape_debug(), text.escape_debug());
        format!("`{name} {text}`: no number from {from} to {to}")
    })
}

impl<'a> Line<'a> {
    fn read(text: &'a str) -> Result<Self, String> {
        let mut line = Self::default();
        let mut words = Words { words: text.split_ascii_whitespace(), joined: None, name: "" };
        while let Some(word) = words.words.next() {
            words.name = word;
            match (word.strip_prefix("--"), word.strip_prefix('-')) {
                (Some(long), _) => {
                    let (name, joined) = match long.split_once('=') {
                        Some((name, value)) => (name, Some(value)),
                        None => (long, None),
                    };
                    words.joined = joined;
                    let option = long_option(name).ok_or_else(|| unknown(word))?;
                    line.take(option, name, &mut words)?;
                    if words.joined.take().is_some() {
                        return Err(format!("`--{}` takes nothing", name.escape_debug()));
                    }
                }
                (None, Some(cluster)) if !cluster.is_empty() => {
                    line.cluster(cluster, &mut words)?
                }
                _ => return Err(unknown(word)),
            }
        }
        Ok(line)
    }

    /// Several options in one word, of which the last may have its value there too.
    fn cluster(&mut self, cluster: &'a str, words: &mut Words<'a>) -> Result<(), String> {
        let word = words.name;
        for (at, letter) in cluster.char_indices() {
            let rest = &cluster[at + letter.len_utf8()..];
            words.joined = Some(rest).filter(|rest| !rest.is_empty());
            if matches!(letter, SCTP | ENGINE | TUN_TYPE | TUN_PORT | TUN_FLAGS) {
                return Err(unknown(word));
            }
            self.take(letter, "", words)?;
            if words.joined.take().is_none() && !rest.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take(&mut self, option: char, long: &str, words: &mut Words<'a>) -> Result<(), String> {
        match option {
            'A' => self.command(Command::AddServer)?,
            'a' => self.command(Command::AddReal)?,
            'E' | 'e' | 'D' | 'd' | 'C' | 'R' | 'S' | 'Z' | 'L' | 'l' => {
                return Err(format!(
                    "`{}` is none of -A and -a, of which a table consists",
                    words.name.escape_debug()
                ));
            }
            't' | 'u' | SCTP | 'f' => {
                if self.key.replace((option, words.value()?)).is_some() {
                    return Err("it names two virtual servers".into());
                }
            }
            '6' => self.v6 = true,
            // Whether addresses are printed as numbers: here they always are.
            'n' => {}
            's' => self.scheduler = Some(words.value()?),
            'p' => {
                let seconds = words.optional();
                let seconds = seconds.map(|text| number("-p", text, 1, LONGEST)).transpose()?;
                self.persistence = Some(seconds.unwrap_or(PERSISTENCE));
            }
            'M' => self.netmask = Some(words.value()?),
            ENGINE => self.engine = Some(words.value()?),
            'o' => self.one_packet = true,
            'b' => self.flags = Some(words.value()?),
            'r' => self.real = Some(words.value()?),
            'g' => self.forwarding(Forwarding::Route)?,
            'i' => self.forwarding(Forwarding::Tunnel)?,
            'm' => self.forwarding(Forwarding::Masquerade)?,
            'w' => self.weight = Some(words.number(0, HEAVIEST)?),
            'x' => self.upper_threshold = words.number(0, u32::MAX)?,
            'y' => self.lower_threshold = words.number(0, u32::MAX)?,
            TUN_TYPE => self.tunnel_kind = Some(tunnel_kind(words.value()?)?),
            TUN_PORT => {
                let port = words.number(1, u32::from(u16::MAX))?;
                self.tunnel_port = u16::try_from(port).ok();
            }
            TUN_FLAGS => {
                let at = CHECKSUMS.iter().position(|name| name.strip_prefix("--") == Some(long));
                self.tunnel_flags = at.and_then(|at| u16::try_from(at).ok());
            }
            _ => return Err(unknown(words.name)),
        }
        Ok(())
    }

    fn command(&mut self, command: Command) -> Result<(), String> {
        match self.command.replace(command) {
            None => Ok(()),
            Some(_) => Err("it has two commands".into()),
        }
    }

    fn forwarding(&mut self, forwarding: Forwarding) -> Result<(), String> {
        match self.forwarding.replace(forwarding) {
            None => Ok(()),
            Some(_) => Err("it has two of -g, -i and -m".into()),
        }
    }

    fn key(&self) -> Result<Key, String> {
        let Some((option, text)) = self.key else {
            return Err("it names no virtual server by -t, -u, --sctp-service or -f".into());
        };
        let protocol = match option {
            't' => Protocol::TCP,
            'u' => Protocol::UDP,
            SCTP => Protocol::SCTP,
            _ => {
                let family = if self.v6 { Family::V6 } else { Family::V4 };
                return Ok(Key::Fwmark { mark: words::mark(text)?, family });
            }
        };
        words::key_of(protocol, text)
    }

    fn server(&self, key: Key) -> Result<VirtualServer, String> {
        self.refuse_of_a_real_server()?;
        let scheduler = named("scheduler", self.scheduler.unwrap_or(SCHEDULER))?;
        let mut server = VirtualServer::new(key, scheduler);
        server.persistence_engine =
            self.engine.map(|text| named("persistence engine", text)).transpose()?;
        if let Some(seconds) = self.persistence {
            server.flags = server.flags | Flags::PERSISTENT;
            server.timeout = seconds;
        }
        if let Some(text) = self.netmask {
            if self.persistence.is_none() {
                return Err("-M is of no use without -p".into());
            }
            server.netmask = netmask(text, key.family())?;
        }
        if self.one_packet {
            let by_packets = match key {
                Key::Fwmark { .. } => true,
                Key::Address { protocol, .. } => protocol == Protocol::UDP,
            };
            if !by_packets {
                return Err("-o is for UDP".into());
            }
            server.flags = server.flags | Flags::ONE_PACKET;
        }
        if let Some(text) = self.flags {
            server.flags = server.flags | scheduler_flags(server.scheduler.as_str(), text)?;
        }
        if matches!(key, Key::Address { port: 0, .. }) && self.persistence.is_none() {
            return Err("port 0, which is every port, needs -p".into());
        }
        Ok(server)
    }

    fn refuse_of_a_real_server(&self) -> Result<(), String> {
        let thresholds = self.upper_threshold > 0 || self.lower_threshold > 0;
        let tunnel = self.tunnel_kind.is_some() || self.tunnel_port.is_some();
        let said = self.real.is_some() || self.forwarding.is_some() || self.weight.is_some();
        match said || thresholds || tunnel || self.tunnel_flags.is_some() {
            true => Err("-A says nothing of a real server: that is for -a".into()),
            false => Ok(()),
        }
    }

    fn real(&self, key: Key) -> Result<RealServer, String> {
        let scheduling = self.scheduler.is_some() || self.persistence.is_some();
        if scheduling || self.netmask.is_some() || self.one_packet || self.flags.is_some() {
            return Err("-a says nothing of the virtual server: that is for -A".into());
        }
        let text = self.real.ok_or("it names no real server by -r")?;
        let (address, port) = words::end(text)?;
        let asked = match key {
            Key::Fwmark { .. } => 0,
            Key::Address { port, .. } => port,
        };
        let forwarding = self.forwarding.unwrap_or(Forwarding::Route);
        let port = port.unwrap_or(asked);
        if forwarding != Forwarding::Masquerade && port != asked {
            return Err(format!(
                "only -m changes the port: what comes for port {asked} never gets to port {port}"
            ));
        }
        if Family::of(address) != key.family() && forwarding != Forwarding::Tunnel {
            return Err(format!("only -i leads to the other family: {address}"));
        }
        if self.lower_threshold > self.upper_threshold {
            let (upper, lower) = (self.upper_threshold, self.lower_threshold);
            return Err(format!("its -y {lower} is above its -x {upper}"));
        }
        let mut real = RealServer::new(address, port, forwarding);
        real.weight = self.weight.unwrap_or(1);
        real.upper_threshold = self.upper_threshold;
        real.lower_threshold = self.lower_threshold;
        real.tunnel = self.tunnel(forwarding)?;
        Ok(real)
    }

    fn tunnel(&self, forwarding: Forwarding) -> Result<Tunnel, String> {
        let said =
            self.tunnel_kind.is_some() || self.tunnel_port.is_some() || self.tunnel_flags.is_some();
        if said && forwarding != Forwarding::Tunnel {
            return Err("a tunnel is for -i".into());
        }
        let kind = self.tunnel_kind.unwrap_or_default();
        if (kind == TunnelKind::Gue) != self.tunnel_port.is_some() {
            return Err("--tun-port is for --tun-type gue, which needs it".into());
        }
        if kind == TunnelKind::Ipip && self.tunnel_flags.is_some_and(|flags| flags > 0) {
            return Err("a checksum is for --tun-type gue and gre".into());
        }
        let (port, flags) = (self.tunnel_port, self.tunnel_flags);
        Ok(Tunnel { kind, port: port.unwrap_or(0), flags: flags.unwrap_or(0) })
    }
}

fn long_option(name: &str) -> Option<char> {
    Some(match name {
        "add-service" => 'A',
        "add-server" => 'a',
        "edit-service" | "edit-server" | "delete-service" | "delete-server" | "clear" => 'E',
        "tcp-service" => 't',
        "udp-service" => 'u',
        "sctp-service" => SCTP,
        "fwmark-service" => 'f',
        "ipv6" => '6',
        "numeric" => 'n',
        "scheduler" => 's',
        "persistent" => 'p',
        "netmask" => 'M',
        "pe" => ENGINE,
        "ops" => 'o',
        "sched-flags" => 'b',
        "real-server" => 'r',
        "gatewaying" => 'g',
        "ipip" => 'i',
        "masquerading" => 'm',
        "weight" => 'w',
        "u-threshold" => 'x',
        "l-threshold" => 'y',
        "tun-type" => TUN_TYPE,
        "tun-port" => TUN_PORT,
        "tun-nocsum" | "tun-csum" | "tun-remcsum" => TUN_FLAGS,
        _ => return None,
    })
}

fn unknown(word: &str) -> String {
    format!("`{}` is no option of -A or -a", word.escape_debug())
}

fn named(what: &str, text: &str) -> Result<Name, String> {
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    let name = text.parse().ok().filter(|_| printable);
    name.ok_or_else(|| format!("`{}` is no {what}'s name", text.escape_debug()))
}

fn netmask(text: &str, family: Family) -> Result<Netmask, String> {
    let wrong = |what| format!("`-M {}` is no {what}", text.escape_debug());
    match family {
        Family::V4 => {
            let mask: Option<Ipv4Addr> = text.parse().ok();
            let contiguous = |mask: &Ipv4Addr| {
                let bits = mask.to_bits();
                bits != 0 && bits.leading_ones() + bits.trailing_zeros() == 32
            };
            mask.filter(contiguous).map(Netmask::V4).ok_or_else(|| wrong("mask, as 255.255.255.0"))
        }
        Family::V6 => {
            let length = text.parse().ok().filter(|length| (1..=LONGEST_PREFIX).contains(length));
            length.map(Netmask::V6).ok_or_else(|| wrong("prefix's length, from 1 to 128"))
        }
    }
}

fn scheduler_flags(scheduler: &str, text: &str) -> Result<Flags, String> {
    const FLAGS: [Flags; 3] = [Flags::SCHEDULER_1, Flags::SCHEDULER_2, Flags::SCHEDULER_3];
    let names = flag_names(scheduler);
    let numbered = flag_names("");
    text.split(',').try_fold(Flags::NONE, |all, name| {
        let at = names.iter().position(|one| *one == name);
        let at = at.or_else(|| numbered.iter().position(|one| *one == name));
        match at.and_then(|at| FLAGS.get(at)) {
            Some(flag) => Ok(all | *flag),
            None => Err(format!(
                "scheduler {scheduler} has no flag `{}`: there are {}",
                name.escape_debug(),
                names.join(", ")
            )),
        }
    })
}

fn tunnel_kind(text: &str) -> Result<TunnelKind, String> {
    match text {
        "ipip" => Ok(TunnelKind::Ipip),
        "gue" => Ok(TunnelKind::Gue),
        "gre" => Ok(TunnelKind::Gre),
        _ => Err(format!("`--tun-type {}` is none of ipip, gue and gre", text.escape_debug())),
    }
}

#[cfg(test)]
mod tests;
