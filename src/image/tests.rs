//! Images of every form come here whole, or not at all.

#[path = "../../tests/world/images.rs"]
mod images;
#[path = "../../tests/world/registry.rs"]
mod registry;

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Mutex;

use images as made;
use images::{Image, Tar, archive, docker_archive, gzip, index, layout, write, zstd};
use registry::{Door, Manners, Registry};
use tar::{EntryType, Header};
use tempfile::TempDir;

use super::*;
use crate::state_dir::StateDir;

/// A state directory, and one for what images come from.
struct World {
    state: TempDir,
    files: TempDir,
}

impl World {
    fn new() -> Self {
        let new = || TempDir::new().unwrap();
        Self { state: new(), files: new() }
    }

    fn store(&self) -> Store {
        Store::open(&StateDir::new(self.state.path()).unwrap()).unwrap()
    }

    fn layout(&self, files: &BTreeMap<String, Vec<u8>>) {
        write(&self.files.path().join("web"), files);
    }

    fn reference(&self, text: &str) -> Reference {
        text.parse::<Reference>().unwrap().below(self.files.path())
    }

    fn pull(&self, text: &str) -> Result<Digest, ImageError> {
        self.store().pull(&self.reference(text), &PullOptions::default(), &Silent)
    }

    /// Pulls an image of one layer, and gives what is wrong with it.
    fn refused(&self, layer: Vec<u8>) -> String {
        self.layout(&layout(&[(&Image::of([layer]), None)]));
        let refused = self.pull("oci:web").unwrap_err().to_string();
        self.is_empty();
        refused
    }

    /// The directory of an image of one layer.
    fn unpacked(&self, layer: Vec<u8>) -> std::path::PathBuf {
        self.layout(&layout(&[(&Image::of([layer]), None)]));
        let id = self.pull("oci:web").unwrap();
        self.store().prepare(&id).unwrap().lower_dirs.remove(0)
    }

    /// Nothing is kept, and nothing half is left.
    #[track_caller]
    fn is_empty(&self) {
        let store = self.store();
        assert_eq!(store.index().unwrap().images.len(), 0);
        for directory in ["layers", "blobs"] {
            let path = self.state.path().join("images").join(directory);
            let left = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
            let left: Vec<_> =
                left.filter(|name| !name.to_string_lossy().ends_with(".lock")).collect();
            assert!(left.is_empty(), "{directory}: {left:?}");
        }
    }
}

/// Where only root may do what a test does.
fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: root is needed to make devices and to set owners");
    }
    is_root
}

fn small(text: &str) -> Vec<u8> {
    Tar::new().directory("etc", 0o755).file("etc/text", 0o644, text.as_bytes()).end()
}

fn text_of(store: &Store, id: &Digest) -> String {
    let top = &store.prepare(id).unwrap().lower_dirs[0];
    std::fs::read_to_string(top.join("etc/text")).unwrap()
}

#[test]
fn every_form_gives_the_same_image() {
    let world = World::new();
    let image = Image::of([small("below"), small("above")])
        .config(serde_json::json!({ "Cmd": ["serve"], "Env": ["A=1"] }));
    let files = layout(&[(&image, Some("v1"))]);
    world.layout(&files);
    let bytes = archive(&files);
    for (name, bytes) in [
        ("plain.tar", bytes.clone()),
        ("gzip.tar", gzip(&bytes)),
        ("zstd.tar", zstd(&bytes)),
        ("docker.tar", docker_archive(&[(&image, "web:v1")])),
        ("docker.tar.gz", gzip(&docker_archive(&[(&image, "web:v1")]))),
    ] {
        std::fs::write(world.files.path().join(name), bytes).unwrap();
    }
    for reference in [
        "oci:web",
        "oci:web:v1",
        "oci-archive:plain.tar:v1",
        "oci-archive:gzip.tar",
        "oci-archive:zstd.tar",
        "docker-archive:docker.tar",
        "docker-archive:docker.tar:v1",
        "docker-archive:docker.tar.gz",
    ] {
        let state = TempDir::new().unwrap();
        let store = Store::open(&StateDir::new(state.path()).unwrap()).unwrap();
        let pulled = store.pull(&world.reference(reference), &PullOptions::default(), &Silent);
        let id = pulled.unwrap_or_else(|error| panic!("{reference}: {error}"));
        assert_eq!(id.as_str(), image.id());
        assert_eq!(text_of(&store, &id), "above");
        let prepared = store.prepare(&id).unwrap();
        assert_eq!(prepared.lower_dirs.len(), 2);
        assert_eq!(
            (prepared.config.cmd, prepared.config.env),
            (vec!["serve".into()], vec!["A=1".into()])
        );
        let left = std::fs::read_dir(state.path().join("images")).unwrap();
        let left = left.filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("part-")
        });
        assert_eq!(left.count(), 0);
    }
}

