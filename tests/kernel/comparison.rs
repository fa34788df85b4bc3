//! `diag compare-dns-ipvs` for real: what clients meet, and that nothing of what it makes is left.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::world::{Swarmlb, apart, shell, within};

const SOON: Duration = Duration::from_secs(30);

/// How many tasks each client met, one way.
fn tasks_met(way: &Value) -> Vec<usize> {
    let met = |client: &Value| {
        let tasks = client["tasks"].as_array().expect("tasks");
        tasks.iter().filter(|task| task["replies"].as_u64() > Some(0)).count()
    };
    way["clients"].as_array().expect("clients").iter().map(met).collect()
}

/// By how much the tasks of each client differ at most, one way.
fn differences(way: &Value) -> Vec<u64> {
    let difference = |client: &Value| {
        let tasks = client["tasks"].as_array().expect("tasks").iter();
        let replies: Vec<u64> = tasks.filter_map(|task| task["replies"].as_u64()).collect();
        replies.iter().max().expect("a task") - replies.iter().min().expect("a task")
    };
    way["clients"].as_array().expect("clients").iter().map(difference).collect()
}

fn assert_whole(report: &Value) {
    assert_eq!(report["verdict"]["failures"], 0, "{report:#}");
    assert_ne!(report["verdict"]["agrees"], false, "{report:#}");
}

/// Services and networks, by name.
fn made(swarmlb: &Swarmlb) -> Vec<String> {
    let mut names = Vec::new();
    for line in ["service ls", "network ls"] {
        let rows = swarmlb.json(line);
        let rows = rows.as_array().expect("rows").iter();
        names.extend(rows.filter_map(|row| row["name"].as_str()).map(str::to_owned));
    }
    names
}

/// What a throwaway comparison made, once its clients run.
fn throwaways(swarmlb: &Swarmlb) -> Vec<String> {
    let seen = || {
        let rows = swarmlb.json("service ls");
        let running = |row: &&Value| row["running"] == row["replicas"];
        let rows = rows.as_array().cloned().unwrap_or_default();
        let running = rows.iter().filter(running).filter_map(|row| row["name"].as_str());
        running.filter(|name| name.starts_with("compare-")).map(str::to_owned).collect::<Vec<_>>()
    };
    within("service and clients run", SOON, seen, |names| names.len() == 2)
}

/// A comparison that would take minutes.
fn long(swarmlb: &Swarmlb, report: &str) -> Child {
    let line = format!("--quiet diag compare-dns-ipvs --requests 140000 --report {report}");
    let mut command = swarmlb.command(&line);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).expect("it is there");
}

#[test]
fn what_clients_meet_depends_on_what_they_keep_through_dns_and_not_through_a_vip() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        swarmlb.good("service scale collab-box=3");
        let compare = |cache: &str| {
            let line = "diag compare-dns-ipvs collabweb --from collab-box --requests 90";
            let report = swarmlb.json(&format!("{line} --client-cache {cache}"));
            assert_whole(&report);
            assert_eq!(report["conditions"]["client_cache"], cache);
            let [dns, vip] = &report["ways"].as_array().expect("ways")[..] else { panic!("two") };
            // The VIP does not care: each client's own turns are exact.
            assert_eq!((tasks_met(vip), differences(vip)), (vec![3; 3], vec![0; 3]), "{cache}");
            for client in vip["clients"].as_array().expect("clients") {
                assert_eq!(client["order"]["pattern"], "rotation", "{client:#}");
            }
            dns.clone()
        };
        let dns = compare("none");
        assert_eq!((tasks_met(&dns), dns["lookups"].as_u64()), (vec![3; 3], Some(90)));
        assert!(differences(&dns).iter().all(|difference| *difference <= 1), "{dns:#}");
        for client in dns["clients"].as_array().expect("clients") {
            assert_eq!(client["answers"]["first_address"]["pattern"], "rotation", "{client:#}");
            assert_eq!(client["answers"]["begin"][0].as_array().map(Vec::len), Some(3));
        }
        let dns = compare("forever");
        assert_eq!((tasks_met(&dns), dns["lookups"].as_u64()), (vec![1; 3], Some(3)));
        assert_eq!(dns["strata"]["met_one"], 3, "{dns:#}");
        // An answer lives two seconds, which is longer than this takes, or it is asked for anew.
        let dns = compare("ttl");
        let lookups = dns["lookups"].as_u64().expect("a number");
        assert!((3..90).contains(&lookups), "{lookups}");
        assert_eq!(dns["ttl"], 2);
        let told = swarmlb.good(
            "diag compare-dns-ipvs collabweb --from collab-box.1 --from collab-box.3 --requests 60 --client-cache forever",
        );
        assert!(told.contains("Through RR-DNS each of 2 clients met one task only"), "{told}");
        swarmlb.reset();
    });
}

