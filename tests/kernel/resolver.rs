//! The resolver of a sandbox, asked as a task would, with the agent as it is and as it comes back.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{RData, Record};
use nix::sys::socket::{setsockopt, sockopt};
use swarmlb::dns::name;
use swarmlb::keeper::sockets::RESOLVER;
use swarmlb::kernel::netns;
use swarmlb::probe::resolve::{RecordType, Resolution, resolve};

use super::world::intents::Dice;
use crate::world::{Swarmlb, apart, inside, kill, within};

const SOON: Duration = Duration::from_secs(30);
const BOX: &str = "collab-box.1";

fn ask(name: &str, kind: RecordType) -> Resolution {
    let namespace = netns::open(BOX).expect("the sandbox is there");
    resolve(namespace.as_fd(), RESOLVER.into(), name, kind, SOON)
        .unwrap_or_else(|error| panic!("`{name}` {kind}: {error}"))
}

fn message(id: u16, name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = id;
    message.add_query(Query::query(name::absolute(name).expect("a name"), kind));
    message.to_vec().expect("a short query")
}

fn socket() -> UdpSocket {
    let socket = inside(BOX, || {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        socket.connect(RESOLVER)?;
        Ok::<_, std::io::Error>(socket)
    });
    socket.expect("a socket")
}

#[test]
fn every_form_of_a_name_is_answered_and_nothing_of_ours_leaves_the_node() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let line = "service create --name rr --replicas 2 --network collabnet";
        swarmlb.good(&format!("{line} --endpoint-mode dnsrr --dns-ttl 30"));
        for (name, addresses, ttl) in [
            ("collabweb", vec!["10.0.3.2"], 2),
            ("CollabWeb.collabnet", vec!["10.0.3.2"], 2),
            ("collabweb.2", vec!["10.0.3.4"], 2),
            ("tasks.collabweb", vec!["10.0.3.3", "10.0.3.4", "10.0.3.5"], 2),
            ("rr", vec!["10.0.3.8", "10.0.3.9"], 30),
            ("tasks.rr.collabnet", vec!["10.0.3.8", "10.0.3.9"], 30),
        ] {
            let found = ask(name, RecordType::A);
            let mut got: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
            got.sort();
            assert_eq!(
                (got, found.ttl),
                (addresses.iter().map(|a| (*a).into()).collect(), Some(ttl))
            );
            assert!(ask(name, RecordType::AAAA).addresses.is_empty(), "{name}");
        }
        for (address, name) in [("10.0.3.2", "collabweb.collabnet"), ("10.0.3.9", "rr.2.collabnet")]
        {
            assert_eq!(ask(address, RecordType::PTR).names, [name]);
        }
        // Nobody can be asked from in here, so whatever were forwarded would be SERVFAIL.
        for (name, kind, code) in [
            ("collabweb", RecordType::MX, ResponseCode::NoError),
            ("10.0.3.77", RecordType::PTR, ResponseCode::NXDomain),
            ("collabweb.9", RecordType::A, ResponseCode::NXDomain),
            ("_http._tcp.collabweb", RecordType::SRV, ResponseCode::NXDomain),
        ] {
            let found = ask(name, kind);
            assert_eq!((found.code, found.authoritative), (code, true), "{name} {kind}");
        }
        let begun = Instant::now();
        assert_eq!(ask("elsewhere.example", RecordType::A).code, ResponseCode::ServFail);
        assert!(begun.elapsed() < Duration::from_secs(1), "after {:?}", begun.elapsed());
        let socket = socket();
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        socket.send(&message(7, "_80._tcp.tasks.collabweb", RecordType::SRV)).expect("sent");
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("a reply");
        let reply = Message::from_vec(&buffer[..length]).expect("a DNS message");
        let target = |record: &Record| match &record.data {
            RData::SRV(srv) => (srv.target.to_string(), srv.port),
            other => panic!("{other}"),
        };
        let found: BTreeSet<(String, u16)> = reply.answers.iter().map(target).collect();
        let expected = [1, 2, 3].map(|slot| (format!("collabweb.{slot}."), 80));
        assert_eq!(found, BTreeSet::from(expected));
        assert_eq!(reply.additionals.len(), 3);
        let said = swarmlb.ending("service create --name long --dns-ttl 3601", 2).1;
        assert!(said.contains("a DNS TTL of 3601 seconds is too long: at most 3600"), "{said}");
        swarmlb.reset();
    });
}

