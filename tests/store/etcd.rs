//! What only an etcd can suffer: its limits, its members, those who come to it, and what else is in it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use swarmlb::intent::{
    ClusterId, Intent, Machine, NetworkName, NetworkSpec, NodeName, NodeRecord, ServiceSpec,
};
use swarmlb::store::etcd::Etcd as Client;
use swarmlb::store::location::{Address, ClientCertificate, EtcdLocation, Tls};
use swarmlb::store::records::{Edit, commit_intent, load_intent};
use swarmlb::store::{Commit, Event, Revision, Store, StoreError, Transaction};
use tempfile::TempDir;

use crate::conformance::{LONG, Subject, done, next, put};
use crate::etcd_server::{self, Cluster, Manner};
use crate::process::{await_count, count, follow};

/// An etcd of the test's own.
pub struct Etcd {
    client: Client,
    cluster: Cluster,
}

impl Etcd {
    pub fn begin() -> Option<Self> {
        Self::of(1, &[])
    }

    fn of(members: usize, options: &[&str]) -> Option<Self> {
        if !crate::has("etcd", etcd_server::is_installed()) {
            return None;
        }
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let cluster = Cluster::start(members, Manner { options, ..Manner::default() });
        let client = client(&cluster.address());
        Some(Self { client, cluster })
    }
}

fn location(address: &str, tls: Option<Tls>) -> EtcdLocation {
    match address.parse() {
        Ok(Address::Etcd(address)) => EtcdLocation { address, tls },
        other => panic!("{address}: {other:?}"),
    }
}

fn client(address: &str) -> Client {
    let client = Client::connect_within(&location(address, None), LONG).expect("it answers");
    client.with_patience(LONG)
}

impl Subject for Etcd {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.client.clone())
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn forget_history(&self) {
        self.cluster.compact(put(&self.client, "forgotten/key", "1").0);
    }
}

/// A hundred nodes, and a service of a thousand tasks.
fn crowd() -> Intent {
    let mut intent = Intent::new(ClusterId("c1".into()));
    for number in 0..100 {
        let name: NodeName = format!("node-{number:03}").parse().expect("a name");
        intent.nodes.insert(name.clone(), NodeRecord::new(name.clone(), true));
        intent.settle_egress(&name, Ok(&Machine::default()));
    }
    let network: NetworkName = "blue".parse().expect("a name");
    let subnets = vec!["10.16.0.0/20".parse().expect("a subnet")];
    let spec = NetworkSpec { subnets, ..NetworkSpec::new(network.clone()) };
    intent.create_network(spec, "id".into(), &Machine::default()).expect("a network");
    let spec =
        ServiceSpec { replicas: 1000, ..ServiceSpec::new("web".parse().expect("a name"), network) };
    intent.create_service(spec, "id-web".into(), 0).expect("there is room");
    intent
}

#[test]
fn an_intent_of_a_hundred_nodes_and_a_thousand_tasks_is_one_commit() {
    let Some(etcd) = Etcd::begin() else { return };
    let intent = crowd();
    assert_eq!((intent.nodes.len(), intent.tasks.len()), (100, 1000));
    let edit = commit_intent(&etcd.client, Revision::NEVER, None, &intent).expect("it is taken");
    let loaded = load_intent(&etcd.client).expect("it is read").expect("there is one");
    assert_eq!(edit, Edit::Done(loaded.revision));
    assert_eq!(loaded.edited, loaded.revision);
    assert_eq!(loaded.intent, intent);
    let mut emptied = intent.clone();
    emptied.tasks.clear();
    let edit = commit_intent(&etcd.client, loaded.edited, Some(&intent), &emptied);
    assert!(matches!(edit, Ok(Edit::Done(_))), "{edit:?}");
    let loaded = load_intent(&etcd.client).expect("it is read").expect("there is one");
    assert_eq!(loaded.intent, emptied);
}