#[test]
fn a_service_without_a_vip_is_measured_by_dns_alone() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let line = "service create --replicas 4 --name rr --network collabnet";
        swarmlb.good(&format!("{line} --endpoint-mode dnsrr"));
        let report = swarmlb.json("diag compare-dns-ipvs rr --requests 42 --concurrency 3");
        assert_whole(&report);
        let ways = report["ways"].as_array().expect("ways");
        assert_eq!((ways.len(), &ways[0]["way"]), (1, &Value::from("dns")));
        assert!(differences(&ways[0]).iter().all(|difference| *difference <= 1), "{report:#}");
        let told = swarmlb.good("diag compare-dns-ipvs rr");
        assert!(told.contains("Service rr has endpoint mode dnsrr"), "{told}");
        swarmlb.reset();
    });
}

#[test]
fn without_a_service_one_is_made_compared_and_removed_with_reports_of_each_kind() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let file = |kind: &str| format!("/run/report.{kind}");
        let reports: Vec<String> =
            ["html", "svg", "csv", "json"].map(|kind| format!("--report {}", file(kind))).into();
        std::fs::write(file("csv"), "old").expect("a file");
        // Nothing was ever made here: it is the first command of all.
        let told = swarmlb.json(&format!("diag compare-dns-ipvs {}", reports.join(" ")));
        assert_whole(&told);
        assert_eq!(told["ways"][1]["clients"].as_array().map(Vec::len), Some(6));
        assert_eq!(told["ways"][1]["tasks"].as_array().map(Vec::len), Some(3));
        assert_eq!(told["ways"][1]["strata"]["firsts"]["in_step"], false);
        let read = |kind: &str| std::fs::read_to_string(file(kind)).expect("a report");
        assert_eq!(serde_json::from_str::<Value>(&read("json")).expect("JSON"), told);
        assert!(read("html").ends_with("</html>\n") && read("svg").ends_with("</svg>\n"));
        assert_eq!(read("csv").lines().count(), 1 + 2 * 300);
        for kind in ["html", "svg", "csv", "json"] {
            std::fs::remove_file(file(kind)).expect("it is there");
        }
        assert_eq!(made(&swarmlb), Vec::<String>::new());
        assert_eq!(shell("ls /run/netns"), "");
        // Clients alone can be made too, and the service that they ask stays as it was.
        swarmlb.good("network create --subnet 10.0.3.0/24 collabnet");
        swarmlb.good("service create --replicas 3 --name collabweb --network collabnet");
        let pids = swarmlb.pids("collabweb");
        let told = swarmlb.json("diag compare-dns-ipvs collabweb --clients 9 --requests 9");
        assert_whole(&told);
        let of_task: BTreeMap<&str, u64> = told["ways"][1]["tasks"]
            .as_array()
            .expect("tasks")
            .iter()
            .filter_map(|task| Some((task["task"].as_str()?, task["replies"].as_u64()?)))
            .collect();
        assert_eq!(of_task.into_values().collect::<Vec<_>>(), [3, 3, 3]);
        assert_eq!(made(&swarmlb), ["collabweb", "collabnet"]);
        assert_eq!(swarmlb.pids("collabweb"), pids);
        swarmlb.reset();
    });
}

