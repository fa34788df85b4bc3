//! Several machines in one world: each has a network namespace and a /run of its own, and a link to a
//! bridge that joins them all, the underlay. What is done on a machine is done by a thread that is
//! there.

use std::fs::File;
use std::net::Ipv4Addr;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use swarmlb::intent::NodeName;
use swarmlb::kernel::netns;

use super::shell;

const UNDERLAY: &str = "under0";

/// One machine.
pub struct Machine {
    pub name: NodeName,
    pub address: Ipv4Addr,
    network: File,
    mounts: File,
}

/// Machines `node-1`, `node-2` … with the addresses 192.0.2.1, 192.0.2.2 …
pub struct Machines {
    all: Vec<Machine>,
}

impl Machines {
    pub fn new(count: u8) -> Self {
        shell(&format!("ip link add {UNDERLAY} type bridge && ip link set {UNDERLAY} up"));
        Self { all: (1..=count).map(Machine::new).collect() }
    }

    pub fn all(&self) -> &[Machine] {
        &self.all
    }

    /// By its number, from 1.
    pub fn at(&self, number: usize) -> &Machine {
        &self.all[number - 1]
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for number in 1..=self.all.len() {
            shell(&format!("ip link del u{number}"));
        }
        shell(&format!("ip link del {UNDERLAY}"));
    }
}

impl Machine {
    fn new(number: u8) -> Self {
        let namespaces = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces");
            let none = None::<&str>;
            mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("a /run");
            let open = |kind: &str| File::open(format!("/proc/thread-self/ns/{kind}"));
            (open("net").expect("a namespace"), open("mnt").expect("a namespace"))
        });
        let (network, mounts) = namespaces.join().expect("a machine");
        let address = Ipv4Addr::new(192, 0, 2, number);
        let name = format!("node-{number}").parse().expect("a name");
        let machine = Self { name, address, network, mounts };
        let there = std::os::fd::AsRawFd::as_raw_fd(&machine.network);
        let me = std::process::id();
        shell(&format!(
            "ip link add u{number} type veth peer {UNDERLAY} netns /proc/{me}/fd/{there} && \
             ip link set u{number} master {UNDERLAY} up"
        ));
        machine.shell(&format!(
            "ip link set lo up && ip address add {address}/24 dev {UNDERLAY} && \
             ip link set {UNDERLAY} up"
        ));
        machine
    }

    /// Does something on this machine.
    pub fn on<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let there = || {
            unshare(CloneFlags::CLONE_FS).expect("a root of its own");
            #[expect(clippy::disallowed_methods, reason = "a thread that ends with its work")]
            setns(&self.mounts, CloneFlags::CLONE_NEWNS).expect("its mounts");
            netns::enter(std::os::fd::AsFd::as_fd(&self.network)).expect("its network");
            work()
        };
        std::thread::scope(|scope| match scope.spawn(there).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    pub fn shell(&self, line: &str) -> String {
        self.on(|| shell(line))
    }
}
