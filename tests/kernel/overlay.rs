//! One overlay on several machines: packets between their tasks, what each machine holds for it, and
//! who else may be on the underlay.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use swarmlb::intent::Intent;
use swarmlb::kernel::linux::{Linux, NoProcesses};
use swarmlb::kernel::{Kernel, Scope, carry_out};
use swarmlb::lower::lower;
use swarmlb::node::{Node, SandboxName};
use swarmlb::plan::Plan;

use crate::world::between::{self, ECHO, Tasks, asked, cluster, converge, of, service};
use crate::world::machines::Machines;
use crate::world::{Echo, Swarmlb, apart, assert_same, inside, within, without_processes};

/// Three tasks and a client, on two machines or more.
fn story(machines: &Machines) -> Intent {
    let mut intent = cluster(machines);
    between::network(&mut intent, "blue", "10.0.3.0/24");
    service(&mut intent, "web", &["blue"], 3);
    service(&mut intent, "box", &["blue"], 1);
    intent
}

#[test]
fn tasks_of_two_machines_are_behind_the_vip_on_both_and_see_their_clients() {
    apart(|| {
        let machines = Machines::new(2);
        let intent = story(&machines);
        converge(&machines, &intent);
        let tasks = Tasks::start(&machines, &intent);
        let nodes: BTreeSet<_> = intent.tasks.values().map(|task| &task.node).collect();
        assert_eq!(nodes.len(), 2, "the tasks are on one machine");
        // From every sandbox to every task in turn, itself too.
        for task in intent.tasks.values() {
            let own = task.endpoints[0].address.to_string();
            let replies = asked(&machines, &intent, &task.name.to_string(), "10.0.3.2", 6);
            let met: BTreeSet<&str> = replies.iter().map(|reply| reply.task.as_str()).collect();
            assert_eq!(met, ["web.1", "web.2", "web.3"].into(), "from {}", task.name);
            assert!(replies.iter().all(|reply| reply.client == own), "{own}: {replies:?}");
            let machine = of(&machines, &intent, &task.name.to_string());
            let mut echoes = BTreeSet::new();
            for _ in 0..6 {
                let name = task.name.to_string();
                let said = machine.on(|| Echo::ask(&name, "10.0.3.2", ECHO)).expect("an answer");
                assert_eq!(said.1, own);
                echoes.insert(said.0);
            }
            assert_eq!(echoes.len(), 3, "{echoes:?}");
        }
        drop(tasks);
        between::clear(&machines);
    });
}

#[test]
fn entries_follow_tasks_and_a_machine_without_a_task_holds_nothing() {
    apart(|| {
        let machines = Machines::new(3);
        let mut intent = story(&machines);
        converge(&machines, &intent);
        let rows = |number: usize| {
            let machine = machines.at(number);
            let count = |line: &str| machine.shell(line).lines().count();
            let fdb = count("bridge -n blue fdb show dev vxlan0 | grep self | grep dst || true");
            let neighbours = count("ip -n blue -4 neigh show dev vxlan0 nud permanent");
            assert_eq!(fdb, neighbours);
            fdb
        };
        let remote = |intent: &Intent, number: usize| {
            let name = &machines.at(number).name;
            intent.tasks.values().filter(|task| task.node != *name).count()
        };
        for number in 1..=3 {
            assert_eq!(rows(number), remote(&intent, number), "node-{number}");
        }
        intent.scale_service(&"web".parse().expect("a name"), 6).expect("room");
        converge(&machines, &intent);
        for number in 1..=3 {
            assert_eq!(rows(number), remote(&intent, number), "node-{number}");
        }
        // All of it goes from the third machine to the first.
        let (first, third) = (&machines.at(1).name, &machines.at(3).name);
        for task in intent.tasks.values_mut().filter(|task| task.node == *third) {
            task.node = first.clone();
        }
        converge(&machines, &intent);
        assert_eq!(machines.at(3).shell("ls /run/netns"), "");
        let tasks = Tasks::start(&machines, &intent);
        for from in ["web.1", "web.2", "box.1"] {
            assert_eq!(asked(&machines, &intent, from, "10.0.3.2", 6).len(), 6);
        }
        drop(tasks);
        between::clear(&machines);
    });
}

