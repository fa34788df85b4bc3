//! Options that say how tasks are checked.

use std::num::NonZeroU32;

use clap::{Args, ValueEnum};

use super::restart::Restart;
use crate::intent::health::{Choice, DnsTest, HttpTest, Port, SHORTEST_INTERVAL, Test, UdpTest};
use crate::intent::{self, Span};

#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Health")]
pub struct Health {
    /// A command that a shell runs in the task: it is healthy when that ends with 0
    ///
    /// A task with a check is in rotation, by its VIP and in DNS, only while it is healthy. The command
    /// sees the task's network, files and variables. What it still has running when it ends, or when its
    /// time is over, is killed.
    #[arg(long, value_name = "COMMAND", group = "health-check")]
    pub health_cmd: Option<String>,
    /// A page of the task: it is healthy when that is answered by a status from 200 to 399
    ///
    /// Asked for inside the task's sandbox, at its own address; at its loopback where the URL says
    /// localhost. Any other name in a URL is what the task is told that it was asked as.
    #[arg(long, value_name = "URL|PORT/PATH", group = "health-check")]
    pub health_http: Option<HttpTest>,
    /// A TCP port of the task: it is healthy when that takes connections
    ///
    /// The kernel takes them for a process that hangs, until it has enough: `--health-http` sees more.
    #[arg(long, value_name = "PORT", group = "health-check")]
    pub health_tcp: Option<Port>,
    /// A UDP port of the task, and what is sent to it: it is healthy when anything comes back
    #[arg(long, value_name = "PORT[/TEXT]", group = "health-check")]
    pub health_udp: Option<UdpTest>,
    /// A name that the task, a name server, shall have an IPv4 address for
    #[arg(long, value_name = "NAME[:PORT]", group = "health-check")]
    pub health_dns: Option<DnsTest>,
    /// Check nothing, whatever the image says
    #[arg(
        long,
        conflicts_with_all = [
            "health-check", "health_interval", "health_timeout", "health_retries", "health_rise",
            "health_start_period", "health_start_interval"
        ]
    )]
    pub no_healthcheck: bool,
    /// From the beginning of one check to the beginning of the next, as 1s or 200ms [default: 1s; of
    /// commands 30s, as Docker's]
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub health_interval: Option<Span>,
    /// How long a check may take [default: the interval, at most 1s; of commands at most 30s]
    #[arg(long, value_name = "TIME")]
    pub health_timeout: Option<Span>,
    /// How many checks in a row must fail until a task is unhealthy [default: 3]
    #[arg(long, value_name = "N", visible_alias = "health-fall", value_parser = count)]
    pub health_retries: Option<NonZeroU32>,
    /// How many checks in a row must pass until a task is healthy [default: 1]
    #[arg(long, value_name = "N", value_parser = count)]
    pub health_rise: Option<NonZeroU32>,
    /// How long failures do not count for a task that was never healthy [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub health_start_period: Option<Span>,
    /// The interval during that time [default: 200ms; of commands 1s]
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub health_start_interval: Option<Span>,
    /// What becomes of a task that is unhealthy, and out of rotation at once in either case [default:
    /// replace]
    #[arg(long, value_enum, value_name = "replace|quiesce")]
    pub unhealthy_action: Option<UnhealthyAction>,
    /// What becomes of a service none of whose tasks is healthy [default: fail]
    #[arg(long, value_enum, value_name = "fail|all")]
    pub no_healthy: Option<NoHealthy>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnhealthyAction {
    /// It is ended, and started anew as the restart policy says
    Replace,
    /// It is left alone, and comes back when it is healthy again
    Quiesce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NoHealthy {
    /// Its VIP refuses connections
    Fail,
    /// All its tasks that run are in rotation
    All,
}

fn interval(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    match span.millis() {
        0 | SHORTEST_INTERVAL.. => Ok(span),
        _ => Err(format!("`{}` is too short: at least {SHORTEST_INTERVAL}ms", text.escape_debug())),
    }
}

fn count(text: &str) -> Result<NonZeroU32, String> {
    super::number::number(1..=1000)(text)
        .map(|count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN))
}

impl Health {
    /// What was typed, over what is held; with nothing held, what was meant.
    pub fn over(&self, held: &intent::Health) -> intent::Health {
        let by = self.clone();
        let test = None
            .or(by.health_cmd.map(|text| Test::by_shell(&text, &[])))
            .or(by.health_http.map(Test::Http))
            .or(by.health_tcp.map(Test::Tcp))
            .or(by.health_udp.map(Test::Udp))
            .or(by.health_dns.map(Test::Dns));
        let test = match test {
            Some(test) => Choice::Given(test),
            None if self.no_healthcheck => Choice::None,
            None => held.test.clone(),
        };
        if test == Choice::None {
            return intent::Health { test, ..intent::Health::default() };
        }
        intent::Health {
            test,
            interval: self.health_interval.or(held.interval),
            timeout: self.health_timeout.or(held.timeout),
            start_period: self.health_start_period.or(held.start_period),
            start_interval: self.health_start_interval.or(held.start_interval),
            rise: self.health_rise.or(held.rise),
            fall: self.health_retries.or(held.fall),
        }
    }

    /// The same of what follows.
    pub fn unhealthy_action(&self, held: intent::UnhealthyAction) -> intent::UnhealthyAction {
        match self.unhealthy_action {
            Some(UnhealthyAction::Replace) => intent::UnhealthyAction::Replace,
            Some(UnhealthyAction::Quiesce) => intent::UnhealthyAction::Quiesce,
            None => held,
        }
    }

    pub fn no_healthy(&self, held: intent::NoHealthy) -> intent::NoHealthy {
        match self.no_healthy {
            Some(NoHealthy::Fail) => intent::NoHealthy::Fail,
            Some(NoHealthy::All) => intent::NoHealthy::All,
            None => held,
        }
    }
}

/// How a service is kept up, as typed over what is held.
pub fn upkeep(health: &Health, restart: &Restart, held: &intent::Upkeep) -> intent::Upkeep {
    intent::Upkeep {
        restart: restart.over(&held.restart),
        unhealthy_action: health.unhealthy_action(held.unhealthy_action),
        no_healthy: health.no_healthy(held.no_healthy),
    }
}
