//! Options that say when tasks that ended are started again.

use std::num::NonZeroU32;

use clap::{Args, ValueEnum};

use crate::intent::restart;
use crate::intent::{RestartPolicy, Span};

#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Restart")]
pub struct Restart {
    /// After which ends a task is started again
    #[arg(long, value_enum, default_value_t, value_name = "CONDITION")]
    pub restart_condition: Condition,
    /// From an end to the next start, at least 100ms [default: 100ms, doubling to 5s while it ends within
    /// 10s]
    #[arg(long, value_name = "TIME")]
    pub restart_delay: Option<Span>,
    /// After so many restarts it stays ended; 0 for any number
    #[arg(long, value_name = "N", default_value_t, value_parser = super::number::number(0..=1_000_000_u32))]
    pub restart_max_attempts: u32,
    /// Count only the restarts within this time; 0 for all
    #[arg(long, value_name = "TIME", default_value = "0")]
    pub restart_window: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Condition {
    /// After none: it ends as complete or failed
    None,
    /// After failures: any exit code but 0, a signal, a check that failed
    OnFailure,
    /// After all
    #[default]
    Any,
}

impl Restart {
    /// What was meant.
    pub fn meant(&self) -> RestartPolicy {
        RestartPolicy {
            condition: match self.restart_condition {
                Condition::None => restart::Condition::None,
                Condition::OnFailure => restart::Condition::OnFailure,
                Condition::Any => restart::Condition::Any,
            },
            delay: self.restart_delay,
            max_attempts: NonZeroU32::new(self.restart_max_attempts),
            window: Some(self.restart_window).filter(|window| window.millis() > 0),
        }
    }
}
