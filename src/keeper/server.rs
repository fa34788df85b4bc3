//! The keeper's loop: one thread that waits for signals, connections, tasks that become ready and
//! adopted tasks that end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::journal::say;
use super::marks::Marks;
use super::protocol::{Exit, Reply, Request, Running, Start, State, Status};
use super::readiness::Readiness;
use super::record::{Record, mounts_of};
use super::sockets::Sockets;
use super::supervised::{Bond, Supervised};
use super::{child, container, frame};
use crate::kernel::cgroup::Group;
use crate::killpoint;
use crate::memory;
use crate::node::SandboxName;
use crate::state_dir::StateDir;
use crate::store::Location;

/// How often a keeper that is starting looks whether its store is up, in milliseconds.
const LOOK: u8 = 10;

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

struct Task {
    running: Running,
    /// Readable when the task is ready.
    ready: Option<OwnedFd>,
    /// Of a task that an earlier keeper started: readable when it ended.
    adopted: Option<OwnedFd>,
    /// Its mount namespace, by which what it left behind is known; 0 when that is not known.
    mounts: u64,
    /// Whether the process is an OCI runtime's, which is about to start the container.
    is_starting: bool,
    group: Option<Group>,
}

/// How long to leave clients waiting when a descriptor for them cannot be had.
const SHORTAGE: Duration = Duration::from_millis(100);

impl Task {
    fn is_alive(&self) -> bool {
        !self.running.has_ended()
    }

    /// How it ended, of which the kernel told only a part.
    fn exit(&self, exit: Exit) -> Exit {
        let kills = self.group.as_ref().map_or(0, Group::memory_kills);
        if kills > 0 && exit != Exit::Code(0) { Exit::OutOfMemory } else { exit }
    }
}

struct Connection {
    stream: UnixStream,
    watches: bool,
}

/// The keeper of one state directory.
pub struct Keeper {
    state: StateDir,
    listener: UnixListener,
    signals: SignalFd,
    tasks: BTreeMap<SandboxName, Task>,
    /// Children that are no task's and ended while a runtime was at work: containers' first processes
    /// that were quicker than their runtime.
    hasty: BTreeMap<i32, Exit>,
    sockets: Sockets,
    marks: Marks,
    /// Set while a shortage keeps it from accepting.
    accept_from: Option<Instant>,
    connections: BTreeMap<u64, Connection>,
    /// How many connections there ever were: a descriptor's number is used again at once.
    accepted: u64,
    agent: Supervised,
    /// None where the store is elsewhere.
    store: Option<Supervised>,
    /// On a node that is in a cluster of several.
    api: Option<Supervised>,
    since: u64,
    stopping: bool,
    readiness: Readiness,
    /// When memory is given back, if nothing happens before.
    rest: Option<Instant>,
    /// Held as long as this process lives.
    _lock: File,
}

/// What woke the loop.
enum Woken {
    Signal,
    Written,
    Listener,
    Connection(u64),
    Ready(SandboxName),
    Adopted(SandboxName),
}

impl Keeper {
    /// Takes over a state directory whose lock is held: tasks that still run are adopted.
    ///
    /// # Errors
    /// What the system answered.
    pub fn new(
        state: StateDir,
        lock: File,
        arguments: &[String],
        store: &Location,
        readiness: Readiness,
    ) -> io::Result<Self> {
        nix::sys::prctl::set_child_subreaper(true)?;
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.add(Signal::SIGTERM);
        mask.add(Signal::SIGINT);
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let socket = state.keeper_socket();
        let _ = std::fs::remove_file(&socket);
        killpoint::pass(|| "before the keeper listens".into());
        let listener = UnixListener::bind(&socket)?;
        let with = |words: &[&str]| -> Vec<String> {
            words.iter().map(|word| (*word).to_owned()).chain(arguments.iter().cloned()).collect()
        };
        let mut keeper = Self {
            listener,
            signals,
            tasks: BTreeMap::new(),
            hasty: BTreeMap::new(),
            sockets: Sockets::default(),
            marks: Marks::default(),
            accept_from: None,
            connections: BTreeMap::new(),
            accepted: 0,
            agent: Supervised::new("agent", Bond::Outlives, with(&["agent-process"])),
            store: (store.is_embedded())
                .then(|| Supervised::new("store", Bond::Ends, with(&["store-server"]))),
            api: (state.membership().exists())
                .then(|| Supervised::new("api", Bond::Ends, with(&["api-server"]))),
            since: now(),
            stopping: false,
            readiness,
            rest: None,
            state,
            _lock: lock,
        };
        killpoint::pass(|| "before tasks are adopted".into());
        keeper.adopt()?;
        killpoint::pass(|| "all tasks are adopted".into());
        Ok(keeper)
    }

