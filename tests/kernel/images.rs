//! Images as an operator brings them: from Debian's registry on loopback, onto a full disk, and under who
//! kills the command.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use swarmlb::kernel::program;
use tempfile::TempDir;

use crate::terminal::AtTerminal;
use crate::world::images::{Image, Tar, digest, gzip, index, layout, write};
use crate::world::{Swarmlb, apart, required, shell, within};

/// `secret`, as htpasswd's bcrypt has it.
const HTPASSWD: &str = "me:$2y$04$1Xa9XOIZrERBkYE084waUO96rY/EisV8oIqpQ3LH7p7rGxzQh0ctG\n";
/// Longer than a registry takes to listen on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Debian's `docker-registry`, as long as this lives.
struct Registry {
    /// HOST:PORT.
    address: String,
    scheme: &'static str,
    child: Child,
    directory: TempDir,
}

#[derive(Default)]
struct Manner<'a> {
    /// Loopback's unless one is given.
    host: Option<&'a str>,
    wants_password: bool,
    /// Certificate and key, in PEM.
    tls: Option<(&'a str, &'a str)>,
}

/// Whether it is installed; a tier that must not be skipped fails without it.
fn is_installed() -> bool {
    let is_there = program::find("docker-registry").is_some();
    if !is_there {
        assert!(!required("registry"), "docker-registry is missing");
        println!("skipped: registry: docker-registry is missing (scripts/setup.sh images)");
    }
    is_there
}

