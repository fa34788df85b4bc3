//! Tasks that leave: out of rotation at once, gone when nobody is connected to them.

use std::time::{Duration, Instant};

use crate::world::{Stream, Swarmlb, answers, apart, echo, replies, shell, within};

const SOON: Duration = Duration::from_secs(30);

/// `web` with three tasks, of which a client in `box.1` holds a connection to each.
fn world(options: &str) -> (Swarmlb, Vec<Stream>) {
    let swarmlb = Swarmlb::new();
    swarmlb.good("network create --subnet 10.0.3.0/24 net");
    swarmlb.good(&format!("service create --replicas 3 --name web --network net {options}"));
    swarmlb.good("service create --name box --network net host sleep 1000");
    let mut streams: Vec<Stream> = (0..3).map(|_| Stream::open("box.1", "10.0.3.2")).collect();
    streams.sort_by_key(|stream| stream.task.clone());
    let tasks: Vec<&str> = streams.iter().map(|stream| stream.task.as_str()).collect();
    assert_eq!(tasks, ["web.1", "web.2", "web.3"]);
    (swarmlb, streams)
}

fn states(swarmlb: &Swarmlb) -> Vec<(String, String)> {
    let rows = swarmlb.json("service ps web");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| (text(&row["name"]), text(&row["state"]))).collect()
}

fn names(swarmlb: &Swarmlb) -> Vec<String> {
    states(swarmlb).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_task_that_leaves_is_out_of_rotation_and_serves_those_who_are_connected() {
    apart(|| {
        let (swarmlb, mut streams) = world("--drain-timeout 1m");
        swarmlb.good("service scale --detach web=1");
        let drained = |states: &Vec<(String, String)>| {
            states.iter().filter(|(_, state)| state == "draining").count() == 2
        };
        within("two tasks drain", SOON, || states(&swarmlb), drained);
        within(
            "new connections go to the one that stays",
            SOON,
            || replies("box.1", "10.0.3.2", 4),
            |replies| *replies == [("web.1".to_owned(), 4)],
        );
        assert_eq!(answers("box.1", "tasks.web"), Ok(vec!["10.0.3.3".into()]));
        swarmlb.good("inspect vip web");
        for stream in &mut streams {
            assert_eq!(stream.ask(), stream.task, "whoever is connected stays with its task");
        }
        // The agent may die meanwhile.
        swarmlb.kill("agent");
        swarmlb.whole(SOON);
        streams.remove(2);
        within("the idle one is gone", SOON, || names(&swarmlb), |n| *n == ["web.1", "web.2"]);
        assert_eq!(streams[1].ask(), "web.2");
        streams.remove(1);
        within("and then the other", SOON, || names(&swarmlb), |names| *names == ["web.1"]);
        let sandboxes = || shell("ip netns list | grep -c ^web || :");
        within("their sandboxes are too", SOON, sandboxes, |count| count.trim() == "1");
        swarmlb.reset();
    });
}

#[test]
fn at_the_drain_timeout_a_task_goes_whoever_is_connected() {
    apart(|| {
        let (swarmlb, mut streams) = world("--drain-timeout 1s");
        let begun = Instant::now();
        swarmlb.good("service scale web=2");
        assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
        assert_eq!(names(&swarmlb), ["web.1", "web.2"]);
        assert_eq!(streams[0].ask(), "web.1");
        assert!(streams[2].try_ask().is_none(), "its task is gone");
        swarmlb.reset();
    });
}

#[test]
fn scaling_up_again_calls_a_leaving_task_back() {
    apart(|| {
        let (swarmlb, mut streams) = world("--drain-timeout 1m");
        let before = swarmlb.pids("web");
        swarmlb.good("service scale --detach web=1");
        swarmlb.good("service scale web=3");
        assert_eq!(swarmlb.pids("web"), before);
        assert_eq!(streams[2].ask(), "web.3");
        let even = ["web.1", "web.2", "web.3"].map(|task| (task.to_owned(), 2));
        assert_eq!(replies("box.1", "10.0.3.2", 6), even);
        swarmlb.reset();
    });
}

#[test]
fn the_questions_of_a_task_do_not_keep_it() {
    apart(|| {
        let (swarmlb, streams) = world("--drain-timeout 5m");
        drop(streams);
        let served = echo("web.3", 7);
        let outside = echo("box.1", 9);
        // It asks its resolver, and a task beyond its sandbox, all the time.
        let asks = crate::world::Asking::begin("web.3", "10.0.3.7", 9);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // Its sandbox goes at last, and so does its resolver.
                    let _ = std::panic::catch_unwind(|| answers("web.3", "web"));
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            swarmlb.good("service scale --detach web=2");
            let left = || names(&swarmlb);
            within("it is gone", SOON, left, |names| *names == ["web.1", "web.2"]);
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        asks.end();
        drop((served, outside));
        swarmlb.reset();
    });
}

#[test]
fn a_task_that_serves_udp_goes_when_it_is_silent() {
    apart(|| {
        let (swarmlb, streams) = world("--drain-timeout 1m");
        drop(streams);
        let served = echo("web.3", 7);
        let asking = crate::world::Asking::begin("box.1", "10.0.3.5", 7);
        swarmlb.good("service scale --detach web=2");
        // As long as somebody asks, it stays; what it would be beyond that is the drain timeout.
        within("some were answered", SOON, || asking.answered(), |count| *count >= 40);
        assert_eq!(names(&swarmlb), ["web.1", "web.2", "web.3"]);
        assert_eq!(asking.end(), 0, "every datagram was answered");
        within("it is gone", SOON, || names(&swarmlb), |names| *names == ["web.1", "web.2"]);
        drop(served);
        swarmlb.reset();
    });
}