    fn adopt(&mut self) -> io::Result<()> {
        for entry in std::fs::read_dir(self.state.tasks())? {
            let directory = entry?.path();
            let Some(mut record) = Record::read(&directory) else { continue };
            if record.is_starting {
                record = container::settled(record, &directory);
                killpoint::pass(|| format!("the container of {} is found", record.sandbox));
                record.write(&directory)?;
            }
            let adopted = pidfd(record.pid).ok().filter(|_| record.is_alive());
            let state = if adopted.is_some() { State::Ready } else { State::Exited(Exit::Unseen) };
            let running = Running {
                sandbox: record.sandbox.clone(),
                process: record.process,
                pid: record.pid,
                started: record.started,
                state,
                stop_signal: record.stop_signal,
            };
            let group = record.group.as_deref().map(Group::new);
            if adopted.is_none() {
                end_group(&record.sandbox, group.as_ref());
            }
            killpoint::pass(|| format!("before {} is adopted", record.sandbox));
            let directory = self.state.task(&record.sandbox);
            self.marks.follow(&record.sandbox, &directory, running.process.log);
            let (mounts, is_starting) = (record.mounts, false);
            let task = Task { running, ready: None, adopted, mounts, is_starting, group };
            self.tasks.insert(record.sandbox, task);
        }
        Ok(())
    }

