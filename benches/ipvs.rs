//! What programming IPVS costs, the product's own way (plan, rehearsal, Linux), beside `ipvsadm` and
//! beside a bare loop that only sends the same messages and waits for their acknowledgements.
//!
//! `scripts/bench.sh ipvs` runs it in the virtual machine; it needs root, IPVS and `ipvsadm`. Names of
//! rows as arguments measure these only: `change`, `fill`, `bare`, `share`.

mod report;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use swarmlb::intent::{ClusterId, Fwmark};
use swarmlb::kernel::ipvs::wire::{self, FamilyId, Query, Reply};
use swarmlb::kernel::ipvs::{self, Ipvs};
use swarmlb::kernel::linux::{Linux, NoProcesses};
use swarmlb::kernel::{carry_out, netns, program};
use swarmlb::lower::overlay::loopback;
use swarmlb::lower::shared::Shared;
use swarmlb::node::{
    Forwarding, Node, Owner, RealServer, RealServerKey, Rotation, Sandbox, SandboxName,
    VirtualServer, VirtualServerKey,
};
use swarmlb::plan::Plan;

use report::{Bar, Row, cannot, report, rounds, timed};

type Table = BTreeMap<VirtualServerKey, VirtualServer>;

/// The large table.
const SERVERS: u32 = 10_000;
const REAL_SERVERS: u8 = 5;
/// Of a changed virtual server the real servers change, so this is 600 of 60,000 objects.
const CHANGED: u32 = 120;
const SMALL: u32 = 10;
const MIDDLE: u32 = 1_000;
/// `ipvsadm` takes many seconds a round.
const LARGE_ROUNDS: usize = 3;
const MIDDLE_ROUNDS: usize = 9;
const SMALL_ROUNDS: usize = 200;
/// As many messages in one datagram as swarmlb sends.
const DATAGRAM: usize = 256;

fn main() -> ExitCode {
    let Some(ipvsadm) = program::find("ipvsadm") else {
        return cannot("`ipvsadm` is not installed", "`scripts/setup.sh test` installs it");
    };
    if !matches!(Ipvs::open_here(), Ok(Some(_))) {
        return cannot("this kernel has no IPVS", "`scripts/bench.sh ipvs` brings one");
    }
    let named: Vec<String> =
        std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let is_wanted = |name: &str| named.is_empty() || named.iter().any(|wanted| wanted == name);
    let mut rows = Vec::new();
    if is_wanted("change") {
        rows.push(change());
    }
    if is_wanted("fill") {
        rows.push(fill(&ipvsadm));
    }
    if is_wanted("bare") {
        rows.extend(bare());
    }
    if is_wanted("share") {
        rows.push(share(&ipvsadm));
    }
    report(&rows)
}

/// One virtual server of 1,000 changed, beside one of 10. Before either is timed, both tables are made
/// anew, as an agent lowers its whole node: so the processor's caches are as cold for the one as for
/// the other.
fn change() -> Row {
    let mut small = Filled::new("small", SMALL);
    let mut large = Filled::new("large", MIDDLE);
    let [mut of_large, mut of_small] = [Shared::default(), Shared::default()];
    let mut in_large = || {
        servers_sharing(SMALL, 0, &mut of_small);
        large.turn(1)
    };
    let mut in_small = || {
        servers_sharing(MIDDLE, 0, &mut of_large);
        small.turn(1)
    };
    let [ours, theirs] = rounds(SMALL_ROUNDS, [&mut in_large, &mut in_small]);
    large.must_hold();
    small.must_hold();
    Row {
        what: "one virtual server changed in a sandbox of 1,000",
        swarmlb: ours,
        peer: Some(("in one of 10", theirs)),
        bar: Bar::TimesThePeer(2.0),
    }
}

