//! What is measured for Prometheus, as its own tools read it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use swarmlb::kernel::program;

use crate::world::{Swarmlb, apart, replies, required, shell, within};

const SOON: Duration = Duration::from_secs(20);
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/prometheus");

/// Runs a test where promtool is.
fn with_promtool(test: impl FnOnce()) {
    if program::find("promtool").is_none() {
        assert!(!required("prometheus"), "promtool is missing");
        return println!("skipped: promtool is missing (prometheus)");
    }
    test();
}

fn promtool(words: &[&str], input: &str) {
    let mut command = program::command("promtool");
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{words:?}: {}\n{input}", String::from_utf8_lossy(&said));
}

fn world() -> Swarmlb {
    let swarmlb = Swarmlb::new();
    swarmlb.good("network create --subnet 10.0.3.0/24 net");
    swarmlb.good("service create --replicas 3 --name web --network net --health-http /");
    swarmlb.good("service create --name box --network net host sleep 1000");
    swarmlb
}

/// `swarmlb export prometheus --listen`. Dropped, it ends.
struct Exporter {
    child: Child,
    address: SocketAddr,
}

impl Exporter {
    fn start(swarmlb: &Swarmlb) -> Self {
        let mut command = swarmlb.command("export prometheus --listen 127.0.0.1:0");
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let stderr = child.stderr.as_mut().expect("a pipe");
        BufReader::new(stderr).read_line(&mut line).expect("it says where");
        let address = line.split(['/', ' ']).find_map(|word| word.parse().ok());
        Self { child, address: address.unwrap_or_else(|| panic!("no address: {line}")) }
    }

    /// The status line and the body of an answer.
    fn ask(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        write!(stream, "{request} HTTP/1.1\r\nHost: test\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.lines().next().expect("a line").to_owned(), body.to_owned())
    }

    fn metrics(&self) -> String {
        let (status, body) = self.ask("GET /metrics");
        assert_eq!(status, "HTTP/1.1 200 OK", "{body}");
        body
    }

    /// The sum of all samples of a family with these labels.
    fn sum(&self, family: &str, labels: &str) -> f64 {
        let text = self.metrics();
        let samples = text.lines().filter(|line| {
            line.strip_prefix(family).is_some_and(|rest| rest.starts_with('{'))
                && line.contains(labels)
        });
        samples
            .map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number"))
            .sum()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_printed_prometheus_takes_and_the_examples_ask_for_what_there_is() {
    with_promtool(|| {
        apart(|| {
            let swarmlb = world();
            let text = swarmlb.good("export prometheus");
            promtool(&["check", "metrics"], &text);
            for told in [
                "swarmlb_vip_whole{service=\"web\",network=\"net\",address=\"10.0.3.2\"",
                "swarmlb_task_healthy{service=\"web\",task=\"web.3\"",
                "swarmlb_service_tasks_running{service=\"web\"} 3\n",
                "swarmlb_target_weight{service=\"web\",network=\"net\",task=\"web.1\"",
            ] {
                assert!(text.contains(told), "no {told}: {text}");
            }
            let families = swarmlb.json("export prometheus");
            let families = families.as_array().expect("families").iter();
            let names: BTreeSet<&str> =
                families.map(|family| family["name"].as_str().expect("a name")).collect();
            promtool(&["check", "config", &format!("{EXAMPLES}/prometheus.yml")], "");
            let read =
                |file: &str| std::fs::read_to_string(format!("{EXAMPLES}/{file}")).expect("a file");
            for (file, text) in ["alerts.yml", "dashboard.json"].map(|file| (file, read(file))) {
                let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                let asked = words.filter(|word| word.starts_with("swarmlb_"));
                let unknown: Vec<&str> = asked.filter(|word| !names.contains(word)).collect();
                assert_eq!(unknown, [""; 0], "{file} asks for what there is not");
            }
            let rules = "/run/dashboard-rules.yml";
            std::fs::write(rules, as_rules(&read("dashboard.json"))).expect("it can be written");
            promtool(&["check", "rules", rules], "");
            swarmlb.reset();
        });
    });
}

/// What a dashboard asks for, as rules that record it, which promtool knows to check.
fn as_rules(dashboard: &str) -> String {
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let asked = targets.map(|target| target["expr"].as_str().expect("an expression"));
    let rules: Vec<serde_json::Value> = (1..)
        .zip(asked)
        .map(|(number, expression)| {
            let expression = expression.replace("$__rate_interval", "1m").replace("$service", ".*");
            serde_json::json!({"record": format!("panel:{number}"), "expr": expression})
        })
        .collect();
    assert!(rules.len() > 10);
    serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()
}

#[test]
fn totals_go_on_through_scaling_and_what_is_broken_is_counted() {
    apart(|| {
        let swarmlb = world();
        let exporter = Exporter::start(&swarmlb);
        let connections = || exporter.sum("swarmlb_target_connections_total", "service=\"web\"");
        let before = connections();
        replies("box.1", "10.0.3.2", 9);
        assert_eq!(connections() - before, 9.0);
        swarmlb.good("service scale web=5");
        replies("box.1", "10.0.3.2", 10);
        assert_eq!(connections() - before, 19.0, "the kernel counts anew, the total goes on");
        swarmlb.good("task kill web.2");
        let failures = || exporter.sum("swarmlb_task_failures_total", "task=\"web.2\"");
        within("its end is counted", SOON, failures, |count| *count == 1.0);
        shell("ip netns exec box.1 nft flush map ip swarmlb vip-mark");
        let broken = || {
            exporter.sum(
                "swarmlb_vip_broken_sandboxes",
                "service=\"web\",network=\"net\",step=\"mark\"",
            )
        };
        let whole = || exporter.sum("swarmlb_vip_whole", "service=\"web\"");
        within("it is told", SOON, broken, |count| *count == 1.0);
        within("the audit mends it", SOON, whole, |count| *count == 1.0);
        assert_eq!(exporter.ask("GET /").0, "HTTP/1.1 404 Not Found");
        assert_eq!(exporter.ask("POST /metrics").0, "HTTP/1.1 405 Method Not Allowed");
        let (_, told) =
            swarmlb.ending(&format!("export prometheus --listen {}", exporter.address), 3);
        assert!(told.contains("address already in use"), "{told}");
        swarmlb.ending("--format json export prometheus --listen 127.0.0.1:0", 2);
        drop(exporter);
        swarmlb.reset();
    });
}