#[test]
fn layers_are_read_however_they_are_compressed() {
    let world = World::new();
    let mut image = Image::of([small("one"), small("two"), small("three")]);
    for (layer, packed) in image.layers.iter_mut().zip([|b: &[u8]| b.to_vec(), gzip, zstd]) {
        layer.1 = packed(&layer.0);
    }
    // Two members of gzip, as parallel compressors write them, and two frames of zstd.
    let (first, second) = (image.layers[1].0.clone(), image.layers[2].0.clone());
    image.layers[1].1 = [gzip(&first[..700]), gzip(&first[700..])].concat();
    // … with frames between and behind them that hold something else.
    let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"toc"].concat();
    let (begin, end) = (zstd(&second[..700]), zstd(&second[700..]));
    image.layers[2].1 = [skipped.clone(), begin, skipped.clone(), end, skipped].concat();
    world.layout(&layout(&[(&image, None)]));
    let id = world.pull("oci:web").unwrap();
    assert_eq!(text_of(&world.store(), &id), "three");
    assert_eq!(world.store().prepare(&id).unwrap().lower_dirs.len(), 3);
}

/// Notes what is told.
#[derive(Default)]
struct Notes(Mutex<Vec<Event>>);

impl Progress for Notes {
    fn tell(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

#[test]
fn a_layer_is_kept_once_and_brought_once() {
    let world = World::new();
    let one = Image::of([small("shared"), small("one")]);
    let two = Image::of([small("shared"), small("two")]);
    world.layout(&layout(&[(&one, Some("1")), (&two, Some("2"))]));
    let store = world.store();
    let first = world.pull("oci:web:1").unwrap();
    let notes = Notes::default();
    let pull = |notes: &Notes| {
        store.pull(&world.reference("oci:web:2"), &PullOptions::default(), notes).unwrap()
    };
    let second = pull(&notes);
    let told = notes.0.into_inner().unwrap();
    assert!(told.contains(&Event::LayerPresent(0)), "{told:?}");
    assert!(told.contains(&Event::LayerDone(1)), "{told:?}");
    let dirs = |id| store.prepare(id).unwrap().lower_dirs;
    assert_eq!(dirs(&first)[1], dirs(&second)[1]);
    assert_ne!(dirs(&first)[0], dirs(&second)[0]);
    let notes = Notes::default();
    assert_eq!(pull(&notes), second);
    assert_eq!(notes.0.into_inner().unwrap(), [Event::Present]);
}

#[test]
fn several_pulls_at_once_bring_each_layer_once() {
    let world = World::new();
    let image = Image::of((0..6).map(|number| small(&number.to_string())));
    world.layout(&layout(&[(&image, None)]));
    let notes = Notes::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let store = world.store();
                store.pull(&world.reference("oci:web"), &PullOptions::default(), &notes).unwrap();
            });
        }
    });
    let told = notes.0.into_inner().unwrap();
    let done = told.iter().filter(|event| matches!(event, Event::LayerDone(_))).count();
    assert_eq!(done, 6);
}

#[test]
fn the_platform_chooses_among_several() {
    let world = World::new();
    let mine = Image::of([small("mine")]);
    let other = Image { architecture: "s390x", ..Image::of([small("other")]) };
    world.layout(&layout(&[(&other, Some("v1")), (&mine, Some("v1"))]));
    let id = world.pull("oci:web:v1").unwrap();
    assert_eq!(text_of(&world.store(), &id), "mine");
    let options =
        PullOptions { platform: "linux/s390x".parse().unwrap(), ..PullOptions::default() };
    let store = world.store();
    let id = store.pull(&world.reference("oci:web:v1"), &options, &Silent).unwrap();
    assert_eq!(text_of(&store, &id), "other");
    let options =
        PullOptions { platform: "linux/riscv64".parse().unwrap(), ..PullOptions::default() };
    let refused = store.pull(&world.reference("oci:web:v1"), &options, &Silent).unwrap_err();
    let refused = refused.to_string();
    assert!(refused.starts_with("it is not built for linux/riscv64; there is linux/"), "{refused}");
}

