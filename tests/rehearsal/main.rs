//! From any node to any node: plans between random and randomly damaged nodes, rehearsed on a
//! kernel that is as strict as Linux. Every seed is fixed and printed.

mod damage;
mod edits;
mod encryption;
mod placement;
mod refusing;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::mem::{Discriminant, discriminant};
use std::net::Ipv4Addr;

use nix::errno::Errno;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use swarmlb::intent::{DataPlane, Intent, Machine, NodeName, ServiceSpec};
use swarmlb::kernel::carry_out;
use swarmlb::kernel::rehearsal::Rehearsal;
use swarmlb::lower::lower;
use swarmlb::node::{Node, Object, SandboxName, VirtualServerKey};
use swarmlb::plan::{Change, Op, Plan};

use damage::Damage;
use edits::{Cluster, Edit};
use refusing::Refusing;

type Checked = Result<(), TestCaseError>;

/// Runs `cases` random cases from a seed of its own, and says which.
fn check<S: Strategy>(seed: u8, cases: u32, strategy: S, property: impl Fn(S::Value) -> Checked) {
    let seed = [seed; 32];
    println!("seed {seed:02x?}, {cases} cases");
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    if let Err(error) = runner.run(&strategy, property) {
        panic!("seed {seed:02x?}: {error}");
    }
}

/// Two nodes of one cluster: the second after other edits, or after none of the first's.
#[derive(Clone)]
struct Pair {
    from: Node,
    to: Node,
}

/// As edits and damages: a node would fill the screen.
#[derive(Debug, Clone)]
struct Story {
    cluster: Cluster,
    first: Vec<Edit>,
    damages: Vec<Damage>,
    then: Vec<Edit>,
    /// Whether `then` continues `first`, as an operator would, or begins with nothing.
    continued: bool,
}

fn story() -> impl Strategy<Value = Story> {
    let parts = (
        edits::cluster(),
        edits::edits(2..12),
        damage::damages(0..6),
        edits::edits(0..8),
        any::<bool>(),
    );
    parts.prop_map(|(cluster, first, damages, then, continued)| Story {
        cluster,
        first,
        damages,
        then,
        continued,
    })
}

impl Story {
    fn intents(&self) -> (Intent, Intent) {
        let first = self.cluster.after(&self.first);
        let mut second = if self.continued { first.clone() } else { self.cluster.empty() };
        edits::apply(&mut second, &self.then);
        (first, second)
    }

    /// The first node, damaged, and the second, on each machine of the cluster.
    fn pairs(&self) -> Vec<Pair> {
        let (first, second) = self.intents();
        let pair = |name: &NodeName| {
            let mut from = lower(&first, name);
            damage::apply(&mut from, &self.damages);
            Pair { from, to: lower(&second, name) }
        };
        self.cluster.names().iter().map(pair).collect()
    }
}

/// Does a plan op by op; the node afterwards.
fn rehearse(from: &Node, plan: &Plan) -> Result<Node, TestCaseError> {
    let mut rehearsal = Rehearsal::new(from.clone());
    for (number, op) in plan.ops.iter().enumerate() {
        if let Err(refusal) = rehearsal.try_op(op) {
            let before: Vec<String> =
                plan.ops[..number].iter().map(|op| format!("  {op}\n")).collect();
            return Err(TestCaseError::fail(format!(
                "{refusal}: operation {} of {}: {op}\nafter:\n{}",
                number + 1,
                plan.ops.len(),
                before.concat()
            )));
        }
    }
    Ok(rehearsal.into_node())
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.ops.iter().map(Op::to_string).collect()
}

fn is_empty(plan: &Plan) -> Checked {
    prop_assert!(plan.is_empty(), "there is still to do: {:#?}", lines(plan));
    Ok(())
}

