//! `swarmlb service update`, and how updates go.

use clap::{Args, ValueEnum};

use super::DryRun;
use super::health::Health;
use super::log_options::LogOptions;
use super::restart::Restart;
use super::service::{EndpointMode, Label, OnNetwork, Variable};
use crate::intent::{
    Constraint, FailureAction, Image, NetworkName, Order, Ports, Ratio, ServiceName, Span,
    Transport, UpdateConfig,
};

/// What stands above these options in the help.
const HEADING: &str = "How tasks are replaced";

/// How tasks are replaced.
#[derive(Debug, Clone, Default, Args)]
pub struct Updating {
    /// How many tasks are replaced at a time; 0 for all at once [default: 1]
    #[arg(long, help_heading = HEADING, value_name = "N", value_parser = super::number::tasks)]
    pub update_parallelism: Option<u32>,
    /// How long to wait after each [default: 0s]
    #[arg(long, help_heading = HEADING, value_name = "TIME")]
    pub update_delay: Option<Span>,
    /// Which goes first [default: stop-first]
    ///
    /// With `stop-first` an old task leaves and is gone before the new one is made, in its slot. With
    /// `start-first` the new one is made beside it, in another slot, and the old one leaves once every
    /// node sends to the new one; for a while there are more tasks than replicas.
    #[arg(long, help_heading = HEADING, value_enum, value_name = "stop-first|start-first")]
    pub update_order: Option<TypedOrder>,
    /// For how long after its start a task that ends, or cannot be started, is a failure of the
    /// update [default: 5s]
    #[arg(long, help_heading = HEADING, value_name = "TIME")]
    pub update_monitor: Option<Span>,
    /// What becomes of an update whose tasks fail [default: pause]
    ///
    /// `rollback` makes the service what it was before, task by task as the `--rollback-` options
    /// say; `pause` leaves it where it is until another `service update`.
    #[arg(long, help_heading = HEADING, value_enum, value_name = "pause|continue|rollback")]
    pub update_failure_action: Option<TypedAction>,
    /// Which part of the tasks may fail before that happens, 0 to 1 [default: 0]
    #[arg(long, help_heading = HEADING, value_name = "RATIO")]
    pub update_max_failure_ratio: Option<Ratio>,
    /// As `--update-parallelism`, on the way back
    #[arg(long, help_heading = HEADING, value_name = "N", value_parser = super::number::tasks)]
    pub rollback_parallelism: Option<u32>,
    /// As `--update-delay`, on the way back
    #[arg(long, help_heading = HEADING, value_name = "TIME")]
    pub rollback_delay: Option<Span>,
    /// As `--update-order`, on the way back
    #[arg(long, help_heading = HEADING, value_enum, value_name = "stop-first|start-first")]
    pub rollback_order: Option<TypedOrder>,
    /// As `--update-monitor`, on the way back
    #[arg(long, help_heading = HEADING, value_name = "TIME")]
    pub rollback_monitor: Option<Span>,
    /// What becomes of a way back whose tasks fail [default: pause]
    #[arg(long, help_heading = HEADING, value_enum, value_name = "pause|continue")]
    pub rollback_failure_action: Option<TypedActionBack>,
    /// As `--update-max-failure-ratio`, on the way back
    #[arg(long, help_heading = HEADING, value_name = "RATIO")]
    pub rollback_max_failure_ratio: Option<Ratio>,
}

impl Updating {
    /// What was typed, over Docker's defaults.
    pub fn update_config(&self) -> UpdateConfig {
        self.update_over(&UpdateConfig::default())
    }

    /// The same of the way back.
    pub fn rollback_config(&self) -> UpdateConfig {
        self.rollback_over(&UpdateConfig::default())
    }

    pub fn update_over(&self, held: &UpdateConfig) -> UpdateConfig {
        UpdateConfig {
            parallelism: self.update_parallelism.unwrap_or(held.parallelism),
            delay: self.update_delay.unwrap_or(held.delay),
            order: self.update_order.map_or(held.order, Order::from),
            monitor: self.update_monitor.unwrap_or(held.monitor),
            failure_action: self.update_failure_action.map_or(held.failure_action, Into::into),
            max_failure_ratio: self.update_max_failure_ratio.unwrap_or(held.max_failure_ratio),
        }
    }

    pub fn rollback_over(&self, held: &UpdateConfig) -> UpdateConfig {
        UpdateConfig {
            parallelism: self.rollback_parallelism.unwrap_or(held.parallelism),
            delay: self.rollback_delay.unwrap_or(held.delay),
            order: self.rollback_order.map_or(held.order, Order::from),
            monitor: self.rollback_monitor.unwrap_or(held.monitor),
            failure_action: self.rollback_failure_action.map_or(held.failure_action, Into::into),
            max_failure_ratio: self.rollback_max_failure_ratio.unwrap_or(held.max_failure_ratio),
        }
    }
}

/// Which of the old and the new task goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TypedOrder {
    StopFirst,
    StartFirst,
}

impl From<TypedOrder> for Order {
    fn from(typed: TypedOrder) -> Self {
        match typed {
            TypedOrder::StopFirst => Self::StopFirst,
            TypedOrder::StartFirst => Self::StartFirst,
        }
    }
}

