//! VIPs in words: a table of all, or the walk of one.

use super::english::count;
use super::table::table;
use crate::trace::vip::{Ladder, Target, UP, Walk};

/// What is said below what is broken on this machine.
pub const MENDING: &str = "\nThe agent mends what somebody changed within 15 seconds; \
                           `swarmlb agent status` says if it cannot.\n";

/// A table of the VIPs, and one of the tasks behind them: each fits a terminal.
pub fn overview(walks: &[Walk]) -> String {
    let rows = walks.iter().map(|walk| {
        let state = match first_broken(walk) {
            None => "ok".to_owned(),
            Some((_, rung)) => format!("BROKEN: {}", rung.step.words()),
        };
        [
            walk.service.clone(),
            walk.network.clone(),
            walk.address.to_string(),
            walk.fwmark.to_string(),
            walk.data_plane.to_string(),
            walk.scheduler.clone(),
            state,
        ]
    });
    let heading = ["SERVICE", "NETWORK", "VIP", "FWMARK", "PLANE", "SCHEDULER", "STATE"];
    let mut text = table(heading, rows.collect());
    text.push('\n');
    text.push_str(&tasks(walks));
    for walk in walks {
        if let Some((ladder, rung)) = first_broken(walk) {
            text.push_str(&format!(
                "\n{} is broken in {} at the {} rung: {}\n",
                walk.service,
                ladder.sandbox,
                rung.step.words(),
                rung.evidence
            ));
        }
    }
    text
}

fn tasks(walks: &[Walk]) -> String {
    let mut rows = Vec::new();
    for walk in walks {
        for target in &walk.targets {
            rows.push([
                target.task.clone(),
                target.node.clone(),
                target.address.to_string(),
                number(target.weight),
                state(target),
                format!("{}/{}", target.tally.active, target.tally.inactive),
                target.tally.connections.to_string(),
                number(target.tally.packets),
            ]);
        }
        if walk.targets.is_empty() {
            let none = || "-".to_owned();
            let service = format!("{} (no tasks)", walk.service);
            rows.push([service, none(), none(), none(), none(), none(), none(), none()]);
        }
    }
    let heading =
        ["TASK", "NODE", "ADDRESS", "WEIGHT", "STATE", "ACT/INACT", "CONNECTIONS", "PACKETS"];
    table(heading, rows)
}

/// What is wrong with a task stands in full on the ladder.
fn state(target: &Target) -> String {
    match target.state.as_deref() {
        None => "-".into(),
        Some(UP) => UP.into(),
        Some(_) => "BROKEN".into(),
    }
}

/// The walk of one VIP: the ladder of a broken sandbox if there is one, else of the first.
pub fn walk(walk: &Walk) -> String {
    let mut text = format!(
        "{} on network {}: VIP {}, fwmark {}, data plane {}, scheduler {}\n",
        walk.service, walk.network, walk.address, walk.fwmark, walk.data_plane, walk.scheduler
    );
    let broken: Vec<&Ladder> =
        walk.ladders.iter().filter(|ladder| ladder.broken().is_some()).collect();
    let shown = broken.first().copied().or(walk.ladders.first());
    if let Some(ladder) = shown {
        text.push_str(&format!("\nA packet from {}:\n", ladder.sandbox));
        let broken = ladder.rungs.iter().position(|rung| !rung.holds);
        for (place, rung) in ladder.rungs.iter().enumerate() {
            let step = rung.step.words();
            let line = match broken {
                Some(broken) if place > broken => format!("  not reached  {step}"),
                Some(broken) if place == broken => {
                    format!("  BROKEN       {step:<14}  {}", rung.evidence)
                }
                _ => format!("  ok           {step:<14}  {}", rung.evidence),
            };
            text.push_str(&line);
            text.push('\n');
        }
    }
    let total = walk.ladders.len();
    text.push_str(&match broken.len() {
        0 if total == 0 => "\nNo sandbox here is on its network.\n".to_owned(),
        0 => format!("\nIt works from {}.\n", all(total)),
        n => {
            let names: Vec<&str> = broken.iter().map(|ladder| &*ladder.sandbox).collect();
            format!("\nIt is broken from {n} of {}: {}\n", count(total, "sandbox"), names.join(" "))
        }
    });
    text.push('\n');
    text.push_str(&tasks(std::slice::from_ref(walk)));
    text
}

fn all(sandboxes: usize) -> String {
    match sandboxes {
        1 => "the one sandbox".into(),
        n => format!("all {}", count(n, "sandbox")),
    }
}

fn first_broken(walk: &Walk) -> Option<(&Ladder, &crate::trace::vip::Rung)> {
    walk.ladders.iter().find_map(|ladder| Some((ladder, ladder.broken()?)))
}

fn number<T: ToString>(number: Option<T>) -> String {
    number.map_or_else(|| "-".into(), |number| number.to_string())
}
