//! etcd as a server of tests: one member or three on loopback ports, in a directory of their own, ended with the test.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use swarmlb::kernel::program;
use tempfile::TempDir;

/// Whether Debian's `etcd-server`, or another etcd, is installed.
pub fn is_installed() -> bool {
    program::find("etcd").is_some()
}

/// How members listen.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// Options beyond those that each has.
    pub options: Vec<String>,
    /// Whether clients come over TLS.
    pub tls: bool,
    /// The address that clients come to; loopback's unless one is given.
    pub address: Option<Ipv4Addr>,
}

pub struct Cluster {
    members: Vec<Member>,
    directory: TempDir,
    manner: Manner,
}

struct Member {
    client: SocketAddrV4,
    peer: SocketAddrV4,
    child: Option<Child>,
}

impl Cluster {
    /// Members that have been started; they answer when they have found each other.
    pub fn start(count: usize, manner: Manner) -> Self {
        let directory = TempDir::new().expect("a directory");
        let address = manner.address.unwrap_or(Ipv4Addr::LOCALHOST);
        // Held until all are chosen, so that none is chosen twice.
        let held: Vec<TcpListener> = (0..2 * count)
            .map(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port"))
            .collect();
        let ports = held.iter().map(|held| held.local_addr().expect("it is bound").port());
        let ports: Vec<u16> = ports.collect();
        let member = |pair: &[u16]| Member {
            client: SocketAddrV4::new(address, pair[0]),
            peer: SocketAddrV4::new(Ipv4Addr::LOCALHOST, pair[1]),
            child: None,
        };
        let members = ports.chunks(2).map(member).collect();
        drop(held);
        let mut cluster = Self { members, directory, manner };
        (0..count).for_each(|number| cluster.start_member(number));
        cluster
    }

    /// Starts a member, for the first time or where it was.
    pub fn start_member(&mut self, number: usize) {
        let scheme = if self.manner.tls { "https" } else { "http" };
        let initial: Vec<String> = (self.members.iter().enumerate())
            .map(|(number, member)| format!("m{number}=http://{}", member.peer))
            .collect();
        let member = &self.members[number];
        let client = format!("{scheme}://{}", member.client);
        let peer = format!("http://{}", member.peer);
        // Alone it needs nobody's vote, and shall not wait for one.
        let (heartbeat, election) = match self.members.len() {
            1 => ("10", "100"),
            _ => ("100", "1000"),
        };
        let log = self.directory.path().join(format!("m{number}.log"));
        let log = File::options().create(true).append(true).open(log).expect("a log");
        let mut command = program::command(program::find("etcd").expect("it is installed"));
        command
            .args(["--name", &format!("m{number}"), "--initial-cluster", &initial.join(",")])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--heartbeat-interval", heartbeat, "--election-timeout", election])
            .args(&self.manner.options)
            .arg("--data-dir")
            .arg(self.directory.path().join(format!("m{number}")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        // SAFETY: one system call between fork and exec.
        unsafe {
            command.pre_exec(|| {
                Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?)
            });
        }
        self.members[number].child = Some(command.spawn().expect("etcd starts"));
    }

    /// Kills a member as the kernel would when memory is short.
    pub fn kill_member(&mut self, number: usize) {
        if let Some(mut child) = self.members[number].child.take() {
            child.kill().expect("it is there");
            child.wait().expect("it is dead");
        }
    }

    /// Has a member hang, as one whose machine does.
    pub fn stop_member(&self, number: usize) {
        let child = self.members[number].child.as_ref().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).expect("it is there");
    }

    /// Removes all that a killed member knew.
    pub fn forget_everything(&self, number: usize) {
        let data = self.directory.path().join(format!("m{number}"));
        std::fs::remove_dir_all(data).expect("it is ours");
    }

    pub fn endpoints(&self) -> Vec<SocketAddrV4> {
        self.members.iter().map(|member| member.client).collect()
    }

    /// As `--store` takes it.
    pub fn address(&self) -> String {
        let endpoints: Vec<String> = self.endpoints().iter().map(ToString::to_string).collect();
        format!("etcd://{}", endpoints.join(","))
    }

    /// Has etcd forget what was before a revision, by its gateway for JSON.
    pub fn compact(&self, revision: u64) {
        let body = format!("{{\"revision\":\"{revision}\",\"physical\":true}}");
        let mut stream = TcpStream::connect(self.members[0].client).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let length = body.len();
        let request = format!(
            "POST /v3/kv/compaction HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it is sent");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("it answers");
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in 0..self.members.len() {
            self.kill_member(number);
        }
        if std::thread::panicking() {
            for number in 0..self.members.len() {
                let log: PathBuf = self.directory.path().join(format!("m{number}.log"));
                let text = std::fs::read_to_string(log).unwrap_or_default();
                let last: Vec<&str> = text.lines().rev().take(12).collect();
                last.iter().rev().for_each(|line| println!("m{number}: {line}"));
            }
        }
    }
}
