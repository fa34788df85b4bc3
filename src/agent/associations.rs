//! The keys of this node: its private key, the states that were ever made by it, and when its lives
//! are turned over. A state that was made once is never made a second time: what lost it, by a new
//! start of the machine or by somebody's hand, gets a new life instead.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::clock;
use crate::intent::encryption::{IN_FLIGHT, LONGEST_LIFE};
use crate::intent::{Encryption, Hexadecimal, Intent, NodeName, Nonce, Spi};
use crate::lower::key::Keyring;
use crate::node::{Node, Object, Sandbox, SandboxName, SecurityState};
use crate::plan::Plan;
use crate::plan::op::Change;
use crate::random;
use crate::state_dir::StateDir;
use crate::store::Revision;

/// How long to wait before another new life is asked for: each costs every other node work.
const PAUSE: Duration = Duration::from_secs(5);
/// How often it is looked whether all nodes have come along, while keys are turned over.
const LOOK: Duration = Duration::from_millis(100);
/// The numbers of so many states are remembered, the last ones.
const REMEMBERED: usize = 65_536;

/// What this node keeps of encrypted networks.
pub struct Associations {
    pub keyring: Keyring,
    path: PathBuf,
    made: BTreeSet<Spi>,
    /// Whether a state is gone that was made once.
    lost: bool,
    renewed: Option<Instant>,
    /// The node's lives as they are, and of which revision at the latest.
    seen: Option<(Encryption, Revision, Instant)>,
}

/// What becomes of a node's lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// They are lost: one begins at once.
    Renew,
    /// The one that is in use is old: the next begins.
    Begin,
    /// Everybody can receive under the next one: it is sent under.
    Turn,
    /// Everybody sends under the new one: the old one goes.
    Forget,
}

