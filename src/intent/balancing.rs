//! How a service's VIPs are balanced: by which scheduler, with which affinity, and up to how many
//! connections. What cannot be is refused here, before anything is touched.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::scheduler::Weights;
use super::{
    DataPlane, DataPlaneChoice, EndpointMode, Intent, IntentError, NodeRecord, Scheduler,
    SchedulerFlag, Service,
};

/// What was asked for; by default what Docker's swarm mode does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Balancing {
    /// None for `rr`, and `wrr` as long as weights differ or may.
    #[serde(default)]
    pub scheduler: Option<Scheduler>,
    #[serde(default)]
    pub scheduler_flags: BTreeSet<SchedulerFlag>,
    /// Whether a client stays with the task that it had.
    #[serde(default)]
    pub affinity: Option<Affinity>,
    /// How many connections a task takes from one sandbox.
    #[serde(default)]
    pub thresholds: Option<Thresholds>,
}

/// A client goes to the task that it had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affinity {
    /// How long after its last connection ended, in seconds.
    pub seconds: NonZeroU32,
    /// Clients with the same first bits of their address are one.
    #[serde(default)]
    pub netmask: ClientMask,
}

/// Longest affinity, in seconds: a month.
pub const LONGEST_AFFINITY: u32 = 30 * 24 * 3600;

/// How many bits of an IPv4 address tell clients apart, 1 to 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientMask(pub u8);

impl Default for ClientMask {
    /// Every address is a client by itself.
    fn default() -> Self {
        Self(32)
    }
}

impl ClientMask {
    /// As the tables have it: 0 where every address is a client by itself.
    pub fn bits_if_any(self) -> u32 {
        match self.0 {
            32 => 0,
            bits => bits.into(),
        }
    }
}

impl fmt::Display for ClientMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("/{}", self.0))
    }
}

impl FromStr for ClientMask {
    type Err = String;

    /// `24`, `/24` or `255.255.255.0`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bits = match text.parse::<Ipv4Addr>() {
            Ok(mask) => {
                let bits = u32::from(mask);
                (bits.leading_ones() == bits.count_ones()).then(|| bits.leading_ones() as u8)
            }
            Err(_) => text.strip_prefix('/').unwrap_or(text).parse().ok(),
        };
        bits.filter(|bits| (1..=32).contains(bits)).map(Self).ok_or_else(|| {
            let text = text.escape_debug();
            format!("`{text}` is no netmask: write its length, 1 to 32, or one as 255.255.255.0")
        })
    }
}

/// Bounds of a task's connections, as one sandbox counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// With so many it gets no new ones.
    pub most: NonZeroU32,
    /// Below so many it gets new ones again; none for three quarters of the most.
    #[serde(default)]
    pub least: Option<NonZeroU32>,
}

/// The greatest number of connections that IPVS counts to.
pub const MOST_CONNECTIONS: u32 = i32::MAX as u32;

impl Balancing {
    /// What of it only IPVS can do, in the words of the command line.
    pub fn only_by_ipvs(&self) -> Option<String> {
        match (self.scheduler, self.affinity, self.thresholds) {
            (Some(scheduler), ..) if !scheduler.is_in_nftables() => {
                Some(format!("scheduler {scheduler}"))
            }
            (_, Some(_), _) => Some("affinity (`--persistent`)".to_owned()),
            (_, _, Some(_)) => Some("a most of connections (`--max-connections`)".to_owned()),
            _ => None,
        }
    }

    /// An option that means nothing without a VIP.
    fn needs_a_vip(&self) -> Option<&'static str> {
        let Self { scheduler, scheduler_flags: _, affinity, thresholds } = self;
        let said = [
            (scheduler.is_some(), "--scheduler"),
            (affinity.is_some(), "--persistent"),
            (thresholds.is_some(), "--max-connections"),
        ];
        said.into_iter().find(|(said, _)| *said).map(|(_, option)| option)
    }

    /// The scheduler's flags as the kernel has them.
    pub fn flag_bits(&self) -> u32 {
        self.scheduler_flags.iter().map(|flag| flag.bit()).sum()
    }
}

impl Service {
    /// Whether IPVS, and nothing else, can balance its VIPs as was asked.
    pub fn needs_ipvs(&self) -> bool {
        self.data_plane == DataPlaneChoice::Ipvs || self.balancing.only_by_ipvs().is_some()
    }

    /// Refuses what cannot balance.
    pub(super) fn check_balancing(&self, intent: &Intent) -> Result<(), IntentError> {
        let asked = &self.balancing;
        if self.endpoint_mode == EndpointMode::Dnsrr
            && let Some(option) = asked.needs_a_vip()
        {
            return Err(IntentError::BalancingWithoutVip { option });
        }
        if self.data_plane == DataPlaneChoice::Nftables
            && let Some(what) = asked.only_by_ipvs()
        {
            return Err(IntentError::OnlyByIpvs { what });
        }
        self.check_scheduler()?;
        if let Some(Thresholds { most, least: Some(least) }) = asked.thresholds
            && least > most
        {
            return Err(IntentError::Thresholds { least: least.get(), most: most.get() });
        }
        intent.check_weights_heeded(self)?;
        intent.check_schedulers_there(self)
    }