/// How often the agent is killed.
const KILLS: usize = 20;
/// Queries a second.
const PACE: u64 = 1000;

#[test]
fn an_agent_that_is_killed_again_and_again_loses_no_query() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let socket = Arc::new(socket());
        // All that waited is answered at once.
        setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).expect("room for answers");
        let over = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicUsize::new(usize::MAX));
        let asking = {
            let (socket, over) = (Arc::clone(&socket), Arc::clone(&over));
            std::thread::spawn(move || ask_steadily(&socket, &over))
        };
        let hearing = {
            let socket = Arc::clone(&socket);
            let asked = Arc::clone(&asked);
            std::thread::spawn(move || hear_all(&socket, &asked))
        };
        let seed = 0x0d15_ea5e;
        println!("seed {seed:#x}");
        let mut dice = Dice(seed);
        let mut before = None;
        let mut longest = Duration::ZERO;
        for _ in 0..KILLS {
            let begun = Instant::now();
            let agent = within(
                "another agent is there",
                SOON,
                || swarmlb.role("agent"),
                |agent| agent.is_some() && *agent != before,
            );
            longest = longest.max(begun.elapsed());
            // At some moment of its life, which is what this is about: young or at work.
            std::thread::sleep(Duration::from_micros(dice.below(60_000) as u64));
            kill(agent.expect("an agent"));
            before = agent;
        }
        swarmlb.whole(Duration::from_secs(30));
        over.store(true, Ordering::Relaxed);
        let ids = asking.join().expect("the asking thread ends");
        asked.store(ids.len(), Ordering::Relaxed);
        let heard = hearing.join().expect("the hearing thread ends");
        let lost: Vec<&u16> = ids.difference(&heard).collect();
        println!("{} queries, {KILLS} kills, {} lost, {longest:?} longest", ids.len(), lost.len());
        assert!(ids.len() > 1000, "too few queries: {}", ids.len());
        assert!(lost.is_empty(), "lost: {lost:?}");
        swarmlb.reset();
    });
}

/// Asks at a steady pace, never twice; every tenth question is nobody's, and SERVFAIL its answer.
fn ask_steadily(socket: &UdpSocket, over: &AtomicBool) -> BTreeSet<u16> {
    let begun = Instant::now();
    let mut asked = BTreeSet::new();
    for id in 0..u16::MAX {
        let name = if id % 10 == 0 { "elsewhere.example" } else { "tasks.collabweb" };
        socket.send(&message(id, name, RecordType::A)).expect("the socket takes it");
        asked.insert(id);
        if over.load(Ordering::Relaxed) {
            return asked;
        }
        let due = Duration::from_secs(1) * u32::from(id) / PACE as u32;
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    panic!("the IDs are used up");
}

/// Every ID that was answered, until all were or nothing came for long.
fn hear_all(socket: &UdpSocket, asked: &AtomicUsize) -> BTreeSet<u16> {
    let mut heard = BTreeSet::new();
    let mut buffer = [0; 4096];
    let mut last = Instant::now();
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    while heard.len() < asked.load(Ordering::Relaxed) && last.elapsed() < SOON {
        if let Ok(length) = socket.recv(&mut buffer) {
            assert!(length >= 12, "a reply of {length} bytes");
            heard.insert(u16::from_be_bytes([buffer[0], buffer[1]]));
            last = Instant::now();
        }
    }
    heard
}