#[test]
fn from_any_node_to_any_node_converges() {
    check(1, 600, story(), |story| {
        for Pair { from, to } in story.pairs() {
            let reached = rehearse(&from, &Plan::between(&from, &to))?;
            is_empty(&Plan::between(&reached, &to))?;
            prop_assert_eq!(&reached, &to);
        }
        Ok(())
    });
}

#[test]
fn a_converged_node_has_an_empty_plan() {
    check(2, 600, story(), |story| {
        for Pair { from, to } in story.pairs() {
            is_empty(&Plan::between(&from, &from))?;
            is_empty(&Plan::between(&to, &to))?;
        }
        Ok(())
    });
}

fn restorable(story: &Story) -> impl Iterator<Item = Pair> {
    story.pairs().into_iter().filter(|pair| damage::can_be_put_back(&pair.from))
}

#[test]
fn a_plan_and_then_its_inverse_restore_the_start() {
    check(3, 600, story(), |story| {
        for Pair { from, to } in restorable(&story) {
            let plan = Plan::between(&from, &to);
            let reached = rehearse(&from, &plan)?;
            prop_assert_eq!(rehearse(&reached, &plan.inverse())?, from);
        }
        Ok(())
    });
}

/// A node on which each kind of object stands, and its intent.
fn full() -> (Intent, NodeName) {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]),
    );
    loop {
        let tree = (edits::cluster(), edits::edits(12)).new_tree(&mut runner).expect("edits");
        let (cluster, edits) = proptest::strategy::ValueTree::current(&tree);
        let (intent, name) = (cluster.after(&edits), cluster.names().remove(0));
        if kinds(&lower(&intent, &name)).len() == 19 {
            return (intent, name);
        }
    }
}

fn kinds(node: &Node) -> HashSet<Discriminant<Object>> {
    node.objects().map(|(_, object)| discriminant(&object)).collect()
}

#[test]
fn every_harm_in_every_sandbox_is_mended() {
    let (intent, name) = full();
    let whole = lower(&intent, &name);
    let mut harmless: BTreeMap<String, bool> = BTreeMap::new();
    check(4, 4, any::<Index>(), |_| Ok(()));
    let which = some_index(4);
    for harm in damage::every_harm() {
        for sandbox in whole.sandboxes.keys() {
            let mut harmed = whole.clone();
            damage::apply_one(&mut harmed, sandbox, harm, &which);
            *harmless.entry(format!("{harm:?}")).or_insert(true) &= harmed == whole;
            let mended = rehearse(&harmed, &Plan::between(&harmed, &whole))
                .unwrap_or_else(|error| panic!("{harm:?} in {sandbox}: {error}"));
            assert_eq!(mended, whole, "{harm:?} in {sandbox}");
        }
    }
    let idle: Vec<&String> = harmless.iter().filter(|(_, idle)| **idle).map(|(h, _)| h).collect();
    assert_eq!(idle, ["LinkUp"], "harms that harm nothing prove nothing");
}

fn some_index(seed: u8) -> Index {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = any::<Index>().new_tree(&mut runner).expect("an index");
    proptest::strategy::ValueTree::current(&tree)
}

#[test]
fn a_refusal_at_any_point_leaves_no_trace() {
    check(5, 150, story(), |story| {
        for Pair { from, to } in restorable(&story) {
            let plan = Plan::between(&from, &to);
            for number in 1..=plan.ops.len() {
                let mut kernel = Refusing::new(&from, [number]);
                let refused =
                    carry_out(&mut kernel, from.clone(), &plan).expect_err("it was refused");
                prop_assert_eq!(refused.number, number);
                prop_assert_eq!(refused.of, plan.ops.len());
                prop_assert_eq!(&refused.op, &plan.ops[number - 1]);
                prop_assert_eq!(refused.undone, number - 1);
                prop_assert_eq!(&refused.left, &Vec::new());
                prop_assert!(!refused.rehearsed);
                prop_assert_eq!(kernel.inner.node(), &from, "operation {}", number);
            }
        }
        Ok(())
    });
}

