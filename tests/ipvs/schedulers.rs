//! What each scheduler does with connections, affinity and thresholds: seen by who answers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::with_ipvs;
use crate::world::{Counting, Stream, Swarmlb, inside, replies, request, shell, within};

const SOON: Duration = Duration::from_secs(60);
const CLIENTS: usize = 12;

/// A neighbour of the machine with many addresses; the machine is 192.0.2.1 to it.
const OUTSIDE: &str = "ip netns add outside && ip link add up0 type veth peer up0 netns outside && \
     ip address add 192.0.2.1/24 dev up0 && ip link set up0 up && \
     for n in $(seq 10 21); do ip -n outside address add 192.0.2.$n/24 dev up0; done && \
     ip -n outside link set up0 up";
const AWAY: &str = "ip link del up0; ip netns del outside";

fn world() -> Swarmlb {
    let swarmlb = Swarmlb::new();
    swarmlb.good("network create --subnet 10.0.3.0/24 net");
    swarmlb.good("service create --name box --network net host sleep 10000");
    swarmlb
}

/// A service's VIP.
fn vip(swarmlb: &Swarmlb, service: &str) -> String {
    let held = swarmlb.json(&format!("service inspect {service}"));
    held[0]["vips"]["net"]["address"].as_str().expect("a VIP").to_owned()
}

/// How many each of the tasks got, by slot.
fn shares<const N: usize>(tasks: impl IntoIterator<Item = (String, usize)>) -> [usize; N] {
    let mut shares = [0; N];
    for (task, count) in tasks {
        let slot = task.rsplit('.').next().and_then(|slot| slot.parse::<usize>().ok());
        shares[slot.expect("a slot") - 1] += count;
    }
    shares
}

fn short(vip: &str, requests: usize) -> [usize; 3] {
    shares(replies("box.1", vip, requests))
}

/// One short connection from each of many addresses outside.
fn many<const N: usize>(port: u16) -> [usize; N] {
    let said = shell(&format!(
        "for n in $(seq 10 21); do ip netns exec outside curl -s --max-time 20 \
         --interface 192.0.2.$n http://192.0.2.1:{port}/; done"
    ));
    shares(said.lines().filter_map(|line| Some((line.strip_prefix("Task: ")?.to_owned(), 1))))
}

/// What one scheduler did.
#[derive(Debug)]
struct Seen {
    equal: [usize; 3],
    equal_held: [usize; 3],
    many: [usize; 3],
    unequal: [usize; 3],
    unequal_held: [usize; 3],
}

fn see(swarmlb: &Swarmlb, name: &str, port: u16) -> Seen {
    swarmlb.good(&format!(
        "service create --replicas 3 --name {name} --network net --scheduler {name} -p {port}:80"
    ));
    let vip = vip(swarmlb, name);
    let kernel = shell("ip netns exec box.1 ipvsadm -Sn");
    assert!(kernel.contains(&format!(" -s {name}\n")), "{kernel}");
    swarmlb.good(&format!("inspect vip {name}"));
    let seen_many = many(port);
    let (equal, equal_held) = (short(&vip, CLIENTS), opened(&vip));
    let weighed = !matches!(name, "rr" | "lc");
    if weighed {
        swarmlb.good(&format!("task update --weight 3 {name}.1"));
        swarmlb.good(&format!("task update --weight 2 {name}.2"));
    } else {
        let (_, told) = swarmlb.ending(&format!("task update --weight 3 {name}.1"), 2);
        assert!(told.contains("takes no account of weights"), "{told}");
    }
    let (unequal, unequal_held) = match weighed {
        true => (short(&vip, CLIENTS), opened(&vip)),
        false => ([0; 3], [0; 3]),
    };
    Seen { equal, equal_held, many: seen_many, unequal, unequal_held }
}

/// Connections that stay, until one is refused.
fn opened(vip: &str) -> [usize; 3] {
    let server = SocketAddr::new(vip.parse::<IpAddr>().expect("an address"), 80);
    let mut streams = Vec::new();
    while streams.len() < CLIENTS {
        let Ok(stream) = inside("box.1", || TcpStream::connect_timeout(&server, SOON)) else {
            break;
        };
        streams.push(Stream::on(stream));
    }
    let shares = shares(streams.iter().map(|stream| (stream.task.clone(), 1)));
    streams.into_iter().for_each(Stream::reset);
    shares
}

/// Connections that are asked again and again who is at their end, as idle ones are ended.
struct Held {
    asking: std::thread::JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Held {
    fn keep(mut streams: Vec<Stream>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let asking = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for stream in &mut streams {
                    assert_eq!(stream.ask(), stream.task, "it goes on where it was");
                }
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        Self { asking, stop }
    }

    /// None was broken.
    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.join().expect("every connection goes on");
    }
}