#[test]
fn what_etcd_does_not_take_names_the_option_that_would() {
    let Some(etcd) = Etcd::of(1, &["--max-txn-ops", "8"]) else { return };
    let limit = |transaction: &Transaction| match etcd.client.commit(transaction) {
        Err(StoreError::OverLimit { option, .. }) => option,
        other => panic!("it is taken: {other:?}"),
    };
    let long = Transaction::new().put("long", "x".repeat(3 << 20));
    assert_eq!(limit(&long), "--max-request-bytes");
    let many = (0..200).fold(Transaction::new(), |all, n| all.put(n.to_string(), "1"));
    assert_eq!(limit(&many), "--max-txn-ops");
    assert_eq!(etcd.client.load("").expect("it loads").objects, []);
}

#[test]
fn clusters_that_share_an_etcd_do_not_see_each_other() {
    let Some(etcd) = Etcd::begin() else { return };
    let address = etcd.cluster.address();
    let (one, other) = (client(&format!("{address}/a")), client(&format!("{address}/ab")));
    let start = one.load("").expect("it loads").revision;
    let mut watch = one.watch("", start).expect("it watches");
    put(&other, "k", "2");
    put(&etcd.client, "k", "3");
    let mine = put(&one, "k", "1");
    assert_eq!(next(&mut *watch).revision, mine);
    let values = |store: &Client| -> Vec<String> {
        store.load("").expect("it loads").objects.into_iter().map(|object| object.value).collect()
    };
    assert_eq!([values(&one), values(&other), values(&etcd.client)], [["1"], ["2"], ["3"]]);
}

#[test]
fn a_watch_goes_on_after_etcd_was_away_and_leases_live() {
    let Some(mut etcd) = Etcd::begin() else { return };
    let lease = etcd.client.grant(Duration::from_secs(2)).expect("it grants");
    let before = done(etcd.client.commit(&Transaction::new().put_leased("l", "1", lease)));
    let mut watch = etcd.client.watch("", before).expect("it watches");
    let hasty = etcd.client.clone().with_patience(Duration::from_millis(300));
    let mut hasty_watch = hasty.watch("", before).expect("it watches");
    etcd.cluster.kill_member(0);
    let lost = Instant::now();
    assert!(matches!(hasty.load(""), Err(StoreError::Unreachable { .. })));
    let deadline = lost + LONG;
    loop {
        assert!(Instant::now() < deadline, "it does not say that nobody is there");
        match hasty_watch.next(Duration::from_millis(100)) {
            Ok(None) => {}
            Err(StoreError::Unreachable { .. }) => break,
            other => panic!("from nobody: {other:?}"),
        }
    }
    // Longer than the lease: nobody could keep it alive.
    let away = Duration::from_secs(3).saturating_sub(lost.elapsed());
    assert_eq!(watch.next(away).expect("it is patient"), None);
    etcd.cluster.start_member(0);
    etcd.client.keep_alive(lease).expect("it lives");
    let changed = put(&etcd.client, "a", "1");
    for watch in [&mut watch, &mut hasty_watch] {
        let batch = next(&mut **watch);
        assert_eq!(batch.revision, changed);
        assert_eq!(batch.events.iter().map(Event::key).collect::<Vec<_>>(), ["a"]);
    }
}

#[test]
fn a_watch_whose_past_was_compacted_while_etcd_was_away_says_so() {
    let Some(mut etcd) = Etcd::begin() else { return };
    let before = put(&etcd.client, "a", "1");
    let mut watch = etcd.client.watch("", before).expect("it watches");
    etcd.cluster.kill_member(0);
    etcd.cluster.start_member(0);
    let other = client(&etcd.cluster.address());
    put(&other, "a", "2");
    let last = put(&other, "a", "3");
    etcd.cluster.compact(last.0);
    let compacted = watch.next(LONG);
    let oldest = match compacted {
        Err(StoreError::Compacted { oldest }) => oldest,
        other => panic!("not compacted: {other:?}"),
    };
    let mut watch = etcd.client.watch("", oldest).expect("it watches");
    let changed = put(&other, "a", "4");
    assert_eq!(next(&mut *watch).revision, changed);
}

