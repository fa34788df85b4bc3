//! Constraints: which nodes may run a service's tasks, in Docker's grammar.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::NodeRecord;
use super::name::nearest;

/// `node.name==one`, `node.label.disk!=ssd`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Constraint {
    key: Key,
    comparison: Comparison,
    value: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Name,
    Label(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Comparison {
    Is,
    IsNot,
}

/// What is no constraint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConstraintError {
    #[error(
        "`{}` compares nothing: write KEY==VALUE or KEY!=VALUE, as in node.label.disk==ssd",
        text.escape_debug()
    )]
    NoComparison { text: String },
    #[error(
        "`{}` has one `=`: write `{key}=={value}` or `{key}!={value}`",
        text.escape_debug(), key = key.escape_debug(), value = value.escape_debug()
    )]
    OneEqualsSign { text: String, key: String, value: String },
    #[error("`{}` says no value to compare with", text.escape_debug())]
    NoValue { text: String },
    #[error(
        "the {what} `{}` is not valid: letters, digits and any of {also} may stand in it",
        text.escape_debug()
    )]
    Malformed { what: &'static str, text: String, also: &'static str },
    #[error(
        "`{}` is nothing to constrain by: there are node.name and node.label.KEY{}",
        key.escape_debug(), did_you_mean(meant.as_ref())
    )]
    NoSuchKey { key: String, meant: Option<String> },
    #[error("nodes have no `{}`: {instead}", key.escape_debug())]
    NotOfNodes { key: String, instead: &'static str },
}

fn did_you_mean(meant: Option<&String>) -> String {
    meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default()
}

/// What Docker's nodes have and ours have not, and what to write instead.
const NOT_OF_NODES: [(&str, &str); 5] = [
    ("node.id", "they are known by their names, so write node.name"),
    ("node.role", "there are no managers and workers, every node is alike; write node.label.KEY"),
    ("node.platform.os", "all of them are Linux"),
    ("node.platform.arch", "write node.label.KEY, with a label that tells them apart"),
    ("engine.labels", "there is no engine; write node.label.KEY"),
];
/// What a mistyped key may have been meant to be.
const KEYS: [&str; 4] = ["node.name", "node.hostname", "node.label", "node.labels"];
/// Longest value, in bytes: that of a label.
const LONGEST: usize = 253;

impl Constraint {
    /// Whether a node may run what is constrained so. As in Docker, values are compared without
    /// regard to case, and a label that is not there is an empty one.
    pub fn admits(&self, node: &NodeRecord) -> bool {
        let held = match &self.key {
            Key::Name => node.name.as_str(),
            Key::Label(label) => node.labels.get(label).map_or("", String::as_str),
        };
        let same = held.eq_ignore_ascii_case(&self.value);
        match self.comparison {
            Comparison::Is => same,
            Comparison::IsNot => !same,
        }
    }
}

impl FromStr for Key {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        // Docker takes its keys in any case; labels it tells apart.
        let lower = text.to_ascii_lowercase();
        if matches!(lower.as_str(), "node.name" | "node.hostname") {
            return Ok(Self::Name);
        }
        let label = ["node.label.", "node.labels."].iter().find(|start| lower.starts_with(**start));
        if let Some(start) = label {
            return label_key(&text[start.len()..]).map(Self::Label);
        }
        let begins = |name: &str| {
            lower.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some((_, instead)) = NOT_OF_NODES.iter().find(|(name, _)| begins(name)) {
            return Err(ConstraintError::NotOfNodes { key: text.to_owned(), instead });
        }
        let (stem, rest) = match lower.match_indices('.').nth(1) {
            Some((at, _)) => lower.split_at(at),
            None => (lower.as_str(), ""),
        };
        let meant = nearest(stem, KEYS).map(|near| match near.contains("label") {
            true if rest.is_empty() => format!("{near}.KEY"),
            true => format!("{near}{rest}"),
            false => near.to_owned(),
        });
        Err(ConstraintError::NoSuchKey { key: text.to_owned(), meant })
    }
}

fn label_key(text: &str) -> Result<String, ConstraintError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    match !text.is_empty() && text.len() <= LONGEST && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(ConstraintError::Malformed {
            what: "label",
            text: text.to_owned(),
            also: "`-`, `_`, `.` and `/`",
        }),
    }
}