/// What becomes of an update whose tasks fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TypedAction {
    Pause,
    Continue,
    Rollback,
}

impl From<TypedAction> for FailureAction {
    fn from(typed: TypedAction) -> Self {
        match typed {
            TypedAction::Pause => Self::Pause,
            TypedAction::Continue => Self::Continue,
            TypedAction::Rollback => Self::Rollback,
        }
    }
}

/// The same of the way back, which has none itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TypedActionBack {
    Pause,
    Continue,
}

impl From<TypedActionBack> for FailureAction {
    fn from(typed: TypedActionBack) -> Self {
        match typed {
            TypedActionBack::Pause => Self::Pause,
            TypedActionBack::Continue => Self::Continue,
        }
    }
}

/// What shall be different about a service. What is not said stays as it is.
#[derive(Debug, Clone, Args)]
pub struct Update {
    /// What its tasks run, as for `service create`
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<Image>,
    /// The command's words, in one argument: quotes and backslashes are as in a shell
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub args: Option<String>,
    /// Replace all tasks, though nothing else is changed
    #[arg(long)]
    pub force: bool,
    /// Make it what it was before its last change, as `service rollback` does
    #[arg(long, exclusive = false)]
    pub rollback: bool,
    #[command(flatten)]
    pub container: super::container::Changes,
    /// How many tasks, up to 1000
    #[arg(long, value_name = "N", value_parser = super::number::tasks)]
    pub replicas: Option<u32>,
    /// How many of its tasks one node may have; 0 for any number
    #[arg(long, value_name = "N", value_parser = super::number::tasks)]
    pub replicas_max_per_node: Option<u32>,
    /// A condition more that nodes must satisfy; tasks leave those that do not
    #[arg(long, value_name = "EXPRESSION")]
    pub constraint_add: Vec<Constraint>,
    /// A condition that nodes need not satisfy any more
    #[arg(long, value_name = "EXPRESSION")]
    pub constraint_rm: Vec<Constraint>,
    /// A network more, and other names for the service there; one that it is on gets these names
    #[arg(long, value_name = "NETWORK[,alias=NAME]…")]
    pub network_add: Vec<OnNetwork>,
    /// A network that it shall not be on any more
    #[arg(long, value_name = "NETWORK")]
    pub network_rm: Vec<NetworkName>,
    /// A port to publish, as for `service create`; one with the same PUBLISHED is replaced
    #[arg(long, value_name = "PORT")]
    pub publish_add: Vec<Ports>,
    /// A port that is not to be published any more: TARGET[/PROTOCOL], the one that its tasks
    /// listen on
    #[arg(long, value_name = "TARGET")]
    pub publish_rm: Vec<TargetPort>,
    /// How clients find the tasks
    #[arg(long, value_enum)]
    pub endpoint_mode: Option<EndpointMode>,
    /// A variable for its tasks, in place of what it was
    #[arg(long, value_name = "NAME=VALUE")]
    pub env_add: Vec<Variable>,
    /// A variable that its tasks shall not have
    #[arg(long, value_name = "NAME")]
    pub env_rm: Vec<String>,
    /// A label of the service, in place of what it was
    #[arg(long, value_name = "KEY=VALUE")]
    pub label_add: Vec<Label>,
    /// A label that the service shall not have
    #[arg(long, value_name = "KEY")]
    pub label_rm: Vec<String>,
    /// What `hostname` says in its tasks
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<crate::intent::NodeName>,
    #[command(flatten)]
    pub resolving: super::resolving::Resolving,
    #[command(flatten)]
    pub log: LogOptions,
    /// How long a task that leaves may still serve those who are connected to it
    #[arg(long, value_name = "TIME")]
    pub drain_timeout: Option<Span>,
    /// How long clients may keep DNS answers about it, up to 3600
    #[arg(long, value_name = "SECONDS")]
    pub dns_ttl: Option<u32>,
    /// How long a task that begins takes to come to its share of new connections
    #[arg(long, value_name = "TIME")]
    pub slow_start: Option<Span>,
    #[command(flatten)]
    pub updating: Updating,
    /// Do not wait until the update is over
    #[arg(short, long)]
    pub detach: bool,
    #[command(flatten)]
    pub dry_run: DryRun,
    /// Which service
    #[arg(value_name = "SERVICE")]
    pub name: ServiceName,
    #[command(flatten)]
    pub health: Health,
    #[command(flatten)]
    pub restart: Restart,
    #[command(flatten)]
    pub balancing: super::balancing::Options,
}

/// TARGET[/PROTOCOL]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetPort {
    pub target: u16,
    pub transport: Transport,
}

impl std::str::FromStr for TargetPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, transport) = match text.split_once('/') {
            Some((port, transport)) => (port, transport.to_ascii_lowercase().parse()?),
            None => (text, Transport::Tcp),
        };
        let target = port.parse().ok().filter(|port| *port != 0);
        let refused = || {
            let text = text.escape_debug();
            format!("`{text}` is not TARGET[/PROTOCOL], the port that tasks listen on")
        };
        Ok(Self { target: target.ok_or_else(refused)?, transport })
    }
}
