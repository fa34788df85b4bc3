//! CPU for each DNS query: a sandbox's resolver as the agent runs it, beside dnsmasq and beside a
//! server that only sends back what came, which is what the sockets alone cost.
//!
//! All three answer in one sandbox, on one CPU, the same questions of one generator on another CPU,
//! in turns. `scripts/bench-dns.sh` starts it. It needs root, and ends with 1 when the bar is missed.

mod apart;
mod report;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use swarmlb::keeper::sockets::RESOLVER;
use swarmlb::kernel::{netns, program};

use apart::{Failure, Swarmlb, go_apart, is_apart};
use report::conditions;

/// The sandbox that all servers answer in.
const SANDBOX: &str = "client.1";
/// Names to ask for: services without tasks, which have an address all the same.
const SERVICES: usize = 100;
const SUBNET: &str = "10.77.0.0/24";
const PORTS: [u16; 2] = [5301, 5302];
/// At most this much of dnsmasq's CPU.
const BAR: f64 = 1.0;

/// How a round asks.
#[derive(Clone, Copy)]
struct Load {
    words: &'static str,
    /// Queries that may be unanswered at a time.
    window: usize,
    /// Queries a second; as many as are answered when none.
    rate: Option<f64>,
    judged: Judged,
}

/// Whether the bar counts for a load.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judged {
    Yes,
    /// Each query wakes the server, and most of what it costs is the scheduler's, as the echo shows.
    No,
}

const LOADS: [Load; 2] = [
    Load {
        words: "as fast as answers come, 100 at a time",
        window: 100,
        rate: None,
        judged: Judged::Yes,
    },
    Load {
        words: "10,000 a second, one at a time (not judged: mostly what waking up costs)",
        window: 1,
        rate: Some(10_000.0),
        judged: Judged::No,
    },
];
/// Sockets that ask: as many clients.
const CLIENTS: usize = 4;
const ROUND: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_millis(200);
/// A query without an answer for so long is lost.
const PATIENCE: Duration = Duration::from_secs(2);

struct Server {
    name: &'static str,
    address: SocketAddr,
    pid: Pid,
    /// Whether it knows the names, rather than sending back what came.
    resolves: bool,
}

/// What a round brought.
#[derive(Clone, Copy)]
struct Figure {
    answered: u64,
    lost: u64,
    /// Nanoseconds of the server's CPU for each answer.
    cost: f64,
    rate: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let done = match &arguments[1..] {
        [role, port] if role == "echo" => echo(port),
        words if !words.iter().any(|word| word == "--bench") => {
            println!("measures only for `cargo bench`");
            Ok(ExitCode::SUCCESS)
        }
        _ if is_apart() => compare(rounds(&arguments)),
        _ => go_apart(&[("dnsmasq", "dnsmasq-base")]),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: cannot measure DNS: {failure}");
            ExitCode::from(3)
        }
    }
}

fn rounds(arguments: &[String]) -> usize {
    let given = arguments.iter().skip_while(|word| *word != "--rounds").nth(1);
    given.and_then(|number| number.parse().ok()).unwrap_or(7)
}

/// Sends back what comes, as a reply.
fn echo(port: &str) -> Result<ExitCode, Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port.parse()?))?;
    let mut buffer = [0; 4096];
    loop {
        let (length, client) = socket.recv_from(&mut buffer)?;
        buffer[2] |= 0x80;
        let _ = socket.send_to(&buffer[..length], client);
    }
}

/// Everything that is started, which ends with this.
struct World {
    children: Vec<Child>,
    swarmlb: Swarmlb,
}