impl Associations {
    /// Reads what the state directory keeps; makes a private key where there is none.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(state: &StateDir) -> io::Result<Self> {
        let keyring = match private_key(&state.private_key())? {
            Some(keyring) => keyring,
            None => make_private_key(&state.private_key())?,
        };
        let path = state.states_made();
        let made = match std::fs::read_to_string(&path) {
            Ok(text) => text.lines().filter_map(number).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { keyring, path, made, lost: false, renewed: None, seen: None })
    }

    /// What of `desired` can be made: not what was made before and is gone, nor what needs that.
    pub fn makeable<'a>(
        &mut self,
        intent: &Intent,
        observed: &mut Node,
        desired: &'a Node,
    ) -> Cow<'a, Node> {
        let home = SandboxName::of_node(&intent.cluster.id);
        self.lost = false;
        let Some(wanted) = desired.sandboxes.get(&home).filter(|held| !held.states.is_empty())
        else {
            return Cow::Borrowed(desired);
        };
        if let Some(held) = observed.sandboxes.get_mut(&home) {
            adopt(held, wanted);
        }
        let none = BTreeSet::new();
        let there = observed.sandboxes.get(&home).map_or(&none, |held| &held.states);
        let gone = |state: &SecurityState| self.made.contains(&state.spi) && !there.contains(state);
        if !wanted.states.iter().any(gone) {
            return Cow::Borrowed(desired);
        }
        let mut makeable = desired.clone();
        if let Some(sandbox) = makeable.sandboxes.get_mut(&home) {
            sandbox.states.retain(|state| !gone(state));
            let states = &sandbox.states;
            sandbox.policies.retain(|policy| states.iter().any(|state| state.serves(policy)));
        }
        self.lost = true;
        Cow::Owned(makeable)
    }

    /// Notes the states that a plan makes, before it is carried out.
    ///
    /// # Errors
    /// When that cannot be written: then nothing may be made.
    pub fn note(&mut self, plan: &Plan) -> io::Result<()> {
        let made = plan.ops.iter().filter_map(|op| match &op.change {
            Change::Add(Object::State(state)) => Some(state.spi),
            _ => None,
        });
        let fresh: Vec<Spi> = made.filter(|spi| !self.made.contains(spi)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let mut lines: String = fresh.iter().map(|spi| format!("{spi}\n")).collect();
        if self.made.len() + fresh.len() > REMEMBERED {
            lines = latest(&std::fs::read_to_string(&self.path)?) + &lines;
            replace(&self.path, lines.as_bytes())?;
        } else {
            let mut file =
                File::options().append(true).create(true).mode(0o600).open(&self.path)?;
            file.write_all(lines.as_bytes())?;
            file.sync_data()?;
        }
        self.made.extend(fresh);
        Ok(())
    }

    /// Whether what shall be is held back, until there is a new life.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// What is to be done about the node's lives now. `done` tells which revision every node has done.
    pub fn step(
        &mut self,
        intent: &Intent,
        name: &NodeName,
        revision: Revision,
        done: impl FnOnce() -> Revision,
    ) -> Option<Step> {
        let own = &intent.nodes.get(name)?.encryption;
        if self.lost {
            let rests = self.renewed.is_some_and(|renewed| renewed.elapsed() < PAUSE);
            return (!rests).then_some(Step::Renew);
        }
        if self.seen.as_ref().is_none_or(|(seen, _, _)| seen != own) {
            self.seen = Some((own.clone(), revision, Instant::now()));
        }
        let (_, since, at) = self.seen.as_ref()?;
        let (since, at) = (*since, *at);
        if own.next.is_some() {
            return (done() >= since).then_some(Step::Turn);
        }
        if own.previous.is_some() {
            let arrived = at.elapsed() >= Duration::from_millis(IN_FLIGHT);
            return (arrived && done() >= since).then_some(Step::Forget);
        }
        // A clock that was set back makes nothing younger than it was seen to be.
        let age = Duration::from_millis(clock::millis().saturating_sub(own.current?.since));
        let old = age.max(at.elapsed()) >= LONGEST_LIFE && !intent.encrypted_peers(name).is_empty();
        old.then_some(Step::Begin)
    }

    /// When the next step may be due, if one is waited for.
    pub fn due(&self, intent: &Intent, name: &NodeName) -> Option<Instant> {
        let own = &intent.nodes.get(name)?.encryption;
        (self.lost || own.is_turning()).then(|| Instant::now() + LOOK)
    }

    /// Takes a step.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn take(&mut self, step: Step, intent: &mut Intent, name: &NodeName) -> io::Result<bool> {
        let now = clock::millis();
        Ok(match step {
            Step::Renew => {
                intent.renew_life(name, nonce()?, now);
                self.renewed = Some(Instant::now());
                true
            }
            Step::Begin => intent.begin_life(name, nonce()?, now),
            Step::Turn => intent.turn_life(name),
            Step::Forget => intent.forget_life(name),
        })
    }
}

/// What makes a life's keys its own.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn nonce() -> io::Result<Nonce> {
    random::bytes().map(Hexadecimal)
}

/// A kernel in lockdown does not tell keys: they count as those that were made.
fn adopt(held: &mut Sandbox, wanted: &Sandbox) {
    if !held.states.iter().any(|state| state.key.is_unknown()) {
        return;
    }
    let states = std::mem::take(&mut held.states);
    let adopted = states.into_iter().map(|state| {
        let same = |other: &&SecurityState| {
            let key = other.key.clone();
            SecurityState { key, ..state.clone() } == **other
        };
        match wanted.states.iter().find(same) {
            Some(wanted) if state.key.is_unknown() => wanted.clone(),
            _ => state,
        }
    });
    held.states = adopted.collect();
}

fn number(line: &str) -> Option<Spi> {
    u32::from_str_radix(line.trim().strip_prefix("0x")?, 16).ok().map(Spi)
}

/// The second half of what was written.
fn latest(text: &str) -> String {
    let lines = text.lines().skip(text.lines().count() / 2);
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The private key that is kept; none where there is none yet.
///
/// # Errors
/// When it cannot be read, or is no key.
pub fn private_key(path: &Path) -> io::Result<Option<Keyring>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = zeroize::Zeroizing::new(text);
    let Hexadecimal(secret) = text.trim().parse().map_err(|_: String| {
        let said = format!("{} holds no private key", path.display());
        io::Error::new(io::ErrorKind::InvalidData, said)
    })?;
    Ok(Some(Keyring::new(secret)))
}

