//! Tasks from day to day: entered, killed, read, echoed to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use crate::terminal::AtTerminal;
use crate::world::{Swarmlb, apart, inside, shell, within};

const SOON: Duration = Duration::from_secs(30);

/// The program with words that hold spaces.
fn said(swarmlb: &Swarmlb, line: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let output = swarmlb.command(line).args(words).output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_command_in_a_task_sees_what_the_task_sees_and_its_exit_code_is_passed_on() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("service create --name web --hostname inner -e COLOR=red builtin:whoami");
        let shell_in = |options: &str, script: &str| {
            said(&swarmlb, &format!("task exec {options} web.1 sh -c"), &[script])
        };
        let script =
            "hostname; cat /etc/resolv.conf; echo $COLOR $SWARMLB_TASK; pwd; ip -4 -o addr";
        let (code, out, err) = shell_in("", script);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[..2], ["inner", "nameserver 127.0.0.11"], "{out}");
        assert!(out.contains("\nred web.1\n/\n") && out.contains(" 10.0.0.3/24 "), "{out}");
        let (_, out, _) =
            shell_in("-e COLOR=blue -w /tmp", "echo $COLOR; pwd; readlink /proc/self/ns/mnt");
        let pid = swarmlb.pids("web")[0];
        let mounts = shell(&format!("readlink /proc/{pid}/ns/mnt"));
        assert_eq!(out, format!("blue\n/tmp\n{mounts}"));
        assert_eq!(shell_in("-it", "exit 42").0, Some(42));
        let (code, _, err) = said(&swarmlb, "task exec web.1 no-such-program", &[]);
        assert_eq!(code, Some(127), "{err}");
        let (code, _, err) = said(&swarmlb, "task exec web.1 /etc/passwd", &[]);
        assert_eq!(code, Some(126), "{err}");
        assert!(err.contains("(EACCES)"), "{err}");
        // Standard input is passed on, and so is the end by a signal.
        let mut child = swarmlb
            .command("task exec web.1 cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        child.stdin.take().expect("its input").write_all(b"through").expect("written");
        let output = child.wait_with_output().expect("its end");
        assert_eq!(output.stdout, b"through");
        // The terminal is the command's own.
        let mut at = AtTerminal::start(swarmlb.command("task exec -it web.1 sh"));
        at.press("test -t 0 && echo at_$((40 + 2)); exit 7\n");
        let (status, screen) = at.ended(SOON);
        assert_eq!(status.code(), Some(7), "{screen}");
        assert!(screen.contains("at_42"), "{screen}");
        swarmlb.reset();
    });
}

#[test]
fn a_killed_task_comes_back_in_its_slot_and_what_it_left_ended_with_it() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let create = "service create --name pair --replicas 2 host sh -c";
        let script = "setsid sh -c 'setsid sleep 7001 & sleep 7002' & sleep 7003";
        assert_eq!(said(&swarmlb, create, &[script]).0, Some(0));
        let sleepers = |seconds: u32| {
            shell(&format!("ps -eo args | grep -c '^sleep {seconds}$' || true")).trim().to_owned()
        };
        within("all sleep", SOON, || [7001, 7002, 7003].map(sleepers), |s| *s == ["2", "2", "2"]);
        let before = swarmlb.json("task inspect pair.1 pair.2");
        let id = before[0]["id"].as_str().expect("an id");
        swarmlb.ending("task kill pair.1 pair.9", 2);
        assert_eq!(swarmlb.json("task inspect pair.1")[0]["restarts"], 0, "none was touched");
        assert_eq!(swarmlb.good(&format!("task kill -s KILL {}", &id[..10])), "pair.1\n");
        let after = within(
            "it runs again",
            SOON,
            || swarmlb.json("task inspect pair.1"),
            |after| after[0]["restarts"] == 1 && after[0]["state"] == "running",
        );
        assert_eq!(after[0]["endpoints"], before[0]["endpoints"]);
        assert_ne!(after[0]["process"]["pid"], before[0]["process"]["pid"]);
        assert_eq!(after[0]["last_exit"]["signal"], "SIGKILL");
        assert_eq!(after[0]["error"], "killed by SIGKILL");
        assert_eq!(swarmlb.json("task inspect pair.2")[0]["process"], before[1]["process"]);
        within("each task has its own", SOON, || [7001, 7002].map(sleepers), |s| *s == ["2", "2"]);
        // Also when the keeper that started it is no more.
        swarmlb.kill("keeper");
        swarmlb.whole(SOON);
        let log = std::fs::read_to_string(swarmlb.state().join("agent.log")).expect("a log");
        let timed = |line: &str| line.starts_with("20") && line.get(19..20) == Some(".");
        assert!(log.contains("Z the keeper is gone") && log.lines().all(timed), "{log}");
        swarmlb.good("task kill pair.2");
        within(
            "it runs again",
            SOON,
            || swarmlb.json("task inspect pair.2"),
            |after| after[0]["restarts"] == 1 && after[0]["state"] == "running",
        );
        within("each task has its own", SOON, || [7001, 7002].map(sleepers), |s| *s == ["2", "2"]);
        // One that rests has nothing to be killed or entered.
        assert_eq!(said(&swarmlb, "service create -d --name lost host /no/such", &[]).0, Some(0));
        within(
            "it is rejected",
            SOON,
            || swarmlb.json("service ps lost"),
            |rows| rows[0]["state"] == "rejected",
        );
        for line in ["task kill lost.1", "task exec lost.1 true"] {
            let (_, err) = swarmlb.ending(line, 2);
            assert!(err.contains("task lost.1 is not running"), "{err}");
            assert!(err.contains("Rejected") && err.contains("(ENOENT)"), "{err}");
        }
        swarmlb.reset();
    });
}

