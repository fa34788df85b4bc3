use proptest::prelude::*;

use super::*;

/// `/proc/net/ip_vs_conn` of Linux 6.1.
const RECORDED: &str = "\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0A000303 D8BC 0A000302 0050 0A000304 0050 ESTABLISHED     899
IP  0A000303 0000 0000010C 0000 0A000304 0000 ASSURED         359
UDP 0A000303 0000 0A000309 13C4 0A000303 13C4 NONE             59 sip a84b4c76e66710@pc33.example
TCP fd00:0003:0000:0000:0000:0000:0000:0003 AA8C fd00:0003:0000:0000:0000:0000:0000:0002 0050 fd00:0003:0000:0000:0000:0000:0000:0003 0050 TIME_WAIT       119
IP  fd00:0003:0000:0000:0000:0000:0000:0000 0000 0000:010e:0000:0000:0000:0000:0000:0000 0000 fd00:0003:0000:0000:0000:0000:0000:0003 0000 ASSURED          99
UDP 0A000303 A635 0A000309 0035 0A000303 0035 UDP             299
";

fn recorded() -> Vec<Connection> {
    connections(RECORDED).expect("what the kernel said")
}

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn a_recorded_table_is_read() {
    let connections = recorded();
    assert_eq!(connections.len(), 6);
    let first = Connection {
        protocol: Protocol::Tcp,
        client: socket("10.0.3.3:55484"),
        target: socket("10.0.3.2:80"),
        real_server: socket("10.0.3.4:80"),
        state: "ESTABLISHED".into(),
        expires: 899,
        engine: None,
    };
    assert_eq!(connections[0], first);
    assert_eq!(connections[3].client, socket("[fd00:3::3]:43660"));
    assert_eq!(connections[3].target, socket("[fd00:3::2]:80"));
    assert_eq!((connections[5].protocol, connections[5].expires), (Protocol::Udp, 299));
}

#[test]
fn templates_are_told_from_connections_and_have_their_mark() {
    let marks: Vec<_> = recorded().iter().map(Connection::fwmark).collect();
    assert_eq!(marks, [None, Some(Fwmark(268)), None, None, Some(Fwmark(270)), None]);
    let templates: Vec<_> = recorded().iter().map(Connection::is_template).collect();
    assert_eq!(templates, [false, true, true, false, true, false]);
}

#[test]
fn an_engine_is_read_with_what_it_knows() {
    let engine = recorded().swap_remove(2).engine.expect("sip");
    assert_eq!(
        (engine.name.as_str(), engine.data.as_str()),
        ("sip", "a84b4c76e66710@pc33.example")
    );
}

#[test]
fn an_empty_table_has_no_connections() {
    let heading = RECORDED.lines().next().expect("a heading");
    assert_eq!(connections(heading), Ok(Vec::new()));
    assert_eq!(connections(""), Ok(Vec::new()));
}

#[test]
fn other_protocols_have_numbers() {
    let line = |name: &str| format!("{name} 0A000303 0000 0A000304 0000 0A000304 0000 NONE 1");
    for (name, number) in [("IP", 0), ("ICMP", 1), ("ICMPv6", 58), ("IP_50", 50), ("IP_51", 51)] {
        let connection: Connection = line(name).parse().expect(name);
        assert_eq!(connection.protocol, Protocol::Other(number), "{name}");
    }
}

#[test]
fn a_line_that_is_no_connection_is_refused_with_what_is_wrong() {
    for (line, what) in [
        ("TCP", "no address"),
        ("XYZ 0A000303 0000", "not a protocol: \"XYZ\""),
        ("TCP 0A00030 D8BC", "not an address: \"0A00030\""),
        ("TCP +A000303 D8BC", "not an address: \"+A000303\""),
        ("TCP fd00::x D8BC", "not an address: \"fd00::x\""),
        ("TCP 0A000303 1D8BC", "not a port: \"1D8BC\""),
        ("TCP 0A000303 D8BC 0A000302 0050 0A000304 0050", "no state"),
        ("TCP 0A000303 D8BC 0A000302 0050 0A000304 0050 NONE", "no seconds"),
        ("TCP 0A000303 D8BC 0A000302 0050 0A000304 0050 NONE -1", "not seconds: \"-1\""),
    ] {
        let error = line.parse::<Connection>().expect_err(line);
        assert_eq!((error.what.as_str(), error.line.as_str()), (what, line));
    }
}

/// As the kernel prints it (`ip_vs_conn_seq_show`).
fn printed(connection: &Connection) -> String {
    let protocol = match connection.protocol {
        Protocol::Tcp => "TCP".to_owned(),
        Protocol::Udp => "UDP".to_owned(),
        Protocol::Sctp => "SCTP".to_owned(),
        Protocol::Other(0) => "IP".to_owned(),
        Protocol::Other(1) => "ICMP".to_owned(),
        Protocol::Other(58) => "ICMPv6".to_owned(),
        Protocol::Other(number) => format!("IP_{number}"),
    };
    let end = |end: SocketAddr| match end.ip() {
        IpAddr::V4(address) => format!("{:08X} {:04X}", address.to_bits(), end.port()),
        IpAddr::V6(address) => {
            let groups = address.segments().map(|group| format!("{group:04x}"));
            format!("{} {:04X}", groups.join(":"), end.port())
        }
    };
    let engine = match &connection.engine {
        Some(engine) => format!(" {} {}", engine.name, engine.data),
        None => String::new(),
    };
    format!(
        "{protocol:<3} {} {} {} {:<11} {:>7}{engine}",
        end(connection.client),
        end(connection.target),
        end(connection.real_server),
        connection.state,
        connection.expires,
    )
}

fn any_protocol() -> impl Strategy<Value = Protocol> {
    let numbers = (0..=255_u16).prop_filter("named", |number| ![6, 17, 132].contains(number));
    prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        Just(Protocol::Sctp),
        numbers.prop_map(Protocol::Other),
    ]
}

fn any_connection() -> impl Strategy<Value = Connection> {
    let end = || (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from);
    let engine = ("[a-z]{1,15}", "[!-~]{1,30}").prop_map(|(name, data)| EngineData { name, data });
    let engine = proptest::option::of(engine);
    (any_protocol(), end(), end(), end(), "[A-Z_]{1,12}", any::<u32>(), engine).prop_map(
        |(protocol, client, target, real_server, state, expires, engine)| Connection {
            protocol,
            client,
            target,
            real_server,
            state,
            expires: expires.into(),
            engine,
        },
    )
}

fn fixed_seed() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(0x5eed_0c01);
    ProptestConfig { cases: 512, failure_persistence: None, rng_seed, ..Default::default() }
}

proptest! {
    #![proptest_config(fixed_seed())]

    #[test]
    fn what_the_kernel_prints_is_read_back(connection in any_connection()) {
        prop_assert_eq!(printed(&connection).parse(), Ok(connection));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,300}") {
        let _ = connections(&text);
    }

    /// Random text rarely gets past the first word; this gets as far as the last.
    #[test]
    fn a_recorded_table_with_anything_in_it_is_read_or_refused(
        place in 0..RECORDED.len(), length in 0..20_usize, text in "(?s).{0,20}",
    ) {
        let end = (place + length).min(RECORDED.len());
        let changed = [&RECORDED[..place], &text, &RECORDED[end..]].concat();
        let read = connections(&changed);
        prop_assert!(read.is_err() || read.is_ok_and(|all| all.len() <= changed.lines().count()));
    }
}
