//! A clock that jumps. Only a machine of its own has one that a test may set.

use std::time::{Duration, Instant};

use crate::with_ipvs;
use crate::world::{Lab, Stream, Swarmlb, replies, shell, within};

const SOON: Duration = Duration::from_secs(60);
/// Longer than any lease, rotation or timeout.
const DAY: i64 = 24 * 60 * 60;

/// The machine's clock, which is set right at the end.
struct Clock {
    off: i64,
}

impl Clock {
    fn jump(&mut self, by: i64) {
        self.off += by;
        shell(&format!("date -s @$(( $(date +%s) + {by} ))"));
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.jump(-self.off);
    }
}

fn names(swarmlb: &Swarmlb) -> Vec<String> {
    let rows = swarmlb.json("service ps web");
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_clock_that_jumps_neither_hangs_a_drain_nor_cuts_one_short() {
    with_ipvs(|| {
        let mut clock = Clock { off: 0 };
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 net");
        swarmlb.good("service create --replicas 2 --name web --network net --drain-timeout 12s");
        swarmlb.good("service create --name box --network net");
        let mut streams: Vec<Stream> = (0..2).map(|_| Stream::open("box.1", "10.0.3.2")).collect();
        streams.sort_by_key(|stream| stream.task.clone());
        let agent = swarmlb.role("agent");
        let begun = Instant::now();
        swarmlb.good("service scale --detach web=1");
        clock.jump(DAY);
        let draining = || swarmlb.json("service ps web")[1]["state"].clone();
        within("it drains", SOON, draining, |state| state == "draining");
        assert_eq!(replies("box.1", "10.0.3.2", 2), [("web.1".to_owned(), 2)]);
        if begun.elapsed() < Duration::from_secs(11) {
            assert_eq!(streams[1].ask(), "web.2", "whoever is connected is not cut off");
        }
        clock.jump(-2 * DAY);
        within("at its timeout it goes", SOON, || names(&swarmlb), |names| *names == ["web.1"]);
        assert!(begun.elapsed() >= Duration::from_secs(11), "{:?}", begun.elapsed());
        swarmlb.good("service scale web=2");
        swarmlb.good("inspect vip");
        assert_eq!(swarmlb.role("agent"), agent, "the agent is the same");
        drop(streams);
        swarmlb.reset();
    });
}

#[test]
fn a_clock_that_jumps_drops_no_node_and_keeps_none_out() {
    with_ipvs(|| {
        let mut clock = Clock { off: 0 };
        let lab = Lab::up(2);
        lab.good("network create blue");
        lab.good("service create --name web --network blue --replicas 2");
        let tasks = || {
            let rows = lab.json("service ps web");
            let rows = rows.as_array().expect("rows").iter();
            rows.map(|row| format!("{} {} {}", row["id"], row["state"], row["pid"]))
                .collect::<Vec<_>>()
        };
        let before = tasks();
        let ready = || {
            let nodes = lab.json("node ls");
            nodes.as_array().expect("nodes").iter().filter(|node| node["status"] == "ready").count()
        };
        for jump in [DAY, -2 * DAY, 1000 * DAY] {
            clock.jump(jump);
            // A commit and what follows from it, on both nodes and over new connections.
            lab.good("service create --name next --network blue --replicas 2");
            lab.good("--node node-2 agent status");
            lab.good("service rm next");
            assert_eq!((tasks(), ready()), (before.clone(), 2), "after a jump by {jump} s");
        }
        // As a machine without a battery has it.
        let now = shell("date +%s").trim().parse::<i64>().expect("a number");
        clock.jump(1 - now);
        lab.good("lab kill-node node-2");
        lab.good("lab start-node node-2");
        within("both are there", SOON, ready, |count| *count == 2);
        lab.down();
    });
}