/// Whether anything goes and comes again, as a link of another address: what stood on the old one is taken
/// back onto the new one.
fn remakes(plan: &Plan) -> bool {
    let key = |op: &Op| (op.sandbox.clone(), op.object().key());
    let is_made = |op: &Op| matches!(op.change, Change::Add(_));
    let made: Vec<_> = plan.ops.iter().filter(|op| is_made(op)).map(key).collect();
    let gone = plan.ops.iter().filter(|op| matches!(op.change, Change::Del(_)));
    gone.map(key).any(|key| made.contains(&key))
}

#[test]
fn what_cannot_be_taken_back_is_told() {
    let strategy = (story(), any::<Index>(), prop::collection::vec(any::<Index>(), 1..4));
    let exactly = std::cell::Cell::new(0);
    check(6, 1000, strategy, |(story, at, stuck)| {
        for Pair { from, to } in story.pairs() {
            let plan = Plan::between(&from, &to);
            if plan.ops.len() < 2 {
                continue;
            }
            // The second at the earliest, so that there is something to take back.
            let number = 2 + at.index(plan.ops.len() - 1);
            let undoing = stuck.iter().map(|stuck| number + 1 + stuck.index(number - 1));
            let refusals: BTreeSet<usize> = undoing.chain([number]).collect();
            let mut kernel = Refusing::new(&from, refusals.clone());
            let refused = carry_out(&mut kernel, from.clone(), &plan).expect_err("it was refused");
            prop_assert_eq!(refused.number, number);
            prop_assert!(refused.left.len() >= refusals.len() - 1);
            prop_assert_eq!(refused.undone + refused.left.len(), number - 1);
            prop_assert_eq!(kernel.tried(), number + number - 1, "every one is tried once");
            // The next turn mends it, and where nothing was made anew in another's place, taking back
            // what is told leaves the node as it was.
            let found = kernel.inner.node();
            prop_assert_eq!(&rehearse(found, &Plan::between(found, &to))?, &to);
            if story.damages.is_empty() && story.continued && !remakes(&plan) {
                // What stays on is nobody's to take back.
                let stays = |op: &&Op| op.inverse().to_string().starts_with('#');
                let left = refused.left.iter().filter(|op| !stays(op));
                let rest = Plan { ops: left.map(Op::inverse).collect() };
                prop_assert_eq!(&rehearse(found, &rest)?, &from);
                exactly.set(exactly.get() + 1);
            }
        }
        Ok(())
    });
    assert!(exactly.get() > 10, "only {} were looked at exactly", exactly.get());
}

#[test]
fn a_plan_that_does_not_fit_never_reaches_the_kernel() {
    check(8, 300, story(), |story| {
        for Pair { to, .. } in story.pairs() {
            let setup = Plan::between(&Node::default(), &to);
            if setup.is_empty() {
                continue;
            }
            let misfits = [
                (&to, setup.clone(), Errno::EEXIST),
                (&Node::default(), setup.inverse(), Errno::ENOENT),
            ];
            for (node, plan, errno) in misfits {
                let mut kernel = Refusing::new(node, []);
                let refused =
                    carry_out(&mut kernel, node.clone(), &plan).expect_err("it does not fit");
                prop_assert_eq!(refused.number, 1);
                // A namespace of somebody else is always there; what is missing is in it.
                let there = refused.op.sandbox.guest().is_some();
                let expected = if there && errno == Errno::ENOENT {
                    refused.refusal.errno != Errno::EEXIST
                } else {
                    refused.refusal.errno == errno
                };
                prop_assert!(expected, "{}: {}", refused.op, refused.refusal);
                prop_assert!(refused.rehearsed);
                prop_assert_eq!((refused.undone, refused.left.len()), (0, 0));
                prop_assert_eq!(kernel.tried(), 0);
            }
        }
        Ok(())
    });
}