#[test]
fn an_etcd_made_anew_is_told_from_the_one_that_was() {
    let Some(mut etcd) = Etcd::begin() else { return };
    let before = (0..9).fold(Revision::NEVER, |_, n| put(&etcd.client, "a", &n.to_string()));
    let mut watch = etcd.client.watch("", before).expect("it watches");
    etcd.cluster.kill_member(0);
    etcd.cluster.forget_everything(0);
    etcd.cluster.start_member(0);
    let said = watch.next(LONG);
    assert!(matches!(said, Err(StoreError::Compacted { oldest }) if oldest < before), "{said:?}");
    assert_eq!(etcd.client.load("").expect("it loads").objects, []);
}

#[test]
fn a_member_that_hangs_is_passed_over() {
    let Some(etcd) = Etcd::of(3, &[]) else { return };
    let first = format!("etcd://{}", etcd.cluster.endpoints()[0]);
    let before = put(&client(&first), "a", "1");
    // It answers, and so it is the one that is asked from here on.
    let client = client(&etcd.cluster.address());
    let mut watch = client.watch("", before).expect("it watches");
    etcd.cluster.stop_member(0);
    let hung = Instant::now();
    // It may get there before the member hangs; then it is done, and not done again.
    let changed = done(client.commit(&Transaction::new().require("a", before).put("a", "2")));
    println!("a commit took {:.1} s", hung.elapsed().as_secs_f64());
    assert_eq!(next(&mut *watch).revision, changed);
    println!("the watch took {:.1} s", hung.elapsed().as_secs_f64());
}

#[test]
fn each_member_of_three_may_be_killed_and_nothing_is_lost() {
    const CLIENTS: usize = 3;
    const STEP: u64 = 30;
    let Some(mut etcd) = Etcd::of(3, &[]) else { return };
    let begun = Instant::now();
    let address = etcd.cluster.address();
    put(&etcd.client, "counter", "0");
    let (acknowledged, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let watcher = client(&address);
        let watching = scope.spawn({
            let stop = &stop;
            move || follow(&watcher, stop)
        });
        let writers: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, acknowledged, stop) = (client(&address), &acknowledged, &stop);
                scope.spawn(move || count(&client, number, acknowledged, stop))
            })
            .collect();
        for member in 0..3 {
            let so_far = acknowledged.load(Ordering::SeqCst);
            await_count(&acknowledged, so_far + STEP);
            etcd.cluster.kill_member(member);
            let so_far = acknowledged.load(Ordering::SeqCst);
            await_count(&acknowledged, so_far + STEP);
            etcd.cluster.start_member(member);
            // With its own vote, before the next one is killed.
            let alone = format!("etcd://{}", etcd.cluster.endpoints()[member]);
            client(&alone).load("counter").expect("it is back");
        }
        stop.store(true, Ordering::SeqCst);
        let written: Vec<String> =
            writers.into_iter().flat_map(|writer| writer.join().expect("it went on")).collect();
        let snapshot = etcd.client.load("").expect("it loads");
        let counter = snapshot.objects.iter().find(|object| object.key == "counter");
        assert_eq!(counter.map(|object| object.value.clone()), Some(written.len().to_string()));
        assert_eq!(snapshot.objects.len(), written.len() + 1);
        put(&etcd.client, "end", "0");
        let (watched, end) = watching.join().expect("it went on");
        assert_eq!(end, snapshot.revision.next());
        assert_eq!(watched.into_values().collect::<Vec<_>>(), snapshot.objects);
    });
    println!("{:.1} s for three deaths", begun.elapsed().as_secs_f64());
}

