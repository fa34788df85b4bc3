//! The probe inside a namespace, where a resolver serves `127.0.0.11:53` as in a sandbox.
//!
//! Needs root. Without it these say so and pass, unless `SWARMLB_TEST_REQUIRE` names `root`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use nix::sched::{CloneFlags, unshare};
use swarmlb::dns::forwarder::{ForwardError, Forwarder, UpstreamError};
use swarmlb::dns::server::{Resolver, Shared};
use swarmlb::kernel::netns;
use swarmlb::node::zone::Zone;
use swarmlb::probe::resolve::{Client, RecordType, Resolution, ResolveError, Transport, resolve};
use tokio::sync::{oneshot, watch};

use crate::fixture::{Upstream, answered, crowded, cut, seat, zone};

const WAIT: Duration = Duration::from_secs(4);

fn server() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 11], 53))
}

/// A namespace with nothing but loopback; `None` without the privilege to make one.
fn sandbox() -> Option<File> {
    let made = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        assert!(up.success());
        netns::current()
    });
    match made.join().unwrap() {
        Ok(namespace) => Some(namespace),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let required = std::env::var("SWARMLB_TEST_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|what| what == "root"), "no root");
            eprintln!("skipped: making a network namespace needs root");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn sockets(namespace: &File) -> (UdpSocket, TcpListener) {
    netns::within(namespace.as_fd(), || {
        let udp = UdpSocket::bind(server()).unwrap();
        (udp, TcpListener::bind(server()).unwrap())
    })
    .unwrap()
}

/// A resolver inside a namespace, on a thread of its own, with a name server on our side.
struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    fn start(namespace: &File, zone: Zone) -> Self {
        let (udp, tcp) = sockets(namespace);
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let upstream = Upstream::answering([192, 0, 2, 99]).await;
                let shared = Shared::new(Forwarder::to(vec![upstream.address])).unwrap();
                let (_zones, watched) = watch::channel(Arc::new(zone));
                let _resolver = Resolver::serve(seat(udp, tcp), watched, Arc::new(shared)).unwrap();
                ready.send(()).unwrap();
                let _ = stopped.await;
            });
        });
        started.recv().unwrap();
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A name server inside a namespace that answers each query with the messages a script makes of it,
/// and ends with its last query.
fn scripted(
    socket: UdpSocket,
    queries: usize,
    mut script: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        socket.set_read_timeout(Some(WAIT * 2)).unwrap();
        for _ in 0..queries {
            let (length, client) = socket.recv_from(&mut buffer).unwrap();
            for reply in script(buffer.get(..length).unwrap()) {
                socket.send_to(&reply, client).unwrap();
            }
        }
    })
}

fn ask(namespace: &File, name: &str, kind: RecordType) -> Result<Resolution, ResolveError> {
    resolve(namespace.as_fd(), server(), name, kind, WAIT)
}

#[test]
fn a_sandbox_resolves_its_services_and_forwards_the_rest_to_the_node() {
    let Some(namespace) = sandbox() else { return };
    let mut zone = zone(&[("tasks.web", &["10.0.1.3", "10.0.1.4", "fd00::3"])]);
    for name in ["web.1.blue", "web.1"] {
        zone.point(IpAddr::from([10, 0, 1, 3]), 2, Some(name));
    }
    let _serving = Serving::start(&namespace, zone);
    let found = ask(&namespace, "Tasks.Web.", RecordType::A).unwrap();
    let expected: [IpAddr; 2] = [[10, 0, 1, 3].into(), [10, 0, 1, 4].into()];
    assert_eq!(found.addresses, expected);
    assert_eq!((found.ttl, found.authoritative), (Some(2), true));
    assert_eq!(found.verdict(), "NOERROR");
    assert_eq!(found.transport, Transport::Udp);
    assert!(found.elapsed > Duration::ZERO && found.elapsed < WAIT);
    let sixth = ask(&namespace, "tasks.web", RecordType::AAAA).unwrap();
    assert_eq!(sixth.addresses, ["fd00::3".parse::<IpAddr>().unwrap()]);
    let names = ask(&namespace, "10.0.1.3", RecordType::PTR).unwrap();
    assert_eq!(names.names, ["web.1.blue", "web.1"]);
    let nodata = ask(&namespace, "tasks.web", RecordType::MX).unwrap();
    assert_eq!((nodata.code, nodata.ttl), (ResponseCode::NoError, None));
    assert!(nodata.authoritative);
    let outside = ask(&namespace, "elsewhere", RecordType::A).unwrap();
    assert_eq!(outside.addresses, [IpAddr::from([192, 0, 2, 99])]);
    assert!(!outside.authoritative);
}

