//! Datagrams by the batch: one system call reads what waits in a socket, one sends the replies.
//!
//! Queries lie in memory that may be shared with a process that outlives this one. A query that was
//! read and not yet answered when this process is killed still lies there, and the next process
//! answers it: together with the sockets, which keep what was not yet read, no query is lost. A
//! query may be answered twice, which a client does not notice.
//!
//! Nothing is allocated for a query. It decides nothing about answers.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use nix::libc;

use super::request::LONGEST_QUERY;

/// Datagrams that are read at a time.
const BATCH: usize = 32;
/// Queries that are kept while a name server is asked; more are forwarded without being kept.
const KEPT: usize = 256;
/// The longest query that is kept, in bytes.
const LONGEST_KEPT: usize = 512;
/// How long a query is worth answering, in seconds: longer than any client waits (glibc: 5).
const WORTHWHILE: u64 = 10;
/// What the memory begins with, changed whenever its layout is.
const LAYOUT: u64 = 0x736c_6264_6e73_0001;

/// How much memory there is to share, in bytes.
pub const MEMORY: usize = size_of::<Memory>();

#[repr(C)]
struct Memory {
    layout: u64,
    /// Whose socket the batch was read from.
    owner: u64,
    /// A header whose length is 0 has no query; the kernel sets it when it has read one.
    headers: [libc::mmsghdr; BATCH],
    vectors: [libc::iovec; BATCH],
    clients: [libc::sockaddr_storage; BATCH],
    kept: [Kept; KEPT],
    bodies: [Body; KEPT],
    queries: [[u8; LONGEST_QUERY]; BATCH],
}

/// What is looked through; apart from the bodies, so that pages nobody needs are never touched.
#[repr(C)]
struct Kept {
    owner: u64,
    /// Seconds since the machine started.
    since: u64,
    /// Of the query; 0 when there is none.
    length: usize,
}

#[repr(C)]
struct Body {
    client: Client,
    query: [u8; LONGEST_KEPT],
}

/// Who asked, as the kernel writes it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Client {
    address: libc::sockaddr_storage,
    length: libc::socklen_t,
}

/// The place of a kept query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

/// A query that a former process left behind.
pub(super) struct Left {
    pub(super) place: Place,
    pub(super) query: Vec<u8>,
    pub(super) client: SocketAddr,
}

/// The batch that is worked on, and the queries that are kept.
pub(super) struct Datagrams {
    memory: NonNull<Memory>,
    /// Replies to the batch, one behind the other.
    replies: Vec<u8>,
    /// Where each reply ends, and which datagram it answers.
    ends: Vec<(usize, usize)>,
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
}

// SAFETY: it owns its mapping and its pointers point into what it owns; nothing is tied to a thread.
unsafe impl Send for Datagrams {}

impl std::fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datagrams").finish_non_exhaustive()
    }
}

impl Datagrams {
    /// In memory of this process.
    pub(super) fn new() -> io::Result<Self> {
        Self::map(libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1)
    }

    /// In memory that others hold too, of at least [`MEMORY`] bytes.
    pub(super) fn within(memory: &OwnedFd) -> io::Result<Self> {
        let length = nix::sys::stat::fstat(memory)?.st_size;
        if usize::try_from(length).is_ok_and(|length| length >= MEMORY) {
            return Self::map(libc::MAP_SHARED, memory.as_fd().as_raw_fd());
        }
        Err(io::ErrorKind::InvalidInput.into())
    }

