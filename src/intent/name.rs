//! Names of what an operator makes, and the rules that they obey.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest name of a network, service or node, in bytes: Docker's limit for services.
pub const LONGEST: usize = 63;

/// A name that breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    #[error("{what} name is empty")]
    Empty { what: &'static str },
    #[error("{what} name `{name}` has {length} characters; at most {LONGEST} are allowed")]
    TooLong { what: &'static str, name: String, length: usize },
    #[error(
        "{what} name `{}` is not valid: only letters, digits, `-` and `_` may stand in it, with a letter or digit first and last",
        name.escape_debug()
    )]
    Malformed { what: &'static str, name: String },
    #[error("`{}` names no task: a task is SERVICE.SLOT, as in `web.1`", name.escape_debug())]
    NoTask { name: String },
}

fn check(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    if name.len() > LONGEST {
        let (name, length) = (name.chars().take(LONGEST).collect(), name.chars().count());
        return Err(NameError::TooLong { what, name, length });
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if name.chars().all(inner) && edge(name.chars().next()) && edge(name.chars().last()) {
        Ok(())
    } else {
        Err(NameError::Malformed { what, name: name.into() })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                check($what, name)?;
                Ok(Self(name.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                name.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The name of a network.
    NetworkName,
    "network"
);
name!(
    /// The name of a service.
    ServiceName,
    "service"
);

impl NetworkName {
    /// The name of the routing mesh's network, as in Docker.
    pub fn ingress() -> Self {
        Self(super::ingress::INGRESS.to_owned())
    }
}

/// Another name of a service on one network. It may have dots, as any name of DNS may.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Alias(String);

impl Alias {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Alias {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        for label in name.split('.') {
            check("alias", label)?;
        }
        Ok(Self(name.to_owned()))
    }
}

impl TryFrom<String> for Alias {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl From<Alias> for String {
    fn from(alias: Alias) -> String {
        alias.0
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The name of a machine. A host name may have dots, which the other names may not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty { what: "node" });
        }
        for label in name.split('.') {
            check("node", label)
                .map_err(|_| NameError::Malformed { what: "node", name: name.into() })?;
        }
        Ok(Self(name.to_owned()))
    }
}

impl TryFrom<String> for NodeName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> String {
        name.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The name of a task: its service and its slot, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskName {
    pub service: ServiceName,
    pub slot: u32,
}

impl FromStr for TaskName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let no_task = || NameError::NoTask { name: name.into() };
        let (service, slot) = name.rsplit_once('.').ok_or_else(no_task)?;
        let service = service.parse().map_err(|_| no_task())?;
        match slot.parse::<u32>() {
            Ok(number) if number > 0 && number.to_string() == slot => {
                Ok(Self { service, slot: number })
            }
            _ => Err(no_task()),
        }
    }
}

impl TryFrom<String> for TaskName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl From<TaskName> for String {
    fn from(name: TaskName) -> String {
        name.to_string()
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.service, self.slot))
    }
}

/// The nearest of `known` to a name that was mistyped, when it is near enough to be meant: a third
/// of its letters changed at the most.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_name_obeys_dockers_rules() {
        for good in ["web", "collab-box", "a", "A_1", &"x".repeat(63)] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in ["", "-web", "web-", "we.b", "we b", "wéb", "a/b", &"x".repeat(64)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_task_name_is_service_and_slot() {
        let task: TaskName = "collab-box.12".parse().unwrap();
        assert_eq!((task.service.as_str(), task.slot), ("collab-box", 12));
        assert_eq!(task.to_string(), "collab-box.12");
        for bad in ["web", "web.0", "web.01", "web.-1", "web.x", ".1", "a.b.1"] {
            assert!(bad.parse::<TaskName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mistyped_name_finds_the_one_that_was_meant() {
        let known = ["collabweb", "collab-box"];
        assert_eq!(nearest("colabweb", known), Some("collabweb"));
        assert_eq!(nearest("collabbox", known), Some("collab-box"));
        assert_eq!(nearest("nginx", known), None);
    }
}
