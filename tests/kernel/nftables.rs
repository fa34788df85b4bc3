//! The nftables data plane: transactions that are refused, and connections that outlive their
//! target's place among the others.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

use nix::errno::Errno;
use swarmlb::intent::Fwmark;
use swarmlb::kernel::Kernel;
use swarmlb::node::{Dispatch, Node, Object, SandboxName};
use swarmlb::plan::{Change, Op};

use crate::world::intents::{desired, story};
use crate::world::{Swarmlb, apart, echo, inside, settled, shell};

const MARK: Fwmark = Fwmark(0x100);
const VIP: &str = "10.0.3.2";
const SECONDS: Duration = Duration::from_secs(5);

fn in_box(change: Change) -> Op {
    Op { sandbox: SandboxName("collab-box.1".into()), change }
}

fn guard(last: u8) -> Op {
    in_box(Change::Add(Object::Guard(Ipv4Addr::new(192, 0, 2, last))))
}

fn dispatch(targets: &[u8]) -> Object {
    let targets = targets.iter().map(|last| Ipv4Addr::new(10, 0, 3, *last)).collect();
    Object::Dispatch { fwmark: MARK, dispatch: Dispatch { targets } }
}

#[test]
fn of_a_transaction_that_is_refused_what_comes_before_the_refused_is_done() {
    apart(|| {
        let mut world = settled();
        world.become_node(&desired(&story()));
        let again = in_box(Change::Add(Object::Mark {
            address: VIP.parse().expect("an address"),
            fwmark: Fwmark(0x1ff),
        }));
        let missing = in_box(Change::Del(Object::Guard(Ipv4Addr::new(192, 0, 2, 99))));
        let ops = [guard(1), guard(2), again.clone(), guard(3), missing];
        let outcomes = world.kernel.apply(&ops);
        let errnos: Vec<Option<Errno>> =
            outcomes.iter().map(|outcome| outcome.as_ref().err().map(|r| r.errno)).collect();
        assert_eq!(errnos, [None, None, Some(Errno::EEXIST)]);
        let guards = shell("ip netns exec collab-box.1 nft list set ip swarmlb vips");
        assert!(guards.contains("192.0.2.1") && guards.contains("192.0.2.2"), "{guards}");
        assert!(!guards.contains("192.0.2.3"), "{guards}");
        for op in ops[..2].iter().rev() {
            assert_eq!(world.kernel.apply(&[op.inverse()]), [Ok(())]);
        }
        world.become_node(&Node::default());
    });
}

#[test]
fn nothing_that_swarmlb_makes_needs_the_nft_program() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let directory = swarmlb.state().with_extension("programs");
        std::fs::create_dir(&directory).expect("a directory");
        // A program of that name comes first, tells what it is asked for, and fails.
        let asked = directory.join("asked");
        let script = format!("#!/bin/sh\n{{ echo $*; cat; }} >>{}\nexit 1\n", asked.display());
        std::fs::write(directory.join("nft"), script).expect("a program");
        shell(&format!("chmod +x {}/nft", directory.display()));
        let good = |line: &str| {
            let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", directory.display());
            let output = swarmlb.command(line).env("PATH", path).output().expect("it starts");
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        };
        good("network create --subnet 10.0.3.0/24 collabnet");
        good("service create --replicas 3 --name collabweb --network collabnet");
        good("service scale collabweb=2");
        good("inspect vip");
        good("inspect vip collabweb");
        good("sandbox ls");
        good("system reset --yes");
        // Only what of others stands in the way is asked of it.
        let asked = std::fs::read_to_string(&asked).unwrap_or_default();
        assert!(!asked.contains("swarmlb"), "{asked}");
        std::fs::remove_dir_all(&directory).expect("the directory");
    });
}