#[test]
fn what_is_foreign_is_never_touched() {
    check(9, 600, story(), |story| {
        for Pair { mut from, to } in story.pairs() {
            let stay: BTreeSet<SandboxName> = from
                .sandboxes
                .keys()
                .filter(|name| to.sandboxes.contains_key(*name))
                .cloned()
                .collect();
            damage::add_foreign(&mut from, &stay);
            let plan = Plan::between(&from, &to);
            let foreign = damage::foreign_part(&from);
            prop_assert!(foreign.sandboxes.contains_key(&SandboxName("web.9".into())));
            let reached = rehearse(&from, &plan)?;
            prop_assert_eq!(damage::foreign_part(&reached), foreign);
            is_empty(&Plan::between(&reached, &to))?;
        }
        Ok(())
    });
}

#[test]
fn what_is_foreign_in_a_sandbox_of_ours_goes_with_it() {
    let (intent, name) = full();
    let whole = lower(&intent, &name);
    for sandbox in whole.sandboxes.keys().filter(|name| name.guest().is_none()) {
        let mut from = whole.clone();
        from.sandboxes.get_mut(sandbox).map(damage::add_foreign_things);
        let plan = Plan::between(&from, &Node::default());
        let mut kernel = Refusing::new(&from, []);
        let reached =
            carry_out(&mut kernel, from.clone(), &plan).expect("nothing of ours is in the way");
        assert_eq!(reached, Node::default());
        assert_eq!(kernel.inner.node(), &reached);
    }
}

#[test]
fn a_sandbox_is_not_removed_from_under_what_is_ours() {
    let (intent, name) = full();
    let whole = lower(&intent, &name);
    for op in Plan::between(&whole, &Node::default()).ops {
        if !matches!(op.object(), Object::Namespace { .. }) {
            continue;
        }
        let mut kernel = Rehearsal::new(whole.clone());
        let refusal = kernel.try_op(&op).expect_err("it is in use");
        assert_eq!(refusal.errno, Errno::EBUSY);
        assert_eq!(kernel.node(), &whole);
    }
}

#[test]
fn a_foreign_sandbox_in_the_place_of_ours_is_refused_untouched() {
    let (intent, name) = full();
    let to = lower(&intent, &name);
    for sandbox in to.sandboxes.keys().filter(|name| name.guest().is_none()) {
        let mut from = Node::default();
        damage::add_foreign(&mut from, &BTreeSet::new());
        let theirs = from.sandboxes.values().next().cloned().expect("a foreign sandbox");
        from.sandboxes.insert(sandbox.clone(), theirs);
        let mut kernel = Refusing::new(&from, []);
        let plan = Plan::between(&from, &to);
        let refused = carry_out(&mut kernel, from.clone(), &plan).expect_err("the name is taken");
        assert_eq!(refused.refusal.errno, Errno::EEXIST);
        assert_eq!(&refused.op.sandbox, sandbox);
        assert_eq!((refused.rehearsed, kernel.tried()), (true, 0));
    }
}

#[test]
fn a_node_is_the_same_after_json() {
    check(10, 300, story(), |story| {
        for Pair { mut from, to } in story.pairs() {
            let all = from.sandboxes.keys().cloned().collect();
            damage::add_foreign(&mut from, &all);
            for node in [from, to] {
                let text = serde_json::to_string(&node).expect("a node is JSON");
                let read: Node = serde_json::from_str(&text).expect("and back");
                prop_assert_eq!(read, node);
            }
        }
        Ok(())
    });
}

#[test]
fn an_intent_is_the_same_after_json() {
    check(11, 300, story(), |story| {
        let (first, second) = story.intents();
        for intent in [first, second] {
            let text = serde_json::to_string(&intent).expect("an intent is JSON");
            let read: Intent = serde_json::from_str(&text).expect("and back");
            prop_assert_eq!(read, intent);
        }
        Ok(())
    });
}

