//! `swarmlb events`: what happens is told as it happens.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{Lab, Swarmlb, apart, shell};

const SOON: Duration = Duration::from_secs(30);

/// `swarmlb events --format json …`. Dropped, it ends.
struct Events {
    child: Child,
    lines: Receiver<String>,
}

impl Events {
    fn follow(swarmlb: &Swarmlb, options: &str) -> Self {
        let mut command = swarmlb.command(&format!("--format json events {options}"));
        // Ctrl-C at a terminal reaches the whole group.
        let mut child = command.stdout(Stdio::piped()).process_group(0).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let events = Self { child, lines };
        // It listens once it tells something.
        let listens = (0..60).any(|attempt| {
            swarmlb.good(&format!("network create --internal begin-{attempt}"));
            events.lines.recv_timeout(Duration::from_millis(500)).is_ok()
        });
        assert!(listens, "it tells nothing");
        events
    }

    /// The next event that fits.
    fn next(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + SOON;
        let mut seen = Vec::new();
        while let Ok(line) =
            self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            let event: Value = serde_json::from_str(&line).expect("JSON");
            if fits(&event) {
                return event;
            }
            seen.push(line);
        }
        panic!("{what} is not told: {seen:#?}");
    }

    fn expect(&self, kind: &str, action: &str, name: &str) -> Value {
        self.next(&format!("{kind} {action} {name}"), |event| {
            event["type"] == kind && event["action"] == action && event["name"] == name
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::killpg(pid, nix::sys::signal::Signal::SIGINT);
        let status = self.child.wait().expect("it ends");
        if !std::thread::panicking() {
            assert_eq!(status.code(), Some(0), "Ctrl-C is a good end");
        }
    }
}

#[test]
fn what_happens_to_services_and_tasks_is_told_in_order() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let events = Events::follow(&swarmlb, "");
        swarmlb.good("network create --subnet 10.0.3.0/24 net");
        events.expect("network", "create", "net");
        swarmlb.good("service create --replicas 2 --name web --network net --health-http / --health-interval 200ms");
        assert_eq!(events.expect("service", "create", "web")["attributes"]["replicas"], "2");
        events.next("a start", |event| event["type"] == "task" && event["action"] == "start");
        events.next("health", |event| event["attributes"]["health"] == "healthy");
        swarmlb.good("service scale web=3");
        events.expect("service", "scale", "web");
        events.expect("task", "create", "web.3");
        swarmlb.good("task update --weight 2 web.1");
        assert_eq!(events.expect("task", "weigh", "web.1")["attributes"]["weight"], "2");
        swarmlb.good("task kill web.2");
        let died = events.expect("task", "die", "web.2");
        assert_eq!(died["attributes"]["failures"], "1");
        assert!(died["attributes"]["error"].is_string(), "{died}");
        events.expect("task", "start", "web.2");
        swarmlb.good("service scale web=2");
        events.expect("task", "drain", "web.3");
        events.expect("task", "remove", "web.3");
        shell("ip netns exec web.1 nft flush map ip swarmlb vip-mark");
        events.next("what the agent mended", |event| {
            event["type"] == "agent"
                && event["attributes"]["message"].to_string().contains("vip-mark")
        });
        swarmlb.good("service rm web");
        events.expect("service", "remove", "web");
        drop(events);
        let told = swarmlb.good("--format {{.Type}}:{{.Action}} events --until 1ms");
        assert_eq!(told, "");
        swarmlb.ending("events --filter type=container", 2);
        swarmlb.reset();
    });
}

#[test]
fn that_a_node_dies_is_told_to_who_asked_for_nodes_only() {
    apart(|| {
        let lab = Lab::up(2);
        lab.good("network create blue");
        lab.good("service create --name web --network blue --constraint node.name==node-2");
        let events = Events::follow(&lab, "--filter type=node --filter type=network");
        lab.good("network create green");
        events.expect("network", "create", "green");
        lab.good("lab kill-node node-2");
        let next = || events.next("anything", |_| true);
        let down = next();
        assert_eq!((&down["action"], &down["name"]), (&"down".into(), &"node-2".into()));
        lab.good("lab start-node node-2");
        events.expect("node", "up", "node-2");
        drop(events);
        lab.down();
    });
}