fn words(shares: [usize; 3]) -> String {
    shares.map(|share| share.to_string()).join(" ")
}

#[test]
fn every_scheduler_does_what_its_name_says() {
    with_ipvs(|| {
        shell(OUTSIDE);
        let swarmlb = world();
        let mut all = BTreeMap::new();
        for (port, name) in
            (8080..).zip(["rr", "wrr", "lc", "wlc", "sh", "mh", "sed", "nq", "fo", "ovf"])
        {
            let seen = see(&swarmlb, name, port);
            println!(
                "{name:<4} {:>8} {:>8} {:>8} {:>8} {:>8}",
                words(seen.equal),
                words(seen.equal_held),
                words(seen.many),
                words(seen.unequal),
                words(seen.unequal_held)
            );
            all.insert(name, seen);
        }
        for name in ["rr", "wrr"] {
            assert_eq!((all[name].equal, all[name].equal_held), ([4; 3], [4; 3]), "{name}");
            assert_eq!(all[name].many, [4; 3], "{name}");
        }
        assert_eq!((all["wrr"].unequal, all["wrr"].unequal_held), ([6, 4, 2], [6, 4, 2]));
        for name in ["lc", "wlc", "sed", "nq"] {
            assert_eq!(all[name].equal_held, [4; 3], "{name}");
        }
        for name in ["wlc", "sed"] {
            assert_eq!(all[name].unequal_held, [6, 4, 2], "{name}");
        }
        let [first, second, third] = all["nq"].unequal_held;
        assert!(first > second && second >= third && third > 0, "{:?}", all["nq"]);
        for name in ["sh", "mh"] {
            let seen = &all[name];
            assert!(seen.equal.contains(&CLIENTS), "one client, one task: {name} {seen:?}");
            assert!(seen.many.iter().filter(|share| **share > 0).count() > 1, "{name} {seen:?}");
        }
        assert!(all["fo"].equal.contains(&CLIENTS), "{:?}", all["fo"]);
        assert_eq!((all["fo"].unequal, all["fo"].unequal_held), ([12, 0, 0], [12, 0, 0]));
        assert_eq!(
            all["ovf"].unequal_held,
            [4, 3, 2],
            "one more than its weight, then it is refused"
        );
        swarmlb.reset();
        shell(AWAY);
    });
}

#[test]
fn another_scheduler_is_brought_without_a_lost_connection() {
    with_ipvs(|| {
        let swarmlb = world();
        swarmlb.good("service create --replicas 3 --name web --network net");
        let vip = vip(&swarmlb, "web");
        let streams: Vec<Stream> = (0..3).map(|_| Stream::open("box.1", &vip)).collect();
        let held = Held::keep(streams);
        let counting = Counting::begin("box.1", "web");
        for scheduler in ["lc", "mh --scheduler-flags port,fallback", "wrr", "auto"] {
            swarmlb.good(&format!("service update --scheduler {scheduler} web"));
            swarmlb.good("inspect vip web");
        }
        counting.end().assert_none_lost();
        held.end();
        swarmlb.good("service update --scheduler mh --scheduler-flags port web");
        let rules = shell("ip netns exec box.1 ipvsadm -Sn");
        assert!(rules.contains(" -s mh -b mh-port\n"), "{rules}");
        assert!(swarmlb.good("service inspect --pretty web").contains("scheduler mh port"));
        assert!(swarmlb.good("inspect vip web").contains("scheduler mh port"));
        let ports = short(&vip, 24);
        assert!(ports.iter().all(|share| *share > 0), "by the port too: {ports:?}");
        // Somebody takes it away: the ladder says so, and the audit mends it.
        let damage = "for n in $(ip netns exec box.1 ipvsadm -Sn | sed -n 's/^-A -f \\([0-9]*\\) -s mh.*/\\1/p'); \
             do ip netns exec box.1 ipvsadm -E -f $n -s rr; done";
        let broken = || {
            shell(damage);
            swarmlb.run("inspect vip web")
        };
        let said = within("it is seen", SOON, broken, |said| said.status.code() == Some(1));
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("should be mh port and is rr"), "{said}");
        let whole = || swarmlb.run("inspect vip web").status.code();
        within("it is mended", SOON, whole, |code| *code == Some(0));
        swarmlb.reset();
    });
}

