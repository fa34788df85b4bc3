//! Encrypted networks between two nodes as a real kernel has them: what is on the wire, what is dropped,
//! and keys that are rotated under a stream.
//!
//! Node 1 is the machine itself, node 2 a namespace; a veth pair is the wire. What a capture sees on it
//! is what anybody between two machines would.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, bind, recvfrom, setsockopt, socket, sockopt,
};
use swarmlb::agent::associations::nonce;
use swarmlb::intent::{ClusterId, Intent, Machine, NetworkSpec, NodeName, NodeRecord, ServiceSpec};
use swarmlb::kernel::linux::{Linux, NoProcesses};
use swarmlb::kernel::{Kernel, Scope, carry_out, netns};
use swarmlb::lower::key::Keyring;
use swarmlb::lower::lower;
use swarmlb::node::{LinkKind, Node, Sandbox, SandboxName};
use swarmlb::plan::Plan;

use crate::with_ipvs;
use crate::world::{inside, shell, within, without_processes};

/// What is never to be seen on the wire.
const MARKER: &[u8] = b"in clear text for all to read";
const PORT: u16 = 7000;
const SECONDS: Duration = Duration::from_secs(10);
/// How long what is dropped is waited for.
const SILENCE: Duration = Duration::from_millis(700);
const ESP: u8 = 50;
const UDP: u8 = 17;

fn cluster() -> ClusterId {
    ClusterId("c1".into())
}

fn name(number: u8) -> NodeName {
    format!("node-{number}").parse().expect("a name")
}

fn keyring(number: u8) -> Keyring {
    Keyring::new([number * 16; 32])
}

/// Two nodes with a task of an encrypted network on each.
fn intent() -> Intent {
    let mut intent = Intent::new(cluster());
    for number in 1..=2 {
        let mut record = NodeRecord::new(name(number), false);
        record.address = Some([192, 0, 2, number].into());
        intent.nodes.insert(name(number), record);
        let key = keyring(number).public_key();
        intent.settle_encryption(&name(number), Ok(()), key, nonce().expect("random bytes"), 0);
    }
    let spec = NetworkSpec {
        encrypted: true,
        internal: true,
        subnets: vec!["10.0.3.0/24".parse().expect("a subnet")],
        ..NetworkSpec::new("blue".parse().expect("a name"))
    };
    intent.create_network(spec, "id".into(), &Machine::default()).expect("a network");
    let network = "blue".parse().expect("a name");
    let service = ServiceSpec::new("web".parse().expect("a name"), network);
    intent.create_service(ServiceSpec { replicas: 2, ..service }, "id".into(), 0).expect("tasks");
    intent
}

fn address(intent: &Intent, task: &str) -> Ipv4Addr {
    intent.tasks[&task.parse().expect("a name")].endpoints[0].address
}

/// Two nodes on one machine.
struct World {
    intent: Intent,
    held: BTreeMap<u8, Node>,
    second: SandboxName,
}

impl World {
    fn new() -> Self {
        shell(
            "ip netns add second && ip link add wire1 type veth peer wire2 netns second && \
             ip address add 192.0.2.1/24 dev wire1 && ip link set wire1 up && \
             ip -n second address add 192.0.2.2/24 dev wire2 && ip -n second link set wire2 up && \
             ip -n second link set lo up",
        );
        let file = netns::open("second").expect("it is there");
        let identity = netns::identity(&file).expect("it has one");
        let second = SandboxName(format!("@{}/{identity}/run/netns/second", cluster()).into());
        let held = [(1, Node::default()), (2, Node::default())].into();
        let mut world = Self { intent: intent(), held, second };
        world.settle(&[1, 2]);
        world
    }

    /// What a node shall hold, with its keys; of the second, under names of its own.
    fn desired(&self, number: u8) -> Node {
        let mut desired = without_processes(lower(&self.intent, &name(number)));
        keyring(number).complete(&self.intent, &name(number), &mut desired);
        match number {
            1 => desired,
            _ => self.renamed(desired),
        }
    }