#[test]
fn lines_of_several_tasks_are_in_the_order_of_time_and_are_followed_through_kills() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let script = "i=0; while :; do i=$((i + 1)); echo $SWARMLB_TASK $i; sleep 0.05; done";
        let create = "service create --name talk --replicas 2 host sh -c";
        assert_eq!(said(&swarmlb, create, &[script]).0, Some(0));
        let mut follower = swarmlb
            .command("service logs -ft --no-task-ids --tail 1 talk")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut followed = BufReader::new(follower.stdout.take().expect("its output")).lines();
        let mut next = || followed.next().expect("a line").expect("text");
        let first = next();
        assert!(first.starts_with("20") && first.contains("Z talk."), "{first}");
        // Whoever is killed, the tasks write on and their lines come.
        swarmlb.kill("agent");
        swarmlb.kill("keeper");
        swarmlb.good("service scale talk=3");
        while !next().contains("Z talk.3@node-1    | talk.3 ") {}
        swarmlb.good("service scale talk=2");
        let lines = swarmlb.good("service logs -t talk");
        let mut before = "";
        for line in lines.lines() {
            let (time, line) = line.split_once(' ').expect("a time");
            assert!(time >= before && time.len() == 30, "{time} after {before}: {line}");
            before = time;
            let (prefix, text) = line.split_once("    | ").expect("a prefix");
            let name = text.split(' ').next().expect("a name");
            assert!(
                prefix.starts_with(&format!("{name}.")) && prefix.ends_with("@node-1"),
                "{line}"
            );
        }
        // No line is lost or twice.
        for task in ["talk.1", "talk.2"] {
            let raw = swarmlb.good(&format!("task logs --raw {task}"));
            let counted =
                raw.lines().enumerate().all(|(at, line)| line == format!("{task} {}", at + 1));
            assert!(counted && !raw.is_empty(), "{raw}");
        }
        assert_eq!(swarmlb.good("service logs --tail 3 talk").lines().count(), 6);
        assert_eq!(swarmlb.good("task logs -n 0 talk.1"), "");
        let (middle, _) = lines
            .lines()
            .nth(lines.lines().count() / 2)
            .and_then(|l| l.split_once(' '))
            .expect("a line");
        let since = swarmlb.good(&format!("service logs -t --since {middle} talk"));
        assert!(since.lines().all(|line| line >= middle), "{since}");
        assert!(since.lines().count() >= lines.lines().count() / 2, "{since}");
        assert_eq!(swarmlb.good("service logs --since 2200-01-01 talk"), "");
        // With the service, what follows it ends.
        swarmlb.good("service rm talk");
        while followed.next().is_some() {}
        assert!(follower.wait().expect("its end").success());
        swarmlb.reset();
    });
}

#[test]
fn following_ends_when_nobody_reads_any_more_though_nothing_is_written() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let create = "service create --name once host sh -c";
        assert_eq!(said(&swarmlb, create, &["echo said; sleep 1000"]).0, Some(0));
        let mut command = swarmlb.command("service logs --follow --raw once");
        let mut follower = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut followed = BufReader::new(follower.stdout.take().expect("its output"));
        let mut line = String::new();
        followed.read_line(&mut line).expect("text");
        assert_eq!(line, "said\n");
        assert!(follower.try_wait().expect("its state").is_none(), "it follows");
        drop(followed);
        let ended = || follower.try_wait().expect("its state").map(|status| status.code());
        within("it ends", Duration::from_secs(5), ended, |code| *code == Some(Some(0)));
        swarmlb.reset();
    });
}

