//! Containers: what is asked for is so in them, what goes wrong stands where it is looked for, and whoever
//! is killed leaves nothing behind.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use swarmlb::kernel::program;
use swarmlb::killpoint::VARIABLE;

use crate::world::images::{Image, digest, layout, write};
use crate::world::registry::{Door, Manners, Registry};
use crate::world::{Swarmlb, apart, required, shell, within};

const SOON: Duration = Duration::from_secs(30);
/// The programs of the image.
const APPLETS: [&str; 16] = [
    "sh", "sleep", "httpd", "cat", "id", "hostname", "ps", "touch", "tail", "wget", "pwd", "echo",
    "env", "grep", "setsid", "true",
];

/// A root file system of busybox with two users; none where this machine has no busybox or no runtime.
fn image() -> Option<PathBuf> {
    for name in ["busybox", "runc"] {
        if program::find(name).is_none() {
            assert!(!required("runtime"), "this test needs {name}");
            println!("skipped: needs runtime ({name})");
            return None;
        }
    }
    let root = PathBuf::from("/run/image");
    for directory in ["bin", "etc", "srv", "tmp"] {
        std::fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    let anybody = std::fs::Permissions::from_mode(0o1777);
    std::fs::set_permissions(root.join("tmp"), anybody).expect("a mode");
    let busybox = program::find("busybox").expect("busybox");
    std::fs::copy(busybox, root.join("bin/busybox")).expect("a copy");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).expect("a link");
    }
    let passwd = "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n";
    std::fs::write(root.join("etc/passwd"), passwd).expect("a file");
    std::fs::write(root.join("etc/group"), "root:x:0:\nwww:x:34:web\n").expect("a file");
    Some(root)
}

/// All of it as a layer of an image.
fn layer(root: &Path) -> Vec<u8> {
    let mut packing = program::command("tar");
    packing.arg("-C").arg(root).args(["-cf", "/run/layer.tar", "."]);
    assert!(packing.status().expect("tar").success());
    std::fs::read("/run/layer.tar").expect("a layer")
}