    fn renamed(&self, node: Node) -> Node {
        let rename = |name: SandboxName| match name.as_str() {
            "@c1" => self.second.clone(),
            "blue" => SandboxName("blue.2".into()),
            _ => name,
        };
        let sandboxes = node.sandboxes.into_iter().map(|(name, mut sandbox)| {
            for link in sandbox.links.values_mut() {
                if let LinkKind::Veth { peer: Some(peer) } = &mut link.kind {
                    peer.sandbox = rename(peer.sandbox.clone());
                }
            }
            (rename(name), sandbox)
        });
        Node { sandboxes: sandboxes.collect() }
    }

    /// Makes nodes what the intent says, in that order.
    fn settle(&mut self, numbers: &[u8]) {
        for number in numbers {
            let desired = self.desired(*number);
            self.become_node(*number, &desired);
        }
    }

    fn become_node(&mut self, number: u8, desired: &Node) {
        let held = self.held[&number].clone();
        let plan = Plan::between(&held, desired);
        let carried = || {
            carry_out(&mut Linux::new(NoProcesses), held, &plan)
                .unwrap_or_else(|refused| panic!("refused: {} ({refused:?})", refused.op))
        };
        let held = match number {
            1 => carried(),
            _ => inside("second", carried),
        };
        self.held.insert(number, held);
    }

    /// What the first node's own namespace holds, read anew, without what stays there for others: the
    /// virtual machine is one world for all tests.
    fn home(&self) -> Sandbox {
        let name = SandboxName::of_node(&cluster());
        let scope = Scope::Only(vec![name.clone()]);
        let mut node = Linux::new(NoProcesses).observe(&scope).expect("it can be read");
        let mut home = node.sandboxes.remove(&name).unwrap_or_default();
        home.sysctls.retain(|sysctl, _| !sysctl.stays());
        home
    }

    /// Reads the first node anew and mends what somebody changed.
    fn mend(&mut self) {
        let name = SandboxName::of_node(&cluster());
        let home = self.home();
        self.held.entry(1).and_modify(|held| drop(held.sandboxes.insert(name, home)));
        self.settle(&[1]);
    }

    fn end(mut self) {
        let shaped = self.home();
        assert_eq!(shaped, self.desired(1).sandboxes[&SandboxName::of_node(&cluster())]);
        self.become_node(1, &Node::default());
        self.become_node(2, &Node::default());
        assert_eq!(self.home(), Sandbox::default());
        assert_eq!(shell("ip xfrm state; ip xfrm policy; ip -n second xfrm state"), "");
        shell("ip link del wire1; ip netns del second");
    }
}

/// Hears every packet on the wire.
struct Capture(OwnedFd);

impl Capture {
    fn new() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let all = SockProtocol::EthAll;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, all).expect("a listener");
        setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20)).expect("a large buffer");
        let index = nix::net::if_::if_nametoindex("wire1").expect("the wire");
        let mut at: nix::libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        at.sll_family = nix::libc::AF_PACKET as u16;
        at.sll_protocol = (nix::libc::ETH_P_ALL as u16).to_be();
        at.sll_ifindex = index as i32;
        let length = size_of::<nix::libc::sockaddr_ll>() as u32;
        let link = unsafe {
            <nix::sys::socket::LinkAddr as nix::sys::socket::SockaddrLike>::from_raw(
                std::ptr::from_ref(&at).cast(),
                Some(length),
            )
        };
        bind(socket.as_raw_fd(), &link.expect("an address")).expect("bound to the wire");
        Self(socket)
    }

    /// The IPv4 packets since the last look.
    fn packets(&self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut buffer = vec![0; 65_536];
        loop {
            match recvfrom::<()>(self.0.as_raw_fd(), &mut buffer) {
                Ok((length, _)) if length > 34 && buffer[12..14] == [8, 0] => {
                    packets.push(buffer[14..length].to_vec());
                }
                Ok(_) => {}
                Err(Errno::EAGAIN) => return packets,
                Err(errno) => panic!("{errno}"),
            }
        }
    }
}

