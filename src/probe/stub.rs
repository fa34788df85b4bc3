//! One client's memory of a name: none, as long as the answer lives, or for ever. All of a
//! sandbox's workers share it, as the threads of a process or the programs of a machine do.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::probe::crowd::{Found, ResolveFailure};
use crate::probe::resolution::Resolution;
use crate::trace::conditions::ClientCache;
use crate::trace::sample::Source;

/// How many answers are remembered whole, for the report.
const REMEMBERED: usize = 4;

/// What a client keeps of one name.
#[derive(Debug)]
pub struct Stub {
    policy: ClientCache,
    kept: Mutex<Option<Kept>>,
    seen: Mutex<Seen>,
}

/// An answer that is kept.
#[derive(Debug, Clone)]
struct Kept {
    addresses: Vec<IpAddr>,
    /// None: for ever.
    until: Option<Instant>,
}

impl Kept {
    fn is_alive(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

/// What the answers were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The first few, whole and in the order in which they came.
    pub first: Vec<Vec<IpAddr>>,
    /// The TTL of the last one, in seconds.
    pub ttl: Option<u32>,
}

impl Stub {
    pub fn new(policy: ClientCache) -> Self {
        Self { policy, kept: Mutex::default(), seen: Mutex::default() }
    }

    /// The name's addresses: what is kept, else what `ask` answers. Workers that need it at the same
    /// time wait for one answer, where answers are kept.
    ///
    /// # Errors
    /// Why there are none; failures are not kept.
    pub fn resolve(
        &self,
        ask: impl FnOnce() -> Result<Resolution, ResolveFailure>,
    ) -> Result<Found, ResolveFailure> {
        if self.policy == ClientCache::None {
            let addresses = self.note(&ask()?)?;
            return Ok(Found { addresses, source: Source::Asked });
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_alive()) {
            return Ok(Found { addresses: kept.addresses.clone(), source: Source::Kept });
        }
        let resolution = ask()?;
        let addresses = self.note(&resolution)?;
        let until = match self.policy {
            ClientCache::Forever => None,
            ClientCache::Ttl | ClientCache::None => {
                let ttl = Duration::from_secs(resolution.ttl.unwrap_or(0).into());
                Some(Instant::now() + ttl)
            }
        };
        *kept = Some(Kept { addresses: addresses.clone(), until });
        Ok(Found { addresses, source: Source::Asked })
    }

    /// The address that a request of now would go to without asking; none when it would ask.
    pub fn kept(&self) -> Option<IpAddr> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|kept| kept.is_alive())?.addresses.first().copied()
    }

    /// What the answers were so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The addresses of an answer, which is remembered; an answer without any is a failure.
    fn note(&self, resolution: &Resolution) -> Result<Vec<IpAddr>, ResolveFailure> {
        if resolution.addresses.is_empty() {
            return Err(ResolveFailure(resolution.verdict()));
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.first.len() < REMEMBERED {
            seen.first.push(resolution.addresses.clone());
        }
        seen.ttl = resolution.ttl;
        Ok(resolution.addresses.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use hickory_proto::op::ResponseCode;

    use super::*;
    use crate::dns::request::Transport;

    fn answer(ttl: Option<u32>, last: &[u8]) -> Resolution {
        Resolution {
            addresses: last.iter().map(|last| IpAddr::from([10, 0, 3, *last])).collect(),
            names: Vec::new(),
            ttl,
            code: ResponseCode::NoError,
            authoritative: true,
            elapsed: Duration::ZERO,
            transport: Transport::Udp,
        }
    }

    /// The last bytes of the first addresses of some resolutions of a name that goes round, and how
    /// often it was asked for.
    fn firsts(policy: ClientCache, ttl: Option<u32>, times: usize) -> (Vec<u8>, usize, Stub) {
        let stub = Stub::new(policy);
        let asked = Cell::new(0);
        let orders = [[3, 4, 5], [4, 5, 3], [5, 3, 4]];
        let firsts = (0..times).map(|_| {
            let found = stub.resolve(|| {
                asked.set(asked.get() + 1);
                Ok(answer(ttl, &orders[(asked.get() - 1) % 3]))
            });
            match found.expect("an answer").addresses.first() {
                Some(IpAddr::V4(address)) => address.octets()[3],
                other => panic!("{other:?}"),
            }
        });
        (firsts.collect(), asked.get(), stub)
    }

    #[test]
    fn without_memory_each_request_asks() {
        let (firsts, asked, stub) = firsts(ClientCache::None, Some(600), 5);
        assert_eq!((&firsts[..], asked), (&[3, 4, 5, 3, 4][..], 5));
        assert_eq!((stub.seen().first.len(), stub.seen().ttl), (REMEMBERED, Some(600)));
    }

    #[test]
    fn an_answer_is_kept_while_it_lives_and_no_longer() {
        assert_eq!(firsts(ClientCache::Ttl, Some(600), 5).0, [3; 5]);
        // Without a TTL, and with one of 0, nothing may be kept.
        assert_eq!(firsts(ClientCache::Ttl, Some(0), 4).0, [3, 4, 5, 3]);
        assert_eq!(firsts(ClientCache::Ttl, None, 4).0, [3, 4, 5, 3]);
    }

    #[test]
    fn for_ever_is_one_question_whatever_the_ttl() {
        let (firsts, asked, stub) = firsts(ClientCache::Forever, Some(0), 50);
        assert_eq!((firsts, asked), (vec![3; 50], 1));
        assert_eq!(stub.seen().first, [answer(None, &[3, 4, 5]).addresses]);
    }

    #[test]
    fn failures_and_empty_answers_are_not_kept() {
        let stub = Stub::new(ClientCache::Forever);
        let failed = stub.resolve(|| Err(ResolveFailure("silence".to_owned())));
        assert_eq!(failed, Err(ResolveFailure("silence".to_owned())));
        let empty = stub.resolve(|| Ok(answer(Some(2), &[])));
        assert_eq!(empty, Err(ResolveFailure("NOERROR".to_owned())));
        assert_eq!(stub.seen(), Seen::default());
        let found = stub.resolve(|| Ok(answer(Some(2), &[7]))).expect("an answer");
        assert_eq!(found.source, Source::Asked);
    }
}
