//! HAProxy, which checks who is behind it and resolves names anew all the time.

use std::fmt::Write;

use super::{Balancer, Behind, Entrance, Place, Tasks};

/// A connection that is not made within a second goes to another server at once. What a dead node fails
/// at is failed at through other nodes too, until its lease of three seconds is over: so none of these is
/// judged by fewer than three checks.
const BEGINNING: &str = "\
# Made by `swarmlb export haproxy`. `haproxy -c -f FILE` checks it, `haproxy -f FILE` runs it.

global
    maxconn 4000

defaults
    mode tcp
    balance roundrobin
    timeout connect 1s
    timeout client 1h
    timeout server 1h
    timeout client-fin 30s
    timeout check 1s
    retries 3
    option redispatch 1
    default-server check inter 1s fall 3 rise 2
";

pub(super) fn configuration(place: Place, entrances: &[Entrance]) -> String {
    let mut text = String::from(BEGINNING);
    if let Place::Inside { resolver } = place {
        let _ = write!(
            text,
            "
resolvers swarmlb
    nameserver local {resolver}
    accepted_payload_size 8192
    resolve_retries 3
    timeout resolve 1s
    timeout retry 1s
    hold valid 1s
    hold obsolete 1s
"
        );
    }
    for entrance in entrances {
        text.push_str(&section(entrance));
    }
    text
}

fn section(entrance: &Entrance) -> String {
    if !Balancer::Haproxy.carries(entrance.transport) {
        return format!("\n# {}\n", entrance.left_out(Balancer::Haproxy));
    }
    let (port, comment) = (entrance.port, entrance.comment());
    let mut text =
        format!("\n# {comment}\nlisten {}\n    bind :{}\n", entrance.key(), entrance.listen);
    match &entrance.behind {
        Behind::Servers(servers) => {
            for server in servers {
                let _ = writeln!(text, "    server {} {}:{port}", server.name, server.address);
            }
        }
        Behind::Tasks(Tasks { name, most }) => {
            let _ = writeln!(
                text,
                "    server-template task- {most} {name}:{port} resolvers swarmlb resolve-prefer ipv4 \
                 init-addr none"
            );
        }
    }
    text
}
