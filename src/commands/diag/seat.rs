//! Where `diag` asks from: the sandboxes of this node's tasks, and the namespaces of others that were
//! let onto a network.

use crate::commands::session::Session;
use crate::failure::{Exit, Failure};
use crate::intent::{Attachment, DataPlane, Intent, NetworkName, Task, TaskName, name};
use crate::node::SandboxName;

/// The sandbox that is meant.
///
/// # Errors
/// When there is none of that name, or it is on another node.
pub fn sandbox(
    session: &Session,
    intent: &Intent,
    typed: &str,
    what: &str,
) -> Result<SandboxName, Failure> {
    let task: Option<TaskName> = typed.parse().ok();
    if let Some(task) = task.and_then(|name| intent.tasks.get(&name)) {
        return match task.node == session.node {
            true => Ok(SandboxName::from(&task.name)),
            false => {
                let problem = format!("task {} is on node {}", task.name, task.node);
                Err(Failure::new(Exit::Usage, what, problem).hint("ask there"))
            }
        };
    }
    let meant = |held: &&Attachment| {
        let called = of(intent, held);
        held.namespace.target == typed || held.namespace.path == typed || called.called() == typed
    };
    if let Some(held) = guests(session, intent).find(meant) {
        return Ok(of(intent, held));
    }
    let tasks = intent.tasks.keys().map(ToString::to_string);
    let guests = guests(session, intent).map(|held| held.namespace.target.clone());
    let names: Vec<String> = tasks.chain(guests).collect();
    let problem =
        format!("there is no task `{0}`, nor a namespace `{0}` on a network", typed.escape_debug());
    let failure = Failure::new(Exit::Usage, what, problem);
    Err(match name::nearest(typed, names.iter().map(String::as_str)) {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => failure.hint("see `swarmlb sandbox ls`"),
    })
}

/// Whether a sandbox is on a network.
pub fn is_on(intent: &Intent, sandbox: &SandboxName, network: &NetworkName) -> bool {
    let task = |(task, _): (&Task, _)| SandboxName::from(&task.name) == *sandbox;
    let guest = |held: &Attachment| of(intent, held) == *sandbox;
    intent.tasks_on(network).any(task) || intent.attached_to(network).any(guest)
}

/// What balances for these clients, where it is the same for all.
pub fn plane(of_tasks: DataPlane, clients: &[SandboxName]) -> Option<DataPlane> {
    let guests = clients.iter().filter(|client| client.guest().is_some()).count();
    match guests {
        0 => Some(of_tasks),
        n if n == clients.len() => Some(DataPlane::Nftables),
        _ => Some(of_tasks).filter(|plane| *plane == DataPlane::Nftables),
    }
}

fn guests<'a>(session: &'a Session, intent: &'a Intent) -> impl Iterator<Item = &'a Attachment> {
    intent.attachments.values().filter(|held| held.node == session.node && !held.leaving)
}

fn of(intent: &Intent, held: &Attachment) -> SandboxName {
    SandboxName::of_attached(&intent.cluster.id, &held.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_are_balanced_differently_are_not_measured_together() {
        let task = SandboxName("web.1".into());
        let guest = SandboxName("@c1/7/run/netns/legacy".into());
        let both = [task.clone(), guest.clone()];
        assert_eq!(plane(DataPlane::Ipvs, &both), None);
        assert_eq!(plane(DataPlane::Nftables, &both), Some(DataPlane::Nftables));
        assert_eq!(plane(DataPlane::Ipvs, &[task]), Some(DataPlane::Ipvs));
        assert_eq!(plane(DataPlane::Ipvs, &[guest]), Some(DataPlane::Nftables));
    }
}
