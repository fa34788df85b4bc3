//! The order in which each client met the tasks: its first replies from left to right, the tasks one
//! above the other. Round robin is a saw, a kept address a flat line.

use super::{Drawing, Pen, WIDTH, column, way_class};
use crate::render::comparison::order;
use crate::render::figure::shortened;
use crate::trace::balance::Comparison;

/// More clients would all look alike.
const MOST_CLIENTS: usize = 12;
const GAP: f64 = 24.0;

pub fn draw(comparison: &Comparison) -> Option<Drawing> {
    let first = comparison.ways.first()?;
    let tasks = first.tasks.len();
    let ways = comparison.ways.len() as f64;
    let met = |way: &crate::trace::balance::WayResult| {
        way.clients.iter().map(|client| client.met.len()).max().unwrap_or(0)
    };
    let longest = comparison.ways.iter().map(met).max().unwrap_or(0);
    if tasks < 2 || longest < 2 {
        return None;
    }
    let (label, fits) = column(first.clients.iter().map(|client| client.client.as_str()), 28);
    let lane = (WIDTH - label - GAP * (ways - 1.0)) / ways;
    let height = (tasks as f64 * 5.0).clamp(18.0, 60.0);
    let mut pen = Pen::default();
    for (number, way) in comparison.ways.iter().enumerate() {
        let x = label + number as f64 * (lane + GAP);
        pen.text(x, 14.0, "", &format!("{} ({})", way.mechanism, way.way));
    }
    let mut y = 26.0;
    for (index, client) in first.clients.iter().take(MOST_CLIENTS).enumerate() {
        let name = shortened(&client.client, fits);
        pen.named(label - 8.0, y + height / 2.0 + 4.0, "end", &name, &client.client);
        for (number, way) in comparison.ways.iter().enumerate() {
            let Some(client) = way.clients.get(index) else { continue };
            let x = label + number as f64 * (lane + GAP);
            let words = order(way.way, client);
            let step = (lane - 100.0) / longest.saturating_sub(1).max(1) as f64;
            let points: Vec<(f64, f64)> = client
                .met
                .iter()
                .enumerate()
                .map(|(place, task)| {
                    let up = *task as f64 / (tasks - 1) as f64;
                    (x + place as f64 * step, y + 2.0 + (height - 4.0) * (1.0 - up))
                })
                .collect();
            pen.line([x, y + height, x + lane - 100.0, y + height], "rule");
            pen.polyline(&points, &format!("line {}", way_class("stroke", number)));
            pen.text(x + lane - 92.0, y + height / 2.0 + 4.0, "soft", words);
        }
        y += height + 8.0;
    }
    if first.clients.len() > MOST_CLIENTS {
        let more = first.clients.len() - MOST_CLIENTS;
        pen.text(label, y + 12.0, "soft", &format!("… and {more} more clients"));
        y += 20.0;
    }
    let title = format!("The first {longest} tasks that each client met, in order");
    Some(pen.done(title, y))
}
