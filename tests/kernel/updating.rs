//! Updates: tasks are replaced some at a time, and back.

use std::time::Duration;

use crate::world::{Swarmlb, apart, within};

const SOON: Duration = Duration::from_secs(20);

fn world(options: &str) -> Swarmlb {
    let swarmlb = Swarmlb::new();
    swarmlb.good("network create --subnet 10.0.3.0/24 net");
    let quick = "--update-monitor 0s --rollback-monitor 0s";
    swarmlb
        .good(&format!("service create --replicas 3 --name web --network net {quick} {options}"));
    swarmlb
}

/// What a variable is in each task.
fn variable(swarmlb: &Swarmlb, name: &str) -> Vec<String> {
    let rows = swarmlb.json("service ps web --filter desired-state=running");
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| {
        let task = row["name"].as_str().expect("a name");
        let output = swarmlb.run(&format!("task exec {task} printenv {name}"));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
    .collect()
}

fn status(swarmlb: &Swarmlb) -> (String, String) {
    let service = swarmlb.json("service inspect web");
    let update = &service[0]["update_status"];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    (text(&update["state"]), text(&update["message"]))
}

#[test]
fn every_task_is_replaced_by_what_was_asked_for_and_again_by_what_it_was() {
    apart(|| {
        let swarmlb = world("--env A=1");
        assert_eq!(
            swarmlb.good("service update --env-add A=2 --label-add tier=front web"),
            "web\n"
        );
        assert_eq!(variable(&swarmlb, "A"), ["2", "2", "2"]);
        assert_eq!(status(&swarmlb), ("completed".into(), "update completed".into()));
        let told = swarmlb.good("service inspect --pretty web");
        assert!(told.contains("Update:        completed, started "), "{told}");
        assert_eq!(swarmlb.good("service rollback web"), "web\n");
        assert_eq!(variable(&swarmlb, "A"), ["1", "1", "1"]);
        assert_eq!(status(&swarmlb), ("rollback_completed".into(), "rollback completed".into()));
        let pids = swarmlb.pids("web");
        swarmlb.good("service update --replicas 4 --drain-timeout 1s web");
        assert_eq!(swarmlb.pids("web")[..3], pids, "no task is another");
        swarmlb.good("service update web");
        assert_eq!(swarmlb.pids("web")[..3], pids, "nothing was asked for");
        swarmlb.good("inspect vip web");
        swarmlb.reset();
    });
}

#[test]
fn another_network_and_another_port_are_for_new_tasks() {
    apart(|| {
        let swarmlb = world("");
        swarmlb.good("network create --subnet 10.0.4.0/24 other");
        swarmlb.good("service create --name box --network other host sleep 1000");
        swarmlb.good("service update --network-add other,alias=www --publish-add 8080:80 web");
        let told = crate::world::shell("curl -sf http://127.0.0.1:8080/");
        assert!(told.contains("Task: web."), "{told}");
        let told = swarmlb.good("sandbox exec box.1 -- curl -sf http://www/");
        assert!(told.contains("Task: web."), "{told}");
        swarmlb.good("service update --network-rm net --publish-rm 80 web");
        swarmlb.good("network rm net");
        let told = swarmlb.good("sandbox exec box.1 -- curl -sf http://web/");
        assert!(told.contains("Task: web."), "{told}");
        swarmlb.good("inspect vip web");
        swarmlb.reset();
    });
}

#[test]
fn what_fails_pauses_and_another_update_goes_on() {
    apart(|| {
        let swarmlb = world("--env A=1");
        let (_, told) =
            swarmlb.ending("service update --update-monitor 3s --image host --args false web", 1);
        assert!(
            told.contains("update paused due to failure or early termination of task web.1"),
            "{told}"
        );
        assert!(told.contains("hint: mend it with another `swarmlb service update web`"), "{told}");
        assert_eq!(status(&swarmlb).0, "paused");
        let images = |swarmlb: &Swarmlb| -> Vec<String> {
            let rows = swarmlb.json("service ps web");
            let image = |row: &serde_json::Value| row["image"].as_str().expect("text").to_owned();
            rows.as_array().expect("rows").iter().map(image).collect()
        };
        assert_eq!(images(&swarmlb), ["host", "builtin:whoami", "builtin:whoami"]);
        let mut again = swarmlb.command("service update --update-monitor 0s web");
        assert!(again.args(["--args", "sleep 1000"]).status().expect("it starts").success());
        assert_eq!(images(&swarmlb), ["host", "host", "host"]);
        swarmlb.reset();
    });
}

#[test]
fn a_second_update_takes_over_and_a_killed_agent_goes_on() {
    apart(|| {
        let swarmlb = world("--update-delay 1s");
        swarmlb.good("service update --detach --env-add A=1 web");
        let one = |values: &Vec<String>| values.iter().any(|value| value == "1");
        within("the first replaced one", SOON, || variable(&swarmlb, "A"), one);
        swarmlb.good("service update --detach --update-delay 0s --env-add A=2 web");
        swarmlb.kill("agent");
        let done = |values: &Vec<String>| *values == ["2", "2", "2"];
        within("all are of the second", SOON, || variable(&swarmlb, "A"), done);
        within("it is over", SOON, || status(&swarmlb).0, |state| state == "completed");
        swarmlb.reset();
    });
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_touched() {
    apart(|| {
        let swarmlb = world("");
        let before = swarmlb.good("service inspect web");
        for (line, said) in [
            ("service update --network-rm net web", "service `web` would be on no network"),
            ("service update --network-add nowhere web", "there is no network `nowhere`"),
            ("service update --image host web", "image `host` needs a command to run"),
            (
                "service update --replicas 2000 web",
                "2000 replicas are more than one service may have",
            ),
            ("service update nobody", "there is no service `nobody`"),
            ("service rollback web", "service `web` was not changed since it was made"),
        ] {
            let (_, told) = swarmlb.ending(line, 2);
            assert!(told.contains(said), "{line}: {told}");
        }
        assert_eq!(swarmlb.good("service inspect web"), before);
        swarmlb.reset();
    });
}