#[test]
fn echo_answers_streams_and_datagrams_behind_its_vip_task_by_task() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 collabnet");
        swarmlb.good(
            "service create --name echo --replicas 3 --network collabnet builtin:echo --greet",
        );
        swarmlb.good("service create --name plain --network collabnet builtin:echo --port 7007");
        swarmlb.good("service create --name box --network collabnet");
        let mut tasks: Vec<String> = inside("box.1", || {
            let one = |_| {
                let mut stream = TcpStream::connect("10.0.3.2:7").expect("connects");
                stream.write_all(b"hello\n").expect("sent");
                stream.shutdown(Shutdown::Write).expect("half closed");
                let mut text = String::new();
                stream.read_to_string(&mut text).expect("echoed");
                text.strip_suffix("hello\n").expect("what was sent").trim().to_owned()
            };
            (0..3).map(one).collect()
        });
        tasks.sort();
        assert_eq!(tasks, ["echo.1", "echo.2", "echo.3"]);
        let mut tasks: Vec<String> = inside("box.1", || {
            let one = |_| {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
                socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
                // Connected: an answer from another address than the VIP would not be taken.
                socket.connect("10.0.3.2:7").expect("connects");
                socket.send(b"hello").expect("sent");
                let mut reply = [0; 64];
                let length = socket.recv(&mut reply).expect("echoed");
                let text = String::from_utf8_lossy(&reply[..length]).into_owned();
                text.strip_suffix("\nhello").expect("what was sent").to_owned()
            };
            (0..3).map(one).collect()
        });
        tasks.sort();
        assert_eq!(tasks, ["echo.1", "echo.2", "echo.3"]);
        let reply = inside("box.1", || {
            let mut stream = TcpStream::connect("10.0.3.6:7007").expect("connects");
            stream.write_all(b"as it is").expect("sent");
            let mut reply = [0; 8];
            stream.read_exact(&mut reply).expect("echoed");
            reply
        });
        assert_eq!(&reply, b"as it is");
        let (_, err) = swarmlb.ending("service create builtin:echo --shout", 2);
        assert!(err.contains("`builtin:echo` has no option `--shout`"), "{err}");
        let started = std::time::Instant::now();
        swarmlb.good("service rm echo plain");
        assert!(started.elapsed() < Duration::from_secs(8), "after {:?}", started.elapsed());
        swarmlb.reset();
    });
}

#[test]
fn a_replaced_resolv_conf_of_the_machine_leaves_the_tasks_theirs() {
    apart(|| {
        // The world shares the machine's files: it gets an /etc of its own.
        shell(
            "mkdir /run/etc && cp -a /etc/passwd /etc/hosts /run/etc && echo 'nameserver 192.0.2.1' >/run/etc/resolv.conf && mount --bind /run/etc /etc",
        );
        let swarmlb = Swarmlb::new();
        let create = "service create --name box --replicas 2 host sleep 1000";
        swarmlb.good(create);
        let seen = || {
            ["box.1", "box.2"]
                .map(|task| swarmlb.good(&format!("task exec {task} cat /etc/resolv.conf")))
        };
        let own = "nameserver 127.0.0.11\noptions ndots:0\n";
        assert_eq!(seen(), [own, own]);
        let pids = swarmlb.pids("box");
        for address in ["192.0.2.2", "192.0.2.3"] {
            shell(&format!("echo nameserver {address} >/etc/new && mv /etc/new /etc/resolv.conf"));
            within("the tasks have theirs", SOON, seen, |seen| *seen == [own, own]);
            assert_eq!(shell("cat /etc/resolv.conf"), format!("nameserver {address}\n"));
        }
        assert_eq!(swarmlb.pids("box"), pids);
        swarmlb.reset();
        shell("umount -l /etc");
    });
}

#[test]
fn ctrl_c_ends_the_waiting_and_the_work_goes_on() {
    apart(|| {
        let swarmlb = Swarmlb::with_story();
        let agent = swarmlb.role("agent").expect("an agent");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(agent).expect("a number"));
        let signal = |signal| nix::sys::signal::kill(pid, signal).expect("the agent is there");
        signal(nix::sys::signal::Signal::SIGSTOP);
        let seen = |what: &str| {
            let rows = |line: &str| swarmlb.json(line).as_array().cloned().unwrap_or_default();
            if what == "networks" {
                return rows("network ls").len().to_string();
            }
            let row = rows("service ls").into_iter().find(|row| row["name"] == what);
            row.map_or_else(|| "gone".to_owned(), |row| row["replicas"].to_string())
        };
        for (line, look, begun) in [
            (
                "service create --name late --replicas 2 --network collabnet",
                "service ps late",
                "late=2",
            ),
            ("service scale collabweb=4", "service ps collabweb", "collabweb=4"),
            ("service rm collab-box", "agent status", "collab-box=gone"),
            ("network create blue", "agent status", "networks=2"),
            ("network rm blue", "agent status", "networks=1"),
        ] {
            let mut at = AtTerminal::start(swarmlb.command(line));
            let (what, number) = begun.split_once('=').expect("what to see");
            within("it is committed", SOON, || seen(what), |seen| seen == number);
            at.press("\u{3}");
            let (status, screen) = at.ended(SOON);
            assert_eq!(status.code(), Some(0), "{line}: {screen}");
            let hint = format!("it goes on in the background. See `swarmlb {look}`");
            assert!(screen.contains(&hint), "{line}: {screen}");
        }
        signal(nix::sys::signal::Signal::SIGCONT);
        swarmlb.whole(SOON);
        within(
            "all is done",
            SOON,
            || swarmlb.json("task ls --filter state=running").as_array().map_or(0, Vec::len),
            |running| *running == 6,
        );
        swarmlb.reset();
    });
}