    fn check_scheduler(&self) -> Result<(), IntentError> {
        let asked = &self.balancing;
        let hashes = asked.scheduler.is_some_and(Scheduler::hashes);
        if let Some(flag) = asked.scheduler_flags.iter().next().filter(|_| !hashes) {
            let scheduler = asked.scheduler.map_or("auto", Scheduler::name);
            return Err(IntentError::FlagWithoutHash { flag: *flag, scheduler });
        }
        match asked.scheduler.filter(|scheduler| !scheduler.can_ramp()) {
            Some(scheduler) if self.slow_start.millis() > 0 => {
                Err(IntentError::SlowStartIgnored { scheduler })
            }
            _ => Ok(()),
        }
    }
}

impl Intent {
    /// Refuses weights that would change nothing.
    pub(super) fn check_weights_heeded(&self, service: &Service) -> Result<(), IntentError> {
        let ignores = |scheduler: &Scheduler| scheduler.weights() == Weights::Ignored;
        let Some(scheduler) = service.balancing.scheduler.filter(ignores) else { return Ok(()) };
        let mut tasks = self.rotation_of(&service.name).filter(|task| task.weight > 0);
        let Some(first) = tasks.next() else { return Ok(()) };
        match tasks.find(|task| task.weight != first.weight) {
            Some(other) => {
                let heavy = if other.weight > first.weight { other } else { first };
                let (name, weight) = (heavy.name.clone(), heavy.weight);
                Err(IntentError::WeightsIgnored { scheduler, name, weight })
            }
            None => Ok(()),
        }
    }

    /// Refuses a scheduler that a kernel lacks whose IPVS would have to balance by it.
    fn check_schedulers_there(&self, service: &Service) -> Result<(), IntentError> {
        let Some(scheduler) = service.balancing.scheduler else { return Ok(()) };
        let by_ipvs = |node: &&NodeRecord| service.data_plane.on(node) == DataPlane::Ipvs;
        let mut lacking = self.nodes.values().filter(by_ipvs).filter(|node| node.lacks(scheduler));
        match lacking.next() {
            Some(node) => Err(IntentError::NoScheduler {
                scheduler,
                node: node.name.clone(),
                has: node.schedulers.clone().unwrap_or_default(),
            }),
            None => Ok(()),
        }
    }
}