/// A way to etcd that can swallow answers.
struct Between {
    address: String,
    deaf: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Between {
    fn to(server: SocketAddrV4) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("etcd://{}", listener.local_addr().expect("it is bound"));
        let between = Self { address, deaf: Arc::default(), open: Arc::default() };
        let (deaf, open) = (Arc::clone(&between.deaf), Arc::clone(&between.open));
        // Until the test's process ends.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let upstream = TcpStream::connect(server).expect("etcd listens");
                let copies = [&client, &upstream].map(|stream| stream.try_clone().expect("a copy"));
                open.lock().expect("no panic").extend(copies);
                let [back, forth] = [(&upstream, &client), (&client, &upstream)]
                    .map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()));
                let deaf = Arc::clone(&deaf);
                thread::spawn(move || pass(back, |_| !deaf.load(Ordering::SeqCst)));
                thread::spawn(move || pass(forth, |_| true));
            }
        });
        between
    }

    /// Cuts what is open; what comes now gets its answers.
    fn heal(&self) {
        self.deaf.store(false, Ordering::SeqCst);
        for stream in self.open.lock().expect("no panic").drain(..) {
            let _closed = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pass((mut from, mut to): (TcpStream, TcpStream), passes: impl Fn(&[u8]) -> bool) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if passes(&bytes[..length]) && to.write_all(&bytes[..length]).is_err() {
            return;
        }
    }
    let _closed = to.shutdown(Shutdown::Both);
}

#[test]
fn a_commit_whose_answer_was_lost_is_done_once() {
    let Some(etcd) = Etcd::begin() else { return };
    let before = put(&etcd.client, "a", "1");
    let between = Between::to(etcd.cluster.endpoints()[0]);
    let far = client(&between.address);
    // What others commit meanwhile does not hide it.
    for others in [0, 3] {
        let held = etcd.client.load("a").expect("it loads").objects.remove(0);
        let swap = Transaction::new()
            .require("a", held.modified)
            .put("a", format!("{others}"))
            .put("b", "1");
        between.deaf.store(true, Ordering::SeqCst);
        let committed = thread::scope(|scope| {
            let committing = scope.spawn(|| done(far.commit(&swap)));
            let mut watch = etcd.client.watch("a", held.modified).expect("it watches");
            let happened = next(&mut *watch).revision;
            for n in 0..others {
                put(&etcd.client, "other", &n.to_string());
            }
            between.heal();
            assert_eq!(committing.join().expect("it commits"), happened);
            happened
        });
        let held = etcd.client.load("a").expect("it loads").objects.remove(0);
        assert_eq!(held.modified, committed);
        assert!(committed > before);
    }
}

#[test]
fn a_commit_that_others_were_quicker_with_conflicts_although_an_answer_was_lost() {
    let Some(etcd) = Etcd::begin() else { return };
    let before = put(&etcd.client, "a", "1");
    let between = Between::to(etcd.cluster.endpoints()[0]);
    let far = client(&between.address);
    let theirs = put(&etcd.client, "a", "theirs");
    between.deaf.store(true, Ordering::SeqCst);
    let stale = Transaction::new().require("a", before).put("a", "mine");
    thread::scope(|scope| {
        let committing = scope.spawn(|| far.commit(&stale).expect("it answers"));
        // Longer than one member may take.
        thread::sleep(Duration::from_millis(2500));
        between.heal();
        let conflict = Commit::Conflict { key: "a".to_owned(), modified: theirs };
        assert_eq!(committing.join().expect("it does not panic"), conflict);
    });
}

/// Certificates, each in a file of its own.
struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// `ca` is of the authority that certified `etcd` and `client`; `other-ca` certified `stranger`.
    fn make() -> Self {
        let certificates = Self { directory: TempDir::new().expect("a directory") };
        let ca = certificates.authority("ca");
        certificates.certify("etcd", &ca, ExtendedKeyUsagePurpose::ServerAuth);
        certificates.certify("client", &ca, ExtendedKeyUsagePurpose::ClientAuth);
        let other = certificates.authority("other-ca");
        certificates.certify("stranger", &other, ExtendedKeyUsagePurpose::ClientAuth);
        certificates
    }

    fn authority(&self, name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        std::fs::write(self.cert(name), issuer.pem()).expect("a file");
        issuer
    }

    fn certify(
        &self,
        name: &str,
        by: &CertifiedIssuer<'static, KeyPair>,
        purpose: ExtendedKeyUsagePurpose,
    ) {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("good names");
        params.extended_key_usages.push(purpose);
        // etcd's gateway for JSON is a client of etcd with the server's certificate.
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, by).expect("a certificate");
        std::fs::write(self.cert(name), certificate.pem()).expect("a file");
        std::fs::write(self.key(name), key.serialize_pem()).expect("a file");
    }

    fn cert(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.pem"))
    }

    fn key(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.key"))
    }

    fn tls(&self, authority: &str, client: Option<&str>) -> Option<Tls> {
        let client =
            client.map(|name| ClientCertificate { cert: self.cert(name), key: self.key(name) });
        Some(Tls { cacert: self.cert(authority), client })
    }
}

