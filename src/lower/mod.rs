//! From intent to node: pure and total. The same intent lowers differently for each node.

pub mod attachment;
pub mod dns;
pub mod egress;
pub mod encryption;
pub mod endpoint;
pub mod ingress;
pub mod key;
pub mod overlay;
pub mod shared;
pub mod vip;

use crate::intent::{Definition, Echo, Image, Intent, NodeName, Task};
use crate::node::process::{Container, Program};
use crate::node::{Node, Owner, Process, Sandbox, SandboxName};
use shared::Shared;

/// What `name` shall hold.
pub fn lower(intent: &Intent, name: &NodeName) -> Node {
    lower_sharing(intent, name, &mut Shared::default())
}

/// The same; what is as it was in the lowering before is shared with that.
pub fn lower_sharing(intent: &Intent, name: &NodeName, shared: &mut Shared) -> Node {
    shared.begin();
    let mut node = Node::default();
    overlay::lower(intent, name, &mut node);
    for task in intent.tasks.values().filter(|task| task.node == *name) {
        let sandbox = endpoint::lower(intent, task, &mut node);
        vip::lower(intent, task, shared, &mut *sandbox);
        let definition = intent.definition_of(task);
        sandbox.process = definition.map(|definition| process(definition, task));
        egress::lower(intent, task, &mut node);
    }
    ingress::lower(intent, name, shared, &mut node);
    for attachment in intent.attachments.values().filter(|held| held.node == *name) {
        attachment::lower(intent, attachment, &mut node);
    }
    encryption::lower(intent, name, &mut node);
    node
}

/// What a task runs. Its own variables come last: they tell who it is, whatever the service's say.
pub fn process(definition: &Definition, task: &Task) -> Process {
    let own = [
        ("SWARMLB_TASK", task.name.to_string()),
        ("SWARMLB_SERVICE", task.name.service.to_string()),
        ("SWARMLB_NODE_NAME", task.node.to_string()),
    ];
    let asked = definition.environment.iter().map(|(name, value)| (name.clone(), value.clone()));
    Process {
        task: task.id.clone(),
        program: match &definition.image {
            Image::Oci(image) => Program::Container(Container {
                image: image.clone(),
                command: definition.command.clone(),
                address: task.endpoints.first().map(|endpoint| endpoint.address),
            }),
            Image::Whoami => Program::Whoami,
            Image::Echo => {
                // The edit that made the service refused words that cannot be read.
                let Echo { port, greets } =
                    Echo::from_words(&definition.command).unwrap_or_default();
                Program::Echo { port, greets }
            }
            Image::Host => Program::Host(definition.command.clone()),
        },
        environment: asked.chain(own.map(|(name, value)| (name.to_owned(), value))).collect(),
        hostname: definition.hostname.clone(),
        log: definition.log,
        setup: definition.setup.clone(),
    }
}

/// The sandbox of that name, made ours when it is new.
fn sandbox<'a>(intent: &Intent, node: &'a mut Node, name: SandboxName) -> &'a mut Sandbox {
    let guest = name.guest();
    node.sandboxes.entry(name).or_insert_with(|| match guest {
        Some(cluster) => Sandbox { owner: Owner::Guest(cluster), ..Sandbox::default() },
        None => Sandbox {
            owner: Owner::Cluster(intent.cluster.id.clone()),
            links: [("lo".into(), overlay::loopback())].into(),
            ..Sandbox::default()
        },
    })
}
