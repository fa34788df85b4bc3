//! Prometheus's text format, version 0.0.4: families of samples, each with its help and its kind.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::Write;

use serde::Serialize;

/// What the format is called in HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What may happen to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up, until whoever counts begins anew.
    Counter,
}

/// One value, told from the others of its family by its labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

/// What is measured, everywhere that it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub samples: Vec<Sample>,
}

impl Family {
    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge, samples: Vec::new() }
    }

    /// Its name ends in `_total`.
    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter, samples: Vec::new() }
    }

    pub fn add(&mut self, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.samples.push(Sample { labels, value });
    }
}

/// The text. A family without a sample is left out.
pub fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let kind = match family.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {} {}", family.name, family.help);
        let _ = writeln!(text, "# TYPE {} {kind}", family.name);
        for Sample { labels, value } in &family.samples {
            let _ = writeln!(text, "{}{} {value}", family.name, braced(labels));
        }
    }
    text
}

fn braced(labels: &[(&'static str, String)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let words: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", words.join(","))
}

/// As a label's value is written.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stand_with_help_and_kind_and_labels_are_escaped() {
        let mut weight = Family::gauge("swarmlb_weight", "How much.");
        weight.add(&[("task", "web.1"), ("node", "a\\b\"c\nd")], 3.0);
        weight.add(&[], 0.5);
        let mut all = Family::counter("swarmlb_connections_total", "How many.");
        all.add(&[("task", "web.1")], 12_345_678_901.0);
        let none = Family::gauge("swarmlb_none", "Nothing.");
        assert_eq!(
            text(&[weight, none, all]),
            "# HELP swarmlb_weight How much.\n\
             # TYPE swarmlb_weight gauge\n\
             swarmlb_weight{task=\"web.1\",node=\"a\\\\b\\\"c\\nd\"} 3\n\
             swarmlb_weight 0.5\n\
             # HELP swarmlb_connections_total How many.\n\
             # TYPE swarmlb_connections_total counter\n\
             swarmlb_connections_total{task=\"web.1\"} 12345678901\n"
        );
    }
}
