//! Options that say how a service's VIPs are balanced.

use std::num::NonZeroU32;
use std::str::FromStr;

use clap::Args;

use super::number::number;
use crate::intent::balancing::{LONGEST_AFFINITY, MOST_CONNECTIONS};
use crate::intent::{
    Affinity, Balancing, ClientMask, IntentError, Scheduler, SchedulerFlags, Thresholds,
};

#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Balancing")]
#[group(id = "balancing")]
pub struct Options {
    /// How IPVS picks a task for a new connection [default: auto]
    ///
    /// `auto` is rr, and wrr as long as weights differ. rr: in turn. wrr: in turn, by weights. lc: who has the
    /// fewest connections. wlc: the same for its weight. sed: as wlc, with the connection that comes. nq: who has
    /// none, else as sed. sh, mh: by the client's address, mh moving few clients when tasks come or go. fo: the
    /// greatest weight takes all. ovf: the greatest weight takes one connection more than it is, then the next;
    /// when all are full, who connects is refused, with weights of 1 from the third for each task on. A
    /// change holds for new connections; those that there are stay. What nftables balances knows rr and wrr only.
    /// swarmlb-concepts(7) shows what each does.
    #[arg(long, value_name = "NAME")]
    pub scheduler: Option<TypedScheduler>,
    /// Flags of sh and mh: `port` (the client's port counts too), `fallback` (who would come to a task
    /// that takes nobody new goes to another), both with a comma between, or `none`
    #[arg(long, value_name = "FLAGS")]
    pub scheduler_flags: Option<SchedulerFlags>,
    /// For how long after its last connection a client comes to the task that it had; 0 for not at
    /// all [default: 0]
    ///
    /// All its connections to the service count, whatever the port. In a task's sandbox the client is
    /// the task; in the routing mesh it is whoever comes from outside, as each node sees it. The mark
    /// of such a service stays when tasks come or go, so new ones at first get more than their share.
    #[arg(long, value_name = "SECONDS", value_parser = number(0..=LONGEST_AFFINITY))]
    pub persistent: Option<u32>,
    /// Clients that are the same to that netmask are one for `--persistent`, as /24 [default: /32]
    #[arg(long, value_name = "MASK")]
    pub persistent_netmask: Option<ClientMask>,
    /// With how many connections a task gets no new ones; 0 for any number [default: 0]
    ///
    /// Each sandbox counts those that go out of it, closed ones too until they are forgotten (TCP's for up to
    /// two minutes); a node's ingress sandbox counts those that came by it. Where all tasks have as many,
    /// who connects is refused.
    #[arg(long, value_name = "N", value_parser = number(0..=MOST_CONNECTIONS))]
    pub max_connections: Option<u32>,
    /// Below how many connections it gets new ones again [default: three quarters of
    /// `--max-connections`]
    #[arg(long, value_name = "N", value_parser = number(0..=MOST_CONNECTIONS))]
    pub min_connections: Option<u32>,
}

/// A scheduler's name, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypedScheduler(pub Option<Scheduler>);

impl FromStr for TypedScheduler {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self(None)),
            _ => text.parse().map(|scheduler| Self(Some(scheduler))),
        }
    }
}

impl Options {
    /// What was typed, over what is held.
    ///
    /// # Errors
    /// An option that means nothing beside the others.
    pub fn over(&self, held: &Balancing) -> Result<Balancing, IntentError> {
        let scheduler = self.scheduler.map_or(held.scheduler, |typed| typed.0);
        let scheduler_flags = match &self.scheduler_flags {
            Some(typed) => typed.0.clone(),
            // Another scheduler has none, unless it hashes as well.
            None if scheduler.is_some_and(Scheduler::hashes) => held.scheduler_flags.clone(),
            None => Default::default(),
        };
        let (affinity, thresholds) = (self.affinity(held)?, self.thresholds(held)?);
        Ok(Balancing { scheduler, scheduler_flags, affinity, thresholds })
    }

    fn affinity(&self, held: &Balancing) -> Result<Option<Affinity>, IntentError> {
        let seconds = match self.persistent {
            Some(seconds) => NonZeroU32::new(seconds),
            None => held.affinity.map(|held| held.seconds),
        };
        let netmask = self.persistent_netmask.or(held.affinity.map(|held| held.netmask));
        match (seconds, self.persistent_netmask) {
            (None, Some(_)) => Err(IntentError::NetmaskWithoutAffinity),
            (None, None) => Ok(None),
            (Some(seconds), _) => {
                Ok(Some(Affinity { seconds, netmask: netmask.unwrap_or_default() }))
            }
        }
    }

    fn thresholds(&self, held: &Balancing) -> Result<Option<Thresholds>, IntentError> {
        let most = match self.max_connections {
            Some(most) => NonZeroU32::new(most),
            None => held.thresholds.map(|held| held.most),
        };
        let least = match self.min_connections {
            Some(least) => NonZeroU32::new(least),
            None => held.thresholds.and_then(|held| held.least),
        };
        match most {
            Some(most) => Ok(Some(Thresholds { most, least })),
            None if self.min_connections.is_some_and(|least| least > 0) => {
                Err(IntentError::LeastWithoutMost)
            }
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::SchedulerFlag;

    fn typed(options: Options, held: &Balancing) -> Balancing {
        options.over(held).unwrap()
    }

    #[test]
    fn what_is_not_typed_stays_and_what_has_lost_its_meaning_goes() {
        let mh = Options {
            scheduler: Some("mh".parse().unwrap()),
            scheduler_flags: Some("port".parse().unwrap()),
            persistent: Some(60),
            persistent_netmask: Some("/24".parse().unwrap()),
            max_connections: Some(100),
            min_connections: Some(10),
        };
        let held = typed(mh, &Balancing::default());
        assert_eq!(typed(Options::default(), &held), held);
        let sh = Options { scheduler: Some("sh".parse().unwrap()), ..Options::default() };
        assert_eq!(typed(sh, &held).scheduler_flags, [SchedulerFlag::Port].into());
        let none = Options {
            scheduler: Some("auto".parse().unwrap()),
            persistent: Some(0),
            max_connections: Some(0),
            ..Options::default()
        };
        assert_eq!(typed(none, &held), Balancing::default());
    }

    #[test]
    fn a_netmask_or_a_least_alone_is_refused() {
        let mask = Options { persistent_netmask: Some(ClientMask(24)), ..Options::default() };
        assert!(mask.over(&Balancing::default()).is_err());
        let least = Options { min_connections: Some(1), ..Options::default() };
        assert!(least.over(&Balancing::default()).is_err());
    }
}