#[test]
fn typing_the_plan_on_each_machine_makes_what_the_plan_makes() {
    apart(|| {
        let machines = Machines::new(2);
        let intent = story(&machines);
        for machine in machines.all() {
            let desired = without_processes(lower(&intent, &machine.name));
            let typed = |from: &Node, to: &Node| {
                let lines: Vec<String> =
                    Plan::between(from, to).ops.iter().map(ToString::to_string).collect();
                machine.shell(&format!("set -e\n{}", lines.join("\n")));
                machine.on(|| Linux::new(NoProcesses).observe(&Scope::All)).expect("Linux")
            };
            assert_same(&typed(&Node::default(), &desired), &desired);
            let mut changed = desired.clone();
            let overlay = changed.sandboxes.get_mut(&SandboxName("blue".into())).expect("it");
            let mut entry = overlay.forwarding.pop_first().expect("a way");
            entry.vtep = Ipv4Addr::new(192, 0, 2, 77);
            overlay.forwarding.insert(entry);
            let mut neighbour = overlay.neighbours.pop_first().expect("a neighbour");
            neighbour.mac.0[5] = 0x77;
            overlay.neighbours.insert(neighbour);
            assert_same(&typed(&desired, &changed), &changed);
            assert_same(&typed(&changed, &Node::default()), &Node::default());
        }
    });
}

#[test]
fn a_firewall_of_others_that_forwards_nothing_does_not_touch_an_overlay() {
    apart(|| {
        let machines = Machines::new(2);
        let intent = story(&machines);
        for machine in machines.all() {
            machine.shell(
                "nft add table ip filter && nft 'add chain ip filter FORWARD \
                 { type filter hook forward priority 0; policy drop; }'",
            );
        }
        converge(&machines, &intent);
        let tasks = Tasks::start(&machines, &intent);
        assert_eq!(asked(&machines, &intent, "box.1", "10.0.3.2", 6).len(), 6);
        drop(tasks);
        between::clear(&machines);
    });
}

#[test]
fn no_broadcast_crosses_machines_and_each_answers_for_the_gateway_itself() {
    apart(|| {
        let machines = Machines::new(2);
        let intent = story(&machines);
        converge(&machines, &intent);
        let sent = |number: usize| {
            let told = machines.at(number).shell("ip -n blue -s -s -j link show vxlan0");
            let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
            told[0]["stats64"]["rx"]["packets"].as_u64().expect("a number")
        };
        let before = (sent(1), sent(2));
        for task in intent.tasks.values() {
            let name = task.name.to_string();
            let machine = of(&machines, &intent, &name);
            machine.on(|| inside(&name, send_astray));
            let resolved = || machine.shell(&format!("ip -n {name} neigh show"));
            let answered = |told: &String| {
                told.contains("02:42:0a:00:03:01") && told.contains("10.0.3.200 dev eth0 FAILED")
            };
            within("ARP is over", Duration::from_secs(10), resolved, answered);
        }
        // What vxlan0 receives came from the other machine, or was answered by itself for it.
        assert_eq!((sent(1), sent(2)), before);
        between::clear(&machines);
    });
}

