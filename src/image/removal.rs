//! Removing a tree that somebody else made, however deep it is.

use std::io;
use std::path::Path;

use nix::errno::Errno;

use crate::random;

/// Removes a directory and all in it. What is missing is no error.
///
/// # Errors
/// What the file system answered.
pub fn tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if is_too_deep(&error) => {
            flatten(path)?;
            std::fs::remove_dir_all(path)
        }
        removed => removed,
    }
}

/// It needs an open directory for each level, or a path that is too long.
fn is_too_deep(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENAMETOOLONG))
}

/// Moves every directory of a tree to its top.
fn flatten(top: &Path) -> io::Result<()> {
    let mut deep = vec![top.to_owned()];
    while let Some(directory) = deep.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let mut place = entry.path();
            if directory != top {
                place = top.join(random::id(16));
                std::fs::rename(entry.path(), &place)?;
            }
            deep.push(place);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_there_are_descriptors_goes() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("top");
        // Built from the inside out, so that no path is too long.
        let mut inner = directory.path().join("0");
        std::fs::create_dir(&inner).unwrap();
        for depth in 1..3000 {
            let outer = directory.path().join(depth.to_string());
            std::fs::create_dir(&outer).unwrap();
            std::fs::rename(&inner, outer.join("d")).unwrap();
            inner = outer;
        }
        std::fs::create_dir(&top).unwrap();
        std::fs::write(top.join("file"), "x").unwrap();
        std::fs::rename(&inner, top.join("d")).unwrap();
        tree(&top).unwrap();
        assert!(!top.exists());
        tree(&top).unwrap();
    }
}
