//! When leases run out: deadlines in memory, on the monotonic clock. That leases exist at all is the database's to remember;
//! after a restart each of them starts with its full TTL.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::LeaseId;

/// The shortest TTL; a shorter one is lengthened to it.
pub(super) const MIN_TTL: Duration = Duration::from_millis(100);
/// The longest TTL; a longer one is shortened to it.
pub(super) const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How often the deadlines are looked at while there are any.
const TICK: Duration = Duration::from_millis(500);
/// So that leases which the database will not end do not keep the process busy.
const MIN_WAIT: Duration = Duration::from_millis(50);
/// A look that comes this much too late means that the process itself was stopped.
const STALL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) ttl: Duration,
    deadline: Instant,
}

impl Term {
    fn starting(now: Instant, ttl: Duration) -> Self {
        Self { ttl, deadline: now + ttl.clamp(MIN_TTL, MAX_TTL) }
    }
}

/// The living leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    terms: BTreeMap<LeaseId, Term>,
    next_look: Option<Instant>,
}

impl Leases {
    /// Begins, or begins again, a full term of `ttl`.
    pub(super) fn begin(&mut self, lease: LeaseId, ttl: Duration, now: Instant) {
        self.terms.insert(lease, Term::starting(now, ttl));
        // A process stopped before it comes to plan its next look is late for this one.
        self.next_look.get_or_insert(now + TICK);
    }

    /// Whether there was such a lease to renew.
    pub(super) fn keep_alive(&mut self, lease: LeaseId, now: Instant) -> bool {
        let Some(term) = self.terms.get_mut(&lease) else {
            return false;
        };
        *term = Term::starting(now, term.ttl);
        true
    }

    pub(super) fn contains(&self, lease: LeaseId) -> bool {
        self.terms.contains_key(&lease)
    }

    pub(super) fn remove(&mut self, lease: LeaseId) -> Option<Term> {
        self.terms.remove(&lease)
    }

    /// Takes back what [`Leases::remove`] gave out.
    pub(super) fn restore(&mut self, terms: Vec<(LeaseId, Term)>) {
        self.terms.extend(terms);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The leases whose deadline is past.
    pub(super) fn due(&self, now: Instant) -> Vec<LeaseId> {
        self.terms
            .iter()
            .filter(|(_, term)| term.deadline <= now)
            .map(|(lease, _)| *lease)
            .collect()
    }

    /// Gives every lease the time that this process was stopped: nobody could have renewed one meanwhile.
    pub(super) fn forgive_stall(&mut self, now: Instant) {
        let late =
            self.next_look.map_or(Duration::ZERO, |planned| now.saturating_duration_since(planned));
        if late >= STALL {
            self.terms.values_mut().for_each(|term| term.deadline += late);
        }
    }

    /// How long until the deadlines must be looked at again; `None` if there are no leases.
    pub(super) fn plan_look(&mut self, now: Instant) -> Option<Duration> {
        let soonest = self.terms.values().map(|term| term.deadline).min();
        let wait =
            soonest.map(|deadline| deadline.saturating_duration_since(now).clamp(MIN_WAIT, TICK));
        self.next_look = wait.map(|wait| now + wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_is_due_at_its_deadline_and_not_before() {
        let start = clock::now();
        let mut leases = Leases::default();
        leases.begin(LeaseId(1), 10 * SECOND, start);
        assert_eq!(leases.due(start + 9 * SECOND), []);
        assert_eq!(leases.due(start + 10 * SECOND), [LeaseId(1)]);
    }

    #[test]
    fn keeping_alive_gives_a_full_term_again() {
        let start = clock::now();
        let mut leases = Leases::default();
        leases.begin(LeaseId(1), 10 * SECOND, start);
        assert!(leases.keep_alive(LeaseId(1), start + 9 * SECOND));
        assert_eq!(leases.due(start + 18 * SECOND), []);
        assert_eq!(leases.due(start + 19 * SECOND), [LeaseId(1)]);
        assert!(!leases.keep_alive(LeaseId(2), start));
    }

    #[test]
    fn a_stopped_process_charges_nobody_for_the_time_it_was_away() {
        let start = clock::now();
        let mut leases = Leases::default();
        leases.begin(LeaseId(1), 10 * SECOND, start);
        let wait = leases.plan_look(start).expect("there is a lease");
        let woken = start + wait + 60 * SECOND;
        leases.forgive_stall(woken);
        assert_eq!(leases.due(woken), []);
        assert_eq!(leases.due(start + 70 * SECOND), [LeaseId(1)]);
    }

    #[test]
    fn a_process_stopped_before_its_first_look_charges_nobody_either() {
        let start = clock::now();
        let mut leases = Leases::default();
        leases.begin(LeaseId(1), 2 * SECOND, start);
        leases.forgive_stall(start + 60 * SECOND);
        assert_eq!(leases.due(start + 60 * SECOND), []);
    }

    #[test]
    fn a_look_a_little_late_changes_no_deadline() {
        let start = clock::now();
        let mut leases = Leases::default();
        leases.begin(LeaseId(1), SECOND, start);
        let wait = leases.plan_look(start).expect("there is a lease");
        leases.forgive_stall(start + wait + SECOND / 2);
        assert_eq!(leases.due(start + SECOND), [LeaseId(1)]);
    }

    #[test]
    fn without_leases_nothing_is_planned() {
        assert_eq!(Leases::default().plan_look(clock::now()), None);
    }

    #[test]
    fn an_endless_term_overflows_no_clock() {
        let mut leases = Leases::default();
        leases.begin(LeaseId(1), Duration::MAX, clock::now());
        assert!(leases.contains(LeaseId(1)));
    }
}