fn protocols(packets: &[Vec<u8>]) -> BTreeSet<u8> {
    packets.iter().map(|packet| packet[9]).collect()
}

fn tells_the_marker(packets: &[Vec<u8>]) -> bool {
    let tells = |packet: &[u8]| packet.windows(MARKER.len()).any(|part| part == MARKER);
    packets.iter().any(|packet| tells(packet))
}

/// The numbers of the states that packets to the second node were sent under.
fn spis(packets: &[Vec<u8>]) -> BTreeSet<u32> {
    let sent = packets.iter().filter(|p| p[9] == ESP && p[16..20] == [192, 0, 2, 2]);
    sent.map(|p| u32::from_be_bytes(p[20..24].try_into().expect("four bytes"))).collect()
}

/// Takes what comes for a task, until it is dropped.
fn receiver(task: &str) -> UdpSocket {
    let socket = inside(task, || UdpSocket::bind(("0.0.0.0", PORT))).expect("a free port");
    setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).expect("a large buffer");
    socket
}

/// Whether a datagram with the marker goes from the first task to the second.
fn arrives(world: &World, receiver: &UdpSocket, patience: Duration) -> bool {
    let to = address(&world.intent, "web.2");
    let sender = inside("web.1", || UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    receiver.set_read_timeout(Some(patience)).expect("a timeout");
    let sent = sender.send_to(MARKER, (to, PORT));
    let mut buffer = [0; 64];
    match receiver.recv_from(&mut buffer) {
        Ok((length, _)) => {
            assert_eq!(&buffer[..length], MARKER);
            sent.is_ok()
        }
        Err(_) => false,
    }
}

#[test]
fn between_nodes_all_is_esp_and_what_would_be_in_clear_text_is_dropped_on_both_sides() {
    with_ipvs(|| {
        swarmlb::kernel::xfrm::can_encrypt().expect("this kernel encrypts");
        let mut world = World::new();
        let receiver = receiver("web.2");
        let capture = Capture::new();
        for _ in 0..3 {
            assert!(arrives(&world, &receiver, SECONDS));
        }
        let seen = capture.packets();
        assert_eq!(protocols(&seen), [ESP].into());
        assert!(!tells_the_marker(&seen) && seen.len() >= 3, "{}", seen.len());
        assert_eq!(spis(&seen).len(), 1);

        shell("ip xfrm policy flush");
        assert!(!arrives(&world, &receiver, SILENCE));
        assert_eq!(capture.packets(), Vec::<Vec<u8>>::new(), "nothing leaves");
        world.mend();
        assert!(arrives(&world, &receiver, SECONDS));
        assert_eq!(protocols(&capture.packets()), [ESP].into());

        // Without what keeps it in, clear text leaves, and is not taken in.
        shell("ip xfrm policy flush; nft flush chain ip swarmlb-c1 esp-out-4097");
        assert!(!arrives(&world, &receiver, SILENCE));
        let seen = capture.packets();
        assert!(tells_the_marker(&seen) && protocols(&seen).contains(&UDP), "the test sees it");
        let counted = "ip netns exec second nft list chain ip swarmlb-c1 esp-in-4097";
        assert!(shell(counted).contains("counter packets 1 "), "{}", shell(counted));
        world.mend();
        assert!(arrives(&world, &receiver, SECONDS));
        assert!(!tells_the_marker(&capture.packets()));
        drop(receiver);
        world.end();
    });
}

#[test]
fn keys_are_rotated_under_a_stream_and_no_datagram_is_lost() {
    with_ipvs(|| {
        let mut world = World::new();
        let receiver = receiver("web.2");
        let sender = inside("web.1", || UdpSocket::bind("0.0.0.0:0")).expect("a socket");
        sender.connect((address(&world.intent, "web.2"), PORT)).expect("a peer");
        let capture = Capture::new();
        let (stop, count) = (AtomicBool::new(false), AtomicU32::new(0));
        let (stopped, sent) = (&stop, &count);
        std::thread::scope(|scope| {
            let stream = scope.spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let number = sent.load(Ordering::Relaxed);
                    let datagram = [&number.to_be_bytes()[..], MARKER].concat();
                    sender.send(&datagram).expect("it is sent");
                    sent.store(number + 1, Ordering::Release);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            // Whatever happens here, the stream ends.
            let stop = StopAtTheEnd(&stop);
            let goes_on = |by: u32| {
                let from = sent.load(Ordering::Acquire);
                let now = || sent.load(Ordering::Acquire);
                within("the stream goes on", SECONDS, now, |now| *now >= from + by);
            };
            for round in 0..2 {
                goes_on(20);
                let before = spis(&capture.packets());
                assert_eq!(before.len(), 1, "one key at a time");
                let blue = "blue".parse().expect("a name");
                world.intent.rotate_keys(&blue, nonce().expect("random bytes"), 0).expect("it can");
                // Whoever is first, each step is done by all before the next.
                let order = if round == 0 { [1, 2] } else { [2, 1] };
                world.settle(&order);
                goes_on(20);
                for number in order {
                    assert!(world.intent.turn_life(&name(number)));
                    for node in order {
                        world.settle(&[node]);
                        goes_on(5);
                    }
                }
                goes_on(20);
                let after = spis(&capture.packets());
                assert!(after.len() > 1, "{after:?}");
                for number in order {
                    assert!(world.intent.forget_life(&name(number)));
                }
                world.settle(&order);
                goes_on(20);
                let last = spis(&capture.packets());
                assert!(last.len() == 1 && last.is_disjoint(&before), "{before:?} {last:?}");
            }
            drop(stop);
            stream.join().expect("it ends");
        });
        let mut missing: BTreeSet<u32> = (0..count.into_inner()).collect();
        let total = missing.len();
        receiver.set_read_timeout(Some(SECONDS)).expect("a timeout");
        let mut buffer = [0; 64];
        while !missing.is_empty() {
            match receiver.recv(&mut buffer) {
                Ok(_) => {
                    let number = buffer.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
                    assert!(missing.remove(&number.expect("a number")), "one came twice");
                }
                Err(_) => panic!("of {total} datagrams {missing:?} were lost"),
            }
        }
        println!("{total} datagrams, none lost");
        drop(receiver);
        world.end();
    });
}

struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_node_that_left_is_revoked_at_once() {
    with_ipvs(|| {
        let mut world = World::new();
        let receiver = receiver("web.2");
        assert!(arrives(&world, &receiver, SECONDS));
        let whole = world.intent.clone();
        world.intent.nodes.remove(&name(2));
        world.intent.tasks.retain(|_, task| task.node != name(2));
        world.settle(&[1]);
        let home = world.home();
        assert!(home.states.is_empty() && home.policies.is_empty(), "{home:?}");
        // It still has its keys, and is neither heard nor answered.
        let stale = inside("web.2", || UdpSocket::bind("0.0.0.0:0")).expect("a socket");
        let first = crate::encryption::receiver("web.1");
        first.set_read_timeout(Some(SILENCE)).expect("a timeout");
        let to = address(&whole, "web.1");
        stale.send_to(MARKER, (to, PORT)).expect("it is sent");
        assert!(first.recv(&mut [0; 64]).is_err());
        assert!(!arrives(&World { intent: whole, ..world_of(&world) }, &receiver, SILENCE));
        drop((receiver, first));
        world.end();
    });
}

/// The same nodes, looked at from another intent.
fn world_of(world: &World) -> World {
    World { intent: world.intent.clone(), held: BTreeMap::new(), second: world.second.clone() }
}