#[test]
fn a_cut_reply_is_completed_by_tcp_inside_the_namespace() {
    let Some(namespace) = sandbox() else { return };
    let _serving = Serving::start(&namespace, crowded());
    let found = ask(&namespace, "tasks.big", RecordType::A).unwrap();
    assert_eq!(found.transport, Transport::Tcp);
    assert_eq!(found.addresses.len(), 300);
}

#[test]
fn one_client_asks_thousands_of_times_and_sees_every_turn() {
    let Some(namespace) = sandbox() else { return };
    let tasks = zone(&[("tasks.web", &["10.0.1.3", "10.0.1.4", "10.0.1.5"])]);
    let _serving = Serving::start(&namespace, tasks);
    let mut client = Client::open(namespace.as_fd(), server(), WAIT).unwrap();
    let mut firsts = std::collections::BTreeMap::new();
    for _ in 0..3000 {
        let found = client.lookup("tasks.web", RecordType::A).unwrap();
        assert_eq!(found.addresses.len(), 3);
        let first = found.addresses.first().copied().unwrap();
        *firsts.entry(first).or_insert(0) += 1;
    }
    assert!(firsts.values().all(|&count| count == 1000), "{firsts:?}");
}

#[test]
fn nobody_listening_is_told_from_silence() {
    let Some(namespace) = sandbox() else { return };
    let began = Instant::now();
    let refused = ask(&namespace, "web", RecordType::A).unwrap_err();
    let expected = Transport::Udp;
    assert!(matches!(refused, ResolveError::Refused { transport, .. } if transport == expected));
    assert!(began.elapsed() < Duration::from_secs(1));
    let (udp, _tcp) = sockets(&namespace);
    let short = Duration::from_millis(200);
    let began = Instant::now();
    let silent = resolve(namespace.as_fd(), server(), "web", RecordType::A, short).unwrap_err();
    assert!(matches!(silent, ResolveError::TimedOut { waited, .. } if waited >= short));
    assert!(began.elapsed() < Duration::from_secs(1));
    // Both tries arrived.
    let mut buffer = [0; 512];
    udp.set_nonblocking(true).unwrap();
    assert!(udp.recv(&mut buffer).is_ok() && udp.recv(&mut buffer).is_ok());
    assert!(udp.recv(&mut buffer).is_err());
}

#[test]
fn a_cut_reply_without_tcp_is_refused_there() {
    let Some(namespace) = sandbox() else { return };
    let (udp, tcp) = sockets(&namespace);
    drop(tcp);
    let served = scripted(udp, 1, |query| vec![cut(query)]);
    let refused = ask(&namespace, "web", RecordType::A).unwrap_err();
    let expected = Transport::Tcp;
    assert!(matches!(refused, ResolveError::Refused { transport, .. } if transport == expected));
    served.join().unwrap();
}

#[test]
fn a_tcp_server_that_drips_is_given_up_in_time() {
    let Some(namespace) = sandbox() else { return };
    let (udp, tcp) = sockets(&namespace);
    let served = scripted(udp, 1, |query| vec![cut(query)]);
    let dripping = std::thread::spawn(move || {
        let (mut stream, _) = tcp.accept().unwrap();
        let mut query = [0; 64];
        let _ = stream.read(&mut query).unwrap();
        let mut sent = stream.write_all(&[0xff, 0xff]);
        while sent.is_ok() {
            std::thread::sleep(Duration::from_millis(20));
            sent = stream.write_all(&[0]);
        }
    });
    let began = Instant::now();
    let short = Duration::from_millis(500);
    let error = resolve(namespace.as_fd(), server(), "web", RecordType::A, short).unwrap_err();
    let expected = Transport::Tcp;
    assert!(matches!(error, ResolveError::TimedOut { transport, .. } if transport == expected));
    assert!(began.elapsed() < Duration::from_secs(2));
    served.join().unwrap();
    dripping.join().unwrap();
}