#[test]
fn what_a_comparison_made_is_removed_when_it_is_told_to_end() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 collabnet");
        for end in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let child = long(&swarmlb, "/run/report.html");
            throwaways(&swarmlb);
            signal(&child, end);
            let output = child.wait_with_output().expect("it ends");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(4), "{said}");
            assert!(said.contains(&format!("interrupted by {end}")), "{said}");
            assert_eq!(made(&swarmlb), ["collabnet"]);
            assert_eq!(shell("ls /run/netns; ls -A /run | grep report || :"), "collabnet\n");
        }
        swarmlb.reset();
    });
}

#[test]
fn what_a_killed_comparison_left_is_removed_by_the_next_one_and_only_that() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 collabnet");
        let mut killed = long(&swarmlb, "/run/report.html");
        let left = throwaways(&swarmlb);
        signal(&killed, Signal::SIGKILL);
        killed.wait().expect("it ends");
        let mut others = left.clone();
        others.extend(["collabnet".to_owned(), left[0].clone()]);
        assert_eq!(made(&swarmlb), others);
        let told = swarmlb.run("diag compare-dns-ipvs --requests 30");
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        assert_eq!(told.status.code(), Some(0), "{said}");
        let names = left.join(", ");
        assert!(said.contains(&format!("a killed comparison had left: {names}")), "{said}");
        assert_eq!(made(&swarmlb), ["collabnet"]);
        // One that is at work meanwhile is nobody's leftover.
        let alive = long(&swarmlb, "/run/report.html");
        let held = throwaways(&swarmlb);
        swarmlb.good("diag compare-dns-ipvs --requests 30");
        assert_eq!(throwaways(&swarmlb), held);
        signal(&alive, Signal::SIGTERM);
        alive.wait_with_output().expect("it ends");
        assert_eq!(made(&swarmlb), ["collabnet"]);
        swarmlb.reset();
    });
}

#[test]
fn a_killed_task_costs_clients_that_keep_its_address_most() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let line = "diag compare-dns-ipvs collabweb --clients 6 --requests 180 --kill-task-at 0.5 --episode 3s";
        let report = swarmlb.json(line);
        assert_whole(&report);
        let outages = &report["outages"];
        assert_eq!(
            (&outages["killed_after_ms"], &outages["lasted_ms"]),
            (&1500.into(), &3000.into())
        );
        let episodes = outages["episodes"].as_array().expect("episodes");
        let seen: Vec<_> = episodes
            .iter()
            .map(|episode| {
                assert!(episode["kills"].as_u64() >= Some(1), "{episode:#}");
                let slices = episode["slices"].as_array().expect("slices").iter();
                let all = slices.map(|slice| {
                    slice["answered"].as_u64().unwrap() + slice["failed"].as_u64().unwrap()
                });
                assert_eq!(all.sum::<u64>(), 180, "{episode:#}");
                let failures = episode["failures"].as_object().expect("failures").values();
                let failed: u64 = failures.filter_map(Value::as_u64).sum();
                (
                    episode["way"].as_str().unwrap(),
                    episode["client_cache"].as_str().unwrap(),
                    failed,
                )
            })
            .collect();
        println!("{seen:?}");
        let failed =
            |way, cache| seen.iter().find(|row| (row.0, row.1) == (way, cache)).expect("told").2;
        // A third of the clients, for half of the time, but for the moments when it is up.
        assert!(failed("dns", "forever") >= 15, "{seen:?}");
        // The first client keeps the address of who is killed, for the rest of its TTL at least.
        assert!(failed("dns", "ttl") >= 1, "{seen:?}");
        for cache in ["none", "ttl", "forever"] {
            assert!(failed("vip", cache) < failed("dns", "forever"), "{seen:?}");
        }
        // It is whole again when the command ends.
        assert_whole(&swarmlb.json("diag compare-dns-ipvs collabweb --requests 30"));
        assert_eq!(made(&swarmlb), ["collab-box", "collabweb", "collabnet"]);
        swarmlb.reset();
    });
}
