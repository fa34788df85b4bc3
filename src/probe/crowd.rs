//! A crowd of clients in one sandbox: makes a fixed number of requests to a service and measures
//! each one.
//!
//! Every request takes the name's first address, opens one new connection and closes it. Closed loop, unless a pace is
//! given: a worker makes its next request when the last one is done, so this measures latency and balance, not the load a
//! service can bear. How a name becomes addresses, anew
//! or from memory, is the caller's affair.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::kernel::netns;
use crate::probe::ports::Ports;
use crate::probe::reply::{self, Progress};
use crate::trace::sample::{Failure, Sample, Source, Way};

/// More workers than this add threads, not connections per second.
pub const MOST_WORKERS: u32 = 256;

/// Workers keep their buffers on the heap and call nothing deep.
const STACK: usize = 256 * 1024;

/// How long to wait for the server to close after its reply.
const CLOSE_PATIENCE: Duration = Duration::from_millis(50);

/// What to ask for, how often, and how many at a time.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many requests in all.
    pub requests: u32,
    /// How many at a time: 1 to [`MOST_WORKERS`], and never more than there are requests.
    pub concurrency: u32,
    /// From the start of the connection to the end of the reply. The resolver keeps its own time.
    pub timeout: Duration,
    pub port: u16,
    /// The path of the request, as in `/`; bytes that a request line cannot hold are escaped.
    pub path: String,
    /// Where the clients' ports come from; none leaves the choice to the kernel.
    pub ports: Option<Arc<Ports>>,
    /// When each request begins; none for as soon as a worker is free.
    pub pace: Option<Pace>,
}

/// Requests at even distances in time, from a moment that several crowds may share.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// When the first begins. Samples count their time from here.
    pub begin: Instant,
    pub interval: Duration,
}

impl Pace {
    /// Sleeps until it is a request's time; one that is late begins at once.
    fn wait_for(&self, sequence: u32) {
        let moment = self.begin + self.interval * sequence;
        thread::sleep(moment.saturating_duration_since(Instant::now()));
    }
}

/// Turns the service's name into addresses, once for each request.
pub trait Resolve: Send {
    /// The addresses in the order of the answer.
    ///
    /// # Errors
    /// Why there are none.
    fn resolve(&mut self) -> Result<Found, ResolveFailure>;
}

/// A name's addresses, and where they are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub addresses: Vec<IpAddr>,
    pub source: Source,
}

/// Why a name has no addresses, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ResolveFailure(pub String);

/// What is told of requests that are done, and says whether to go on.
pub type Progressing<'a> = &'a (dyn Fn(u32) -> ControlFlow<()> + Sync);

/// Makes `plan.requests` requests from inside `namespace` and answers with one sample for each, in
/// order of sequence.
///
/// `factory` is called once by each worker, inside the namespace, so that sockets of the resolver
/// belong to it. `progress` is told how many requests are done, in rising numbers per worker; when
/// it breaks, no worker begins another request, and there are fewer samples.
///
/// # Errors
/// When the namespace cannot be entered, a thread or a resolver cannot be made, or a resolver
/// panics. A request that fails is a sample, not an error.
pub fn run<R: Resolve>(
    namespace: BorrowedFd<'_>,
    way: Way,
    plan: &Plan,
    factory: impl Fn() -> io::Result<R> + Send + Sync,
    progress: Progressing<'_>,
) -> io::Result<Vec<Sample>> {
    // Threads inherit the namespace of the thread that starts them: one `setns` serves them all.
    netns::within(namespace, || in_place(way, plan, factory, progress))?
}

/// The run itself, in the namespace of the calling thread.
fn in_place<R: Resolve>(
    way: Way,
    plan: &Plan,
    factory: impl Fn() -> io::Result<R> + Sync,
    progress: Progressing<'_>,
) -> io::Result<Vec<Sample>> {
    let crowd = Crowd {
        way,
        plan,
        factory,
        progress,
        path: reply::escape_path(&plan.path),
        begun: AtomicU32::new(0),
        done: AtomicU32::new(0),
        start: plan.pace.map_or_else(Instant::now, |pace| pace.begin),
    };
    crowd.gather()
}

