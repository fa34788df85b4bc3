//! Updates played on a cluster made of maps: tasks come up, fail and go when chance wants it, and whoever
//! leads forgets everything now and then.

use super::*;
use crate::intent::tests::{network, one_node, spec};
use crate::intent::{
    DataPlaneChoice, Image, NodeName, NodeRecord, Order, Ratio, ServiceSpec, Span, TaskName,
    UpdateState,
};

const TICK: Duration = Duration::from_millis(100);
/// An hour, after which an update that is not over never will be.
const LONGEST: u32 = 36_000;

/// The multiplier and increment of Knuth's MMIX.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % most
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What the nodes would do.
struct World {
    intent: Intent,
    memory: Memory,
    word: Word,
    now: Duration,
    chance: Chance,
    /// How often new tasks fail, in a hundred.
    fails: u64,
    /// Tasks that were up at some time.
    ever: BTreeSet<Id>,
}

fn web() -> ServiceName {
    "web".parse().unwrap()
}

impl World {
    fn new(seed: u64, replicas: u32, config: UpdateConfig) -> Self {
        let mut intent = one_node();
        for number in 2..=3 {
            let name: NodeName = format!("node-{number}").parse().unwrap();
            intent.nodes.insert(name.clone(), NodeRecord::new(name, true));
        }
        network(&mut intent, "n", "10.0.1.0/24");
        let rollback_config =
            UpdateConfig { failure_action: FailureAction::Pause, ..config.clone() };
        let spec = ServiceSpec {
            update_config: config,
            rollback_config,
            data_plane: DataPlaneChoice::Nftables,
            ..spec("web", "n", replicas)
        };
        intent.create_service(spec, "id-web".into(), 0).unwrap();
        let up: BTreeSet<Id> = intent.tasks.values().map(|task| task.id.clone()).collect();
        Self {
            intent,
            memory: Memory::default(),
            word: Word { up: up.clone(), failed: BTreeMap::new() },
            now: Duration::ZERO,
            chance: Chance(seed),
            fails: 0,
            ever: up,
        }
    }

    fn service(&self) -> &Service {
        &self.intent.services[&web()]
    }

    fn change(&mut self, image: Image) {
        let mut changed = self.service().clone();
        changed.definition.command = match image {
            Image::Host => vec!["sleep".into(), "9".into()],
            _ => Vec::new(),
        };
        changed.definition.image = image;
        let now = self.now.as_millis() as u64;
        self.intent.update_service(changed, now).unwrap();
    }

    fn state(&self) -> UpdateState {
        self.service().update.as_ref().unwrap().state
    }

    /// Whether a task fails follows from its id, so that it fails again and again.
    fn is_broken(&self, id: &Id) -> bool {
        let sum: u64 = id.bytes().map(u64::from).sum();
        let task = self.intent.tasks.values().find(|task| task.id == *id);
        let is_new = task.is_some_and(|task| task.version > 1);
        is_new && sum % 100 < self.fails
    }

    /// A moment passes: the nodes do what they do, and whoever leads looks.
    fn tick(&mut self) {
        self.now += TICK;
        let tasks: Vec<Task> = self.intent.tasks.values().cloned().collect();
        for task in &tasks {
            let id = task.id.clone();
            if task.leaving.is_some() {
                self.word.up.remove(&id);
                if self.chance.one_in(8) {
                    self.intent.finish_leaving(&[(task.name.clone(), id)]);
                }
            } else if !self.word.up.contains(&id) && self.chance.one_in(5) {
                match self.is_broken(&id) {
                    true => drop(self.word.failed.insert(id, "exited with code 1".into())),
                    false => {
                        self.ever.insert(id.clone());
                        self.word.up.insert(id);
                    }
                }
            }
        }
        let alive = |id: &Id| self.intent.tasks.values().any(|task| task.id == *id);
        self.word.up.retain(alive);
        self.word.failed.retain(|id, _| alive(id));
        if self.chance.one_in(40) {
            self.memory = Memory::default();
        }
        let look = self.memory.look(&self.intent, &web(), &self.word, self.now);
        self.intent.advance_update(&web(), &look.step, self.now.as_millis() as u64);
    }

    fn serving(&self) -> usize {
        let rotation = self.intent.rotation_of(&self.service().name);
        rotation.filter(|task| self.word.up.contains(&task.id)).count()
    }

    /// Plays until the update is over.
    fn play(&mut self, mut each: impl FnMut(&Self)) {
        for _ in 0..LONGEST {
            if !self.service().is_updating() {
                return;
            }
            self.tick();
            each(self);
        }
        panic!("it is not over after an hour: {:?}", self.service().update);
    }

    fn settle(&mut self) {
        for _ in 0..LONGEST {
            if self.intent.leaving().next().is_none() {
                return;
            }
            self.tick();
        }
        panic!("tasks do not leave");
    }
}

