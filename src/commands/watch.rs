//! Looking again and again, until `q` or Ctrl-C: on a terminal as watch(1) does, elsewhere one look
//! below the other.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};

use super::{Report, interrupt};
use crate::failure::Failure;

/// Another screen, which is left as it was; the cursor is hidden meanwhile.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l";
const END: &str = "\x1b[?25h\x1b[?1049l";
/// To the first line, and clear what is to the right of each and below the last.
const HOME: &str = "\x1b[H";
const TO_LINE_END: &str = "\x1b[K";
const TO_SCREEN_END: &str = "\x1b[J";
/// What a terminal has that does not tell.
const SIZE: (usize, usize) = (80, 24);

/// Prints what `look` tells, every so often. The exit code is that of the last look.
///
/// # Errors
/// What the first look met, or what printing met.
pub fn every(
    interval: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Report, Failure>,
) -> Result<Report, Failure> {
    let failed = |error: &io::Error| Failure::io(what, error);
    // What cannot be looked at is told as ever, before anything is drawn.
    let mut report = look()?;
    interrupt::listen();
    let mut screen = Screen::open().map_err(|error| failed(&error))?;
    loop {
        let next = Instant::now() + interval;
        match screen.show(&report.text, interval) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            shown => shown.map_err(|error| failed(&error))?,
        }
        if screen.is_left_before(next) {
            break;
        }
        report = match look() {
            Err(_) if interrupt::was_pressed() => break,
            looked => looked?,
        };
    }
    Ok(Report { text: String::new(), exit: report.exit })
}

/// Where the looks go. What was changed of a terminal is as before when it is dropped.
struct Screen {
    terminal: bool,
    keys: Option<Termios>,
    shown: usize,
}

impl Screen {
    fn open() -> io::Result<Self> {
        let terminal = io::stdout().is_terminal();
        let mut keys = None;
        if terminal && io::stdin().is_terminal() {
            let before = termios::tcgetattr(io::stdin())?;
            let mut now = before.clone();
            now.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
            termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &now)?;
            keys = Some(before);
        }
        if terminal {
            print(BEGIN)?;
        }
        Ok(Self { terminal, keys, shown: 0 })
    }

    fn show(&mut self, text: &str, interval: Duration) -> io::Result<()> {
        self.shown += 1;
        match (self.terminal, self.shown) {
            (true, _) => print(&drawn(text, interval, size())),
            (false, 1) => print(text),
            (false, _) => print(&format!("\n{text}")),
        }
    }

    /// Waits until `next`; true when it was left meanwhile.
    fn is_left_before(&self, next: Instant) -> bool {
        loop {
            let left = next.saturating_duration_since(Instant::now());
            if interrupt::was_pressed() {
                return true;
            }
            if left.is_zero() {
                return false;
            }
            let stdin = io::stdin();
            let mut keys = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
            let waiting = if self.keys.is_some() { &mut keys[..] } else { &mut [] };
            let longest = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            // Ctrl-C ends the waiting with EINTR.
            if poll(waiting, longest).is_ok_and(|ready| ready > 0) && is_q() {
                return true;
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(keys) = &self.keys {
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, keys);
        }
        if self.terminal {
            let _ = print(END);
        }
    }
}

/// Whether the key that waits is `q`; a terminal that is gone counts as one.
fn is_q() -> bool {
    let mut key = [0];
    match io::stdin().read(&mut key) {
        Ok(0) => true,
        Ok(_) => matches!(key, [b'q' | b'Q']),
        Err(error) => error.kind() != io::ErrorKind::Interrupted,
    }
}

/// A look as the terminal gets it: cut to its size, with a line that says how to leave.
fn drawn(text: &str, interval: Duration, (columns, lines): (usize, usize)) -> String {
    let head = format!("Every {} s; q leaves.", interval.as_secs());
    let room = lines.saturating_sub(2);
    let total = text.lines().count();
    let hidden = total.saturating_sub(room);
    let head = match hidden {
        0 => head,
        hidden => format!("{head} {hidden} lines more than the terminal has."),
    };
    let mut drawn = HOME.to_owned();
    for line in [head.as_str(), ""].into_iter().chain(text.lines().take(room)) {
        if !drawn.ends_with(HOME) {
            drawn.push_str("\r\n");
        }
        drawn.extend(line.chars().take(columns));
        drawn.push_str(TO_LINE_END);
    }
    drawn + TO_SCREEN_END
}

nix::ioctl_read_bad!(window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);

/// Columns and lines of the terminal.
fn size() -> (usize, usize) {
    let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one `winsize`, which outlives the call.
    let told = unsafe { window_size(io::stdout().as_raw_fd(), &raw mut size) };
    match (told, usize::from(size.ws_col), usize::from(size.ws_row)) {
        (Ok(_), columns, lines) if columns > 0 && lines > 0 => (columns, lines),
        _ => SIZE,
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lines(drawn: &str) -> Vec<String> {
        let drawn = drawn.strip_prefix(HOME).expect("it begins at home");
        let drawn = drawn.strip_suffix(TO_SCREEN_END).expect("it clears the rest");
        drawn.split("\r\n").map(|line| line.trim_end_matches(TO_LINE_END).to_owned()).collect()
    }

    #[test]
    fn a_look_that_fits_is_drawn_whole() {
        let drawn = lines(&drawn("one\ntwo\n", SECOND, (80, 24)));
        assert_eq!(drawn, ["Every 1 s; q leaves.", "", "one", "two"]);
    }

    #[test]
    fn a_look_is_cut_to_the_terminal_and_says_so() {
        let drawn = lines(&drawn("a long line\n2\n3\n4\n", SECOND, (60, 4)));
        let head = "Every 1 s; q leaves. 2 lines more than the terminal has.";
        assert_eq!(drawn, [head, "", "a long line", "2"]);
        let narrow = lines(&super::drawn("a long line\n", SECOND, (6, 4)));
        assert_eq!(narrow, ["Every ", "", "a long"]);
    }
}
