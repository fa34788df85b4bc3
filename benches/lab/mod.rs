//! A lab for benches: its tasks, what tables its sandboxes hold, and who connects and sends in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use swarmlb::kernel::nft::Nft;
use swarmlb::kernel::{netns, program};
use tempfile::TempDir;

use crate::apart::Failure;

/// The table of swarmlb in a sandbox.
const TABLE: &str = "swarmlb";
/// The port of iperf3.
const PORT: &str = "5201";
/// How long a client waits for a connection, and pauses between two.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(20);

/// Dropped, it is taken down.
pub struct Lab {
    // On a disk, as a node's is.
    state: TempDir,
}

/// A task of one network.
#[derive(Debug, Clone)]
pub struct Task {
    pub name: String,
    pub node: String,
    pub address: Ipv4Addr,
}

impl Lab {
    pub fn up(nodes: usize) -> Result<Self, Failure> {
        let lab = Self { state: tempfile::tempdir()? };
        lab.run(&format!("lab up --nodes {nodes}"))?;
        Ok(lab)
    }

    /// What the program prints.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn run(&self, line: &str) -> Result<String, Failure> {
        let mut command = program::command(env!("CARGO_BIN_EXE_swarmlb"));
        command.args(["--state-dir".as_ref(), self.state.path().as_os_str()]);
        said(command.args(line.split_whitespace()))
    }

    fn rows(&self, line: &str) -> Result<Vec<Value>, Failure> {
        Ok(serde_json::from_str(&self.run(&format!("--format json {line}"))?)?)
    }

    /// A service's tasks.
    pub fn tasks(&self, service: &str) -> Result<Vec<Task>, Failure> {
        let rows = self.rows(&format!("service ps {service}"))?;
        rows.iter()
            .map(|row| {
                let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
                let address = row["addresses"][0].as_str().unwrap_or_default().parse()?;
                Ok(Task { name: text("name"), node: text("node"), address })
            })
            .collect()
    }

    pub fn task(&self, service: &str) -> Result<Task, Failure> {
        self.tasks(service)?.pop().ok_or_else(|| format!("{service} has no task").into())
    }

    /// How many tasks run.
    pub fn running(&self) -> Result<usize, Failure> {
        let rows = self.rows("service ls")?;
        let running = rows.iter().filter_map(|row| row["running"].as_u64());
        Ok(usize::try_from(running.sum::<u64>())?)
    }

    pub fn vip(&self, service: &str) -> Result<Ipv4Addr, Failure> {
        let rows = self.rows("service ls")?;
        let row = rows.iter().find(|row| row["name"] == service).ok_or("no such service")?;
        let vip = row["vips"].as_object().and_then(|vips| vips.values().next());
        Ok(vip.and_then(Value::as_str).ok_or("no VIP")?.parse()?)
    }

    /// The first process of each node that is up.
    fn processes(&self) -> Result<BTreeMap<String, i64>, Failure> {
        let rows = self.rows("lab status")?;
        let up = rows
            .iter()
            .filter_map(|row| Some((row["node"].as_str()?.to_owned(), row["pid"].as_i64()?)));
        Ok(up.collect())
    }

    fn process(&self, node: &str) -> Result<i64, Failure> {
        self.processes()?.get(node).copied().ok_or_else(|| format!("{node} is down").into())
    }

    /// A named namespace of a node.
    fn namespace(&self, node: &str, name: &str) -> Result<File, Failure> {
        let path = format!("/proc/{}/root/run/netns/{name}", self.process(node)?);
        File::open(&path).map_err(|error| format!("{path}: {error}").into())
    }

    /// A program in a named namespace of a node.
    fn inside(&self, node: &str, name: &str, line: &str) -> Result<Command, Failure> {
        let namespace = format!("--net=/proc/{}/root/run/netns/{name}", self.process(node)?);
        let mut command = program::command("nsenter");
        command.arg(namespace).args(line.split_whitespace());
        Ok(command)
    }

    /// Where a node is reached from this machine.
    pub fn address(&self, node: &str) -> Result<Ipv4Addr, Failure> {
        let rows = self.rows("lab status")?;
        let row = rows.iter().find(|row| row["node"] == node).ok_or("no such node")?;
        Ok(row["address"].as_str().unwrap_or_default().parse()?)
    }

    /// The address of a task on its node's gateway bridge.
    pub fn outward(&self, task: &Task) -> Result<Ipv4Addr, Failure> {
        let told = said(&mut self.inside(&task.node, &task.name, "ip -j route show default")?)?;
        let routes: Value = serde_json::from_str(&told)?;
        Ok(routes[0]["prefsrc"].as_str().ok_or("no default route")?.parse()?)
    }

    /// Runs a program in a node's own network, until it is dropped.
    pub fn start(&self, node: &str, line: &str) -> Result<Server, Failure> {
        let mut command = program::command("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.process(node)?));
        command.args(line.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Server(command.spawn()?))
    }

    /// Runs iperf3's server, until it is dropped.
    pub fn serve(&self, node: &str, name: &str, address: Ipv4Addr) -> Result<Server, Failure> {
        let line = format!("iperf3 -s -p {PORT} -B {address}");
        let mut command = self.inside(node, name, &line)?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Server(command.spawn()?))
    }

    /// Sends one stream of TCP; Gbit/s that arrived.
    pub fn stream(
        &self,
        node: &str,
        name: &str,
        to: Ipv4Addr,
        seconds: u32,
    ) -> Result<f64, Failure> {
        let line = format!("iperf3 -J -p {PORT} -t {seconds} -c {to}");
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match said(&mut self.inside(node, name, &line)?) {
                Ok(told) => {
                    let told: Value = serde_json::from_str(&told)?;
                    let rate = told["end"]["sum_received"]["bits_per_second"].as_f64();
                    return Ok(rate.ok_or("no rate")? / 1e9);
                }
                // The server may be starting.
                Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(50)),
                Err(failure) => return Err(failure),
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.run("lab down");
    }
}