#[test]
fn what_cannot_be_scheduled_is_refused_before_anything_is_touched() {
    with_ipvs(|| {
        let swarmlb = world();
        let before = shell("ip netns exec box.1 ipvsadm -Sn");
        for (options, problem) in [
            ("--scheduler dh", "one VIP"),
            ("--scheduler lc --data-plane nftables", "is IPVS's"),
            ("--scheduler lc --endpoint-mode dnsrr", "has none"),
            ("--scheduler rr --scheduler-flags port", "sh and mh"),
            ("--scheduler fo --slow-start 5s", "slow start"),
            ("--persistent-netmask /24", "--persistent"),
            ("--max-connections 2 --min-connections 3", "below 3"),
        ] {
            let (_, told) = swarmlb.ending(&format!("service create {options} --network net"), 2);
            assert!(told.contains(problem), "{options}: {told}");
        }
        assert_eq!(shell("ip netns exec box.1 ipvsadm -Sn"), before);
        assert_eq!(swarmlb.json("service ls").as_array().map(Vec::len), Some(1));
        // One that only loading shows to be missing: refused in the middle of a batch, and undone.
        shell(
            "rmmod ip_vs_nq 2>/dev/null; mkdir -p /etc/modprobe.d; \
               echo 'install ip_vs_nq /bin/false' > /etc/modprobe.d/test.conf",
        );
        swarmlb.good("service create --replicas 2 --name web --network net");
        let before = shell("ip netns exec box.1 ipvsadm -Sn");
        let (_, told) = swarmlb.ending("service update --scheduler nq web", 4);
        assert!(told.contains("cannot load scheduler nq; of its modules it has rr, wrr"), "{told}");
        assert_eq!(shell("ip netns exec box.1 ipvsadm -Sn"), before);
        assert_eq!(swarmlb.json("service inspect web")[0]["scheduler"], "rr");
        swarmlb.good("inspect vip web");
        shell("rm /etc/modprobe.d/test.conf");
        swarmlb.good("service update --scheduler nq web");
        swarmlb.reset();
    });
}

#[test]
fn a_client_with_affinity_keeps_its_task_while_others_come_and_go() {
    with_ipvs(|| {
        shell(OUTSIDE);
        let swarmlb = world();
        swarmlb.good(
            "service create --replicas 3 --name web --network net --persistent 300 -p 8080:80",
        );
        let vip = vip(&swarmlb, "web");
        let kernel = shell("ip netns exec box.1 ipvsadm -Sn");
        assert!(kernel.contains(" -s rr -p 300\n"), "{kernel}");
        let mine = request("box.1", &vip).expect("an answer").task;
        assert_eq!(replies("box.1", &vip, 6), [(mine.clone(), 6)]);
        assert_eq!(many(8080), [4; 3], "each client has its own");
        swarmlb.good("service scale web=4");
        assert_eq!(replies("box.1", &vip, 6), [(mine.clone(), 6)], "after a task came");
        assert_eq!(many(8080), [4, 4, 4, 0], "nobody is moved");
        swarmlb.good("inspect vip web");
        // All of one /24 are one client.
        swarmlb.good("service update --persistent-netmask 24 web");
        let kernel = shell("ip netns exec ingress.sandbox ipvsadm -Sn");
        assert!(kernel.contains(" -p 300 -M 255.255.255.0\n"), "{kernel}");
        assert!(many::<4>(8080).contains(&CLIENTS), "they go together");
        // When a client's task goes, it is given another, and keeps that.
        let slot = mine.strip_prefix("web.").expect("a slot");
        swarmlb.good(&format!("task update --weight 0 web.{slot}"));
        let next = request("box.1", &vip).expect("an answer").task;
        assert_ne!(next, mine);
        assert_eq!(replies("box.1", &vip, 4), [(next, 4)]);
        swarmlb.good("service update --persistent 0 web");
        let kernel = shell("ip netns exec box.1 ipvsadm -Sn");
        assert!(!kernel.contains(" -p "), "{kernel}");
        swarmlb.reset();
        shell(AWAY);
    });
}

#[test]
fn a_task_takes_no_more_connections_than_it_may() {
    with_ipvs(|| {
        let swarmlb = world();
        swarmlb.good("service create --replicas 2 --name web --network net --max-connections 2");
        let vip = vip(&swarmlb, "web");
        let kernel = shell("ip netns exec box.1 ipvsadm -Ln --thresholds");
        assert_eq!(kernel.matches(" 2  ").count(), 2, "{kernel}");
        let streams: Vec<Stream> = (0..4).map(|_| Stream::open("box.1", &vip)).collect();
        assert!(request("box.1", &vip).is_err(), "all have as many as they may");
        swarmlb.good("inspect vip web");
        streams.into_iter().for_each(Stream::reset);
        let again = || request("box.1", &vip).is_ok();
        within("they take new ones again", SOON, again, |ok| *ok);
        swarmlb.good("service update --max-connections 0 web");
        assert!(request("box.1", &vip).is_ok());
        swarmlb.reset();
    });
}
