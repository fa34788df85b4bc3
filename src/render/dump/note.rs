//! What the addresses and marks of a line belong to, behind a `#`.

use crate::dump::names::{Marked, Names, address_in, mark_in};

/// More tasks than this are counted instead of named.
const NAMED_TASKS: usize = 4;

/// The line, and behind it what its addresses and marks belong to.
pub fn annotate(line: &str, names: &Names) -> String {
    let mut marks: Vec<&Marked> = Vec::new();
    let mut addresses: Vec<&str> = Vec::new();
    for word in line.split(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c))) {
        if let Some(marked) = mark_in(word).and_then(|mark| names.mark(mark)) {
            marks.push(marked);
        } else if let Some(address) = address_in(word)
            && let Some(name) = names.address(address)
            // Where a mark tells the service, its VIP in the same line tells nothing more.
            && !marks.iter().any(|marked| marked.vip == Some(address))
        {
            addresses.push(name);
        }
    }
    let own = |name: &&str| !marks.iter().any(|marked| Some(*name) == vip_name(marked, names));
    addresses.retain(own);
    let mut notes: Vec<String> = Vec::new();
    let words = |marked: &&Marked| match addresses.is_empty() {
        true => with_tasks(marked),
        false => of_mark(marked),
    };
    for note in marks.iter().map(words).chain(addresses.iter().map(ToString::to_string)) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    if notes.is_empty() { line.to_owned() } else { format!("{line}  # {}", notes.join(", ")) }
}

fn vip_name<'a>(marked: &Marked, names: &'a Names) -> Option<&'a str> {
    names.address(marked.vip?)
}

/// What a mark is for: the service, or at least the VIP.
pub fn of_mark(marked: &Marked) -> String {
    match (&marked.service, marked.vip) {
        (Some(service), _) => service.clone(),
        (None, Some(vip)) => format!("VIP {vip}"),
        (None, None) => "a virtual server here".into(),
    }
}

fn with_tasks(marked: &Marked) -> String {
    let noun = if marked.service.is_some() { "task" } else { "real server" };
    let (what, tasks) = (of_mark(marked), &marked.tasks);
    let named = tasks.iter().take(NAMED_TASKS).cloned().collect::<Vec<_>>().join(" ");
    match tasks.len() {
        0 => format!("{what}, no {noun}s"),
        1 => format!("{what}, {noun} {named}"),
        n if n <= NAMED_TASKS => format!("{what}, {noun}s {named}"),
        n => format!("{what}, {noun}s {named} and {} more", n - NAMED_TASKS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::docker::tests::config;
    use crate::dump::iptables;
    use crate::dump::{Contents, Iptables, Part, docker, ipvs};
    use crate::intent::tests::story;
    use crate::kernel::ipvs::wire;
    use crate::node::Entry;

    #[test]
    fn lines_are_annotated_with_services_and_tasks() {
        let names = Names::of(&story());
        let lines = [
            "meta mark set 0x00000100",
            "10.0.3.2 : 0x00000100",
            "ip daddr 10.0.3.3 accept",
            "-A OUTPUT -d 127.0.0.11/32 -p udp -j DNAT --to-destination 127.0.0.11:5353",
            "tcp 10.0.3.3:4711 -> 10.0.3.2:80 => 10.0.3.4:80",
            "to 10.0.3.0/24 and 0xffffffff and 10.0.3.1.",
            "nothing 1.2.3 10.0.33.2",
        ];
        let used = names.used_in("[3:180] -d 10.0.3.2/32 --set-xmark 0x100/0xffffffff");
        assert_eq!(annotate(lines[1], &used), annotate(lines[1], &names));
        assert_eq!(annotate(lines[2], &used), lines[2]);
        let annotated: Vec<String> = lines.iter().map(|line| annotate(line, &names)).collect();
        insta::assert_snapshot!(annotated.join("\n"), @r"
        meta mark set 0x00000100  # service collabweb (network collabnet), tasks collabweb.1 collabweb.2 collabweb.3
        10.0.3.2 : 0x00000100  # service collabweb (network collabnet), tasks collabweb.1 collabweb.2 collabweb.3
        ip daddr 10.0.3.3 accept  # collabweb.1
        -A OUTPUT -d 127.0.0.11/32 -p udp -j DNAT --to-destination 127.0.0.11:5353  # resolver
        tcp 10.0.3.3:4711 -> 10.0.3.2:80 => 10.0.3.4:80  # collabweb.1, VIP of collabweb, collabweb.2
        to 10.0.3.0/24 and 0xffffffff and 10.0.3.1.  # gateway of collabnet
        nothing 1.2.3 10.0.33.2
        ");
    }

    /// A sandbox that balances a Docker network, as it was recorded from Docker 20.10.
    #[test]
    fn dockers_marks_are_known_by_their_virtual_servers() {
        let key = wire::Key::Fwmark { mark: 0x100, family: wire::Family::V4 };
        let real =
            |last| wire::RealServer::new([10, 0, 3, last].into(), 0, wire::Forwarding::Masquerade);
        let server = |key, reals: &[u8]| {
            ipvs::Server::from(&Entry {
                server: wire::VirtualServer::new(key, "rr".parse().unwrap()),
                real_servers: reals.iter().map(|last| real(*last)).collect(),
            })
        };
        let other = wire::Key::Fwmark { mark: 0x102, family: wire::Family::V4 };
        let saved = "*mangle\n:INPUT ACCEPT [0:0]\n\
             -A INPUT -d 10.0.3.2/32 -j MARK --set-xmark 0x100/0xffffffff\n\
             -A INPUT -d 10.0.3.7/32 -j MARK --set-xmark 0x102/0xffffffff\nCOMMIT\n";
        let contents = Contents {
            ipvs: Some(Part::Read(vec![server(key, &[3, 4, 5]), server(other, &[8])])),
            iptables: [(Iptables::Legacy, Part::Read(iptables::parse(saved)))].into(),
            ..Contents::default()
        };
        let container = |slot: &str, last: u8| {
            docker::parse(&config(slot, slot, slot, &format!("10.0.3.{last}"))).unwrap()
        };
        let containers = [container("web.1", 3), container("web.2", 4), container("web.3", 5)];
        let mut names = Names::default();
        names.add_containers(&containers);
        names.learn(&contents, &containers);
        let lines = [
            "INPUT -d 10.0.3.2/32 -j MARK 0x100",
            "-d 10.0.3.7/32 MARK 0x102",
            "10.0.3.2 10.0.3.4",
        ];
        let annotated: Vec<String> = lines.iter().map(|line| annotate(line, &names)).collect();
        insta::assert_snapshot!(annotated.join("\n"), @r"
        INPUT -d 10.0.3.2/32 -j MARK 0x100  # Docker service web, tasks web.1 web.2 web.3
        -d 10.0.3.7/32 MARK 0x102  # VIP 10.0.3.7, real server 10.0.3.8
        10.0.3.2 10.0.3.4  # VIP of Docker service web, web.2
        ");
    }
}
