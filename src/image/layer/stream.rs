//! A layer's bytes on their way: read, checked and decompressed on one thread, handed to another in
//! pieces.

use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::super::decompress::decompressed;
use super::super::error::LayerFault;
use super::super::hash::Hash;
use crate::intent::reference::Digest;

/// How much is handed over at once, in bytes.
const PIECE: usize = 256 << 10;
/// How many pieces may wait.
const WAITING: usize = 8;

/// What was promised of a layer as it comes.
#[derive(Debug, Clone, Default)]
pub struct Promise {
    pub digest: Option<Digest>,
    pub size: Option<u64>,
}

/// How much may still be unpacked of an image, shared by all its layers.
#[derive(Debug)]
pub struct Budget {
    left: AtomicU64,
    limit: u64,
}

impl Budget {
    pub fn new(limit: u64) -> Self {
        Self { left: AtomicU64::new(limit), limit }
    }

    /// # Errors
    /// When it is used up.
    pub fn take(&self, bytes: u64) -> Result<(), LayerFault> {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(drop).map_err(|_| LayerFault::TooLarge { limit: self.limit })
    }
}

type Piece = Result<Vec<u8>, LayerFault>;

/// Both ends of the way.
pub fn way() -> (Inlet, Outlet) {
    let (pieces, receiver) = sync_channel(WAITING);
    let (empties, used) = channel();
    let outlet = Outlet { receiver, empties, piece: Vec::new(), at: 0, ended: false, hash: None };
    (Inlet { pieces, used }, outlet)
}

/// Where pieces go in.
pub struct Inlet {
    pieces: SyncSender<Piece>,
    used: Receiver<Vec<u8>>,
}

impl Inlet {
    /// Reads a layer to its end, and sees that it is what was promised. What is wrong reaches the other
    /// end; an other end that is gone ends it.
    pub fn feed(self, layer: impl Read + Send, promise: &Promise, budget: &Budget) {
        if let Err(fault) = self.fed(layer, promise, budget) {
            let _ = self.pieces.send(Err(fault));
        }
    }

    fn fed(
        &self,
        layer: impl Read + Send,
        promise: &Promise,
        budget: &Budget,
    ) -> Result<(), LayerFault> {
        let mut checked = Checked::new(layer, promise);
        self.pass_on(decompressed(&mut checked).map_err(LayerFault::read)?, budget)?;
        // What stands behind the compressed bytes is part of what the digest is of.
        io::copy(&mut checked, &mut io::sink()).map_err(LayerFault::read)?;
        checked.keep(promise)
    }

    fn pass_on(&self, mut bytes: impl Read, budget: &Budget) -> Result<(), LayerFault> {
        loop {
            let mut piece = self.used.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
            piece.resize(PIECE, 0);
            let length = fill(&mut bytes, &mut piece).map_err(LayerFault::read)?;
            if length == 0 {
                return Ok(());
            }
            budget.take(length as u64)?;
            piece.truncate(length);
            if self.pieces.send(Ok(piece)).is_err() {
                // Who unpacks has a reason of its own.
                return Err(LayerFault::Malformed("nobody reads it".into()));
            }
        }
    }
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A layer as it comes, counted and hashed.
struct Checked<R> {
    inner: R,
    hash: Option<Hash>,
    read: u64,
    most: u64,
}

impl<R: Read + Send> Checked<R> {
    fn new(inner: R, promise: &Promise) -> Self {
        let hash = promise.digest.as_ref().map(Hash::like);
        Self { inner, hash, read: 0, most: promise.size.unwrap_or(u64::MAX) }
    }

    fn keep(self, promise: &Promise) -> Result<(), LayerFault> {
        let broken =
            |what, found: String, wanted: String| Err(LayerFault::Promise { what, found, wanted });
        if let Some(size) = promise.size.filter(|size| *size != self.read) {
            return broken("size", format!("{} bytes", self.read), size.to_string());
        }
        match (self.hash.map(Hash::digest), &promise.digest) {
            (Some(found), Some(wanted)) if found != *wanted => {
                broken("digest", found.to_string(), wanted.to_string())
            }
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.read += length as u64;
        if self.read > self.most {
            let fault = LayerFault::Promise {
                what: "size",
                found: format!("{} bytes or more", self.read),
                wanted: self.most.to_string(),
            };
            return Err(io::Error::other(fault));
        }
        if let (Some(hash), Some(bytes)) = (&mut self.hash, buffer.get(..length)) {
            hash.update(bytes);
        }
        Ok(length)
    }
}

/// Where they come out.
pub struct Outlet {
    receiver: Receiver<Piece>,
    empties: Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
    hash: Option<Hash>,
}

impl Outlet {
    /// Hashes what passes by, as this digest does.
    #[must_use]
    pub fn hashing(mut self, like: &Digest) -> Self {
        self.hash = Some(Hash::like(like));
        self
    }

    /// The digest of what passed by.
    pub fn digest(&mut self) -> Option<Digest> {
        self.hash.take().map(Hash::digest)
    }
}

impl Read for Outlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.fill_buf()?;
        let length = bytes.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Outlet {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.piece.len() && !self.ended {
            let next = match self.receiver.recv() {
                Ok(piece) => piece.map_err(io::Error::other)?,
                Err(_) => Vec::new(),
            };
            self.ended = next.is_empty();
            if let Some(hash) = &mut self.hash {
                hash.update(&next);
            }
            let used = std::mem::replace(&mut self.piece, next);
            let _ = self.empties.send(used);
            self.at = 0;
        }
        Ok(self.piece.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, length: usize) {
        self.at += length;
    }
}