/// Each of these by many seeds; the one that fails is told.
fn by_seeds(play: impl Fn(u64, &mut Chance) + std::panic::RefUnwindSafe) {
    for seed in 1..=50 {
        let played = std::panic::catch_unwind(|| play(seed, &mut Chance(seed ^ 0x5eed)));
        if let Err(panic) = played {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn any_config(chance: &mut Chance) -> UpdateConfig {
    UpdateConfig {
        parallelism: chance.below(4) as u32,
        delay: Span::from_secs(chance.below(3)),
        order: if chance.one_in(2) { Order::StopFirst } else { Order::StartFirst },
        monitor: Span::from_secs(chance.below(6)),
        failure_action: FailureAction::Pause,
        max_failure_ratio: Ratio::default(),
    }
}

#[test]
fn an_update_ends_and_never_are_fewer_tasks_there_than_it_may_take_out() {
    by_seeds(|seed, chance| {
        let config = any_config(chance);
        let replicas = 1 + chance.below(9) as u32;
        let most = match config.parallelism {
            0 => replicas as usize,
            most => most as usize,
        };
        let out = if config.order == Order::StopFirst { most } else { 0 };
        let mut world = World::new(seed, replicas, config.clone());
        world.change(Image::Echo);
        world.play(|world| {
            let serving = world.serving();
            assert!(serving + out >= replicas as usize, "{serving} serve of {replicas}");
            let places = world.intent.places(&world.service().name);
            assert_eq!(places.len() + world.service().pending.len(), replicas as usize);
            let new = |place: &&Place<'_>| {
                let task = place.successor.unwrap_or(place.task);
                place.is_handed_on() || place.successor.is_some() || !world.ever.contains(&task.id)
            };
            let between = places.iter().filter(new).count();
            assert!(between <= most, "{between} at a time, {config:?}");
        });
        assert_eq!(world.state(), UpdateState::Completed);
        world.settle();
        let service = world.service();
        assert_eq!(world.intent.tasks.len(), replicas as usize);
        assert!(world.intent.tasks.values().all(|task| service.is_current(task)));
        assert!(service.older.is_empty(), "nobody is of an older one");
    });
}

#[test]
fn an_update_that_fails_goes_back_and_is_what_it_was() {
    by_seeds(|seed, chance| {
        let config = UpdateConfig { failure_action: FailureAction::Rollback, ..any_config(chance) };
        let replicas = 2 + chance.below(8) as u32;
        let most = match config.parallelism {
            0 => replicas as usize,
            most => most as usize,
        };
        let out = if config.order == Order::StopFirst { 2 * most } else { 0 };
        let mut world = World::new(seed, replicas, config);
        world.fails = 100;
        world.change(Image::Echo);
        world.play(|world| {
            let serving = world.serving();
            assert!(serving + out >= replicas as usize, "{serving} serve of {replicas}");
        });
        assert_eq!(world.state(), UpdateState::RollbackCompleted);
        let message = &world.service().update.as_ref().unwrap().message;
        assert!(
            message
                .starts_with("update rolled back due to failure or early termination of task web."),
            "{message}"
        );
        assert!(message.ends_with("(exited with code 1)"), "{message}");
        world.settle();
        assert_eq!(world.service().definition.image, Image::Whoami);
        assert_eq!(world.service().version, 1);
        assert!(world.intent.tasks.values().all(|task| task.version == 1));
        assert_eq!(world.service().former, None);
    });
}

#[test]
fn an_update_that_fails_pauses_and_goes_on_when_it_is_asked_for_again() {
    by_seeds(|seed, chance| {
        let mut world = World::new(seed, 6, any_config(chance));
        world.fails = 60;
        world.change(Image::Echo);
        world.play(|_| ());
        if world.state() == UpdateState::Completed {
            return;
        }
        assert_eq!(world.state(), UpdateState::Paused);
        let paused = world.intent.clone();
        let word = world.word.clone();
        let look = world.memory.look(&paused, &web(), &word, world.now);
        assert_eq!(look, Look::default(), "nothing is done while it is paused");
        // Whatever it was is mended, and those that failed are replaced too.
        world.fails = 0;
        world.change(Image::Host);
        world.play(|_| ());
        assert_eq!(world.state(), UpdateState::Completed);
    });
}

#[test]
fn one_that_shall_continue_ends_whatever_fails() {
    by_seeds(|seed, chance| {
        let config = UpdateConfig { failure_action: FailureAction::Continue, ..any_config(chance) };
        let mut world = World::new(seed, 5, config);
        world.fails = 50;
        world.change(Image::Echo);
        world.play(|_| ());
        assert_eq!(world.state(), UpdateState::Completed);
        world.settle();
        assert!(world.intent.tasks.values().all(|task| task.version == 2));
    });
}

#[test]
fn a_part_of_the_tasks_may_fail() {
    by_seeds(|seed, chance| {
        let config =
            UpdateConfig { max_failure_ratio: "0.5".parse().unwrap(), ..any_config(chance) };
        let mut world = World::new(seed, 8, config);
        world.fails = 30;
        world.change(Image::Echo);
        world.play(|_| ());
        let failed = world.service().update.as_ref().unwrap().failed.len();
        match world.state() {
            UpdateState::Completed => assert!(failed <= 4, "{failed} of 8"),
            UpdateState::Paused => assert!(failed > 4, "{failed} of 8"),
            other => panic!("{other}"),
        }
    });
}

#[test]
fn a_second_update_takes_over_from_the_first() {
    by_seeds(|seed, chance| {
        let config = any_config(chance);
        let out = match (config.order, config.parallelism) {
            (Order::StartFirst, _) => 0,
            (_, 0) => 6,
            (_, most) => 2 * most as usize,
        };
        let mut world = World::new(seed, 6, config);
        world.change(Image::Echo);
        for _ in 0..chance.below(60) {
            world.tick();
        }
        world.change(Image::Host);
        if world.service().update.is_some() {
            world.play(|world| assert!(world.serving() + out >= 6));
        }
        world.settle();
        assert!(world.intent.tasks.values().all(|task| world.service().is_current(task)));
        assert_eq!(world.service().definition.image, Image::Host);
    });
}

#[test]
fn going_back_in_the_middle_keeps_those_that_were_not_replaced_yet() {
    by_seeds(|seed, chance| {
        let mut world = World::new(seed, 6, any_config(chance));
        let before: BTreeSet<Id> = world.word.up.clone();
        world.change(Image::Echo);
        for _ in 0..chance.below(40) {
            world.tick();
        }
        let kept: BTreeSet<Id> = world
            .intent
            .tasks
            .values()
            .filter(|task| before.contains(&task.id) && task.leaving.is_none())
            .map(|task| task.id.clone())
            .collect();
        world.intent.rollback_service(&web(), 0).unwrap();
        world.play(|_| ());
        world.settle();
        let after: BTreeSet<Id> = world.intent.tasks.values().map(|task| task.id.clone()).collect();
        assert!(kept.is_subset(&after), "those that were never touched stay");
        assert!(world.intent.tasks.values().all(|task| task.version == 1));
        // And back again.
        world.intent.rollback_service(&web(), 1).unwrap();
        assert_eq!(world.service().definition.image, Image::Echo);
    });
}

#[test]
fn scaling_meanwhile_is_done_too() {
    by_seeds(|seed, chance| {
        let mut world = World::new(seed, 6, any_config(chance));
        world.change(Image::Echo);
        for replicas in [chance.below(9) as u32, 1 + chance.below(9) as u32] {
            for _ in 0..chance.below(40) {
                world.tick();
            }
            world.intent.drain_service(&web(), replicas, 0).unwrap();
        }
        world.play(|_| ());
        world.settle();
        assert_eq!(world.intent.tasks.len(), world.service().replicas as usize);
        assert!(world.intent.tasks.values().all(|task| task.version == 2));
    });
}

#[test]
fn a_node_that_dies_or_is_drained_meanwhile_does_not_hold_it_up() {
    by_seeds(|seed, chance| {
        let mut world = World::new(seed, 6, any_config(chance));
        world.change(Image::Echo);
        let node: NodeName = "node-2".parse().unwrap();
        for _ in 0..chance.below(40) {
            world.tick();
        }
        match chance.one_in(2) {
            true => drop(world.intent.node_is_down(&node, 0)),
            false => world.intent.drain_node(&node, 0).unwrap(),
        }
        world.play(|_| ());
        world.settle();
        assert!(world.intent.tasks.values().all(|task| task.version == 2 && task.node != node));
        assert_eq!(world.intent.tasks.len(), 6);
    });
}

#[test]
fn between_two_tasks_the_delay_passes() {
    let config = UpdateConfig { delay: Span::from_secs(10), ..UpdateConfig::default() };
    let mut world = World::new(1, 3, config);
    world.change(Image::Echo);
    let begun = world.now;
    let mut made: BTreeMap<TaskName, Duration> = BTreeMap::new();
    world.chance = Chance(3);
    for _ in 0..LONGEST {
        if !world.service().is_updating() {
            break;
        }
        world.tick();
        for task in world.intent.tasks.values().filter(|task| task.leaving.is_some()) {
            made.entry(task.name.clone()).or_insert(world.now - begun);
        }
    }
    let moments: Vec<Duration> = made.into_values().collect();
    assert_eq!(moments.len(), 3);
    assert!(
        moments.windows(2).all(|pair| pair[1] >= pair[0] + Duration::from_secs(10)),
        "{moments:?}"
    );
}
