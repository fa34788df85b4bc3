//! Failures over time when a task is killed: a lane for each way and each way to keep addresses, in which a
//! bar is as high as the part of the requests that failed.

use super::{Drawing, Pen, WIDTH, way_class};
use crate::render::figure::{count, time};
use crate::render::outage::kept;
use crate::trace::balance::Comparison;
use crate::trace::outage::{Outage, Outages};

const LEFT: f64 = 210.0;
const RIGHT: f64 = 170.0;
const HEIGHT: f64 = 34.0;

pub fn draw(comparison: &Comparison) -> Option<Drawing> {
    let outages = comparison.outages.as_ref().filter(|outages| !outages.episodes.is_empty())?;
    let mut pen = Pen::default();
    let killed = outages.killed_after_ms as f64 / outages.lasted_ms.max(1) as f64;
    let x = LEFT + killed * (WIDTH - LEFT - RIGHT);
    pen.text(x, 12.0, "soft middle", "killed");
    let mut y = 18.0;
    for outage in &outages.episodes {
        let place = comparison.ways.iter().position(|way| way.way == outage.way).unwrap_or(0);
        lane(&mut pen, y, outage, place, outages);
        y += HEIGHT + 12.0;
    }
    pen.line([x, 16.0, x, y - 8.0], "mark");
    pen.text(LEFT, y + 6.0, "soft", "0 s");
    let end = time(outages.lasted_ms as f64 * 1e3);
    pen.text(WIDTH - RIGHT, y + 6.0, "soft end", &end);
    Some(pen.done("The part of the requests that failed, by when they began", y + 14.0))
}

fn lane(pen: &mut Pen, y: f64, outage: &Outage, place: usize, outages: &Outages) {
    let name = format!("{}, kept {}", outage.mechanism, kept(outage.client_cache));
    let name = name.replace("kept nothing", "nothing kept");
    pen.text(LEFT - 8.0, y + HEIGHT / 2.0 + 4.0, "end", &name);
    let width = (WIDTH - LEFT - RIGHT) / outage.slices.len().max(1) as f64;
    let class = way_class("fill", place);
    for (number, slice) in outage.slices.iter().enumerate() {
        if slice.failed == 0 {
            continue;
        }
        let all = slice.failed + slice.answered;
        let height = (slice.failed as f64 / all as f64 * HEIGHT).max(2.0);
        let from = number as f64 / outage.slices.len() as f64 * outages.lasted_ms as f64 * 1e3;
        let tip = format!("from {}: {} of {all} failed", time(from), slice.failed);
        let left = LEFT + number as f64 * width;
        pen.rect([left, y + HEIGHT - height, width, height], &class, 1.0, &tip);
    }
    pen.line([LEFT, y + HEIGHT, WIDTH - RIGHT, y + HEIGHT], "rule");
    let failed = count(outage.failed(), "failed", "failed");
    let told = match outage.last_failure_ms {
        Some(last) if last <= 0.0 => format!("{failed}, at the kill"),
        Some(last) => format!("{failed}, last {}", time(last * 1e3)),
        None => "none failed".to_owned(),
    };
    pen.text(WIDTH - RIGHT + 8.0, y + HEIGHT / 2.0 + 4.0, "soft", &told);
}
