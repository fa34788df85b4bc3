//! IPVS in one namespace: changes in batches, and what its tables hold.

mod connection;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use super::netlink::{Message, Netlink};
use super::{Outcome, Refusal, module, program};
use crate::intent::{Fwmark, Scheduler, scheduler};
use crate::node::{
    Entry, Forwarding, Object, RealServer, RealServerKey, Rotation, VirtualServer, VirtualServerKey,
};
use crate::plan::Op;
use crate::plan::op::Change;
pub use connection::connections;
use wire::{FamilyId, Query, Reply};

/// A socket to IPVS inside a namespace.
pub struct Ipvs {
    netlink: Netlink,
    family: FamilyId,
}

impl Ipvs {
    /// Opens IPVS inside `namespace`; the module is asked for once. None when the kernel has none.
    ///
    /// # Errors
    /// `EPERM` without privilege, or what the socket met.
    pub fn open(namespace: BorrowedFd<'_>) -> Result<Option<Self>, Refusal> {
        Self::on(Netlink::open(namespace, netlink_sys::protocols::NETLINK_GENERIC)?)
    }

    /// Opens IPVS in the namespace of the calling thread, for which no privilege is needed.
    ///
    /// # Errors
    /// What the socket met.
    pub fn open_here() -> Result<Option<Self>, Refusal> {
        Self::on(Netlink::open_here(netlink_sys::protocols::NETLINK_GENERIC)?)
    }

    /// Opens IPVS in the namespace of the calling thread if the kernel has it by now. For looking only:
    /// where the module is not loaded no table of it holds anything.
    ///
    /// # Errors
    /// What the socket met.
    pub fn present_here() -> Result<Option<Self>, Refusal> {
        let mut netlink = Netlink::open_here(netlink_sys::protocols::NETLINK_GENERIC)?;
        Ok(family(&mut netlink)?.map(|family| Self { netlink, family }))
    }

    fn on(mut netlink: Netlink) -> Result<Option<Self>, Refusal> {
        // The kernel tries to load what it is asked for and does not have, each time anew: one that
        // has none is asked once.
        static NONE: AtomicBool = AtomicBool::new(false);
        if NONE.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if let Some(family) = family(&mut netlink)? {
            return Ok(Some(Self { netlink, family }));
        }
        load_module();
        let family = family(&mut netlink)?;
        NONE.store(family.is_none(), Ordering::Relaxed);
        Ok(family.map(|family| Self { netlink, family }))
    }

    /// Does operations on virtual and real servers, in batches. It ends with the batch in which one is
    /// refused: there is one outcome for each that was tried.
    pub fn change(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let family = self.family;
        let mut outcomes = self.netlink.batch(ops, |op, bytes| write(op, family, bytes));
        for (op, outcome) in ops.iter().zip(&mut outcomes) {
            name_the_scheduler(op, outcome);
        }
        outcomes
    }

    /// Does changes in the words of the protocol, in batches, as [`Ipvs::change`] does.
    pub fn tell(&mut self, changes: &[wire::Change<'_>]) -> Vec<Outcome> {
        let family = self.family;
        self.netlink.batch(changes, |change, bytes| {
            change.write(family, 0, bytes);
            Ok(())
        })
    }

    /// Everything that the tables hold, with counters.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn entries(&mut self) -> Result<Vec<Entry>, Refusal> {
        let mut entries = Vec::new();
        for reply in self.ask(&Query::Services)? {
            let Reply::Service(server) = reply else { continue };
            let mut real_servers = Vec::new();
            for reply in self.ask(&Query::Dests(&server.key))? {
                if let Reply::Dest(real) = reply {
                    real_servers.push(real);
                }
            }
            entries.push(Entry { server, real_servers });
        }
        Ok(entries)
    }