#[test]
fn an_index_in_the_index_is_followed() {
    let world = World::new();
    let mine = Image::of([small("mine")]);
    let other = Image { architecture: "s390x", ..Image::of([small("other")]) };
    let nested = index(&[other.descriptor(None), mine.descriptor(None)]);
    let mut files = layout(&[(&mine, None), (&other, None)]);
    let entry = serde_json::json!({
        "mediaType": made::INDEX, "digest": made::digest(&nested), "size": nested.len(),
        "annotations": { "org.opencontainers.image.ref.name": "v1" },
    });
    files.insert(format!("blobs/{}", made::digest(&nested).replace(':', "/")), nested.clone());
    files.insert("index.json".into(), index(&[entry]));
    world.layout(&files);
    let id = world.pull("oci:web").unwrap();
    assert_eq!(id.as_str(), mine.id());
    let index = world.store().index().unwrap();
    let name = index.names.values().next().unwrap();
    assert_eq!(name.digest.as_ref().unwrap().as_str(), made::digest(&nested));
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let world = World::new();
    let image = Image::of([small("x")]);
    world.layout(&layout(&[(&image, Some("v1"))]));
    let unknown = world.pull("oci:web:v2").unwrap_err();
    assert!(matches!(&unknown, ImageError::Unknown { there, .. } if there == &["v1"]), "{unknown}");
    let other = Image::of([small("y")]);
    world.layout(&layout(&[(&image, Some("v1")), (&other, Some("v2"))]));
    let several = world.pull("oci:web").unwrap_err();
    assert!(matches!(&several, ImageError::Several { there, .. } if there.len() == 2), "{several}");
    let archive = docker_archive(&[(&image, "a:1"), (&other, "b:2")]);
    std::fs::write(world.files.path().join("d.tar"), archive).unwrap();
    assert!(matches!(world.pull("docker-archive:d.tar"), Err(ImageError::Several { .. })));
    assert!(matches!(world.pull("docker-archive:d.tar:3"), Err(ImageError::Unknown { .. })));
    assert_eq!(world.pull("docker-archive:d.tar:2").unwrap().as_str(), other.id());
    assert!(matches!(world.pull("oci:nowhere"), Err(ImageError::File { .. })));
}

#[test]
fn what_is_not_what_its_digest_says_is_refused() {
    let image = Image::of([small("x")]);
    let (plain, packed) = image.layers[0].clone();
    let changed = gzip(&small("y"));
    for (which, bytes, said) in [
        (made::digest(&packed), changed, "is damaged: its "),
        (made::digest(&packed), packed[..packed.len() - 9].to_vec(), "is damaged: "),
        (made::digest(&packed), [packed.clone(), vec![0; 40]].concat(), "is damaged: "),
        (
            image.id(),
            image.config(serde_json::json!({"User": "x"})).config_bytes(),
            "its digest is another",
        ),
    ] {
        let world = World::new();
        let image = Image::of([plain.clone()]);
        let mut files = layout(&[(&image, None)]);
        files.insert(format!("blobs/{}", which.replace(':', "/")), bytes);
        world.layout(&files);
        let refused = world.pull("oci:web").unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
        world.is_empty();
        // What was whole of it serves the next attempt.
        world.layout(&layout(&[(&image, None)]));
        world.pull("oci:web").unwrap();
    }
}