/// A process that ends with its owner.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn said(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let told = [&output.stderr[..], &output.stdout[..]].concat();
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&told)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The process of a task, whichever node it is on, by its number in this process's namespace.
pub fn process(task: &str) -> Result<Pid, Failure> {
    let wanted = format!("SWARMLB_TASK={task}");
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()) {
            return Ok(Pid::from_raw(pid));
        }
    }
    Err(format!("task {task} has no process").into())
}

pub fn kill(process: Pid) -> Result<(), Failure> {
    Ok(nix::sys::signal::kill(process, Signal::SIGKILL)?)
}

/// The tables of one service's sandboxes.
pub struct Tables(Vec<Table>);

/// The table of one sandbox.
pub struct Table(Mutex<Nft>);

impl Tables {
    pub fn of(lab: &Lab, service: &str) -> Result<Self, Failure> {
        let tasks = lab.tasks(service)?;
        let open = |task: &Task| -> Result<Table, Failure> {
            let namespace = lab.namespace(&task.node, &task.name)?;
            Ok(Table(Mutex::new(Nft::open(namespace.as_fd())?)))
        };
        Ok(Self(tasks.iter().map(open).collect::<Result<_, _>>()?))
    }

    pub fn all(&self) -> Vec<&Table> {
        self.0.iter().collect()
    }

    /// Whether all have the address among the targets of some VIP.
    pub fn have(&self, address: Ipv4Addr) -> bool {
        self.0.iter().all(|table| table.has(address))
    }
}

impl Table {
    pub fn has(&self, address: Ipv4Addr) -> bool {
        let mut nft = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that cannot be read counts as one that has it.
        let Ok(Some((table, _))) = nft.read(TABLE) else { return true };
        table.dispatches.values().any(|dispatch| dispatch.targets.contains(&address))
    }
}

/// A connection that failed.
#[derive(Debug, Clone)]
pub struct Failed {
    pub begun: Instant,
    /// From which node, and how.
    pub how: String,
}

