//! Packets through VIPs.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use crate::with_ipvs;
use crate::world::{Echo, Stream, Swarmlb, echo, evenness, replies, request, shell, within};

const AUDITS: Duration = Duration::from_secs(60);
const THREE: [&str; 3] = ["collabweb.1", "collabweb.2", "collabweb.3"];

fn each(times: usize) -> Vec<(String, usize)> {
    THREE.iter().map(|task| ((*task).to_owned(), times)).collect()
}

#[test]
fn tasks_take_turns_whoever_asks_by_tcp_and_udp_and_see_who_did() {
    with_ipvs(|| {
        let swarmlb = Swarmlb::with_story();
        let echoes: Vec<_> = THREE.iter().map(|task| echo(task, 7)).collect();
        for (client, address) in
            [("collab-box.1", "10.0.3.7"), ("collabweb.1", "10.0.3.3"), ("collabweb.3", "10.0.3.5")]
        {
            assert_eq!(replies(client, "10.0.3.2", 6), each(2), "from {client}");
            for _ in 0..3 {
                let reply = request(client, "10.0.3.2").expect("an answer");
                assert_eq!(reply.client, address, "what {} saw of {client}", reply.task);
            }
            let mut counts = BTreeMap::<String, usize>::new();
            for _ in 0..6 {
                let (who, seen) = Echo::ask(client, "10.0.3.2", 7).expect("an answer");
                assert_eq!(seen, address, "what {who} saw of {client}");
                *counts.entry(who).or_default() += 1;
            }
            assert_eq!(counts.into_iter().collect::<Vec<_>>(), each(2), "by UDP from {client}");
        }
        drop(echoes);
        for service in swarmlb.json("service ls").as_array().expect("rows") {
            assert_eq!(service["data_plane"], "ipvs", "{service}");
        }
        swarmlb.good("inspect vip collabweb");
        swarmlb.good("diag dns collabweb");
        let line = "diag compare-dns-ipvs collabweb --requests 60";
        let report = swarmlb.json(line);
        assert_eq!(report["verdict"]["agrees"], true, "{report:#}");
        assert_eq!(report["verdict"]["failures"], 0, "{report:#}");
        swarmlb.good(line);
        swarmlb.reset();
    });
}

#[test]
fn several_clients_are_each_counted_by_their_own_sandbox() {
    with_ipvs(|| {
        let swarmlb = Swarmlb::with_story();
        swarmlb.good("service scale collab-box=2");
        let line =
            "diag compare-dns-ipvs collabweb --from collab-box --requests 60 --concurrency 2";
        let report = swarmlb.json(&format!("{line} --client-cache forever"));
        assert_eq!(report["verdict"]["agrees"], true, "{report:#}");
        assert_eq!(report["conditions"]["data_plane"], "ipvs");
        let [dns, vip] = &report["ways"].as_array().expect("ways")[..] else { panic!("two") };
        assert_eq!((&vip["mechanism"], &dns["strata"]["met_one"]), (&"IPVS rr".into(), &2.into()));
        for client in vip["clients"].as_array().expect("clients") {
            let tasks = client["tasks"].as_array().expect("tasks").iter();
            assert!(tasks.clone().all(|task| task["replies"] == 10), "{client:#}");
            assert_eq!(client["counters"]["agrees"], true, "{client:#}");
        }
        // And with everything made for it and removed.
        let report = swarmlb.json("diag compare-dns-ipvs --clients 3 --requests 18");
        assert_eq!(report["verdict"]["agrees"], true, "{report:#}");
        assert_eq!(report["ways"][1]["strata"]["firsts"]["in_step"], false, "{report:#}");
        assert_eq!(swarmlb.json("service ls").as_array().map(Vec::len), Some(2));
        swarmlb.reset();
    });
}

#[test]
fn one_shot_clients_of_24_and_100_sandboxes_meet_tasks_evenly_through_scaling() {
    with_ipvs(|| {
        let swarmlb = Swarmlb::new();
        evenness::is_kept_through_scaling(&swarmlb, &[24, 100]);
        swarmlb.reset();
    });
}

#[test]
#[ignore = "takes minutes in the emulated machine"]
fn one_shot_clients_of_240_sandboxes_meet_tasks_evenly_through_scaling() {
    with_ipvs(|| {
        let swarmlb = Swarmlb::new();
        evenness::is_kept_through_scaling(&swarmlb, &[240]);
        swarmlb.reset();
    });
}