/// 10,000 × 5 into a fresh sandbox, beside `ipvsadm`.
fn fill(ipvsadm: &Path) -> Row {
    let text = Text::new("fill", &servers(SERVERS, 0));
    let mut original = || {
        let empty = Fresh::new("bench");
        timed(|| ipvsadm_does(ipvsadm, &empty, &["-R"], Some(&text))).0
    };
    let [ours, original] = rounds(LARGE_ROUNDS, [&mut filled, &mut original]);
    Row {
        what: FILLED,
        swarmlb: ours,
        peer: Some(("ipvsadm -R", original)),
        bar: Bar::TimesFaster(12.0),
    }
}

/// 10,000 × 5 into a fresh sandbox, beside what only sends the messages.
fn bare() -> [Row; 2] {
    let bare = |acknowledged| {
        let empty = Fresh::new("bench");
        let plan = Plan::between(&empty.held, &empty.node(servers(SERVERS, 0)));
        let mut bare = Bare::new(&empty, &plan, acknowledged);
        timed(|| bare.send()).0
    };
    let (mut each, mut last) = (|| bare(Acknowledged::Each), || bare(Acknowledged::Last));
    let [ours, each, last] = rounds(MIDDLE_ROUNDS, [&mut filled, &mut each, &mut last]);
    let row = |peer, times| Row {
        what: FILLED,
        swarmlb: ours.clone(),
        peer: Some((peer, times)),
        bar: Bar::TimesThePeer(1.5),
    };
    [row("bare loop, each message acknowledged", each), row("bare loop, the very same bytes", last)]
}

const FILLED: &str = "10,000 × 5 into a fresh sandbox";

fn filled() -> Duration {
    let empty = Fresh::new("bench");
    let desired = empty.node(servers(SERVERS, 0));
    let mut kernel = Linux::new(NoProcesses);
    let (time, held) = timed(|| {
        let plan = Plan::between(&empty.held, &desired);
        carry_out(&mut kernel, empty.held.clone(), &plan)
    });
    assert!(held.expect("Linux does it") == desired, "the rehearsal reached something else");
    time
}

/// 1 % of 10,000 × 5 changed.
fn share(ipvsadm: &Path) -> Row {
    let mut ours = Filled::new("ours", SERVERS);
    let theirs = Fresh::new("theirs");
    let before = Text::new("before", &servers(SERVERS, 0));
    let after = Text::new("after", &servers(SERVERS, CHANGED));
    ipvsadm_does(ipvsadm, &theirs, &["-R"], Some(&before));
    let mut turned = false;
    let mut original = || {
        turned = !turned;
        let text = if turned { &after } else { &before };
        timed(|| {
            ipvsadm_does(ipvsadm, &theirs, &["-C"], None);
            ipvsadm_does(ipvsadm, &theirs, &["-R"], Some(text));
        })
        .0
    };
    let [ours_took, original] = rounds(LARGE_ROUNDS, [&mut || ours.turn(CHANGED), &mut original]);
    ours.must_hold();
    Row {
        what: "1 % of that table changed",
        swarmlb: ours_took,
        peer: Some(("ipvsadm -C; ipvsadm -R", original)),
        bar: Bar::TimesFaster(100.0),
    }
}

/// Virtual servers by mark. The real servers of the first `changed` have another weight. (Another
/// scheduler would cost the kernel a wait that hides all else.)
fn servers(count: u32, changed: u32) -> Table {
    servers_sharing(count, changed, &mut Shared::default())
}

/// The same as an agent makes it, which shares with the time before what did not change.
fn servers_sharing(count: u32, changed: u32, shared: &mut Shared) -> Table {
    shared.begin();
    let real = |number: u32, place: u8| {
        let [_, _, high, low] = number.to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(10, high, low, place));
        let weight = if number < changed { 2 } else { 1 };
        let real = RealServer::new(Forwarding::Masquerade, weight);
        (RealServerKey { address, port: 0 }, real)
    };
    let mut server = |number: u32, fwmark: Fwmark| VirtualServer {
        scheduler: "wrr".into(),
        flags: 0,
        persistence: 0,
        client_bits: 0,
        rotation: Rotation(0),
        real_servers: shared.real_servers(Ipv4Addr::from_bits(number), fwmark, || {
            (1..=REAL_SERVERS).map(|place| real(number, place)).collect()
        }),
    };
    let entry = |number: u32| {
        let fwmark = Fwmark(Fwmark::FIRST.0 + number);
        (VirtualServerKey::Fwmark(fwmark), server(number, fwmark))
    };
    (0..count).map(entry).collect()
}