impl World {
    /// Starts a program in the sandbox.
    fn start(&mut self, program: &Path, arguments: &[&str]) -> Result<Pid, Failure> {
        let namespace = netns::open(SANDBOX)?;
        let child = netns::within(namespace.as_fd(), || {
            program::command(program).args(arguments).stdout(Stdio::null()).spawn()
        })??;
        let pid = Pid::from_raw(child.id().try_into()?);
        self.children.push(child);
        Ok(pid)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn compare(rounds: usize) -> Result<ExitCode, Failure> {
    let mut world = World { children: Vec::new(), swarmlb: Swarmlb::new() };
    let names = settle(&world)?;
    let servers = start_servers(&mut world, &names)?;
    pin(Pid::from_raw(0), Side::Generator)?;
    let queries: Vec<Vec<u8>> = names.iter().map(|(name, _)| query(name)).collect();
    let mut kept = true;
    println!("{SERVICES} names, A records, {rounds} rounds of {} s each", ROUND.as_secs());
    for load in LOADS {
        let mut figures = vec![Vec::new(); servers.len()];
        for server in &servers {
            ask(server, &queries, load, WARM_UP)?;
        }
        for round in 0..rounds {
            // Whoever begins a round does not do so in the next one.
            for place in 0..servers.len() {
                let number = (place + round) % servers.len();
                figures[number].push(ask(&servers[number], &queries, load, ROUND)?);
            }
        }
        let (text, good) = table(&servers, &figures);
        println!("\n{}\n\n{text}", load.words);
        kept &= good || load.judged == Judged::No;
    }
    let verdict = if kept { "reached" } else { "MISSED" };
    println!("\n{}", conditions());
    println!(
        "bar: at most {BAR:.2} of dnsmasq's CPU for each query, as fast as they come: {verdict}"
    );
    io::stdout().flush()?;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Makes the services, and says what their names mean.
fn settle(world: &World) -> Result<Vec<(String, String)>, Failure> {
    world.swarmlb.run(&format!("network create --subnet {SUBNET} bench"))?;
    world.swarmlb.run("service create --name client --network bench")?;
    for number in 0..SERVICES {
        let line = format!("service create --detach --replicas 0 --network bench --name s{number}");
        world.swarmlb.run(&line)?;
    }
    // Waits until the agent has it all.
    world.swarmlb.run("service create --name last --network bench")?;
    let listed: serde_json::Value =
        serde_json::from_str(&world.swarmlb.run("--format json service ls")?)?;
    let mut names = Vec::new();
    for row in listed.as_array().ok_or("no list of services")? {
        let vip = row["vips"]["bench"].as_str().ok_or("a service without a VIP")?;
        names.push((row["name"].as_str().unwrap_or_default().to_owned(), vip.to_owned()));
    }
    Ok(names)
}

fn start_servers(world: &mut World, names: &[(String, String)]) -> Result<Vec<Server>, Failure> {
    let agent = world.swarmlb.role("agent")?;
    let hosts = world.swarmlb.state.join("hosts");
    let lines: Vec<String> =
        names.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
    std::fs::write(&hosts, lines.concat())?;
    let [one, two] = PORTS.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let dnsmasq = program::find("dnsmasq").ok_or("dnsmasq is missing")?;
    let arguments = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--local-ttl=2",
        "--bind-interfaces",
        "--listen-address=127.0.0.1",
        "--user=root",
        "--pid-file=",
        &format!("--port={}", one.port()),
        &format!("--addn-hosts={}", hosts.display()),
    ];
    let dnsmasq = world.start(&dnsmasq, &arguments)?;
    let port = two.port().to_string();
    let echo = world.start(&std::env::current_exe()?, &["echo", &port])?;
    let pid = Pid::from_raw(agent);
    let servers = vec![
        Server { name: "swarmlb", address: RESOLVER.into(), pid, resolves: true },
        Server { name: "dnsmasq", address: one, pid: dnsmasq, resolves: true },
        Server { name: "echo", address: two, pid: echo, resolves: false },
    ];
    for server in &servers {
        pin(server.pid, Side::Server)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        let query = [query("s0")];
        let load = Load { words: "", window: 1, rate: None, judged: Judged::No };
        while ask(server, &query, load, Duration::from_millis(50)).is_err() {
            if Instant::now() > deadline {
                return Err(format!("{} does not answer", server.name).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(servers)
}

#[derive(Clone, Copy)]
enum Side {
    Generator,
    Server,
}

/// Keeps all threads of a process on one CPU, the servers' on another than the generator's.
fn pin(pid: Pid, side: Side) -> Result<(), Failure> {
    let count = std::thread::available_parallelism()?.get();
    let mut cpus = CpuSet::new();
    cpus.set(match side {
        Side::Generator => 0,
        Side::Server => count - 1,
    })?;
    let pid = if pid.as_raw() == 0 { nix::unistd::getpid() } else { pid };
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = task?.file_name().to_string_lossy().parse()?;
        sched_setaffinity(Pid::from_raw(thread), &cpus)?;
    }
    Ok(())
}

/// The CPU that a process has used, in nanoseconds.
fn used(pid: Pid) -> Result<u64, Failure> {
    let mut used = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the two looks.
        let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        used += text.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(used)
}

fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.push(name.len() as u8);
    query.extend(name.as_bytes());
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// One client: a socket and the questions that it waits for, by ID.
struct Client {
    socket: UdpSocket,
    waiting: u64,
    next: u16,
}

/// Asks for so long and waits for what is left.
fn ask(
    server: &Server,
    queries: &[Vec<u8>],
    load: Load,
    length: Duration,
) -> Result<Figure, Failure> {
    let namespace = netns::open(SANDBOX)?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS.min(load.window) {
        let socket = netns::within(namespace.as_fd(), || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(server.address)?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        })??;
        clients.push(Client { socket, waiting: 0, next: 0 });
    }
    let window = (load.window / clients.len()) as u64;
    let before = used(server.pid)?;
    let began = Instant::now();
    let (mut sent, mut answered, mut quiet) = (0_u64, 0_u64, Instant::now());
    loop {
        let asking = began.elapsed() < length;
        for client in &mut clients {
            while asking && client.waiting < window && due(load, began, sent) {
                let mut query = queries[sent as usize % queries.len()].clone();
                query[..2].copy_from_slice(&client.next.to_be_bytes());
                client.next = client.next.wrapping_add(1);
                client.socket.send(&query)?;
                client.waiting += 1;
                sent += 1;
            }
            let heard = hear(server, client)?;
            client.waiting = client.waiting.saturating_sub(heard);
            answered += heard;
            if heard > 0 {
                quiet = Instant::now();
            }
        }
        let waiting: u64 = clients.iter().map(|client| client.waiting).sum();
        if !asking && (waiting == 0 || quiet.elapsed() > PATIENCE) {
            break;
        }
        if quiet.elapsed() > PATIENCE {
            return Err(format!("{} is silent", server.name).into());
        }
        // A paced generator spins, or its own sleep would set the pace.
        if load.rate.is_none() && clients.iter().all(|client| client.waiting >= window) {
            let mut sources: Vec<PollFd<'_>> = clients
                .iter()
                .map(|client| PollFd::new(client.socket.as_fd(), PollFlags::POLLIN))
                .collect();
            poll(&mut sources, PollTimeout::from(100_u8))?;
        }
    }
    if answered == 0 {
        return Err(format!("{} answers nothing", server.name).into());
    }
    let cost = (used(server.pid)? - before) as f64 / answered as f64;
    let rate = answered as f64 / began.elapsed().as_secs_f64();
    Ok(Figure { answered, lost: sent - answered, cost, rate })
}

fn due(load: Load, began: Instant, sent: u64) -> bool {
    load.rate.is_none_or(|rate| began.elapsed().as_secs_f64() * rate >= sent as f64)
}

/// Takes in the answers that are there.
fn hear(server: &Server, client: &mut Client) -> Result<u64, Failure> {
    let mut buffer = [0; 4096];
    let mut heard = 0;
    loop {
        let length = match client.socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(heard),
            // Nobody listens there yet.
            Err(error) => return Err(error.into()),
        };
        let reply = &buffer[..length];
        let right = length > 12 && reply[2] & 0x80 != 0 && reply[3] & 0x0f == 0;
        if !right || (server.resolves && reply[7] != 1) {
            return Err(format!("{} answers wrongly: {reply:02x?}", server.name).into());
        }
        heard += 1;
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The table, and whether the bar was kept.
fn table(servers: &[Server], figures: &[Vec<Figure>]) -> (String, bool) {
    let costs: Vec<f64> =
        figures.iter().map(|rounds| median(rounds.iter().map(|f| f.cost).collect())).collect();
    // Ratios within rounds, for what disturbs the machine disturbs a round.
    let ratio = |number: usize| {
        let pairs = figures[number].iter().zip(&figures[1]);
        median(pairs.map(|(this, peer)| this.cost / peer.cost).collect())
    };
    let mut text = format!(
        "{:<10}{:>14}{:>10}{:>10}{:>12}{:>12}{:>8}\n",
        "", "CPU a query", "lowest", "highest", "to dnsmasq", "queries/s", "lost"
    );
    for (number, server) in servers.iter().enumerate() {
        let rounds = &figures[number];
        let lowest = rounds.iter().map(|f| f.cost).fold(f64::INFINITY, f64::min);
        let highest = rounds.iter().map(|f| f.cost).fold(0.0, f64::max);
        let rate = median(rounds.iter().map(|f| f.rate).collect());
        let lost: u64 = rounds.iter().map(|f| f.lost).sum();
        let _ = writeln!(
            text,
            "{:<10}{:>11.2} µs{:>10.2}{:>10.2}{:>12.2}{:>12.0}{:>8}",
            server.name,
            costs[number] / 1000.0,
            lowest / 1000.0,
            highest / 1000.0,
            ratio(number),
            rate,
            lost,
        );
    }
    let asked: u64 = figures.iter().flatten().map(|figure| figure.answered).sum();
    let _ = writeln!(text, "{asked} answers in all");
    (text, ratio(0) <= BAR)
}
