//! Linux against the rehearsal, for either data plane.

use std::collections::BTreeSet;

use swarmlb::kernel::rehearsal::Rehearsal;
use swarmlb::kernel::{Kernel, Scope};
use swarmlb::node::{Key, Node, Object};
use swarmlb::plan::{Change, Op, Plan};

use super::intents::{Dice, crossing, desired, random_edit, story, with_a_peer};
use super::node::{assert_same, settled};

/// Up and down again for the story and for networks that cross.
pub fn holds_what_is_desired_and_then_nothing() {
    let mut world = settled();
    assert_eq!(world.held, Node::default(), "a world that is not empty");
    for intent in [story(), crossing(), story()] {
        world.become_node(&desired(&intent));
    }
    world.become_node(&Node::default());
}

/// Random edits, one after another.
pub fn follows_random_edits(seed: u64, steps: usize) {
    let mut world = settled();
    let mut dice = Dice(seed);
    let mut intent = with_a_peer(story());
    world.become_node(&desired(&intent));
    for step in 1..=steps {
        let (words, edited) = random_edit(&intent, &mut dice);
        println!("seed {seed:#x}, step {step}: {words}");
        world.become_node(&desired(&edited));
        intent = edited;
    }
    world.become_node(&Node::default());
}

/// Goes through a plan one operation at a time. After each, Linux and the rehearsal hold the same,
/// and neither lets it be done a second time. Only those that are `watched` are looked at, for a
/// look costs. Returns the kinds of operation that were.
pub fn agrees_op_by_op(from: &Node, to: &Node, watched: fn(&Op) -> bool) -> BTreeSet<String> {
    let mut world = settled();
    world.become_node(from);
    let mut rehearsal = Rehearsal::new(world.held.clone());
    let mut kinds = BTreeSet::new();
    for op in &Plan::between(from, to).ops {
        let rehearsed = rehearsal.apply(std::slice::from_ref(op));
        let done = world.kernel.apply(std::slice::from_ref(op));
        assert_eq!(rehearsed, [Ok(())], "the rehearsal refuses {op}");
        assert_eq!(done, [Ok(())], "Linux refuses {op}");
        if !watched(op) {
            continue;
        }
        let observed = world.kernel.observe(&Scope::All).expect("Linux can be read");
        assert_same(&observed, &adjusted(rehearsal.node(), &observed));
        refused_again(&mut world.kernel, &mut rehearsal, op);
        kinds.insert(kind(op));
    }
    let observed = world.kernel.observe(&Scope::All).expect("Linux can be read");
    assert_same(&observed, to);
    kinds
}

/// What was rehearsed, but for what no plan ends with: a bridge that has just lost its last port
/// takes Ethernet's MTU by itself.
fn adjusted(rehearsed: &Node, observed: &Node) -> Node {
    let mut node = rehearsed.clone();
    for (name, sandbox) in &mut node.sandboxes {
        let bare = !sandbox.links.values().any(|link| link.master.is_some());
        let seen = observed.sandboxes.get(name).and_then(|seen| seen.links.get(&"br0".into()));
        if let (true, Some(bridge), Some(seen)) = (bare, sandbox.links.get_mut(&"br0".into()), seen)
        {
            bridge.mtu = seen.mtu;
        }
        // The node's own setting stays as it is, so that only the rehearsal takes it back.
        if let (Some(_), Some(seen)) = (name.guest(), observed.sandboxes.get(name)) {
            sandbox.sysctls = seen.sysctls.clone();
        }
    }
    node
}

/// What is there cannot be made again, and what is gone cannot be removed again. Linux does not
/// refuse what is made by setting a value, nor rules, which replace what may be left of themselves.
fn refused_again(kernel: &mut dyn Kernel, rehearsal: &mut Rehearsal, op: &Op) {
    let by_value = matches!(
        op.change,
        Change::Add(Object::Sysctl { .. } | Object::BaseRule(_) | Object::Dispatch { .. })
            | Change::Del(Object::Sysctl { .. })
    ) || matches!(op.object().key(), Key::Link(name) if name.as_str() == "lo");
    if by_value || matches!(op.change, Change::Set { .. }) {
        return;
    }
    let rehearsed = rehearsal.apply(std::slice::from_ref(op));
    let done = kernel.apply(std::slice::from_ref(op));
    assert!(rehearsed[0].is_err(), "the rehearsal does twice: {op}");
    assert!(done[0].is_err(), "Linux does twice: {op}");
}

/// `Add Mark`, `Del Link` …
fn kind(op: &Op) -> String {
    let word = |object: &Object| {
        let text = format!("{object:?}");
        text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
    };
    match &op.change {
        Change::Add(object) => format!("Add {}", word(object)),
        Change::Del(object) => format!("Del {}", word(object)),
        Change::Set { to, .. } => format!("Set {}", word(to)),
    }
}
