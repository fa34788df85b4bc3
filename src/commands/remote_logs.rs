//! What another node shows of the logs that are asked for here.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use super::elsewhere::Other;
use super::output::Line;
use crate::api::Sink;
use crate::intent::NodeName;
use crate::render::time::Moment;

/// How many lines may wait for being shown.
const WAITING: usize = 1024;

/// A node that shows its part, line for line, with times.
pub struct Remote {
    lines: Receiver<Option<Line>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Done,
    Failed,
}

impl Remote {
    /// Asks for it.
    pub fn ask(node: NodeName, other: Other, words: Vec<String>, what: String) -> Self {
        let (sender, lines) = sync_channel(WAITING);
        thread::spawn(move || {
            let mut cutter = Cutter { sender, begun: Vec::new(), time: Moment(0) };
            let problem = match other.run(words, false, &mut cutter, &what) {
                Ok(0) => None,
                Ok(_) => Some("it does not show it".to_owned()),
                Err(failure) => Some(failure.problem),
            };
            if let Some(problem) = problem {
                tell(&node, &problem);
            } else {
                // The end, told apart from a thread that is gone.
                let _ = cutter.sender.send(None);
            }
        });
        Self { lines, state: State::Open }
    }

    /// One that cannot be asked.
    pub fn out_of_reach(node: &NodeName, problem: &str) -> Self {
        tell(node, problem);
        Self { lines: sync_channel(1).1, state: State::Failed }
    }

    /// The next line; none at the end, or when it would have to be waited for and that is not wanted.
    pub fn line(&mut self, follow: bool) -> Option<Line> {
        if self.state != State::Open {
            return None;
        }
        let told = match follow {
            true => self.lines.try_recv(),
            false => self.lines.recv().map_err(|_| TryRecvError::Disconnected),
        };
        match told {
            Ok(Some(line)) => return Some(line),
            Ok(None) => self.state = State::Done,
            Err(TryRecvError::Disconnected) => self.state = State::Failed,
            Err(TryRecvError::Empty) => {}
        }
        None
    }

    pub fn is_done(&self) -> bool {
        self.state != State::Open
    }

    pub fn has_failed(&self) -> bool {
        self.state == State::Failed
    }
}

fn tell(node: &NodeName, problem: &str) {
    eprintln!("What tasks wrote on node {node} is not shown: {problem}.");
}

/// Makes lines of what comes.
struct Cutter {
    sender: SyncSender<Option<Line>>,
    begun: Vec<u8>,
    time: Moment,
}

impl Sink for Cutter {
    fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if self.begun.pop_if(|last| *last == b'\n').is_none() {
                continue;
            }
            let line = std::mem::take(&mut self.begun);
            let line = cut(line, &mut self.time);
            self.sender.send(Some(line)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        Ok(())
    }

    fn complaint(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut io::stderr().lock(), bytes)
    }
}

/// Takes the time from the beginning of a line.
fn cut(mut text: Vec<u8>, last: &mut Moment) -> Line {
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or_default();
    let time = std::str::from_utf8(&text[..end]).ok().and_then(|time| time.parse().ok());
    if let Some(time) = time {
        *last = time;
        text.drain(..=end);
    }
    Line { time: *last, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_they_were_broken() {
        let (sender, lines) = sync_channel(8);
        let mut cutter = Cutter { sender, begun: Vec::new(), time: Moment(0) };
        let time = Moment::of_seconds(1_764_000_000);
        let text = format!("{time} web.1 | one\n{time} web.1 | \n{time} two");
        for byte in text.bytes() {
            cutter.output(&[byte]).expect("taken");
        }
        let line = |text: &str| Ok(Some(Line { time, text: text.into() }));
        assert_eq!(lines.try_recv(), line("web.1 | one"));
        assert_eq!(lines.try_recv(), line("web.1 | "));
        assert!(lines.try_recv().is_err());
    }
}
