//! A watch over a connection, taken up again where it was when the server is back.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::dial::{self, Fault};
use super::{FIRST_PAUSE, LAST_PAUSE, after, retry};
use crate::store::wire::{Line, Reply, Request, SILENCE};
use crate::store::{Batch, Revision, StoreError, Watch, clock};

/// The least time a server has to answer a watch taken up again, however short the caller's timeout.
const HANDSHAKE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Following {
    socket: PathBuf,
    prefix: String,
    patience: Duration,
    /// Everything watched up to here has been handed out.
    place: Revision,
    /// The database that the place is of.
    identity: Option<String>,
    line: Option<Line>,
    heard: Instant,
    /// Since when there is no connection.
    lost: Option<Instant>,
}

impl Following {
    pub(super) fn begin(
        socket: PathBuf,
        prefix: &str,
        place: Revision,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let now = clock::now();
        let prefix = prefix.to_owned();
        let mut following = Self {
            socket,
            prefix,
            patience,
            place,
            identity: None,
            line: None,
            heard: now,
            lost: None,
        };
        let deadline = after(now, patience);
        retry(deadline, || following.take_up(deadline))
            .map_err(|fault| fault.into_error(&following.socket))?;
        Ok(following)
    }

    /// Connects and asks for what follows the place.
    fn take_up(&mut self, deadline: Instant) -> Result<(), Fault> {
        let mut dialled = dial::dial(&self.socket, deadline)?;
        let request = Request::Watch {
            prefix: self.prefix.clone(),
            after: self.place,
            identity: self.identity.clone(),
        };
        dialled.line.send(&request)?;
        match dialled.line.receive_until(deadline)? {
            Reply::Watching => {}
            Reply::Failed(failure) => return Err(Fault::Refused(failure)),
            other => return Err(Fault::unexpected(&other)),
        }
        self.identity = Some(dialled.identity);
        self.line = Some(dialled.line);
        self.heard = clock::now();
        self.lost = None;
        Ok(())
    }

    /// Has a connection, or has waited for one until `deadline`.
    fn connected(&mut self, deadline: Instant) -> Result<bool, StoreError> {
        let mut pause = FIRST_PAUSE;
        while self.line.is_none() {
            let now = clock::now();
            let lost = *self.lost.get_or_insert(now);
            match self.take_up(deadline.max(now + HANDSHAKE)) {
                Ok(()) => break,
                Err(fault) if !fault.is_passing() || now.duration_since(lost) > self.patience => {
                    self.lost = None;
                    return Err(fault.into_error(&self.socket));
                }
                Err(_) if clock::now() + pause >= deadline => {
                    thread::sleep(deadline.saturating_duration_since(clock::now()));
                    return Ok(false);
                }
                Err(_) => thread::sleep(pause),
            }
            pause = (pause * 3 / 2).min(LAST_PAUSE);
        }
        Ok(true)
    }

    /// What the server says next; nothing if it says nothing until `deadline`, or is lost.
    fn hear(&mut self, deadline: Instant) -> Result<Option<Reply>, StoreError> {
        let Some(line) = &mut self.line else {
            return Ok(None);
        };
        let fault = match line.receive_until(deadline) {
            Ok(reply) => {
                self.heard = clock::now();
                return Ok(Some(reply));
            }
            Err(error) => error,
        };
        let waited = matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        if waited && self.heard.elapsed() < SILENCE {
            return Ok(None);
        }
        self.line = None;
        match Fault::from(fault) {
            Fault::Lost(_) => Ok(None),
            broken => Err(broken.into_error(&self.socket)),
        }
    }
}

impl Watch for Following {
    fn next(&mut self, timeout: Duration) -> Result<Option<Batch>, StoreError> {
        let deadline = after(clock::now(), timeout);
        loop {
            if !self.connected(deadline)? {
                return Ok(None);
            }
            let slice = deadline.min(clock::now() + SILENCE);
            match self.hear(slice)? {
                Some(Reply::Batch(batch)) => {
                    self.place = batch.revision;
                    return Ok(Some(batch));
                }
                Some(Reply::Heartbeat(revision)) => self.place = revision,
                Some(Reply::Failed(failure)) => {
                    self.line = None;
                    return Err(failure.into_error(&self.socket));
                }
                Some(other) => return Err(Fault::unexpected(&other).into_error(&self.socket)),
                None => {}
            }
            if clock::now() >= deadline && self.line.is_some() {
                return Ok(None);
            }
        }
    }
}