/// A sandbox without virtual servers, gone when it is dropped.
struct Fresh {
    name: SandboxName,
    held: Node,
    namespace: File,
}

impl Fresh {
    fn new(name: &str) -> Self {
        let name = SandboxName(format!("swarmlb-bench-{name}").into());
        let sandbox = Sandbox {
            owner: Owner::Cluster(ClusterId("bench".into())),
            links: [("lo".into(), loopback())].into(),
            ..Sandbox::default()
        };
        let held = Node { sandboxes: [(name.clone(), sandbox)].into() };
        let nothing = Node::default();
        let plan = Plan::between(&nothing, &held);
        let made = carry_out(&mut Linux::new(NoProcesses), nothing, &plan);
        made.unwrap_or_else(|refused| panic!("{}: {}", refused.op, refused.refusal));
        let namespace = netns::open(name.as_str()).expect("it was just made");
        Self { name, held, namespace }
    }

    fn node(&self, servers: Table) -> Node {
        let mut node = self.held.clone();
        for sandbox in node.sandboxes.values_mut() {
            sandbox.virtual_servers = servers.clone();
        }
        node
    }

    fn must_hold(&self, node: &Node) {
        let mut ipvs = Ipvs::open(self.namespace.as_fd()).expect("IPVS").expect("IPVS");
        let seen = swarmlb::kernel::ipvs::seen(&ipvs.entries().expect("the table"));
        let wanted = &node.sandboxes[&self.name].virtual_servers;
        assert!(seen == *wanted, "{} of {} virtual servers are there", seen.len(), wanted.len());
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // IPVS takes its table apart when the last socket inside is closed, some time later; the
        // next round shall not pay for it.
        if let Some(ipvsadm) = program::find("ipvsadm") {
            ipvsadm_does(&ipvsadm, self, &["-C"], None);
        }
        let _ = netns::remove(self.name.as_str());
    }
}

/// A sandbox with a table that changes to and fro, as the agent changes it: from what it remembers.
struct Filled {
    sandbox: Fresh,
    held: Node,
    kernel: Linux<NoProcesses>,
    shared: Shared,
    servers: u32,
    turned: bool,
}

impl Filled {
    fn new(name: &str, count: u32) -> Self {
        let sandbox = Fresh::new(name);
        let mut kernel = Linux::new(NoProcesses);
        let mut shared = Shared::default();
        let desired = sandbox.node(servers_sharing(count, 0, &mut shared));
        let plan = Plan::between(&sandbox.held, &desired);
        let mut held = carry_out(&mut kernel, sandbox.held.clone(), &plan).expect("Linux does it");
        // As the agent does with what it has read.
        held.share_with(&desired);
        Self { sandbox, held, kernel, shared, servers: count, turned: false }
    }

    /// Changes so many virtual servers, or changes them back.
    fn turn(&mut self, changed: u32) -> Duration {
        self.turned = !self.turned;
        let changed_now = if self.turned { changed } else { 0 };
        let table = servers_sharing(self.servers, changed_now, &mut self.shared);
        let desired = self.sandbox.node(table);
        let (time, held) = timed(|| {
            let plan = Plan::between(&self.held, &desired);
            assert_eq!(plan.ops.len(), changed as usize * usize::from(REAL_SERVERS));
            carry_out(&mut self.kernel, std::mem::take(&mut self.held), &plan)
        });
        self.held = held.expect("Linux does it");
        time
    }

    fn must_hold(&self) {
        self.sandbox.must_hold(&self.held);
    }
}

const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;

/// Which messages ask for an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acknowledged {
    Each,
    /// The last of each datagram: the very bytes that swarmlb sends.
    Last,
}

