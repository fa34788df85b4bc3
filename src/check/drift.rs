//! What a node's kernel holds that it should not, and the other way round.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::codes::{Code, code};
use crate::intent::Intent;
use crate::node::object::Key;
use crate::node::{BaseRule, Object, SandboxName};
use crate::plan::Op;
use crate::plan::op::Change;

/// A finding for each object that is missing, left over or wrong. Weights are on their way while a service
/// that begins slowly does: these are left out.
pub fn drift(ops: &[Op], intent: &Intent) -> Vec<Finding> {
    let slow = intent.services.values().any(|service| service.slow_start.millis() > 0);
    let differences = differences(ops);
    let in_motion = |found: &&Difference| slow && is_weight(&found.change);
    differences.iter().filter(|found| !in_motion(found)).filter_map(finding).collect()
}

/// What is different, and the commands that mend it.
struct Difference {
    sandbox: SandboxName,
    change: Change,
    commands: Vec<String>,
}

/// Of several operations on one object, what they come to. Of a sandbox that is missing, only that.
fn differences(ops: &[Op]) -> Vec<Difference> {
    let is_namespace = |op: &&Op| matches!(op.object(), Object::Namespace { .. });
    let whole: BTreeSet<&SandboxName> =
        ops.iter().filter(is_namespace).map(|op| &op.sandbox).collect();
    let mut differences: Vec<Difference> = Vec::new();
    let mut places: BTreeMap<(&SandboxName, Key), usize> = BTreeMap::new();
    for op in ops {
        if whole.contains(&op.sandbox) && !is_namespace(&op) {
            continue;
        }
        let at = |key: Key| places.get(&(&op.sandbox, key)).copied();
        // What stands in something that is missing is missing with it.
        let held = holder(op.object()).and_then(at).and_then(|place| differences.get_mut(place));
        let held = held.filter(|held| held.is_missing() && matches!(op.change, Change::Add(_)));
        if let Some(held) = held {
            held.commands.push(op.to_string());
            continue;
        }
        let key = op.object().key();
        if let Some(before) = at(key.clone()).and_then(|place| differences.get_mut(place)) {
            before.change = joined(&before.change, &op.change);
            before.commands.push(op.to_string());
            continue;
        }
        places.insert((&op.sandbox, key), differences.len());
        differences.push(Difference {
            sandbox: op.sandbox.clone(),
            change: op.change.clone(),
            commands: vec![op.to_string()],
        });
    }
    differences
}

impl Difference {
    fn is_missing(&self) -> bool {
        matches!(self.change, Change::Add(_))
    }
}

/// What an object is a part of: a real server of its virtual server, a rule or an element of the table.
fn holder(object: &Object) -> Option<Key> {
    match object {
        Object::RealServer { server, .. } => Some(Key::VirtualServer(*server)),
        Object::BaseRule(_)
        | Object::Guard(_)
        | Object::Mark { .. }
        | Object::Dispatch { .. }
        | Object::Publication(_) => Some(Object::Table.key()),
        _ => None,
    }
}

/// One change after another.
fn joined(first: &Change, then: &Change) -> Change {
    match (first, then) {
        (
            Change::Del(from) | Change::Set { from, .. },
            Change::Add(to) | Change::Set { to, .. },
        ) => Change::Set { from: from.clone(), to: to.clone() },
        _ => then.clone(),
    }
}

fn is_weight(change: &Change) -> bool {
    matches!(change, Change::Set { from: Object::RealServer { .. } | Object::Dispatch { .. }, .. })
}

fn finding(difference: &Difference) -> Option<Finding> {
    let code = code_of(&difference.change)?;
    let found = Finding::new(code, place(&difference.sandbox), evidence(&difference.change));
    // As a dry run prints it: keys are not shown.
    Some(found.mended_by(difference.commands.join(" && ")))
}

fn place(sandbox: &SandboxName) -> String {
    match sandbox.guest() {
        Some(_) => "the node itself".to_owned(),
        None => format!("sandbox {}", sandbox.called()),
    }
}

/// What is expected and what is there, as objects.
fn evidence(change: &Change) -> String {
    match change {
        // Only what differs from the kernel's default is an object.
        Change::Add(object @ Object::Sysctl { sysctl, .. }) => {
            format!("expected {}, found {}", words(object), sysctl.default_value())
        }
        Change::Del(object @ Object::Sysctl { sysctl, .. }) => {
            format!("expected {}, found {}", sysctl.default_value(), words(object))
        }
        Change::Add(object) => format!("expected {}, found nothing", words(object)),
        Change::Del(object) => format!("expected nothing, found {}", words(object)),
        Change::Set { from, to } => format!("expected {}, found {}", words(to), words(from)),
    }
}

