//! Health: tasks are in rotation while their checks say so, and what checks leave behind is nothing.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{Swarmlb, answers, apart, replies, request, shell, within};

const SOON: Duration = Duration::from_secs(20);
/// Failures are soon too many, and count from the start.
const QUICK: &str = "--health-interval 200ms --health-start-period 0";

/// A network with a client, `box.1`; the first service on it has VIP 10.0.3.4.
fn world() -> Swarmlb {
    let swarmlb = Swarmlb::new();
    swarmlb.good("network create --subnet 10.0.3.0/24 net");
    swarmlb.good("service create --name box --network net host sleep 1000");
    swarmlb
}

const VIP: &str = "10.0.3.4";

fn said(swarmlb: &Swarmlb, line: &str, words: &[&str]) -> (Option<i32>, String) {
    let output = swarmlb.command(line).args(words).output().expect("the program starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn rows(swarmlb: &Swarmlb, service: &str) -> Vec<Value> {
    swarmlb.json(&format!("service ps {service}")).as_array().expect("rows").clone()
}

fn states(swarmlb: &Swarmlb, service: &str) -> Vec<String> {
    let state = |row: &Value| row["state"].as_str().expect("text").to_owned();
    rows(swarmlb, service).iter().map(state).collect()
}

fn become_so(swarmlb: &Swarmlb, service: &str, wanted: &[&str]) {
    within(&wanted.join(" "), SOON, || states(swarmlb, service), |states| *states == wanted);
}

fn signal(pid: i64, name: &str) {
    shell(&format!("kill -{name} {pid}"));
}

/// The tasks that a name resolves to, and with them the VIP leads to.
fn rotation(service: &str) -> Vec<String> {
    answers("box.1", &format!("tasks.{service}")).unwrap_or_default()
}

/// Answers every question about a name with one address.
const NAME_SERVER: &str = r"import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', 54))
while True:
    q, a = s.recvfrom(512)
    head = q[:2] + b'\x81\x80' + q[4:6] + b'\0\1' + bytes(4)
    s.sendto(head + q[12:] + b'\xc0\x0c\0\1\0\1' + bytes(4) + b'\0\4' + bytes(4), a)";

/// `a` with two tasks, the second of which is stopped, and goes on.
fn hangs(check: &str, image: &str, words: &[&str]) {
    let swarmlb = world();
    let create = format!(
        "service create --name a --replicas 2 --network net {QUICK} --unhealthy-action quiesce \
         {check} {image}"
    );
    let (code, text) = said(&swarmlb, &create, words);
    assert_eq!(code, Some(0), "{text}");
    let both = rotation("a");
    assert_eq!(both.len(), 2);
    let pid = swarmlb.pids("a")[1];
    signal(pid, "STOP");
    become_so(&swarmlb, "a", &["running", "unhealthy"]);
    assert_eq!(rotation("a"), both[..1]);
    assert_eq!(swarmlb.json("service ls")[0]["running"], 1);
    let vip = swarmlb.json("inspect vip a");
    let target = &vip[0]["targets"][1];
    assert_eq!((target["weight"].as_u64(), target["state"].as_str()), (Some(0), Some("unhealthy")));
    swarmlb.good("inspect vip a");
    let task = swarmlb.json("task inspect a.2");
    let health = &task[0]["health"];
    assert_eq!(health["condition"], "unhealthy");
    assert!(health["failed"].as_u64() >= Some(3), "{task}");
    let last = health["log"].as_array().and_then(|log| log.last()).expect("a check");
    assert_eq!(last["output"], "no answer in time", "{task}");
    assert_eq!(task[0]["process"]["pid"], pid, "it was left alone");
    signal(pid, "CONT");
    become_so(&swarmlb, "a", &["running", "running"]);
    within("it is back", SOON, || rotation("a"), |now| *now == both);
    assert_eq!(swarmlb.json("task inspect a.2")[0]["restarts"], 0);
    swarmlb.reset();
}

#[test]
fn a_task_that_answers_no_page_is_out_of_rotation_until_it_does() {
    apart(|| hangs("--health-http http://localhost/?deep", "builtin:whoami", &[]));
}

#[test]
fn a_task_that_answers_no_datagram_is_out_of_rotation_until_it_does() {
    apart(|| hangs("--health-udp 9/PING", "builtin:echo", &["--port", "9"]));
}

#[test]
fn a_task_that_answers_no_question_is_out_of_rotation_until_it_does() {
    apart(|| hangs("--health-dns any.example:54", "host", &["python3", "-c", NAME_SERVER]));
}

#[test]
fn a_service_without_a_healthy_task_refuses_or_makes_do() {
    apart(|| {
        let swarmlb = world();
        let create = "service create --network net --health-interval 100ms";
        // The port is there, and the kernel takes what comes.
        swarmlb.good(&format!("{create} --name good --health-tcp 7 builtin:echo"));
        swarmlb.good("service rm good");
        let (_, err) = swarmlb.ending(
            &format!("{create} --name a --health-tcp 81 --health-start-period 0 --unhealthy-action quiesce"),
            1,
        );
        assert!(
            err.contains("task a.1 is not healthy: connection refused (ECONNREFUSED)"),
            "{err}"
        );
        let vip = |name: &str| {
            let service = swarmlb.json(&format!("service inspect {name}"));
            service[0]["vips"]["net"]["address"].as_str().expect("a VIP").to_owned()
        };
        let refused = request("box.1", &vip("a")).expect_err("nobody is there");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(rotation("a").is_empty());
        let row = &rows(&swarmlb, "a")[0];
        assert_eq!(row["error"], "unhealthy: connection refused (ECONNREFUSED)");
        // It is waited for no longer than that, whatever becomes of it.
        swarmlb.ending(
            &format!(
                "{create} --name b --health-tcp 81 --health-start-period 0 --unhealthy-action quiesce \
                 --no-healthy all"
            ),
            1,
        );
        assert_eq!(replies("box.1", &vip("b"), 2), [("b.1".to_owned(), 2)]);
        assert_eq!(rotation("b").len(), 1);
        swarmlb.reset();
    });
}

#[test]
fn a_command_is_run_in_the_task_and_an_unhealthy_task_is_ended_and_started_anew() {
    apart(|| {
        let swarmlb = world();
        let check = "test ! -e /run/bad || { echo $SWARMLB_TASK is bad; hostname; exit 3; }";
        let create = format!(
            "service create --name a --network net --replicas 2 --hostname inner {QUICK} \
             --health-retries 2 --health-cmd"
        );
        assert_eq!(said(&swarmlb, &create, &[check, "host", "sleep", "7001"]).0, Some(0));
        let both = rotation("a");
        let before = swarmlb.pids("a");
        std::fs::write("/run/bad", "").expect("written");
        within("none is in rotation", SOON, || rotation("a"), Vec::is_empty);
        let restarted = || swarmlb.json("task inspect a.2");
        within("it was started anew", SOON, restarted, |task| {
            task[0]["restarts"].as_u64() >= Some(2)
        });
        let row = &rows(&swarmlb, "a")[1];
        let error = row["error"].as_str().expect("an error").to_owned();
        assert!(error.contains("exited with code 3: a.2 is bad; inner"), "{error}");
        std::fs::remove_file("/run/bad").expect("removed");
        become_so(&swarmlb, "a", &["running", "running"]);
        within("both are back", SOON, || rotation("a"), |now| *now == both);
        let after = swarmlb.pids("a");
        assert!(before.iter().zip(&after).all(|(before, after)| before != after));
        swarmlb.reset();
    });
}

#[test]
fn a_check_that_hangs_forks_or_floods_is_contained() {
    apart(|| {
        let swarmlb = world();
        let create = format!(
            "service create --detach --name a --network net {QUICK} --health-timeout 500ms \
             --health-retries 1000 --health-cmd"
        );
        let left = |what: &str| {
            let all = shell(&format!("ps -eo args | grep -c '^{what}$' || true"));
            all.trim().parse::<u32>().expect("a number")
        };
        for (check, told) in [
            ("sleep 7101", "not done in time"),
            ("setsid sleep 7101 & (setsid sleep 7101 &) ; exit 4", "exited with code 4"),
            ("trap '' TERM; while :; do setsid sleep 7101 & sleep 0.02; done", "not done in time"),
            ("yes 7101", "not done in time: 7101"),
            ("/no/such", "exited with code 127"),
        ] {
            assert_eq!(said(&swarmlb, &create, &[check, "host", "sleep", "7100"]).0, Some(0));
            let log = || swarmlb.json("task inspect a.1")[0]["health"]["log"].clone();
            let log =
                within(check, SOON, log, |log| log.as_array().is_some_and(|log| log.len() > 2));
            for checked in log.as_array().expect("checks") {
                let output = checked["output"].as_str().expect("text");
                assert!(output.starts_with(told) && output.len() <= 4096, "{check}: {output}");
                assert!(checked["took"].as_u64() < Some(3000), "{check}: {checked}");
            }
            // Checks go on, and so do those of one moment; what is older is gone.
            let few = || left("sleep 7101") + left("yes 7101");
            within("hardly any is left", SOON, few, |few| *few < 30);
            swarmlb.good("service rm a");
            within("none is left", SOON, few, |few| *few == 0);
            assert_eq!(left("swarmlb builtin check"), 0);
        }
        swarmlb.reset();
    });
}

#[test]
fn an_agent_that_is_killed_in_the_middle_of_a_check_leaves_nothing_of_it() {
    apart(|| {
        let swarmlb = world();
        let check = "test ! -e /run/armed || { setsid sleep 7201 & sleep 7202; }";
        let create = format!(
            "service create --name a --network net {QUICK} --health-timeout 1m --health-cmd"
        );
        assert_eq!(said(&swarmlb, &create, &[check, "host", "sleep", "7200"]).0, Some(0));
        std::fs::write("/run/armed", "").expect("written");
        let sleepers =
            || shell("ps -eo args | grep -c '^sleep 720[12]$' || true").trim().to_owned();
        within("the check hangs", SOON, sleepers, |count| count == "2");
        std::fs::remove_file("/run/armed").expect("removed");
        swarmlb.kill("agent");
        within("nothing of it is left", SOON, sleepers, |count| count == "0");
        swarmlb.whole(SOON);
        become_so(&swarmlb, "a", &["running"]);
        swarmlb.reset();
    });
}

#[test]
fn a_new_agent_takes_no_healthy_task_out_of_rotation() {
    apart(|| {
        let swarmlb = world();
        swarmlb.good(
            "service create --name a --replicas 2 --network net --health-http 80 --health-interval 1m",
        );
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let mut asked = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    request("box.1", VIP).expect("an answer at any time");
                    asked += 1;
                }
                asked
            });
            for _ in 0..2 {
                let before = swarmlb.kill("agent");
                within(
                    "another one reports",
                    SOON,
                    || swarmlb.role("agent"),
                    |agent| agent.is_some_and(|agent| agent != before),
                );
                swarmlb.whole(SOON);
                assert_eq!(states(&swarmlb, "a"), ["running", "running"]);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(asked.join().expect("the client ends") > 100);
        });
        let task = swarmlb.json("task inspect a.1");
        assert_eq!(task[0]["health"]["checks"], 1, "one check, by the first agent: {task}");
        swarmlb.reset();
    });
}

