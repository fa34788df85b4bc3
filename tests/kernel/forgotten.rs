//! Connections to tasks that are gone: clients on other nodes are not left hanging on them.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use crate::world::{Lab, apart, within};

/// A lease, and what a slow machine takes.
const SOON: Duration = Duration::from_secs(20);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_millis(200);

/// Who answers a datagram; none when nobody does.
fn answer(socket: &UdpSocket) -> Option<String> {
    socket.send(b"who").ok()?;
    let mut buffer = [0; 128];
    let length = socket.recv(&mut buffer).ok()?;
    let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
    Some(said.lines().next()?.to_owned())
}

/// Clients in `box.1`, one for each task of `echo`, by the task that answers them.
fn clients<C>(lab: &Lab, open: impl Fn() -> (String, C) + Sync) -> BTreeMap<String, C>
where
    C: Send,
{
    lab.inside("node-1", "box.1", || {
        let mut clients = BTreeMap::new();
        for _ in 0..8 {
            let (task, client) = open();
            clients.entry(task).or_insert(client);
        }
        clients
    })
}

#[test]
fn when_a_node_dies_clients_of_its_tasks_are_sent_on_or_told_at_once() {
    apart(|| {
        let lab = Lab::up(3);
        lab.good("network create --subnet 10.0.3.0/24 net");
        let here = "--constraint node.name==node-1";
        lab.good(&format!("service create --name box --network net {here} host sleep 1000"));
        let there = "--constraint node.name!=node-1 --replicas 2";
        lab.good(&format!("service create --name echo --network net {there} builtin:echo --greet"));
        let vip = lab.json("service inspect echo")[0]["vips"]["net"]["address"].clone();
        let vip = (vip.as_str().expect("an address"), 7);
        let nodes = lab.nodes_of("echo");
        assert_eq!(nodes, ["node-2", "node-3"]);
        let datagrams = clients(&lab, || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
            socket.connect(vip).expect("an address");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            (answer(&socket).expect("an answer"), socket)
        });
        let mut streams = clients(&lab, || {
            let mut stream = TcpStream::connect(vip).expect("it connects");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut greeting = [0; 7];
            stream.read_exact(&mut greeting).expect("a greeting");
            (String::from_utf8_lossy(&greeting).trim().to_owned(), stream)
        });
        let all = ["echo.1", "echo.2"];
        assert!(datagrams.keys().eq(&all) && streams.keys().eq(&all), "{datagrams:?} {streams:?}");
        lab.good("lab kill-node node-3");
        // Each datagram would make the old entry last longer: without being forgotten it never ends.
        let socket = &datagrams["echo.2"];
        let asked = || answer(socket);
        let moved = |who: &Option<String>| who.as_ref().is_some_and(|who| who != "echo.2");
        within("its client's datagrams go to another task", SOON, asked, moved);
        let stream = streams.get_mut("echo.2").expect("a stream");
        let told = || {
            let _ = stream.write_all(b"x");
            stream.read(&mut [0; 8]).map_err(|error| error.kind())
        };
        let ended = |told: &Result<usize, ErrorKind>| {
            matches!(told, Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) | Ok(0))
        };
        let _ = within("its client's connection ends", SOON, told, ended);
        let (socket, stream) = (&datagrams["echo.1"], streams.get_mut("echo.1").expect("a stream"));
        assert_eq!(answer(socket).as_deref(), Some("echo.1"), "whose task lives keeps it");
        stream.write_all(b"still\n").expect("it is open");
        let mut back = [0; 6];
        stream.read_exact(&mut back).expect("it is open");
        assert_eq!(&back, b"still\n");
        lab.down();
    });
}
