//! What a container may ask the kernel for, where the runtime can see to it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::intent::Capability;

const LISTS: &str = include_str!("seccomp.txt");

/// The flags of clone(2) that make namespaces.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// The personalities (personality(2)) that may be taken on: Linux's own, its 32-bit ones, and asking.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Sockets between virtual machines and their host.
const AF_VSOCK: u64 = 40;
const ENOSYS: u32 = 38;

/// The rules for containers that have these capabilities, on a processor by Rust's name of it; none for
/// processors whose calls are not known.
pub fn profile(granted: &BTreeSet<Capability>, processor: &str) -> Option<Value> {
    let architectures: &[&str] = match processor {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "x86" => &["SCMP_ARCH_X86"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "arm" => &["SCMP_ARCH_ARM"],
        "powerpc64" => &["SCMP_ARCH_PPC64LE"],
        "s390x" => &["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
        "riscv64" => &["SCMP_ARCH_RISCV64"],
        _ => return None,
    };
    let rights: BTreeSet<String> = granted.iter().map(|right| right.kernel_name()).collect();
    let is_admin = rights.contains("CAP_SYS_ADMIN");
    let mut rules = vec![allow(&names(&rights, processor), json!([]))];
    for personality in PERSONALITIES {
        rules.push(allow(&["personality"], json!([argument(0, personality, "SCMP_CMP_EQ")])));
    }
    rules.push(allow(&["socket"], json!([argument(0, AF_VSOCK, "SCMP_CMP_NE")])));
    if !is_admin {
        let flags = if processor == "s390x" { 1 } else { 0 };
        let masked = json!([{
            "index": flags, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ",
        }]);
        rules.push(allow(&["clone"], masked));
        // Its flags are in memory, where no filter can look: the C library then takes clone.
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }));
    }
    Some(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": architectures,
        "syscalls": rules,
    }))
}

fn allow(names: &[&str], arguments: Value) -> Value {
    json!({ "names": names, "action": "SCMP_ACT_ALLOW", "args": arguments })
}

fn argument(index: u32, value: u64, op: &str) -> Value {
    json!({ "index": index, "value": value, "op": op })
}

/// What is allowed whatever its arguments.
fn names(rights: &BTreeSet<String>, processor: &str) -> Vec<&'static str> {
    let mut applies = true;
    let mut names = BTreeSet::new();
    for line in LISTS.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(condition) => {
                applies = rights.contains(condition)
                    || condition.strip_prefix("arch:") == Some(processor);
            }
            None if applies => names.extend(line.split_whitespace()),
            None => {}
        }
    }
    names.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::capability::granted;

    fn allowed(add: &[&str], processor: &str) -> BTreeSet<&'static str> {
        let add = add.iter().map(|name| name.parse().unwrap()).collect();
        let rights = granted(&add, &BTreeSet::new());
        let rights = rights.iter().map(|right| right.kernel_name()).collect();
        names(&rights, processor).into_iter().collect()
    }

    #[test]
    fn what_needs_a_right_is_allowed_to_those_who_have_it() {
        let usual = allowed(&[], "x86_64");
        for name in ["execve", "openat2", "chroot", "arch_prctl", "accept4", "clock_gettime"] {
            assert!(usual.contains(name), "{name}");
        }
        for name in [
            "mount",
            "bpf",
            "reboot",
            "clone",
            "unshare",
            "init_module",
            "socket",
            "io_uring_setup",
        ] {
            assert!(!usual.contains(name), "{name}");
        }
        assert!(allowed(&["SYS_ADMIN"], "x86_64").contains("mount"));
        assert!(allowed(&["BPF"], "x86_64").contains("bpf"));
        assert!(!allowed(&[], "aarch64").contains("arch_prctl"));
    }

    #[test]
    fn new_namespaces_are_refused_to_those_who_are_not_admins() {
        let clone = |add: &str| {
            let add = BTreeSet::from([add.parse().unwrap()]);
            let profile = profile(&granted(&add, &BTreeSet::new()), "x86_64").unwrap();
            profile["syscalls"].as_array().unwrap().iter().any(|rule| rule["names"][0] == "clone3")
        };
        assert!(clone("CHOWN"));
        assert!(!clone("SYS_ADMIN"));
        assert_eq!(profile(&BTreeSet::new(), "sparc64"), None);
    }
}
