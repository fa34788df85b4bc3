//! The thread that makes all checks of a node's tasks.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Outcome;
use super::chart::Chart;
use super::command::Running;
use super::conversation::Conversation;
use super::exchange::{Exchange, words};
use super::supervisor::Order;
use crate::clock;
use crate::intent::Id;
use crate::intent::health::Test;
use crate::keeper::journal::say;
use crate::kernel::netns;
use crate::node::SandboxName;
use crate::orchestrate::health::{Check, Condition, Course, Said};

/// Most commands that run at once: each is two processes. Others wait for their turn.
const MOST_COMMANDS: usize = 16;
/// Most conversations at once: each is a descriptor.
const MOST_EXCHANGES: usize = 256;
/// How much longer than its timeout a command may take to be gone with all that it left.
const PURGE: Duration = Duration::from_secs(3);
/// How often those that were called off are looked after.
const LOOK: Duration = Duration::from_millis(50);
/// How often a chart is written while nothing happens but that the task is healthy.
const ROUTINE: u64 = 1000;
/// Where time is counted from: so long before this began that any process is younger.
const EPOCH: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A process that is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub task: Id,
    pub pid: i32,
    /// Clock ticks after boot.
    pub start_time: u64,
    /// Seconds since 1970.
    pub started: u64,
    /// Where it is asked.
    pub address: Ipv4Addr,
    pub check: Check,
    /// Of a command.
    pub environment: Vec<(String, String)>,
    /// The task's own, which has its chart.
    pub directory: PathBuf,
}

/// What is to be checked, and what is known of it.
#[derive(Default)]
struct Known {
    subjects: BTreeMap<SandboxName, Subject>,
    charts: BTreeMap<SandboxName, Chart>,
}

/// The checks of a node.
pub struct Rounds {
    known: Arc<Mutex<Known>>,
    /// A byte on it has the thread look at what is to be checked.
    waker: UnixStream,
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rounds {
    /// Starts them, with nothing to check. `tell` is called when a task is another than before; when it says
    /// false, nobody hears it any more.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn start(tell: impl Fn() -> bool + Send + 'static) -> io::Result<Self> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let known = Arc::new(Mutex::new(Known::default()));
        let round = Round {
            known: Arc::clone(&known),
            woken,
            home: netns::current()?,
            origin: Instant::now(),
            patients: BTreeMap::new(),
            leaving: Vec::new(),
            tell: Box::new(tell),
            drawn: u64::from_le_bytes(crate::random::bytes()?),
        };
        std::thread::Builder::new().name("health".into()).spawn(move || round.run())?;
        Ok(Self { known, waker })
    }

    /// What is to be checked from now on. A process that was checked before, also by an agent that is no
    /// more, stays what it was until a check says something else.
    pub fn set(&self, subjects: BTreeMap<SandboxName, Subject>) {
        let mut known = lock(&self.known);
        if known.subjects == subjects {
            return;
        }
        known.charts.retain(|name, _| subjects.contains_key(name));
        for (name, subject) in &subjects {
            let of = |chart: &Chart| chart.is_of(&subject.task, subject.pid, subject.started);
            if known.charts.get(name).is_some_and(of) {
                continue;
            }
            let chart = Chart::read(&subject.directory).filter(of).unwrap_or_else(|| {
                let (task, now) = (subject.task.clone(), clock::millis());
                let chart = Chart::new(task, subject.pid, subject.started, now);
                if let Err(error) = chart.create(&subject.directory) {
                    say(format!("health of {name} cannot be kept: {error}"));
                }
                chart
            });
            known.charts.insert(name.clone(), chart);
        }
        known.subjects = subjects;
        drop(known);
        // Where it is full, the thread looks anyhow.
        let _ = (&self.waker).write(b"w");
    }

    /// What is known of a process; none when it is not checked.
    pub fn chart(&self, name: &SandboxName, pid: i32) -> Option<Chart> {
        lock(&self.known).charts.get(name).filter(|chart| chart.pid == pid).cloned()
    }
}

/// A check that is being made.
enum Doing {
    Talks(Exchange),
    Runs(Running),
}

impl Doing {
    fn fd(&self) -> (BorrowedFd<'_>, PollFlags) {
        match self {
            Self::Talks(exchange) => (exchange.fd(), exchange.interest()),
            Self::Runs(running) => (running.fd(), PollFlags::POLLIN),
        }
    }
}

/// A process and its checks.
struct Patient {
    subject: Subject,
    course: Course,
    chart: Chart,
    due: Duration,
    begun: Duration,
    doing: Option<Doing>,
    /// When its chart was written: milliseconds since 1970.
    written: u64,
}

impl Patient {
    /// When what it does is given up.
    fn deadline(&self) -> Option<Duration> {
        let end = self.begun + self.subject.check.timeout;
        self.doing.as_ref().map(|doing| match doing {
            Doing::Talks(_) => end,
            Doing::Runs(_) => end + PURGE,
        })
    }
}

