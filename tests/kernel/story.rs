//! The story of the examples, by the program itself.

use crate::world::{Swarmlb, answers, answers_by_stream, apart, replies, request, shell};

const THREE: [&str; 3] = ["collabweb.1", "collabweb.2", "collabweb.3"];

fn each(times: usize) -> Vec<(String, usize)> {
    THREE.iter().map(|task| ((*task).to_owned(), times)).collect()
}

#[test]
fn tasks_take_turns_whoever_asks_and_see_who_did() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        // A member's own turn is the hairpin: it reaches itself by its own VIP.
        for (client, address) in [
            ("collab-box.1", "10.0.3.7"),
            ("collabweb.1", "10.0.3.3"),
            ("collabweb.2", "10.0.3.4"),
            ("collabweb.3", "10.0.3.5"),
        ] {
            assert_eq!(replies(client, "10.0.3.2", 6), each(2), "from {client}");
            let seen = request(client, "10.0.3.2").expect("an answer");
            let member = client.starts_with("collabweb");
            let seen: Vec<String> = std::iter::once(seen)
                .chain((0..2).map(|_| request(client, "10.0.3.2").expect("an answer")))
                .map(|reply| reply.client)
                .collect();
            assert_eq!(seen, [address; 3], "member: {member}");
        }
        let box_vip = request("collabweb.1", "10.0.3.6").expect("an answer");
        assert_eq!((box_vip.task.as_str(), box_vip.client.as_str()), ("collab-box.1", "10.0.3.3"));
        swarmlb.good("inspect vip");
        swarmlb.good("inspect vip collabweb");
        swarmlb.good("service rm collabweb collab-box");
        swarmlb.good("network rm collabnet");
        assert_eq!(shell("ls /run/netns"), "");
        swarmlb.reset();
    });
}

#[test]
fn names_resolve_in_every_sandbox_by_udp_and_by_tcp() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        swarmlb.good(
            "service create --replicas 2 --name rr --network collabnet --endpoint-mode dnsrr",
        );
        let tasks = ["10.0.3.3", "10.0.3.4", "10.0.3.5"];
        let expected: [(&str, &[&str]); 9] = [
            ("collabweb", &["10.0.3.2"]),
            ("COLLABWEB.collabnet", &["10.0.3.2"]),
            ("tasks.collabweb", &tasks),
            ("tasks.collabweb.collabnet", &tasks),
            ("collabweb.2", &["10.0.3.4"]),
            ("collabweb.2.collabnet", &["10.0.3.4"]),
            ("collab-box", &["10.0.3.6"]),
            ("rr", &["10.0.3.8", "10.0.3.9"]),
            ("tasks.rr", &["10.0.3.8", "10.0.3.9"]),
        ];
        for sandbox in ["collab-box.1", "collabweb.1", "collabweb.3", "rr.2"] {
            for (name, addresses) in expected {
                assert_eq!(answers(sandbox, name).expect("an answer"), addresses, "{name}");
                assert_eq!(answers_by_stream(sandbox, name), addresses, "{name} by TCP");
            }
        }
        for name in ["collabweb", "tasks.collabweb", "collabweb.1", "rr"] {
            swarmlb.good(&format!("diag dns {name}"));
        }
        assert_eq!(swarmlb.ending("inspect vip rr", 2).1.lines().count(), 2);
        swarmlb.reset();
    });
}

#[test]
fn a_name_that_is_not_ours_fails_at_once_where_nobody_can_be_asked() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let started = std::time::Instant::now();
        let answer = answers("collab-box.1", "example.org");
        assert_eq!(answer, Err(hickory_proto::op::ResponseCode::ServFail));
        assert!(started.elapsed().as_secs() < 2, "after {:?}", started.elapsed());
        swarmlb.reset();
    });
}

#[test]
fn a_task_finds_its_resolver_in_its_own_resolv_conf() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let pid = swarmlb.pids("collabweb")[0];
        let seen = shell(&format!("nsenter -t {pid} -m cat /etc/resolv.conf"));
        assert!(seen.starts_with("nameserver 127.0.0.11\n"), "{seen}");
        assert_eq!(swarmlb.good("sandbox exec collabweb.1 -- cat /etc/resolv.conf"), seen);
        let machine = shell("cat /etc/resolv.conf");
        assert!(!machine.contains("127.0.0.11"), "{machine}");
        swarmlb.reset();
    });
}

#[test]
fn what_is_measured_agrees_with_what_the_kernel_counted() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let line = "diag compare-dns-ipvs collabweb --requests 60 --concurrency 3";
        let report = swarmlb.json(line);
        assert_eq!(report["verdict"]["agrees"], true, "{report:#}");
        assert_eq!(report["verdict"]["failures"], 0, "{report:#}");
        swarmlb.good(line);
        swarmlb.reset();
    });
}

#[test]
fn a_network_in_use_stays() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let (_, said) = swarmlb.ending("network rm collabnet", 2);
        assert!(said.contains("in use by services collab-box, collabweb"), "{said}");
        assert_eq!(replies("collab-box.1", "10.0.3.2", 3), each(1));
        swarmlb.reset();
    });
}

#[test]
fn twenty_four_clients_with_one_request_each_meet_every_task_eight_times() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 collabnet");
        swarmlb.good("service create --replicas 3 --name collabweb --network collabnet");
        swarmlb.good("service create --replicas 24 --name client --network collabnet");
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for client in 1..=24 {
            let reply = request(&format!("client.{client}"), "10.0.3.2").expect("an answer");
            *counts.entry(reply.task).or_default() += 1;
        }
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), each(8));
        swarmlb.reset();
    });
}

#[test]
fn a_packet_that_nobody_marks_is_refused_and_never_answered_by_another_task() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let flushed = || {
            for sandbox in ["collab-box.1", "collabweb.1"] {
                shell(&format!("ip netns exec {sandbox} nft flush map ip swarmlb vip-mark"));
            }
        };
        flushed();
        for (client, vip) in [("collab-box.1", "10.0.3.2"), ("collabweb.1", "10.0.3.6")] {
            // The audit may have mended it meanwhile; then it is done once more.
            let refused = (0..2).any(|_| {
                let answer = request(client, vip);
                let refused = answer
                    .as_ref()
                    .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
                if !refused {
                    let right = if vip == "10.0.3.2" { "collabweb" } else { "collab-box" };
                    let reply = answer.expect("refused or answered");
                    assert!(reply.task.starts_with(right), "{} for {right}", reply.task);
                    flushed();
                }
                refused
            });
            assert!(refused, "{client} was answered for {vip} without a mark");
        }
        swarmlb.reset();
    });
}

#[test]
fn the_fields_of_the_manual_are_those_of_a_running_cluster() {
    use swarmlb::cli::manual::page;

    apart(|| {
        let swarmlb = Swarmlb::with_story();
        for (command, line) in [
            ("agent status", "agent status"),
            ("diag dns", "diag dns collabweb --from collab-box.1"),
            ("diag compare-dns-ipvs", "diag compare-dns-ipvs collabweb --requests 10"),
        ] {
            let data = swarmlb.json(line);
            let row = data.as_array().map_or(&data, |rows| &rows[0]);
            let fields: std::collections::BTreeSet<&str> =
                row.as_object().expect("an object").keys().map(String::as_str).collect();
            let told = page(command).expect("a page").fields;
            assert_eq!(
                told.iter().map(|(name, _)| *name).collect::<std::collections::BTreeSet<_>>(),
                fields,
                "{command}"
            );
        }
        assert_eq!(swarmlb.good("agent status --format {{.Node}}"), "node-1\n");
        swarmlb.reset();
    });
}
