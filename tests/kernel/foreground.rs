//! `agent run`: the keeper as a service manager runs it.

use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{Swarmlb, apart, replies, within};

/// How long the node may take to come up, or to end.
const LONGEST: Duration = Duration::from_secs(20);

struct Unit {
    child: Child,
}

impl Unit {
    /// Starts `agent run` as systemd would a unit of Type=notify, and waits until it says that it is up.
    fn start(swarmlb: &Swarmlb) -> Self {
        let path = format!("{}-notify", swarmlb.state().display());
        let _ = std::fs::remove_file(&path);
        let manager = UnixDatagram::bind(&path).expect("a socket");
        manager.set_read_timeout(Some(LONGEST)).expect("a timeout");
        let mut command = swarmlb.command("agent run");
        let child = command.env("NOTIFY_SOCKET", &path).env("STRAY", "x").stderr(Stdio::piped());
        let child = child.spawn().expect("it starts");
        let mut said = [0; 64];
        let length = manager.recv(&mut said).expect("it says that it is up");
        assert_eq!(&said[..length], b"READY=1");
        std::fs::remove_file(&path).expect("the socket goes");
        Self { child }
    }

    fn pid(&self) -> i64 {
        i64::from(self.child.id())
    }

    /// Its exit code after a signal, and what it said on stderr.
    fn end(self, signal: Signal) -> (Option<i32>, String) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it is there");
        self.ended()
    }

    /// Its exit code, and what it said on stderr.
    fn ended(mut self) -> (Option<i32>, String) {
        let ended = || self.child.try_wait().expect("it is our child");
        let status = within("the unit ends", LONGEST, ended, Option::is_some);
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut said).expect("UTF-8");
        (status.and_then(|status| status.code()), said)
    }
}

#[test]
fn a_unit_is_the_keeper_and_tasks_outlive_its_restart() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let unit = Unit::start(&swarmlb);
        swarmlb.good("service create --name web --replicas 2");
        assert_eq!(swarmlb.role("keeper"), Some(unit.pid()), "the unit is the keeper");
        let tasks = swarmlb.pids("web");
        let environment = std::fs::read(format!("/proc/{}/environ", tasks[0])).expect("a task");
        let environment = String::from_utf8_lossy(&environment);
        assert!(!environment.contains("STRAY"), "tasks get what the unit had: {environment}");
        assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");

        let (code, said) = unit.end(Signal::SIGTERM);
        assert_eq!((code, said.as_str()), (Some(0), ""));
        assert_eq!(swarmlb.run("agent status").status.code(), Some(1), "all of it ended");
        assert_eq!(replies("web.1", "10.0.0.2", 4).len(), 2, "the tables stand");

        let unit = Unit::start(&swarmlb);
        swarmlb.whole(LONGEST);
        assert_eq!(swarmlb.pids("web"), tasks, "the tasks are the same processes");
        let (code, said) = unit.end(Signal::SIGINT);
        assert_eq!((code, said.as_str()), (Some(0), ""));
        swarmlb.reset();
    });
}

#[test]
fn a_unit_takes_over_from_a_keeper_in_the_background() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("service create --name web");
        let (tasks, background) = (swarmlb.pids("web"), swarmlb.role("keeper"));
        let unit = Unit::start(&swarmlb);
        swarmlb.whole(LONGEST);
        assert_ne!(swarmlb.role("keeper"), background);
        assert_eq!(swarmlb.role("keeper"), Some(unit.pid()));
        assert_eq!(swarmlb.pids("web"), tasks);
        // It is the same to `agent stop` who started the keeper.
        swarmlb.good("agent stop");
        assert_eq!(unit.ended().0, Some(0));
        swarmlb.reset();
    });
}