#[test]
fn a_layer_that_unpacks_to_something_else_is_refused() {
    let world = World::new();
    let mut image = Image::of([small("x")]);
    let promised = small("y");
    image.layers[0].0.clone_from(&promised);
    world.layout(&layout(&[(&image, None)]));
    let refused = world.pull("oci:web").unwrap_err().to_string();
    assert!(refused.contains("its digest when unpacked is"), "{refused}");
    world.is_empty();
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let world = World::new();
    let bomb = Tar::new().file("zeros", 0o644, &vec![0; 64 << 20]).end();
    world.layout(&layout(&[(&Image::of([bomb]), None)]));
    let limits = Limits { bytes: 8 << 20, ..Limits::default() };
    let options = PullOptions { limits, ..PullOptions::default() };
    let refused = world.store().pull(&world.reference("oci:web"), &options, &Silent).unwrap_err();
    assert!(refused.to_string().contains("is too large"), "{refused}");
    world.is_empty();
    let many = (0..100).fold(Tar::new(), |tar, n| tar.file(&n.to_string(), 0o644, b"")).end();
    world.layout(&layout(&[(&Image::of([many]), None)]));
    let limits = Limits { files: 50, ..Limits::default() };
    let options = PullOptions { limits, ..PullOptions::default() };
    let refused = world.store().pull(&world.reference("oci:web"), &options, &Silent).unwrap_err();
    assert!(refused.to_string().contains("more than 50 files"), "{refused}");
    world.is_empty();
}

#[test]
fn nothing_is_put_outside_of_the_root() {
    let world = World::new();
    let target = world.files.path().join("target");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("victim"), "whole").unwrap();
    let outside = target.display().to_string();
    let up = "../../../../../../../../../../../../..";
    let victim = format!("{up}{outside}/victim");
    for (layer, said) in [
        (Tar::new().file("../x", 0o644, b"x"), "leads out of the image"),
        (Tar::new().file("a/../../x", 0o644, b"x"), "leads out of the image"),
        (Tar::new().file(&victim, 0o644, b"x"), "leads out of the image"),
        (Tar::new().link("x", &victim), "leads out of the image"),
        (Tar::new().link("x", &format!("{outside}/victim")), "which is not there"),
        (Tar::new().file(".wh...", 0o644, b""), "leads out of the image"),
        (Tar::new().file("", 0o644, b"x"), "would be the root"),
        (Tar::new().symlink("x", "x").file("x/y", 0o644, b""), "symbolic links"),
    ] {
        let refused = world.refused(layer.end());
        assert!(refused.contains(said), "{refused}");
    }
    // Links are followed as the task would: from the root of the image.
    let made = world.unpacked(
        Tar::new()
            .symlink("up", up)
            .symlink("out", &outside)
            .file(&format!("up{outside}/one"), 0o644, b"one")
            .file("out/two", 0o644, b"two")
            .file(&format!("{outside}/victim"), 0o644, b"inside")
            .link("linked", "out/two")
            .end(),
    );
    let inside =
        |name: &str| std::fs::read_to_string(made.join(outside.trim_start_matches('/')).join(name));
    assert_eq!(inside("one").unwrap(), "one");
    assert_eq!(inside("two").unwrap(), "two");
    assert_eq!(inside("victim").unwrap(), "inside");
    assert_eq!(std::fs::read_to_string(made.join("linked")).unwrap(), "two");
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(target.join("victim")).unwrap(), "whole");
}

#[test]
fn an_archive_that_is_none_or_ends_in_the_middle_is_refused() {
    let world = World::new();
    let whole = Tar::new().file("a", 0o644, &[1; 5000]).cut();
    let mut wrong = small("x");
    wrong[700] ^= 1;
    let long = Tar::new().pax(&[("path", &[b'x'; 2 << 20])]).file("a", 0o644, b"").end();
    let strange = Tar::new().entry(EntryType::new(b'Z'), "a", "", 0o644, b"").end();
    for (layer, said) in [
        (whole[..3000].to_vec(), "it ends in the middle"),
        (whole[..300].to_vec(), "it ends in the middle"),
        (vec![7; 2048], "it is no tar archive"),
        (wrong, "a header's checksum is wrong"),
        (long, "an extended header is too long"),
        (strange, "of kind `Z`"),
    ] {
        let refused = world.refused(layer);
        assert!(refused.contains(said), "{refused}");
    }
    std::fs::write(world.files.path().join("a.tar"), &whole[..3000]).unwrap();
    let refused = world.pull("oci-archive:a.tar").unwrap_err().to_string();
    assert!(refused.ends_with("it ends in the middle"), "{refused}");
    std::fs::write(world.files.path().join("a.tar"), [0x1f, 0x8b, 8, 0, 7]).unwrap();
    assert!(world.pull("docker-archive:a.tar").is_err());
}

