//! The socket file: made whole and closed to others before it can be seen, and taken over from a dead server.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::killpoint;
use crate::store::StoreError;

/// Listens at `socket`, in the place of a socket that nobody answers at.
pub(super) fn bind(socket: &Path) -> Result<UnixListener, StoreError> {
    refuse_living(socket)?;
    listen(socket).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => StoreError::Unreachable { path: socket.to_owned(), source },
        _ => StoreError::file(socket, source),
    })
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    let unseen = unseen(socket);
    // Left by a server that died between here and the renaming.
    let _absent = fs::remove_file(&unseen);
    let listener = UnixListener::bind(&unseen)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(&unseen, fs::Permissions::from_mode(0o600))?;
    killpoint::pass(|| "the socket has not its name yet".into());
    fs::rename(&unseen, socket)?;
    Ok(listener)
}

/// A name in the same directory, no longer than it must be: a socket's path has 107 bytes at most.
fn unseen(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push("~");
    PathBuf::from(name)
}

fn refuse_living(socket: &Path) -> Result<(), StoreError> {
    let Ok(found) = fs::symlink_metadata(socket) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        let source =
            io::Error::new(io::ErrorKind::AlreadyExists, "a file that is not a socket is there");
        return Err(StoreError::Unreachable { path: socket.to_owned(), source });
    }
    match UnixStream::connect(socket) {
        Ok(_) => Err(StoreError::AlreadyServed { path: socket.to_owned(), pid: None }),
        Err(_) => Ok(()),
    }
}

/// Takes the name away, so that who comes now knows at once that nobody serves.
pub(super) fn remove(socket: &Path) {
    // One that cannot be removed is stale, and replaced by the next server.
    let _stays = fs::remove_file(socket);
}