fn words(object: &Object) -> String {
    match object {
        Object::Namespace { .. } => "the namespace".into(),
        Object::Link { name, link } => {
            format!("link {name}, mtu {}, {}", link.mtu, if link.up { "up" } else { "down" })
        }
        Object::Veth { name, mtu, up, port, .. } => format!(
            "link {name} to {} of {}, mtu {mtu}, {}",
            port.peer.link,
            port.peer.sandbox.called(),
            if *up { "up" } else { "down" }
        ),
        Object::Address(address) => format!("{} on {}", address.net, address.link),
        Object::Forwarding(entry) => {
            let how = if entry.permanent { "" } else { ", learned" };
            format!("{} on {} to {}{how}", entry.mac, entry.link, entry.vtep)
        }
        Object::Neighbour(held) => format!("{} on {} is {}", held.address, held.link, held.mac),
        Object::Path(path) => format!("{path:?}"),
        Object::Turn(mark) => format!("a rule for mark {mark}"),
        Object::Route(route) => format!("local {} from {}", route.address, route.source),
        Object::Sysctl { sysctl, value } => format!("{sysctl} = {value}"),
        Object::Table => "table swarmlb".into(),
        Object::BaseRule(rule) => format!("chain {}", rule.chains().join(", ")),
        Object::Guard(address) => format!("{address} in set vips"),
        Object::Mark { address, fwmark } => format!("{address} marked {fwmark}"),
        Object::Dispatch { fwmark, dispatch } => {
            let targets: Vec<String> = dispatch.targets.iter().map(ToString::to_string).collect();
            format!("mark {fwmark} to {}", targets.join(" "))
        }
        Object::Publication(publication) => format!("{publication:?}"),
        Object::VirtualServer { key, scheduler, .. } => format!("{key} {scheduler}"),
        Object::RealServer { server, key, real } => {
            format!("{} of {server}, weight {}", key.address, real.weight)
        }
        Object::Process(_) => "a process".into(),
        Object::State(state) => format!("ESP {} to {}", state.source, state.destination),
        Object::Policy(policy) => format!("policy {} to {}", policy.source, policy.destination),
    }
}

/// Which code a difference has; none for processes, which are not the kernel's.
pub fn code_of(change: &Change) -> Option<&'static Code> {
    let (object, ending) = match change {
        Change::Add(object @ Object::Sysctl { .. })
        | Change::Del(object @ Object::Sysctl { .. }) => (object, "wrong"),
        Change::Add(object) => (object, "missing"),
        Change::Del(object) => (object, "left-over"),
        Change::Set { to, .. } => (to, "wrong"),
    };
    if let Object::BaseRule(rule) = object {
        return code(if ending == "missing" { of_rule(*rule) } else { "rule-left-over" });
    }
    code(&format!("{}-{ending}", kind(object)?))
}

fn kind(object: &Object) -> Option<&'static str> {
    Some(match object {
        Object::Namespace { .. } => "sandbox",
        Object::Link { .. } => "link",
        Object::Veth { .. } => "endpoint",
        Object::Address(_) => "address",
        Object::Forwarding(_) => "fdb",
        Object::Neighbour(_) => "neighbour",
        Object::Path(_) => "path",
        Object::Turn(_) => "turn",
        Object::Route(_) => "vip-route",
        Object::Sysctl { .. } => "sysctl",
        Object::Table => "table",
        Object::Guard(_) => "guard",
        Object::Mark { .. } => "mark",
        Object::Dispatch { .. } => "targets",
        Object::Publication(_) => "port",
        Object::VirtualServer { .. } => "virtual-server",
        Object::RealServer { .. } => "real-server",
        Object::State(_) => "esp-state",
        Object::Policy(_) => "esp-policy",
        Object::BaseRule(_) | Object::Process(_) => return None,
    })
}

fn of_rule(rule: BaseRule) -> &'static str {
    match rule {
        BaseRule::MarkOut => "mark-rule-missing",
        BaseRule::RejectIn => "reject-rule-missing",
        BaseRule::ResetIn => "reset-rule-missing",
        BaseRule::BalanceOut | BaseRule::BalanceIn => "balance-rule-missing",
        BaseRule::MasqueradeOut(_)
        | BaseRule::MasqueradeHairpin(_)
        | BaseRule::MasqueradeLocalhost(_) => "masquerade-missing",
        BaseRule::DropForward(_) => "outside-guard-missing",
        BaseRule::Publish | BaseRule::PublishAt => "publish-rule-missing",
        BaseRule::GuardLocalhost => "localhost-guard-missing",
        BaseRule::MarkIn => "mesh-mark-rule-missing",
        BaseRule::SourceOut(_) | BaseRule::KeepSource { .. } => "mesh-source-rule-missing",
        BaseRule::MarkEntry(_) => "entry-rule-missing",
        BaseRule::DropBack => "mesh-guard-missing",
        BaseRule::MarkCarried(_) => "esp-mark-rule-missing",
        BaseRule::DropClearIn(_) | BaseRule::DropClearOut(_) => "clear-text-guard-missing",
    }
}

