//! What tasks write: it is kept within limits while they write, whoever is killed meanwhile.

use std::fs::Metadata;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::Duration;

use crate::world::{Swarmlb, apart, within};

const SOON: Duration = Duration::from_secs(40);
/// Two parts of 64 KiB.
const LIMITS: &str = "--log-opt max-size=64k --log-opt max-file=2";
const KEPT: u64 = 2 * (64 << 10);
/// A block more, for what is kept begins at one, and what was written since the last look.
const SLACK: u64 = 32 << 10;

/// Numbered lines of 16 bytes, some thousand a second, without end.
const WRITER: &str = "n=10000000;while :;do m=$((n+200));seq -f line%.0f--- $n $((m-1));n=$m;\
                      sleep 0.02;done";

fn writer(swarmlb: &Swarmlb, options: &str) {
    let line = format!("service create --name pen {options} host sh -c");
    let output = swarmlb.command(&line).arg(WRITER).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn log(swarmlb: &Swarmlb) -> Metadata {
    std::fs::metadata(swarmlb.state().join("tasks/pen.1/log")).expect("a log")
}

fn grown_to(swarmlb: &Swarmlb, length: u64) {
    within("it has written so much", SOON, || log(swarmlb).len(), |len| *len >= length);
}

fn taken(swarmlb: &Swarmlb) -> u64 {
    log(swarmlb).blocks() * 512
}

/// The numbers of lines that must be whole.
fn numbers<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<u64> {
    let number = |line: &str| line.strip_prefix("line")?.strip_suffix("---")?.parse().ok();
    lines.map(|line| number(line).unwrap_or_else(|| panic!("torn: {line:?}"))).collect()
}

/// None is missing between the first and the last.
fn unbroken(numbers: &[u64]) {
    let gap = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
    assert_eq!(gap, None, "of {} lines", numbers.len());
}

#[test]
fn a_log_is_kept_within_its_limits_whoever_is_killed_meanwhile() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        writer(&swarmlb, LIMITS);
        assert!(
            swarmlb
                .good("service inspect --pretty pen")
                .contains("Log:           max-size=64k, max-file=2")
        );
        let pids = swarmlb.pids("pen");
        grown_to(&swarmlb, 4 * KEPT);
        within("the oldest went", SOON, || taken(&swarmlb), |taken| *taken <= KEPT + SLACK);
        swarmlb.kill("keeper");
        let length = log(&swarmlb).len();
        // It writes on by itself, and whoever comes after takes up where the other left.
        grown_to(&swarmlb, length + 2 * KEPT);
        swarmlb.whole(SOON);
        within("the oldest went", SOON, || taken(&swarmlb), |taken| *taken <= KEPT + SLACK);
        assert_eq!(swarmlb.pids("pen"), pids, "the task did not notice");
        let shown = swarmlb.good("service logs --raw pen");
        let shown = numbers(shown.lines());
        unbroken(&shown);
        assert!(shown.len() as u64 * 16 >= KEPT / 2, "{} lines", shown.len());
        let last = swarmlb.good("task logs --raw --tail 3 pen.1");
        assert_eq!(numbers(last.lines()).len(), 3);
        let timed = swarmlb.good("service logs --timestamps --no-task-ids pen");
        let times: Vec<&str> = timed.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(times.is_sorted(), "they are in the order of time");
        let middle = times[times.len() / 2];
        let since = swarmlb.good(&format!("service logs --raw --since {middle} pen"));
        let since = numbers(since.lines());
        unbroken(&since);
        assert!(since.first() > shown.first(), "from the middle on");
        swarmlb.good("service rm pen");
        swarmlb.reset();
    });
}

#[test]
fn a_log_that_is_followed_loses_no_line_while_its_beginning_goes() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        writer(&swarmlb, LIMITS);
        let mut follower = swarmlb
            .command("service logs --follow --raw --tail 0 pen")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(follower.stdout.take().expect("its output")).lines();
        // Several times what is kept.
        let wanted = usize::try_from(6 * KEPT / 16).expect("a number");
        let read: Vec<String> = lines.by_ref().take(wanted).map(|l| l.expect("a line")).collect();
        unbroken(&numbers(read.iter().map(String::as_str)));
        assert!(taken(&swarmlb) <= KEPT + SLACK, "{}", taken(&swarmlb));
        follower.kill().expect("killed");
        follower.wait().expect("its end");
        swarmlb.reset();
    });
}

#[test]
fn what_is_no_limit_is_refused() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let (_, said) = swarmlb.ending("service create --log-opt max-size=1", 2);
        assert!(said.contains("a part is of 4k at least"), "{said}");
        let (_, said) = swarmlb.ending("service create --log-opt max-size=ten", 2);
        assert!(said.contains("`ten` is not a size"), "{said}");
        let (_, said) = swarmlb.ending("service create --log-opt mode=non-blocking", 2);
        assert!(said.contains("there are max-size= and max-file="), "{said}");
    });
}