/// What the workers share.
struct Crowd<'a, F> {
    way: Way,
    plan: &'a Plan,
    factory: F,
    progress: Progressing<'a>,
    path: String,
    begun: AtomicU32,
    done: AtomicU32,
    start: Instant,
}

impl<R: Resolve, F: Fn() -> io::Result<R> + Sync> Crowd<'_, F> {
    fn gather(&self) -> io::Result<Vec<Sample>> {
        let size = self.plan.concurrency.clamp(1, MOST_WORKERS).min(self.plan.requests);
        let mut samples = thread::scope(|scope| {
            let mut workers = Vec::new();
            let mut outcome = Ok(Vec::new());
            for worker in 0..size {
                let builder =
                    thread::Builder::new().name(format!("crowd-{worker}")).stack_size(STACK);
                match builder.spawn_scoped(scope, move || self.work(worker)) {
                    Ok(handle) => workers.push(handle),
                    Err(error) => {
                        self.call_off();
                        outcome = Err(error);
                        break;
                    }
                }
            }
            for worker in workers {
                let part =
                    worker.join().unwrap_or_else(|_| Err(io::Error::other("a client panicked")));
                outcome = outcome.and_then(|mut all| {
                    part.map(|part| {
                        all.extend(part);
                        all
                    })
                });
            }
            outcome
        })?;
        samples.sort_unstable_by_key(|sample| sample.sequence);
        Ok(samples)
    }

    /// Lets no worker begin another request.
    fn call_off(&self) {
        self.begun.store(self.plan.requests, Ordering::Relaxed);
    }

    fn next(&self) -> Option<u32> {
        self.begun
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |begun| {
                (begun < self.plan.requests).then(|| begun + 1)
            })
            .ok()
    }

    fn work(&self, worker: u32) -> io::Result<Vec<Sample>> {
        let mut client = match (self.factory)() {
            Ok(resolver) => Client::new(resolver, self.plan, &self.path),
            Err(error) => {
                self.call_off();
                return Err(error);
            }
        };
        let mut samples = Vec::new();
        while let Some(sequence) = self.next() {
            if let Some(pace) = &self.plan.pace {
                pace.wait_for(sequence);
            }
            let started = self.start.elapsed();
            let request = client.request();
            samples.push(Sample {
                way: self.way,
                sequence,
                worker,
                started,
                resolve: request.resolve,
                source: request.source,
                connect: request.connect,
                total: request.total,
                address: request.address,
                outcome: request.outcome,
            });
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            if (self.progress)(done).is_break() {
                self.call_off();
            }
        }
        Ok(samples)
    }
}

/// One worker's resolver and buffers, used for all its requests.
struct Client<'a, R> {
    resolver: R,
    plan: &'a Plan,
    path: &'a str,
    question: Vec<u8>,
    buffer: Vec<u8>,
}

/// What came of one request.
struct Measured {
    resolve: Duration,
    source: Source,
    connect: Duration,
    total: Duration,
    address: Option<IpAddr>,
    outcome: Result<String, Failure>,
}

impl<'a, R: Resolve> Client<'a, R> {
    fn new(resolver: R, plan: &'a Plan, path: &'a str) -> Self {
        let buffer = vec![0; reply::LONGEST_HEAD];
        Self { resolver, plan, path, question: Vec::with_capacity(256), buffer }
    }

    fn request(&mut self) -> Measured {
        let start = Instant::now();
        let found = self.resolver.resolve();
        let mut measured = Measured {
            resolve: start.elapsed(),
            source: found.as_ref().map_or(Source::Asked, |found| found.source),
            connect: Duration::ZERO,
            total: Duration::ZERO,
            address: None,
            outcome: Err(Failure::Resolve("the answer is empty".to_owned())),
        };
        match found.map(|found| found.addresses.first().copied()) {
            Ok(Some(address)) => {
                measured.address = Some(address);
                measured.outcome = self.exchange(address, start, &mut measured);
            }
            Ok(None) => {}
            Err(failure) => measured.outcome = Err(Failure::Resolve(failure.to_string())),
        }
        if measured.total.is_zero() {
            measured.total = start.elapsed();
        }
        measured
    }

