//! kill -9 at every point that the shipped binary enumerates, one after another: of the command, of the
//! agent, of the keeper, of the store. After each the next run finishes or takes back, and nothing
//! leaks.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use swarmlb::killpoint::VARIABLE;

use crate::world::{Swarmlb, apart, request, shell, within};

const PATIENCE: Duration = Duration::from_secs(30);

/// How many of its lines come before three tasks must run.
const FIRST: usize = 5;

/// Half of what any call waits for somebody who is away: a kill is noticed, not waited out.
const USUAL: Duration = Duration::from_millis(2500);

/// Everything that one network and one service go through, and the taking over of tasks that run.
/// Leaving takes no time here.
const STORY: [&str; 7] = [
    "network create --subnet 10.0.3.0/24 net",
    "service create --replicas 2 --name web --network net --drain-timeout 0",
    "service scale web=3",
    "agent stop",
    "service ls",
    "service scale web=1",
    "service rm web",
];

/// A state directory and the directory of its points.
struct Scene {
    swarmlb: Swarmlb,
    points: PathBuf,
}

impl Scene {
    fn new(order: &str) -> Self {
        let swarmlb = Swarmlb::new();
        let points = swarmlb.state().with_extension("points");
        let _ = std::fs::remove_dir_all(&points);
        std::fs::create_dir_all(&points).expect("a directory");
        if !order.is_empty() {
            std::fs::write(points.join("kill"), order).expect("a file");
        }
        Self { swarmlb, points }
    }

    fn passed(&self, role: &str) -> Vec<String> {
        let lines = std::fs::read_to_string(self.points.join("passed")).unwrap_or_default();
        let of_role = |line: &&str| line.split(' ').next() == Some(role);
        lines.lines().filter(of_role).map(str::to_owned).collect()
    }

    fn was_killed(&self) -> bool {
        self.points.join("killed").exists()
    }

    /// Runs a command; one that was killed, or whose keeper was killed under it, is run again as
    /// an operator would.
    fn play(&self, line: &str) {
        let finished =
            ["exists already", "there is no", "nothing", "is on network", "is not on network"];
        let mut said = String::new();
        for _ in 0..4 {
            // Only the story is counted, not those who look at it.
            let mut command = self.swarmlb.command(line);
            let output = command.env(VARIABLE, &self.points).output().expect("it starts");
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            let again = said.clone();
            let done = finished.iter().any(|words| again.contains(words));
            if output.status.success() || (self.was_killed() && done) {
                return;
            }
            assert!(self.was_killed(), "`{line}` failed though nobody was killed: {said}");
        }
        panic!("`{line}` fails again and again: {said}");
    }
}

/// Kills one role at each of its points from `first` on, every `step`th, and tells how many.
fn kill_at_each(role: &str, first: usize, step: usize) {
    let scene = Scene::new("");
    STORY.iter().for_each(|line| scene.play(line));
    let names = scene.passed(role);
    clean(scene, &["net"]);
    assert!(names.len() > 10, "only {} points of the {role}: {names:?}", names.len());
    println!("{role}: {} points, each {step}th from number {}", names.len(), first + 1);
    let mut killed = 0;
    let mut times = Vec::new();
    for (index, name) in names.iter().enumerate().skip(first).step_by(step) {
        let begun = Instant::now();
        let scene = Scene::new(&format!("{role} {}", index + 1));
        STORY[..FIRST].iter().for_each(|line| scene.play(line));
        scene.swarmlb.whole(PATIENCE);
        scene.swarmlb.mended("web", PATIENCE);
        assert_eq!(scene.swarmlb.pids("web").len(), 3, "after {name}");
        STORY[FIRST..].iter().for_each(|line| scene.play(line));
        scene.swarmlb.whole(PATIENCE);
        let was_killed = scene.was_killed();
        clean(scene, &["net"]);
        killed += usize::from(was_killed);
        times.push(begun.elapsed());
        let seconds = begun.elapsed().as_secs_f64();
        println!("{} {seconds:5.1} s  {name}", if was_killed { "killed " } else { "not met" });
    }
    let tried = times.len();
    times.sort();
    let (middle, slowest) = (times[tried / 2], times[tried - 1]);
    println!(
        "{role}: killed at {killed} of {tried} points; a story took {middle:.1?}, at most {slowest:.1?}"
    );
    // Which process does what first is not the same in two runs; most points are met in both.
    assert!(killed * 10 >= tried * 9, "only {killed} of {tried} points were met");
    assert!(middle < USUAL, "a story with a kill takes {middle:?}");
}

