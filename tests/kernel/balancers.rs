//! Balancers of others, run as they are exported for: HAProxy and nginx in front of a lab, and as tasks
//! of the cluster.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use swarmlb::kernel::program;

use crate::world::{Lab, Swarmlb, apart, required, within};

const SOON: Duration = Duration::from_secs(20);
/// The balancers' own ports.
const HAPROXY: u16 = 9000;
const NGINX: u16 = 9001;

/// Runs a test where both programs are.
fn with_balancers(test: impl FnOnce()) {
    let missing = ["haproxy", "nginx"].into_iter().find(|name| program::find(name).is_none());
    if let Some(missing) = missing {
        assert!(!required("front"), "{missing} is missing");
        return println!("skipped: {missing} is missing (front)");
    }
    test();
}

/// A balancer that runs. Dropped, it ends.
struct Balancer {
    child: Child,
    log: PathBuf,
}

impl Balancer {
    fn start(name: &str, words: &[&str]) -> Self {
        let log = PathBuf::from(format!("/run/{name}.log"));
        let file = File::create(&log).expect("a file");
        let mut command = program::command(name);
        command.args(words).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("a file")).stderr(file);
        Self { child: command.spawn().expect("it starts"), log }
    }

    fn says(&self, what: &str) {
        let said = || std::fs::read_to_string(&self.log).unwrap_or_default();
        within(what, SOON, said, |said| said.contains(what));
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // nginx's workers end with their first process only when that is asked to end.
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- {}\n{said}", self.log.display());
        }
    }
}

/// Which task answers at a port of this machine.
fn asked(port: u16) -> io::Result<String> {
    let patience = Duration::from_secs(5);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let task = text.lines().find_map(|line| line.strip_prefix("Task: "));
    task.map(str::to_owned).ok_or_else(|| io::Error::other(format!("it says `{text}`")))
}

/// Whatever so many clients got, one after the other, each once.
fn turns(port: u16, requests: usize) -> BTreeSet<String> {
    let answer = |_| asked(port).unwrap_or_else(|error| error.to_string());
    (0..requests).map(answer).collect()
}

fn all(tasks: &[&str]) -> BTreeSet<String> {
    tasks.iter().map(|task| (*task).to_owned()).collect()
}

/// Clients that ask all the time, each once more when it is answered. What fails is noted with when it
/// began.
struct Clients {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(usize, Vec<Failure>)>>,
}

/// When a request that failed began, and how it failed.
type Failure = (Instant, String);

impl Clients {
    fn begin(ports: &[u16]) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let client = |port: &u16| {
            let (ended, port) = (Arc::clone(&ended), *port);
            std::thread::spawn(move || {
                let (mut answered, mut failed) = (0, Vec::new());
                while !ended.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    match asked(port) {
                        Ok(_) => answered += 1,
                        Err(error) => failed.push((begun, format!("port {port}: {error}"))),
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                (answered, failed)
            })
        };
        let threads = ports.iter().map(client).collect();
        Self { ended, threads }
    }

    /// How many were answered, and what failed that began after a moment.
    fn end(self, after: Instant) -> (usize, Vec<String>) {
        self.ended.store(true, Ordering::Relaxed);
        let (mut answered, mut late) = (0, Vec::new());
        for thread in self.threads {
            let (count, failed) = thread.join().expect("a client");
            answered += count;
            println!("{count} answered, {} failed in all", failed.len());
            late.extend(failed.into_iter().filter(|(begun, _)| *begun > after).map(|(_, how)| how));
        }
        (answered, late)
    }
}

fn export(swarmlb: &Swarmlb, words: &str, file: &str) {
    std::fs::write(file, swarmlb.good(&format!("export {words}"))).expect("a file");
}

#[test]
fn in_front_of_a_lab_they_carry_traffic_to_all_tasks_and_past_a_node_that_is_killed() {
    apart(|| {
        with_balancers(|| {
            let lab = Lab::up(3);
            lab.good("service create --replicas 3 --name web -p 8080:80");
            export(&lab, &format!("haproxy web:{HAPROXY}:8080"), "/run/front.cfg");
            export(&lab, &format!("nginx web:{NGINX}:8080"), "/run/front.conf");
            let haproxy = Balancer::start("haproxy", &["-f", "/run/front.cfg"]);
            let words = ["-e", "stderr", "-c", "/run/front.conf", "-g", "daemon off;"];
            let _nginx = Balancer::start("nginx", &words);
            let web = all(&["web.1", "web.2", "web.3"]);
            for port in [HAPROXY, NGINX] {
                within("all tasks answer", SOON, || turns(port, 12), |seen| *seen == web);
            }
            // Node-1 has the store.
            let clients = Clients::begin(&[HAPROXY, NGINX]);
            lab.good("lab kill-node node-3");
            haproxy.says(&format!("Server web-{HAPROXY}/node-3 is DOWN"));
            let placed = || lab.nodes_of("web");
            within("its task is elsewhere", SOON, placed, |nodes| {
                !nodes.contains(&"node-3".into())
            });
            within("all run", SOON, || lab.json("service ls")[0]["running"].clone(), |n| n == 3);
            within("nginx has tried all anew", SOON, || turns(NGINX, 12), |seen| *seen == web);
            let whole = Instant::now();
            for port in [HAPROXY, NGINX] {
                assert_eq!(turns(port, 60), web, "all answer, and nothing else comes");
            }
            let (answered, failed) = clients.end(whole);
            assert!(failed.is_empty() && answered > 20, "{answered} answered, then: {failed:#?}");
            lab.good("lab start-node node-3");
            haproxy.says(&format!("Server web-{HAPROXY}/node-3 is UP"));
            assert_eq!(turns(HAPROXY, 12), web);
            lab.down();
        });
    });
}

#[test]
fn as_tasks_of_the_network_they_follow_scaling() {
    apart(|| {
        with_balancers(|| {
            let swarmlb = Swarmlb::new();
            swarmlb.good("network create shop");
            swarmlb.good("service create --replicas 2 --name web --network shop");
            export(&swarmlb, "haproxy --inside web:80", "/run/inside.cfg");
            export(&swarmlb, "nginx --inside web:80", "/run/inside.conf");
            for (name, port, words) in [
                ("proxy", HAPROXY, "haproxy -f /run/inside.cfg"),
                ("stream", NGINX, "nginx -c /run/inside.conf"),
            ] {
                swarmlb.good(&format!(
                    "service create --name {name} --network shop -p {port}:80 host {words}"
                ));
            }
            let web = ["web.1", "web.2", "web.3", "web.4"];
            for replicas in [2, 4, 1] {
                swarmlb.good(&format!("service scale web={replicas}"));
                let wanted = all(&web[..replicas]);
                for port in [HAPROXY, NGINX] {
                    let seen = || turns(port, 24);
                    within("all of them and nobody else", SOON, seen, |seen| *seen == wanted);
                }
            }
            let told = swarmlb.good("service logs stream");
            assert!(
                told.contains("start worker process"),
                "nginx writes to the task's log: {told}"
            );
            swarmlb.reset();
        });
    });
}
