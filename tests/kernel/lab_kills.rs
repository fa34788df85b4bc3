//! kill -9 of `lab up` and `lab down` at every point that they enumerate: the next one repairs, and
//! nothing leaks.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use swarmlb::killpoint::VARIABLE;

use crate::world::{Swarmlb, apart, shell, within};

const SOON: Duration = Duration::from_secs(20);
const UP: &str = "lab up --nodes 2";
const DOWN: &str = "lab down";

/// A directory for a lab, and the one of its points.
struct Scene {
    swarmlb: Swarmlb,
    points: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let swarmlb = Swarmlb::new();
        let points = swarmlb.state().with_extension("points");
        std::fs::create_dir_all(&points).expect("a directory");
        Self { swarmlb, points }
    }

    /// Runs a command that is killed at its point of that number, or to its end where it has no such
    /// point; tells whether it was killed.
    fn killed_at(&self, number: usize, line: &str) -> bool {
        std::fs::write(self.points.join("kill"), format!("command {number}")).expect("a file");
        let output = self.swarmlb.command(line).env(VARIABLE, &self.points).output();
        output.expect("it starts");
        self.points.join("killed").exists()
    }

    fn passed(&self) -> Vec<String> {
        let lines = std::fs::read_to_string(self.points.join("passed")).unwrap_or_default();
        let own = lines.lines().filter_map(|line| line.strip_prefix("command "));
        own.map(str::to_owned).collect()
    }

    fn is_whole(&self) {
        let nodes = || {
            let rows = self.swarmlb.json("node ls");
            let rows = rows.as_array().cloned().unwrap_or_default();
            rows.iter().map(|row| row["status"].to_string()).collect::<Vec<_>>()
        };
        let ready = ["\"ready\"".to_owned(), "\"ready\"".to_owned()];
        within("both nodes are ready", SOON, nodes, |nodes| *nodes == ready);
    }

    /// Sees that nothing is there any more.
    fn end(self, what: &str) {
        assert!(!self.swarmlb.state().exists(), "its directory is left after: {what}");
        let left = || shell("ls /run/netns 2>/dev/null; ip -o link | grep -v LOOPBACK || true");
        within(&format!("namespaces and links are gone after: {what}"), SOON, left, |left| {
            left.is_empty()
        });
        std::fs::remove_dir_all(&self.points).expect("it is removed");
    }
}

/// What a command passes when nobody kills it, after `before`.
fn points_of(before: &[&str], line: &str) -> Vec<String> {
    let scene = Scene::new();
    before.iter().for_each(|line| drop(scene.swarmlb.good(line)));
    assert!(!scene.killed_at(usize::MAX, line));
    let passed = scene.passed();
    scene.swarmlb.run(DOWN);
    scene.end(line);
    passed
}

#[test]
fn a_lab_whose_making_was_killed_anywhere_is_made_or_taken_away_by_the_next_command() {
    apart(|| {
        let points = points_of(&[], UP);
        let kinds: BTreeSet<&String> = points.iter().collect();
        assert!(kinds.len() > 10, "{points:?}");
        let mut killed = 0;
        for (index, name) in points.iter().enumerate() {
            let scene = Scene::new();
            killed += usize::from(scene.killed_at(index + 1, UP));
            if index % 2 == 0 {
                scene.swarmlb.good(UP);
                scene.is_whole();
            }
            scene.swarmlb.good(DOWN);
            println!("{name}");
            scene.end(name);
        }
        println!("killed at {killed} of {} points", points.len());
        assert!(killed * 10 >= points.len() * 9, "only {killed} of {points:?} were met");
    });
}

#[test]
fn a_lab_whose_taking_down_was_killed_anywhere_is_taken_down_or_made_anew_by_the_next_command() {
    apart(|| {
        let points = points_of(&[UP], DOWN);
        assert!(points.len() > 5, "{points:?}");
        for (index, name) in points.iter().enumerate() {
            let scene = Scene::new();
            scene.swarmlb.good(UP);
            assert!(scene.killed_at(index + 1, DOWN), "{name} is not met");
            if index % 2 == 1 {
                scene.swarmlb.good(UP);
                scene.is_whole();
            }
            scene.swarmlb.good(DOWN);
            println!("{name}");
            scene.end(name);
        }
    });
}
