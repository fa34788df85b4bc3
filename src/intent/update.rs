//! Updates: how the tasks of a service become those of another definition, some at a time, and back.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Definition, Id, Image, NetworkName, PublishMode, PublishedPort, Service, Span, Task};

/// The version of a service that was never updated.
pub const FIRST_VERSION: u64 = 1;

/// All that a task has for life: one that shall have something else of it is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    #[serde(flatten)]
    pub definition: Definition,
    pub networks: Vec<NetworkName>,
    /// Whether it has an endpoint in the routing mesh.
    #[serde(default)]
    pub meshed: bool,
    /// The ports of its own node at which it answers.
    #[serde(default)]
    pub host_ports: Vec<PublishedPort>,
    /// How often it was asked for tasks of the same that are new.
    #[serde(default)]
    pub forced: u64,
}

/// Which of an old task and the one that follows it begins first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The old one leaves and is gone, and then the new one is made.
    #[default]
    StopFirst,
    /// The new one runs and everybody sends to it, and then the old one leaves.
    StartFirst,
}

/// What becomes of an update whose tasks fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureAction {
    /// No more tasks are replaced until somebody asks for another update.
    #[default]
    Pause,
    Continue,
    /// The service becomes what it was before.
    Rollback,
}

/// A part of all, 0 to 1, kept in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Ratio(u32);

/// How many millionths make all.
const WHOLE: u32 = 1_000_000;

impl Ratio {
    /// Whether so many of all are more than this part.
    pub fn is_exceeded_by(self, some: usize, all: usize) -> bool {
        some as u64 * u64::from(WHOLE) > u64::from(self.0) * all as u64
    }
}

impl TryFrom<f64> for Ratio {
    type Error = String;

    fn try_from(part: f64) -> Result<Self, String> {
        match (0.0..=1.0).contains(&part) {
            true => Ok(Self((part * f64::from(WHOLE)).round() as u32)),
            false => Err(format!("`{part}` is not a number from 0 to 1")),
        }
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> f64 {
        f64::from(ratio.0) / f64::from(WHOLE)
    }
}

impl FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{}` is not a number from 0 to 1", text.escape_debug());
        text.parse::<f64>().map_err(|_| refused())?.try_into().map_err(|_| refused())
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&f64::from(*self).to_string())
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Order::StopFirst => "stop-first",
            Order::StartFirst => "start-first",
        })
    }
}

impl fmt::Display for FailureAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            FailureAction::Pause => "pause",
            FailureAction::Continue => "continue",
            FailureAction::Rollback => "rollback",
        })
    }
}

/// How tasks are replaced, with Docker's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateConfig {
    /// How many at a time; 0 for all at once.
    pub parallelism: u32,
    /// How long to wait after each.
    pub delay: Span,
    pub order: Order,
    /// For how long after its start an end of a task is a failure of the update.
    pub monitor: Span,
    pub failure_action: FailureAction,
    /// Which part of the tasks may fail without anything being done about it.
    pub max_failure_ratio: Ratio,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            parallelism: 1,
            delay: Span::from_secs(0),
            order: Order::default(),
            monitor: Span::from_secs(5),
            failure_action: FailureAction::default(),
            max_failure_ratio: Ratio::default(),
        }
    }
}

/// How far an update is, in Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    Updating,
    Paused,
    Completed,
    RollbackStarted,
    RollbackPaused,
    RollbackCompleted,
}

impl UpdateState {
    /// Whether tasks are being replaced.
    pub fn is_going(self) -> bool {
        matches!(self, Self::Updating | Self::RollbackStarted)
    }

    /// Whether it is the way back.
    pub fn is_back(self) -> bool {
        matches!(self, Self::RollbackStarted | Self::RollbackPaused | Self::RollbackCompleted)
    }
}

impl fmt::Display for UpdateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            UpdateState::Updating => "updating",
            UpdateState::Paused => "paused",
            UpdateState::Completed => "completed",
            UpdateState::RollbackStarted => "rollback_started",
            UpdateState::RollbackPaused => "rollback_paused",
            UpdateState::RollbackCompleted => "rollback_completed",
        })
    }
}

/// An update, from when it was asked for until the next one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    pub state: UpdateState,
    /// Milliseconds since 1970.
    pub started: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<u64>,
    pub message: String,
    /// How many tasks had to be replaced.
    pub tasks: u32,
    /// How many slots had no task when it began; these are not waited for.
    #[serde(default)]
    pub vacant: u32,
    /// New tasks that failed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed: BTreeSet<Id>,
}

impl Update {
    /// `now` is in milliseconds since 1970.
    pub(super) fn begun(state: UpdateState, message: &str, tasks: usize, now: u64) -> Self {
        Self {
            state,
            started: now,
            completed: None,
            message: message.to_owned(),
            tasks: tasks as u32,
            vacant: 0,
            failed: BTreeSet::new(),
        }
    }
}

impl Service {
    /// What its tasks are made from now.
    pub fn template(&self) -> Template {
        let ports = |mode| self.ports.iter().filter(move |port| port.mode == mode);
        Template {
            definition: self.definition.clone(),
            networks: self.networks.clone(),
            meshed: ports(PublishMode::Ingress).next().is_some(),
            host_ports: ports(PublishMode::Host).copied().collect(),
            forced: self.forced,
        }
    }

    /// Whether a task is made from what its service is now.
    pub fn is_current(&self, task: &Task) -> bool {
        task.version == self.version
    }

    /// Whether its tasks are being replaced.
    pub fn is_updating(&self) -> bool {
        self.update.as_ref().is_some_and(|update| update.state.is_going())
    }

    /// How tasks are replaced by the update that is going.
    pub fn config_now(&self) -> &UpdateConfig {
        match &self.update {
            Some(update) if update.state.is_back() => &self.rollback_config,
            _ => &self.update_config,
        }
    }

    /// The image of one version; of the current one when that version is not known.
    pub fn image_of(&self, version: u64) -> &Image {
        let older = self.older.get(&version).filter(|_| version != self.version);
        older.map_or(&self.definition.image, |template| &template.definition.image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_a_number_from_0_to_1() {
        for (text, said) in [("0", "0"), ("0.25", "0.25"), ("1", "1"), ("1.0", "1")] {
            assert_eq!(text.parse::<Ratio>().unwrap().to_string(), said);
        }
        for text in ["", "1.1", "-0.1", "NaN", "half"] {
            let error = text.parse::<Ratio>().unwrap_err();
            assert!(error.ends_with("is not a number from 0 to 1"), "{error}");
        }
        let third: Ratio = "0.34".parse().unwrap();
        assert!(!third.is_exceeded_by(1, 3) && third.is_exceeded_by(2, 3));
        assert!(Ratio::default().is_exceeded_by(1, 1000) && !Ratio::default().is_exceeded_by(0, 3));
        let read: Ratio = serde_json::from_str(&serde_json::to_string(&third).unwrap()).unwrap();
        assert_eq!(read, third);
    }
}