struct Round {
    known: Arc<Mutex<Known>>,
    woken: UnixStream,
    /// The network namespace that this thread comes from and goes back to.
    home: std::fs::File,
    origin: Instant,
    patients: BTreeMap<SandboxName, Patient>,
    /// Commands that were called off, and when they are killed if they are still there.
    leaving: Vec<(Child, Instant)>,
    tell: Box<dyn Fn() -> bool + Send>,
    /// The state of a random sequence.
    drawn: u64,
}

impl Round {
    fn run(mut self) {
        loop {
            self.receive();
            self.begin_what_is_due();
            let hit = self.wait();
            let mut changed = false;
            for name in hit {
                let Some(patient) = self.patients.get_mut(&name) else { continue };
                let outcome = match &mut patient.doing {
                    Some(Doing::Talks(exchange)) => exchange.go_on(),
                    Some(Doing::Runs(running)) => running.go_on(),
                    None => None,
                };
                if let Some(outcome) = outcome {
                    changed |= self.finish(&name, &outcome);
                }
            }
            changed |= self.give_up_what_is_late();
            self.see_off();
            if changed && !(self.tell)() {
                return;
            }
        }
    }

    fn now(&self) -> Duration {
        EPOCH + self.origin.elapsed()
    }

    /// A random number from 0 to 1 (xorshift64, by Marsaglia).
    fn draw(&mut self) -> f64 {
        let mut state = self.drawn.max(1);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.drawn = state;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Takes over what is to be checked.
    fn receive(&mut self) {
        while self.woken.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        let known = Arc::clone(&self.known);
        let known = lock(&known);
        let gone = self.patients.extract_if(.., |name, patient| {
            let same = |subject: &Subject| {
                subject.task == patient.subject.task && subject.pid == patient.subject.pid
            };
            !known.subjects.get(name).is_some_and(same)
        });
        let gone: Vec<Patient> = gone.map(|(_, patient)| patient).collect();
        gone.into_iter().for_each(|patient| self.drop_doing(patient.doing));
        for (name, subject) in &known.subjects {
            match self.patients.get_mut(name) {
                Some(patient) if patient.subject == *subject => {}
                Some(patient) => patient.subject = subject.clone(),
                None => {
                    if let Some(chart) = known.charts.get(name) {
                        let patient = self.admit(subject, chart);
                        self.patients.insert(name.clone(), patient);
                    }
                }
            }
        }
    }

    fn admit(&mut self, subject: &Subject, chart: &Chart) -> Patient {
        let now = self.now();
        let age = Duration::from_secs((clock::millis() / 1000).saturating_sub(subject.started));
        let course = Course::new(now.saturating_sub(age)).resumed(chart.condition, chart.failed);
        let due = course.first(&subject.check, now, self.draw());
        let (subject, chart) = (subject.clone(), chart.clone());
        Patient { subject, course, chart, due, begun: now, doing: None, written: 0 }
    }

    fn drop_doing(&mut self, doing: Option<Doing>) {
        if let Some(Doing::Runs(running)) = doing {
            self.leaving.push((running.leave(), Instant::now() + PURGE));
        }
    }

    /// How many of each kind go on.
    fn going_on(&self) -> (usize, usize) {
        let doing = || self.patients.values().filter_map(|patient| patient.doing.as_ref());
        let runs = doing().filter(|doing| matches!(doing, Doing::Runs(_))).count();
        (runs + self.leaving.len(), doing().count() - runs)
    }

    fn has_room(&self, (runs, talks): (usize, usize), test: &Test) -> bool {
        match test {
            Test::Command(_) => runs < MOST_COMMANDS,
            _ => talks < MOST_EXCHANGES,
        }
    }

    /// Begins what is due, the longest due first.
    fn begin_what_is_due(&mut self) {
        let now = self.now();
        let due = self.patients.iter().filter(|(_, p)| p.doing.is_none() && p.due <= now);
        let mut due: Vec<(Duration, SandboxName)> =
            due.map(|(name, patient)| (patient.due, name.clone())).collect();
        due.sort_unstable();
        let mut entered = false;
        for (_, name) in due {
            let going_on = self.going_on();
            let number = (self.draw() * f64::from(u16::MAX)) as u16;
            let Some(patient) = self.patients.get(&name) else { continue };
            let subject = &patient.subject;
            if !self.has_room(going_on, &subject.check.test) {
                continue;
            }
            entered |= !matches!(subject.check.test, Test::Command(_));
            let begun = begin(&name, subject, number);
            let now = self.now();
            let Some(patient) = self.patients.get_mut(&name) else { continue };
            patient.begun = now;
            match begun {
                Ok(doing) => patient.doing = Some(doing),
                Err(error) => {
                    if self.finish(&name, &Err(words(&error))) {
                        let _ = (self.tell)();
                    }
                }
            }
        }
        if entered && let Err(error) = netns::enter(self.home.as_fd()) {
            say(format!("the checks cannot leave a sandbox: {error}"));
        }
    }

    /// Waits until something happens, and tells to whom.
    fn wait(&self) -> Vec<SandboxName> {
        let doing = self.patients.iter();
        let doing = doing.filter_map(|(name, patient)| Some((name, patient.doing.as_ref()?)));
        let names: Vec<&SandboxName> = doing.clone().map(|(name, _)| name).collect();
        let fds = doing.map(|(_, doing)| {
            let (fd, interest) = doing.fd();
            PollFd::new(fd, interest)
        });
        let mut fds: Vec<PollFd<'_>> =
            std::iter::once(PollFd::new(self.woken.as_fd(), PollFlags::POLLIN))
                .chain(fds)
                .collect();
        match poll(&mut fds, self.patience()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                say(format!("cannot wait for checks: {errno}"));
                std::thread::sleep(LOOK);
            }
        }
        let hit = fds.iter().skip(1).zip(names).filter(|(fd, _)| fd.any().unwrap_or(true));
        hit.map(|(_, name)| name.clone()).collect()
    }