#[test]
fn by_default_a_task_that_falls_silent_is_out_within_five_seconds() {
    apart(|| {
        let swarmlb = world();
        swarmlb.good("service create --name a --replicas 2 --network net --health-http 80");
        let pid = swarmlb.pids("a")[0];
        let begun = Instant::now();
        signal(pid, "STOP");
        within("it is out", SOON, || rotation("a"), |left| left.len() == 1);
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        // It is ended by force, as it does not hear otherwise, and comes back.
        become_so(&swarmlb, "a", &["running", "running"]);
        let task = swarmlb.json("task inspect a.1");
        assert_eq!(task[0]["error"], "unhealthy: no answer in time");
        assert_eq!(task[0]["last_exit"]["signal"], "SIGKILL");
        swarmlb.reset();
    });
}

#[test]
fn what_is_unhealthy_is_asked_to_end_as_its_service_says_and_killed_after_its_own_grace() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let create = |name: &str, options: &str, script: &str| {
            let line = format!(
                "service create --name {name} {QUICK} --health-retries 1 {options} --health-cmd"
            );
            let check = format!("test ! -e /run/{name}-is-ill");
            let (code, text) = said(&swarmlb, &line, &[&check, "host", "sh", "-c", script]);
            assert_eq!(code, Some(0), "{text}");
            swarmlb.pids(name)[0]
        };
        let polite = "trap 'rm /run/polite-is-ill; echo goodbye; exit 0' USR1
                      while :; do sleep 0.05; done";
        create("polite", "--stop-signal USR1 --stop-grace-period 60s", polite);
        let deaf = "rm -f /run/deaf-is-ill; trap '' TERM; while :; do sleep 0.05; done";
        let pid = create("deaf", "--stop-grace-period 1s", deaf);
        let begun = Instant::now();
        shell("touch /run/polite-is-ill /run/deaf-is-ill");
        let error =
            |name: &str| swarmlb.json(&format!("task inspect {name}.1"))[0]["restarts"].clone();
        for name in ["polite", "deaf"] {
            within(name, SOON, || error(name), |restarts| *restarts == 1);
        }
        assert!(begun.elapsed() > Duration::from_secs(1), "it had its grace");
        assert_ne!(swarmlb.pids("deaf")[0], pid);
        assert!(swarmlb.good("service logs polite").contains("goodbye"));
        swarmlb.reset();
    });
}
