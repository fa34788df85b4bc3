//! A netlink socket inside a namespace: batches in which every message is accounted for, dumps,
//! and the kernel's own sentences. Synchronous: a reply follows its request.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::{Outcome, Refusal, netns};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
pub const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
pub const NLM_F_DUMP: u16 = 0x300;
/// For a new object: refused when it exists.
pub const NLM_F_CREATE_EXCL: u16 = 0x600;
const NLMSGERR_ATTR_MSG: u16 = 1;
const HEADER: usize = 16;

/// Messages in one datagram: measured, more gains nothing (peers-and-limits: 256 to 512), and their
/// acknowledgements must fit the receive buffer.
const BATCH: usize = 256;
/// A dump that others disturb is begun again this often.
const DUMP_ATTEMPTS: usize = 8;
/// Longer silence than this, in seconds, is an error and no patience.
const PATIENCE: i64 = 10;
const RECEIVE_BUFFER: usize = 1 << 20;
/// A datagram longer than what a send buffer has from the start (`net.core.wmem_default`) needs a
/// larger one.
const SEND_BUFFER: usize = 128 << 10;
/// The longest message of the kernel: a dump comes in pieces of 32 KiB.
const LONGEST: usize = 64 << 10;

thread_local! {
    /// Shared by all sockets of a thread: an exchange ends before the next begins.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A socket of one netlink protocol in one namespace.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    send_buffer: usize,
}

/// A transaction that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchanged {
    /// The first message that was refused, counted from 0 behind the one that begins the
    /// transaction; none where the transaction as a whole was refused.
    pub message: Option<usize>,
    pub refusal: Refusal,
}

/// One message of the kernel, header and all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What is behind the header.
    pub fn payload(&self) -> &[u8] {
        self.0.get(HEADER..).unwrap_or_default()
    }
}

/// Messages that go out together.
#[derive(Default)]
struct Datagram {
    bytes: Vec<u8>,
    count: usize,
    /// Where the last of them begins.
    last: usize,
}

/// One message of the kernel, as it stands in the buffer.
struct Frame<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    bytes: &'a [u8],
    payload: &'a [u8],
}

impl Netlink {
    /// Opens a socket inside `namespace`.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` when the kernel lacks the protocol, `EPERM` without privilege.
    pub fn open(namespace: BorrowedFd<'_>, protocol: isize) -> io::Result<Self> {
        netns::within(namespace, || Self::open_here(protocol))?
    }