#[test]
fn a_task_leaves_with_weight_0_and_its_mark_goes_when_no_connection_holds_it() {
    with_ipvs(|| {
        let swarmlb = Swarmlb::with_story();
        let rules = || shell("ip netns exec collab-box.1 ipvsadm -Sn");
        // UDP's memory is shortened, so that the wait for it is too.
        shell("ip netns exec collab-box.1 ipvsadm --set 0 0 2");
        let echoes: Vec<_> = THREE.iter().map(|task| echo(task, 7)).collect();
        let asked: Vec<String> = (0..3)
            .map(|_| Echo::ask("collab-box.1", "10.0.3.2", 7).expect("an answer").0)
            .collect();
        assert!(asked.contains(&"collabweb.3".to_owned()), "{asked:?}");
        let mut streams: Vec<Stream> =
            (0..3).map(|_| Stream::open("collab-box.1", "10.0.3.2")).collect();
        swarmlb.good("service scale --detach collabweb=2");
        let leaves = |rules: &String| {
            rules.contains("-a -f 256 -r 10.0.3.5:0 -m -w 0") && rules.contains("-A -f 258 -s rr")
        };
        let said = within("it has weight 0", AUDITS, rules, leaves);
        assert!(!said.contains("-a -f 258 -r 10.0.3.5"), "{said}");
        assert_eq!(
            replies("collab-box.1", "10.0.3.2", 4),
            [("collabweb.1".into(), 2), ("collabweb.2".into(), 2)]
        );
        for stream in &mut streams {
            assert_eq!(stream.ask(), stream.task);
        }
        swarmlb.good("inspect vip collabweb");
        streams.into_iter().for_each(Stream::reset);
        let gone = |rules: &String| !rules.contains("10.0.3.5");
        within("the task is gone", AUDITS, rules, gone);
        let forgotten = |rules: &String| !rules.contains("-f 256");
        within("its old mark is gone", AUDITS, rules, forgotten);
        assert_eq!(
            swarmlb.json("service inspect collabweb")[0]["vips"]["collabnet"]["fwmark"],
            258
        );
        drop(echoes);
        swarmlb.reset();
    });
}

#[test]
fn without_its_virtual_server_a_vip_refuses_and_the_audit_mends_it() {
    with_ipvs(|| {
        let swarmlb = Swarmlb::with_story();
        // A foreign virtual server by address stands beside ours.
        let foreign = "-A -t 192.0.2.9:80 -s wlc";
        shell(&format!("ip netns exec collab-box.1 ipvsadm {foreign}"));
        // collabweb.1 itself listens on port 80: it must not answer for collab-box.
        let damage = || {
            shell("ip netns exec collab-box.1 ipvsadm -D -f 256 2>/dev/null || :");
            shell("ip netns exec collabweb.1 ipvsadm -D -f 257 2>/dev/null || :");
            shell("ip netns exec collabweb.2 ipvsadm -d -f 256 -r 10.0.3.3:0 2>/dev/null || :");
        };
        // The audit may come in between; then it is done once more.
        within(
            "both refuse",
            AUDITS,
            || {
                damage();
                [
                    ("collab-box.1", "10.0.3.2", "collabweb"),
                    ("collabweb.1", "10.0.3.6", "collab-box"),
                ]
                .map(|(client, vip, right)| match request(client, vip) {
                    Ok(reply) => {
                        assert!(reply.task.starts_with(right), "{} for {right}", reply.task);
                        false
                    }
                    Err(error) => error.kind() == ErrorKind::ConnectionRefused,
                })
            },
            |refused| *refused == [true, true],
        );
        let broken = within(
            "the rungs are named",
            AUDITS,
            || {
                damage();
                swarmlb.broken("collabweb")
            },
            |broken| broken.contains_key("collab-box.1") && broken.contains_key("collabweb.2"),
        );
        assert_eq!(broken["collab-box.1"][0], "virtual-server");
        assert_eq!(broken["collabweb.2"], ["real-servers"]);
        swarmlb.mended("collabweb", AUDITS);
        swarmlb.mended("collab-box", AUDITS);
        assert_eq!(replies("collab-box.1", "10.0.3.2", 3), each(1));
        swarmlb.good("inspect vip");
        let log = std::fs::read_to_string(swarmlb.state().join("agent.log")).expect("its log");
        for mended in [
            "ip netns exec collab-box.1 ipvsadm -A -f 256 -s rr",
            "ip netns exec collabweb.1 ipvsadm -A -f 257 -s rr",
            "ip netns exec collabweb.2 ipvsadm -a -f 256 -r 10.0.3.3:0 -m",
        ] {
            let line = format!("mending what somebody changed: {mended}");
            assert!(log.contains(&line), "no `{line}` in: {log}");
        }
        let rules = shell("ip netns exec collab-box.1 ipvsadm -Sn");
        assert!(rules.contains(foreign), "{rules}");
        let dump = swarmlb.good("sandbox dump collab-box.1 --table ipvs");
        let line = dump.lines().find(|line| line.contains("192.0.2.9:80")).expect("it is shown");
        assert!(line.contains("# foreign"), "{line}");
        assert!(
            dump.lines().any(|line| line.contains("0x100") && line.contains("collabweb")),
            "{dump}"
        );
        swarmlb.reset();
    });
}

