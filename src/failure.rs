//! Why a command failed, what to do about it, and its exit code. Hints and exit codes stand here
//! and nowhere else.

use std::fmt;
use std::net::SocketAddrV4;

use serde::Serialize;

use crate::agent::status::RefusalReport;
use crate::api::ApiError;
use crate::cli::complaint::Complaint;
use crate::image::{ImageError, LayerFault};
use crate::intent::{IntentError, NodeName};
use crate::keeper::daemon::NotStarted;
use crate::kernel::Refusal;
use crate::render::english::count;
use crate::state_dir::StateDir;
use crate::store::StoreError;
use crate::store::records::RecordError;
use nix::errno::Errno;

/// Whether the request or the image is wrong, or this machine cannot.
fn image_exit(error: &ImageError) -> Exit {
    match error {
        ImageError::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Exit::Usage
        }
        ImageError::File { .. }
        | ImageError::Unreachable { .. }
        | ImageError::Refused { .. }
        | ImageError::BrokeOff { .. }
        | ImageError::Credentials { .. }
        | ImageError::Stopped
        | ImageError::Layer { fault: LayerFault::Read(_) | LayerFault::Write { .. }, .. } => {
            Exit::Cannot
        }
        _ => Exit::Usage,
    }
}

fn image_hint(error: &ImageError) -> Option<String> {
    let told = |there: &[String]| there.join(", ");
    Some(match error {
        ImageError::NotHere { .. } => "see `swarmlb image ls`".into(),
        ImageError::Unknown { there, .. } | ImageError::Several { there, .. }
            if !there.is_empty() =>
        {
            format!("there are: {}", told(there))
        }
        ImageError::Unreachable { registry, is_tls: true, .. } => {
            format!("where its network is trusted: `--insecure-registry {registry}`")
        }
        ImageError::Denied { known: false, .. } => {
            "see that the name is right; if it wants a password: `docker login`, or `--credentials`"
                .into()
        }
        ImageError::Denied { known: true, .. } => {
            "see that the name is right, and that the password is still good".into()
        }
        ImageError::BrokeOff { .. } => "what is whole of it stays: try again".into(),
        ImageError::Used { .. } => {
            "remove its service first; `--force` takes only its names away".into()
        }
        ImageError::SeveralNames { .. } => "name the one that is meant, or say `--force`".into(),
        ImageError::Ambiguous { .. } => "type more of it".into(),
        ImageError::Platform { .. } => {
            "`--platform` brings another, which this machine may not run".into()
        }
        _ => match error.errno()? {
            Errno::ENOSPC | Errno::EDQUOT => {
                "make room, with `swarmlb image prune` too, or give another `--state-dir`".into()
            }
            _ => return None,
        },
    })
}

/// Exit codes, as the manual lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or the answer is good.
    Good = 0,
    /// Done, and the answer is bad.
    Bad = 1,
    /// The command line or the request is wrong; nothing was touched.
    Usage = 2,
    /// This machine cannot: privilege, kernel feature, missing program.
    Cannot = 3,
    /// Refused; everything was undone.
    Undone = 4,
    /// Refused, and something was left behind.
    Left = 5,
    /// Of `task exec`, as of a shell: the command cannot be run.
    NotRunnable = 126,
    /// Of `task exec`, as of a shell: there is no such command.
    NoCommand = 127,
}

