//! Killed processes, of swarmlb and of tasks: what runs does not notice, and all is whole again.

use std::time::Duration;

use crate::world::{Swarmlb, answers, apart, kill, replies, request, within};

const SOON: Duration = Duration::from_secs(30);

/// Nothing that ran has noticed: the same processes, names, and three tasks that take turns.
fn unharmed(swarmlb: &Swarmlb, pids: &[i64]) {
    assert_eq!(swarmlb.pids("collabweb"), pids);
    for sandbox in ["collab-box.1", "collabweb.2"] {
        assert_eq!(answers(sandbox, "collabweb").expect("an answer"), ["10.0.3.2"]);
        assert_eq!(replies(sandbox, "10.0.3.2", 3).len(), 3);
    }
    swarmlb.good("inspect vip");
    swarmlb.good("diag dns tasks.collabweb");
}

fn killed(roles: &[&str]) {
    let swarmlb = Swarmlb::with_story();
    let pids = swarmlb.pids("collabweb");
    let victims: Vec<(&str, i64)> = roles
        .iter()
        .map(|role| (*role, swarmlb.role(role).unwrap_or_else(|| panic!("there is no {role}"))))
        .collect();
    for (_, pid) in &victims {
        kill(*pid);
    }
    // The VIP does not wait for anybody.
    assert_eq!(replies("collab-box.1", "10.0.3.2", 3).len(), 3);
    swarmlb.good("service ls");
    swarmlb.whole(SOON);
    for (role, pid) in victims {
        assert_ne!(swarmlb.role(role), Some(pid), "the {role} was killed");
    }
    unharmed(&swarmlb, &pids);
    // It works on: what is made now is made, and what the tasks do is still seen.
    swarmlb.good("service scale collabweb=4");
    assert_eq!(swarmlb.pids("collabweb")[..3], pids);
    assert_eq!(replies("collab-box.1", "10.0.3.2", 8).len(), 4);
    swarmlb.reset();
}

#[test]
fn a_killed_agent_is_back_and_nothing_noticed() {
    apart(|| killed(&["agent"]));
}

#[test]
fn a_killed_keeper_is_back_and_has_adopted_the_tasks() {
    apart(|| killed(&["keeper"]));
}

#[test]
fn a_killed_store_is_back_with_all_that_was_asked_for() {
    apart(|| killed(&["store"]));
}

#[test]
fn after_keeper_agent_and_store_were_killed_together_the_next_command_brings_them_back() {
    apart(|| killed(&["store", "agent", "keeper"]));
}

#[test]
fn a_task_that_died_while_its_keeper_was_dead_is_started_again() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let pids = swarmlb.pids("collabweb");
        let agent = swarmlb.role("agent").expect("an agent");
        let keeper = swarmlb.role("keeper").expect("a keeper");
        kill(agent);
        kill(keeper);
        kill(pids[1]);
        let now = within(
            "three tasks run",
            SOON,
            || swarmlb.json("service ps collabweb"),
            |rows| {
                rows.as_array().is_some_and(|rows| {
                    rows.iter().all(|row| row["state"] == "running" && row["pid"] != pids[1])
                })
            },
        );
        assert_eq!(now[0]["pid"], pids[0]);
        assert_eq!(now[2]["pid"], pids[2]);
        assert_eq!(replies("collab-box.1", "10.0.3.2", 6).len(), 3);
        swarmlb.reset();
    });
}

#[test]
fn a_killed_task_is_started_again_in_its_slot() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let pids = swarmlb.pids("collabweb");
        kill(pids[2]);
        let rows = within(
            "the slot has another process",
            SOON,
            || swarmlb.json("service ps collabweb"),
            |rows| {
                rows[2]["state"] == "running"
                    && rows[2]["pid"].as_i64().is_some_and(|p| p != pids[2])
            },
        );
        assert_eq!(rows[2]["name"], "collabweb.3");
        assert_eq!(rows[2]["addresses"][0], "10.0.3.5");
        assert_eq!(rows[2]["failures"], 1);
        assert_eq!(rows[2]["error"], "killed by SIGKILL");
        assert_eq!(
            [rows[0]["pid"].as_i64(), rows[1]["pid"].as_i64()],
            [Some(pids[0]), Some(pids[1])]
        );
        assert_eq!(replies("collab-box.1", "10.0.3.2", 6).len(), 3);
        swarmlb.reset();
    });
}

#[test]
fn a_command_that_is_missing_or_ends_at_once_is_told_with_its_reason() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 collabnet");
        let make = |name: &str, command: &str| {
            let line = format!("service create --name {name} --network collabnet host {command}");
            swarmlb.ending(&line, 1).1
        };
        let said = make("lost", "/no/such/program");
        assert!(said.contains("task lost.1 cannot be started"), "{said}");
        assert!(said.contains("`/no/such/program`: no such file or directory (ENOENT)"), "{said}");
        let said = make("brief", "sh -c exit");
        assert!(said.contains("task brief.1 does not stay up: exited with code 0"), "{said}");
        let said = make("failing", "false");
        assert!(said.contains("exited with code 1"), "{said}");
        let rows = swarmlb.json("service ps lost brief failing");
        assert_eq!(rows[0]["state"], "rejected");
        assert!(rows[0]["error"].as_str().is_some_and(|e| e.contains("(ENOENT)")), "{rows}");
        assert_eq!(rows[1]["error"], "exited with code 0");
        assert_eq!(rows[2]["error"], "exited with code 1");
        swarmlb.good("service rm lost brief failing");
        assert_eq!(crate::world::shell("ls /run/netns"), "collabnet\n");
        let tasks = std::fs::read_dir(swarmlb.state().join("tasks")).expect("the directory");
        assert_eq!(tasks.count(), 0);
        swarmlb.reset();
    });
}

#[test]
fn a_command_of_the_machine_serves_behind_its_vip() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        swarmlb
            .good("service create --name sleeper --replicas 2 --network collabnet host sleep 1000");
        let refused = request("collab-box.1", "10.0.3.8").expect_err("nobody listens there");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let pid = swarmlb.pids("sleeper")[0];
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs");
        assert!(command.ends_with("sleep\u{0}1000\u{0}"), "{command}");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        assert!(status.contains("SigBlk:\t0000000000000000"), "it is deaf: {status}");
        // It ends when told to, long before it would be killed.
        let started = std::time::Instant::now();
        swarmlb.good("service rm sleeper");
        assert!(started.elapsed() < Duration::from_secs(8), "after {:?}", started.elapsed());
        swarmlb.reset();
    });
}
