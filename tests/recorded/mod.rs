//! What `ipvsadm` and the kernel said to each other, in the test's own file: the virtual machine has no
//! sources. `record.sh` says how it came about.

/// The datagrams of one recording.
#[derive(Default)]
pub struct Recording {
    pub sent: Vec<Vec<u8>>,
    pub received: Vec<Vec<u8>>,
}

macro_rules! texts {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!($name, ".hex")))),*]
    };
}

/// Every recording by name, with its annotated text.
const TEXTS: &[(&str, &str)] = texts! {
    "add-fwmark"
    "add-fwmark-again"
    "add-fwmark-v6-persistent"
    "add-persistent-engine"
    "add-real-again"
    "add-real-masquerade"
    "add-real-route"
    "add-real-tunnel"
    "add-real-tunnel-gue"
    "add-real-v6"
    "add-real-weight-thresholds"
    "add-sctp-v6"
    "add-tcp"
    "add-udp-one-packet"
    "add-unknown-scheduler"
    "delete-fwmark"
    "delete-missing"
    "delete-real"
    "delete-real-missing"
    "delete-real-v6"
    "delete-sctp-v6"
    "edit-fwmark"
    "edit-missing"
    "edit-real"
    "edit-real-missing"
    "extended-acknowledgement"
    "flush"
    "info-and-list-of-none"
    "list"
    "list-one"
    "list-one-missing"
    "list-statistics"
    "list-timeouts"
    "set-timeouts"
    "zero-all"
    "zero-one"
};

pub fn names() -> impl Iterator<Item = &'static str> {
    TEXTS.iter().map(|(name, _)| *name)
}

pub fn recording(name: &str) -> Recording {
    let text = TEXTS.iter().find(|(held, _)| *held == name);
    let (_, text) = text.unwrap_or_else(|| panic!("no recording is called {name}"));
    let (mut recording, mut to_kernel) = (Recording::default(), false);
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let bytes = match line.split_at_checked(1) {
            Some((direction @ (">" | "<"), bytes)) => {
                to_kernel = direction == ">";
                if to_kernel {
                    recording.sent.push(Vec::new())
                } else {
                    recording.received.push(Vec::new())
                }
                bytes
            }
            _ => line,
        };
        let bytes =
            bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal"));
        let datagrams = if to_kernel { &mut recording.sent } else { &mut recording.received };
        if let Some(datagram) = datagrams.last_mut() {
            datagram.extend(bytes);
        }
    }
    recording
}

/// The commands that were recorded, by the recording's name.
pub fn commands() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = include_str!("record.sh").lines();
    lines.filter_map(|line| line.strip_prefix("record ")?.split_once(' '))
}