#[test]
fn a_lost_question_is_sent_again_and_a_late_answer_passed_over() {
    let Some(namespace) = sandbox() else { return };
    let (udp, _tcp) = sockets(&namespace);
    let mut late: Option<Vec<u8>> = None;
    let served = scripted(udp, 2, move |query| match late.take() {
        None => {
            let mut other = Message::from_vec(query).unwrap();
            other.metadata.id ^= 0x0101;
            late = Some(answered(&other.to_vec().unwrap(), [203, 0, 113, 9]));
            Vec::new()
        }
        Some(late) => vec![late, answered(query, [192, 0, 2, 1])],
    });
    let short = Duration::from_secs(1);
    let found = resolve(namespace.as_fd(), server(), "web", RecordType::A, short).unwrap();
    assert_eq!(found.addresses, [IpAddr::from([192, 0, 2, 1])]);
    assert!(found.elapsed >= short / 2);
    served.join().unwrap();
}

#[test]
fn an_unreadable_reply_is_malformed() {
    let Some(namespace) = sandbox() else { return };
    let (udp, _tcp) = sockets(&namespace);
    let served = scripted(udp, 1, |query| {
        let mut reply = answered(query, [192, 0, 2, 1]);
        reply.truncate(reply.len() - 2);
        vec![reply]
    });
    let error = ask(&namespace, "web", RecordType::A).unwrap_err();
    assert!(matches!(error, ResolveError::Malformed { .. }), "{error}");
    served.join().unwrap();
}

/// A node's namespace whose way to 192.0.2.0/24 leads through a router that knows no way there.
fn cut_off() -> Option<[File; 2]> {
    let pair = [sandbox()?, sandbox()?];
    let within = |namespace: &File, line: &str| {
        netns::within(namespace.as_fd(), || {
            let done = Command::new("sh").args(["-ec", line]).status().unwrap();
            assert!(done.success(), "{line}");
        })
        .unwrap();
    };
    let [node, router] = &pair;
    let other = format!("/proc/{}/fd/{}", std::process::id(), router.as_fd().as_raw_fd());
    within(node, &format!("ip link add up0 type veth peer name down0 netns {other}"));
    within(node, "ip addr add 198.51.100.1/30 dev up0; ip link set up0 up");
    within(router, "ip addr add 198.51.100.2/30 dev down0; ip link set down0 up");
    within(router, "ip route add unreachable 192.0.2.0/24");
    within(router, "echo 1 >/proc/sys/net/ipv4/ip_forward");
    within(node, "ip route add 192.0.2.0/24 via 198.51.100.2");
    Some(pair)
}

#[test]
fn name_servers_out_of_reach_fail_at_once_and_not_after_a_timeout() {
    let Some([node, _router]) = cut_off() else { return };
    // Behind a router that says so, and without any way at all.
    for upstreams in [vec!["192.0.2.1:53", "192.0.2.2:53"], vec!["203.0.113.1:53"]] {
        let upstreams: Vec<SocketAddr> =
            upstreams.iter().map(|text| text.parse().unwrap()).collect();
        let (asked, began) = (upstreams.len(), Instant::now());
        let failure = netns::within(node.as_fd(), || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let query = crate::fixture::query("elsewhere", RecordType::A).to_vec().unwrap();
                Forwarder::to(upstreams).forward(&query, Transport::Udp).await.unwrap_err()
            })
        })
        .unwrap();
        assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
        let ForwardError::NoAnswer { asked: found, last: UpstreamError::Io(last), .. } = failure
        else {
            panic!("{failure}")
        };
        let kinds = [io::ErrorKind::HostUnreachable, io::ErrorKind::NetworkUnreachable];
        assert!(found == asked && kinds.contains(&last.kind()), "{last}");
    }
}

#[test]
fn what_is_no_name_and_what_is_no_namespace_is_refused() {
    let Some(namespace) = sandbox() else { return };
    let error = ask(&namespace, "a..b", RecordType::A).unwrap_err();
    assert!(matches!(error, ResolveError::Name { .. }), "{error}");
    let file = File::open("/dev/null").unwrap();
    let error = resolve(file.as_fd(), server(), "web", RecordType::A, WAIT).unwrap_err();
    assert!(matches!(error, ResolveError::Io { .. }), "{error}");
}

#[test]
fn an_endless_timeout_does_not_overflow() {
    let Some(namespace) = sandbox() else { return };
    let found = resolve(namespace.as_fd(), server(), "web", RecordType::A, Duration::MAX);
    assert!(matches!(found, Err(ResolveError::Refused { .. })));
}
