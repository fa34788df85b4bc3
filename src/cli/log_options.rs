//! Options for what is kept of the tasks' output.

use clap::Args;

use crate::intent::{LogLimits, LogOption};

#[derive(Debug, Clone, Default, Args)]
pub struct LogOptions {
    /// How much of a task's output is kept: max-size=SIZE (10m, 500k, 1g; -1 for any) or max-file=N;
    /// may be given several times
    ///
    /// As with Docker's json-file, N parts of SIZE are kept, and the oldest goes when another begins.
    /// A new service keeps 3 of 10m. A part is of 4k at least.
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    pub options: Vec<LogOption>,
}

impl LogOptions {
    /// What is kept, where `before` is what was.
    pub fn limits(&self, before: LogLimits) -> LogLimits {
        self.options.iter().copied().fold(before, LogLimits::with)
    }
}