#[test]
fn both_data_planes_serve_side_by_side_and_a_connection_outlives_scaling() {
    with_ipvs(|| {
        let swarmlb = Swarmlb::with_story();
        swarmlb.good(
            "service create --replicas 2 --name plain --network collabnet --data-plane nftables",
        );
        let plain = [("plain.1".to_owned(), 2), ("plain.2".to_owned(), 2)];
        for client in ["collab-box.1", "collabweb.2", "plain.1"] {
            assert_eq!(replies(client, "10.0.3.8", 4), plain, "from {client}");
            assert_eq!(replies(client, "10.0.3.2", 3), each(1), "from {client}");
        }
        swarmlb.good("inspect vip");
        // A connection that is open while its service grows and shrinks goes on.
        let mut streams: Vec<Stream> =
            (0..3).map(|_| Stream::open("collab-box.1", "10.0.3.2")).collect();
        streams.sort_by_key(|stream| stream.task.clone());
        let mut stream = streams.remove(0);
        streams.clear();
        assert_eq!(stream.task, "collabweb.1");
        swarmlb.good("service scale collabweb=4");
        assert_eq!(stream.ask(), "collabweb.1");
        swarmlb.good("service scale collabweb=1");
        assert_eq!(stream.ask(), "collabweb.1");
        drop(stream);
        swarmlb.reset();
    });
}

#[test]
fn a_namespace_of_others_is_balanced_without_a_virtual_server_in_it() {
    with_ipvs(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 --attachable collabnet");
        swarmlb.good("service create --replicas 3 --name collabweb --network collabnet");
        shell("ip netns add legacy && ip -n legacy link set lo up");
        shell("ip netns exec legacy ipvsadm -A -f 256 -s rr");
        swarmlb.good("network connect collabnet legacy");
        let tasks = |replicas: usize| {
            let each = (1..=replicas).map(|slot| (format!("collabweb.{slot}"), 2));
            each.collect::<Vec<(String, usize)>>()
        };
        assert_eq!(replies("legacy", "10.0.3.2", 6), tasks(3));
        // What balances there is nftables, and is looked at as such; theirs stays theirs.
        let told = swarmlb.good("inspect vip collabweb");
        assert!(told.contains("It works from all 4 sandboxes."), "{told}");
        let line = "diag compare-dns-ipvs collabweb --requests 12 --from legacy";
        let report = swarmlb.json(line);
        assert_eq!(report["conditions"]["data_plane"], "nftables", "{report:#}");
        assert_eq!(report["verdict"]["agrees"], true, "{report:#}");
        let (_, said) = swarmlb.ending(&format!("{line} --from collabweb.1"), 2);
        assert!(said.contains("ask from one kind at a time"), "{said}");
        // The cluster's mark changes with the tasks in rotation; the one in there stays.
        swarmlb.good("service scale collabweb=4");
        assert_eq!(replies("legacy", "10.0.3.2", 8), tasks(4));
        swarmlb.good("network disconnect collabnet legacy");
        let left = shell("ip netns exec legacy ipvsadm -Sn; ip -n legacy -br link");
        assert!(left.starts_with("-A -f 256 -s rr\n"), "{left}");
        assert!(!left.contains("eth") && left.lines().count() == 2, "{left}");
        swarmlb.reset();
        shell("ip netns del legacy");
    });
}
