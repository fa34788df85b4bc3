//! Replies by task: a bar for each way, one below the other, against the equal share.

use super::{Drawing, Pen, WIDTH, column, way_class, width_of};
use crate::render::figure::{percent, shortened, thousands};
use crate::trace::balance::Comparison;

/// Of more tasks than this, the busiest and the idlest are drawn.
const MOST: usize = 60;
/// Room for what is said of a bar.
const RIGHT: f64 = 130.0;

pub fn draw(comparison: &Comparison) -> Option<Drawing> {
    let ways: Vec<_> = comparison.ways.iter().enumerate().collect();
    let (_, first) = *ways.first()?;
    let answered = ways.iter().any(|(_, way)| way.spread.replies > 0);
    if first.tasks.is_empty() || !answered {
        return None;
    }
    let chosen = chosen(comparison, first.tasks.len());
    let (label, fits) = column(first.tasks.iter().map(|task| task.task.as_str()), 32);
    let largest =
        comparison.ways.iter().flat_map(|way| &way.tasks).map(|t| t.share).fold(0.0, f64::max);
    let scale = (WIDTH - label - RIGHT) / largest;
    let thick = if chosen.len() > 12 { 12.0 } else { 15.0 };
    let mut pen = Pen::default();
    let mut y = legend(&mut pen, comparison);
    let top = y;
    let left_out = first.tasks.len() - chosen.len();
    for (place, index) in chosen.iter().enumerate() {
        if left_out > 0 && place == MOST / 2 {
            let told = format!("… {left_out} tasks between these are left out");
            pen.text(label, y + 12.0, "soft", &told);
            y += 22.0;
        }
        let height = ways.len() as f64 * (thick + 1.0);
        if let Some(task) = first.tasks.get(*index) {
            let name = shortened(&task.task, fits);
            pen.named(label - 8.0, y + height / 2.0 + 4.0, "end", &name, &task.task);
        }
        for (number, way) in &ways {
            let Some(task) = way.tasks.get(*index) else { continue };
            let told = format!("{} ({})", thousands(task.replies), percent(task.share));
            let length = if task.replies > 0 { (task.share * scale).max(1.0) } else { 0.0 };
            let tip = format!("{} through {}: {told}", task.task, way.mechanism);
            pen.rect([label, y, length, thick], &way_class("fill", *number), 1.0, &tip);
            pen.text(WIDTH - RIGHT + 8.0, y + thick / 2.0 + 4.0, "soft", &told);
            y += thick + 1.0;
        }
        y += 8.0;
    }
    let mean = label + scale / first.tasks.len() as f64;
    pen.line([mean, top - 4.0, mean, y], "mark");
    pen.text(mean, y + 12.0, "soft middle", "equal share");
    Some(pen.done("Replies by task", y + 18.0))
}

/// All tasks, or those with the largest and the smallest shares.
fn chosen(comparison: &Comparison, tasks: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..tasks).collect();
    if tasks <= MOST {
        return all;
    }
    let replies = |index: &usize| -> u64 {
        let of = comparison.ways.iter().filter_map(|way| way.tasks.get(*index));
        of.map(|task| task.replies).sum()
    };
    all.sort_by_key(|index| std::cmp::Reverse(replies(index)));
    let (busiest, rest) = all.split_at(MOST / 2);
    let (_, idlest) = rest.split_at(rest.len() - MOST / 2);
    [busiest, idlest].concat()
}

/// Which colour is which way; returns where the chart below begins.
pub fn legend(pen: &mut Pen, comparison: &Comparison) -> f64 {
    let mut x = 0.0;
    for (number, way) in comparison.ways.iter().enumerate() {
        let text = format!("{} ({})", way.mechanism, way.way);
        pen.rect([x, 2.0, 14.0, 12.0], &way_class("fill", number), 1.0, &text);
        pen.text(x + 20.0, 12.0, "", &text);
        x += 20.0 + width_of(&text) + 24.0;
    }
    30.0
}
