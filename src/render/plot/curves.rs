//! Latency by percentile: how long so many of the requests took at most, with the slow end drawn
//! wide, and time in powers of ten.

use super::{Drawing, Pen, WIDTH, way_class};
use crate::render::figure::{thousands, time};
use crate::trace::balance::Comparison;

const LEFT: f64 = 64.0;
const RIGHT: f64 = 240.0;
const TOP: f64 = 10.0;
const HEIGHT: f64 = 300.0;
/// Less than this is not drawn apart: a kept answer takes no time.
const LEAST: f64 = 0.1;
/// Labels nearer than this would cover each other.
const LABEL: f64 = 15.0;

struct Curve<'a> {
    points: &'a [(f64, f64)],
    class: String,
    label: String,
}

pub fn draw(comparison: &Comparison) -> Option<Drawing> {
    let mut curves: Vec<Curve<'_>> = Vec::new();
    for (number, way) in comparison.ways.iter().enumerate() {
        let Some((drawn, latency)) = way.curves.as_ref().zip(way.latency) else { continue };
        let stroke = way_class("stroke", number);
        curves.push(Curve {
            points: &drawn.total,
            class: format!("line {stroke}"),
            label: format!("{}, P50 {}", way.mechanism, time(latency.total.p50)),
        });
        curves.push(Curve {
            points: &drawn.resolve,
            class: format!("thin {stroke}"),
            label: format!("{} name, P50 {}", way.mechanism, time(latency.resolve.p50)),
        });
    }
    let all = || curves.iter().flat_map(|curve| curve.points);
    let last = all().map(|(fraction, _)| *fraction).fold(0.0, f64::max);
    let nines = nines(last).max(1.0);
    let times = || all().map(|(_, time)| time.max(LEAST));
    let (low, high) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    if curves.is_empty() {
        return None;
    }
    let scale = Scale::new(nines, low, high);
    let mut pen = Pen::default();
    grid(&mut pen, &scale, last);
    let mut labels: Vec<(f64, String)> = Vec::new();
    for curve in &curves {
        let points: Vec<(f64, f64)> = curve
            .points
            .iter()
            .map(|(fraction, time)| (scale.x(*fraction), scale.y(*time)))
            .collect();
        pen.polyline(&points, &curve.class);
        labels.extend(points.last().map(|(_, y)| (*y, curve.label.clone())));
    }
    for (y, label) in apart(labels) {
        pen.text(WIDTH - RIGHT + 8.0, y + 4.0, "", &label);
    }
    pen.text(
        LEFT,
        TOP + HEIGHT + 36.0,
        "soft",
        "share of the requests that took no longer; dashed: the part that resolving the name took",
    );
    Some(pen.done("Latency by percentile", TOP + HEIGHT + 44.0))
}

/// Labels in the order of their heights, none nearer to the next than it can be read.
fn apart(mut labels: Vec<(f64, String)>) -> Vec<(f64, String)> {
    labels.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    for index in 1..labels.len() {
        let above = labels.get(index - 1).map_or(0.0, |(y, _)| *y);
        if let Some((y, _)) = labels.get_mut(index) {
            *y = y.max(above + LABEL);
        }
    }
    // Pushed down beyond the chart, they are pushed up again.
    let mut lowest = TOP + HEIGHT;
    for (y, _) in labels.iter_mut().rev() {
        *y = y.min(lowest);
        lowest = *y - LABEL;
    }
    labels
}

struct Scale {
    nines: f64,
    low: f64,
    high: f64,
}

impl Scale {
    fn new(nines: f64, low: f64, high: f64) -> Self {
        let (low, high) = (low.log10(), high.log10());
        // Never flat, and with a little room above and below.
        let room = ((0.4 - (high - low)) / 2.0).max(0.04);
        Self { nines, low: low - room, high: high + room }
    }

    fn x(&self, fraction: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * nines(fraction) / self.nines
    }

    fn y(&self, micros: f64) -> f64 {
        let up = (micros.max(LEAST).log10() - self.low) / (self.high - self.low);
        TOP + HEIGHT * (1.0 - up)
    }
}

/// 0.9 is one, 0.99 two.
fn nines(fraction: f64) -> f64 {
    -(1.0 - fraction.min(1.0 - 1e-12)).log10()
}

fn grid(pen: &mut Pen, scale: &Scale, last: f64) {
    for (fraction, label) in [
        (0.0, "0 %"),
        (0.5, "50 %"),
        (0.75, "75 %"),
        (0.9, "90 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
        (0.9999, "99.99 %"),
        (0.99999, "99.999 %"),
    ] {
        if fraction > last.max(0.9) {
            continue;
        }
        let x = scale.x(fraction);
        pen.line([x, TOP, x, TOP + HEIGHT], "rule");
        pen.text(x, TOP + HEIGHT + 16.0, "soft middle", label);
    }
    for (micros, label) in ticks(scale) {
        let y = scale.y(micros);
        pen.line([LEFT, y, WIDTH - RIGHT, y], "rule");
        pen.text(LEFT - 8.0, y + 4.0, "soft end", &label);
    }
}

/// 1, 2 and 5 of each power of ten, or 1 alone where these would be too many.
fn ticks(scale: &Scale) -> Vec<(f64, String)> {
    let steps: &[f64] = if scale.high - scale.low > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let mut ticks = Vec::new();
    for power in scale.low.floor() as i32..=scale.high.ceil() as i32 {
        for step in steps {
            let micros = step * 10f64.powi(power);
            if (scale.low..=scale.high).contains(&micros.log10()) {
                ticks.push((micros, short(micros)));
            }
        }
    }
    ticks
}

/// A round time without digits that say nothing: `200 µs`, `5 ms`.
fn short(micros: f64) -> String {
    match micros {
        _ if micros < 0.95 => format!("{micros:.1} µs"),
        _ if micros < 950.0 => format!("{micros:.0} µs"),
        _ if micros < 950_000.0 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{} s", thousands((micros / 1e6).round() as u64)),
    }
}
