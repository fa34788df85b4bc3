//! A container as the OCI runtime specification has it: its `config.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thiserror::Error;

use super::accounts::{Account, AccountError, Accounts};
use super::seccomp;
use crate::image::ImageConfig;
use crate::intent::capability::granted;
use crate::intent::mount::Source;
use crate::intent::{Limits, Mount};
use crate::node::Process;
use crate::node::process::Container;

/// The version of the specification, which all of runc 1.0, crun and youki read.
const VERSION: &str = "1.0.2";
/// Where programs are looked for when the image does not say, as in Docker.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How many files a task may open, and how many it may raise that to: what systemd gives services.
const FILES: (u64, u64) = (1024, 524_288);
/// How many letters of its task's id a container is called by, as Docker's are.
const HOSTNAME: usize = 12;
/// Of how many microseconds a quota of processors is.
const PERIOD: u64 = 100_000;
/// Where the init of a container is in it.
const INIT: &str = "/sbin/docker-init";

/// What of the node's kernel a task must not see, and what it must not write: Docker's lists.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a container's configuration follows from.
#[derive(Debug, Clone, Copy)]
pub struct Outline<'a> {
    pub process: &'a Process,
    pub container: &'a Container,
    pub image: &'a ImageConfig,
    pub accounts: &'a Accounts,
    pub place: &'a Place,
    pub facilities: Facilities,
}

/// Where what belongs to it is on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its sandbox's network namespace.
    pub network: PathBuf,
    /// What has its `hostname`, `hosts` and `resolv.conf`.
    pub directory: PathBuf,
    /// Its control group, below the roots of the hierarchies.
    pub group: String,
    /// The program that is the init of those that shall have one.
    pub init: Option<PathBuf>,
}

/// What the node has for containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facilities {
    /// Whether control groups are of version 2, where a container sees its own as the root.
    pub unified: bool,
    /// Whether runtime and kernel can say which system calls are allowed.
    pub seccomp: bool,
    /// Rust's name of the processor.
    pub processor: &'static str,
    /// How many files a container may be let open.
    pub most_files: u64,
}

/// What no container can be made from.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    #[error("neither the image nor the service says what to run: give a command behind the image")]
    NoCommand,
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error("`--init` needs docker-init, tini-static or catatonit on PATH, and this node has none")]
    NoInit,
}

/// The whole of it.
///
/// # Errors
/// When there is nothing to run, nobody to run it as, or no init though one shall be.
pub fn config(outline: &Outline<'_>) -> Result<Value, ConfigError> {
    let Outline { process, image, accounts, facilities, .. } = *outline;
    let setup = &process.setup;
    let user = setup.user.as_ref().map_or(image.user.as_str(), |user| user.as_str());
    let account = accounts.find(user, "in the image")?;
    let rights = granted(&setup.cap_add, &setup.cap_drop);
    let names: Vec<String> = rights.iter().map(|right| right.kernel_name()).collect();
    // Who is not root has no right until a program gives it one, as execve(2) has it.
    let effective: &[String] = if account.uid == 0 { &names } else { &[] };
    let seccomp = match facilities.seccomp {
        true => seccomp::profile(&rights, facilities.processor),
        false => None,
    };
    let mut linux = json!({
        "cgroupsPath": format!("/{}", outline.place.group),
        "maskedPaths": MASKED,
        "readonlyPaths": READ_ONLY,
        "namespaces": namespaces(outline),
        "resources": resources(&setup.limits),
        // As in Docker: the sandbox is the task's alone, so its ports are too.
        "sysctl": {
            "net.ipv4.ip_unprivileged_port_start": "0",
            "net.ipv4.ping_group_range": "0 2147483647",
        },
    });
    if let Some(seccomp) = seccomp {
        linux["seccomp"] = seccomp;
    }
    Ok(json!({
        "ociVersion": VERSION,
        "hostname": hostname(process),
        "root": { "path": "rootfs", "readonly": setup.read_only },
        "process": {
            "terminal": false,
            "user": { "uid": account.uid, "gid": account.gid, "additionalGids": account.groups },
            "args": arguments(outline)?,
            "env": environment(outline, &account),
            "cwd": workdir(outline),
            "capabilities": {
                "bounding": names, "effective": effective, "permitted": effective,
            },
            "rlimits": [{
                "type": "RLIMIT_NOFILE",
                "soft": FILES.0.min(facilities.most_files),
                "hard": FILES.1.min(facilities.most_files),
            }],
            "noNewPrivileges": false,
        },
        "mounts": mounts(outline)?,
        "linux": linux,
    }))
}

