//! Encrypted networks on any kernel: what needs no ESP (rules and policies), and what is said where
//! there is none. What is sent is proven in the virtual machine (`tests/ipvs/encryption.rs`).

use std::os::unix::fs::PermissionsExt;

use swarmlb::intent::{ClusterId, Spi, Vni};
use swarmlb::kernel::linux::{Linux, NoProcesses};
use swarmlb::kernel::{Kernel, Scope, xfrm};
use swarmlb::node::encryption::{Carrier, ENCRYPTION_MARK, Form, Reqid};
use swarmlb::node::{BaseRule, Object, Sandbox, SandboxName, SecurityPolicy};
use swarmlb::plan::{Change, Op};

use crate::world::{Swarmlb, apart, shell};

fn home() -> SandboxName {
    SandboxName::of_node(&ClusterId("c1".into()))
}

fn op(change: Change) -> Op {
    Op { sandbox: home(), change }
}

fn held() -> Sandbox {
    let scope = Scope::Only(vec![home()]);
    let mut node = Linux::new(NoProcesses).observe(&scope).expect("it can be read");
    node.sandboxes.remove(&home()).unwrap_or_default()
}

fn done(op: &Op) {
    assert_eq!(Linux::new(NoProcesses).apply(std::slice::from_ref(op)), [Ok(())], "{op}");
}

fn rules() -> Vec<Object> {
    let carrier = |vni| Carrier { port: 4789, vni: Vni(vni) };
    let rules = [4097, 0xff_ffff].map(|vni| BaseRule::of_encryption(carrier(vni)));
    [Object::Table].into_iter().chain(rules.concat().into_iter().map(Object::BaseRule)).collect()
}

#[test]
fn rules_are_the_same_done_and_typed_and_are_known_again() {
    apart(|| {
        let objects = rules();
        let adds: Vec<Op> = objects.iter().map(|o| op(Change::Add(o.clone()))).collect();
        let dels: Vec<Op> = adds.iter().rev().map(Op::inverse).collect();
        let listed = || shell("nft list ruleset");
        adds.iter().for_each(done);
        let (by_netlink, held_then) = (listed(), held());
        let rules = held_then.table.clone().expect("the table").rules;
        assert_eq!(rules.len(), objects.len() - 1, "{rules:?}");
        assert!(rules.iter().all(|rule| objects.contains(&Object::BaseRule(*rule))));
        dels.iter().for_each(done);
        assert_eq!((listed(), held()), (String::new(), Sandbox::default()));
        for op in &adds {
            shell(&op.to_string());
        }
        assert_eq!((listed(), held()), (by_netlink, held_then));
        for op in &dels {
            shell(&op.to_string());
        }
        assert_eq!(listed(), "");
    });
}

#[test]
fn a_rule_that_somebody_changed_is_not_ours_any_more() {
    apart(|| {
        rules().into_iter().for_each(|object| done(&op(Change::Add(object))));
        let whole = held();
        for (harm, chain) in [
            ("nft add rule ip swarmlb-c1 esp-in-4097 accept", "esp-in-4097"),
            ("nft insert rule ip swarmlb-c1 esp-out-4097 accept", "esp-out-4097"),
            ("nft flush chain ip swarmlb-c1 esp-mark-4097", "esp-mark-4097"),
        ] {
            shell(harm);
            let rules = held().table.expect("the table").rules;
            let stands = |rule: &BaseRule| rule.chains().iter().any(|name| *name == chain);
            assert!(!rules.iter().any(stands), "{harm}");
        }
        for rule in BaseRule::of_encryption(Carrier { port: 4789, vni: Vni(4097) }) {
            done(&op(Change::Add(Object::BaseRule(rule))));
        }
        assert_eq!(held(), whole);
        shell("nft delete table ip swarmlb-c1");
    });
}

fn policy(last: u8, spi: u32) -> SecurityPolicy {
    SecurityPolicy {
        source: [192, 0, 2, 1].into(),
        destination: [192, 0, 2, last].into(),
        port: 4789,
        mark: ENCRYPTION_MARK,
        spi: Spi(spi),
        reqid: Reqid::of(&ClusterId("c1".into())),
        form: Form::Ours,
    }
}

#[test]
fn policies_are_made_changed_and_removed_and_those_of_others_are_left_alone() {
    apart(|| {
        shell(
            "ip xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out tmpl src 192.0.2.1 dst \
             192.0.2.9 proto esp reqid 1 mode tunnel",
        );
        let others = shell("ip xfrm policy");
        let (first, second, changed) =
            (policy(2, 0x5a00_0001), policy(3, 0x5a00_0002), policy(2, 0x5a00_0003));
        done(&op(Change::Add(Object::Policy(Box::new(first.clone())))));
        done(&op(Change::Add(Object::Policy(Box::new(second.clone())))));
        assert_eq!(held().policies, [first.clone(), second.clone()].into());
        let again = Linux::new(NoProcesses)
            .apply(&[op(Change::Add(Object::Policy(Box::new(first.clone()))))]);
        assert!(again[0].is_err());
        done(&op(Change::Set {
            from: Object::Policy(Box::new(first)),
            to: Object::Policy(Box::new(changed.clone())),
        }));
        assert_eq!(held().policies, [changed.clone(), second.clone()].into());
        done(&op(Change::Del(Object::Policy(Box::new(changed)))));
        done(&op(Change::Del(Object::Policy(Box::new(second)))));
        assert_eq!(held(), Sandbox::default());
        assert_eq!(shell("ip xfrm policy"), others);
        shell("ip xfrm policy flush");
    });
}

#[test]
fn without_esp_an_encrypted_network_is_refused_and_says_why() {
    apart(|| {
        let Err(refusal) = xfrm::can_encrypt() else {
            println!("skipped: this kernel has ESP, needs one without");
            return;
        };
        let swarmlb = Swarmlb::new();
        for line in [
            "network create -o encrypted --internal blue",
            "network create --opt encrypted --internal blue --dry-run",
        ] {
            let (out, error) = swarmlb.ending(line, 3);
            assert_eq!(out, "");
            assert!(error.contains("cannot encrypt: this kernel has no"), "{refusal}: {error}");
            assert!(error.contains("hint: see `swarmlb system info`"), "{error}");
        }
        swarmlb.good("network create --internal plain");
        // The agent found the same.
        let (_, error) = swarmlb.ending("network create -o encrypted --internal blue", 3);
        assert!(error.contains("cannot encrypt: this kernel has no"), "{error}");
        let (_, error) = swarmlb.ending("network rotate-keys plain", 2);
        assert!(error.contains("network `plain` is not encrypted"), "{error}");
        let mode =
            std::fs::metadata(swarmlb.state().join("node.key")).expect("a key").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let inspected = swarmlb.json("network inspect plain");
        assert_eq!(inspected[0]["encrypted"], false);
        swarmlb.reset();
    });
}