/// What the task behind an open HTTP connection calls itself.
fn asked(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("it is open");
    let (mut seen, mut buffer) = (String::new(), [0; 512]);
    while !seen.contains("Host: test\n") {
        let length = stream.read(&mut buffer).expect("it is open");
        assert_ne!(length, 0, "it was closed");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    let task = seen.lines().find_map(|line| line.strip_prefix("Task: ")).expect("a task");
    task.trim().to_owned()
}

fn answered(socket: &UdpSocket) -> String {
    socket.send(b"who").expect("it is sent");
    let mut buffer = [0; 128];
    let length = socket.recv(&mut buffer).expect("it is answered");
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    text.split(' ').next().expect("a name").to_owned()
}

fn connected() -> TcpStream {
    let stream = TcpStream::connect((VIP, 80)).expect("it connects");
    stream.set_read_timeout(Some(SECONDS)).expect("a timeout");
    stream
}

fn flow() -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
    socket.set_read_timeout(Some(SECONDS)).expect("a timeout");
    socket.connect((VIP, 7)).expect("an address");
    socket
}

#[test]
fn connections_and_flows_keep_a_target_that_gets_no_new_ones() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let tasks = ["collabweb.1", "collabweb.2", "collabweb.3"];
        let echoes: Vec<_> = tasks.iter().map(|task| echo(task, 7)).collect();
        let (mut streams, flows): (Vec<TcpStream>, Vec<UdpSocket>) = inside("collab-box.1", || {
            ((0..3).map(|_| connected()).collect(), (0..3).map(|_| flow()).collect())
        });
        let of_streams: Vec<String> = streams.iter_mut().map(asked).collect();
        let of_flows: Vec<String> = flows.iter().map(answered).collect();
        for seen in [&of_streams, &of_flows] {
            let mut seen = seen.clone();
            seen.sort();
            assert_eq!(seen, tasks, "each task has one");
        }
        // The audit would put it back; a task that leaves rotation is left out for good.
        let mut kernel = settled().kernel;
        let held = {
            use swarmlb::kernel::Scope;
            let scope = Scope::Only(vec![SandboxName("collab-box.1".into())]);
            let node = kernel.observe(&scope).expect("Linux can be read");
            let table = node.sandboxes[&SandboxName("collab-box.1".into())].table.clone();
            table.expect("a table").dispatches[&MARK].clone()
        };
        let from = Object::Dispatch { fwmark: MARK, dispatch: held };
        let narrowed = dispatch(&[4, 5]);
        let narrow = in_box(Change::Set { from: from.clone(), to: narrowed.clone() });
        assert_eq!(kernel.apply(std::slice::from_ref(&narrow)), [Ok(())]);
        assert_eq!(streams.iter_mut().map(asked).collect::<Vec<_>>(), of_streams);
        assert_eq!(flows.iter().map(answered).collect::<Vec<_>>(), of_flows);
        let (mut others, other_flows): (Vec<TcpStream>, Vec<UdpSocket>) =
            inside("collab-box.1", || {
                ((0..4).map(|_| connected()).collect(), (0..4).map(|_| flow()).collect())
            });
        let mut new: Vec<String> = others.iter_mut().map(asked).collect();
        new.extend(other_flows.iter().map(answered));
        assert!(new.iter().all(|task| *task != "collabweb.1"), "{new:?}");
        // Targets that stay keep their counters.
        let counters = |target: &str| {
            let chain = format!("nft list chain ip swarmlb rs-0x100-{target}");
            let text = shell(&format!("ip netns exec collab-box.1 {chain}"));
            let packets = text.split("packets ").nth(1).and_then(|t| t.split(' ').next());
            packets.and_then(|packets| packets.parse::<u64>().ok()).expect("a counter")
        };
        assert_eq!(counters("10.0.3.4") + counters("10.0.3.5"), 4 + 8);
        assert_eq!(kernel.apply(&[narrow.inverse()]), [Ok(())]);
        assert_eq!(counters("10.0.3.4") + counters("10.0.3.5"), 4 + 8);
        assert_eq!(counters("10.0.3.3"), 0);
        assert_eq!(streams.iter_mut().map(asked).collect::<Vec<_>>(), of_streams);
        drop((streams, others, echoes));
        swarmlb.reset();
    });
}
