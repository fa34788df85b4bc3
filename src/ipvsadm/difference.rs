//! What turns one table into another, so that no connection ends that need not.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::save;
use super::words::typed;
use crate::kernel::ipvs::wire::{Change, Flags, Forwarding, Key, RealServer, VirtualServer};
use crate::node::Entry;

/// One change of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    AddServer(VirtualServer),
    SetServer {
        from: VirtualServer,
        to: VirtualServer,
    },
    /// With its real servers.
    DelServer(Entry),
    AddReal(Key, RealServer),
    SetReal {
        server: Key,
        from: RealServer,
        to: RealServer,
    },
    DelReal(Key, RealServer),
}

impl Step {
    /// What the kernel shall be told.
    pub fn change(&self) -> Change<'_> {
        match self {
            Self::AddServer(server) => Change::NewService(server),
            Self::SetServer { to, .. } => Change::SetService(to),
            Self::DelServer(entry) => Change::DelService(&entry.server.key),
            Self::AddReal(key, real) => Change::NewDest(key, real),
            Self::SetReal { server, to, .. } => Change::SetDest(server, to),
            Self::DelReal(key, real) => Change::DelDest(key, real.address, real.port),
        }
    }

    /// What takes it back; counters do not come back.
    pub fn inverse(&self) -> Vec<Self> {
        match self {
            Self::AddServer(server) => {
                vec![Self::DelServer(Entry { server: server.clone(), real_servers: Vec::new() })]
            }
            Self::SetServer { from, to } => {
                vec![Self::SetServer { from: to.clone(), to: from.clone() }]
            }
            Self::DelServer(entry) => {
                let key = entry.server.key;
                let reals = entry.real_servers.iter().map(|real| Self::AddReal(key, real.clone()));
                std::iter::once(Self::AddServer(entry.server.clone())).chain(reals).collect()
            }
            Self::AddReal(key, real) => vec![Self::DelReal(*key, real.clone())],
            Self::SetReal { server, from, to } => {
                vec![Self::SetReal { server: *server, from: to.clone(), to: from.clone() }]
            }
            Self::DelReal(key, real) => vec![Self::AddReal(*key, real.clone())],
        }
    }

    /// As options of `ipvsadm`.
    pub fn words(&self) -> String {
        let end = |real: &RealServer| std::net::SocketAddr::new(real.address, real.port);
        match self {
            Self::AddServer(server) => {
                format!("-A {} {}", typed(&server.key), save::server(server))
            }
            Self::SetServer { to, .. } => format!("-E {} {}", typed(&to.key), save::server(to)),
            Self::DelServer(entry) => format!("-D {}", typed(&entry.server.key)),
            Self::AddReal(key, real) => format!("-a {} {}", typed(key), save::real(real)),
            Self::SetReal { server, to, .. } => format!("-e {} {}", typed(server), save::real(to)),
            Self::DelReal(key, real) => format!("-d {} -r {}", typed(key), end(real)),
        }
    }
}

/// What to do, and what is left alone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Difference {
    /// In the order in which no virtual server is without a real server that it has before and after.
    pub steps: Vec<Step>,
    /// Virtual servers that are held and not wanted, and stay.
    pub kept: Vec<Key>,
}

impl Difference {
    /// From what is held to what is wanted. Virtual servers that are wanted become what is wanted, with
    /// just those real servers; of the others those go that `goes` says.
    pub fn between(held: &[Entry], wanted: &[Entry], goes: impl Fn(&Key) -> bool) -> Self {
        let there: BTreeMap<Key, &Entry> = held.iter().map(|one| (one.server.key, one)).collect();
        let mut steps = Vec::new();
        for entry in wanted {
            match there.get(&entry.server.key) {
                Some(now) => change(now, entry, &mut steps),
                None => add(entry, &mut steps),
            }
        }
        let mut kept = Vec::new();
        let asked: BTreeMap<Key, ()> = wanted.iter().map(|one| (one.server.key, ())).collect();
        for entry in held.iter().filter(|entry| !asked.contains_key(&entry.server.key)) {
            match goes(&entry.server.key) {
                true => steps.push(Step::DelServer(entry.clone())),
                false => kept.push(entry.server.key),
            }
        }
        Self { steps, kept }
    }
}

fn add(entry: &Entry, steps: &mut Vec<Step>) {
    let key = entry.server.key;
    steps.push(Step::AddServer(entry.server.clone()));
    steps.extend(entry.real_servers.iter().map(|real| Step::AddReal(key, real.clone())));
}

fn change(now: &Entry, wanted: &Entry, steps: &mut Vec<Step>) {
    let key = wanted.server.key;
    if !is_same_server(&now.server, &wanted.server) {
        steps.push(Step::SetServer { from: now.server.clone(), to: wanted.server.clone() });
    }
    let ends = |entry: &Entry| -> BTreeMap<(IpAddr, u16), RealServer> {
        let keyed = |real: &RealServer| ((real.address, real.port), real.clone());
        entry.real_servers.iter().map(keyed).collect()
    };
    let (there, asked) = (ends(now), ends(wanted));
    for real in &wanted.real_servers {
        match there.get(&(real.address, real.port)) {
            None => steps.push(Step::AddReal(key, real.clone())),
            Some(from) if !is_same_real(from, real) => {
                steps.push(Step::SetReal { server: key, from: from.clone(), to: real.clone() });
            }
            Some(_) => {}
        }
    }
    let gone = there.iter().filter(|(end, _)| !asked.contains_key(end));
    steps.extend(gone.map(|(_, real)| Step::DelReal(key, real.clone())));
}