impl NodeRecord {
    /// Whether its kernel is known not to have a scheduler.
    pub fn lacks(&self, scheduler: Scheduler) -> bool {
        self.schedulers.as_ref().is_some_and(|known| !known.contains(&scheduler))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{spec, story};
    use super::super::{ServiceName, ServiceSpec, Span, TaskName};
    use super::*;

    fn web() -> ServiceName {
        "collabweb".parse().unwrap()
    }

    fn by(scheduler: Scheduler) -> Balancing {
        Balancing { scheduler: Some(scheduler), ..Balancing::default() }
    }

    fn changed(intent: &mut Intent, change: impl FnOnce(&mut Service)) -> Result<(), IntentError> {
        let mut changed = intent.services[&web()].clone();
        change(&mut changed);
        intent.update_service(changed, 0)
    }

    fn balanced(intent: &mut Intent, balancing: Balancing) -> Result<(), IntentError> {
        changed(intent, |service| service.balancing = balancing)
    }

    fn vip(intent: &Intent) -> super::super::Vip {
        intent.services[&web()].vips.values().next().unwrap().clone()
    }

    #[test]
    fn another_scheduler_is_under_another_mark_and_the_old_one_keeps_its_own() {
        let mut intent = story();
        let before = vip(&intent).fwmark;
        balanced(&mut intent, by(Scheduler::Wlc)).unwrap();
        assert_ne!(vip(&intent).fwmark, before);
        assert_eq!(vip(&intent).retired[0].scheduler, Scheduler::Rr);
        assert_eq!(intent.services[&web()].scheduler, Scheduler::Wlc);
        assert!(intent.services[&web()].update.is_none(), "no task is replaced");
        balanced(&mut intent, Balancing::default()).unwrap();
        assert_eq!(intent.services[&web()].scheduler, Scheduler::Rr);
    }

    #[test]
    fn what_is_asked_for_at_first_is_so_from_the_first_mark_on() {
        let mut intent = story();
        let asked = ServiceSpec { balancing: by(Scheduler::Mh), ..spec("b", "collabnet", 2) };
        intent.create_service(asked, "id".into(), 0).unwrap();
        let held = &intent.services[&"b".parse().unwrap()];
        assert_eq!(held.scheduler, Scheduler::Mh);
        assert!(held.vips.values().all(|vip| vip.retired.is_empty()));
    }

    #[test]
    fn a_client_keeps_its_task_though_tasks_come_for_the_mark_stays() {
        let mut intent = story();
        let affinity =
            Affinity { seconds: NonZeroU32::new(60).unwrap(), netmask: ClientMask::default() };
        let asked = Balancing { affinity: Some(affinity), ..Balancing::default() };
        let first = vip(&intent).fwmark;
        balanced(&mut intent, asked.clone()).unwrap();
        assert_eq!(vip(&intent).fwmark, first, "it is changed in place");
        intent.drain_service(&web(), 4, 0).unwrap();
        assert_eq!(vip(&intent).fwmark, first);
        intent.drain_service(&web(), 2, 0).unwrap();
        assert_eq!(vip(&intent).fwmark, first);
        assert_eq!(vip(&intent).lingering.len(), 2, "those that leave keep who is connected");
        balanced(&mut intent, Balancing { scheduler: Some(Scheduler::Lc), ..asked }).unwrap();
        assert_ne!(vip(&intent).fwmark, first, "but no other scheduler is brought in place");
    }

    #[test]
    fn what_cannot_be_is_refused_and_nothing_is_touched() {
        let mut intent = story();
        let before = intent.clone();
        let flags: BTreeSet<SchedulerFlag> = [SchedulerFlag::Port].into();
        let refused = balanced(
            &mut intent,
            Balancing { scheduler_flags: flags.clone(), ..by(Scheduler::Lc) },
        );
        let lc = IntentError::FlagWithoutHash { flag: SchedulerFlag::Port, scheduler: "lc" };
        assert_eq!(refused, Err(lc));
        let refused = changed(&mut intent, |service| {
            service.balancing = by(Scheduler::Lc);
            service.data_plane = DataPlaneChoice::Nftables;
        });
        assert_eq!(refused, Err(IntentError::OnlyByIpvs { what: "scheduler lc".into() }));
        let refused = changed(&mut intent, |service| {
            service.balancing = by(Scheduler::Lc);
            service.endpoint_mode = EndpointMode::Dnsrr;
        });
        assert_eq!(refused, Err(IntentError::BalancingWithoutVip { option: "--scheduler" }));
        let refused = changed(&mut intent, |service| {
            service.balancing = by(Scheduler::Ovf);
            service.slow_start = Span::from_secs(1);
        });
        assert_eq!(refused, Err(IntentError::SlowStartIgnored { scheduler: Scheduler::Ovf }));
        let number = |n| NonZeroU32::new(n).unwrap();
        let thresholds = Some(Thresholds { most: number(2), least: Some(number(3)) });
        let refused = balanced(&mut intent, Balancing { thresholds, ..Balancing::default() });
        assert_eq!(refused, Err(IntentError::Thresholds { least: 3, most: 2 }));
        assert_eq!(intent, before);
    }

    #[test]
    fn weights_that_would_mean_nothing_are_refused_from_either_side() {
        let mut intent = story();
        let task: TaskName = "collabweb.1".parse().unwrap();
        balanced(&mut intent, by(Scheduler::Rr)).unwrap();
        let refused = intent.weigh_task(&task, 3).unwrap_err();
        let ignored =
            IntentError::WeightsIgnored { scheduler: Scheduler::Rr, name: task.clone(), weight: 3 };
        assert_eq!(refused, ignored);
        intent.weigh_task(&task, 0).unwrap();
        balanced(&mut intent, by(Scheduler::Sed)).unwrap();
        intent.weigh_task(&task, 3).unwrap();
        let refused = balanced(&mut intent, by(Scheduler::Rr));
        assert_eq!(refused, Err(ignored));
        balanced(&mut intent, Balancing::default()).unwrap();
        assert_eq!(intent.services[&web()].scheduler, Scheduler::Wrr);
    }

    #[test]
    fn a_kernel_that_lacks_a_scheduler_is_told_with_what_it_has() {
        let mut intent = story();
        for node in intent.nodes.values_mut() {
            node.schedulers = Some([Scheduler::Rr, Scheduler::Wlc].into());
        }
        balanced(&mut intent, by(Scheduler::Wlc)).unwrap();
        let refused = balanced(&mut intent, by(Scheduler::Ovf)).unwrap_err().to_string();
        assert!(refused.contains("no scheduler ovf") && refused.contains("rr, wlc"), "{refused}");
    }

    #[test]
    fn without_ipvs_what_only_that_can_do_is_refused() {
        let mut intent = story();
        for node in intent.nodes.values_mut() {
            node.ipvs = false;
        }
        let refused = balanced(&mut intent, by(Scheduler::Lc)).unwrap_err();
        assert!(matches!(refused, IntentError::NoIpvs { .. }), "{refused}");
        balanced(&mut intent, by(Scheduler::Wrr)).unwrap();
    }

    #[test]
    fn netmasks_are_lengths_or_masks() {
        let mask = |text: &str| text.parse::<ClientMask>().map(|mask| mask.0).ok();
        assert_eq!(mask("24"), Some(24));
        assert_eq!(mask("/24"), Some(24));
        assert_eq!(mask("255.255.255.0"), Some(24));
        assert_eq!(mask("255.0.255.0"), None);
        assert_eq!((mask("0"), mask("33"), mask("0.0.0.0")), (None, None, None));
    }
}