#[test]
fn over_tls_both_sides_show_a_certificate_or_nobody_is_let_in() {
    if !crate::has("etcd", etcd_server::is_installed()) {
        return;
    }
    let certificates = Certificates::make();
    let path = |path: PathBuf| path.display().to_string();
    let options = [
        ["--cert-file".to_owned(), path(certificates.cert("etcd"))],
        ["--key-file".to_owned(), path(certificates.key("etcd"))],
        ["--trusted-ca-file".to_owned(), path(certificates.cert("ca"))],
    ];
    let mut options = options.concat();
    options.push("--client-cert-auth".to_owned());
    let cluster = Cluster::start(1, Manner { options, tls: true, ..Manner::default() });
    let address = cluster.address();
    let connect = |tls, patience| Client::connect_within(&location(&address, tls), patience);
    let client = connect(certificates.tls("ca", Some("client")), LONG)
        .expect("it is let in")
        .with_patience(LONG);
    let before = put(&client, "a", "1");
    let mut watch = client.watch("", before).expect("it watches");
    let changed = put(&client, "a", "2");
    assert_eq!(next(&mut *watch).revision, changed);
    let by_name = address.replace("127.0.0.1", "localhost");
    let tls = certificates.tls("ca", Some("client"));
    Client::connect_within(&location(&by_name, tls), LONG).expect("that is its name too");

    let shortly = Duration::from_millis(500);
    let unreachable = |tls: Option<Tls>| match connect(tls, shortly) {
        Err(StoreError::Unreachable { source, .. }) => source.to_string(),
        other => panic!("it is let in: {other:?}"),
    };
    let endpoint = cluster.endpoints()[0].to_string();
    for tls in [
        None,
        certificates.tls("ca", None),
        certificates.tls("ca", Some("stranger")),
        certificates.tls("other-ca", Some("client")),
    ] {
        let said = unreachable(tls.clone());
        println!("{tls:?}: {said}");
        assert!(said.starts_with(&endpoint), "{said}");
    }
    assert!(unreachable(certificates.tls("other-ca", Some("client"))).contains("certificate"));

    std::fs::write(certificates.cert("empty"), "nothing").expect("a file");
    for (authority, client) in
        [("empty", "client"), ("none", "client"), ("ca", "empty"), ("ca", "none")]
    {
        let refused = connect(certificates.tls(authority, Some(client)), shortly);
        let wanted = if authority == "ca" { client } else { authority };
        assert!(
            matches!(&refused, Err(StoreError::Credentials { path, .. }) if *path == certificates.cert(wanted)),
            "{refused:?}"
        );
    }
}

#[test]
fn members_that_are_not_there_are_named_each_with_its_reason() {
    let addresses: Vec<String> = (0..2)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
        .map(|listener| listener.local_addr().expect("it is bound").to_string())
        .collect();
    let location = location(&format!("etcd://{}", addresses.join(",")), None);
    let begun = Instant::now();
    match Client::connect_within(&location, Duration::from_millis(500)) {
        Err(StoreError::Unreachable { path, source }) => {
            assert_eq!(path, PathBuf::from(format!("etcd://{}", addresses.join(","))));
            let said = source.to_string();
            for address in &addresses {
                assert!(said.contains(&format!("{address}: Connection refused")), "{said}");
            }
        }
        other => panic!("somebody answered: {other:?}"),
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
