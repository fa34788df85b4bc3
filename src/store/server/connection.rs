//! One connection: who is there, what they ask, and the stream that a watch becomes.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Uid;

use crate::killpoint;
use crate::store::sqlite::{Cursor, Sqlite};
use crate::store::wire::{Failure, HEARTBEAT, Line, PROTOCOL, Reply, Request};
use crate::store::{Object, Revision, Snapshot, Store, StoreError, clock};

/// How long a peer may leave what it was sent unread before it is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// About how many bytes of objects go into one frame of a load.
const PAGE: usize = 1 << 20;

pub(super) struct Connection<'s> {
    store: &'s Sqlite,
    stream: Arc<UnixStream>,
    line: Line,
}

impl<'s> Connection<'s> {
    pub(super) fn new(store: &'s Sqlite, stream: Arc<UnixStream>) -> Self {
        Self { store, line: Line::new(Arc::clone(&stream)), stream }
    }

    /// Answers until the peer leaves.
    pub(super) fn run(mut self) -> io::Result<()> {
        self.line.set_send_timeout(PATIENCE)?;
        if !self.may_enter()? {
            return self.line.send(&Reply::Failed(Failure::Denied));
        }
        self.line.send(&Reply::Welcome {
            protocol: PROTOCOL,
            identity: self.store.identity().to_owned(),
        })?;
        loop {
            match self.line.receive::<Request>() {
                Ok(Request::Watch { prefix, after, identity }) => {
                    return self.watch(&prefix, after, identity);
                }
                Ok(request) => self.answer(request)?,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return self.line.send(&Reply::Failed(StoreError::protocol(error).into()));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn may_enter(&self) -> io::Result<bool> {
        let peer = Uid::from_raw(getsockopt(&self.stream, PeerCredentials)?.uid());
        Ok(peer.is_root() || peer == Uid::effective())
    }

    fn answer(&self, request: Request) -> io::Result<()> {
        let reply = match request {
            Request::Load { prefix } => match self.store.load(&prefix) {
                Ok(snapshot) => return self.send_snapshot(snapshot),
                Err(error) => Err(error),
            },
            Request::Commit { id, transaction } => {
                let committed = self.store.commit_once(Some(id), transaction);
                killpoint::pass(|| "a commit is not answered yet".into());
                committed.map(Reply::Committed)
            }
            Request::Grant { ttl_ms } => {
                let granted = self.store.grant(Duration::from_millis(ttl_ms));
                killpoint::pass(|| "a lease is granted, not answered yet".into());
                granted.map(Reply::Granted)
            }
            Request::KeepAlive { lease } => self.store.keep_alive(lease).map(|()| Reply::KeptAlive),
            Request::Revoke { lease } => self.store.revoke(lease).map(|()| Reply::Revoked),
            Request::Watch { .. } => Err(StoreError::protocol("a watch within a watch")),
        };
        self.line.send(&reply.unwrap_or_else(|error| Reply::Failed(error.into())))
    }

    fn send_snapshot(&self, snapshot: Snapshot) -> io::Result<()> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        for object in snapshot.objects {
            bytes += size(&object);
            page.push(object);
            if bytes >= PAGE {
                self.line.send(&Reply::Objects(std::mem::take(&mut page)))?;
                bytes = 0;
            }
        }
        if !page.is_empty() {
            self.line.send(&Reply::Objects(page))?;
        }
        self.line.send(&Reply::Loaded(snapshot.revision))
    }

    fn watch(self, prefix: &str, after: Revision, identity: Option<String>) -> io::Result<()> {
        let streamed = match self.begin_watch(prefix, after, identity.as_deref()) {
            Ok(cursor) => {
                self.line.send(&Reply::Watching)?;
                self.stream(cursor)?
            }
            Err(error) => error,
        };
        match streamed {
            // The server ends; the peer sees the connection close, and comes back.
            StoreError::Unreachable { .. } => Ok(()),
            error => self.line.send(&Reply::Failed(error.into())),
        }
    }

    fn begin_watch(
        &self,
        prefix: &str,
        after: Revision,
        identity: Option<&str>,
    ) -> Result<Cursor, StoreError> {
        if identity.is_some_and(|identity| identity != self.store.identity()) {
            let oldest = self.store.load_revision()?;
            return Err(StoreError::Compacted { oldest });
        }
        self.store.cursor(prefix, after)
    }

    /// Sends what comes until the watch cannot go on, and says why.
    fn stream(&self, mut cursor: Cursor) -> io::Result<StoreError> {
        let mut next_heartbeat = clock::now() + HEARTBEAT;
        loop {
            let batches = match cursor.advance(next_heartbeat) {
                Ok(batches) => batches,
                Err(error) => return Ok(error),
            };
            for batch in batches {
                self.line.send(&Reply::Batch(batch))?;
            }
            let now = clock::now();
            if now >= next_heartbeat {
                self.line.send(&Reply::Heartbeat(cursor.place()))?;
                next_heartbeat = now + HEARTBEAT;
            }
        }
    }
}

fn size(object: &Object) -> usize {
    object.key.len() + object.value.len()
}
