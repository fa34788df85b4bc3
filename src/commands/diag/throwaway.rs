//! What a comparison makes for itself: a network with a service, or clients on a network that is
//! there. It is removed when the comparison ends, whether well, by an error, a panic, or a signal. After a
//! SIGKILL its label tells the next comparison that its owner is gone.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::str::FromStr;
use std::time::Duration;

use crate::commands::convergence::{Wait, Waited};
use crate::commands::interrupt;
use crate::commands::session::Session;
use crate::failure::{Exit, Failure};
use crate::intent::{
    DataPlaneChoice, EndpointMode, Id, Intent, IntentError, Machine, NetworkName, NetworkSpec,
    NodeName, ServiceName, ServiceSpec, TaskName,
};
use crate::keeper::record::start_time;
use crate::keeper::server::now;
use crate::node::SandboxName;
use crate::store::Store;

/// The label of a throwaway service: who made it.
const OWNER: &str = "swarmlb.throwaway";
/// The label of a throwaway service that has a network made with it: the network's id.
const NETWORK: &str = "swarmlb.throwaway.network";
/// How many tasks a throwaway service has.
const TASKS: u32 = 3;
/// How often the removal is tried, should the store be killed meanwhile.
const ATTEMPTS: u32 = 5;

/// A process, known by number and start time together, as numbers are used again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    node: NodeName,
    pid: i32,
    /// Clock ticks after boot.
    start_time: u64,
}

impl Owner {
    fn myself(node: &NodeName) -> Self {
        let pid = std::process::id() as i32;
        Self { node: node.clone(), pid, start_time: start_time(pid).unwrap_or_default() }
    }

    /// Whether it is a process of this node that is not there any more.
    fn is_gone(&self, node: &NodeName) -> bool {
        self.node == *node && start_time(self.pid) != Some(self.start_time)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node, self.pid, self.start_time)
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let mut part = || parts.next().ok_or(());
        let owner = Self {
            node: part()?.parse().map_err(drop)?,
            pid: part()?.parse().map_err(drop)?,
            start_time: part()?.parse().map_err(drop)?,
        };
        parts.next().is_none().then_some(owner).ok_or(())
    }
}

/// What shall be made.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Of the service and its network; clients get `-client` behind it.
    name: String,
    ids: [Id; 3],
    owner: Owner,
    machine: Machine,
    created: u64,
    target: Target,
    clients: u32,
}

/// Whom the clients shall ask.
#[derive(Debug, Clone)]
pub enum Target {
    /// A service made for this, balanced so.
    New(DataPlaneChoice),
    /// One that is there, on a network.
    There(ServiceName, NetworkName),
}

/// What was made, in an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub service: ServiceName,
    pub network: NetworkName,
    pub clients: Vec<SandboxName>,
}

impl Wanted {
    /// # Errors
    /// When the machine's routes cannot be read.
    pub fn new(session: &Session, target: Target, clients: u32) -> Result<Self, Failure> {
        Ok(Self {
            name: format!("compare-{}", crate::random::id(6)),
            ids: [(); 3].map(|()| crate::random::id(25)),
            owner: Owner::myself(&session.node),
            machine: session.machine()?,
            created: now(),
            target,
            clients,
        })
    }

    /// Adds it to an intent.
    fn add(&self, intent: &mut Intent) -> Result<Made, IntentError> {
        let bad = |_| IntentError::NoSuchService { name: self.name.clone(), meant: None };
        let [network_id, service_id, client_id] = &self.ids;
        let mut labels = BTreeMap::from([(OWNER.to_owned(), self.owner.to_string())]);
        let (service, network) = match &self.target {
            Target::There(service, network) => (service.clone(), network.clone()),
            Target::New(data_plane) => {
                let network: NetworkName = self.name.parse().map_err(bad)?;
                let spec = NetworkSpec { internal: true, ..NetworkSpec::new(network.clone()) };
                intent.create_network(spec, network_id.clone(), &self.machine)?;
                labels.insert(NETWORK.to_owned(), network_id.clone());
                let service: ServiceName = self.name.parse().map_err(bad)?;
                let spec = ServiceSpec {
                    replicas: TASKS,
                    data_plane: *data_plane,
                    labels: labels.clone(),
                    ..ServiceSpec::new(service.clone(), network.clone())
                };
                intent.create_service(spec, service_id.clone(), self.created)?;
                (service, network)
            }
        };
        let clients: ServiceName = format!("{}-client", self.name).parse().map_err(bad)?;
        let spec = ServiceSpec {
            replicas: self.clients,
            // Without a VIP of theirs no other sandbox's tables change.
            endpoint_mode: EndpointMode::Dnsrr,
            labels,
            ..ServiceSpec::new(clients.clone(), network.clone())
        };
        intent.create_service(spec, client_id.clone(), self.created)?;
        let clients = intent.tasks_of(&clients).map(|task| SandboxName::from(&task.name)).collect();
        Ok(Made { service, network, clients })
    }
}

