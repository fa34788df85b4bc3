//! Draining: when a task that leaves may go. Time is counted by whoever looks at it, from when it first
//! did: dates are those of other machines, and clocks jump.

use std::time::Duration;

/// How long nobody may have been connected. A connection that a sandbox balanced just before it took
/// the task out of rotation is a moment on its way.
pub const QUIET: Duration = Duration::from_millis(100);
/// The same for UDP, of which only silence can be seen.
pub const SILENCE: Duration = Duration::from_secs(1);

/// What is known of a task that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// How long it may take to leave, whoever is connected.
    pub timeout: Duration,
    /// For how long it has been seen to leave.
    pub leaving: Duration,
    /// For how long it has been out of every node's tables and DNS; none while one still lacks word.
    pub out: Option<Duration>,
    /// For how long nobody has been connected; none while somebody is.
    pub quiet: Option<Duration>,
    /// Whether it serves UDP.
    pub datagrams: bool,
    /// Whether its process ended.
    pub ended: bool,
    /// How long clients may keep its address; nothing where they only know the VIP.
    pub kept: Duration,
}

/// Whether it may go.
pub fn has_left(seen: &Seen) -> bool {
    if seen.leaving >= seen.timeout {
        return true;
    }
    let Some(out) = seen.out.filter(|out| *out >= seen.kept) else { return false };
    let needed = if seen.datagrams { SILENCE } else { QUIET };
    seen.ended || (out >= needed && seen.quiet.is_some_and(|quiet| quiet >= needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(5));
    const IDLE: Seen = Seen {
        timeout: Duration::from_secs(10),
        leaving: Duration::from_secs(6),
        out: LONG,
        quiet: LONG,
        datagrams: false,
        ended: false,
        kept: Duration::ZERO,
    };

    #[test]
    fn an_idle_task_goes_once_every_node_has_taken_it_out() {
        assert!(has_left(&IDLE));
        assert!(!has_left(&Seen { out: None, ..IDLE }));
        let just_out = Seen { out: Some(Duration::from_millis(50)), ..IDLE };
        assert!(!has_left(&just_out));
    }

    #[test]
    fn a_busy_task_stays_until_its_drain_timeout() {
        let busy = Seen { quiet: None, leaving: Duration::from_millis(9999), ..IDLE };
        assert!(!has_left(&busy));
        let late = Seen { leaving: busy.timeout, ..busy };
        assert!(has_left(&late));
        assert!(has_left(&Seen { out: None, ..late }));
    }

    #[test]
    fn udp_must_be_silent_for_longer() {
        let quiet = Some(Duration::from_millis(500));
        assert!(has_left(&Seen { quiet, ..IDLE }));
        assert!(!has_left(&Seen { quiet, datagrams: true, ..IDLE }));
    }

    #[test]
    fn clients_that_may_have_kept_its_address_are_waited_for() {
        let kept = Duration::from_secs(6);
        assert!(!has_left(&Seen { kept, ..IDLE }));
        assert!(has_left(&Seen { kept, out: Some(kept), ..IDLE }));
    }

    #[test]
    fn a_task_that_ended_by_itself_serves_nobody() {
        let ended = Seen { ended: true, quiet: None, ..IDLE };
        assert!(has_left(&ended));
        assert!(!has_left(&Seen { out: None, ..ended }));
    }
}