#[test]
fn files_are_as_the_archive_says() {
    let world = World::new();
    let long = "long-".repeat(30);
    let top = world.unpacked(
        Tar::new()
            .directory("./", 0o700)
            .directory("dir/", 0o1777)
            .pax(&[("mtime", b"1600000000.25")])
            .file("dir/tool", 0o4755, b"#!")
            .link("dir/same", "dir/tool")
            .symlink("dir/link", "/nowhere")
            .pax(&[("path", format!("dir/{long}").as_bytes())])
            .file("short", 0o600, b"long")
            .entry(
                EntryType::GNULongName,
                "././@LongLink",
                "",
                0,
                format!("{long}/gnu\0").as_bytes(),
            )
            .file("short", 0o600, b"gnu")
            .file("left/out/parent", 0o644, b"")
            .entry(EntryType::Fifo, "pipe", "", 0o640, b"")
            .file("twice", 0o644, b"first")
            .file("twice", 0o600, b"second")
            .file("becomes/file", 0o644, b"")
            .file("becomes", 0o644, b"no directory any more")
            .end(),
    );
    let of = |name: &str| std::fs::symlink_metadata(top.join(name)).unwrap();
    let mode = |name: &str| of(name).permissions().mode() & 0o7777;
    assert_eq!((mode(""), mode("dir"), mode("dir/tool")), (0o700, 0o1777, 0o4755));
    assert_eq!((of("dir/tool").mtime(), of("dir/tool").mtime_nsec()), (1_600_000_000, 250_000_000));
    assert_eq!(of("dir").mtime(), 1_700_000_000);
    assert_eq!(of("dir/link").mtime(), 1_700_000_000);
    assert_eq!(of("dir/tool").ino(), of("dir/same").ino());
    assert_eq!(std::fs::read_link(top.join("dir/link")).unwrap(), Path::new("/nowhere"));
    let text = |name: &str| std::fs::read_to_string(top.join(name)).unwrap();
    assert_eq!(
        (text(&format!("dir/{long}")), text(&format!("{long}/gnu"))),
        ("long".into(), "gnu".into())
    );
    assert_eq!(mode("left/out"), 0o755);
    assert!(of("pipe").file_type().is_fifo());
    assert_eq!((text("twice").as_str(), mode("twice")), ("second", 0o600));
    assert_eq!(text("becomes"), "no directory any more");
}

#[test]
fn holes_are_where_they_were() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_path("holes").unwrap();
    header.set_mode(0o644);
    header.set_uid(nix::unistd::geteuid().as_raw().into());
    header.set_gid(nix::unistd::getegid().as_raw().into());
    header.set_mtime(0);
    header.set_size(8);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(1 << 20);
    for (piece, offset) in gnu.sparse.iter_mut().zip([4096, 65_536]) {
        piece.set_offset(offset);
        piece.set_length(4);
    }
    let world = World::new();
    let layer = Tar::new().raw(header, b"one.two.").file("after", 0o644, b"x").end();
    let top = world.unpacked(layer);
    let bytes = std::fs::read(top.join("holes")).unwrap();
    assert_eq!(bytes.len(), 1 << 20);
    assert_eq!((&bytes[4096..4100], &bytes[65_536..65_540]), (&b"one."[..], &b"two."[..]));
    assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 8);
    assert_eq!(std::fs::read_to_string(top.join("after")).unwrap(), "x");
}

