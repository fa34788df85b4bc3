//! IPVS as a real kernel has it: runs in the virtual machine, one test after another.
//!
//! Emulation is slow, so each test makes one set-up and looks at it from several sides.

mod balance;
mod clock;
#[path = "../kernel/connected.rs"]
mod connected;
mod encryption;
mod examples;
mod foreign;
mod health;
mod ipvsadm;
mod listing;
#[path = "../kernel/lossless.rs"]
mod lossless;
mod mesh;
mod recording;
mod schedulers;
mod state;
mod survival;
#[path = "../kernel/weights.rs"]
mod weights;

#[allow(dead_code, unused_imports, reason = "each tier uses its part of the world")]
#[path = "../world/mod.rs"]
mod world;

#[allow(dead_code, reason = "each tier uses its part of the recordings")]
#[path = "../recorded/mod.rs"]
mod recorded;

use with_ipvs as in_place;

/// Runs a test where there is IPVS: in the virtual machine.
fn with_ipvs(test: impl FnOnce()) {
    if world::in_vm() {
        assert!(swarmlb::agent::has_ipvs(), "the virtual machine's kernel has no ip_vs");
        world::apart(test);
        return;
    }
    assert!(!world::required("vm"), "this test needs the vm: no ip_vs in this kernel");
    println!("skipped: no ip_vs in this kernel, needs the vm");
}
