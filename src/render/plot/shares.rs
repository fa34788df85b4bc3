//! Who met whom: for each way a table of clients by tasks, the fuller the more of a client's replies.

use super::{Drawing, Pen, WIDTH, column, way_class};
use crate::render::figure::{percent, shortened, thousands};
use crate::trace::balance::{Comparison, WayResult};

/// More tasks than this have no room side by side.
const MOST_TASKS: usize = 100;
const ROW: f64 = 18.0;
const WIDEST: f64 = 90.0;

pub fn draw(comparison: &Comparison) -> Option<Drawing> {
    let first = comparison.ways.first()?;
    let clients = first.clients.len();
    if clients < 2 || first.tasks.is_empty() || first.tasks.len() > MOST_TASKS {
        return None;
    }
    let (label, fits) = column(first.clients.iter().map(|client| client.client.as_str()), 28);
    let cell = ((WIDTH - label) / first.tasks.len() as f64).min(WIDEST);
    let mut pen = Pen::default();
    let mut y = 0.0;
    for (number, way) in comparison.ways.iter().enumerate() {
        pen.text(0.0, y + 14.0, "", &format!("{} ({})", way.mechanism, way.way));
        y += 22.0;
        y = heads(&mut pen, way, label, cell, y);
        for client in &way.clients {
            let name = shortened(&client.client, fits);
            pen.named(label - 8.0, y + 13.0, "end", &name, &client.client);
            for (index, task) in client.tasks.iter().enumerate() {
                let x = label + index as f64 * cell;
                let tip = format!(
                    "{}: {} of {} replies from {} ({})",
                    client.client,
                    thousands(task.replies),
                    thousands(client.spread.replies),
                    task.task,
                    percent(task.share)
                );
                let room = [x, y, cell - 1.0, ROW - 1.0];
                pen.rect(room, "rule", 1.0, &tip);
                if task.replies > 0 {
                    pen.rect(room, &way_class("fill", number), 0.12 + 0.88 * task.share, &tip);
                }
                let told = thousands(task.replies);
                if told.len() as f64 * 7.0 + 4.0 <= cell {
                    let on = match task.share {
                        0.0 => "middle soft",
                        share if share > 0.5 => "middle on",
                        _ => "middle",
                    };
                    pen.text(x + cell / 2.0, y + 13.0, on, &told);
                }
            }
            y += ROW;
        }
        y += 16.0;
    }
    Some(pen.done("Replies by client and task", y - 8.0))
}

/// The tasks above their columns: by slot where they are of one service, and all of them or every
/// so many as fit.
fn heads(pen: &mut Pen, way: &WayResult, label: f64, cell: f64, y: f64) -> f64 {
    let service = |name: &str| name.rsplit_once('.').map(|(service, _)| service.to_owned());
    let first = way.tasks.first().and_then(|task| service(&task.task));
    let one = first.is_some() && way.tasks.iter().all(|task| service(&task.task) == first);
    let name = |task: &str| match task.rsplit_once('.') {
        Some((_, slot)) if one => format!(".{slot}"),
        _ => shortened(task, (cell / 7.0) as usize),
    };
    let longest = way.tasks.iter().map(|task| name(&task.task).chars().count()).max().unwrap_or(1);
    let each = ((longest as f64 * 7.0 + 4.0) / cell).ceil().max(1.0) as usize;
    for (index, task) in way.tasks.iter().enumerate().step_by(each) {
        let x = label + (index as f64 + 0.5) * cell;
        pen.named(x, y + 12.0, "soft middle", &name(&task.task), &task.task);
    }
    y + 18.0
}
