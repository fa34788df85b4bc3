//! VIPs in words: a table of all, or the walk of one.

use super::english::count;
use super::table::table;
use crate::trace::vip::{Ladder, Walk};

/// One line for each task behind each VIP.
pub fn overview(walks: &[Walk]) -> String {
    let mut rows = Vec::new();
    for walk in walks {
        let state = match first_broken(walk) {
            None => "ok".to_owned(),
            Some((_, rung)) => format!("BROKEN: {}", rung.step.words()),
        };
        let mut first = [
            walk.service.to_string(),
            walk.network.to_string(),
            walk.address.to_string(),
            walk.fwmark.to_string(),
            walk.data_plane.to_string(),
            walk.scheduler.clone(),
            state,
        ];
        for target in &walk.targets {
            let [service, network, address, mark, plane, scheduler, state] = first;
            rows.push([
                service,
                network,
                address,
                mark,
                plane,
                scheduler,
                state,
                target.task.to_string(),
                target.node.to_string(),
                target.address.to_string(),
                number(target.weight),
                format!("{}/{}", target.tally.active, target.tally.inactive),
                target.tally.connections.to_string(),
                number(target.tally.packets),
            ]);
            first = Default::default();
        }
        if walk.targets.is_empty() {
            let [service, network, address, mark, plane, scheduler, state] = first;
            let none = String::new;
            rows.push([
                service,
                network,
                address,
                mark,
                plane,
                scheduler,
                state,
                "(no tasks)".into(),
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
            ]);
        }
    }
    let mut text = table(
        [
            "SERVICE",
            "NETWORK",
            "VIP",
            "FWMARK",
            "PLANE",
            "SCHEDULER",
            "STATE",
            "TASK",
            "NODE",
            "ADDRESS",
            "WEIGHT",
            "ACT/INACT",
            "CONNS",
            "PACKETS",
        ],
        rows,
    );
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
        for rung in &ladder.rungs {
            let verdict = if rung.holds { "ok    " } else { "BROKEN" };
            text.push_str(&format!("  {verdict}  {:<14}  {}\n", rung.step.words(), rung.evidence));
        }
    }
    let total = count(walk.ladders.len(), "sandbox");
    text.push_str(&match broken.len() {
        0 if walk.ladders.is_empty() => "\nNo sandbox of this node is on that network.\n".into(),
        0 => format!("\nWhole in {total} on this node.\n"),
        n => {
            let names: Vec<&str> = broken.iter().map(|ladder| ladder.sandbox.as_str()).collect();
            format!(
                "\nBroken in {n} of {total} on this node: {}\nThe agent mends what somebody \
                 changed within 15 seconds; `swarmlb agent status` says if it cannot.\n",
                names.join(" ")
            )
        }
    });
    let rows = walk.targets.iter().map(|target| {
        [
            target.task.to_string(),
            target.node.to_string(),
            target.address.to_string(),
            number(target.weight),
            target.tally.active.to_string(),
            target.tally.inactive.to_string(),
            target.tally.connections.to_string(),
            number(target.tally.packets),
        ]
    });
    text.push('\n');
    let heading =
        ["TASK", "NODE", "ADDRESS", "WEIGHT", "ACTIVE", "INACTIVE", "CONNECTIONS", "PACKETS"];
    text.push_str(&table(heading, rows.collect()));
    text
}

fn first_broken(walk: &Walk) -> Option<(&Ladder, &crate::trace::vip::Rung)> {
    walk.ladders.iter().find_map(|ladder| Some((ladder, ladder.broken()?)))
}

fn number<T: ToString>(number: Option<T>) -> String {
    number.map_or_else(|| "-".into(), |number| number.to_string())
}
