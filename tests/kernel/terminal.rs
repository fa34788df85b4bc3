//! A terminal of the test's own, for what an operator presses.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::libc;

/// A program at a terminal.
pub struct AtTerminal {
    child: Child,
    keys: File,
    screen: Receiver<Vec<u8>>,
}

impl AtTerminal {
    /// Starts a program with a new terminal as its own, as a login shell has one.
    pub fn start(mut command: Command) -> Self {
        let (master, slave) = pair();
        let other = || slave.try_clone().expect("the terminal");
        command.stdin(other()).stdout(other()).stderr(other());
        // SAFETY: two system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().expect("it starts");
        drop((command, slave));
        let mut reader = master.try_clone().expect("the terminal");
        let (sender, screen) = channel();
        // Ends with the terminal's last user.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys: master, screen }
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("pressed");
    }

    /// How it ended, and what stands on the screen.
    pub fn ended(mut self, longest: Duration) -> (ExitStatus, String) {
        let deadline = Instant::now() + longest;
        let status = loop {
            match self.child.try_wait().expect("its end") {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _ = self.child.kill();
                    panic!("it does not end; the screen: {}", self.text());
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        (status, self.text())
    }

    fn text(&self) -> String {
        let mut text = Vec::new();
        while let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(200)) {
            text.extend(bytes);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// A terminal: the side of the one who presses, and the side of the program.
fn pair() -> (File, File) {
    // SAFETY: plain calls; the descriptors are new, and the name's buffer outlives its use.
    unsafe {
        let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(master >= 0, "no terminal: {}", std::io::Error::last_os_error());
        let master = OwnedFd::from_raw_fd(master);
        let fd = std::os::fd::AsRawFd::as_raw_fd(&master);
        assert_eq!((libc::grantpt(fd), libc::unlockpt(fd)), (0, 0));
        let mut name = [0; 64];
        assert_eq!(libc::ptsname_r(fd, name.as_mut_ptr(), name.len()), 0);
        let name = std::ffi::CStr::from_ptr(name.as_ptr()).to_str().expect("a path").to_owned();
        use std::os::unix::fs::OpenOptionsExt;
        let slave = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(name);
        (master.into(), slave.expect("the other side"))
    }
}
