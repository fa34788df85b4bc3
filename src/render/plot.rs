//! A comparison drawn, as SVG: bars by task, shares by client, the order of tasks, latency curves, failures over
//! time.
//!
//! Own code, for five plain charts need no library. Colours come from classes, so that one drawing
//! serves light and dark; no chart tells anything by colour alone.

mod bars;
mod curves;
mod outages;
mod shares;
mod turns;

use crate::render::table::printable;
use crate::trace::balance::Comparison;

/// All charts are as wide.
pub const WIDTH: f64 = 880.0;

/// Colours of both schemes. The first way is orange, the second blue; a third would be green.
pub const STYLE: &str = "\
text { font: 12px system-ui, 'DejaVu Sans', Helvetica, Arial, sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.head { font-size: 18px; font-weight: 600; }
.soft { fill: #59636e; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.paper { fill: #ffffff; }
.rule { stroke: #d1d9e0; stroke-width: 1; fill: none; }
.mark { stroke: #59636e; stroke-width: 1; stroke-dasharray: 3 3; fill: none; }
.line { stroke-width: 2; fill: none; }
.thin { stroke-width: 1.2; stroke-dasharray: 5 3; fill: none; }
.fill0 { fill: #c4570a; } .fill1 { fill: #0b63ce; } .fill2 { fill: #1a7f37; }
.stroke0 { stroke: #c4570a; } .stroke1 { stroke: #0b63ce; } .stroke2 { stroke: #1a7f37; }
text.on { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .soft { fill: #9198a1; }
  .paper { fill: #0d1117; }
  .rule { stroke: #30363d; }
  .mark { stroke: #9198a1; }
  .fill0 { fill: #f0883e; } .fill1 { fill: #58a6ff; } .fill2 { fill: #3fb950; }
  .stroke0 { stroke: #f0883e; } .stroke1 { stroke: #58a6ff; } .stroke2 { stroke: #3fb950; }
  text.on { fill: #0d1117; }
}
";

/// One chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// What it shows, in a few words.
    pub title: String,
    pub height: f64,
    /// SVG elements, in a space of [`WIDTH`] by `height`.
    pub body: String,
}

/// Every chart that the comparison gives something to draw for.
pub fn all(comparison: &Comparison) -> Vec<Drawing> {
    [
        bars::draw(comparison),
        shares::draw(comparison),
        turns::draw(comparison),
        curves::draw(comparison),
        outages::draw(comparison),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Text as it may stand in HTML and SVG, in an attribute too.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Elements as they are written.
#[derive(Debug, Default)]
struct Pen {
    body: String,
}

impl Pen {
    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escape(text);
        self.body.push_str(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>\n"
        ));
    }

    /// A text that may have been cut, with the whole of it to be seen by pointing at it.
    fn named(&mut self, x: f64, y: f64, class: &str, text: &str, whole: &str) {
        self.body.push_str(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{}<title>{}</title></text>\n",
            escape(text),
            escape(whole)
        ));
    }

    /// A box; `tip` is seen by pointing at it.
    fn rect(&mut self, [x, y, width, height]: [f64; 4], class: &str, opacity: f64, tip: &str) {
        self.body.push_str(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"{class}\" \
             fill-opacity=\"{opacity:.2}\"><title>{}</title></rect>\n",
            escape(tip)
        ));
    }

    fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], class: &str) {
        self.body.push_str(&format!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>\n"
        ));
    }

    fn polyline(&mut self, points: &[(f64, f64)], class: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.body
            .push_str(&format!("<polyline points=\"{}\" class=\"{class}\"/>\n", points.join(" ")));
    }

    fn done(self, title: impl Into<String>, height: f64) -> Drawing {
        Drawing { title: title.into(), height, body: self.body }
    }
}

/// The width that a text of 12 pixels takes at most, about.
fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * 7.0
}

/// Room for the longest of some names, and how many characters of each fit there.
fn column<'a>(names: impl Iterator<Item = &'a str>, most: usize) -> (f64, usize) {
    let longest = names.map(|name| name.chars().count()).max().unwrap_or(0).min(most);
    (longest as f64 * 7.0 + 10.0, longest)
}

/// The classes of a way, by its place in the comparison.
fn way_class(kind: &str, index: usize) -> String {
    format!("{kind}{}", index % 3)
}
