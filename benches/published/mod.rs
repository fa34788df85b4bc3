//! New connections per second to a published port, beside those through an HAProxy in TCP mode on the
//! same node, which connects to the same tasks: one client, in turns.
//!
//! A task of this bench says one byte to whoever connects and ends the connection, so that as little
//! as can be is measured beside who leads there.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt::Linger};

use crate::apart::Failure;
use crate::lab::Lab;
use crate::report::{Bar, Figures, Row, Unit};

/// The word that makes a task of this program.
pub const SERVE: &str = "serve-published";
const TASKS: usize = 3;
const CLIENTS: usize = 8;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_secs(1);
/// How long one connection may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// The tasks' port, that at which they are published, and HAProxy's.
const PORT: u16 = 7000;
const PUBLISHED: u16 = 8080;
const HAPROXY: u16 = 9000;

/// What a task does.
pub fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    loop {
        let (mut stream, _) = listener.accept()?;
        let _ = stream.write_all(b".");
    }
}

pub fn measure() -> Result<Vec<Row>, Failure> {
    let lab = Lab::up(1)?;
    lab.run("network create bench")?;
    let me = std::env::current_exe()?;
    let me = me.to_str().ok_or("this program's path is not UTF-8")?;
    lab.run(&format!(
        "service create --name web --replicas {TASKS} --network bench -p {PUBLISHED}:{PORT} \
         host {me} {SERVE}"
    ))?;
    let node = lab.address("node-1")?;
    let _haproxy = lab.start("node-1", &format!("haproxy -f {}", configured(&lab)?))?;
    let ends = [PUBLISHED, HAPROXY].map(|port| SocketAddr::from((node, port)));
    for end in ends {
        crate::within("it answers", || connect(end).is_ok())?;
    }
    let [mut ours, mut theirs] = [Vec::new(), Vec::new()];
    for round in 1..=ROUNDS {
        ours.push(rate(ends[0])?);
        theirs.push(rate(ends[1])?);
        let [one, other] = [&ours, &theirs].map(|rates| rates[round - 1]);
        eprintln!("round {round} of {ROUNDS}: {one:.0} and {other:.0} connections per second");
    }
    Ok(vec![Row {
        what: "a published port: new connections",
        swarmlb: Figures::new(Unit::PerSecond, ours),
        peer: Some(("HAProxy", Figures::new(Unit::PerSecond, theirs))),
        bar: Bar::OfThePeer(1.5),
    }])
}

/// The shortest way that there is from HAProxy to the tasks: over the bridge, without the mesh, and
/// without checks.
fn configured(lab: &Lab) -> Result<String, Failure> {
    let mut text = format!(
        "global\n maxconn 4000\ndefaults\n mode tcp\n balance roundrobin\n timeout connect 5s\n \
         timeout client 1m\n timeout server 1m\nlisten web\n bind :{HAPROXY}\n"
    );
    for task in lab.tasks("web")? {
        let address = lab.outward(&task)?;
        text.push_str(&format!(" server {} {address}:{PORT}\n", task.name));
    }
    let path = "/run/swarmlb-bench-haproxy.cfg";
    std::fs::write(path, text)?;
    Ok(path.to_owned())
}

/// One connection, until the task ended it. It is closed by a reset, of which no table keeps a memory
/// for long.
fn connect(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut said = [0; 8];
    let mut length = 0;
    loop {
        match stream.read(&mut said[length..])? {
            0 => break,
            more => length += more,
        }
    }
    setsockopt(&stream, Linger, &linger { l_onoff: 1, l_linger: 0 })?;
    match &said[..length] {
        b"." => Ok(()),
        _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Connections per second, of many clients.
fn rate(to: SocketAddr) -> Result<f64, Failure> {
    let (ended, made) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let client = || -> std::io::Result<()> {
            while !ended.load(Ordering::Relaxed) {
                connect(to)?;
                made.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        std::thread::sleep(ROUND);
        ended.store(true, Ordering::Relaxed);
        clients.into_iter().try_for_each(|client| client.join().expect("a client"))
    })?;
    Ok(made.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}