    /// Whether any connection began under a mark and is not forgotten yet; one that waits to be, as
    /// TCP's in TIME_WAIT, counts.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn has_connections(&mut self, mark: Fwmark) -> Result<bool, Refusal> {
        let key = wire::Key::from(VirtualServerKey::Fwmark(mark));
        match self.ask(&Query::Dests(&key)) {
            Ok(replies) => Ok(replies.iter().any(|reply| match reply {
                // What is remembered for affinity leads nobody here whose packets have another mark.
                Reply::Dest(real) => real.active + real.inactive > 0,
                _ => false,
            })),
            Err(refusal) if refusal.errno == Errno::ESRCH => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    /// The version of IPVS, as `ipvsadm` prints it.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn version(&mut self) -> Result<Option<wire::Info>, Refusal> {
        let request = Query::Info.to_bytes(self.family, 0);
        for message in self.netlink.get(request)? {
            if let Reply::Info(info) = reply(&message, self.family)? {
                return Ok(Some(info));
            }
        }
        Ok(None)
    }

    /// How long connections are remembered here.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn timeouts(&mut self) -> Result<Option<wire::Timeouts>, Refusal> {
        let request = Query::Config.to_bytes(self.family, 0);
        for message in self.netlink.get(request)? {
            if let Reply::Config(timeouts) = reply(&message, self.family)? {
                return Ok(Some(timeouts));
            }
        }
        Ok(None)
    }

    fn ask(&mut self, query: &Query<'_>) -> Result<Vec<Reply>, Refusal> {
        let messages = self.netlink.dump(&query.to_bytes(self.family, 0))?;
        messages.iter().map(|message| reply(message, self.family)).collect()
    }
}

fn family(netlink: &mut Netlink) -> Result<Option<FamilyId>, Refusal> {
    let request = Query::Family.to_bytes(FamilyId::CONTROL, 0);
    match netlink.get(request) {
        Ok(messages) => {
            for message in &messages {
                if let Reply::Family(info) = reply(message, FamilyId(0))? {
                    return Ok(Some(info.id));
                }
            }
            Ok(None)
        }
        Err(refusal) if refusal.errno == Errno::ENOENT => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// The kernel loads schedulers by itself, but `ip_vs` only when somebody asks.
fn load_module() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Some(modprobe) = program::find("modprobe") {
            // It may be missing or built in; whether IPVS is there is asked again afterwards.
            let _ = program::command(modprobe)
                .args(["-q", "ip_vs"])
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status();
        }
    });
}

/// The kernel says `ENOENT` for a virtual server whose scheduler it cannot load, and no more.
fn name_the_scheduler(op: &Op, outcome: &mut Outcome) {
    let Object::VirtualServer { scheduler, .. } = op.object() else { return };
    if outcome.as_ref().is_err_and(|refusal| refusal.errno == Errno::ENOENT) {
        let has = match schedulers() {
            Some(has) => format!("; of its modules it has {}", scheduler::names(&has)),
            None => String::new(),
        };
        let sentence = format!("the kernel cannot load scheduler {scheduler}{has}");
        *outcome = Err(Refusal::saying(Errno::ENOENT, sentence));
    }
}

/// The schedulers that the kernel has, loaded or not. None where that cannot be told without trying
/// them.
pub fn schedulers() -> Option<BTreeSet<Scheduler>> {
    let there = |scheduler: &Scheduler| match module::is_there(&scheduler.module()) {
        Some(true) => Some(Some(*scheduler)),
        Some(false) => Some(None),
        None => None,
    };
    let all: Option<Vec<_>> = Scheduler::ALL.iter().map(there).collect();
    // What is built in as one with the kernel stands in no list of modules.
    all.map(|all| all.into_iter().flatten().collect()).filter(|all: &BTreeSet<_>| !all.is_empty())
}

fn reply(message: &Message, family: FamilyId) -> Result<Reply, Refusal> {
    let unreadable = |error: String| {
        Refusal::saying(Errno::EBADMSG, format!("IPVS's answer cannot be read: {error}"))
    };
    match wire::replies(message.as_bytes(), family).next() {
        Some(Ok(incoming)) => Ok(incoming.reply),
        Some(Err(error)) => Err(unreadable(error.to_string())),
        None => Err(unreadable("it is empty".into())),
    }
}

