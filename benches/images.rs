//! Unpacking an image of 100 MB, beside `umoci unpack`: the same layout, on the same disk. What swarmlb keeps
//! is verified by both digests and synced when it says so; umoci's is verified and not synced.
//!
//! `scripts/bench.sh images` runs it, in a world of its own. It needs root.

mod apart;
#[path = "../tests/world/images.rs"]
mod images;
mod report;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use swarmlb::kernel::program;

use apart::{Failure, Swarmlb};
use images::{Image, Tar, layout, write};
use report::{Bar, Row, rounds, timed};

/// How large the image is, unpacked, in bytes.
const SIZE: usize = 100_000_000;
/// Files of this machine that it is made of, in this order: programs, libraries, and many small ones.
const SOURCES: [&str; 3] = ["/usr/share/perl", "/usr/lib/python3", "/usr/bin"];
/// The longest name that the first form of an archive's header has.
const LONGEST_NAME: usize = 99;
const UNPACKED: usize = 9;

fn main() -> ExitCode {
    apart::run(&[("umoci", "umoci")], measure)
}

fn measure() -> Result<Vec<Row>, Failure> {
    // Not in /run, which is memory here: on the disk that images are kept on.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let held = directory.path().join("layout");
    let (image, files) = image()?;
    write(&held, &layout(&[(&image, Some("bench"))]));
    let packed: usize = image.layers.iter().map(|(_, packed)| packed.len()).sum();
    eprintln!("{files} files of {} MB, {} MB packed", SIZE / 1_000_000, packed / 1_000_000);
    drop(image);
    Ok(vec![unpacked(directory.path(), &held)?])
}

fn unpacked(directory: &Path, held: &Path) -> Result<Row, Failure> {
    // Each round has directories of its own, and all go at the end: ext4 is slow to give out anew the inodes of what
    // was removed a moment ago, and that would be measured.
    let line = format!("image pull --quiet oci:{}:bench", held.display());
    let mut number = 0;
    let mut ours = || {
        number += 1;
        nix::unistd::sync();
        let swarmlb = Swarmlb { state: directory.join(format!("state-{number}")) };
        let time = ended(&mut swarmlb.command(&line));
        // Kept until all have been.
        std::mem::forget(swarmlb);
        time
    };
    let umoci = program::find("umoci").ok_or("umoci is missing")?;
    let mut bundle = 0;
    let mut theirs = || {
        bundle += 1;
        nix::unistd::sync();
        let mut command = program::command(&umoci);
        command.arg("unpack").arg("--image").arg(format!("{}:bench", held.display()));
        ended(command.arg(directory.join(format!("bundle-{bundle}"))))
    };
    let [ours, theirs] = rounds(UNPACKED, [&mut ours, &mut theirs]);
    Ok(Row {
        what: "an image of 100 MB, unpacked and synced",
        swarmlb: ours,
        peer: Some(("umoci unpack", theirs)),
        bar: Bar::TimesThePeer(1.0),
    })
}

/// How long a command takes until it has ended, and well.
fn ended(command: &mut std::process::Command) -> Duration {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (time, status) = timed(|| command.status());
    assert!(status.is_ok_and(|status| status.success()), "{command:?} failed");
    time
}

/// An image of one layer, and of how many files.
fn image() -> Result<(Image, usize), Failure> {
    let (mut tar, mut size, mut files) = (Tar::new(), 0, 0);
    for path in SOURCES.iter().flat_map(|source| below(Path::new(source))) {
        let Some(name) = path.to_str().map(|name| name.trim_start_matches('/')) else { continue };
        if name.len() > LONGEST_NAME {
            continue;
        }
        let mut bytes = std::fs::read(&path)?;
        bytes.truncate(SIZE - size);
        let mode = std::fs::metadata(&path)?.permissions().mode() & 0o777;
        tar = tar.file(name, mode, &bytes);
        (size, files) = (size + bytes.len(), files + 1);
        if size == SIZE {
            return Ok((Image::of([tar.end()]), files));
        }
    }
    Err(format!("{} have only {size} bytes", SOURCES.join(", ")).into())
}

/// The files below a directory, in the order of their names.
fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => files.extend(below(&path)),
            Ok(metadata) if metadata.is_file() => files.push(path),
            _ => {}
        }
    }
    files
}