    fn map(flags: libc::c_int, fd: libc::c_int) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), MEMORY, access, flags, fd, 0) };
        let memory = match NonNull::new(memory.cast::<Memory>()) {
            Some(memory) if memory.as_ptr().cast() != libc::MAP_FAILED => memory,
            _ => return Err(io::Error::last_os_error()),
        };
        let mut datagrams = Self {
            memory,
            replies: Vec::new(),
            ends: Vec::with_capacity(BATCH),
            headers: Vec::with_capacity(BATCH),
            vectors: Vec::with_capacity(BATCH),
        };
        datagrams.take_over();
        Ok(datagrams)
    }

    fn memory(&self) -> &Memory {
        // SAFETY: mapped, aligned to a page, of this size, and any bytes are a `Memory`. Nobody else
        // writes to it: one process at a time is the agent.
        unsafe { self.memory.as_ref() }
    }

    fn memory_mut(&mut self) -> &mut Memory {
        // SAFETY: see `memory`.
        unsafe { self.memory.as_mut() }
    }

    /// Keeps what a former process had read and not answered, and points the headers at this
    /// process's addresses.
    fn take_over(&mut self) {
        if self.memory().layout == LAYOUT {
            let owner = self.memory().owner;
            for number in 0..BATCH {
                self.keep(number, owner);
            }
        } else {
            let kept = &mut self.memory_mut().kept;
            kept.iter_mut().for_each(|kept| kept.length = 0);
        }
        let memory = self.memory_mut();
        memory.layout = LAYOUT;
        let parts = memory.headers.iter_mut().zip(&mut memory.vectors);
        let parts = parts.zip(&mut memory.clients).zip(&mut memory.queries);
        for (((header, vector), client), query) in parts {
            vector.iov_base = query.as_mut_ptr().cast();
            vector.iov_len = query.len();
            header.msg_len = 0;
            header.msg_hdr.msg_name = std::ptr::from_mut(client).cast();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = std::ptr::null_mut();
            header.msg_hdr.msg_controllen = 0;
        }
    }

    /// Reads what waits in a socket, up to a batch, and says how many.
    ///
    /// # Errors
    /// `WouldBlock` when nothing waits, or what the kernel answered.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, owner: u64) -> io::Result<usize> {
        let memory = self.memory_mut();
        memory.owner = owner;
        for header in &mut memory.headers {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        }
        // SAFETY: the headers point into the mapping (`take_over`), which lives as long as `self`.
        let read = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                memory.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(read).map_err(|_| io::Error::last_os_error())
    }

    /// Whether so many are all that waited.
    pub(super) fn drained(read: usize) -> bool {
        read < BATCH
    }

    /// One query of the batch, and where to write its reply.
    pub(super) fn query(&mut self, number: usize) -> (&[u8], &mut Vec<u8>) {
        // SAFETY: the mapping and the replies are two things, and both live as long as `self`.
        let memory = unsafe { self.memory.as_ref() };
        let length = memory.headers.get(number).map_or(0, |header| header.msg_len as usize);
        let query = memory.queries.get(number).and_then(|query| query.get(..length));
        (query.unwrap_or_default(), &mut self.replies)
    }

    /// Who sent it.
    pub(super) fn client(&self, number: usize) -> Option<SocketAddr> {
        self.sender(number)?.address()
    }

    fn sender(&self, number: usize) -> Option<Client> {
        let memory = self.memory();
        let length = memory.headers.get(number)?.msg_hdr.msg_namelen;
        Some(Client { address: *memory.clients.get(number)?, length })
    }

    /// Takes what was written behind the last reply for the reply to this datagram.
    pub(super) fn reply(&mut self, number: usize) {
        self.ends.push((self.replies.len(), number));
    }

    /// Sends the replies, or loses one as a network may: a client that hears nothing asks again.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>) {
        // SAFETY: headers point into the mapping and into the replies, and none outlives this call.
        let memory = unsafe { self.memory.as_mut() };
        self.headers.clear();
        self.vectors.clear();
        let mut begin = 0;
        for &(end, _) in &self.ends {
            let reply = self.replies.get_mut(begin..end).unwrap_or_default();
            let vector = libc::iovec { iov_base: reply.as_mut_ptr().cast(), iov_len: reply.len() };
            self.vectors.push(vector);
            begin = end;
        }
        for (vector, &(_, number)) in self.vectors.iter_mut().zip(&self.ends) {
            let Some(asked) = memory.headers.get(number) else { continue };
            let mut header = *asked;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_flags = 0;
            self.headers.push(header);
        }
        let mut sent = 0;
        while let Some(rest) = self.headers.get_mut(sent..).filter(|rest| !rest.is_empty()) {
            let count = rest.len() as libc::c_uint;
            // SAFETY: see above.
            let done = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), count, libc::MSG_DONTWAIT)
            };
            // An error is the first one's.
            sent += usize::try_from(done).unwrap_or(1).max(1);
        }
    }

    /// Ends the batch, of so many datagrams: all of it is answered, kept or given up.
    pub(super) fn finish(&mut self, read: usize) {
        for header in self.memory_mut().headers.iter_mut().take(read) {
            header.msg_len = 0;
        }
        self.replies.clear();
        self.ends.clear();
    }

    /// Keeps a query of the batch until it is released, when there is room.
    pub(super) fn keep(&mut self, number: usize, owner: u64) -> Option<Place> {
        let client = self.sender(number)?;
        let now = uptime();
        // SAFETY: the batch and the kept queries are two parts of the mapping.
        let memory = unsafe { self.memory.as_mut() };
        let length = memory.headers.get(number)?.msg_len as usize;
        let query = memory.queries.get(number)?.get(..length)?;
        let fits = (1..=LONGEST_KEPT).contains(&length);
        let free = |kept: &Kept| kept.length == 0 || now.saturating_sub(kept.since) > WORTHWHILE;
        let place = memory.kept.iter().position(free).filter(|_| fits)?;
        let (kept, body) = (memory.kept.get_mut(place)?, memory.bodies.get_mut(place)?);
        // Its length is written last: only then is there one.
        kept.length = 0;
        kept.owner = owner;
        kept.since = now;
        body.client = client;
        body.query.get_mut(..length)?.copy_from_slice(query);
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        kept.length = length;
        Some(Place(place))
    }

    /// Lets go of a kept query.
    pub(super) fn release(&mut self, place: Place) {
        if let Some(kept) = self.memory_mut().kept.get_mut(place.0) {
            kept.length = 0;
        }
    }

    /// What a former process left behind of an owner's queries. They stay kept.
    pub(super) fn left_by(&self, owner: u64) -> Vec<Left> {
        let now = uptime();
        let kept = self.memory().kept.iter().enumerate();
        let ours = kept.filter(|(_, kept)| {
            let worthwhile = now.saturating_sub(kept.since) <= WORTHWHILE;
            kept.owner == owner && kept.length > 0 && worthwhile
        });
        ours.filter_map(|(place, kept)| {
            let body = self.memory().bodies.get(place)?;
            let query = body.query.get(..kept.length)?;
            let client = body.client.address()?;
            Some(Left { place: Place(place), query: query.to_vec(), client })
        })
        .collect()
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's alone.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), MEMORY) };
    }
}