#[test]
fn every_operation_is_one_line_and_has_an_inverse() {
    check(12, 300, story(), |story| {
        for Pair { from, to } in story.pairs() {
            for op in Plan::between(&from, &to).ops {
                let line = op.to_string();
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
                prop_assert_eq!(line.trim(), &line);
                prop_assert!(!line.is_empty());
                prop_assert_ne!(&op.inverse(), &op);
                prop_assert_eq!(op.inverse().inverse(), op.clone());
                let text = serde_json::to_string(&op).expect("an operation is JSON");
                prop_assert_eq!(serde_json::from_str::<Op>(&text).expect("and back"), op);
            }
        }
        Ok(())
    });
}

/// Networks and services, nothing removed: the ranks of each network are 0, 1, 2 …
fn only_made() -> impl Strategy<Value = (Cluster, Vec<Edit>)> {
    let made = |edit: &Edit| match edit {
        Edit::CreateNetwork { .. } | Edit::CreateService(_) => true,
        Edit::RemoveNetwork(_)
        | Edit::RemoveService(_)
        | Edit::Scale { .. }
        | Edit::Settle
        | Edit::Connect { .. }
        | Edit::Disconnect { .. }
        | Edit::ForgetLeft
        | Edit::Update { .. }
        | Edit::Rollback(_)
        | Edit::Advance
        | Edit::Weigh { .. }
        | Edit::Node(..) => false,
    };
    (edits::cluster(), edits::edits(6..32))
        .prop_map(move |(cluster, edits)| (cluster, edits.into_iter().filter(made).collect()))
}

/// Whom each sandbox's first connection to each mark goes to, when the node is set up from nothing.
fn first_picks(intent: &Intent) -> BTreeMap<(u32, DataPlane), Vec<String>> {
    let mut picks: BTreeMap<(u32, DataPlane), Vec<String>> = BTreeMap::new();
    for name in intent.nodes.keys() {
        // The kernel puts a new real server before the others, so the last one is picked first.
        let mut last = BTreeMap::new();
        for op in Plan::between(&Node::default(), &lower(intent, name)).ops {
            let (mark, plane, target) = match op.change {
                Change::Add(Object::RealServer {
                    server: VirtualServerKey::Fwmark(mark),
                    key,
                    ..
                }) => (mark.0, DataPlane::Ipvs, key.address.to_string()),
                Change::Add(Object::Dispatch { fwmark, dispatch })
                    if !dispatch.targets.is_empty() =>
                {
                    (fwmark.0, DataPlane::Nftables, dispatch.targets[0].to_string())
                }
                _ => continue,
            };
            last.insert((op.sandbox, mark, plane), target);
        }
        for ((_, mark, plane), target) in last {
            picks.entry((mark, plane)).or_default().push(target);
        }
    }
    picks
}

#[test]
fn the_first_connections_of_all_sandboxes_are_spread_evenly() {
    let spread = std::cell::Cell::new(0);
    check(13, 500, only_made(), |(mut cluster, edits)| {
        // One plane in the cluster: a mixed one rotates two orders of the same targets.
        let ipvs = cluster.ipvs[0];
        cluster.ipvs.fill(ipvs);
        let intent = cluster.after(&edits);
        let picks = first_picks(&intent);
        for service in intent.services.values() {
            for (network, vip) in &service.vips {
                let targets = intent.rotation_of(&service.name).count();
                let sandboxes = intent.tasks_on(network).count();
                let found = picks.iter().filter(|((mark, _), _)| *mark == vip.fwmark.0);
                let picked: Vec<&String> = found.flat_map(|(_, picked)| picked).collect();
                if targets == 0 {
                    prop_assert!(picked.is_empty());
                    continue;
                }
                prop_assert_eq!(picked.len(), sandboxes);
                for target in intent.tasks_of(&service.name).filter_map(|t| t.endpoint(network)) {
                    let address = target.address.to_string();
                    let first = picked.iter().filter(|picked| ***picked == address).count();
                    let even = sandboxes / targets..=sandboxes.div_ceil(targets);
                    prop_assert!(even.contains(&first), "{} is first in {}", address, first);
                    spread.set(spread.get() + 1);
                }
            }
        }
        Ok(())
    });
    assert!(spread.get() > 200, "only {} targets were looked at", spread.get());
}