/// But for counters and what the kernel alone sets.
fn is_same_server(now: &VirtualServer, wanted: &VirtualServer) -> bool {
    let persistent = wanted.flags.contains(Flags::PERSISTENT);
    now.scheduler == wanted.scheduler
        && now.flags.without(Flags::HASHED) == wanted.flags
        && now.persistence_engine == wanted.persistence_engine
        && (!persistent || (now.timeout, now.netmask) == (wanted.timeout, wanted.netmask))
}

fn is_same_real(now: &RealServer, wanted: &RealServer) -> bool {
    // What leads to an address of the namespace itself the kernel calls so, however it was asked for.
    let local = now.forwarding == Forwarding::Local && wanted.forwarding != Forwarding::Masquerade;
    let tunnel = wanted.forwarding == Forwarding::Tunnel && !local;
    (now.forwarding == wanted.forwarding || local)
        && (!tunnel || now.tunnel == wanted.tunnel)
        && now.weight == wanted.weight
        && now.upper_threshold == wanted.upper_threshold
        && now.lower_threshold == wanted.lower_threshold
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn words(held: &str, wanted: &str, prune: bool) -> (Vec<String>, Vec<String>) {
        let [held, wanted] = [held, wanted].map(|text| parse(text).unwrap());
        let difference = Difference::between(&held, &wanted, |_| prune);
        let steps = difference.steps.iter().map(Step::words).collect();
        (steps, difference.kept.iter().map(typed).collect())
    }

    #[test]
    fn only_what_differs_is_changed_and_additions_come_before_removals() {
        let held = "-A -t 10.0.3.2:80 -s rr\n-a -t 10.0.3.2:80 -r 10.0.3.3:80 -m\n\
            -a -t 10.0.3.2:80 -r 10.0.3.4:80 -m -w 2\n-A -f 7 -s wlc -p 60\n-A -u 10.0.3.2:53 -s rr";
        assert_eq!(words(held, held, true), (vec![], vec![]));
        let wanted = "-A -t 10.0.3.2:80 -s wrr\n-a -t 10.0.3.2:80 -r 10.0.3.4:80 -m -w 3\n\
            -a -t 10.0.3.2:80 -r 10.0.3.5:80 -m\n-A -f 7 -s wlc\n-A -f 8 -s sh -b sh-port\n-a -f 8 -r 10.0.3.9";
        let changes = [
            "-E -t 10.0.3.2:80 -s wrr",
            "-e -t 10.0.3.2:80 -r 10.0.3.4:80 -m -w 3",
            "-a -t 10.0.3.2:80 -r 10.0.3.5:80 -m -w 1",
            "-d -t 10.0.3.2:80 -r 10.0.3.3:80",
            "-E -f 7 -s wlc",
            "-A -f 8 -s sh -b sh-port",
            "-a -f 8 -r 10.0.3.9:0 -g -w 1",
        ];
        let (steps, kept) = words(held, wanted, false);
        assert_eq!(
            (steps.as_slice(), kept.as_slice()),
            (&changes.map(String::from)[..], &["-u 10.0.3.2:53".to_owned()][..])
        );
        let (steps, kept) = words(held, wanted, true);
        assert_eq!((steps.last().unwrap().as_str(), kept.len()), ("-D -u 10.0.3.2:53", 0));
    }

    #[test]
    fn what_was_done_can_be_taken_back_from_any_point() {
        let held = "-A -t 10.0.3.2:80 -s rr\n-a -t 10.0.3.2:80 -r 10.0.3.3:80 -m\n-A -f 7 -s wlc\n-a -f 7 -r 10.0.3.9 -m";
        let wanted =
            "-A -t 10.0.3.2:80 -s lc\n-a -t 10.0.3.2:80 -r 10.0.3.3:80 -m -w 0\n-A -f 8 -s rr";
        let [held, wanted] = [held, wanted].map(|text| parse(text).unwrap());
        let steps = Difference::between(&held, &wanted, |_| true).steps;
        assert_eq!(steps.len(), 4);
        for done in 0..=steps.len() {
            let mut table = held.clone();
            for step in &steps[..done] {
                does(&mut table, step);
            }
            for step in steps[..done].iter().rev().flat_map(Step::inverse) {
                does(&mut table, &step);
            }
            table.sort_by_key(|entry| std::cmp::Reverse(entry.server.key));
            assert_eq!(table, held, "after {done}");
        }
    }

    /// As the kernel does it.
    fn does(table: &mut Vec<Entry>, step: &Step) {
        let at = |table: &[Entry], key: &Key| {
            table.iter().position(|entry| entry.server.key == *key).expect("it is there")
        };
        match step.clone() {
            Step::AddServer(server) => table.push(Entry { server, real_servers: Vec::new() }),
            Step::SetServer { to, .. } => {
                let at = at(table, &to.key);
                table[at].server = to;
            }
            Step::DelServer(entry) => drop(table.remove(at(table, &entry.server.key))),
            Step::AddReal(key, real) => {
                let at = at(table, &key);
                table[at].real_servers.push(real);
            }
            Step::SetReal { server, to, .. } => {
                let at = at(table, &server);
                let real =
                    table[at].real_servers.iter_mut().find(|real| real.address == to.address);
                *real.expect("it is there") = to;
            }
            Step::DelReal(key, real) => {
                let at = at(table, &key);
                table[at].real_servers.retain(|one| one.address != real.address);
            }
        }
    }
}
