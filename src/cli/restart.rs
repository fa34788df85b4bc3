//! Options that say when tasks that ended are started again.

use std::num::NonZeroU32;

use clap::{Args, ValueEnum};

use crate::intent::restart;
use crate::intent::{RestartPolicy, Span};

#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Restart")]
pub struct Restart {
    /// After which ends a task is started again [default: any]
    #[arg(long, value_enum, value_name = "none|on-failure|any")]
    pub restart_condition: Option<Condition>,
    /// From an end to the next start, at least 100ms [default: 100ms, doubling to 5s while it ends within
    /// 10s]
    #[arg(long, value_name = "TIME")]
    pub restart_delay: Option<Span>,
    /// After so many restarts it stays ended; 0 for any number [default: 0]
    #[arg(long, value_name = "N", value_parser = super::number::number(0..=1_000_000_u32))]
    pub restart_max_attempts: Option<u32>,
    /// Count only the restarts within this time; 0 for all [default: 0]
    #[arg(long, value_name = "TIME")]
    pub restart_window: Option<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Condition {
    /// After none: it ends as complete or failed
    None,
    /// After failures: any exit code but 0, a signal, a check that failed
    OnFailure,
    /// After all
    Any,
}

impl Restart {
    /// What was typed, over what is held.
    pub fn over(&self, held: &RestartPolicy) -> RestartPolicy {
        RestartPolicy {
            condition: match self.restart_condition {
                Some(Condition::None) => restart::Condition::None,
                Some(Condition::OnFailure) => restart::Condition::OnFailure,
                Some(Condition::Any) => restart::Condition::Any,
                None => held.condition,
            },
            delay: self.restart_delay.or(held.delay),
            max_attempts: match self.restart_max_attempts {
                Some(most) => NonZeroU32::new(most),
                None => held.max_attempts,
            },
            window: self.restart_window.or(held.window).filter(|window| window.millis() > 0),
        }
    }
}
