//! From intent to node: pure and total. The same intent lowers differently for each node.

pub mod dns;
pub mod endpoint;
pub mod overlay;
pub mod vip;

use crate::intent::{Intent, NodeName};
use crate::node::{Node, Process, Sandbox, SandboxName};

/// What `name` shall hold.
pub fn lower(intent: &Intent, name: &NodeName) -> Node {
    let mut node = Node::default();
    overlay::lower(intent, name, &mut node);
    for task in intent.tasks.values().filter(|task| task.node == *name) {
        let sandbox = endpoint::lower(intent, task, &mut node);
        vip::lower(intent, task, &mut *sandbox);
        sandbox.process = intent.services.get(&task.name.service).map(|service| Process {
            task: task.id.clone(),
            program: match service.image {
                crate::intent::Image::Whoami => crate::node::process::Program::Whoami,
                crate::intent::Image::Host => {
                    crate::node::process::Program::Host(service.command.clone())
                }
            },
            environment: vec![
                ("SWARMLB_TASK".into(), task.name.to_string()),
                ("SWARMLB_SERVICE".into(), service.name.to_string()),
                ("SWARMLB_NODE_NAME".into(), name.to_string()),
            ],
        });
    }
    node
}

/// The sandbox of that name, made ours when it is new.
fn sandbox<'a>(intent: &Intent, node: &'a mut Node, name: SandboxName) -> &'a mut Sandbox {
    node.sandboxes.entry(name).or_insert_with(|| Sandbox {
        owner: crate::node::Owner::Cluster(intent.cluster.id.clone()),
        links: [("lo".into(), overlay::loopback())].into(),
        ..Sandbox::default()
    })
}