    /// Runs until it is told to end.
    ///
    /// # Errors
    /// What waiting met.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.stopping {
            memory::give_back_after(&mut self.rest);
            for supervised in self.store.iter_mut().chain([&mut self.agent]).chain(&mut self.api) {
                if let Err(error) = supervised.tend(&self.state) {
                    say(format!("cannot start a process: {error}"));
                }
            }
            self.tell_readiness();
            for woken in self.wait()? {
                self.rest = Some(Instant::now() + memory::REST);
                self.attend(woken);
            }
            self.marks.tend();
        }
        self.readiness.stopping();
        killpoint::pass(|| "before agent and store are ended".into());
        self.agent.end();
        for supervised in self.store.iter_mut().chain(&mut self.api) {
            supervised.end();
        }
        killpoint::pass(|| "agent and store are ended".into());
        let _ = std::fs::remove_file(self.state.keeper_socket());
        Ok(())
    }

    fn wait(&self) -> io::Result<Vec<Woken>> {
        let mut sources = vec![(self.signals.as_fd(), Woken::Signal)];
        if self.accept_from.is_none_or(|from| Instant::now() >= from) {
            sources.push((self.listener.as_fd(), Woken::Listener));
        }
        sources.extend(self.marks.descriptor().map(|fd| (fd, Woken::Written)));
        for (number, connection) in &self.connections {
            sources.push((connection.stream.as_fd(), Woken::Connection(*number)));
        }
        for (name, task) in &self.tasks {
            let ready = task.ready.as_ref().map(|fd| (fd.as_fd(), Woken::Ready(name.clone())));
            let ended = task.adopted.as_ref().map(|fd| (fd.as_fd(), Woken::Adopted(name.clone())));
            sources.extend(ready.into_iter().chain(ended));
        }
        let fds: Vec<BorrowedFd<'_>> = sources.iter().map(|(fd, _)| *fd).collect();
        let mut polled: Vec<PollFd<'_>> =
            fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        match poll(&mut polled, self.patience()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let hit: Vec<bool> = polled.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        Ok(sources.into_iter().zip(hit).filter(|(_, hit)| *hit).map(|((_, w), _)| w).collect())
    }

    /// The node is up as soon as its store, if it has one, accepts connections.
    fn tell_readiness(&mut self) {
        if self.readiness.is_told() {
            return;
        }
        if self.store.is_none() || UnixStream::connect(self.state.store_socket()).is_ok() {
            self.readiness.ready();
        }
    }

    fn patience(&self) -> PollTimeout {
        if !self.readiness.is_told() {
            return PollTimeout::from(LOOK);
        }
        let shortage = self.accept_from.filter(|from| *from > Instant::now());
        let due = |supervised: &Option<Supervised>| supervised.as_ref().and_then(Supervised::due);
        let (store, api) = (due(&self.store), due(&self.api));
        let due = [self.agent.due(), store, api, self.marks.due(), shortage, self.rest];
        let due = due.into_iter().flatten().min();
        match due {
            None => PollTimeout::NONE,
            Some(due) => {
                // Rounded up, or the loop would spin through the last millisecond.
                let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        }
    }

    fn attend(&mut self, woken: Woken) {
        match woken {
            Woken::Signal => self.attend_signals(),
            Woken::Written => self.marks.attend(),
            Woken::Listener => self.accept(),
            Woken::Connection(number) => self.attend_connection(number),
            Woken::Ready(name) => {
                if let Some(task) = self.tasks.get_mut(&name) {
                    task.ready = None;
                    if task.running.state == State::Starting {
                        task.running.state = State::Ready;
                    }
                }
                self.tell(&name);
            }
            Woken::Adopted(name) => {
                if let Some(task) = self.tasks.get_mut(&name) {
                    task.adopted = None;
                    task.running.state = State::Exited(task.exit(Exit::Unseen));
                    killpoint::pass(|| format!("{name}, which was adopted, has ended"));
                    let _ = killpg(Pid::from_raw(task.running.pid), Signal::SIGKILL);
                    // What it left is not this keeper's child.
                    let mounts = BTreeSet::from([task.mounts]);
                    end_leftovers(&all_processes(), &mounts);
                    end_group(&name, task.group.as_ref());
                }
                self.tell(&name);
            }
        }
    }

    fn accept(&mut self) {
        self.accept_from = None;
        match self.listener.accept() {
            Ok((stream, _)) if is_root(&stream) => {
                // A client that does not read must not hold up the keeper.
                let _ = stream.set_write_timeout(Some(Duration::from_secs(2)));
                let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
                self.accepted += 1;
                let connection = Connection { stream, watches: false };
                self.connections.insert(self.accepted, connection);
            }
            Ok(_) => {}
            // The client still waits, and would be told of again at once.
            Err(_) => self.accept_from = Some(Instant::now() + SHORTAGE),
        }
    }

    /// Ends what ended tasks left behind in sessions of its own. As the keeper is their subreaper,
    /// such processes are its children; what is left by one of these comes with its own end.
    fn end_leftovers(&self) {
        let alive = |task: &&Task| task.is_alive();
        let gone = self.tasks.values().filter(|task| !alive(task)).map(|task| task.mounts);
        let gone: BTreeSet<u64> = gone.filter(|mounts| *mounts != 0).collect();
        if gone.is_empty() {
            return;
        }
        let known = self.tasks.values().filter(alive).map(|task| task.running.pid);
        let others = self.store.iter().chain(&self.api).filter_map(Supervised::pid);
        let known = known.chain(self.agent.pid()).chain(others);
        let known: BTreeSet<i32> = known.collect();
        let others: Vec<i32> =
            children().into_iter().filter(|child| !known.contains(child)).collect();
        end_leftovers(&others, &gone);
    }

    fn attend_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo != Signal::SIGCHLD as u32 {
                self.stopping = true;
            }
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => self.ended(pid, Exit::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.ended(pid, Exit::Signal(signal as i32));
                }
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
        self.end_leftovers();
    }

    fn ended(&mut self, pid: Pid, exit: Exit) {
        let ended = |supervised: &mut Supervised| supervised.ended(pid.as_raw());
        if self.store.iter_mut().chain([&mut self.agent]).chain(&mut self.api).any(ended) {
            return;
        }
        let is_its = |task: &Task| {
            task.running.pid == pid.as_raw() && task.adopted.is_none() && task.is_alive()
        };
        let Some((name, task)) = self.tasks.iter_mut().find(|(_, task)| is_its(task)) else {
            if self.tasks.values().any(|task| task.is_starting) {
                self.hasty.insert(pid.as_raw(), exit);
            }
            return;
        };
        let name = name.clone();
        if task.is_starting {
            self.attend_runtime(&name, exit);
            return;
        }
        task.ready = None;
        task.running.state = State::Exited(task.exit(exit));
        killpoint::pass(|| format!("{name} has ended"));
        // What the task left in its session ends with it.
        let _ = killpg(pid, Signal::SIGKILL);
        end_group(&name, task.group.as_ref());
        self.tell(&name);
    }

    /// A runtime has ended: its container runs, ran, or was not started.
    fn attend_runtime(&mut self, name: &SandboxName, exit: Exit) {
        let directory = self.state.task(name);
        let Some(task) = self.tasks.get_mut(name) else { return };
        task.is_starting = false;
        let pid = container::pid(&directory).filter(|_| exit == Exit::Code(0));
        let begun = pid.zip(Record::read(&directory));
        let Some((pid, record)) = begun else {
            let words = container::why_not(&directory, &exit);
            let _ = killpg(Pid::from_raw(task.running.pid), Signal::SIGKILL);
            task.running.state = State::Exited(Exit::NotStarted(words));
            end_group(name, task.group.as_ref());
            self.forget_hasty();
            self.tell(name);
            return;
        };
        killpoint::pass(|| format!("the container of {name} has begun"));
        let record = container::begun(record, pid);
        task.mounts = record.mounts;
        task.running.pid = pid;
        task.running.state = State::Ready;
        if let Err(error) = record.write(&directory) {
            say(format!("cannot note which process is {name}'s: {error}"));
        }
        self.tell(name);
        if let Some(exit) = self.hasty.remove(&pid) {
            self.ended(Pid::from_raw(pid), exit);
        }
        self.forget_hasty();
    }

    fn forget_hasty(&mut self) {
        if !self.tasks.values().any(|task| task.is_starting) {
            self.hasty.clear();
        }
    }

    /// Tells every watcher how a task is now.
    fn tell(&mut self, name: &SandboxName) {
        let Some(task) = self.tasks.get(name) else { return };
        let running = Reply::Processes(vec![task.running.clone()]);
        self.connections.retain(|_, connection| {
            !connection.watches || frame::send(&connection.stream, &running, &[]).is_ok()
        });
    }

    fn attend_connection(&mut self, number: u64) {
        let Some(connection) = self.connections.get(&number) else { return };
        let request = match frame::receive::<Request>(&connection.stream) {
            Ok(Some((request, _))) => request,
            Ok(None) | Err(_) => {
                self.connections.remove(&number);
                return;
            }
        };
        let (reply, fds) = self.answer(request, number);
        let Some(connection) = self.connections.get(&number) else { return };
        if frame::send(&connection.stream, &reply, &fds).is_err() {
            self.connections.remove(&number);
        }
    }

    fn answer(&mut self, request: Request, from: u64) -> (Reply, Vec<i32>) {
        let Some(change) = request.change() else { return self.attend_request(request, from) };
        killpoint::pass(|| format!("before: {change}"));
        let answer = self.attend_request(request, from);
        killpoint::pass(|| format!("not answered yet: {change}"));
        answer
    }

    fn attend_request(&mut self, request: Request, from: u64) -> (Reply, Vec<i32>) {
        let reply = match request {
            Request::List => Reply::Processes(self.list()),
            Request::Start(start) => self.start(&start),
            Request::Signal { sandbox, signal, session } => self.signal(&sandbox, signal, session),
            Request::Forget(sandbox) => self.forget(&sandbox),
            Request::Sockets(sandbox) => match self.sockets.of(&sandbox) {
                Ok(fds) => return (Reply::Done, fds.to_vec()),
                Err(error) => refused(&error),
            },
            Request::Memory(bytes) => match self.sockets.memory(bytes) {
                Ok(fd) => return (Reply::Done, vec![fd]),
                Err(error) => refused(&error),
            },
            Request::CloseSockets(sandbox) => {
                self.sockets.close(&sandbox);
                Reply::Done
            }
            Request::Status => Reply::Status(self.status()),
            Request::Watch => {
                if let Some(connection) = self.connections.get_mut(&from) {
                    connection.watches = true;
                }
                Reply::Processes(self.list())
            }
            Request::Shutdown => {
                self.stopping = true;
                Reply::Done
            }
        };
        (reply, Vec::new())
    }

    fn list(&self) -> Vec<Running> {
        self.tasks.values().map(|task| task.running.clone()).collect()
    }

    fn start(&mut self, start: &Start) -> Reply {
        if self.tasks.get(&start.sandbox).is_some_and(Task::is_alive) {
            return refused(&Errno::EEXIST.into());
        }
        let started = now();
        match child::start(start, &self.state.task(&start.sandbox), started) {
            Err(error) => {
                self.tasks.remove(&start.sandbox);
                let _ = Record::remove(&self.state.task(&start.sandbox));
                end_group(&start.sandbox, start.group.as_deref().map(Group::new).as_ref());
                refused(&error)
            }
            Ok(child::Started { child, ready }) => {
                killpoint::pass(|| format!("the process of {} has begun", start.sandbox));
                let is_starting = start.bundle.is_some();
                let is_ready = ready.is_none() && !is_starting;
                let state = if is_ready { State::Ready } else { State::Starting };
                let running = Running {
                    sandbox: start.sandbox.clone(),
                    process: start.process.clone(),
                    pid: child.id() as i32,
                    started,
                    state,
                    stop_signal: start.stop_signal,
                };
                let directory = self.state.task(&start.sandbox);
                let mounts = Record::read(&directory).map_or(0, |record| record.mounts);
                self.marks.follow(&start.sandbox, &directory, start.process.log);
                let group = start.group.as_deref().map(Group::new);
                let (answer, adopted) = (running.clone(), None);
                let task = Task { running, ready, adopted, mounts, is_starting, group };
                self.tasks.insert(start.sandbox.clone(), task);
                Reply::Started(Box::new(answer))
            }
        }
    }

    fn signal(&mut self, sandbox: &SandboxName, number: i32, session: bool) -> Reply {
        let alive = self.tasks.get(sandbox).filter(|task| task.is_alive());
        let Some(pid) = alive.map(|task| task.running.pid) else {
            return refused(&Errno::ESRCH.into());
        };
        // SAFETY: a plain system call. Real-time signals have no name that nix knows.
        let sent = unsafe { nix::libc::kill(if session { -pid } else { pid }, number) };
        Errno::result(sent).map_or_else(|errno| refused(&errno.into()), |_| Reply::Done)
    }

    fn forget(&mut self, sandbox: &SandboxName) -> Reply {
        match self.tasks.get(sandbox).map(|task| &task.running.state) {
            Some(State::Starting | State::Ready) => refused(&Errno::EBUSY.into()),
            _ => {
                self.tasks.remove(sandbox);
                self.marks.forget(sandbox);
                match std::fs::remove_dir_all(self.state.task(sandbox)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => refused(&error),
                    _ => Reply::Done,
                }
            }
        }
    }

    fn status(&self) -> Status {
        Status {
            keeper: std::process::id() as i32,
            agent: self.agent.pid(),
            store: self.store.as_ref().and_then(Supervised::pid),
            api: self.api.as_ref().and_then(Supervised::pid),
            agent_restarts: self.agent.restarts,
            store_restarts: self.store.as_ref().map_or(0, |store| store.restarts),
            since: self.since,
            version: env!("CARGO_PKG_VERSION").into(),
            executable: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("?")),
        }
    }
}

/// The children of this process; none where the kernel does not list them.
fn children() -> Vec<i32> {
    let list = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn all_processes() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Kills those of `processes` that are in one of these mount namespaces.
fn end_leftovers(processes: &[i32], mounts: &BTreeSet<u64>) {
    for pid in processes.iter().filter(|pid| **pid > 1) {
        if mounts_of(*pid).is_some_and(|home| home != 0 && mounts.contains(&home)) {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
}

/// Ends whatever is left in a task's control group, and the group.
fn end_group(name: &SandboxName, group: Option<&Group>) {
    if let Some(Err(error)) = group.map(Group::remove) {
        say(format!("the control group of {name} cannot be removed: {error}"));
    }
}

fn refused(error: &io::Error) -> Reply {
    let errno = error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::NotFound => Errno::ENOENT as i32,
        _ => Errno::EIO as i32,
    });
    Reply::Refused { errno, sentence: error.to_string() }
}

fn is_root(stream: &UnixStream) -> bool {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| peer.uid() == 0)
}

/// A descriptor that becomes readable when the process ends, whoever its parent is.
fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call; what it returns is a new descriptor that nobody else owns.
    let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
