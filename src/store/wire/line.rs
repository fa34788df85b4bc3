//! Frames over a stream: sent whole, received in whatever pieces they come.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, send};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::MAX_FRAME;
use crate::store::clock;

const LENGTH: usize = 4;
const CHUNK: usize = 16 << 10;
/// A buffer grown beyond this is given back once it is empty.
const KEPT_BUFFER: usize = 256 << 10;

/// One side of a connection. What breaks the protocol is an [`io::ErrorKind::InvalidData`].
#[derive(Debug)]
pub(in crate::store) struct Line {
    stream: Arc<UnixStream>,
    incoming: Incoming,
}

impl Line {
    pub(in crate::store) fn new(stream: Arc<UnixStream>) -> Self {
        Self { stream, incoming: Incoming::default() }
    }

    /// Sends one frame, whole.
    pub(in crate::store) fn send(&self, message: &impl Serialize) -> io::Result<()> {
        let frame = encode(message)?;
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            // A peer that went away is an error here and not a SIGPIPE, however the process treats that signal.
            match send(self.stream.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits for one frame. After a timeout the part that came is kept for the next call.
    pub(in crate::store) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        loop {
            if let Some(message) = self.incoming.take()? {
                return Ok(message);
            }
            self.incoming.fill(&mut &*self.stream)?;
        }
    }

    /// Waits for one frame until `deadline`; looks at least once.
    pub(in crate::store) fn receive_until<T: DeserializeOwned>(
        &mut self,
        deadline: Instant,
    ) -> io::Result<T> {
        loop {
            if let Some(message) = self.incoming.take()? {
                return Ok(message);
            }
            let left = deadline.saturating_duration_since(clock::now());
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            self.incoming.fill(&mut &*self.stream)?;
        }
    }

    pub(in crate::store) fn set_send_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(timeout.max(Duration::from_millis(1))))
    }
}

fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; LENGTH];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - LENGTH;
    let prefix = u32::try_from(length)
        .ok()
        .filter(|_| length <= MAX_FRAME)
        .ok_or_else(|| too_long(length))?;
    frame.splice(..LENGTH, prefix.to_be_bytes());
    Ok(frame)
}

fn too_long(length: usize) -> io::Error {
    broken(format!("a frame of {length} bytes, {MAX_FRAME} at most"))
}

fn broken(sentence: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

/// What came and was not taken yet. It grows with what really comes, not with what a length promises.
#[derive(Debug, Default)]
struct Incoming {
    bytes: Vec<u8>,
}

impl Incoming {
    fn fill(&mut self, stream: &mut impl Read) -> io::Result<()> {
        let before = self.bytes.len();
        self.bytes.resize(before + CHUNK, 0);
        let read = loop {
            match stream.read(self.bytes.get_mut(before..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.bytes.truncate(before + read.as_ref().map_or(0, |count| *count));
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some((prefix, rest)) = self.bytes.split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(too_long(length));
        }
        let Some(frame) = rest.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(frame).map_err(|error| broken(error.to_string()))?;
        self.bytes.drain(..LENGTH + length);
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BUFFER {
            self.bytes = Vec::new();
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

    use super::*;

    fn taken(incoming: &mut Incoming) -> Option<String> {
        incoming.take().expect("the frames are whole")
    }

    #[test]
    fn frames_arrive_however_they_are_cut() {
        let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let mut runner = TestRunner::new_with_rng(
            Config { failure_persistence: None, ..Config::default() },
            seed,
        );
        let strategy = (prop::collection::vec(".{0,40}", 0..8), 1_usize..9);
        let checked = runner.run(&strategy, |(messages, cut)| {
            let sent: Vec<u8> =
                messages.iter().flat_map(|message| encode(message).expect("short")).collect();
            let (mut incoming, mut received) = (Incoming::default(), Vec::new());
            for piece in sent.chunks(cut) {
                incoming.fill(&mut &*piece).expect("there is something to read");
                received.extend(std::iter::from_fn(|| taken(&mut incoming)));
            }
            prop_assert_eq!(received, messages);
            Ok(())
        });
        checked.expect("no counterexample");
    }

    #[test]
    fn an_overlong_length_is_refused_before_its_frame_comes() {
        let mut incoming = Incoming { bytes: (MAX_FRAME as u32 + 1).to_be_bytes().to_vec() };
        let error = incoming.take::<String>().expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_is_not_json_breaks_the_protocol() {
        let mut incoming = Incoming { bytes: vec![0, 0, 0, 2, b'{', b'{'] };
        let error = incoming.take::<String>().expect_err("not JSON");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_end_of_the_stream_is_said() {
        let error = Incoming::default().fill(&mut io::empty()).expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
