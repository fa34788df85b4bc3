//! One cluster on several machines: what each shall hold is made by plans, and what runs in the
//! sandboxes by hand, so that nothing but the kernels is between two tasks.

use std::process::{Child, Stdio};
use std::time::Duration;

use swarmlb::intent::{Intent, NodeRecord};
use swarmlb::kernel::program;
use swarmlb::lower::lower;
use swarmlb::node::Node;

use super::machines::{Machine, Machines};
use super::node::{settled, without_processes};
use super::traffic::{Echo, Reply, echo, request};
use super::{in_vm, intents, within};

/// The port of the tasks that answer datagrams.
pub const ECHO: u16 = 7;
const PATIENCE: Duration = Duration::from_secs(10);

/// An intent whose nodes are these machines.
pub fn cluster(machines: &Machines) -> Intent {
    let mut intent = Intent::new(swarmlb::intent::ClusterId("test".into()));
    for machine in machines.all() {
        let mut record = NodeRecord::new(machine.name.clone(), in_vm());
        record.address = Some(machine.address);
        intent.nodes.insert(machine.name.clone(), record);
    }
    intent
}

/// A network without a way out: what leaves the cluster is not looked at here.
pub fn network(intent: &mut Intent, name: &str, subnet: &str) {
    let spec = swarmlb::intent::NetworkSpec {
        subnets: vec![subnet.parse().expect("a subnet")],
        internal: true,
        ..swarmlb::intent::NetworkSpec::new(name.parse().expect("a name"))
    };
    intent.create_network(spec, format!("id-{name}"), &Default::default()).expect("a network");
}

pub use intents::service;

/// Makes every machine hold what it shall.
pub fn converge(machines: &Machines, intent: &Intent) {
    for machine in machines.all() {
        let desired = without_processes(lower(intent, &machine.name));
        machine.on(|| settled().become_node(&desired));
    }
}

/// Takes all away again.
pub fn clear(machines: &Machines) {
    for machine in machines.all() {
        machine.on(|| settled().become_node(&Node::default()));
    }
}

/// The tasks of one cluster, as processes and threads.
pub struct Tasks {
    servers: Vec<Child>,
    echoes: Vec<Echo>,
}

impl Tasks {
    /// Lets every task of an intent answer requests and datagrams.
    pub fn start(machines: &Machines, intent: &Intent) -> Self {
        let mut tasks = Self { servers: Vec::new(), echoes: Vec::new() };
        for task in intent.tasks.values() {
            let name = task.name.to_string();
            let machine = of(machines, intent, &name);
            tasks.servers.push(machine.on(|| whoami(&name)));
            tasks.echoes.push(machine.on(|| echo(&name, ECHO)));
            let own = task.endpoints[0].address.to_string();
            let asks = || machine.on(|| request(&name, &own).is_ok());
            within("the task serves", PATIENCE, asks, |answers| *answers);
        }
        tasks
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        self.echoes.clear();
    }
}

fn whoami(task: &str) -> Child {
    let binary = swarmlb::environment::variable("SWARMLB_BIN")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_swarmlb").to_owned());
    let mut command = program::command("ip");
    command.args(["netns", "exec", task, &binary, "builtin", "whoami"]);
    command.env("SWARMLB_TASK", task).stdin(Stdio::null()).spawn().expect("a server")
}

/// The machine that a task is on.
pub fn of<'a>(machines: &'a Machines, intent: &Intent, task: &str) -> &'a Machine {
    let placed = &intent.tasks[&task.parse().expect("a task's name")].node;
    machines.all().iter().find(|machine| machine.name == *placed).expect("its machine")
}

/// Who answers so many requests from a task to an address.
pub fn asked(
    machines: &Machines,
    intent: &Intent,
    from: &str,
    address: &str,
    times: usize,
) -> Vec<Reply> {
    let machine = of(machines, intent, from);
    let ask = |_| {
        let reply = machine.on(|| request(from, address));
        reply.unwrap_or_else(|error| panic!("from {from} to {address}: {error}"))
    };
    (0..times).map(ask).collect()
}