impl Client {
    fn address(&self) -> Option<SocketAddr> {
        let length = self.length as usize;
        let address = std::ptr::from_ref(&self.address);
        match i32::from(self.address.ss_family) {
            libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
                // SAFETY: the storage is large enough and aligned for any address, and any bytes
                // are one.
                let found = unsafe { *address.cast::<libc::sockaddr_in>() };
                let ip = u32::from_be(found.sin_addr.s_addr).into();
                Some(SocketAddrV4::new(ip, u16::from_be(found.sin_port)).into())
            }
            libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
                // SAFETY: see above.
                let found = unsafe { *address.cast::<libc::sockaddr_in6>() };
                let (ip, port) = (found.sin6_addr.s6_addr.into(), u16::from_be(found.sin6_port));
                let scope = found.sin6_scope_id;
                Some(SocketAddrV6::new(ip, port, found.sin6_flowinfo, scope).into())
            }
            _ => None,
        }
    }
}

/// Seconds since the machine started: the same clock for every process.
fn uptime() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to `now`, and fails for no clock that Linux has.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn memory() -> OwnedFd {
        let fd = nix::sys::memfd::memfd_create(c"test", nix::sys::memfd::MFdFlags::MFD_CLOEXEC);
        let fd = fd.expect("memory");
        nix::unistd::ftruncate(&fd, MEMORY as i64).expect("its size");
        fd
    }

    fn sockets() -> (UdpSocket, UdpSocket) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        (server, client)
    }

    #[test]
    fn a_batch_is_read_and_every_client_gets_its_reply() {
        let (server, one) = sockets();
        let two = UdpSocket::bind("127.0.0.1:0").unwrap();
        two.connect(server.local_addr().unwrap()).unwrap();
        let mut datagrams = Datagrams::new().unwrap();
        assert_eq!(
            datagrams.receive(server.as_fd(), 1).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        for round in 0..3 {
            one.send(b"one").unwrap();
            two.send(b"second").unwrap();
            one.send(b"").unwrap();
            let read = datagrams.receive(server.as_fd(), 1).unwrap();
            assert!(read == 3 && Datagrams::drained(read), "round {round}");
            for number in 0..2 {
                let (query, out) = datagrams.query(number);
                let length = query.len();
                out.extend(std::iter::repeat_n(b'x', length));
                datagrams.reply(number);
            }
            assert_eq!(datagrams.query(2).0, b"");
            datagrams.send(server.as_fd());
            datagrams.finish(read);
            let mut buffer = [0; 100];
            assert_eq!(one.recv(&mut buffer).unwrap(), 3);
            assert_eq!(two.recv(&mut buffer).unwrap(), 6);
        }
    }

    #[test]
    fn what_was_read_and_not_answered_is_there_for_the_next_process() {
        let (server, client) = sockets();
        let shared = memory();
        let mut first = Datagrams::within(&shared).unwrap();
        client.send(b"answered").unwrap();
        let read = first.receive(server.as_fd(), 7).unwrap();
        first.finish(read);
        client.send(b"asked elsewhere").unwrap();
        let read = first.receive(server.as_fd(), 7).unwrap();
        let place = first.keep(0, 7).unwrap();
        first.finish(read);
        client.send(b"only read").unwrap();
        first.receive(server.as_fd(), 7).unwrap();
        drop(first);
        let mut second = Datagrams::within(&shared).unwrap();
        let left = second.left_by(7);
        let queries: Vec<&[u8]> = left.iter().map(|left| &left.query[..]).collect();
        assert_eq!(queries, [&b"asked elsewhere"[..], b"only read"]);
        assert!(left.iter().all(|left| left.client == client.local_addr().unwrap()));
        assert!(second.left_by(8).is_empty());
        second.release(place);
        drop(second);
        assert_eq!(Datagrams::within(&shared).unwrap().left_by(7).len(), 1);
    }

    #[test]
    fn memory_of_another_layout_or_too_little_of_it_is_not_believed() {
        let shared = memory();
        nix::sys::uio::pwrite(&shared, &[0xff; MEMORY], 0).unwrap();
        let datagrams = Datagrams::within(&shared).unwrap();
        assert!(datagrams.left_by(u64::MAX).is_empty());
        nix::unistd::ftruncate(&shared, 4096).unwrap();
        assert!(Datagrams::within(&shared).is_err());
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let (server, client) = sockets();
        let mut datagrams = Datagrams::new().unwrap();
        for number in 0..=KEPT {
            client.send(b"query").unwrap();
            let read = datagrams.receive(server.as_fd(), 1).unwrap();
            assert_eq!(datagrams.keep(0, 1).is_some(), number < KEPT);
            datagrams.finish(read);
        }
        client.send(&[1; LONGEST_KEPT + 1]).unwrap();
        datagrams.release(Place(3));
        datagrams.receive(server.as_fd(), 1).unwrap();
        assert_eq!(datagrams.keep(0, 1), None);
    }
}
