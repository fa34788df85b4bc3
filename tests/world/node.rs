//! What Linux holds against what it shall hold.

use swarmlb::kernel::linux::{Linux, NoProcesses};
use swarmlb::kernel::{Kernel, Scope, carry_out};
use swarmlb::node::Node;
use swarmlb::plan::Plan;

/// A node on which plans are carried out by hand.
pub struct Settled {
    pub kernel: Linux<NoProcesses>,
    pub held: Node,
}

/// Linux as it is now.
pub fn settled() -> Settled {
    let mut kernel = Linux::new(NoProcesses);
    let held = kernel.observe(&Scope::All).expect("Linux can be read");
    Settled { kernel, held }
}

impl Settled {
    /// Makes Linux hold `desired`, and sees that it does: observed anew, by what was opened before
    /// and by what is opened now.
    pub fn become_node(&mut self, desired: &Node) {
        let plan = Plan::between(&self.held, desired);
        let held = carry_out(&mut self.kernel, self.held.clone(), &plan)
            .unwrap_or_else(|refused| panic!("refused: {} ({refused:?})", refused.op));
        let observed = self.kernel.observe(&Scope::All).expect("Linux can be read");
        assert_same(&observed, desired);
        assert_same(&held, desired);
        let fresh = Linux::new(NoProcesses).observe(&Scope::All).expect("Linux can be read");
        assert_eq!(observed, fresh);
        let again = Plan::between(&observed, desired);
        assert!(again.is_empty(), "still to do: {:?}", again.ops);
        self.held = observed;
    }
}

/// Equal, or the first differences in the words of a plan.
pub fn assert_same(observed: &Node, desired: &Node) {
    let plan = Plan::between(observed, desired);
    let lines: Vec<String> = plan.ops.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "observed differs from desired:\n{}", lines.join("\n"));
    for (name, sandbox) in &desired.sandboxes {
        assert_eq!(observed.sandboxes.get(name), Some(sandbox), "sandbox {name}");
    }
    let names = |node: &Node| node.sandboxes.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(observed), names(desired));
}

/// A node's kernel objects: without the processes, which a keeper holds.
#[must_use]
pub fn without_processes(mut node: Node) -> Node {
    for sandbox in node.sandboxes.values_mut() {
        sandbox.process = None;
    }
    node
}