/// How evenly counts are spread: 1 when all are equal, 1/n when one has all.
fn jain(counts: &[usize]) -> f64 {
    let sum: usize = counts.iter().sum();
    let squares: usize = counts.iter().map(|count| count * count).sum();
    (sum * sum) as f64 / (counts.len() * squares) as f64
}

#[test]
fn one_shot_clients_meet_tasks_evenly_after_each_scaling_up_and_down() {
    for (clients, ipvs) in [24, 100, 240].into_iter().flat_map(|n| [(n, true), (n, false)]) {
        let cluster = Cluster { ipvs: vec![ipvs], egress: false };
        let mut intent = cluster.empty();
        let network = edits::network_spec("blue", "10.0.0.0/22");
        intent.create_network(network, "id".into(), &Machine::default()).expect("a network");
        for (name, replicas) in [("web", 3), ("client", clients)] {
            let spec = ServiceSpec::new(name.parse().unwrap(), "blue".parse().unwrap());
            let spec = ServiceSpec { replicas, ..spec };
            intent.create_service(spec, format!("id-{name}"), 0).expect("a service");
        }
        let web = "web".parse().unwrap();
        let mut held = lower(&intent, &cluster.names()[0]);
        for replicas in [4, 6, 5, 2, 3, 7, 1, 3] {
            intent.drain_service(&web, replicas, 0).expect("it is scaled");
            let desired = lower(&intent, &cluster.names()[0]);
            let targets = first_targets(&held, &desired, "10.0.0.2".parse().unwrap());
            let mut counts = BTreeMap::new();
            for (_, target) in targets.iter().filter(|(name, _)| name.starts_with("client.")) {
                *counts.entry(target).or_insert(0) += 1;
            }
            let counts: Vec<usize> = counts.into_values().collect();
            assert_eq!(counts.len(), replicas as usize, "{clients} clients, {replicas} tasks");
            let (most, least) = (counts.iter().max(), counts.iter().min());
            let as_even_as_can_be = most.zip(least).is_some_and(|(most, least)| most - least <= 1);
            assert!(as_even_as_can_be, "{clients} clients, {replicas} tasks: {counts:?}");
            // 24 clients cannot meet 5 or 7 tasks alike.
            let fair = jain(&counts) >= 0.99 || (clients < 100 && clients % replicas > 0);
            assert!(fair, "{clients} clients, {replicas} tasks: {counts:?}");
            held = desired;
            if replicas % 2 == 0 {
                edits::apply(&mut intent, &[Edit::Settle]);
            }
        }
    }
}

/// Whom each sandbox's first connection to a VIP goes to after a plan turned `held` into `desired`: of
/// the real servers that its mark's virtual server was given, the last; or its list's first.
fn first_targets(held: &Node, desired: &Node, vip: Ipv4Addr) -> BTreeMap<String, String> {
    let mut first = BTreeMap::new();
    let mark = |name: &SandboxName| {
        desired.sandboxes.get(name).and_then(|s| s.table.as_ref()?.marks.get(&vip).copied())
    };
    for op in Plan::between(held, desired).ops {
        let mark = mark(&op.sandbox);
        let target = match &op.change {
            Change::Add(Object::RealServer { server: VirtualServerKey::Fwmark(of), key, real })
                if Some(*of) == mark && real.weight > 0 =>
            {
                key.address.to_string()
            }
            Change::Set { to: Object::Dispatch { fwmark, dispatch }, .. }
                if Some(*fwmark) == mark =>
            {
                dispatch.targets[0].to_string()
            }
            _ => continue,
        };
        first.insert(op.sandbox.to_string(), target);
    }
    first
}