    /// Opens a socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// As [`Netlink::open`].
    pub fn open_here(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE, 0))?;
        Ok(Self { socket, sequence: 0, send_buffer: SEND_BUFFER })
    }

    /// The number that the next message gets.
    pub fn next_sequence(&self) -> u32 {
        self.sequence.wrapping_add(1)
    }

    /// Sends a transaction of netfilter: a message that begins it, so many that are numbered on from
    /// [`next_sequence`](Self::next_sequence), of which the last asks for an acknowledgement, and one
    /// that ends it. Tells why it was not done.
    ///
    /// # Errors
    /// When the socket itself fails.
    pub fn transact(&mut self, datagram: &[u8], count: u32) -> io::Result<Option<Unchanged>> {
        let begin = self.next_sequence();
        let last = begin.wrapping_add(count);
        self.sequence = last.wrapping_add(1);
        self.make_room(datagram.len())?;
        self.socket.send(datagram, 0)?;
        let mut first_refused: Option<(u32, Refusal)> = None;
        let mut answered = false;
        with_buffer(|buffer| {
            // All answers are there when the sending is over.
            while let Some(length) = self.receive_now(buffer)? {
                for frame in frames(&buffer[..length]) {
                    let place = frame.sequence.wrapping_sub(begin);
                    if frame.kind != NLMSG_ERROR || place > count {
                        continue;
                    }
                    answered |= frame.sequence == last;
                    if let Err(refusal) = acknowledged(&frame)
                        && first_refused.as_ref().is_none_or(|(first, _)| place < *first)
                    {
                        first_refused = Some((place, refusal));
                    }
                }
            }
            Ok::<_, io::Error>(())
        })?;
        match first_refused {
            Some((place, refusal)) => {
                let message = usize::try_from(place).ok().and_then(|place| place.checked_sub(1));
                Ok(Some(Unchanged { message, refusal }))
            }
            None if answered => Ok(None),
            None => Err(io::Error::other("the kernel did not say what came of a transaction")),
        }
    }

    fn make_room(&mut self, length: usize) -> io::Result<()> {
        if length > self.send_buffer {
            setsockopt(&self.socket, sockopt::SndBufForce, &length.saturating_mul(2))?;
            self.send_buffer = length;
        }
        Ok(())
    }

    /// What is there already; none when nothing is. Acknowledgements that found no room are passed
    /// over: the first of them did.
    fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => return Ok(Some(length)),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(errno) => return Err(io::Error::from(errno)),
            }
        }
    }

    /// Sends the messages that `write` makes of `items`, many in one datagram, and tells what came of
    /// each. It ends with the datagram in which one was refused: what comes after that was not sent,
    /// and has no outcome. When the socket fails, nobody knows what came of a datagram, and all of it
    /// counts as refused.
    ///
    /// The kernel does messages in order, answers each that it refuses, and the last of a datagram in
    /// any case: what it has not refused by then is done. So a batch costs one answer, not one for
    /// each message.
    pub fn batch<T>(
        &mut self,
        items: &[T],
        write: impl Fn(&T, &mut Vec<u8>) -> Result<(), Errno>,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(items.len());
        let mut datagram = Datagram::default();
        for chunk in items.chunks(BATCH) {
            let unwritten = self.fill(&mut datagram, chunk, &write).err();
            let exchanged = self.exchange(&mut datagram);
            let refused = unwritten.is_some()
                || !matches!(&exchanged, Ok(all) if all.iter().all(Result::is_ok));
            let count = datagram.count;
            outcomes.extend(exchanged.unwrap_or_else(|error| vec![Err(error.into()); count]));
            outcomes.extend(unwritten.map(|errno| Err(errno.into())));
            if refused {
                break;
            }
        }
        outcomes
    }

    /// Writes messages until all are written or one cannot be.
    fn fill<T>(
        &mut self,
        datagram: &mut Datagram,
        items: &[T],
        write: impl Fn(&T, &mut Vec<u8>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        datagram.bytes.clear();
        datagram.count = 0;
        for item in items {
            let start = datagram.bytes.len();
            if let Err(errno) = write(item, &mut datagram.bytes) {
                datagram.bytes.truncate(start);
                return Err(errno);
            }
            self.number(&mut datagram.bytes[start..], NLM_F_REQUEST);
            datagram.count += 1;
            datagram.last = start;
        }
        Ok(())
    }

    fn exchange(&mut self, datagram: &mut Datagram) -> io::Result<Vec<Outcome>> {
        if datagram.count == 0 {
            return Ok(Vec::new());
        }
        set_flags(&mut datagram.bytes[datagram.last..], NLM_F_REQUEST | NLM_F_ACK);
        self.make_room(datagram.bytes.len())?;
        self.socket.send(&datagram.bytes, 0)?;
        with_buffer(|buffer| self.outcomes(buffer, datagram.count))
    }

    /// Sends one message and waits for its acknowledgement.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn request(&mut self, message: &[u8]) -> Outcome {
        let write = |message: &&[u8], bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(message);
            Ok(())
        };
        self.batch(&[message], write).pop().unwrap_or_else(|| Err(Errno::EIO.into()))
    }

    /// Everything that the kernel answers to a dump request. One that was disturbed while it ran
    /// is begun again.
    ///
    /// # Errors
    /// The kernel's refusal, or `EINTR` when it was disturbed each time.
    pub fn dump(&mut self, message: &[u8]) -> Result<Vec<Message>, Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(messages) = self.try_dump(message.to_vec())? {
                return Ok(messages);
            }
        }
        Err(Refusal::saying(Errno::EINTR, "the table changed each time that it was read"))
    }

    /// What the kernel answers to a request for one object.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn get(&mut self, mut message: Vec<u8>) -> Result<Vec<Message>, Refusal> {
        self.number(&mut message, NLM_F_REQUEST | NLM_F_ACK);
        self.socket.send(&message, 0)?;
        with_buffer(|buffer| self.answers(buffer))
    }

    fn answers(&self, buffer: &mut [u8]) -> Result<Vec<Message>, Refusal> {
        let mut messages = Vec::new();
        loop {
            let length = self.receive(buffer)?;
            for frame in frames(&buffer[..length]) {
                if frame.sequence != self.sequence {
                    continue;
                }
                if frame.kind != NLMSG_ERROR {
                    messages.push(Message(frame.bytes.to_vec()));
                    continue;
                }
                return acknowledged(&frame).map(|()| messages);
            }
        }
    }

    fn try_dump(&mut self, mut message: Vec<u8>) -> Result<Option<Vec<Message>>, Refusal> {
        self.number(&mut message, NLM_F_REQUEST | NLM_F_DUMP);
        self.socket.send(&message, 0)?;
        with_buffer(|buffer| self.dumped(buffer))
    }

    fn dumped(&self, buffer: &mut [u8]) -> Result<Option<Vec<Message>>, Refusal> {
        let mut messages = Vec::new();
        let mut disturbed = false;
        loop {
            let length = self.receive(buffer)?;
            for frame in frames(&buffer[..length]) {
                if frame.sequence != self.sequence {
                    continue;
                }
                disturbed |= frame.flags & NLM_F_DUMP_INTR != 0;
                match frame.kind {
                    NLMSG_DONE => {
                        // A dump may end with an errno in the place of its length.
                        if let Some(bytes) = frame.payload.first_chunk::<4>() {
                            let errno = i32::from_ne_bytes(*bytes);
                            if errno < 0 {
                                return Err(Errno::from_raw(-errno).into());
                            }
                        }
                        return Ok((!disturbed).then_some(messages));
                    }
                    NLMSG_ERROR => {
                        acknowledged(&frame)?;
                        return Ok((!disturbed).then_some(messages));
                    }
                    _ => messages.push(Message(frame.bytes.to_vec())),
                }
            }
        }
    }

    /// What came of the last so many messages. All is said with the answer to the last of them.
    fn outcomes(&self, buffer: &mut [u8], count: usize) -> io::Result<Vec<Outcome>> {
        let mut outcomes: Vec<Outcome> = vec![Ok(()); count];
        loop {
            let length = self.receive(buffer)?;
            for frame in frames(&buffer[..length]).filter(|frame| frame.kind == NLMSG_ERROR) {
                let before_last = self.sequence.wrapping_sub(frame.sequence) as usize;
                let place = (count - 1).checked_sub(before_last);
                if let Some(outcome) = place.and_then(|place| outcomes.get_mut(place)) {
                    *outcome = acknowledged(&frame);
                    if before_last == 0 {
                        return Ok(outcomes);
                    }
                }
            }
        }
    }

    fn number(&mut self, message: &mut [u8], flags: u16) {
        self.sequence = self.next_sequence();
        if let Some(place) = message.get_mut(8..12) {
            place.copy_from_slice(&self.sequence.to_ne_bytes());
        }
        set_flags(message, flags);
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
                Ok(length) if length > buffer.len() => {
                    return Err(io::Error::other("the kernel's message was longer than 64 KiB"));
                }
                Ok(length) => return Ok(length),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(io::Error::from(Errno::ETIMEDOUT)),
                Err(errno) => return Err(io::Error::from(errno)),
            }
        }
    }
}

