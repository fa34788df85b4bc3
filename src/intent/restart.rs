//! What becomes of tasks whose processes end.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::Span;
use super::health::{NoHealthy, UnhealthyAction};

/// After which ends a task is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// After none.
    None,
    /// After those that are failures: any exit code but 0, a signal, a start that was refused.
    OnFailure,
    #[default]
    Any,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::OnFailure => "on-failure",
            Self::Any => "any",
        })
    }
}

/// When a task that ended is started again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestartPolicy {
    #[serde(default)]
    pub condition: Condition,
    /// From an end to the next start; when none it grows with each end that follows soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// After so many restarts within the window it stays ended; none for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<NonZeroU32>,
    /// None for all the time that the task was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
}

/// How a service is kept up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Upkeep {
    #[serde(default)]
    pub restart: RestartPolicy,
    #[serde(default)]
    pub unhealthy_action: UnhealthyAction,
    #[serde(default)]
    pub no_healthy: NoHealthy,
}
