//! Which OCI runtimes this machine has, and what they can do.

use std::path::{Path, PathBuf};

use super::program;

/// Those that are looked for, in this order.
pub const KNOWN: [&str; 3] = ["runc", "crun", "youki"];
/// Programs that can be the init of a container, in this order: each needs nothing but itself.
const INITS: [&str; 3] = ["docker-init", "tini-static", "catatonit"];
/// Where Linux tells how system calls can be filtered.
const SECCOMP: &str = "/proc/sys/kernel/seccomp/actions_avail";

/// The runtime of that name or path, or else the first that is there.
///
/// # Errors
/// Why there is none, and how to mend that.
pub fn find(asked: Option<&str>) -> Result<PathBuf, String> {
    match asked {
        Some(path) if path.starts_with('/') => {
            let path = PathBuf::from(path);
            let missing = format!("there is no OCI runtime {} on this node", path.display());
            program::is_executable(&path).then_some(path).ok_or(missing)
        }
        Some(name) => program::find(name)
            .ok_or_else(|| format!("there is no OCI runtime `{name}` on this node: install it")),
        None => KNOWN.iter().find_map(|name| program::find(name)).ok_or_else(|| {
            "there is no OCI runtime on this node: install runc, crun or youki".to_owned()
        }),
    }
}

/// The init of containers that shall have one.
pub fn init() -> Option<PathBuf> {
    INITS.iter().find_map(|name| program::find(name))
}

/// Whether a runtime, and this kernel, can say which system calls a container may make.
pub fn has_seccomp(runtime: &Path) -> bool {
    let said = program::command(runtime).arg("--version").output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    Path::new(SECCOMP).exists() && said.is_ok_and(|text| tells_seccomp(&text))
}

/// From what it says of its version: runc names the library, crun the feature, and youki is always
/// built with it.
fn tells_seccomp(version: &str) -> bool {
    version.contains("libseccomp") || version.contains("+SECCOMP") || version.starts_with("youki")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_tells_by_its_version_whether_it_filters_calls() {
        assert!(tells_seccomp("runc version 1.1.5\nspec: 1.0.2-dev\nlibseccomp: 2.5.4\n"));
        assert!(tells_seccomp("crun version 1.8.1\n+SYSTEMD +SELINUX +CAP +SECCOMP +EBPF\n"));
        assert!(!tells_seccomp("crun version 1.8.1\n+SYSTEMD +SELINUX +CAP -SECCOMP +EBPF\n"));
        assert!(!tells_seccomp("runc version 1.1.5\nspec: 1.0.2-dev\n"));
    }

    #[test]
    fn a_runtime_that_is_not_there_is_told_with_the_cure() {
        let error = find(Some("no-such-runtime")).unwrap_err();
        assert!(error.ends_with("`no-such-runtime` on this node: install it"), "{error}");
        assert!(find(Some("/no/such")).is_err());
        assert_eq!(find(Some("/bin/sh")), Ok("/bin/sh".into()));
    }
}