/// What a namespace of others needs to be let in.
const BEFORE_A_GUEST: [&str; 2] = [
    "network create --subnet 10.0.3.0/24 --attachable net",
    "service create --replicas 2 --name web --network net",
];

/// A namespace of others comes and goes while the agent is killed; tells whether it was, in a scene
/// that is left to look at.
fn guest_comes_and_goes(order: &str) -> Scene {
    let scene = Scene::new(order);
    BEFORE_A_GUEST.iter().for_each(|line| scene.play(line));
    let _ = std::fs::write(scene.points.join("before"), scene.passed("agent").len().to_string());
    scene.play("network connect net legacy");
    scene.swarmlb.whole(PATIENCE);
    scene.swarmlb.mended("web", PATIENCE);
    assert!(request("legacy", "10.0.3.2").is_ok(), "it reaches the VIP");
    scene.play("network disconnect net legacy");
    scene.swarmlb.whole(PATIENCE);
    let left = || shell("ip -n legacy -br link; ip netns exec legacy nft list ruleset");
    within("all is taken back", PATIENCE, left, |left| left.lines().count() == 1);
    scene.play("service rm web");
    scene
}

/// What is left is the machine's as it was: the world counts namespaces, links, mounts, processes.
fn clean(scene: Scene, left: &[&str]) {
    let Scene { swarmlb, points } = scene;
    let names = || -> Vec<String> {
        let entries = Path::new("/run/netns").read_dir().into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let sorted = || {
        let mut names = names();
        names.sort();
        names
    };
    within("no task's sandbox is left", PATIENCE, sorted, |names| *names == left);
    swarmlb.reset();
    std::fs::remove_dir_all(points).expect("it is removed");
}

#[test]
fn the_command_is_killed_at_every_point() {
    apart(|| kill_at_each("command", 0, 1));
}

#[test]
fn the_agent_is_killed_at_every_even_point() {
    apart(|| kill_at_each("agent", 0, 2));
}

#[test]
fn the_agent_is_killed_at_every_odd_point() {
    apart(|| kill_at_each("agent", 1, 2));
}

#[test]
fn the_agent_is_killed_at_every_point_of_letting_a_namespace_in_and_out() {
    apart(|| {
        shell("ip netns add legacy && ip -n legacy link set lo up");
        let scene = guest_comes_and_goes("");
        let names = scene.passed("agent");
        let before = std::fs::read_to_string(scene.points.join("before")).expect("a number");
        let before: usize = before.parse().expect("a number");
        let only = ["legacy", "net"];
        clean(scene, &only);
        println!("agent: {} points of {}", names.len() - before, names.len());
        assert!(names.len() > before + 10, "{names:?}");
        let mut killed = 0;
        for (index, name) in names.iter().enumerate().skip(before) {
            let scene = guest_comes_and_goes(&format!("agent {}", index + 1));
            killed += usize::from(scene.was_killed());
            println!("{name}");
            clean(scene, &only);
        }
        let tried = names.len() - before;
        println!("agent: killed at {killed} of {tried} points");
        assert!(killed * 10 >= tried * 9, "only {killed} of {tried} points were met");
        shell("ip netns del legacy");
    });
}

#[test]
fn the_keeper_is_killed_at_every_even_point() {
    apart(|| kill_at_each("keeper", 0, 2));
}

#[test]
fn the_keeper_is_killed_at_every_odd_point() {
    apart(|| kill_at_each("keeper", 1, 2));
}

#[test]
fn the_store_is_killed_at_every_even_point() {
    apart(|| kill_at_each("store", 0, 2));
}

#[test]
fn the_store_is_killed_at_every_odd_point() {
    apart(|| kill_at_each("store", 1, 2));
}