/// A failed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// `create network blue`, as in "cannot …".
    pub what: String,
    pub problem: String,
    /// Label and value.
    pub facts: Vec<(String, String)>,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, what: impl Into<String>, problem: impl fmt::Display) -> Self {
        let (what, problem) = (what.into(), problem.to_string());
        Self { exit, what, problem, facts: Vec::new(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn fact(mut self, label: &str, value: impl Into<String>) -> Self {
        self.facts.push((label.to_owned(), value.into()));
        self
    }

    /// An edit that the intent refused.
    pub fn intent(what: impl Into<String>, error: &IntentError) -> Self {
        let exit = match error {
            IntentError::NoIpvs { .. }
            | IntentError::NoScheduler { .. }
            | IntentError::NoEgress { .. }
            | IntentError::NoEncryption { .. } => Exit::Cannot,
            _ => Exit::Usage,
        };
        let failure = Self::new(exit, what, error);
        match intent_hint(error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    /// Something that the kernel refused to show or do.
    pub fn kernel(what: impl Into<String>, refusal: &Refusal) -> Self {
        let failure = Self::new(Exit::Cannot, what, refusal);
        match refusal.errno {
            Errno::EPERM | Errno::EACCES => {
                failure.hint("entering a sandbox needs CAP_SYS_ADMIN: run it as root")
            }
            _ => failure,
        }
    }

    /// What another node did not do.
    pub fn api(what: impl Into<String>, error: &ApiError) -> Self {
        match error {
            ApiError::Refused { problem, hint } => {
                let failure = Self::new(Exit::Usage, what, problem);
                hint.iter().fold(failure, |failure, hint| failure.hint(hint.as_str()))
            }
            ApiError::OtherCluster(_) => Self::new(Exit::Usage, what, error)
                .hint("see that the whole token was copied, and that the address is of that cluster"),
            ApiError::OtherNode(_) => Self::new(Exit::Cannot, what, error)
                .hint("its address may have been given to another machine: see `swarmlb node ls`"),
            ApiError::Unreachable(..) => Self::new(Exit::Cannot, what, error)
                .hint("see that swarmlb runs there (`swarmlb agent status`) and that no firewall is between"),
            ApiError::Identity(_) | ApiError::System(_) => Self::new(Exit::Cannot, what, error),
        }
    }

    /// What cannot be done with images.
    pub fn image(what: impl Into<String>, error: &ImageError) -> Self {
        let failure = Self::new(image_exit(error), what, error);
        match image_hint(error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    pub fn io(what: impl Into<String>, error: &std::io::Error) -> Self {
        let failure = match error.raw_os_error() {
            Some(number) => Self::new(Exit::Cannot, what, Refusal::new(Errno::from_raw(number))),
            None => Self::new(Exit::Cannot, what, error),
        };
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => failure.hint("this needs root"),
            _ => failure,
        }
    }

    /// A state directory that cannot be used.
    pub fn state(state: &StateDir, error: &std::io::Error) -> Self {
        let what = format!("use state directory {}", state.root().display());
        let failure = Self::io(what, error);
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                failure.hint("make room, or give another `--state-dir`")
            }
            std::io::ErrorKind::ReadOnlyFilesystem => {
                failure.hint("give a `--state-dir` that can be written")
            }
            std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists => {
                failure.hint("give another `--state-dir`: a directory, or one to be made")
            }
            _ => failure,
        }
    }

    /// A keeper that does not come up. Where that is the state directory's fault, it is said so.
    pub fn keeper(what: impl Into<String>, state: &StateDir, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::ReadOnlyFilesystem => Self::state(state, error),
            _ => {
                let said = error.get_ref().and_then(|inner| inner.downcast_ref::<NotStarted>());
                let hint = said.and_then(|said| said.hint.clone());
                let failure = Self::io(what, error);
                Self { hint: hint.or(failure.hint.clone()), ..failure }
            }
        }
    }

    /// The store is on another node, which is out of reach.
    pub fn cut_off(what: impl Into<String>, node: &NodeName, first: SocketAddrV4) -> Self {
        Self::new(Exit::Cannot, what, format!("{node} does not reach the store, at {first}"))
            .hint("see that swarmlb runs there and that no firewall is between; what runs here goes on meanwhile")
    }

    pub fn record(what: impl Into<String>, error: &RecordError) -> Self {
        let failure = Self::new(Exit::Cannot, what, error);
        match error {
            RecordError::Store(StoreError::NewerVersion { .. }) => {
                failure.hint("a newer swarmlb wrote this state directory: use that one, or another `--state-dir`")
            }
            RecordError::Store(
                StoreError::Unreachable { path, source } | StoreError::Uncertain { path, source },
            ) if path.starts_with("etcd:") => failure
                .fact("because:", source.to_string())
                .hint("see that etcd runs there, and whether it wants `--store-cacert`, `--store-cert` and `--store-key`"),
            RecordError::Store(StoreError::Unreachable { .. }) => {
                failure.hint("see what `swarmlb agent status` says")
            }
            RecordError::Store(StoreError::OverLimit { option, .. }) => failure.hint(format!(
                "start etcd with a greater `{option}`, or ask for less at once"
            )),
            RecordError::Store(StoreError::Credentials { .. }) => {
                failure.hint("it must be a file in PEM")
            }
            RecordError::Store(StoreError::Denied { path }) if path.starts_with("etcd:") => {
                failure.hint("etcd has users: the name in the certificate must be one, and may read and write below the prefix and the key `PREFIX.commit`")
            }
            RecordError::Store(StoreError::NoEtcd) => {
                failure.hint("build it with cargo's feature `etcd`")
            }
            _ => failure,
        }
    }

    /// A plan that the kernel refused, after the intent was put back.
    pub fn refused(what: impl Into<String>, report: &RefusalReport, put_back: bool) -> Self {
        let whole = put_back && report.left.is_empty();
        let exit = if whole { Exit::Undone } else { Exit::Left };
        let problem = format!(
            "{} refused operation {} of {}: {}",
            if report.rehearsed { "the rehearsal" } else { "the kernel" },
            report.number,
            report.of,
            report.sentence
        );
        let undone = match report.undone {
            0 => "nothing, for nothing was done; the node is as it was".to_owned(),
            1 => "the one operation that was done; the node is as it was".to_owned(),
            n => format!("the {n} operations that were done; the node is as it was"),
        };
        let mut failure = Self::new(exit, what, problem).fact("refused:", &report.op);
        if report.left.is_empty() {
            failure = failure.fact("undone:", undone);
        }
        for left in &report.left {
            failure = failure.fact("left:", left);
        }
        if !put_back {
            failure = failure.fact("left:", "the intent, for others changed it meanwhile");
        }
        let sandbox = report.op.split_whitespace().skip_while(|word| *word != "exec").nth(1);
        if report.sentence.contains("EEXIST") && report.op.starts_with("ip netns add") {
            let name = report.op.split_whitespace().nth(3).unwrap_or_default();
            return failure.hint(format!(
                "something else made a namespace of that name; see `ip -n {name} addr`"
            ));
        }
        if let Some(hint) = vxlan_hint(report) {
            return failure.hint(hint);
        }
        match sandbox {
            Some(sandbox) => {
                failure.hint(format!("see what is there: `swarmlb sandbox dump {sandbox}`"))
            }
            None => failure,
        }
    }

    /// As one JSON object on a line.
    pub fn json(&self) -> String {
        let object = Object {
            kind: match self.exit {
                Exit::Good => "good",
                Exit::Bad => "bad",
                Exit::Usage => "usage",
                Exit::Cannot => "cannot",
                Exit::Undone => "undone",
                Exit::Left => "left",
                Exit::NotRunnable => "not runnable",
                Exit::NoCommand => "no command",
            },
            error: &self.first_line(),
            causes: self.facts.iter().map(|(label, value)| format!("{label} {value}")).collect(),
            hints: self.hint.iter().map(String::as_str).collect(),
        };
        serde_json::to_string(&object).unwrap_or_default()
    }

    /// What is wrong, and why, in one line.
    pub fn reason(&self) -> String {
        let facts = self.facts.iter().map(|(_, value)| value.as_str());
        std::iter::once(self.problem.as_str()).chain(facts).collect::<Vec<_>>().join(": ")
    }

    fn first_line(&self) -> String {
        format!("cannot {}: {}", self.what, self.problem)
    }
}

/// A failure for programs.
#[derive(Serialize)]
struct Object<'a> {
    kind: &'a str,
    error: &'a str,
    causes: Vec<String>,
    hints: Vec<&'a str>,
}

/// A command line that cannot be parsed, as one JSON object on a line.
pub fn unparsed(complaint: &Complaint) -> String {
    let object = Object {
        kind: "usage",
        error: &complaint.error,
        causes: Vec::new(),
        hints: vec![&complaint.hint],
    };
    serde_json::to_string(&object).unwrap_or_default()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.first_line())?;
        let width = self.facts.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
        for (label, value) in &self.facts {
            writeln!(f, "  {label:width$} {value}")?;
        }
        match &self.hint {
            Some(hint) => writeln!(f, "hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// What to do about a VXLAN device that others do not let be.
fn vxlan_hint(report: &RefusalReport) -> Option<&'static str> {
    report.op.contains(" type vxlan ").then_some(())?;
    if report.sentence.contains("EEXIST") {
        return Some(
            "somebody else on that node, such as Docker, has a device of this VNI on this port: \
             make the network with another, `--opt vni=N`",
        );
    }
    report.sentence.contains("EADDRINUSE").then_some(
        "every node needs this port for VXLAN alone: end that program, or begin the cluster with \
         another port, `swarmlb node init --data-path-port N`",
    )
}

fn intent_hint(error: &IntentError) -> Option<String> {
    Some(match error {
        IntentError::NoSuchNetwork { meant: Some(meant), .. }
        | IntentError::NoSuchService { meant: Some(meant), .. }
        | IntentError::NoSuchNode { meant: Some(meant), .. } => {
            format!("did you mean `{meant}`?")
        }
        IntentError::NoSuchTask { meant: Some(meant), .. } => format!("did you mean `{meant}`?"),
        IntentError::NoSuchTask { .. } => "see `swarmlb task ls`".into(),
        IntentError::ManyTasks { .. } => "give more of the id, or a name".into(),
        IntentError::Echo(_) => "it takes `--port N` and `--greet`".into(),
        IntentError::NoSuchNode { .. } => "see `swarmlb node ls`".into(),
        IntentError::NoSuchNetwork { .. } => "see `swarmlb network ls`".into(),
        IntentError::NoSuchService { .. } => "see `swarmlb service ls`".into(),
        IntentError::NetworkExists { name } => format!("see `swarmlb network inspect {name}`"),
        IntentError::ServiceExists { name } => {
            format!("change how many tasks it has with `swarmlb service scale {name}=N`")
        }
        IntentError::NetworkInUse { name, by, namespaces } if by.is_empty() => {
            let target = namespaces.first().map(String::as_str).unwrap_or_default();
            format!("let it go first: `swarmlb network disconnect {name} {target}`")
        }
        IntentError::GatewayOutside { subnets, .. } if subnets.is_empty() => {
            "give its subnet too, with `--subnet`".into()
        }
        IntentError::NotAttachable { .. } => {
            "only a network made with `--attachable` takes in namespaces that are not its own"
                .into()
        }
        IntentError::NotConnected { name, .. } => {
            format!("see `swarmlb network inspect {name}`")
        }
        IntentError::NetworkInUse { name, by, namespaces } => {
            let names: Vec<&str> = by.iter().map(|name| name.as_str()).collect();
            let services =
                format!("remove what is on it first: `swarmlb service rm {}`", names.join(" "));
            match namespaces.first() {
                Some(first) => {
                    format!("{services}, and `swarmlb network disconnect {name} {first}`")
                }
                None => services,
            }
        }
        IntentError::VniUsed { free: Some(free), .. } => {
            format!("leave out `--opt vni`; the next free one is {free}")
        }
        IntentError::SubnetUsed { .. }
        | IntentError::SubnetRouted { .. }
        | IntentError::SubnetGateway { .. } => {
            "leave out `--subnet` to have a free one chosen".into()
        }
        IntentError::NoFreeAddress { network, needed, capacity, .. } if needed <= capacity => {
            format!(
                "`swarmlb network inspect {network}` tells who has them; a network with a larger `--subnet` has more"
            )
        }
        IntentError::NoFreeAddress { needed, free, .. } => {
            let lacking = count(needed.saturating_sub(*free) as usize, "replica");
            format!("ask for {lacking} fewer, or make a network with a larger `--subnet`")
        }
        IntentError::NoCommand => {
            "write the command behind the image: `swarmlb service create host nc -lk 80`".into()
        }
        IntentError::OnlyContainers { option, .. } => {
            format!("leave `{option}` out, or give an image of containers")
        }
        IntentError::NoEgress { .. } => {
            "make it with `--internal`: its tasks reach each other, and nothing outside".into()
        }
        IntentError::PortTaken { .. } | IntentError::PortListening { .. } => {
            "publish another port, or leave it out: `--publish TARGET` chooses one".into()
        }
        IntentError::MeshWithoutVip { port } => {
            let (published, target) = (port.published, port.target);
            format!(
                "publish it where tasks run, with `--publish \
                 published={published},target={target},mode=host`, or leave out `--endpoint-mode`"
            )
        }
        IntentError::MeshOnly { .. } => {
            "services are on it that publish ports; choose another network".into()
        }
        IntentError::IngressTaken { .. } => {
            "free its name: remove its services, and then `swarmlb network rm ingress`".into()
        }
        IntentError::NoEncryption { .. } => {
            "see `swarmlb system info`; without `-o encrypted` the network is made in clear text"
                .into()
        }
        IntentError::NotEncrypted { .. } => {
            "make it anew with `-o encrypted`; what is encrypted is chosen once".into()
        }
        IntentError::ScaleGlobal { name } => {
            format!(
                "it runs one task on every node that it may run on; see `swarmlb service inspect --pretty {name}`"
            )
        }
        IntentError::TooManyTurns { .. } => {
            "smaller numbers tell the same difference, as 10 and 1".into()
        }
        IntentError::WeightOfLeaving { name } => {
            format!("see `swarmlb service ps {}`", name.service)
        }
        IntentError::NothingToGoBackTo { name } => {
            format!("see `swarmlb service inspect --pretty {name}`")
        }
        IntentError::StartFirstAtHostPort { .. } => {
            "leave out `--update-order` and `--rollback-order`: the old task goes first then".into()
        }
        IntentError::NoNetwork { .. } => {
            "give it another one with `--network-add` at the same time".into()
        }
        IntentError::Unplaced { name, .. } => format!("see `swarmlb service ps {}`", name.service),
        IntentError::BalancingWithoutVip { .. } => {
            "leave out `--endpoint-mode dnsrr`, or this option".into()
        }
        IntentError::OnlyByIpvs { .. } => {
            "leave out `--data-plane nftables`; `--scheduler rr` and `wrr` are what nftables has".into()
        }
        IntentError::FlagWithoutHash { .. } => {
            "add `--scheduler mh`, or take flags away with `--scheduler-flags none`".into()
        }
        IntentError::SlowStartIgnored { .. } => {
            "schedulers wrr, wlc, sed and nq have a slow start; `--slow-start 0` is none".into()
        }
        IntentError::WeightsIgnored { name, .. } => format!(
            "choose wrr, or leave it to swarmlb: `swarmlb service update --scheduler auto {}`",
            name.service
        ),
        IntentError::Thresholds { .. } => {
            "`--min-connections` is at most `--max-connections`; left out it is three quarters of it".into()
        }
        IntentError::NoScheduler { .. } => {
            "choose one that all nodes have; `--scheduler auto` takes rr, or wrr where weights differ".into()
        }
        IntentError::NoIpvs { .. } => {
            "see `swarmlb system info`; nftables works on any kernel, with schedulers rr and wrr".into()
        }
        _ => return None,
    })
}
