//! A watch that goes on at another member, or at the same one when it is back, where it was.

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tonic::Streaming;

use super::call::{self, Fault};
use super::wire::{WatchCreateRequest, WatchEvent, WatchRequest, WatchResponse, method};
use super::{Etcd, FIRST_PAUSE, LAST_PAUSE, Search, end_of, number, revision};
use crate::store::{Batch, Event, Revision, StoreError, Watch, clock};

/// The least time a member has to take a watch up again, however short the caller's timeout.
const HANDSHAKE: Duration = Duration::from_millis(500);

pub(super) struct Following {
    // Before the client, whose runtime it lives in.
    stream: Option<Streaming<WatchResponse>>,
    etcd: Etcd,
    prefix: String,
    /// Everything watched up to here has been handed out or is ready to be.
    place: Revision,
    ready: VecDeque<Batch>,
    /// The cluster that the place is of.
    cluster: Option<u64>,
    /// Since when there is no connection.
    lost: Option<Instant>,
}

/// Why a watch is not taken up.
enum Refusal {
    Fault(Fault),
    Error(StoreError),
}

impl Following {
    pub(super) fn begin(etcd: Etcd, prefix: &str, place: Revision) -> Result<Self, StoreError> {
        let prefix = prefix.to_owned();
        let ready = VecDeque::new();
        let mut following =
            Self { stream: None, etcd, prefix, place, ready, cluster: None, lost: None };
        let mut search = Search::beginning(following.etcd.patience);
        loop {
            let (number, _) = following.etcd.shared.members.current();
            match following.take_up(search.turn()) {
                Ok(()) => return Ok(following),
                Err(Refusal::Error(error)) => return Err(error),
                Err(Refusal::Fault(fault)) => search
                    .goes_on(&following.etcd, number, fault)
                    .map_err(|failed| following.etcd.error(failed.fault))?,
            }
        }
    }

    /// Asks the current member for what follows the place.
    fn take_up(&mut self, limit: Duration) -> Result<(), Refusal> {
        let key = self.etcd.key(&self.prefix);
        let create = WatchCreateRequest {
            range_end: end_of(&key),
            key,
            start_revision: number(self.place.next().0),
            progress_notify: true,
        };
        let question = WatchRequest { create: Some(create) };
        let (_, channel) = self.etcd.shared.members.current();
        let followed = call::follow(channel, method::WATCH, question, limit);
        let (stream, created): (_, WatchResponse) =
            self.etcd.shared.runtime.wait_for(followed).map_err(Refusal::Fault)?;
        self.recognise(&created)?;
        self.take(created).map_err(Refusal::Error)?;
        self.stream = Some(stream);
        self.lost = None;
        Ok(())
    }

    /// Sees whether the store behind is still the one that the place is of. One that was restored from a snapshot, or made
    /// anew, has an earlier revision; a member that lags has too, which only a read by the quorum tells apart.
    fn recognise(&mut self, created: &WatchResponse) -> Result<(), Refusal> {
        let header = created.header.clone().unwrap_or_default();
        let known = *self.cluster.get_or_insert(header.cluster_id);
        let is_earlier = revision(header.revision) < self.place;
        if known == header.cluster_id && !is_earlier {
            return Ok(());
        }
        let newest = revision(self.etcd.revision().map_err(Refusal::Error)?);
        self.cluster = Some(header.cluster_id);
        match known == header.cluster_id && newest >= self.place {
            true => Ok(()),
            false => Err(Refusal::Error(StoreError::Compacted { oldest: newest })),
        }
    }

    /// Has a stream, or has waited for one until `deadline`.
    fn connected(&mut self, deadline: Instant) -> Result<bool, StoreError> {
        let mut pause = FIRST_PAUSE;
        while self.stream.is_none() {
            let now = clock::now();
            let lost = *self.lost.get_or_insert(now);
            let limit = deadline.saturating_duration_since(now).clamp(HANDSHAKE, super::TURN);
            let (number, _) = self.etcd.shared.members.current();
            let fault = match self.take_up(limit) {
                Ok(()) => return Ok(true),
                Err(Refusal::Error(error)) => return Err(error),
                Err(Refusal::Fault(fault)) => fault,
            };
            self.etcd.shared.members.turn_from(number);
            if !fault.is_passing() || now.duration_since(lost) > self.etcd.patience {
                self.lost = None;
                return Err(self.etcd.error(fault));
            }
            let left = deadline.saturating_duration_since(clock::now());
            thread::sleep(pause.min(left));
            if pause >= left {
                return Ok(false);
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
        Ok(true)
    }

    /// Makes batches of what etcd says: one for each revision, of which it never sends a part.
    fn take(&mut self, said: WatchResponse) -> Result<(), StoreError> {
        self.etcd.note(&said);
        if said.canceled {
            self.stream = None;
            return match (said.compact_revision, said.cancel_reason) {
                (0, reason) if reason.contains("no leader") => Ok(()),
                (0, sentence) => Err(self.etcd.error(Fault::Refused(sentence))),
                (oldest, _) => Err(StoreError::Compacted { oldest: revision(oldest) }),
            };
        }
        if said.events.is_empty() && !said.created {
            // Nothing was watched up to here: what is remembered need not reach back further.
            self.place = self.place.max(revision(said.header.map_or(0, |header| header.revision)));
        }
        for event in said.events {
            self.take_event(event)?;
        }
        Ok(())
    }

    fn take_event(&mut self, said: WatchEvent) -> Result<(), StoreError> {
        let kv = said.kv.unwrap_or_default();
        let revision = revision(kv.mod_revision);
        let event = match said.kind {
            WatchEvent::DELETE => Event::Delete { key: self.etcd.own_key(kv.key)?, revision },
            _ => Event::Put(self.etcd.object(kv)?),
        };
        match self.ready.back_mut() {
            Some(batch) if batch.revision == revision => batch.events.push(event),
            _ => self.ready.push_back(Batch { revision, events: vec![event] }),
        }
        self.place = self.place.max(revision);
        Ok(())
    }
}

impl Watch for Following {
    fn next(&mut self, wait: Duration) -> Result<Option<Batch>, StoreError> {
        let now = clock::now();
        let deadline = now.checked_add(wait).unwrap_or(now + crate::store::lease::MAX_TTL);
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if !self.connected(deadline)? {
                return Ok(None);
            }
            let Some(stream) = &mut self.stream else { continue };
            let left = deadline.saturating_duration_since(clock::now());
            // Made inside the runtime, whose clock it waits by.
            let heard = async { timeout(left, stream.message()).await };
            match self.etcd.shared.runtime.wait_for(heard) {
                Err(_) => return Ok(None),
                Ok(Ok(Some(said))) => self.take(said)?,
                Ok(Ok(None) | Err(_)) => {
                    self.stream = None;
                    let (number, _) = self.etcd.shared.members.current();
                    self.etcd.shared.members.turn_from(number);
                    thread::sleep(FIRST_PAUSE);
                }
            }
        }
    }
}