#[cfg(test)]
mod tests {
    use super::super::codes::Severity;
    use super::*;
    use crate::intent::tests::story;
    use crate::lower::lower;
    use crate::node::{Node, Sandbox, Table};
    use crate::plan::Plan;

    /// What is found when the story's node is not as it should be.
    fn found(damage: impl FnOnce(&mut Node)) -> Vec<Finding> {
        let intent = story();
        let node = lower(&intent, intent.nodes.keys().next().unwrap());
        let mut broken = node.clone();
        damage(&mut broken);
        let ops: Vec<Op> = Plan::between(&broken, &node).kernel_ops().cloned().collect();
        drift(&ops, &intent)
    }

    #[test]
    fn a_node_as_it_should_be_has_no_finding_and_every_difference_has_a_code() {
        assert_eq!(found(|_| ()), []);
        let intent = story();
        let node = lower(&intent, intent.nodes.keys().next().unwrap());
        let empty = Node::default();
        for (from, to) in [(&empty, &node), (&node, &empty)] {
            let plan = Plan::between(from, to);
            for op in plan.kernel_ops() {
                assert!(code_of(&op.change).is_some(), "{op}");
            }
        }
        let bare = found(|node| node.sandboxes.clear());
        assert!(bare.iter().all(|finding| finding.code == "sandbox-missing"), "{bare:?}");
        assert!(bare.iter().all(|finding| finding.severity == Severity::Error));
    }

    #[test]
    fn each_thing_that_is_broken_has_its_code() {
        let named = |damage: &dyn Fn(&mut Sandbox)| -> Vec<&'static str> {
            let name = SandboxName("collabweb.2".into());
            let findings = found(|node| damage(node.sandboxes.get_mut(&name).unwrap()));
            assert!(findings.iter().all(|finding| finding.place == "sandbox collabweb.2"));
            findings.iter().map(|finding| finding.code).collect()
        };
        let table = |sandbox: &mut Sandbox, damage: &dyn Fn(&mut Table)| {
            damage(sandbox.table.as_mut().unwrap());
        };
        let rule = |rule: BaseRule| {
            named(&|sandbox| {
                table(sandbox, &|table| {
                    table.rules.remove(&rule);
                });
            })
        };
        assert_eq!(rule(BaseRule::MarkOut), ["mark-rule-missing"]);
        assert_eq!(rule(BaseRule::RejectIn), ["reject-rule-missing"]);
        assert_eq!(rule(BaseRule::ResetIn), ["reset-rule-missing"]);
        assert_eq!(
            named(&|sandbox| table(sandbox, &|table| {
                let _ = table.guards.pop_first();
            })),
            ["guard-missing"]
        );
        assert_eq!(
            named(&|sandbox| table(sandbox, &|table| {
                let _ = table.marks.pop_first();
            })),
            ["mark-missing"]
        );
        let other = |sandbox: &mut Sandbox| {
            table(sandbox, &|table| table.marks.values_mut().for_each(|mark| mark.0 += 100));
        };
        assert!(named(&other).iter().all(|code| *code == "mark-wrong"));
        assert_eq!(named(&|sandbox| sandbox.routes.clear()), ["vip-route-missing"; 2]);
        assert_eq!(named(&|sandbox| sandbox.addresses.clear()), ["address-missing"]);
        assert!(
            named(&|sandbox| {
                let _ = sandbox.sysctls.pop_first();
            })
            .contains(&"sysctl-wrong")
        );
        let deaf = |sandbox: &mut Sandbox| drop(sandbox.virtual_servers.pop_first());
        assert!(named(&deaf).contains(&"virtual-server-missing"));
        let stale = |sandbox: &mut Sandbox| {
            for server in sandbox.virtual_servers.values_mut() {
                server.scheduler = "lc".into();
            }
        };
        assert!(named(&stale).iter().all(|code| *code == "virtual-server-wrong"));
        assert_eq!(named(&|sandbox| sandbox.table = None), ["table-missing"]);
        let none = |sandbox: &mut Sandbox| sandbox.virtual_servers.clear();
        assert!(named(&none).iter().all(|code| *code == "virtual-server-missing"));
        let lost = |sandbox: &mut Sandbox| {
            for server in sandbox.virtual_servers.values_mut() {
                server.real_servers.pop_first();
            }
        };
        assert!(named(&lost).contains(&"real-server-missing"));
    }

    #[test]
    fn one_mark_that_is_gone_is_named_with_the_command_that_mends_it() {
        let findings = found(|node| {
            let sandbox = node.sandboxes.get_mut(&SandboxName("collabweb.2".into())).unwrap();
            sandbox.table.as_mut().unwrap().marks.pop_first();
        });
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        assert_eq!((finding.code, &*finding.place), ("mark-missing", "sandbox collabweb.2"));
        assert!(finding.evidence.starts_with("expected 10.0.3."), "{}", finding.evidence);
        assert!(finding.mend.as_ref().unwrap().starts_with("ip netns exec collabweb.2 nft "));
    }
}
