//! `swarmlb diag …`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use crate::intent::{DataPlaneChoice, ServiceName, Span};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look for all known ways to be broken, and say how to mend what is
    ///
    /// Compares what this node's kernel holds with what it should, object by object, follows every VIP from
    /// every sandbox, asks the resolvers, and looks at nodes, services and tasks as they report. Each
    /// finding has a code, what was expected and found, what follows from it, and the command that mends it;
    /// most of what is wrong in the kernel an agent that runs mends by itself within 15 seconds. Nothing
    /// is changed. What is seen for a moment only, as during an update, is not told.
    ///
    /// Exits 1 when there is more than notes.
    Check {
        /// A line for each finding, and nothing for what is right
        #[arg(long)]
        short: bool,
    },
    /// Explain a code of `diag check`, or list all
    Explain {
        /// The code, as mark-missing
        #[arg(value_name = "CODE")]
        code: Option<String>,
    },
    /// Ask a sandbox's resolver for a name, and compare with what it should answer
    ///
    /// Exits 1 when they differ.
    Dns {
        /// The name: a service, tasks.SERVICE, a task, any of these with .NETWORK, or any other
        #[arg(value_name = "SERVICE|TASK|NAME")]
        name: String,
        /// The sandbox to ask in: a task, or a namespace that is on a network [default: every one]
        #[arg(long, value_name = "SANDBOX")]
        from: Option<String>,
    },
    /// Measure round-robin DNS against the VIP
    ///
    /// Sends the same number of requests both ways, each over a connection of its own, and counts
    /// who answers: for each client by itself and for all together. It says how even the spread was,
    /// in what order the answers and the tasks came, how long it took, what failed, and whether the
    /// kernel's own counters agree with the replies.
    ///
    /// The service must run builtin:whoami, whose replies name the task. Without a service, one of
    /// three such tasks is made on a network of its own, with clients; all of it is named
    /// compare-XXXX and removed when the comparison ends, however it ends. What a killed comparison
    /// left is removed by the next one. A service in endpoint mode dnsrr has no VIP: only DNS is
    /// measured then.
    ///
    /// Exits 1 when a request failed or the kernel's counters do not agree; 4 when it was
    /// interrupted and what it had made was removed.
    #[command(name = "compare-dns-ipvs")]
    Compare(Compare),
}

#[derive(Debug, Args)]
pub struct Compare {
    /// The service to ask [default: one made for this and removed]
    pub service: Option<ServiceName>,
    /// Requests each way, shared out among the clients
    ///
    /// Each needs a client port of its own: up to 25000 for each client.
    #[arg(long, default_value_t = 300, value_name = "N")]
    #[arg(value_parser = super::number::number(1..=1_000_000u32))]
    pub requests: u32,
    /// Requests at a time of each client; up to 256 of all together
    #[arg(long, default_value_t = 1, value_name = "N")]
    #[arg(value_parser = super::number::number(1..=256u32))]
    pub concurrency: u32,
    /// Ask from this sandbox; may be given several times
    ///
    /// SANDBOX is a task, a service for all of its tasks, or a namespace that was connected to the
    /// network. [default: another service's task on the same network, else the service's own first
    /// task]
    #[arg(long, value_name = "SANDBOX", requires = "service", conflicts_with = "clients")]
    pub from: Vec<String>,
    /// Ask from so many clients, made for this and removed [default without a service: 6]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = super::number::number(1..=100u32))]
    pub clients: Option<u32>,
    /// How long a client keeps what a name resolved to
    ///
    /// [default: none]
    #[arg(long, value_enum, value_name = "CACHE")]
    pub client_cache: Option<ClientCache>,
    /// Also kill a task of the service after this part of an episode, as 0.5, and see what its clients
    /// meet
    ///
    /// After the comparison itself: an episode for each way and each way to keep addresses, or for
    /// that of `--client-cache` if given, in which the requests are spread evenly. The task is killed
    /// again whenever it starts, until the episode ends. It is the one whose address the first
    /// client keeps just then, where that runs on this node. What fails then does not make the exit
    /// code 1.
    #[arg(long, value_name = "PART", value_parser = part)]
    pub kill_task_at: Option<f64>,
    /// How long each episode of `--kill-task-at` lasts, from 1s to 10m
    ///
    /// Answers about tasks live 2 s unless the service says otherwise (`--dns-ttl`), so clients that
    /// keep answers show what they do only in a longer one.
    #[arg(long, value_name = "TIME", default_value = "6s", value_parser = episode)]
    #[arg(requires = "kill_task_at")]
    pub episode: Span,
    /// Write a report, too: .html or .svg to look at, .csv with a line for each request, or .json;
    /// may be given several times
    ///
    /// The HTML file holds all that it shows. A file that is there is replaced, at the end and as a
    /// whole.
    #[arg(long, value_name = "FILE")]
    pub report: Vec<ReportFile>,
    /// What balances the VIP of the service that is made: `auto` is ipvs where the kernel has it,
    /// nftables elsewhere
    #[arg(
        long,
        env = "SWARMLB_DATA_PLANE",
        default_value = "auto",
        value_name = "auto|ipvs|nftables"
    )]
    pub data_plane: DataPlaneChoice,
}

/// A part of a whole: more than nothing and less than all.
fn part(text: &str) -> Result<f64, String> {
    let refused = || format!("`{}` is not a number between 0 and 1", text.escape_debug());
    let part: f64 = text.parse().map_err(|_| refused())?;
    if part > 0.0 && part < 1.0 { Ok(part) } else { Err(refused()) }
}

fn episode(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    match span.millis() {
        1_000..=600_000 => Ok(span),
        _ => Err(format!("`{text}` is not from 1s to 10m")),
    }
}

/// How long a client keeps what a name resolved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ClientCache {
    /// It asks anew for each connection
    #[default]
    None,
    /// It keeps an answer as long as its TTL says, as a caching stub resolver does
    Ttl,
    /// It asks once and stays with the first address, as many long-lived processes do
    Forever,
}

/// A file to write a report to; its extension says of which kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFile {
    pub path: PathBuf,
    pub kind: ReportKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKind {
    Html,
    Svg,
    Csv,
    Json,
}

impl std::str::FromStr for ReportFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let extension = Path::new(text).extension().map(|e| e.to_string_lossy().to_lowercase());
        let kind = match extension.as_deref() {
            Some("html") => ReportKind::Html,
            Some("svg") => ReportKind::Svg,
            Some("csv") => ReportKind::Csv,
            Some("json") => ReportKind::Json,
            _ => {
                return Err(format!(
                    "`{}` does not say what to write: it must end in .html, .svg, .csv or .json",
                    text.escape_debug()
                ));
            }
        };
        Ok(Self { path: text.into(), kind })
    }
}
