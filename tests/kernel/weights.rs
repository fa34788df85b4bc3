//! Shares of new connections: weights that were given, and those that rise by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::in_place;
use crate::world::{Swarmlb, answers, replies, within};

const SOON: Duration = Duration::from_secs(30);

fn world(options: &str) -> Swarmlb {
    let swarmlb = Swarmlb::new();
    swarmlb.good("network create --subnet 10.0.3.0/24 net");
    swarmlb.good(&format!("service create --replicas 3 --name web --network net {options}"));
    swarmlb.good("service create --name box --network net host sleep 1000");
    swarmlb
}

fn met(requests: usize) -> BTreeMap<String, usize> {
    replies("box.1", "10.0.3.2", requests).into_iter().collect()
}

fn shares(of: [usize; 3]) -> BTreeMap<String, usize> {
    let tasks = (1..).zip(of).filter(|(_, share)| *share > 0);
    tasks.map(|(slot, share)| (format!("web.{slot}"), share)).collect()
}

#[test]
fn each_task_gets_as_many_new_connections_as_its_weight_says() {
    in_place(|| {
        let swarmlb = world("");
        assert_eq!(swarmlb.good("task update --weight 3 web.1"), "web.1\n");
        assert_eq!(met(20), shares([12, 4, 4]));
        let walks = swarmlb.json("inspect vip web");
        let weights: Vec<u64> = walks[0]["targets"]
            .as_array()
            .expect("targets")
            .iter()
            .map(|target| target["weight"].as_u64().expect("a weight"))
            .collect();
        assert_eq!(weights, [3, 1, 1]);
        let told = swarmlb.good("service ps web");
        assert!(told.contains(", weight 3"), "{told}");
        swarmlb.good("task update --weight 0 web.2");
        assert_eq!(met(8), shares([6, 0, 2]));
        assert_eq!(answers("box.1", "tasks.web").expect("an answer").len(), 2);
        assert_eq!(swarmlb.json("service ps web")[1]["weight"], 0);
        swarmlb.good("inspect vip web");
        for task in ["web.1", "web.2"] {
            swarmlb.good(&format!("task update --weight 1 {task}"));
        }
        assert_eq!(met(6), shares([2, 2, 2]));
        swarmlb.good("inspect vip web");
        swarmlb.ending("task update --weight 65536 web.1", 2);
        swarmlb.ending("task update --weight 1 web.9", 2);
        swarmlb.reset();
    });
}

#[test]
fn where_nftables_balances_too_great_a_difference_is_refused() {
    in_place(|| {
        let swarmlb = world("--data-plane nftables");
        let (_, told) = swarmlb.ending("task update --weight 65535 web.1", 2);
        assert!(told.contains("65537 turns pass"), "{told}");
        assert!(told.contains("there is room for 4096"), "{told}");
        swarmlb.good("task update --weight 4000 web.1");
        let met = met(40);
        assert!(met["web.1"] >= 38, "{met:?}");
        swarmlb.good("inspect vip web");
        swarmlb.reset();
    });
}

#[test]
fn a_task_that_begins_slowly_comes_to_its_share() {
    in_place(|| {
        let swarmlb = world("--slow-start 8s");
        within(
            "those that began together are alike",
            SOON,
            || met(6),
            |met| *met == shares([2, 2, 2]),
        );
        let whole = |swarmlb: &Swarmlb| -> Vec<u64> {
            let walks = swarmlb.json("inspect vip web");
            let targets = walks[0]["targets"].as_array().expect("targets").iter();
            targets.map(|target| target["weight"].as_u64().expect("a weight")).collect()
        };
        let equal = |weights: &Vec<u64>| weights.iter().all(|weight| *weight == 1);
        // Alike they are while they rise together, too.
        let youngest = || -> u64 {
            let tasks = swarmlb.json("service ps web");
            let ages = tasks.as_array().expect("tasks").iter();
            ages.map(|task| task["seconds"].as_u64().expect("seconds")).min().expect("a task")
        };
        within("all are older than 8 s", SOON, youngest, |seconds| *seconds > 8);
        swarmlb.good("service scale web=4");
        let first = met(30);
        let share = first.get("web.4").copied().unwrap_or_default();
        assert!(share <= 5, "it begins with little: {first:?}");
        let weights = whole(&swarmlb);
        assert!(weights[3] < weights[0] && weights[0] == weights[1], "{weights:?}");
        swarmlb.good("inspect vip web");
        within("it has its whole weight", SOON, || whole(&swarmlb), equal);
        let even: BTreeMap<String, usize> =
            (1..=4).map(|slot| (format!("web.{slot}"), 2)).collect();
        assert_eq!(met(8), even);
        // One that ended begins slowly again.
        swarmlb.good("task kill web.2");
        within("it rises anew", SOON, || whole(&swarmlb), |weights| weights[1] < weights[0]);
        within("it has risen", SOON, || whole(&swarmlb), equal);
        let told = swarmlb.good("service inspect --pretty web");
        assert!(told.contains("Slow start:    8s"), "{told}");
        swarmlb.reset();
    });
}
