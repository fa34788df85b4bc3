//! Draining: when a task that leaves may go.

use std::time::Duration;

use crate::intent::Leaving;

/// How long nobody may have been connected. A connection that a sandbox balanced just before it took
/// the task out of rotation is a moment on its way.
pub const QUIET: Duration = Duration::from_millis(100);
/// The same for UDP, of which only silence can be seen.
pub const SILENCE: Duration = Duration::from_secs(1);

/// What is known of a task that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
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

/// Whether it may go. `now` is in milliseconds since 1970.
pub fn has_left(leaving: &Leaving, seen: &Seen, now: u64) -> bool {
    if now >= leaving.until {
        return true;
    }
    let Some(out) = seen.out.filter(|out| *out >= seen.kept) else { return false };
    let needed = if seen.datagrams { SILENCE } else { QUIET };
    seen.ended || (out >= needed && seen.quiet.is_some_and(|quiet| quiet >= needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAVING: Leaving = Leaving { since: 1000, until: 11_000 };
    const LONG: Option<Duration> = Some(Duration::from_secs(5));
    const IDLE: Seen =
        Seen { out: LONG, quiet: LONG, datagrams: false, ended: false, kept: Duration::ZERO };

    #[test]
    fn an_idle_task_goes_once_every_node_has_taken_it_out() {
        assert!(has_left(&LEAVING, &IDLE, 2000));
        assert!(!has_left(&LEAVING, &Seen { out: None, ..IDLE }, 2000));
        let just_out = Seen { out: Some(Duration::from_millis(50)), ..IDLE };
        assert!(!has_left(&LEAVING, &just_out, 2000));
    }

    #[test]
    fn a_busy_task_stays_until_its_drain_timeout() {
        let busy = Seen { quiet: None, ..IDLE };
        assert!(!has_left(&LEAVING, &busy, 10_999));
        assert!(has_left(&LEAVING, &busy, 11_000));
        assert!(has_left(&LEAVING, &Seen { out: None, ..busy }, 11_000));
    }

    #[test]
    fn udp_must_be_silent_for_longer() {
        let quiet = Some(Duration::from_millis(500));
        assert!(has_left(&LEAVING, &Seen { quiet, ..IDLE }, 2000));
        assert!(!has_left(&LEAVING, &Seen { quiet, datagrams: true, ..IDLE }, 2000));
    }

    #[test]
    fn clients_that_may_have_kept_its_address_are_waited_for() {
        let kept = Duration::from_secs(6);
        assert!(!has_left(&LEAVING, &Seen { kept, ..IDLE }, 2000));
        assert!(has_left(&LEAVING, &Seen { kept, out: Some(kept), ..IDLE }, 2000));
    }

    #[test]
    fn a_task_that_ended_by_itself_serves_nobody() {
        let ended = Seen { ended: true, quiet: None, ..IDLE };
        assert!(has_left(&LEAVING, &ended, 2000));
        assert!(!has_left(&LEAVING, &Seen { out: None, ..ended }, 2000));
    }
}