/// Lends the thread's buffer, which is put back whatever comes of it.
fn with_buffer<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = BUFFER.take();
    buffer.resize(LONGEST, 0);
    let result = work(&mut buffer);
    BUFFER.replace(buffer);
    result
}

/// Sets flags of a message's header; whether it is acknowledged is as `flags` say.
fn set_flags(message: &mut [u8], flags: u16) {
    if let Some(place) = message.get_mut(6..8) {
        let held = u16::from_ne_bytes([place[0], place[1]]) & !NLM_F_ACK;
        place.copy_from_slice(&(held | flags).to_ne_bytes());
    }
}

fn frames(mut bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<HEADER>()?;
        let word = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let long = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let length = long(0) as usize;
        let frame = Frame {
            kind: word(4),
            flags: word(6),
            sequence: long(8),
            bytes: bytes.get(..length)?,
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some(frame)
    })
}

fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

fn acknowledged(frame: &Frame<'_>) -> Outcome {
    let Some(code) = frame.payload.first_chunk::<4>() else { return Err(Errno::EBADMSG.into()) };
    let errno = Errno::from_raw(-i32::from_ne_bytes(*code));
    if i32::from_ne_bytes(*code) == 0 {
        return Ok(());
    }
    match sentence(frame) {
        Some(sentence) => Err(Refusal::saying(errno, sentence)),
        None => Err(errno.into()),
    }
}

/// The kernel's own sentence, behind the error and the header of the request.
fn sentence(frame: &Frame<'_>) -> Option<String> {
    if frame.flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let mut attributes = if frame.flags & NLM_F_CAPPED != 0 {
        frame.payload.get(4 + HEADER..)?
    } else {
        let length = frame.payload.get(4..8)?.first_chunk::<4>()?;
        frame.payload.get(4 + aligned(u32::from_ne_bytes(*length) as usize)..)?
    };
    while let Some(&[a, b, c, d]) = attributes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([c, d]) == NLMSGERR_ATTR_MSG {
            let text = value.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        attributes = attributes.get(aligned(length)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_total_on_any_bytes() {
        for length in 0..64usize {
            for claimed in [0u32, 1, 15, 16, 17, 40, u32::MAX] {
                let mut bytes = vec![0xff; length];
                if let Some(place) = bytes.get_mut(..4) {
                    place.copy_from_slice(&claimed.to_ne_bytes());
                }
                for frame in frames(&bytes).take(100) {
                    let _ = acknowledged(&frame);
                }
            }
        }
    }

    #[test]
    fn the_kernels_sentence_is_found() {
        let mut payload = (-17i32).to_ne_bytes().to_vec();
        payload.extend([0; HEADER]);
        payload.extend([12, 0, 1, 0]);
        payload.extend(b"exists!\0");
        let flags = NLM_F_CAPPED | NLM_F_ACK_TLVS;
        let frame = Frame { kind: NLMSG_ERROR, flags, sequence: 1, bytes: &[], payload: &payload };
        let refusal = acknowledged(&frame).unwrap_err();
        assert_eq!(refusal.to_string(), "exists! (EEXIST)");
    }
}