fn make_private_key(path: &Path) -> io::Result<Keyring> {
    let secret: [u8; 32] = random::bytes()?;
    let text = zeroize::Zeroizing::new(format!("{}\n", Hexadecimal(secret)));
    replace(path, text.as_bytes())?;
    Ok(Keyring::new(secret))
}

/// Writes a file for root only, whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let _ = std::fs::remove_file(&part);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::intent::tests::one_node;
    use crate::intent::{Machine, NetworkSpec, NodeRecord};
    use crate::kernel::rehearsal::Rehearsal;
    use crate::kernel::{Kernel, Scope};
    use crate::lower::lower;

    fn node(number: u8) -> NodeName {
        format!("node-{number}").parse().unwrap()
    }

    /// Two nodes that share an encrypted network; the first one's keys are `own`.
    fn pair(own: &Associations) -> Intent {
        let mut intent = one_node();
        for number in 1..=2 {
            let record = NodeRecord::new(node(number), true);
            intent.nodes.insert(node(number), record);
            intent.nodes.get_mut(&node(number)).unwrap().address = Some([192, 0, 2, number].into());
        }
        let other = Keyring::new([7; 32]).public_key();
        let now = clock::millis();
        intent.settle_encryption(&node(1), Ok(()), own.keyring.public_key(), nonce().unwrap(), now);
        intent.settle_encryption(&node(2), Ok(()), other, nonce().unwrap(), now);
        let spec = NetworkSpec { encrypted: true, ..NetworkSpec::new("blue".parse().unwrap()) };
        intent.create_network(spec, "id".into(), &Machine::default()).unwrap();
        crate::intent::tests::service(&mut intent, "web", "blue", 2);
        intent
    }

    /// Carries out what can be, as the agent does, on a kernel that does all that it is told.
    fn settle(own: &mut Associations, intent: &Intent, kernel: &mut Rehearsal) {
        let mut desired = lower(intent, &node(1));
        own.keyring.complete(intent, &node(1), &mut desired);
        let mut observed = kernel.observe(&Scope::All).unwrap();
        let makeable = own.makeable(intent, &mut observed, &desired);
        let plan = Plan::between(&observed, &makeable);
        own.note(&plan).unwrap();
        assert!(kernel.apply(&plan.ops).iter().all(Result::is_ok));
    }

    fn states(kernel: &Rehearsal) -> Vec<Spi> {
        let home = kernel.node().sandboxes.iter().find(|(name, _)| name.as_str() == "@c1");
        home.map_or(Vec::new(), |(_, home)| home.states.iter().map(|state| state.spi).collect())
    }

    fn open(directory: &Path) -> Associations {
        Associations::open(&StateDir::new(directory).unwrap()).unwrap()
    }

    #[test]
    fn a_private_key_is_made_once_and_for_root_only() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path()).keyring.public_key();
        assert_eq!(open(directory.path()).keyring.public_key(), first);
        let path = StateDir::new(directory.path()).unwrap().private_key();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "not a key").unwrap();
        let error = private_key(&path).err().unwrap();
        assert!(error.to_string().ends_with("holds no private key"), "{error}");
    }

    #[test]
    fn after_a_new_start_of_the_machine_no_state_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut own = open(directory.path());
        let mut intent = pair(&own);
        let mut kernel = Rehearsal::default();
        settle(&mut own, &intent, &mut kernel);
        let before = states(&kernel);
        assert_eq!((before.len(), own.is_lost()), (2, false));

        // An agent that starts anew finds its states and makes none.
        let mut own = open(directory.path());
        settle(&mut own, &intent, &mut kernel);
        assert_eq!((states(&kernel), own.is_lost()), (before.clone(), false));

        let mut own = open(directory.path());
        let mut kernel = Rehearsal::default();
        settle(&mut own, &intent, &mut kernel);
        assert_eq!((states(&kernel), own.is_lost()), (vec![], true));
        let step = own.step(&intent, &node(1), Revision(5), || Revision(5)).unwrap();
        assert_eq!(step, Step::Renew);
        assert!(own.take(step, &mut intent, &node(1)).unwrap());
        assert_eq!(own.step(&intent, &node(1), Revision(6), || Revision(6)), None, "it rests");
        settle(&mut own, &intent, &mut kernel);
        let after = states(&kernel);
        assert_eq!((after.len(), own.is_lost()), (2, false));
        assert!(after.iter().all(|spi| !before.contains(spi)));
    }

    #[test]
    fn lives_are_turned_over_once_every_node_has_come_along() {
        let directory = tempfile::tempdir().unwrap();
        let mut own = open(directory.path());
        let mut intent = pair(&own);
        let step = |own: &mut Associations, intent: &Intent, revision, done| {
            own.step(intent, &node(1), Revision(revision), || Revision(done))
        };
        assert_eq!(step(&mut own, &intent, 3, 3), None);
        let record = intent.nodes.get_mut(&node(1)).unwrap();
        record.encryption.current.as_mut().unwrap().since -= LONGEST_LIFE.as_millis() as u64;
        assert_eq!(step(&mut own, &intent, 3, 3), Some(Step::Begin));
        assert!(own.take(Step::Begin, &mut intent, &node(1)).unwrap());
        assert_eq!(step(&mut own, &intent, 7, 6), None, "a node is behind");
        assert!(own.due(&intent, &node(1)).is_some());
        assert_eq!(step(&mut own, &intent, 8, 7), Some(Step::Turn));
        assert!(own.take(Step::Turn, &mut intent, &node(1)).unwrap());
        assert_eq!(step(&mut own, &intent, 9, 9), None, "packets are on their way");
        own.seen.as_mut().unwrap().2 -= Duration::from_millis(IN_FLIGHT);
        assert_eq!(step(&mut own, &intent, 10, 8), None, "a node is behind");
        assert_eq!(step(&mut own, &intent, 10, 10), Some(Step::Forget));
        assert!(own.take(Step::Forget, &mut intent, &node(1)).unwrap());
        assert_eq!(step(&mut own, &intent, 11, 11), None);
        assert!(own.due(&intent, &node(1)).is_none());
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_life_longer() {
        let directory = tempfile::tempdir().unwrap();
        let mut own = open(directory.path());
        let mut intent = pair(&own);
        let life = intent.nodes.get_mut(&node(1)).unwrap().encryption.current.as_mut().unwrap();
        life.since += 2 * LONGEST_LIFE.as_millis() as u64;
        assert_eq!(own.step(&intent, &node(1), Revision(3), || Revision(3)), None);
        own.seen.as_mut().unwrap().2 -= LONGEST_LIFE;
        let step = own.step(&intent, &node(1), Revision(3), || Revision(3));
        assert_eq!(step, Some(Step::Begin));
    }

    #[test]
    fn keys_that_the_kernel_does_not_tell_count_as_those_that_were_made() {
        let directory = tempfile::tempdir().unwrap();
        let mut own = open(directory.path());
        let intent = pair(&own);
        let mut kernel = Rehearsal::default();
        settle(&mut own, &intent, &mut kernel);
        let mut held = kernel.into_node();
        for sandbox in held.sandboxes.values_mut() {
            let told = std::mem::take(&mut sandbox.states).into_iter();
            sandbox.states = told.map(|s| SecurityState { key: Default::default(), ..s }).collect();
        }
        let mut kernel = Rehearsal::new(held);
        settle(&mut own, &intent, &mut kernel);
        assert!(!own.is_lost());
    }

    #[test]
    fn the_numbers_of_states_are_remembered_by_the_second_half_of_a_long_list() {
        assert_eq!(latest("a\nb\nc\nd\n"), "c\nd\n");
        assert_eq!(number("0x5a000001"), Some(Spi(0x5a00_0001)));
        assert_eq!(number("5a000001"), None);
    }
}