#[test]
fn packets_larger_than_the_mtu_are_cut_or_refused_before_they_leave() {
    apart(|| {
        let machines = Machines::new(2);
        let mut intent = story(&machines);
        let converged = |intent: &Intent| {
            converge(&machines, intent);
            Tasks::start(&machines, intent)
        };
        let there = |intent: &Intent| {
            let home = intent.tasks[&"box.1".parse().expect("a name")].node.clone();
            let other = intent.tasks.values().find(|task| task.node != home).expect("a task");
            other.endpoints[0].address.to_string()
        };
        let send = |intent: &Intent, length: usize, whole: bool| {
            let to = there(intent);
            of(&machines, intent, "box.1").on(|| {
                inside("box.1", || {
                    let socket = UdpSocket::bind("0.0.0.0:0")?;
                    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
                    if whole {
                        forbid_cutting(&socket);
                    }
                    socket.connect((to.as_str(), ECHO))?;
                    socket.send(&vec![0; length])?;
                    socket.recv(&mut [0; 64])
                })
            })
        };
        let tasks = converged(&intent);
        // 20 bytes of IPv4 and 8 of UDP stand before what is sent.
        send(&intent, 1450 - 28, true).expect("it fits");
        send(&intent, 9000, false).expect("it is cut");
        let refused = send(&intent, 1450 - 27, true).expect_err("it does not fit");
        assert_eq!(refused.raw_os_error(), Some(nix::libc::EMSGSIZE));
        drop(tasks);
        // The links between the machines become narrower, and with them every link of the network.
        for machine in machines.all() {
            machine.shell("ip link set under0 mtu 1300");
            let record = intent.nodes.get_mut(&machine.name).expect("its record");
            record.underlay_mtu = Some(1300);
        }
        let tasks = converged(&intent);
        send(&intent, 1250 - 28, true).expect("it fits");
        let refused = send(&intent, 1250 - 27, true).expect_err("it does not fit");
        assert_eq!(refused.raw_os_error(), Some(nix::libc::EMSGSIZE));
        drop(tasks);
        // With a larger MTU than the links carry, senders are told of what they do carry.
        for network in intent.networks.values_mut() {
            network.mtu = Some(4000);
        }
        let tasks = converged(&intent);
        let refused = send(&intent, 4000 - 28, true).expect_err("it does not fit the links");
        assert_eq!(refused.raw_os_error(), Some(nix::libc::EMSGSIZE));
        send(&intent, 4000 - 28, false).expect("it is cut by who was told so");
        drop(tasks);
        between::clear(&machines);
    });
}

/// To the gateway, to an address that nobody has, and to everybody.
fn send_astray() {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
    socket.set_broadcast(true).expect("a setting");
    for to in ["10.0.3.1:9", "10.0.3.200:9", "10.0.3.255:9"] {
        socket.send_to(b"astray", to).expect("it is sent");
    }
}

/// What is sent bears DF.
fn forbid_cutting(socket: &UdpSocket) {
    let always = nix::libc::IP_PMTUDISC_DO;
    // SAFETY: the kernel reads an integer of the length that it is told.
    let answer = unsafe {
        nix::libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(socket),
            nix::libc::IPPROTO_IP,
            nix::libc::IP_MTU_DISCOVER,
            std::ptr::from_ref(&always).cast(),
            size_of_val(&always) as nix::libc::socklen_t,
        )
    };
    assert_eq!(answer, 0, "IP_MTU_DISCOVER");
}

#[test]
fn rows_that_others_make_lose_or_change_are_mended() {
    apart(|| {
        let machines = Machines::new(2);
        let intent = story(&machines);
        converge(&machines, &intent);
        let machine = machines.at(1);
        let desired = without_processes(lower(&intent, &machine.name));
        let entry = desired.sandboxes[&SandboxName("blue".into())].forwarding.iter().next();
        let mac = entry.expect("a way").mac;
        for harm in [
            format!("bridge -n blue fdb del {mac} dev vxlan0 self"),
            format!("bridge -n blue fdb replace {mac} dev vxlan0 dst 192.0.2.77 self"),
            "bridge -n blue fdb append 00:00:00:00:00:00 dev vxlan0 dst 192.0.2.2 && \
             bridge -n blue fdb append 00:00:00:00:00:00 dev vxlan0 dst 192.0.2.3"
                .into(),
            "bridge -n blue fdb add 02:00:00:00:00:09 dev vxlan0 dst 192.0.2.2 self dynamic".into(),
            "ip -n blue neigh flush dev vxlan0 nud permanent".into(),
            "ip -n blue neigh add 10.0.3.99 lladdr 02:42:0a:00:03:63 dev vxlan0".into(),
            "ip -n blue link set vxlan0 down".into(),
            "ip -n blue link set vxlan0 type vxlan local 192.0.2.1 learning".into(),
            "ip -n blue link del vxlan0".into(),
        ] {
            machine.shell(&harm);
            machine.on(|| {
                let mut kernel = Linux::new(NoProcesses);
                let observed = kernel.observe(&Scope::All).expect("Linux can be read");
                let plan = Plan::between(&observed, &desired);
                assert!(!plan.is_empty(), "not seen: {harm}");
                carry_out(&mut kernel, observed, &plan).unwrap_or_else(|r| panic!("{harm}: {r:?}"));
                let mended = kernel.observe(&Scope::All).expect("Linux can be read");
                assert_same(&mended, &desired);
            });
        }
        between::clear(&machines);
    });
}