/// Appends the message that does an operation.
///
/// # Errors
/// `EINVAL` for one that is not on IPVS, or names a scheduler by what is no name.
pub fn write(op: &Op, family: FamilyId, bytes: &mut Vec<u8>) -> Result<(), Errno> {
    let mut send = |change: wire::Change<'_>| change.write(family, 0, bytes);
    match (&op.change, op.object()) {
        (Change::Add(_), object @ Object::VirtualServer { .. }) => {
            send(wire::Change::NewService(&server(object).ok_or(Errno::EINVAL)?));
        }
        (Change::Set { .. }, object @ Object::VirtualServer { .. }) => {
            send(wire::Change::SetService(&server(object).ok_or(Errno::EINVAL)?));
        }
        (Change::Del(_), Object::VirtualServer { key, .. }) => {
            send(wire::Change::DelService(&wire::Key::from(*key)));
        }
        (Change::Add(_), Object::RealServer { server, key, real }) => {
            send(wire::Change::NewDest(&wire::Key::from(*server), &wire_real(*key, *real)));
        }
        (Change::Set { .. }, Object::RealServer { server, key, real }) => {
            send(wire::Change::SetDest(&wire::Key::from(*server), &wire_real(*key, *real)));
        }
        (Change::Del(_), Object::RealServer { server, key, .. }) => {
            send(wire::Change::DelDest(&wire::Key::from(*server), key.address, key.port));
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

fn server(object: &Object) -> Option<wire::VirtualServer> {
    let Object::VirtualServer { key, scheduler, flags, persistence, client_bits, .. } = object
    else {
        return None;
    };
    let mut server = wire::VirtualServer::new(wire::Key::from(*key), scheduler.parse().ok()?);
    server.flags = wire::Flags(*flags);
    if *persistence > 0 {
        server.flags = server.flags | wire::Flags::PERSISTENT;
        server.timeout = *persistence;
        if *client_bits > 0 {
            server.netmask = wire::Netmask::of_length(*client_bits, server.key.family());
        }
    }
    Some(server)
}

fn wire_real(key: RealServerKey, real: RealServer) -> wire::RealServer {
    let forwarding = match real.forwarding {
        Forwarding::Masquerade => wire::Forwarding::Masquerade,
        Forwarding::Local => wire::Forwarding::Local,
        Forwarding::Tunnel => wire::Forwarding::Tunnel,
        Forwarding::Route => wire::Forwarding::Route,
        Forwarding::Bypass => wire::Forwarding::Bypass,
    };
    let mut server = wire::RealServer::new(key.address, key.port, forwarding);
    server.weight = real.weight;
    (server.upper_threshold, server.lower_threshold) = (real.most, real.least);
    server
}

/// The tables in the node's words.
pub fn seen(entries: &[Entry]) -> BTreeMap<VirtualServerKey, VirtualServer> {
    entries.iter().map(server_seen).collect()
}

fn server_seen(entry: &Entry) -> (VirtualServerKey, VirtualServer) {
    let server = &entry.server;
    let own = wire::Flags(wire::Flags::HASHED.0 | wire::Flags::PERSISTENT.0);
    let persistent = server.flags.contains(wire::Flags::PERSISTENT);
    let virtual_server = VirtualServer {
        scheduler: server.scheduler.as_str().to_owned().into(),
        flags: server.flags.without(own).0,
        persistence: if persistent { server.timeout } else { 0 },
        client_bits: if persistent { client_bits(server) } else { 0 },
        rotation: Rotation::default(),
        real_servers: entry.real_servers.iter().map(real_seen).collect(),
    };
    (VirtualServerKey::from(&server.key), virtual_server)
}

/// How many bits tell clients apart, 0 for all.
fn client_bits(server: &wire::VirtualServer) -> u32 {
    match server.netmask == wire::Netmask::host(server.key.family()) {
        true => 0,
        false => server.netmask.length(),
    }
}

fn real_seen(real: &wire::RealServer) -> (RealServerKey, RealServer) {
    let forwarding = match real.forwarding {
        // A masqueraded real server at an address of the sandbox itself is told as it was asked.
        wire::Forwarding::Masquerade | wire::Forwarding::Other(_) => Forwarding::Masquerade,
        wire::Forwarding::Local => Forwarding::Local,
        wire::Forwarding::Tunnel => Forwarding::Tunnel,
        wire::Forwarding::Route => Forwarding::Route,
        wire::Forwarding::Bypass => Forwarding::Bypass,
    };
    let key = RealServerKey { address: real.address, port: real.port };
    let (most, least) = (real.upper_threshold, real.lower_threshold);
    (key, RealServer { forwarding, weight: real.weight, most, least })
}
