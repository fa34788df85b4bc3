//! A recorded node and intent, and the binary run on them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use swarmlb::intent::{
    ClusterId, EndpointMode, Intent, Machine, NetworkSpec, NodeName, NodeRecord, ServiceSpec,
};
use swarmlb::lower::lower;
use swarmlb::node::{Node, Sandbox, SandboxName};
use tempfile::TempDir;

/// A directory with a recorded intent, a recorded node, and room for a state directory.
pub struct Lab {
    directory: TempDir,
    pub intent: Intent,
    pub node: Node,
}

/// What a run said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Self { code: output.status.code(), stdout, stderr }
    }
}

impl Said {
    /// Its stdout, when it ended well and silently.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.stdout);
        self.stdout
    }

    /// Its stderr, when it ended with this code and put nothing on stdout.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{}", self.stderr);
        self.stderr
    }
}

pub fn node_1() -> NodeName {
    "node-1".parse().expect("a node's name")
}

pub fn empty() -> Intent {
    let mut intent = Intent::new(ClusterId("c1".into()));
    intent.nodes.insert(node_1(), NodeRecord::new(node_1(), true));
    intent
}

/// `collabnet` with `collabweb` × 3, `collab-box` and the VIP-less `rr`; `small`, a /29; `bare`.
pub fn story() -> Intent {
    let mut intent = empty();
    for (name, subnet) in
        [("collabnet", "10.0.3.0/24"), ("small", "10.0.9.0/29"), ("bare", "10.0.5.0/24")]
    {
        let spec = NetworkSpec {
            subnets: vec![subnet.parse().expect("a subnet")],
            ..NetworkSpec::new(name.parse().expect("a name"))
        };
        let id = format!("{name:x<25}");
        intent.create_network(spec, id, &Machine::default()).expect("a network");
    }
    for (name, replicas, endpoint_mode) in [
        ("collabweb", 3, EndpointMode::Vip),
        ("collab-box", 1, EndpointMode::Vip),
        ("rr", 2, EndpointMode::Dnsrr),
    ] {
        let network = "collabnet".parse().expect("a name");
        let spec = ServiceSpec::new(name.parse().expect("a name"), network);
        let spec = ServiceSpec { replicas, endpoint_mode, ..spec };
        intent.create_service(spec, format!("{name:x<25}"), 0).expect("a service");
    }
    intent
}

impl Lab {
    pub fn of(intent: Intent) -> Self {
        let node = lower(&intent, &node_1());
        let directory = TempDir::new().expect("a directory");
        let lab = Self { directory, intent, node };
        lab.record();
        lab
    }

    /// The story, converged.
    pub fn new() -> Self {
        Self::of(story())
    }

    /// The story, with one of its sandboxes changed.
    pub fn changed(sandbox: &str, change: impl FnOnce(&mut Sandbox)) -> Self {
        let mut lab = Self::new();
        let sandbox = lab.node.sandboxes.get_mut(&SandboxName(sandbox.into()));
        change(sandbox.expect("a sandbox of the story"));
        lab.record();
        lab
    }

    fn record(&self) {
        let write = |name: &str, text: serde_json::Result<Vec<u8>>| {
            std::fs::write(self.path(name), text.expect("JSON")).expect("a file");
        };
        write("node.json", serde_json::to_vec(&self.node));
        write("intent.json", serde_json::to_vec(&self.intent));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The binary, told to use the records.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.fresh(&[]);
        command.arg("--kernel").arg(self.path("node.json"));
        command.arg("--intent").arg(self.path("intent.json"));
        // Last, for what comes after an image is its command.
        command.args(arguments);
        command
    }

    /// The binary on a state directory in which nothing ever was.
    pub fn fresh(&self, arguments: &[&str]) -> Command {
        let mut command = swarmlb();
        command.arg("--state-dir").arg(self.path("state")).args(["--node", "node-1"]);
        command.args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        said(&mut self.command(arguments))
    }
}

/// The binary, with an environment that is the same everywhere.
pub fn swarmlb() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmlb"));
    command.env_clear().stdin(Stdio::null());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

pub fn said(command: &mut Command) -> Said {
    command.output().expect("the binary runs").into()
}

/// The binary by itself: help, and what is refused before anything is looked at.
pub fn run(arguments: &[&str]) -> Said {
    said(swarmlb().args(arguments))
}

/// Whether a text could steer a terminal.
pub fn is_harmless(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || !c.is_control())
}

pub fn is_missing(path: &Path) -> bool {
    !path.exists()
}