#[test]
fn two_hundred_networks_on_two_machines_are_made_and_taken_away() {
    apart(|| {
        let machines = Machines::new(2);
        let mut intent = cluster(&machines);
        for number in 0..200 {
            let (name, other) = (format!("net-{number}"), format!("svc-{number}"));
            between::network(&mut intent, &name, &format!("10.{number}.0.0/24"));
            // Every fourth is on one machine alone.
            service(&mut intent, &other, &[&name], if number % 4 == 0 { 1 } else { 2 });
        }
        let begun = std::time::Instant::now();
        converge(&machines, &intent);
        println!("200 networks on two machines: {:.1} s", begun.elapsed().as_secs_f64());
        let held: usize = machines
            .all()
            .iter()
            .map(|machine| machine.shell("ls /run/netns | grep -c net-").trim().parse::<usize>())
            .map(|count| count.expect("a number"))
            .sum();
        assert_eq!(held, 50 + 2 * 150);
        between::clear(&machines);
    });
}

#[test]
fn a_vni_that_another_program_has_is_refused_with_the_kernels_words_and_all_is_undone() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 first");
        // As a Docker on the same machine: its devices are in namespaces of its own, its port here.
        crate::world::shell(
            "ip netns add docker && ip link add vx-4098 netns docker type vxlan id 4098 \
             dstport 4789 nolearning proxy && ip -n docker link set vx-4098 up",
        );
        let before = crate::world::shell("ls /run/netns");
        let (_, said) = swarmlb.ending("network create --subnet 10.0.4.0/24 blue", 4);
        assert!(said.contains("A VXLAN device with the specified VNI already exists"), "{said}");
        assert!(said.contains("hint: somebody else") && said.contains("--opt vni=N"), "{said}");
        assert!(said.contains("undone:"), "{said}");
        assert_eq!(crate::world::shell("ls /run/netns"), before);
        swarmlb.good("network create --subnet 10.0.4.0/24 --opt vni=5000 blue");
        swarmlb.good("service create --replicas 2 --name web --network blue");
        assert_eq!(crate::world::replies("web.1", "10.0.4.2", 2).len(), 2);
        swarmlb.reset();
        crate::world::shell("ip netns del docker");
    });
}

#[test]
fn a_data_port_that_another_program_holds_is_refused_with_its_name() {
    apart(|| {
        let socket = UdpSocket::bind("0.0.0.0:4789").expect("the port is free");
        let swarmlb = Swarmlb::new();
        let (_, said) = swarmlb.ending("network create --subnet 10.0.3.0/24 blue", 4);
        let me = format!("(process {})", std::process::id());
        assert!(said.contains("UDP port 4789 is held by `") && said.contains(&me), "{said}");
        assert!(said.contains("EADDRINUSE") && said.contains("--data-path-port"), "{said}");
        assert_eq!(crate::world::shell("ls /run/netns"), "");
        drop(socket);
        swarmlb.good("network create --subnet 10.0.3.0/24 blue");
        swarmlb.reset();
    });
}