/// The messages of a plan, ready to be sent.
struct Bare {
    socket: Socket,
    /// How many answers come, and the bytes.
    datagrams: Vec<(usize, Vec<u8>)>,
    buffer: Vec<u8>,
}

impl Bare {
    fn new(sandbox: &Fresh, plan: &Plan, acknowledged: Acknowledged) -> Self {
        let open = || {
            let mut socket = Socket::new(NETLINK_GENERIC).expect("netlink");
            socket.bind_auto().expect("a port");
            socket.connect(&SocketAddr::new(0, 0)).expect("the kernel");
            socket.set_cap_ack(true).expect("short acknowledgements");
            setsockopt(&socket, sockopt::RcvBufForce, &(1 << 20)).expect("a large buffer");
            socket
        };
        let socket = netns::within(sandbox.namespace.as_fd(), open).expect("the namespace");
        let mut bare = Self { socket, datagrams: Vec::new(), buffer: vec![0; 64 * 1024] };
        let family = bare.family();
        for (number, ops) in plan.ops.chunks(DATAGRAM).enumerate() {
            let mut bytes = Vec::new();
            for (place, op) in ops.iter().enumerate() {
                let start = bytes.len();
                ipvs::write(op, family, &mut bytes).expect("an operation on IPVS");
                let asks = acknowledged == Acknowledged::Each || place + 1 == ops.len();
                let flags: u16 = if asks { REQUEST | ACKNOWLEDGE } else { REQUEST };
                let sequence = (number * DATAGRAM + place) as u32;
                bytes[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
                bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
            }
            let answers = if acknowledged == Acknowledged::Each { ops.len() } else { 1 };
            bare.datagrams.push((answers, bytes));
        }
        bare
    }

    fn family(&mut self) -> FamilyId {
        let request = Query::Family.to_bytes(FamilyId::CONTROL, 0);
        self.socket.send(&request, 0).expect("it is sent");
        let length = self.receive();
        let mut replies = wire::replies(&self.buffer[..length], FamilyId(0));
        match replies.next().expect("an answer").expect("one that can be read").reply {
            Reply::Family(family) => family.id,
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self) {
        for (count, datagram) in std::mem::take(&mut self.datagrams) {
            self.socket.send(&datagram, 0).expect("it is sent");
            let mut open = count;
            while open > 0 {
                let length = self.receive();
                open -= done(&self.buffer[..length]);
            }
        }
    }

    fn receive(&mut self) -> usize {
        recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()).expect("an answer")
    }
}

/// How many acknowledgements there are; a refusal is a bug of this bench.
fn done(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some(header) = bytes.first_chunk::<20>() {
        let word = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        assert_eq!(word(16), 0, "Linux refuses");
        bytes = &bytes[(word(0) as usize).next_multiple_of(4).min(bytes.len())..];
        count += 1;
    }
    count
}

/// A table as `ipvsadm -S` writes it, in a file.
struct Text(tempfile::NamedTempFile);

impl Text {
    fn new(name: &str, servers: &Table) -> Self {
        let mut text = String::new();
        for (key, server) in servers {
            let VirtualServerKey::Fwmark(mark) = key else { panic!("{key}") };
            writeln!(text, "-A -f {} -s {}", mark.0, server.scheduler).expect("memory");
            for (key, real) in &server.real_servers {
                writeln!(text, "-a -f {} -r {key} -m -w {}", mark.0, real.weight).expect("memory");
            }
        }
        let file = tempfile::Builder::new().prefix(name).tempfile().expect("a file");
        std::fs::write(file.path(), text).expect("room");
        Self(file)
    }
}

fn ipvsadm_does(ipvsadm: &Path, sandbox: &Fresh, arguments: &[&str], input: Option<&Text>) {
    let input = match input {
        Some(text) => Stdio::from(text.0.reopen().expect("the file")),
        None => Stdio::null(),
    };
    let run = || program::command(ipvsadm).args(arguments).stdin(input).status();
    let status = netns::within(sandbox.namespace.as_fd(), run).expect("the namespace");
    assert!(status.expect("ipvsadm starts").success(), "ipvsadm {arguments:?} failed");
}