impl Registry {
    fn start(manner: &Manner<'_>) -> Self {
        let directory = TempDir::new_in("/run").expect("a directory");
        let host = manner.host.unwrap_or("127.0.0.1");
        let port = TcpListener::bind((host, 0)).expect("a port").local_addr().expect("it").port();
        let address = format!("{host}:{port}");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path.display().to_string()
        };
        let storage = directory.path().join("storage").display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\n"
        );
        if manner.wants_password {
            let path = file("htpasswd", HTPASSWD);
            config += &format!("auth: {{htpasswd: {{realm: test, path: {path}}}}}\n");
        }
        config += &format!("http:\n  addr: {address}\n");
        if let Some((certificate, key)) = manner.tls {
            let (certificate, key) = (file("cert.pem", certificate), file("key.pem", key));
            config += &format!("  tls: {{certificate: {certificate}, key: {key}}}\n");
        }
        let config = file("config.yml", &config);
        let log = File::create(directory.path().join("log")).expect("a log");
        let mut command = program::command(program::find("docker-registry").expect("it is there"));
        command.args(["serve", &config]).stdout(log.try_clone().expect("a log")).stderr(log);
        // SAFETY: one system call between fork and exec.
        unsafe {
            command.pre_exec(|| {
                Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?)
            });
        }
        let child = command.spawn().expect("it starts");
        let scheme = if manner.tls.is_some() { "https" } else { "http" };
        let registry = Self { address, scheme, child, directory };
        let listens = || std::net::TcpStream::connect(&registry.address).is_ok();
        within("the registry listens", PATIENCE, listens, |listens| *listens);
        registry
    }

    /// `curl` to it, with what it wants to be shown.
    fn curl(&self, words: &str) -> String {
        shell(&format!("curl -sS -k --fail-with-body -u me:secret {words}"))
    }

    fn upload(&self, repository: &str, bytes: &[u8]) {
        let (scheme, address) = (self.scheme, &self.address);
        let base = format!("{scheme}://{address}/v2/{repository}/blobs/uploads/");
        let location = self.curl(&format!("-X POST -o /dev/null -w '%header{{location}}' {base}"));
        let location = location.trim();
        let location = match location.starts_with('/') {
            true => format!("{scheme}://{address}{location}"),
            false => location.to_owned(),
        };
        let join = if location.contains('?') { '&' } else { '?' };
        let path = self.directory.path().join("upload");
        std::fs::write(&path, bytes).expect("a file");
        let (path, name) = (path.display(), digest(bytes));
        self.curl(&format!(
            "-X PUT -H 'Content-Type: application/octet-stream' --data-binary @{path} \
             '{location}{join}digest={name}'"
        ));
    }

    fn put_manifest(&self, repository: &str, kind: &str, bytes: &[u8], tag: &str) {
        let path = self.directory.path().join("upload");
        std::fs::write(&path, bytes).expect("a file");
        let (scheme, address, path) = (self.scheme, &self.address, path.display());
        self.curl(&format!(
            "-X PUT -H 'Content-Type: {kind}' --data-binary @{path} \
             {scheme}://{address}/v2/{repository}/manifests/{tag}"
        ));
    }

    /// Pushes an image, and returns the name by which it is pulled.
    fn push(&self, image: &Image, repository: &str, tag: &str) -> String {
        for (_, packed) in &image.layers {
            self.upload(repository, packed);
        }
        self.upload(repository, &image.config_bytes());
        let kind = crate::world::images::MANIFEST;
        self.put_manifest(repository, kind, &image.manifest_bytes(), tag);
        format!("{}/{repository}:{tag}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The files of this machine that nginx runs from: itself, its libraries, and what these read.
fn nginx() -> Option<Image> {
    let nginx = program::find("nginx")?;
    let told = shell(&format!("ldd {}", nginx.display()));
    let words = told.split_whitespace().filter(|word| word.starts_with('/'));
    let mut paths: BTreeSet<PathBuf> = words.map(PathBuf::from).collect();
    paths.insert(nginx);
    let mut tar = Tar::new().directory("etc", 0o755).directory("tmp", 0o1777);
    tar = tar.file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\nwww-data:x:33:33::/:/bin/false\n");
    tar = tar.file("etc/group", 0o644, b"root:x:0:\nwww-data:x:33:\n");
    for path in paths {
        let bytes = std::fs::read(&path).expect("a file of this machine");
        tar = tar.file(path.to_str()?.trim_start_matches('/'), 0o755, &bytes);
    }
    let settings = b"daemon off; error_log stderr; pid /tmp/pid; events {} http { access_log off; \
        client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; \
        uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e; \
        server { listen 80; location / { return 200 \"nginx of an image\\n\"; } } }";
    let settings = Tar::new().file("etc/nginx/nginx.conf", 0o644, settings).end();
    let image = Image::of([tar.end(), settings]).config(serde_json::json!({
        "Entrypoint": ["/usr/sbin/nginx"], "ExposedPorts": { "80/tcp": {} }, "StopSignal": "SIGQUIT",
    }));
    Some(image)
}

fn small(text: &str) -> Image {
    let layer = Tar::new().directory("etc", 0o755).file("etc/text", 0o644, text.as_bytes());
    Image::of([layer.end()])
}

/// The directories of an image, the topmost first, as a mount wants them.
fn lower(swarmlb: &Swarmlb, image: &str) -> String {
    let detail = swarmlb.json(&format!("image inspect {image}"));
    let layers = detail[0]["layers"].as_array().expect("layers").iter().rev();
    let directory = |layer: &serde_json::Value| {
        let digits = &layer.as_str().expect("a digest")["sha256:".len()..][..24];
        swarmlb.state().join("images/layers").join(digits).display().to_string()
    };
    layers.map(directory).collect::<Vec<_>>().join(":")
}

#[test]
fn debians_nginx_comes_from_debians_registry_and_runs() {
    apart(|| {
        if !is_installed() {
            return;
        }
        let Some(image) = nginx() else {
            assert!(!required("front"), "nginx is missing");
            return println!("skipped: front: nginx is missing");
        };
        let registry = Registry::start(&Manner::default());
        let name = registry.push(&image, "debian/nginx", "1");
        let swarmlb = Swarmlb::new();
        let (out, err) = swarmlb.ending(&format!("image pull {name}"), 0);
        assert_eq!(out, format!("{name}\n"));
        assert_eq!(err.matches("Pull complete").count(), 2, "{err}");
        let (_, again) = swarmlb.ending(&format!("image pull {name}"), 0);
        assert_eq!(again, "Image is up to date\n");
        let listed = swarmlb.good("image ls");
        assert!(listed.contains("debian/nginx") && listed.contains(&image.id()[7..19]), "{listed}");
        let detail = swarmlb.json(&format!("image inspect {name}"));
        assert_eq!(detail[0]["id"], image.id());
        assert_eq!(detail[0]["config"]["StopSignal"], "SIGQUIT");
        // What was kept is a root file system.
        let root = swarmlb.state().join("root");
        std::fs::create_dir(&root).expect("a directory");
        let (lower, root) = (lower(&swarmlb, &name), root.display());
        shell(&format!("mount -t overlay -o ro,lowerdir={lower} overlay {root}"));
        let told = shell(&format!("chroot {root} /usr/sbin/nginx -v 2>&1"));
        shell(&format!("umount {root} && rmdir {root}"));
        assert!(told.starts_with("nginx version: nginx/"), "{told}");
        // By the digest that the registry calls it by.
        let digests = detail[0]["digests"].as_array().expect("digests");
        let by_digest = digests[0].as_str().expect("a name").to_owned();
        swarmlb.good(&format!("image pull -q {by_digest}"));
        let removed = swarmlb.good(&format!("image rm --force {}", &image.id()[7..19]));
        assert_eq!(removed.matches("Untagged: ").count(), 2, "{removed}");
        assert_eq!(removed.matches("Deleted: ").count(), 1, "{removed}");
        swarmlb.reset();
    });
}

#[test]
fn a_list_of_platforms_in_a_registry_is_chosen_from() {
    apart(|| {
        if !is_installed() {
            return;
        }
        let registry = Registry::start(&Manner::default());
        let mine = small("mine");
        let other = Image { architecture: "s390x", ..small("other") };
        registry.push(&mine, "web", "mine");
        registry.push(&other, "web", "other");
        let list = index(&[other.descriptor(None), mine.descriptor(None)]);
        registry.put_manifest("web", crate::world::images::INDEX, &list, "1");
        let swarmlb = Swarmlb::new();
        let name = format!("{}/web:1", registry.address);
        swarmlb.good(&format!("image pull -q {name}"));
        assert_eq!(swarmlb.json(&format!("image inspect {name}"))[0]["id"], mine.id());
        swarmlb.good(&format!("image pull -q --platform linux/s390x {name}"));
        assert_eq!(swarmlb.json(&format!("image inspect {name}"))[0]["id"], other.id());
        // The one that lost its name is there until it is pruned.
        let dangling = swarmlb.good("image ls -q --filter dangling=true");
        assert_eq!(dangling.trim(), &mine.id()[7..19]);
        let pruned = swarmlb.good("image prune --force");
        assert_eq!(pruned, format!("Deleted: {}\n", mine.id()));
        let (_, err) = swarmlb.ending(&format!("image pull --platform linux/riscv64 {name}"), 2);
        assert!(err.contains("is not built for linux/riscv64; there is linux/s390x"), "{err}");
        let unknown = format!("{}/web:2", registry.address);
        let (_, err) = swarmlb.ending(&format!("image pull {unknown}"), 2);
        let said = format!("registry {} has no image `web:2`", registry.address);
        assert!(err.contains(&said), "{err}");
        swarmlb.reset();
    });
}

#[test]
fn a_registry_that_wants_a_password_gets_the_one_of_dockers_file() {
    apart(|| {
        if !is_installed() {
            return;
        }
        let manner = Manner { wants_password: true, ..Manner::default() };
        let registry = Registry::start(&manner);
        let name = registry.push(&small("x"), "web", "1");
        let swarmlb = Swarmlb::new();
        let home = TempDir::new_in("/run").expect("a directory");
        let pull = |text: &str| {
            std::fs::write(home.path().join("config.json"), text).expect("a file");
            let mut command = swarmlb.command(&format!("image pull {name}"));
            let output = command.env("DOCKER_CONFIG", home.path()).output().expect("it runs");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (code, told) = pull("{}");
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains("does not let us in") && told.contains("docker login"), "{told}");
        // base64 of me:secret.
        let auth =
            |auth: &str| format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.address);
        let (code, told) = pull(&auth("bWU6b3RoZXI="));
        assert_eq!(code, Some(2), "{told}");
        let (code, told) = pull(&auth("bWU6c2VjcmV0"));
        assert_eq!(code, Some(0), "{told}");
        assert!(!told.contains("secret"), "{told}");
        swarmlb.good(&format!("image rm {name}"));
        // From a program that keeps them.
        let helper = home.path().join("docker-credential-test");
        let script = "#!/bin/sh\nread -r key; case $key in *:*) echo '{\"Username\":\"me\",\"Secret\":\"secret\"}';; *) echo \"bad key $key\"; exit 1;; esac\n";
        std::fs::write(&helper, script).expect("a file");
        std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).expect("its mode");
        std::fs::write(home.path().join("config.json"), r#"{"credsStore":"test"}"#)
            .expect("a file");
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", home.path().display());
        let mut command = swarmlb.command(&format!("image pull {name}"));
        let output =
            command.env("DOCKER_CONFIG", home.path()).env("PATH", path).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        swarmlb.reset();
    });
}

#[test]
fn a_registry_without_tls_or_certificate_is_asked_only_when_that_was_said() {
    apart(|| {
        if !is_installed() {
            return;
        }
        shell("ip addr add 10.98.0.1/32 dev lo");
        let swarmlb = Swarmlb::new();
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["10.98.0.1".to_owned()];
        let parameters = rcgen::CertificateParams::new(names).expect("a name");
        let certificate = parameters.self_signed(&key).expect("a certificate").pem();
        let pem = key.serialize_pem();
        let host = Some("10.98.0.1");
        for tls in [None, Some((certificate.as_str(), pem.as_str()))] {
            let registry = Registry::start(&Manner { host, tls, ..Manner::default() });
            let name = registry.push(&small("x"), "web", "1");
            let (_, err) = swarmlb.ending(&format!("image pull {name}"), 3);
            let flag = format!("--insecure-registry {}", registry.address);
            assert!(err.contains("cannot be asked") && err.contains(&flag), "{err}");
            for insecure in [registry.address.as_str(), "10.98.0.1", "10.98.0.0/16"] {
                swarmlb.good(&format!("image pull --insecure-registry {insecure} {name}"));
                swarmlb.good(&format!("image rm {name}"));
            }
            if tls.is_some() {
                // Vouched for by who this machine believes.
                let authority = registry.directory.path().join("cert.pem");
                let mut command = swarmlb.command(&format!("image pull {name}"));
                let output = command.env("SSL_CERT_FILE", authority).output().expect("it runs");
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        }
        shell("ip addr del 10.98.0.1/32 dev lo");
        swarmlb.reset();
    });
}

/// Files for a layout in a directory of the test's.
fn laid_out(image: &Image) -> TempDir {
    let directory = TempDir::new_in("/run").expect("a directory");
    write(directory.path(), &layout(&[(image, None)]));
    directory
}

/// What is below a directory of images, but for what is there always.
fn kept(state: &Path) -> Vec<String> {
    let found = shell(&format!("cd {}/images && find . -mindepth 2", state.display()));
    found.lines().filter(|path| !path.ends_with(".lock")).map(str::to_owned).collect()
}

#[test]
fn a_disk_that_fills_up_while_it_unpacks_keeps_nothing_half() {
    apart(|| {
        let disk = TempDir::new_in("/run").expect("a directory");
        let path = disk.path().display().to_string();
        shell(&format!("mount -t tmpfs -o size=6m tmpfs {path}"));
        let swarmlb = Swarmlb::at(&disk.path().join("state"));
        let zeros = Tar::new().file("large", 0o644, &vec![1; 16 << 20]).end();
        let large = laid_out(&Image::of([zeros]));
        let (out, err) = swarmlb.ending(&format!("image pull oci:{}", large.path().display()), 3);
        assert_eq!(out, "");
        let full = "cannot be unpacked: `large`: No space left on device (ENOSPC)\nhint: make room";
        assert!(err.contains(full), "{err}");
        assert_eq!(kept(swarmlb.state()), [""; 0]);
        let used = shell(&format!("du -sk {path}"));
        let used: u64 = used.split_whitespace().next().and_then(|k| k.parse().ok()).expect("kB");
        assert!(used < 200, "{used} kB are left");
        let little = laid_out(&small("x"));
        swarmlb.good(&format!("image pull oci:{}", little.path().display()));
        swarmlb.reset();
        shell(&format!("umount {path}"));
    });
}

#[test]
fn whoever_kills_a_pull_leaves_nothing_that_the_next_does_not_clear() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let image = Image::of([
            Tar::new().file("etc/one", 0o644, b"one").end(),
            Tar::new().file("etc/two", 0o644, b"two").end(),
        ]);
        let held = laid_out(&image);
        let line = format!("image pull oci:{}", held.path().display());
        let points = TempDir::new_in("/run").expect("a directory");
        let mut killed = 0;
        for number in 1.. {
            let _ = std::fs::remove_file(points.path().join("passed"));
            std::fs::write(points.path().join("kill"), format!("command {number}")).expect("order");
            let mut command = swarmlb.command(&line);
            let output =
                command.env("SWARMLB_KILLPOINTS", points.path()).output().expect("it runs");
            if output.status.success() {
                break;
            }
            killed += 1;
            assert_eq!(swarmlb.json("image ls").as_array().map(Vec::len), Some(0));
            swarmlb.good(&line);
            let top = lower(&swarmlb, &format!("oci:{}", held.path().display()));
            for (directory, text) in top.split(':').zip(["two", "one"]) {
                let path = Path::new(directory).join("etc").join(text);
                assert_eq!(std::fs::read_to_string(path).expect("a file"), text);
            }
            let parts = kept(swarmlb.state()).into_iter().filter(|path| path.contains("part"));
            assert_eq!(parts.collect::<Vec<_>>(), [""; 0]);
            swarmlb.good("image prune --all --force");
            assert_eq!(kept(swarmlb.state()), [""; 0]);
        }
        assert!(killed >= 10, "it was killed at {killed} points");
        swarmlb.reset();
    });
}