#[test]
fn what_hides_something_of_below_is_what_overlayfs_wants() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let top = world.unpacked(
        Tar::new()
            .directory("etc", 0o755)
            .file("etc/.wh.gone", 0o644, b"")
            .file("etc/.wh.renewed", 0o644, b"")
            .directory("etc/renewed", 0o755)
            .file("etc/kept", 0o644, b"kept")
            .file("etc/.wh.kept", 0o644, b"")
            .directory("etc/full", 0o755)
            .file("etc/.wh.full", 0o644, b"")
            .file("opaque/.wh..wh..opq", 0o644, b"")
            .file("opaque/new", 0o644, b"")
            .file(".wh..wh.plnk", 0o644, b"")
            .pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/etc")])
            .directory("redirected", 0o755)
            .end(),
    );
    let of = |name: &str| std::fs::symlink_metadata(top.join(name));
    let gone = of("etc/gone").unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(std::fs::read_to_string(top.join("etc/kept")).unwrap(), "kept");
    let attribute = |name: &str, attribute: &str| {
        let mut value = [0; 16];
        let length = rustix::fs::lgetxattr(top.join(name), attribute, &mut value);
        length.map(|length| value[..length].to_vec()).ok()
    };
    for name in ["etc/renewed", "etc/full", "opaque"] {
        assert!(of(name).unwrap().is_dir());
        assert_eq!(attribute(name, "trusted.overlay.opaque").as_deref(), Some(&b"y"[..]), "{name}");
    }
    assert_eq!(attribute("etc", "trusted.overlay.opaque"), None);
    assert_eq!(attribute("redirected", "trusted.overlay.redirect"), None);
    assert!(of(".wh..wh.plnk").is_err() && of("opaque/.wh..wh..opq").is_err());
}