    /// Connects, asks and reads; notes the times as they pass.
    fn exchange(
        &mut self,
        address: IpAddr,
        start: Instant,
        measured: &mut Measured,
    ) -> Result<String, Failure> {
        let deadline = Deadline::after(self.plan.timeout);
        let target = SocketAddr::new(address, self.plan.port);
        let begun = Instant::now();
        let left = deadline.left()?;
        let stream = match &self.plan.ports {
            Some(ports) => ports.connect(target, left),
            None => TcpStream::connect_timeout(&target, left),
        };
        measured.connect = begun.elapsed();
        let mut stream = stream.map_err(|error| failure(&error))?;
        self.ask(&mut stream, target, &deadline)?;
        let task = self.read(&mut stream, &deadline)?;
        measured.total = start.elapsed();
        await_close(&mut stream);
        Ok(task)
    }

    fn ask(
        &mut self,
        stream: &mut TcpStream,
        target: SocketAddr,
        deadline: &Deadline,
    ) -> Result<(), Failure> {
        self.question.clear();
        let head = format_args!(
            "GET {} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: swarmlb\r\nConnection: close\r\n\r\n",
            self.path
        );
        let sent = self
            .question
            .write_fmt(head)
            .and_then(|()| stream.set_write_timeout(Some(deadline.left_or_least())))
            .and_then(|()| stream.write_all(&self.question));
        sent.map_err(|error| failure(&error))
    }

    /// Reads to the end of the reply and answers with the task that sent it.
    fn read(&mut self, stream: &mut TcpStream, deadline: &Deadline) -> Result<String, Failure> {
        let mut filled = 0;
        let (task, mut missing) = loop {
            let room = self.buffer.get_mut(filled..).unwrap_or_default();
            let read = receive(stream, room, deadline)?;
            filled += read;
            let seen = self.buffer.get(..filled).unwrap_or_default();
            match reply::parse(seen) {
                Progress::Whole { task, missing } => break (task, missing),
                Progress::Partial if read > 0 && filled < self.buffer.len() => {}
                Progress::Partial | Progress::Malformed => return Err(Failure::Malformed),
            }
        };
        while missing > 0 {
            let room = self.buffer.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
            let read = receive(stream, self.buffer.get_mut(..room).unwrap_or_default(), deadline)?;
            if read == 0 {
                return Err(Failure::Malformed);
            }
            missing -= read as u64;
        }
        Ok(task)
    }
}

/// Lets the server close first, so that `TIME_WAIT` and the port it holds are the server's: a
/// client that closes first runs out of local ports after 28 000 requests a minute.
fn await_close(stream: &mut TcpStream) {
    let mut rest = [0; 64];
    let patience = Deadline::after(CLOSE_PATIENCE);
    while let Ok(1..) = receive(stream, &mut rest, &patience) {}
}

fn receive(stream: &mut TcpStream, room: &mut [u8], deadline: &Deadline) -> Result<usize, Failure> {
    loop {
        let left = deadline.left()?;
        match stream.set_read_timeout(Some(left)).and_then(|()| stream.read(room)) {
            Ok(read) => return Ok(read),
            Err(error) if is_early(&error) => {}
            Err(error) => return Err(failure(&error)),
        }
    }
}

/// The kernel counts a socket's timeout in ticks and may end it a tick early; whether time is up
/// is for the deadline to say.
fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The moment after which a request has failed.
struct Deadline {
    start: Instant,
    timeout: Duration,
}

impl Deadline {
    fn after(timeout: Duration) -> Self {
        Self { start: Instant::now(), timeout }
    }

    fn left(&self) -> Result<Duration, Failure> {
        let left = self.timeout.saturating_sub(self.start.elapsed());
        if left.is_zero() { Err(Failure::TimedOut) } else { Ok(left) }
    }

    /// Never zero, which sockets take for "no timeout".
    fn left_or_least(&self) -> Duration {
        self.left().unwrap_or(Duration::from_micros(1))
    }
}