    fn patience(&self) -> PollTimeout {
        let now = self.now();
        let going_on = self.going_on();
        let next = self.patients.values().filter_map(|patient| match patient.deadline() {
            Some(deadline) => Some(deadline),
            // What has no room waits for an end.
            None => self.has_room(going_on, &patient.subject.check.test).then_some(patient.due),
        });
        let look = (!self.leaving.is_empty()).then_some(now + LOOK);
        match next.chain(look).min() {
            None => PollTimeout::NONE,
            Some(next) => {
                // Rounded up, or the loop would spin through the last millisecond.
                let left = next.saturating_sub(now) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        }
    }

    fn give_up_what_is_late(&mut self) -> bool {
        let now = self.now();
        let late = self.patients.iter().filter_map(|(name, patient)| {
            let doing = patient.doing.as_ref().filter(|_| patient.deadline() <= Some(now))?;
            Some((
                name.clone(),
                match doing {
                    Doing::Talks(exchange) => exchange.late(),
                    Doing::Runs(_) => Err("not done in time, and it does not end".to_owned()),
                },
            ))
        });
        let late: Vec<(SandboxName, Outcome)> = late.collect();
        late.iter().fold(false, |changed, (name, outcome)| self.finish(name, outcome) | changed)
    }

    /// Takes note of an outcome; true when the task is another than before.
    fn finish(&mut self, name: &SandboxName, outcome: &Outcome) -> bool {
        let (now, draw) = (self.now(), self.draw());
        let Some(patient) = self.patients.get_mut(name) else { return false };
        let check = &patient.subject.check;
        let said = if outcome.is_ok() { Said::Passed } else { Said::Failed };
        let changed = patient.course.note(check, patient.begun, said);
        patient.due = patient.course.next(check, patient.begun, draw).max(now);
        let took = (now - patient.begun).as_millis() as u64;
        let date = clock::millis();
        let chart = &mut patient.chart;
        chart.note(date.saturating_sub(took), took, outcome);
        chart.failed = patient.course.failed;
        if changed {
            chart.turn(patient.course.condition, date);
        }
        let is_routine = !changed && outcome.is_ok() && chart.condition == Condition::Healthy;
        if !is_routine || date.abs_diff(patient.written) >= ROUTINE {
            patient.written = date;
            // In a directory that is gone, nobody would read it.
            let _ = chart.write(&patient.subject.directory);
        }
        let chart = chart.clone();
        let doing = patient.doing.take();
        self.drop_doing(doing);
        let mut known = lock(&self.known);
        if let Some(held) = known.charts.get_mut(name).filter(|held| held.pid == chart.pid) {
            *held = chart;
        }
        changed
    }

    /// Takes leave of commands that ended.
    fn see_off(&mut self) {
        self.leaving.retain_mut(|(child, deadline)| {
            if Instant::now() > *deadline {
                let _ = child.kill();
            }
            matches!(child.try_wait(), Ok(None))
        });
    }
}

/// Begins a check; of one over the network, the calling thread is in the task's namespace then.
fn begin(name: &SandboxName, subject: &Subject, number: u16) -> io::Result<Doing> {
    match Conversation::of(&subject.check.test, subject.address, number) {
        Some(conversation) => {
            netns::enter(netns::of(name)?.as_fd())?;
            Ok(Doing::Talks(Exchange::begin(conversation)?))
        }
        None => {
            let Test::Command(command) = &subject.check.test else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            let order = Order {
                pid: subject.pid,
                start_time: subject.start_time,
                directory: subject.directory.clone(),
                command: command.clone(),
                environment: subject.environment.clone(),
                timeout: subject.check.timeout,
            };
            Ok(Doing::Runs(Running::start(&order)?))
        }
    }
}