#[test]
fn the_fields_of_images_are_those_of_the_manual() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let held = laid_out(&small("x"));
        let name = format!("oci:{}", held.path().display());
        swarmlb.good(&format!("image pull {name}"));
        for line in ["image ls".to_owned(), format!("image inspect {name}")] {
            let rows = swarmlb.json(&line);
            let fields: BTreeSet<&str> =
                rows[0].as_object().expect("an object").keys().map(String::as_str).collect();
            let command: Vec<&str> = line.split(' ').take(2).collect();
            let page = swarmlb::cli::manual::page(&command.join(" ")).expect("a page");
            let told: BTreeSet<&str> = page.fields.iter().map(|(name, _)| *name).collect();
            assert_eq!(told, fields, "{line}");
        }
        let mut command = swarmlb.command("image ls --format");
        let output = command.arg("{{.ID}} {{.Size}} {{.CreatedSince}}").output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains(" 1B ") && told.trim_end().ends_with(" ago"), "{told}");
        swarmlb.reset();
    });
}

/// An archive that tries everything at once must not touch this world.
#[test]
fn what_is_malicious_is_refused_as_a_whole() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let layer = Tar::new().file("good", 0o644, b"x").file("../../../run/escaped", 0o644, b"x");
        let held = laid_out(&Image::of([layer.end()]));
        let (_, err) = swarmlb.ending(&format!("image pull oci:{}", held.path().display()), 2);
        let said = "holds `../../../run/escaped`, which leads out of the image";
        assert!(err.contains(said), "{err}");
        assert!(!Path::new("/run/escaped").exists());
        assert_eq!(kept(swarmlb.state()), [""; 0]);
        let mut files: BTreeMap<String, Vec<u8>> = layout(&[(&small("x"), None)]);
        let blob = files.iter_mut().find(|(_, bytes)| bytes.starts_with(&[0x1f, 0x8b]));
        *blob.expect("a layer").1 = gzip(b"something else");
        write(held.path(), &files);
        let (_, err) = swarmlb.ending(&format!("image pull oci:{}", held.path().display()), 2);
        assert!(err.contains("is damaged"), "{err}");
        assert_eq!(kept(swarmlb.state()), [""; 0]);
        swarmlb.reset();
    });
}

#[test]
fn on_a_terminal_layers_have_bars_and_a_prune_asks() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        let held = laid_out(&small("x"));
        let name = format!("oci:{}", held.path().display());
        let at_terminal = |line: &str| {
            let mut command = swarmlb.command(line);
            command.env("TERM", "xterm");
            AtTerminal::start(command)
        };
        let (status, screen) = at_terminal(&format!("image pull {name}")).ended(PATIENCE);
        assert!(status.success(), "{screen}");
        assert!(screen.contains(": Pull complete") && screen.contains("\u{1b}["), "{screen}");
        let answered = |answer: &str| {
            let mut prune = at_terminal("image prune --all");
            prune.press(answer);
            prune.ended(PATIENCE)
        };
        let (status, screen) = answered("n\n");
        assert_eq!(status.code(), Some(1), "{screen}");
        assert!(screen.contains(&format!("This removes 1 image: {name}. Go on?")), "{screen}");
        let (status, screen) = answered("y\n");
        assert!(status.success() && screen.contains("Total reclaimed space: 1B"), "{screen}");
        swarmlb.reset();
    });
}