#[test]
fn owners_devices_and_capabilities_are_kept() {
    if !is_root() {
        return;
    }
    let mut device = Header::new_gnu();
    device.set_entry_type(EntryType::Char);
    device.set_path("null").unwrap();
    device.set_mode(0o666);
    device.set_uid(0);
    device.set_gid(0);
    device.set_mtime(0);
    device.set_size(0);
    device.set_device_major(1).unwrap();
    device.set_device_minor(3).unwrap();
    // A line feed in the value: what is split at lines loses it.
    let capability = [1, 0, 0, 2, 0x0a, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let world = World::new();
    let top = world.unpacked(
        Tar::new()
            .raw(device, b"")
            .pax(&[
                ("uid", b"1234"),
                ("gid", b"100000"),
                ("SCHILY.xattr.security.capability", &capability),
            ])
            .file("tool", 0o4755, b"x")
            .end(),
    );
    let null = std::fs::symlink_metadata(top.join("null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!((null.rdev(), null.mode() & 0o7777), (rustix::fs::makedev(1, 3), 0o666));
    let tool = std::fs::symlink_metadata(top.join("tool")).unwrap();
    assert_eq!((tool.uid(), tool.gid(), tool.mode() & 0o7777), (1234, 100_000, 0o4755));
    let mut value = [0; 64];
    let length =
        rustix::fs::lgetxattr(top.join("tool"), "security.capability", &mut value).unwrap();
    assert_eq!(value[..length], capability);
}

#[test]
fn what_was_left_by_who_was_killed_is_cleared_by_the_next() {
    let world = World::new();
    let image = Image::of([small("x")]);
    world.layout(&layout(&[(&image, None)]));
    let store = world.store();
    let layers = store.layers_dir();
    let part = layers.join("0123456789abcdef01234567.part/deep");
    std::fs::create_dir_all(&part).unwrap();
    // Named, but killed before it was noted.
    let diff_id: Digest = made::digest(&image.layers[0].0).parse().unwrap();
    std::fs::create_dir_all(store.layer_path(&diff_id).join("half")).unwrap();
    std::fs::write(world.state.path().join("images/part-xyz"), "half").unwrap();
    let id = world.pull("oci:web").unwrap();
    assert_eq!(text_of(&store, &id), "x");
    assert!(!store.layer_path(&diff_id).join("half").exists());
    assert!(!layers.join("0123456789abcdef01234567.part").exists());
    assert!(!world.state.path().join("images/part-xyz").exists());
}

#[test]
fn images_go_with_their_last_name_unless_somebody_holds_them() {
    let world = World::new();
    let one = Image::of([small("shared"), small("one")]);
    let two = Image::of([small("shared"), small("two")]);
    world.layout(&layout(&[(&one, Some("1")), (&two, Some("2"))]));
    let store = world.store();
    let name = |tag: &str| {
        let reference = world.reference(&format!("oci:web:{tag}"));
        vec![(reference.to_string(), Some(reference))]
    };
    let first = world.pull("oci:web:1").unwrap();
    let second = world.pull("oci:web:2").unwrap();
    let directories = store.prepare(&first).unwrap().lower_dirs;
    store.claim("web.1", &first).unwrap();
    let refused = store.remove(&name("1"), false).unwrap_err().to_string();
    assert!(refused.ends_with("is used by web.1"), "{refused}");
    let removed = store.remove(&name("1"), true).unwrap();
    assert_eq!((removed.names.len(), removed.images.len()), (1, 0));
    assert!(store.prepare(&first).is_ok());
    assert_eq!(store.prune(true).unwrap().removed.images, [second]);
    store.release("web.1").unwrap();
    let pruned = store.prune(false).unwrap();
    assert_eq!(pruned.removed.images, [first]);
    assert_eq!(pruned.freed, 9);
    assert!(directories.iter().all(|directory| !directory.exists()));
    world.is_empty();
    let missing = store.remove(&name("1"), false);
    assert!(matches!(missing, Err(ImageError::NotHere { .. })));
}

#[test]
fn an_id_means_its_image_when_it_is_clear_which() {
    let world = World::new();
    let image = Image::of([small("x")]);
    world.layout(&layout(&[(&image, Some("1"))]));
    let id = world.pull("oci:web:1").unwrap();
    world.pull("oci:web").unwrap();
    let store = world.store();
    let short = vec![(id.short().to_owned(), None)];
    assert!(matches!(store.remove(&short, false), Err(ImageError::SeveralNames { .. })));
    let removed = store.remove(&short, true).unwrap();
    assert_eq!((removed.names.len(), removed.images), (2, vec![id]));
    world.is_empty();
}

// ── registries ──

/// Bytes that do not compress, so that a layer is as large as it looks.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

/// An image of two layers, one of which is large.
fn large() -> Image {
    let noise = Tar::new().file("noise", 0o644, &noise(2_000_000)).end();
    Image::of([noise, small("above")])
}

fn of(registry: &Registry) -> Reference {
    format!("{}/team/web:v1", registry.address).parse().unwrap()
}

fn pull_from(
    registry: &Registry,
    options: &PullOptions,
) -> (World, Result<Digest, ImageError>, Vec<Event>) {
    let world = World::new();
    let notes = Notes::default();
    let pulled = world.store().pull(&of(registry), options, &notes);
    (world, pulled, notes.0.into_inner().unwrap())
}

fn hasty() -> PullOptions {
    PullOptions { patience: std::time::Duration::from_millis(300), ..PullOptions::default() }
}

#[test]
fn an_image_comes_from_a_registry_by_tag_and_by_digest() {
    let registry = Registry::new(Manners::default());
    let (mine, other) = (large(), Image { architecture: "s390x", ..large() });
    registry.put(&mine, "mine");
    registry.put(&other, "other");
    let list = index(&[other.descriptor(None), mine.descriptor(None)]);
    registry.put_index(list.clone(), "v1");
    let (world, pulled, told) = pull_from(&registry, &PullOptions::default());
    assert_eq!(pulled.unwrap().as_str(), mine.id());
    let bytes: u64 = told
        .iter()
        .map(|event| match event {
            Event::LayerBytes(_, bytes) => *bytes,
            _ => 0,
        })
        .sum();
    let stored: usize = mine.layers.iter().map(|(_, packed)| packed.len()).sum();
    assert_eq!(bytes, stored as u64);
    let held = world.store().index().unwrap();
    assert_eq!(held.names[&of(&registry)].digest.as_ref().unwrap().as_str(), made::digest(&list));
    let by_digest = format!("{}/team/web@{}", registry.address, made::digest(&list));
    let by_digest: Reference = by_digest.parse().unwrap();
    assert_eq!(world.store().find(&by_digest).unwrap().unwrap().as_str(), mine.id());
    assert_eq!(
        world.store().pull(&by_digest, &PullOptions::default(), &Silent).unwrap().as_str(),
        mine.id()
    );
}

#[test]
fn an_image_that_a_registry_does_not_have_is_unknown() {
    let registry = Registry::new(Manners::default());
    let (world, pulled, _) = pull_from(&registry, &PullOptions::default());
    let refused = pulled.unwrap_err();
    assert!(matches!(&refused, ImageError::Unknown { .. }), "{refused}");
    assert_eq!(
        refused.to_string(),
        format!("registry {} has no image `team/web:v1`", registry.address)
    );
    world.is_empty();
}

#[test]
fn a_registry_that_breaks_off_is_asked_again_from_there_on() {
    for knows_no_ranges in [false, true] {
        let registry = Registry::new(Manners {
            breaks_off_after: Some(700_000),
            knows_no_ranges,
            ..Manners::default()
        });
        registry.put(&large(), "v1");
        let (world, pulled, told) = pull_from(&registry, &hasty());
        if knows_no_ranges {
            // It never gets further than the first time.
            let refused = pulled.unwrap_err();
            assert!(matches!(refused, ImageError::BrokeOff { at: 700_000, .. }), "{refused}");
            continue;
        }
        assert_eq!(pulled.unwrap().as_str(), large().id());
        assert!(told.contains(&Event::LayerResumed(0, 700_000)), "{told:?}");
        assert!(registry.requests().iter().any(|request| request.ends_with(" 1400000")));
        let top = world.store().prepare(&large().id().parse().unwrap()).unwrap().lower_dirs;
        assert_eq!(std::fs::read(top[1].join("noise")).unwrap(), noise(2_000_000));
    }
}

#[test]
fn a_registry_that_says_nothing_more_is_not_waited_for_for_ever() {
    let registry = Registry::new(Manners {
        breaks_off_after: Some(0),
        then_is_silent: true,
        ..Manners::default()
    });
    registry.put(&large(), "v1");
    let (world, pulled, _) = pull_from(&registry, &hasty());
    let refused = pulled.unwrap_err().to_string();
    assert!(refused.contains(" cannot be asked") || refused.contains("broke off"), "{refused}");
    world.is_empty();
}

#[test]
fn a_registry_in_trouble_is_asked_again() {
    let registry = Registry::new(Manners { troubled: 1, ..Manners::default() });
    registry.put(&large(), "v1");
    let (_, pulled, _) = pull_from(&registry, &hasty());
    assert_eq!(pulled.unwrap().as_str(), large().id());
}

#[test]
fn what_a_registry_wants_to_be_shown_comes_from_dockers_file() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("config.json");
    for (door, is_free) in [
        (Door::Basic("me", "secret"), false),
        (Door::Bearer(None), true),
        (Door::Bearer(Some(("me", "secret"))), false),
    ] {
        let registry = Registry::new(Manners { door, ..Manners::default() });
        registry.put(&large(), "v1");
        let options = |password: &str| {
            // base64 of me:secret, and of another.
            let auth = if password == "secret" { "bWU6c2VjcmV0" } else { "bWU6b3RoZXI=" };
            let text = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.address);
            std::fs::write(&file, text).unwrap();
            PullOptions { credentials: Some(file.clone()), ..PullOptions::default() }
        };
        let (_, without, _) = pull_from(&registry, &PullOptions::default());
        match is_free {
            true => assert_eq!(without.unwrap().as_str(), large().id()),
            false => assert!(matches!(without, Err(ImageError::Denied { known: false, .. }))),
        }
        let (_, with, _) = pull_from(&registry, &options("secret"));
        assert_eq!(with.unwrap().as_str(), large().id());
        if !is_free {
            let (world, wrong, _) = pull_from(&registry, &options("other"));
            let refused = wrong.unwrap_err();
            assert!(matches!(refused, ImageError::Denied { known: true, .. }), "{refused}");
            world.is_empty();
        }
    }
}

#[test]
fn what_a_registry_sends_is_not_believed() {
    let registry = Registry::new(Manners::default());
    let image = large();
    registry.put(&image, "v1");
    let name = made::digest(&image.layers[1].1);
    registry.spoil(&name, gzip(&small("other")));
    let (world, pulled, _) = pull_from(&registry, &PullOptions::default());
    let refused = pulled.unwrap_err().to_string();
    assert!(refused.contains("is damaged"), "{refused}");
    assert_eq!(world.store().index().unwrap().images.len(), 0);
    registry.spoil(&name, image.layers[1].1[..20].to_vec());
    let (_, pulled, _) = pull_from(&registry, &hasty());
    let refused = pulled.unwrap_err();
    assert!(matches!(refused, ImageError::BrokeOff { at: 20, .. }), "{refused}");
}