fn failure(error: &io::Error) -> Failure {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Failure::Refused,
        Kind::HostUnreachable | Kind::NetworkUnreachable => Failure::Unreachable,
        Kind::TimedOut | Kind::WouldBlock => Failure::TimedOut,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Failure::Reset,
        _ => Failure::Io(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::pipe;
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::sync::mpsc;

    use super::*;
    use crate::runtime::whoami::{Identity, serve};

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Always the same answer.
    struct Fixed(Result<Vec<IpAddr>, ResolveFailure>);

    impl Resolve for Fixed {
        fn resolve(&mut self) -> Result<Found, ResolveFailure> {
            self.0.clone().map(|addresses| Found { addresses, source: Source::Asked })
        }
    }

    fn go_on(_: u32) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn plan(port: u16, requests: u32, concurrency: u32) -> Plan {
        let timeout = Duration::from_secs(5);
        Plan { requests, concurrency, timeout, port, path: "/".to_owned(), ports: None, pace: None }
    }

    fn here(plan: &Plan, answer: Result<Vec<IpAddr>, ResolveFailure>) -> Vec<Sample> {
        in_place(Way::Vip, plan, || Ok(Fixed(answer.clone())), &go_on).expect("a run")
    }

    fn outcomes(samples: &[Sample]) -> Vec<Result<&str, Failure>> {
        samples.iter().map(|sample| sample.outcome.as_deref().map_err(Clone::clone)).collect()
    }

    /// Serves a task on loopback for as long as `work` takes, which is told the port.
    fn with_task<T>(work: impl FnOnce(u16) -> T) -> T {
        let (stop, stopper) = pipe().expect("a pipe");
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                let identity = Identity {
                    task: "web.1".to_owned(),
                    service: "web".to_owned(),
                    node: "node-1".to_owned(),
                };
                let any = SocketAddr::new(LOOPBACK, 0);
                serve(&identity, any, stop.as_fd(), |bound| {
                    let _ = tell.send(bound.port());
                })
            });
            let result = work(told.recv_timeout(Duration::from_secs(20)).expect("listens"));
            drop(stopper);
            result
        })
    }

    /// Answers every connection with these bytes, and closes it.
    fn with_bytes<T>(bytes: &'static [u8], work: impl FnOnce(u16) -> T) -> T {
        let listener = TcpListener::bind((LOOPBACK, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked);
                let _ = stream.write_all(bytes);
            });
            work(port)
        })
    }

    #[test]
    fn every_request_is_answered_once_and_told_of() {
        let told = AtomicU32::new(0);
        let samples = with_task(|port| {
            let progress = |done| {
                told.fetch_max(done, Ordering::Relaxed);
                ControlFlow::Continue(())
            };
            let factory = || Ok(Fixed(Ok(vec![LOOPBACK])));
            in_place(Way::Dns, &plan(port, 200, 4), factory, &progress).expect("a run")
        });
        assert_eq!(told.into_inner(), 200);
        assert!(samples.iter().map(|sample| sample.sequence).eq(0..200));
        for sample in samples {
            assert_eq!((sample.way, sample.outcome.as_deref()), (Way::Dns, Ok("web.1")));
            assert_eq!(sample.address, Some(LOOPBACK));
            assert!(sample.worker < 4 && !sample.connect.is_zero());
            assert!(sample.total >= sample.resolve + sample.connect);
        }
    }

    #[test]
    fn at_a_pace_no_request_begins_before_its_time() {
        let interval = Duration::from_millis(5);
        let begin = Instant::now() + interval;
        let pace = Some(Pace { begin, interval });
        let samples =
            with_task(|port| here(&Plan { pace, ..plan(port, 20, 4) }, Ok(vec![LOOPBACK])));
        assert!(begin.elapsed() >= 19 * interval);
        assert!(samples.iter().all(|sample| sample.started >= sample.sequence * interval));
    }

    #[test]
    fn a_run_that_is_called_off_ends_with_what_was_done() {
        let samples = with_task(|port| {
            let enough = |done| match done {
                ..20 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            };
            let factory = || Ok(Fixed(Ok(vec![LOOPBACK])));
            in_place(Way::Dns, &plan(port, 10_000, 4), factory, &enough).expect("a run")
        });
        assert!((20..24).contains(&samples.len()), "{}", samples.len());
    }

    #[test]
    fn more_workers_than_requests_or_none_at_all_do_no_harm() {
        with_task(|port| {
            for (requests, concurrency) in [(3, u32::MAX), (3, 0)] {
                let samples = here(&plan(port, requests, concurrency), Ok(vec![LOOPBACK]));
                assert_eq!(outcomes(&samples), [Ok("web.1"), Ok("web.1"), Ok("web.1")]);
            }
            assert_eq!(here(&plan(port, 0, 8), Ok(vec![LOOPBACK])), []);
        });
    }

    #[test]
    fn a_name_without_addresses_is_a_failure_to_resolve() {
        let gone = here(&plan(9, 1, 1), Err(ResolveFailure("NXDOMAIN".to_owned())));
        assert_eq!(outcomes(&gone), [Err(Failure::Resolve("NXDOMAIN".to_owned()))]);
        let empty = here(&plan(9, 1, 1), Ok(Vec::new()));
        assert!(matches!(outcomes(&empty)[..], [Err(Failure::Resolve(_))]));
        assert_eq!(empty.first().and_then(|sample| sample.address), None);
    }

    #[test]
    fn a_port_without_listener_refuses() {
        let port = {
            let listener = TcpListener::bind((LOOPBACK, 0)).expect("a port");
            listener.local_addr().expect("an address").port()
        };
        let samples = here(&plan(port, 2, 2), Ok(vec![LOOPBACK]));
        assert_eq!(outcomes(&samples), [Err(Failure::Refused), Err(Failure::Refused)]);
    }

    #[test]
    fn a_server_that_says_nothing_times_out() {
        let listener = TcpListener::bind((LOOPBACK, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let timeout = Duration::from_millis(200);
        let samples = here(&Plan { timeout, ..plan(port, 1, 1) }, Ok(vec![LOOPBACK]));
        assert_eq!(outcomes(&samples), [Err(Failure::TimedOut)]);
        assert!(samples.iter().all(|sample| sample.total >= timeout));
    }

    #[test]
    fn a_reply_that_is_none_of_a_task_is_malformed() {
        for bytes in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nSwarmlb-Task: a\r\nContent-Length: 5\r\n\r\nabc",
            &[b'a'; 9000],
        ] {
            let samples = with_bytes(bytes, |port| here(&plan(port, 1, 1), Ok(vec![LOOPBACK])));
            assert!(
                // What is still unread when a client gives up is answered by a reset.
                matches!(outcomes(&samples)[..], [Err(Failure::Malformed | Failure::Reset)]),
                "{samples:?}"
            );
        }
    }

    #[test]
    fn a_body_longer_than_the_buffer_is_read_to_its_end() {
        static REPLY: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            let mut reply =
                b"HTTP/1.1 200 OK\r\nSwarmlb-Task: a\r\nContent-Length: 100000\r\n\r\n".to_vec();
            reply.resize(reply.len() + 100_000, b'x');
            reply
        });
        let samples = with_bytes(&REPLY, |port| here(&plan(port, 1, 1), Ok(vec![LOOPBACK])));
        assert_eq!(outcomes(&samples), [Ok("a")]);
    }

    #[test]
    fn a_resolver_that_cannot_be_made_ends_the_run() {
        let factory = || Err::<Fixed, _>(io::Error::from(io::ErrorKind::AddrNotAvailable));
        let error = in_place(Way::Dns, &plan(9, 1000, 4), factory, &go_on).expect_err("an error");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn a_resolver_that_panics_is_an_error_and_no_panic() {
        struct Broken;
        impl Resolve for Broken {
            fn resolve(&mut self) -> Result<Found, ResolveFailure> {
                panic!("broken on purpose")
            }
        }
        assert!(in_place(Way::Dns, &plan(9, 3, 2), || Ok(Broken), &go_on).is_err());
    }

    /// Needs root: a namespace made here, whose loopback is down, so that nothing can be reached.
    #[test]
    fn workers_are_inside_the_namespace_and_the_caller_is_not() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: not root, and a namespace must be made");
            return;
        }
        let unshared = thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
            netns::current()
        });
        let namespace = unshared.join().expect("no panic").expect("a namespace");
        let inside = netns::inode(&namespace).expect("an inode");
        let own = || netns::inode(netns::current().expect("a namespace")).expect("an inode");
        let factory = || {
            assert_eq!(own(), inside);
            Ok(Fixed(Ok(vec![LOOPBACK])))
        };
        let samples = with_task(|port| {
            run(namespace.as_fd(), Way::Vip, &plan(port, 4, 2), factory, &go_on).expect("a run")
        });
        assert!(
            outcomes(&samples).iter().all(|outcome| *outcome == Err(Failure::Unreachable)),
            "{samples:?}"
        );
        assert_ne!(own(), inside);
    }
}