impl FromStr for Constraint {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        let text = text.trim();
        let both = [("==", Comparison::Is), ("!=", Comparison::IsNot)];
        let found = both.iter().filter_map(|(sign, comparison)| {
            let (key, value) = text.split_once(sign)?;
            Some((key.trim(), *comparison, value.trim()))
        });
        let Some((key, comparison, value)) = found.min_by_key(|(key, ..)| key.len()) else {
            let text = text.to_owned();
            return Err(match text.split_once('=') {
                Some((key, value)) => {
                    let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
                    ConstraintError::OneEqualsSign { text, key, value }
                }
                None => ConstraintError::NoComparison { text },
            });
        };
        let key = key.parse()?;
        if value.is_empty() {
            return Err(ConstraintError::NoValue { text: text.to_owned() });
        }
        // As Docker's, which no shell or table has trouble with; and spaces within.
        let fits = |c: char| c.is_ascii_alphanumeric() || ":-_ .*()?+[]\\^$|/".contains(c);
        if value.len() > LONGEST || !value.chars().all(fits) {
            let also = "`: - _ . * ( ) ? + [ ] \\ ^ $ | /` and spaces";
            return Err(ConstraintError::Malformed { what: "value", text: value.to_owned(), also });
        }
        Ok(Self { key, comparison, value: value.to_owned() })
    }
}

impl TryFrom<String> for Constraint {
    type Error = ConstraintError;

    fn try_from(text: String) -> Result<Self, ConstraintError> {
        text.parse()
    }
}

impl From<Constraint> for String {
    fn from(constraint: Constraint) -> String {
        constraint.to_string()
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.comparison {
            Comparison::Is => "==",
            Comparison::IsNot => "!=",
        };
        match &self.key {
            Key::Name => write!(f, "node.name{sign}{}", self.value),
            Key::Label(label) => write!(f, "node.label.{label}{sign}{}", self.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(labels: &[(&str, &str)]) -> NodeRecord {
        let mut record = NodeRecord::new("one".parse().unwrap(), true);
        let owned = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        record.labels = owned.collect();
        record
    }

    fn admits(constraint: &str, labels: &[(&str, &str)]) -> bool {
        constraint.parse::<Constraint>().unwrap().admits(&node(labels))
    }

    #[test]
    fn a_constraint_is_read_as_docker_reads_it() {
        for (typed, said) in [
            ("node.hostname==one", "node.name==one"),
            ("node.name != two", "node.name!=two"),
            (" NODE.Labels.Disk == ssd ", "node.label.Disk==ssd"),
            ("node.label.a.b/c!=x y", "node.label.a.b/c!=x y"),
        ] {
            let constraint: Constraint = typed.parse().unwrap();
            assert_eq!(constraint.to_string(), said);
            assert_eq!(said.parse(), Ok(constraint));
        }
    }

    #[test]
    fn a_label_that_is_not_there_is_an_empty_one_and_case_is_no_matter() {
        assert!(admits("node.name==ONE", &[]));
        assert!(!admits("node.name!=one", &[]));
        assert!(admits("node.label.disk==SSD", &[("disk", "ssd")]));
        assert!(!admits("node.label.disk==ssd", &[("Disk", "ssd")]));
        assert!(!admits("node.label.disk==ssd", &[]));
        assert!(admits("node.label.disk!=ssd", &[]));
    }

    #[test]
    fn what_is_no_constraint_is_refused_with_its_reason() {
        for (text, said) in [
            ("", "compares nothing"),
            ("node.name", "compares nothing: write KEY==VALUE or KEY!=VALUE"),
            ("node.name=one", "has one `=`: write `node.name==one` or `node.name!=one`"),
            ("node.name==", "says no value"),
            ("node.name===one", "the value `=one` is not valid"),
            ("node.label.==x", "the label `` is not valid"),
            ("node.label.a b==x", "the label `a b` is not valid"),
            ("node.name==o\u{1b}ne", "the value `o\\u{1b}ne` is not valid"),
            ("node.nane==x", "there are node.name and node.label.KEY; did you mean `node.name`?"),
            ("node.lable.disk==ssd", "did you mean `node.label.disk`?"),
            ("node.label==ssd", "did you mean `node.label.KEY`?"),
            ("disk==ssd", "`disk` is nothing to constrain by"),
            ("node.id==x", "they are known by their names"),
            ("node.role==manager", "there are no managers and workers"),
            ("node.platform.os==linux", "all of them are Linux"),
            ("engine.labels.x==y", "there is no engine"),
        ] {
            let error = text.parse::<Constraint>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