/// What the program says to a line and to words that may have spaces in them.
fn said(swarmlb: &Swarmlb, line: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let output = swarmlb.command(line).args(words).output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// What a shell in a task says.
fn in_task(swarmlb: &Swarmlb, task: &str, script: &str) -> String {
    let (code, out, err) = said(swarmlb, &format!("task exec {task} sh -c"), &[script]);
    assert_eq!(code, Some(0), "{script}: {out}{err}");
    out
}

/// The control groups of a node's tasks; their names end with the task's id.
fn groups(id: &str) -> Vec<PathBuf> {
    let found = shell(&format!("find /sys/fs/cgroup -name {id} -path '*swarmlb-*'"));
    found.lines().map(PathBuf::from).collect()
}

fn id_of(swarmlb: &Swarmlb, task: &str) -> String {
    let inspected = swarmlb.json(&format!("task inspect {task}"));
    inspected[0]["id"].as_str().expect("an id").to_owned()
}

/// Waits until a service's first task is in a state, and tells what `service ps` says of its error.
fn error_when(swarmlb: &Swarmlb, service: &str, state: &str) -> String {
    let rows = within(
        &format!("{service} is {state}"),
        SOON,
        || swarmlb.json(&format!("service ps {service}")),
        |rows| rows[0]["state"] == state && !rows[0]["error"].is_null(),
    );
    rows[0]["error"].as_str().expect("words").to_owned()
}

#[test]
fn containers_are_balanced_to_and_have_what_was_asked_for() {
    apart(|| {
        let Some(image) = image() else { return };
        let swarmlb = Swarmlb::new();
        std::fs::write("/run/variables", "# none\nCOLOR=red\nSHAPE=round\n").expect("a file");
        std::fs::create_dir("/run/data").expect("a directory");
        std::fs::write("/run/data/page", "from the node").expect("a file");
        swarmlb.good(&format!(
            "service create --name web --replicas 2 --env-file /run/variables -e COLOR=blue --user web \
             --workdir /srv --read-only --mount type=bind,source=/run/data,target=/www,readonly \
             --mount type=tmpfs,target=/scratch,tmpfs-size=1m --cap-drop ALL --limit-memory 64m \
             --limit-cpu 0.5 --limit-pids 20 rootfs:{} httpd -f -p 80 -h /www",
            image.display()
        ));
        let vip = swarmlb.json("service inspect web")[0]["vips"]["default"]["address"].clone();
        let vip = vip.as_str().expect("an address");
        let page = in_task(&swarmlb, "web.1", &format!("wget -qO- http://{vip}/page"));
        assert_eq!(page, "from the node");
        let script = "id; pwd; echo $COLOR $SHAPE $SWARMLB_TASK $HOME; hostname; cat /etc/resolv.conf; \
                      touch /x 2>&1; touch /www/x 2>&1; touch /scratch/x && echo scratched; \
                      grep -E 'CapEff|CapBnd|Seccomp:' /proc/self/status; ps | grep -c httpd";
        let out = in_task(&swarmlb, "web.1", script);
        let id = id_of(&swarmlb, "web.1");
        for line in [
            "uid=33(web) gid=33 groups=34(www)",
            "/srv",
            "blue round web.1 /srv",
            &id[..12],
            "nameserver 127.0.0.11",
            "touch: /x: Read-only file system",
            "touch: /www/x: Read-only file system",
            "scratched",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "Seccomp:\t2",
        ] {
            assert!(out.lines().any(|held| held == line), "`{line}` is missing:\n{out}");
        }
        let limit = |file: &str| {
            let groups = groups(&id);
            let held =
                groups.iter().find_map(|group| std::fs::read_to_string(group.join(file)).ok());
            held.map(|text| text.trim().to_owned())
        };
        let memory = limit("memory.limit_in_bytes").or_else(|| limit("memory.max"));
        assert_eq!(memory.as_deref(), Some("67108864"));
        assert_eq!(limit("pids.max").as_deref(), Some("20"));
        let quota = limit("cpu.cfs_quota_us").or_else(|| limit("cpu.max"));
        assert!(quota.is_some_and(|quota| quota.starts_with("50000")));
        assert!(
            !image.join("x").exists() && !image.join("scratch").exists(),
            "the image is as it was"
        );
        let (code, _, _) = said(&swarmlb, "task exec web.2 sh -c", &["exit 7"]);
        assert_eq!(code, Some(7));
        let (code, _, err) = said(&swarmlb, "task exec web.2 no-such", &[]);
        assert_eq!(code, Some(127), "{err}");
        swarmlb.good("service rm web");
        assert_eq!(groups(&id), Vec::<PathBuf>::new());
        let mounts = shell("cat /proc/self/mountinfo");
        assert!(!mounts.contains("overlay rw,lowerdir=/run/image"), "{mounts}");
        swarmlb.reset();
    });
}

#[test]
fn a_writable_container_begins_anew_each_time_and_what_it_wrote_is_in_its_log() {
    apart(|| {
        let Some(image) = image() else { return };
        let swarmlb = Swarmlb::new();
        let script = "cat /mark 2>/dev/null; echo was here > /mark; echo begun; exec sleep 1000";
        let line = format!(
            "service create --name web --stop-signal KILL rootfs:{} sh -c",
            image.display()
        );
        assert_eq!(said(&swarmlb, &line, &[script]).0, Some(0));
        assert_eq!(in_task(&swarmlb, "web.1", "cat /mark"), "was here\n");
        swarmlb.good("task kill web.1");
        within(
            "it runs again",
            SOON,
            || swarmlb.json("task inspect web.1"),
            |after| after[0]["restarts"] == 1 && after[0]["state"] == "running",
        );
        assert_eq!(swarmlb.good("task logs --raw web.1"), "begun\nbegun\n");
        assert_eq!(error_when(&swarmlb, "web", "running"), "killed by SIGKILL");
        swarmlb.reset();
    });
}

#[test]
fn what_does_not_start_or_stay_says_why_in_service_ps() {
    apart(|| {
        let Some(image) = image() else { return };
        let swarmlb = Swarmlb::new();
        let create = |name: &str, rest: &str, words: &[&str]| {
            let line = format!(
                "service create -d --name {name} {}",
                rest.replace("IMAGE", &format!("rootfs:{}", image.display()))
            );
            let (code, _, err) = said(&swarmlb, &line, words);
            assert_eq!(code, Some(0), "{err}");
        };
        create("missing", "IMAGE no-such-program", &[]);
        create("nobody", "--user nobody IMAGE sleep 9", &[]);
        create("empty", "IMAGE", &[]);
        create("unbound", "--mount type=bind,source=/run/no,target=/x IMAGE sleep 9", &[]);
        create("nowhere", "rootfs:/run/no/image sleep 9", &[]);
        create("greedy", "--limit-memory 16m IMAGE sh -c", &["sleep 1; tail /dev/zero"]);
        create("short", "IMAGE sh -c", &["exit 3"]);
        let error = error_when(&swarmlb, "missing", "rejected");
        assert!(error.contains("no-such-program") && error.contains("not found"), "{error}");
        assert_eq!(
            error_when(&swarmlb, "nobody", "rejected"),
            "there is no user `nobody` in the image"
        );
        assert!(
            error_when(&swarmlb, "empty", "rejected").contains("give a command behind the image")
        );
        let error = error_when(&swarmlb, "unbound", "rejected");
        assert_eq!(error, "/run/no, which shall be mounted, is not on this node");
        let error = error_when(&swarmlb, "nowhere", "rejected");
        assert!(error.contains("/run/no/image"), "{error}");
        assert_eq!(error_when(&swarmlb, "greedy", "failed"), "OOM killed: its limit is 16m");
        assert_eq!(error_when(&swarmlb, "short", "failed"), "exited with code 3");
        let line = format!("service create --runtime no-such-runtime rootfs:{}", image.display());
        let (_, err) = swarmlb.ending(&line, 3);
        assert!(err.contains("no OCI runtime `no-such-runtime` on this node: install it"), "{err}");
        // A command that waits gives up at once, with the same words.
        let line = format!("service create --name late rootfs:{} no-such-program", image.display());
        let (_, err) = swarmlb.ending(&line, 1);
        assert!(err.contains("task late.1 cannot be started: exec: \"no-such-program\""), "{err}");
        // What is mended works: the image is looked for again, and so is the rest.
        std::fs::create_dir_all("/run/no").expect("a directory");
        shell("cp -a /run/image /run/no/image");
        for name in ["nowhere", "unbound"] {
            within(
                "it runs after all",
                SOON,
                || swarmlb.json(&format!("service ps {name}")),
                |rows| rows[0]["state"] == "running",
            );
        }
        swarmlb.reset();
    });
}

#[test]
fn the_health_check_of_an_image_is_made_in_its_containers() {
    apart(|| {
        let Some(root) = image() else { return };
        let image = Image::of([layer(&root)]).config(json!({
            "Entrypoint": ["/bin/httpd", "-f", "-p", "8080", "-h", "/srv"],
            "Env": ["PATH=/bin", "COMPLAINT=/tmp/complaint"],
            "User": "web",
            "WorkingDir": "/srv",
            "Healthcheck": {
                "Test": ["CMD-SHELL", "cat $COMPLAINT; id -un; pwd; ps | grep -c '[h]ttpd -f'; \
                         grep -E 'Seccomp:|CapEff' /proc/self/status; test ! -s $COMPLAINT"],
                "Interval": 200_000_000, "Retries": 2,
            },
        }));
        std::fs::create_dir("/run/layout").expect("a directory");
        write(Path::new("/run/layout"), &layout(&[(&image, Some("v1"))]));
        let swarmlb = Swarmlb::new();
        swarmlb.good("service create --name web --unhealthy-action quiesce oci:/run/layout:v1");
        in_task(&swarmlb, "web.1", "echo the database is away > $COMPLAINT");
        let error = error_when(&swarmlb, "web", "unhealthy");
        assert!(error.contains("the database is away"), "{error}");
        let inspected = swarmlb.json("task inspect web.1");
        let log = inspected[0]["health"]["log"].as_array().expect("checks");
        let output = log.last().expect("a check")["output"].as_str().expect("words").to_owned();
        let expected = "the database is away\nweb\n/srv\n1\nCapEff:\t0000000000000000\nSeccomp:\t2";
        assert!(output.ends_with(expected), "{output}");
        in_task(&swarmlb, "web.1", ": > $COMPLAINT");
        within(
            "it is well again",
            SOON,
            || swarmlb.json("service ps web")[0]["state"].clone(),
            |state| state == "running",
        );
        // What is asked for goes before what the image says.
        swarmlb.good("service update --no-healthcheck web");
        in_task(&swarmlb, "web.1", "echo again > $COMPLAINT");
        let inspected = swarmlb.json("task inspect web.1");
        assert!(inspected[0]["health"].is_null(), "{inspected:#}");
        swarmlb.reset();
    });
}

#[test]
fn of_a_check_that_hangs_forks_or_has_no_program_nothing_is_left_in_the_container() {
    apart(|| {
        let Some(image) = image() else { return };
        let swarmlb = Swarmlb::new();
        let create = "service create --unhealthy-action quiesce --health-start-period 0 \
                      --health-interval 200ms --health-timeout 500ms --health-retries 1 --detach";
        let checked = |name: &str, check: &str| {
            let line = format!("{create} --name {name} --health-cmd");
            let rest = [check, &format!("rootfs:{}", image.display()), "sleep", "1000"];
            let (code, _, err) = said(&swarmlb, &line, &rest);
            assert_eq!(code, Some(0), "{err}");
            error_when(&swarmlb, name, "unhealthy")
        };
        let hung = checked("hung", "(setsid sleep 777 &); sleep 778");
        assert!(hung.contains("not done in time"), "{hung}");
        let none = || shell("pgrep -x -f 'sleep 77[78]' || true").is_empty();
        within("what it left is gone", SOON, none, |none| *none);
        shell(&format!("rm {}/bin/sh", image.display()));
        let without = checked("shellless", "true");
        assert!(without.contains("/bin/sh") && without.contains("no such file"), "{without}");
        swarmlb.reset();
    });
}

#[test]
fn a_tag_is_pinned_to_what_it_means_when_it_is_asked_for() {
    apart(|| {
        let Some(root) = image() else { return };
        let sleeping = |layers: &[Vec<u8>]| {
            let config = json!({ "Entrypoint": ["/bin/sleep", "1000"], "Env": ["PATH=/bin"] });
            Image::of(layers.to_vec()).config(config)
        };
        let base = layer(&root);
        let one = sleeping(&[base]);
        std::fs::write(root.join("srv/two"), "two").expect("a file");
        let two = sleeping(&[layer(&root)]);
        let registry = Registry::new(Manners::default());
        registry.put(&one, "v");
        let name = format!("{}/team/web:v", registry.address);
        let swarmlb = Swarmlb::new();
        let image_of = |service: &str| {
            let inspected = swarmlb.json(&format!("service inspect {service}"));
            inspected[0]["image"].as_str().expect("a name").to_owned()
        };
        let pinned = |image: &Image| format!("{name}@{}", digest(&image.manifest_bytes()));
        swarmlb.good(&format!("image pull {name}"));
        let pulls = || registry.requests().iter().filter(|line| line.contains("/blobs/")).count();
        let pulled = pulls();
        swarmlb.good(&format!("service create --name web --stop-signal KILL {name}"));
        assert_eq!(image_of("web"), pinned(&one));
        assert_eq!(pulls(), pulled, "what was brought by its tag is taken by its digest");
        for rows in [swarmlb.json("service ls"), swarmlb.json("service ps web")] {
            assert_eq!(rows[0]["image"], name, "lists leave the digest out");
        }
        // The tag goes on; the service does not, until it is asked to.
        registry.put(&two, "v");
        swarmlb.good("service update --force web");
        assert_eq!(image_of("web"), pinned(&one));
        let two_is_there = "test -e /srv/two && echo yes || echo no";
        assert_eq!(in_task(&swarmlb, "web.1", two_is_there), "no\n");
        swarmlb.good(&format!("service update --image {name} web"));
        assert_eq!(image_of("web"), pinned(&two));
        assert_eq!(in_task(&swarmlb, "web.1", two_is_there), "yes\n");
        swarmlb.good(&format!(
            "service create --name loose --stop-signal KILL --no-resolve-image {name}"
        ));
        assert_eq!(image_of("loose"), name);
        drop(registry);
        let (_, err) =
            swarmlb.ending(&format!("service create --name late --stop-signal KILL {name}"), 0);
        assert!(err.contains("warning: image ") && err.contains("has no digest recorded"), "{err}");
        assert_eq!(image_of("late"), name, "what is here by its tag is found");
        swarmlb.reset();
    });
}

#[test]
fn an_agent_shows_a_registry_the_password_that_its_machine_has_and_tells_nobody() {
    apart(|| {
        let Some(root) = image() else { return };
        let config = json!({ "Entrypoint": ["/bin/sleep", "1000"], "Env": ["PATH=/bin"] });
        let image = Image::of([layer(&root)]).config(config);
        let door = Door::Basic("anna", "very-secret");
        let registry = Registry::new(Manners { door, ..Manners::default() });
        registry.put(&image, "v");
        // For this world to see only.
        shell("mkdir /run/etc /run/work");
        shell("mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work /etc");
        let swarmlb = Swarmlb::new();
        let name = format!("{}/team/web:v", registry.address);
        let create = "service create --name web --detach --stop-signal KILL";
        let (_, err) = swarmlb.ending(&format!("{create} {name}"), 0);
        assert!(err.contains("has no digest recorded"), "{err}");
        let rows = || swarmlb.json("service ps web");
        within("it is refused", SOON, rows, |rows| !rows[0]["error"].is_null());
        let (address, secret) = (registry.address, "YW5uYTp2ZXJ5LXNlY3JldA==");
        let auths = json!({ "auths": { address.to_string(): { "auth": secret } } });
        std::fs::create_dir_all("/etc/swarmlb").expect("a directory");
        std::fs::write("/etc/swarmlb/docker.json", auths.to_string()).expect("a file");
        let settings = "credentials = \"/etc/swarmlb/docker.json\"\n";
        std::fs::write("/etc/swarmlb/config.toml", settings).expect("a file");
        within("it is let in", SOON, rows, |rows| rows[0]["state"] == "running");
        // A command reads the same file.
        let (_, err) = swarmlb.ending(&format!("service update --image {name} web"), 0);
        assert!(!err.contains("warning"), "{err}");
        let inspected = swarmlb.json("service inspect web").to_string();
        assert!(inspected.contains("team/web:v@sha256:"), "{inspected}");
        let told = shell(
            "grep -rIl -e very-secret -e YW5uYTp2ZXJ5 /run /tmp/swarmlb* 2>/dev/null || true",
        );
        assert_eq!(told.trim(), "/run/etc/swarmlb/docker.json", "and nowhere else");
        swarmlb.reset();
    });
}

#[test]
fn an_update_to_an_image_that_is_nowhere_goes_back() {
    apart(|| {
        let Some(image) = image() else { return };
        let swarmlb = Swarmlb::new();
        swarmlb.good(&format!(
            "service create --name web --replicas 2 --stop-signal KILL --update-failure-action rollback \
             rootfs:{} sleep 1000",
            image.display()
        ));
        let before = ["web.1", "web.2"].map(|task| id_of(&swarmlb, task));
        let (_, err) = swarmlb.ending("service update --image oci:/run/none:v1 web", 1);
        assert!(err.contains("/run/none"), "{err}");
        let named = format!("rootfs:{}", image.display());
        assert_eq!(swarmlb.json("service inspect web")[0]["image"], named.as_str());
        for row in swarmlb.json("service ps web").as_array().expect("rows") {
            assert_eq!((&row["state"], &row["image"]), (&json!("running"), &json!(named)), "{row}");
        }
        let after = ["web.1", "web.2"].map(|task| id_of(&swarmlb, task));
        assert!(before.iter().any(|id| after.contains(id)), "not all were replaced");
        swarmlb.reset();
    });
}

#[test]
fn without_a_runtime_nothing_is_created_and_it_is_said_what_to_install() {
    apart(|| {
        let Some(image) = image() else { return };
        let swarmlb = Swarmlb::new();
        for name in swarmlb::kernel::oci_runtime::KNOWN {
            while let Some(path) = program::find(name) {
                // For this world to see only.
                shell(&format!("mount --bind /dev/null {}", path.display()));
            }
        }
        let (_, err) =
            swarmlb.ending(&format!("service create --name web rootfs:{}", image.display()), 3);
        assert!(err.contains("there is no OCI runtime on this node"), "{err}");
        assert!(err.contains("install runc, crun or youki"), "{err}");
        assert_eq!(swarmlb.json("service ls"), serde_json::json!([]));
        swarmlb.good("service create --name web --stop-signal KILL");
        let (_, err) =
            swarmlb.ending(&format!("service update --image rootfs:{} web", image.display()), 3);
        assert!(err.contains("there is no OCI runtime on this node"), "{err}");
        assert_eq!(swarmlb.json("service inspect web")[0]["image"], "builtin:whoami");
        swarmlb.reset();
    });
}

#[test]
fn what_ignores_its_stop_signal_is_killed_after_its_grace_and_what_heeds_it_is_not() {
    apart(|| {
        let Some(image) = image() else { return };
        let swarmlb = Swarmlb::new();
        let create = |options: &str, script: &str| {
            let line = format!("service create {options} rootfs:{} sh -c", image.display());
            let (code, _, err) = said(&swarmlb, &line, &[script]);
            assert_eq!(code, Some(0), "{err}");
        };
        create("--name deaf --stop-grace-period 2s", "trap '' TERM; while :; do sleep 1; done");
        create(
            "--name polite --stop-signal USR1 --stop-grace-period 60s",
            "trap 'exit 0' USR1; while :; do sleep 0.1; done",
        );
        create("--name stubborn --stop-grace-period 8s", "trap '' TERM; while :; do sleep 1; done");
        create("--name small --init --stop-grace-period 60s", "sleep 1000");
        let took = |service: &str| {
            let begun = Instant::now();
            swarmlb.good(&format!("service rm {service}"));
            begun.elapsed()
        };
        // While one has its grace, the agent sees to others.
        let mut command = swarmlb.command("service scale stubborn=0");
        let mut leaving = command.stdout(Stdio::null()).spawn().expect("the program starts");
        within(
            "it leaves",
            SOON,
            || swarmlb.json("service ps stubborn").to_string(),
            |rows| !rows.contains("running"),
        );
        swarmlb.good("service create --name quick");
        assert!(leaving.try_wait().expect("a child").is_none(), "it waited for another's end");
        assert!(leaving.wait().expect("a child").success());
        assert_eq!(swarmlb.json("service ps stubborn"), json!([]));
        let deaf = took("deaf");
        assert!(deaf >= Duration::from_secs(2) && deaf < Duration::from_secs(8), "{deaf:?}");
        assert!(took("polite") < Duration::from_secs(5));
        assert!(took("small") < Duration::from_secs(5), "its init ends on SIGTERM");
        swarmlb.reset();
    });
}

/// A container of one service, once it runs.
fn one(swarmlb: &Swarmlb, image: &Path) {
    let line = format!(
        "service create --name web --stop-signal KILL rootfs:{} sleep 1000",
        image.display()
    );
    swarmlb.good(&line);
}

#[test]
fn containers_outlive_keeper_and_agent_and_their_ends_are_seen() {
    apart(|| {
        let Some(image) = image() else { return };
        let swarmlb = Swarmlb::new();
        one(&swarmlb, &image);
        let pids = swarmlb.pids("web");
        for role in ["agent", "keeper", "agent"] {
            swarmlb.kill(role);
            swarmlb.whole(SOON);
            assert_eq!(swarmlb.pids("web"), pids, "{role} was killed");
        }
        assert_eq!(in_task(&swarmlb, "web.1", "echo in"), "in\n");
        let id = id_of(&swarmlb, "web.1");
        swarmlb.good("task kill web.1");
        let after = within(
            "it runs again",
            SOON,
            || swarmlb.json("task inspect web.1"),
            |after| after[0]["restarts"] == 1 && after[0]["state"] == "running",
        );
        assert_ne!(after[0]["process"]["pid"], pids[0]);
        swarmlb.good("service rm web");
        assert_eq!(groups(&id), Vec::<PathBuf>::new());
        swarmlb.reset();
    });
}

#[test]
fn a_keeper_that_is_killed_while_a_container_starts_leaves_one_of_it() {
    apart(|| {
        let Some(image) = image() else { return };
        for point in [
            "before: start web.1",
            "the directory of web.1 is made",
            "the process of web.1 has begun",
            "not answered yet: start web.1",
            "the container of web.1 has begun",
        ] {
            let swarmlb = Swarmlb::new();
            let points = swarmlb.state().with_extension("points");
            let _ = std::fs::remove_dir_all(&points);
            std::fs::create_dir_all(&points).expect("a directory");
            std::fs::write(points.join("kill"), format!("keeper {point}")).expect("a file");
            let line = format!(
                "service create --name web --stop-signal KILL rootfs:{} sleep 4321",
                image.display()
            );
            let output = swarmlb.command(&line).env(VARIABLE, &points).output().expect("it starts");
            assert!(points.join("killed").exists(), "`{point}` was not met");
            if !output.status.success() {
                let again = swarmlb.run(&line);
                let said = String::from_utf8_lossy(&again.stderr).into_owned();
                assert!(
                    again.status.success() || said.contains("exists already"),
                    "{point}: {said}"
                );
            }
            within(
                &format!("it runs after a kill at `{point}`"),
                SOON,
                || swarmlb.json("service ps web"),
                |rows| rows[0]["state"] == "running",
            );
            swarmlb.whole(SOON);
            let sleepers =
                || shell("ps -eo args | grep -c '^sleep 4321$' || true").trim().to_owned();
            within("there is one of it", SOON, sleepers, |count| count == "1");
            let id = id_of(&swarmlb, "web.1");
            swarmlb.good("service rm web");
            within("there is none of it", SOON, sleepers, |count| count == "0");
            assert_eq!(groups(&id), Vec::<PathBuf>::new(), "{point}");
            swarmlb.reset();
            std::fs::remove_dir_all(&points).expect("the points go");
        }
    });
}

#[test]
fn other_tasks_obey_what_makes_sense_for_them() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let script = "id -un; pwd; exec sleep 1000";
        let line = "service create --name host --user nobody --workdir /tmp --limit-pids 30 \
                    --limit-memory 64m --stop-signal KILL host sh -c";
        let (code, _, err) = said(&swarmlb, line, &[script]);
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(swarmlb.good("task logs --raw host.1"), "nobody\n/tmp\n");
        let id = id_of(&swarmlb, "host.1");
        assert!(!groups(&id).is_empty());
        let (code, _, err) = said(
            &swarmlb,
            "service create --name deaf --stop-grace-period 1s host sh -c",
            &["trap '' TERM; while :; do sleep 1; done"],
        );
        assert_eq!(code, Some(0), "{err}");
        let begun = Instant::now();
        swarmlb.good("service rm deaf host");
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(7), "{took:?}");
        assert_eq!(groups(&id), Vec::<PathBuf>::new());
        swarmlb.good("service create -d --name lost --user no-such-user host sleep 9");
        let error = error_when(&swarmlb, "lost", "rejected");
        assert_eq!(error, "there is no user `no-such-user` on this machine");
        swarmlb.good("service create -d --name greedy --limit-memory 16m host tail /dev/zero");
        assert_eq!(error_when(&swarmlb, "greedy", "failed"), "OOM killed: its limit is 16m");
        swarmlb.reset();
    });
}