/// Takes throwaway services out of an intent, and their networks where nobody else is on them.
/// Returns the names of all of it.
fn remove(intent: &mut Intent, whose: impl Fn(&Owner) -> bool) -> Result<Vec<String>, IntentError> {
    let mine = |labels: &BTreeMap<String, String>| {
        labels.get(OWNER).and_then(|owner| owner.parse().ok()).is_some_and(|owner| whose(&owner))
    };
    let services: Vec<_> = intent.services.values().filter(|s| mine(&s.labels)).cloned().collect();
    let mut removed = Vec::new();
    for service in &services {
        intent.remove_service(&service.name)?;
        removed.push(service.name.to_string());
    }
    let ids: Vec<&String> = services.iter().filter_map(|s| s.labels.get(NETWORK)).collect();
    let networks: Vec<NetworkName> = intent
        .networks
        .values()
        .filter(|network| ids.contains(&&network.id))
        .map(|network| network.name.clone())
        .collect();
    for network in networks {
        match intent.remove_network(&network) {
            Ok(()) => removed.push(network.to_string()),
            Err(IntentError::NetworkInUse { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    removed.sort();
    removed.dedup();
    Ok(removed)
}

/// Removes what comparisons left that were killed; returns its names.
///
/// # Errors
/// When the store cannot be reached, or the kernel refused.
pub fn remove_left(session: &Session, intent: &Intent, what: &str) -> Result<Vec<String>, Failure> {
    let gone = |owner: &Owner| owner.is_gone(&session.node);
    let failed = |error| Failure::intent(what, &error);
    let left = remove(&mut intent.clone(), gone).map_err(failed)?;
    if left.is_empty() {
        return Ok(left);
    }
    let store = session.store()?;
    let committed = session.edit(&store, |intent| remove(intent, gone))?;
    wait(session, &store, what, &[]).until_noted(&committed)?;
    Ok(left)
}

/// Makes what is wanted, works with it, and removes it, whatever comes of the work.
///
/// # Errors
/// What the edit, the kernel or the work refused; that it was interrupted; that something was left.
pub fn during<T>(
    session: &Session,
    what: &str,
    quiet: bool,
    wanted: &Wanted,
    work: impl FnOnce(&Intent, &Made) -> Result<T, Failure>,
) -> Result<T, Failure> {
    interrupt::listen_to_all();
    finally(
        || {
            let (intent, made) = make(session, what, quiet, wanted)?;
            work(&intent, &made)
        },
        || take_back(session, what, wanted),
    )
}

/// Does the work, then `after` whatever came of it, also of a panic.
fn finally<T>(
    work: impl FnOnce() -> Result<T, Failure>,
    after: impl FnOnce() -> Result<(), Failure>,
) -> Result<T, Failure> {
    let worked = catch_unwind(AssertUnwindSafe(work));
    let after = after();
    match (worked, after) {
        (Err(panic), _) => resume_unwind(panic),
        (Ok(worked), Ok(())) => worked,
        (Ok(Ok(_)), Err(failure)) => Err(failure),
        (Ok(Err(failure)), Err(left)) => {
            let mut failure = failure;
            failure.exit = Exit::Left;
            failure.facts.retain(|(label, _)| label != UNDONE);
            failure.facts.extend(left.facts);
            failure.hint = left.hint;
            Err(failure)
        }
    }
}

fn make(
    session: &Session,
    what: &str,
    quiet: bool,
    wanted: &Wanted,
) -> Result<(Intent, Made), Failure> {
    // Where nothing ever was, nothing is started only to refuse.
    let refused = |error: IntentError| Failure::intent(what, &error);
    if session.is_fresh() {
        wanted.add(&mut session.intent()?).map_err(refused)?;
    }
    let store = session.store()?;
    let mut made = None;
    let committed = session.edit(&store, |intent| {
        made = Some(wanted.add(intent)?);
        Ok(())
    })?;
    let Some(made) = made else { return Err(Failure::new(Exit::Cannot, what, "nothing was made")) };
    let clients = made.clients.iter().filter_map(|client| client.as_str().parse().ok());
    let clients: Option<TaskName> = clients.take(1).next();
    let services: Vec<ServiceName> =
        clients.map(|task| task.service).into_iter().chain([made.service.clone()]).collect();
    let wait = Wait { quiet, ..wait(session, &store, what, &services) };
    match wait.until_noted(&committed)? {
        Waited::Done => Ok((committed.after, made)),
        Waited::LeftGoing => Err(interrupted(what)),
    }
}

/// What is said of an early end, unless something was left.
const UNDONE: &str = "undone:";

/// That somebody ended the command early; what it made is going.
pub fn interrupted(what: &str) -> Failure {
    let how = interrupt::signal().map_or("a signal", |signal| signal.as_str());
    Failure::new(Exit::Undone, what, format!("interrupted by {how}"))
        .fact(UNDONE, "what was made for it is removed")
}

fn take_back(session: &Session, what: &str, wanted: &Wanted) -> Result<(), Failure> {
    // From here on another Ctrl-C ends the wait; the removal goes on without the command.
    interrupt::forget();
    let mut attempt = 1;
    loop {
        let taken = remove_once(session, what, wanted);
        match taken {
            Ok(()) => return Ok(()),
            Err(failure) if attempt == ATTEMPTS => {
                return Err(left_behind(what, wanted, &failure));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200 * u64::from(attempt))),
        }
        attempt += 1;
    }
}

fn remove_once(session: &Session, what: &str, wanted: &Wanted) -> Result<(), Failure> {
    let mine = |owner: &Owner| *owner == wanted.owner;
    let held = remove(&mut session.intent()?, mine).map_err(|e| Failure::intent(what, &e))?;
    // The kernel may have refused to make it; then it was put back already.
    if held.is_empty() {
        return Ok(());
    }
    let store = session.store()?;
    let committed = session.edit(&store, |intent| remove(intent, mine))?;
    if wait(session, &store, what, &[]).until_noted(&committed)? == Waited::LeftGoing {
        eprintln!("Not waiting any longer: {} go in the background.", held.join(", "));
    }
    Ok(())
}

fn left_behind(what: &str, wanted: &Wanted, failure: &Failure) -> Failure {
    let problem = format!("what it made cannot be removed: {}", failure.problem);
    let client = format!("{}-client", wanted.name);
    let left = match wanted.target {
        Target::New(_) => format!("network {0}, services {0} and {client}", wanted.name),
        Target::There(..) => format!("service {client}"),
    };
    Failure::new(Exit::Left, what, problem)
        .fact("left:", left)
        .hint("the next `swarmlb diag compare-dns-ipvs` removes it")
}

/// A wait without bars.
fn wait<'a>(
    session: &'a Session,
    store: &'a dyn Store,
    what: &'a str,
    services: &'a [ServiceName],
) -> Wait<'a> {
    Wait { session, store, what, quiet: true, services }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::intent::tests::story;

    fn node() -> NodeName {
        "node-1".parse().unwrap()
    }

    fn wanted(target: Target, owner: Owner) -> Wanted {
        Wanted {
            name: "compare-ab12cd".into(),
            ids: ["n", "s", "c"].map(String::from),
            owner,
            machine: Machine::default(),
            created: 7,
            target,
            clients: 6,
        }
    }

    fn fresh() -> Wanted {
        wanted(Target::New(DataPlaneChoice::Auto), Owner::myself(&node()))
    }

    #[test]
    fn a_throwaway_is_a_network_a_service_and_clients_and_goes_as_it_came() {
        let before = story();
        let mut intent = before.clone();
        let made = fresh().add(&mut intent).unwrap();
        assert_eq!(made.service.as_str(), "compare-ab12cd");
        assert_eq!(intent.tasks_of(&made.service).count(), 3);
        assert_eq!(made.clients.len(), 6);
        assert!(intent.services[&made.service].vips.contains_key(&made.network));
        let client: TaskName = made.clients[0].as_str().parse().unwrap();
        assert!(intent.services[&client.service].vips.is_empty());
        let myself = Owner::myself(&node());
        let removed = remove(&mut intent, |owner| *owner == myself).unwrap();
        assert_eq!(removed, ["compare-ab12cd", "compare-ab12cd-client"]);
        // What was handed out is not handed out again; all else is as it was.
        intent.cluster = before.cluster.clone();
        assert_eq!(intent, before);
    }

    #[test]
    fn clients_for_a_service_that_is_there_leave_it_and_its_network_alone() {
        let mut intent = story();
        let (service, network) = ("collabweb".parse().unwrap(), "collabnet".parse().unwrap());
        let wanted = wanted(Target::There(service, network), Owner::myself(&node()));
        let made = wanted.add(&mut intent).unwrap();
        assert_eq!(made.service.as_str(), "collabweb");
        let removed = remove(&mut intent, |_| true).unwrap();
        assert_eq!(removed, ["compare-ab12cd-client"]);
        assert_eq!(intent.tasks_of(&made.service).count(), 3);
        assert!(intent.networks.contains_key(&made.network));
    }

    #[test]
    fn only_what_is_labelled_and_has_lost_its_owner_is_removed() {
        let alive = Owner::myself(&node());
        let reused = Owner { start_time: alive.start_time + 1, ..alive.clone() };
        let elsewhere = Owner { node: "node-2".parse().unwrap(), ..reused.clone() };
        let ended = Owner { pid: i32::MAX, ..alive.clone() };
        for (owner, goes) in [(alive, false), (reused, true), (elsewhere, false), (ended, true)] {
            let mut intent = story();
            wanted(Target::New(DataPlaneChoice::Auto), owner.clone()).add(&mut intent).unwrap();
            let removed = remove(&mut intent, |owner| owner.is_gone(&node())).unwrap();
            assert_eq!(!removed.is_empty(), goes, "{owner}");
            assert_eq!(intent.services.len(), if goes { 2 } else { 4 });
        }
    }

    #[test]
    fn a_label_that_names_no_owner_belongs_to_somebody_else() {
        let mut intent = story();
        for label in ["", "yes", "node-1/1", "node-1/1/2/3", "node-1/x/1"] {
            let labels = [(OWNER.to_owned(), label.to_owned())].into();
            intent.services.values_mut().next().unwrap().labels = labels;
            assert_eq!(remove(&mut intent, |_| true).unwrap(), Vec::<String>::new(), "{label:?}");
        }
        let owner = Owner::myself(&"a.b-c".parse().unwrap());
        assert_eq!(owner.to_string().parse(), Ok(owner));
    }

    #[test]
    fn a_network_that_somebody_else_has_joined_stays_with_their_service() {
        let mut intent = story();
        let made = fresh().add(&mut intent).unwrap();
        let theirs = ServiceSpec::new("theirs".parse().unwrap(), made.network.clone());
        intent.create_service(theirs, "id".into(), 0).unwrap();
        remove(&mut intent, |_| true).unwrap();
        assert!(intent.networks.contains_key(&made.network));
        assert_eq!(intent.services.len(), 3);
    }

    #[test]
    fn what_was_made_is_removed_after_an_error_and_after_a_panic() {
        let removed = Cell::new(0);
        let remove = || {
            removed.set(removed.get() + 1);
            Ok(())
        };
        assert_eq!(finally(|| Ok(3), remove), Ok(3));
        let failure = Failure::new(Exit::Bad, "work", "it rains");
        assert_eq!(finally(|| Err::<(), _>(failure.clone()), remove), Err(failure));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            finally(|| -> Result<(), Failure> { panic!("on purpose") }, remove)
        }));
        assert!(panicked.is_err());
        assert_eq!(removed.get(), 3);
    }

    #[test]
    fn what_is_left_is_told_with_exit_5() {
        let left = |_: ()| {
            let failure = Failure::new(Exit::Cannot, "x", "the store is gone");
            Err(left_behind("compare", &fresh(), &failure))
        };
        let told = finally(|| Ok(()), || left(())).unwrap_err();
        assert_eq!(told.exit, Exit::Left);
        let early = interrupted("compare");
        assert_eq!(early.exit, Exit::Undone);
        let told = finally(|| Err::<(), _>(early), || left(())).unwrap_err();
        assert_eq!(told.exit, Exit::Left);
        assert_eq!(told.facts.len(), 1);
        assert!(told.to_string().contains("left: network compare-ab12cd, services "), "{told}");
    }
}