/// Clients that connect to a VIP all the time. Dropped, they end.
pub struct Traffic {
    ended: Arc<AtomicBool>,
    /// The connections that failed.
    failed: Arc<Mutex<Vec<Failed>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// From the sandboxes of a service, but for those of one node.
    pub fn from_all_but(
        lab: &Lab,
        service: &str,
        node: &str,
        vip: Ipv4Addr,
    ) -> Result<Self, Failure> {
        let (ended, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut clients = Vec::new();
        for task in lab.tasks(service)?.iter().filter(|task| task.node != node) {
            let namespace = lab.namespace(&task.node, &task.name)?;
            let (ended, failed) = (Arc::clone(&ended), Arc::clone(&failed));
            let node = task.node.clone();
            clients.push(std::thread::spawn(move || {
                if netns::enter(namespace.as_fd()).is_ok() {
                    connect(&node, SocketAddr::from((vip, 80)), &ended, &failed);
                }
            }));
        }
        Ok(Self { ended, failed, clients })
    }

    /// Waits until nothing failed for a while: what failed, the last of it last.
    pub fn failures(&self, whole: Duration, patience: Duration) -> Result<Vec<Failed>, Failure> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
            failed.sort_by_key(|failed| failed.begun);
            match failed.last() {
                Some(last) if last.begun.elapsed() > whole => return Ok(failed),
                _ => sleep(Duration::from_millis(50)),
            }
        }
        Err("traffic never failed, or never was whole again".into())
    }
}

fn connect(node: &str, vip: SocketAddr, ended: &AtomicBool, failed: &Mutex<Vec<Failed>>) {
    while !ended.load(Ordering::Acquire) {
        let begun = Instant::now();
        if let Err(error) = TcpStream::connect_timeout(&vip, PATIENCE) {
            let how = format!("from {node}: {error}");
            failed.lock().unwrap_or_else(PoisonError::into_inner).push(Failed { begun, how });
        }
        sleep(PAUSE);
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

/// The namespace on each of two nodes that is a task by hand.
pub const NAMESPACE: &str = "hand";

/// Two namespaces on two nodes, joined as tasks are: a veth pair to a bridge with a VXLAN device, in
/// another namespace.
pub struct Hand {
    pub server: Ipv4Addr,
}

impl Hand {
    pub fn make(lab: &Lab) -> Result<Self, Failure> {
        let rows = lab.rows("lab status")?;
        let address = |at: usize| rows[at]["address"].as_str().unwrap_or_default().to_owned();
        let addresses = [address(0), address(1)];
        for (at, node) in ["node-1", "node-2"].into_iter().enumerate() {
            let (own, other) = (&addresses[at], &addresses[1 - at]);
            let (here, there) = (at + 1, 2 - at);
            let script = format!(
                "set -e
                ip netns add {NAMESPACE}
                ip netns add switch
                ip link add handx type vxlan id 7000 local {own} dstport 4799 nolearning proxy
                ip link set handx netns switch
                ip -n switch link add br0 type bridge
                ip -n switch link add port type veth peer name eth0 netns {NAMESPACE}
                ip -n switch link set handx mtu 1450 master br0 up
                ip -n switch link set port mtu 1450 master br0 up
                ip -n switch link set br0 up
                ip -n {NAMESPACE} link set eth0 mtu 1450 address 02:00:00:00:00:0{here} up
                ip -n {NAMESPACE} address add 10.99.0.{here}/24 dev eth0
                ip -n {NAMESPACE} link set lo up
                bridge -n switch fdb add 02:00:00:00:00:0{there} dev handx dst {other}
                ip -n switch neigh add 10.99.0.{there} lladdr 02:00:00:00:00:0{there} dev handx"
            );
            let pid = lab.process(node)?.to_string();
            let mut command = program::command("nsenter");
            said(command.args(["-t", &pid, "-n", "-m", "-p", "sh", "-c", &script]))?;
        }
        Ok(Self { server: Ipv4Addr::new(10, 99, 0, 2) })
    }
}