/// What `hostname` says in a container.
pub fn hostname(process: &Process) -> &str {
    let id = process.task.get(..HOSTNAME).unwrap_or(&process.task);
    process.hostname.as_deref().unwrap_or(id)
}

/// Its /etc/hosts.
pub fn hosts(process: &Process, container: &Container) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    if let Some(address) = container.address {
        text.push_str(&format!("{address}\t{}\n", hostname(process)));
    }
    text
}

fn arguments(outline: &Outline<'_>) -> Result<Vec<String>, ConfigError> {
    let Outline { process, container, image, .. } = *outline;
    let (entrypoint, rest) = match &process.setup.entrypoint {
        Some(entrypoint) => (entrypoint, &container.command),
        None if container.command.is_empty() => (&image.entrypoint, &image.cmd),
        None => (&image.entrypoint, &container.command),
    };
    let words: Vec<String> = entrypoint.iter().chain(rest).cloned().collect();
    if words.is_empty() {
        return Err(ConfigError::NoCommand);
    }
    let init = process.setup.init.then(|| [INIT.to_owned(), "--".to_owned()]);
    Ok(init.into_iter().flatten().chain(words).collect())
}

/// The image's variables, then the service's and the task's own; what programs rely on is there anyhow.
fn environment(outline: &Outline<'_>, account: &Account) -> Vec<String> {
    let Outline { process, image, .. } = *outline;
    let mut variables = BTreeMap::from([
        ("PATH", PATH),
        ("HOSTNAME", hostname(process)),
        ("HOME", account.home.as_str()),
    ]);
    variables.extend(image.env.iter().filter_map(|text| text.split_once('=')));
    variables.extend(process.environment.iter().map(|(name, value)| (&**name, &**value)));
    variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn workdir(outline: &Outline<'_>) -> PathBuf {
    let image = Path::new(&outline.image.working_dir);
    Path::new("/").join(outline.process.setup.workdir.as_deref().unwrap_or(image))
}

fn namespaces(outline: &Outline<'_>) -> Value {
    let mut namespaces = vec![
        json!({ "type": "network", "path": outline.place.network }),
        json!({ "type": "pid" }),
        json!({ "type": "ipc" }),
        json!({ "type": "uts" }),
        json!({ "type": "mount" }),
    ];
    if outline.facilities.unified {
        namespaces.push(json!({ "type": "cgroup" }));
    }
    Value::Array(namespaces)
}

/// Limits, and that no device may be used but those that every container has, which the runtime adds.
fn resources(limits: &Limits) -> Value {
    let mut resources = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    if let Some(memory) = limits.memory {
        resources["memory"] = json!({ "limit": memory.0 });
    }
    if let Some(cpu) = limits.cpu {
        resources["cpu"] = json!({ "quota": cpu.quota(), "period": PERIOD });
    }
    if let Some(pids) = limits.pids {
        resources["pids"] = json!({ "limit": pids });
    }
    resources
}

fn mounts(outline: &Outline<'_>) -> Result<Vec<Value>, ConfigError> {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ];
    for name in ["hostname", "hosts", "resolv.conf"] {
        let source = outline.place.directory.join(name);
        mounts.push(bound(&source, &Path::new("/etc").join(name), false));
    }
    if outline.process.setup.init {
        let init = outline.place.init.as_ref().ok_or(ConfigError::NoInit)?;
        mounts.push(bound(init, Path::new(INIT), true));
    }
    let mut asked: Vec<&Mount> = outline.process.setup.mounts.iter().collect();
    // What is mounted below another comes after it.
    asked.sort_by_key(|mount| mount.target.components().count());
    mounts.extend(asked.into_iter().map(asked_for));
    Ok(mounts)
}

fn bound(source: &Path, target: &Path, read_only: bool) -> Value {
    let access = if read_only { "ro" } else { "rw" };
    json!({
        "destination": target, "type": "bind", "source": source,
        "options": ["rbind", "rprivate", access],
    })
}

fn asked_for(mount: &Mount) -> Value {
    match &mount.source {
        Source::Bind(source) => bound(source, &mount.target, mount.read_only),
        Source::Tmpfs { size, mode } => {
            let mut options: Vec<String> =
                ["nosuid", "nodev", "noexec"].into_iter().map(str::to_owned).collect();
            options.push(if mount.read_only { "ro" } else { "rw" }.into());
            options.push(format!("mode={:o}", mode.unwrap_or(0o1777)));
            options.extend(size.map(|size| format!("size={}", size.0)));
            json!({
                "destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::Setup;
    use crate::node::process::Program;

    const FACILITIES: Facilities =
        Facilities { unified: true, seccomp: false, processor: "x86_64", most_files: 1 << 20 };

    struct Scene {
        process: Process,
        container: Container,
        image: ImageConfig,
        place: Place,
        facilities: Facilities,
    }

    impl Scene {
        fn new() -> Self {
            let container = Container {
                image: "nginx".parse().unwrap(),
                command: Vec::new(),
                address: Some([10, 0, 3, 4].into()),
            };
            let process = Process {
                task: "abcdefghijklmnopqrstuvwxy".into(),
                program: Program::Container(container.clone()),
                environment: vec![("SWARMLB_TASK".into(), "web.1".into())],
                hostname: None,
                log: crate::intent::LogLimits::default(),
                setup: Setup::default(),
            };
            let image = ImageConfig {
                entrypoint: vec!["/entry.sh".into()],
                cmd: vec!["nginx".into(), "-g".into(), "daemon off;".into()],
                env: vec!["PATH=/bin".into(), "NGINX_VERSION=1".into()],
                ..ImageConfig::default()
            };
            let place = Place {
                network: "/run/netns/web.1".into(),
                directory: "/var/lib/swarmlb/tasks/web.1".into(),
                group: "swarmlb-c1/abc".into(),
                init: None,
            };
            Self { process, container, image, place, facilities: FACILITIES }
        }

        fn config(&self) -> Result<Value, ConfigError> {
            let accounts = Accounts {
                passwd: "root:x:0:0::/root:\nweb:x:33:33::/srv:\n".into(),
                group: "www:x:34:web\n".into(),
            };
            config(&Outline {
                process: &self.process,
                container: &self.container,
                image: &self.image,
                accounts: &accounts,
                place: &self.place,
                facilities: self.facilities,
            })
        }
    }

    #[test]
    fn a_container_of_an_image_with_everything_as_usual() {
        let config = Scene::new().config().unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&config).unwrap());
    }

    #[test]
    fn a_container_with_everything_said() {
        let mut scene = Scene::new();
        scene.process.hostname = Some("inner".into());
        scene.process.setup = serde_json::from_value(json!({
            "user": "web", "workdir": "/srv/x", "entrypoint": ["/bin/sh", "-c"], "read_only": true,
            "mounts": ["type=tmpfs,target=/a/b,tmpfs-size=1m", "type=bind,source=/srv,target=/a,readonly"],
            "cap_add": ["NET_ADMIN"], "cap_drop": ["ALL"], "init": true,
            "limits": { "cpu": "0.5", "memory": "64m", "pids": 10 },
        }))
        .unwrap();
        scene.container.command = vec!["exec top".into()];
        scene.place.init = Some("/usr/bin/catatonit".into());
        scene.facilities.unified = false;
        let config = scene.config().unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&config).unwrap());
    }

    #[test]
    fn a_command_takes_the_place_of_the_images_and_an_entrypoint_of_both() {
        let mut scene = Scene::new();
        let mut args = |entrypoint: Option<&[&str]>, command: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            scene.process.setup.entrypoint = entrypoint.map(owned);
            scene.container.command = owned(command);
            scene.config().map(|config| config["process"]["args"].to_string())
        };
        assert_eq!(args(None, &["top"]).unwrap(), r#"["/entry.sh","top"]"#);
        assert_eq!(args(Some(&["/x"]), &[]).unwrap(), r#"["/x"]"#);
        assert_eq!(args(Some(&[]), &["top", "-b"]).unwrap(), r#"["top","-b"]"#);
        assert_eq!(args(Some(&[]), &[]), Err(ConfigError::NoCommand));
    }

    #[test]
    fn the_image_says_where_and_as_whom_unless_the_service_does() {
        let mut scene = Scene::new();
        scene.image.user = "web".into();
        scene.image.working_dir = "srv".into();
        let config = scene.config().unwrap();
        assert_eq!(
            (&config["process"]["user"]["uid"], &config["process"]["cwd"]),
            (&json!(33), &json!("/srv"))
        );
        scene.process.setup.user = Some("nobody".parse().unwrap());
        let error = scene.config().unwrap_err().to_string();
        assert_eq!(error, "there is no user `nobody` in the image");
        scene.process.setup.user = Some("7:8".parse().unwrap());
        scene.process.setup.init = true;
        assert_eq!(scene.config(), Err(ConfigError::NoInit));
    }

    #[test]
    fn calls_are_filtered_where_runtime_and_kernel_can() {
        let mut scene = Scene::new();
        scene.facilities.seccomp = true;
        let config = scene.config().unwrap();
        assert_eq!(config["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
        scene.facilities.processor = "sparc64";
        assert_eq!(scene.config().unwrap()["linux"].get("seccomp"), None);
    }
}
