//! Restart policies: what is started again, how often, and what stays ended.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{Swarmlb, apart, within};

const SOON: Duration = Duration::from_secs(20);

fn said(swarmlb: &Swarmlb, line: &str, words: &[&str]) -> (Option<i32>, String) {
    let output = swarmlb.command(line).args(words).output().expect("the program starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn row(swarmlb: &Swarmlb, service: &str) -> Value {
    swarmlb.json(&format!("service ps {service}"))[0].clone()
}

fn told(row: &Value) -> (String, String) {
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("error"))
}

fn restarts(swarmlb: &Swarmlb, task: &str) -> u64 {
    swarmlb.json(&format!("task inspect {task}"))[0]["restarts"].as_u64().expect("a number")
}

#[test]
fn a_job_runs_once_and_stays_ended_whoever_is_killed() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let create = "service create --restart-condition none --name";
        let once = "echo ran >> /run/$SWARMLB_SERVICE; exit $0";
        let (code, text) = said(&swarmlb, &format!("{create} job host sh -c"), &[once, "0"]);
        assert_eq!(code, Some(0), "to end well is what it is for: {text}");
        let (code, text) = said(&swarmlb, &format!("{create} bad host sh -c"), &[once, "5"]);
        assert_eq!(code, Some(1));
        assert!(text.contains("exited with code 5; not started again"), "{text}");
        let ended = || (told(&row(&swarmlb, "job")), told(&row(&swarmlb, "bad")));
        let states = ended();
        assert_eq!(states.0, ("complete".into(), "exited with code 0".into()));
        assert_eq!(states.1, ("failed".into(), "exited with code 5; not started again".into()));
        for role in ["agent", "keeper"] {
            swarmlb.kill(role);
            swarmlb.whole(SOON);
            assert_eq!(ended(), states);
        }
        let ran = |name: &str| std::fs::read_to_string(format!("/run/{name}")).expect("it ran");
        assert_eq!((ran("job").as_str(), ran("bad").as_str()), ("ran\n", "ran\n"));
        assert_eq!(swarmlb.json("task inspect job.1")[0]["over"], true);
        assert_eq!(swarmlb.good("service logs job"), "");
        swarmlb.good("service rm job bad");
        swarmlb.reset();
    });
}

#[test]
fn only_failures_are_followed_by_a_start_where_it_was_asked_so() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let script = "test -e /run/well || exit 1; sleep 0.3; exit 0";
        let create = "service create --detach --name a --restart-condition on-failure host sh -c";
        assert_eq!(said(&swarmlb, create, &[script]).0, Some(0));
        within("it fails again", SOON, || restarts(&swarmlb, "a.1"), |count| *count >= 2);
        std::fs::write("/run/well", "").expect("written");
        within("it ends well", SOON, || told(&row(&swarmlb, "a")).0, |state| state == "complete");
        assert_eq!(swarmlb.json("task inspect a.1")[0]["over"], true);
        swarmlb.reset();
    });
}

#[test]
fn a_task_that_ends_too_often_is_given_up_and_holds_up_nobody() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let create = "service create --detach --restart-max-attempts 3 --restart-delay 200ms";
        assert_eq!(
            said(&swarmlb, &format!("{create} --name a host sh -c"), &["exit 7"]).0,
            Some(0)
        );
        let over = || told(&row(&swarmlb, "a"));
        let (state, error) =
            within("it is given up", SOON, over, |(_, error)| error.starts_with("gave up"));
        assert_eq!(
            (state.as_str(), error.as_str()),
            ("failed", "gave up after 3 attempts: exited with code 7")
        );
        assert_eq!(restarts(&swarmlb, "a.1"), 3);
        // While others end all the time, what is new is there as soon as ever.
        for number in 0..8 {
            let create =
                format!("service create --detach --restart-delay 0 --name loop{number} host sh -c");
            assert_eq!(said(&swarmlb, &create, &["exit 1"]).0, Some(0));
        }
        let begun = Instant::now();
        swarmlb.good("service create --name steady --replicas 3");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        within("they do", SOON, || restarts(&swarmlb, "loop7.1"), |count| *count >= 3);
        assert_eq!(restarts(&swarmlb, "a.1"), 3, "it stays given up");
        swarmlb.reset();
    });
}
