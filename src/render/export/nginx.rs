//! nginx with its module `stream`. It makes no checks of its own: what fails with a connection is left
//! out for a while.

use std::fmt::Write;

use super::{Balancer, Behind, Entrance, Place, Server};
use crate::intent::Transport;

const BEGINNING: &str = "\
# Made by `swarmlb export nginx`. `nginx -t -c /PATH/FILE` checks it, `nginx -c /PATH/FILE` runs it.
";

/// In a task it stays in the foreground, writes to the task's log, and leaves the machine's own nginx
/// its file.
const AS_A_TASK: &str = "\
daemon off;
error_log stderr notice;
pid /run/nginx-swarmlb.pid;
";

/// Where the module is a file of its own, as in Debian, something there loads it.
const MODULES: &str = "\
include /etc/nginx/modules-enabled/*stream.conf;

worker_processes auto;
worker_rlimit_nofile 10000;
events {
    worker_connections 4000;
}

stream {
    proxy_connect_timeout 1s;
    proxy_next_upstream_tries 3;
    proxy_timeout 1h;
";

pub(super) fn configuration(place: Place, entrances: &[Entrance]) -> String {
    let mut text = String::from(BEGINNING);
    if let Place::Inside { .. } = place {
        text.push_str(AS_A_TASK);
    }
    text.push_str(MODULES);
    if let Place::Inside { resolver } = place {
        let _ = writeln!(text, "    resolver {resolver} valid=1s ipv6=off;");
    }
    for entrance in entrances {
        text.push_str(&section(entrance));
    }
    text + "}\n"
}

fn section(entrance: &Entrance) -> String {
    if !Balancer::Nginx.carries(entrance.transport) {
        return format!("\n    # {}\n", entrance.left_out(Balancer::Nginx));
    }
    let mut text = format!("\n    # {}\n", entrance.comment());
    let to = match &entrance.behind {
        Behind::Servers(servers) => {
            text.push_str(&upstream(entrance, servers));
            entrance.key()
        }
        // A name in a variable is resolved when a connection comes, and not once at the start.
        Behind::Tasks(tasks) => format!("{}:{}", tasks.name, entrance.port),
    };
    text.push_str(&server(entrance, &to));
    text
}

/// One memory of what failed for all workers.
fn upstream(entrance: &Entrance, servers: &[Server]) -> String {
    let (key, port) = (entrance.key(), entrance.port);
    let mut text = format!("    upstream {key} {{\n        zone {key} 64k;\n");
    for Server { name, address } in servers {
        let _ =
            writeln!(text, "        server {address}:{port} max_fails=3 fail_timeout=2s; # {name}");
    }
    if servers.is_empty() {
        // None at all would not be a configuration; this one refuses whoever comes.
        text.push_str("        server 127.0.0.1:9 down;\n");
    }
    text + "    }\n"
}

fn server(entrance: &Entrance, to: &str) -> String {
    let port = entrance.listen;
    // Packets of one client stay with one worker only where each worker has its own socket. Who asks by
    // UDP does not say when it is done.
    let (listen, timeout) = match entrance.transport {
        Transport::Udp => (format!("{port} udp reuseport"), "        proxy_timeout 1m;\n"),
        Transport::Tcp | Transport::Sctp => (port.to_string(), ""),
    };
    let pass = match entrance.behind {
        Behind::Servers(_) => format!("proxy_pass {to};"),
        Behind::Tasks(_) => format!("set $tasks {to};\n        proxy_pass $tasks;"),
    };
    format!("    server {{\n        listen {listen};\n{timeout}        {pass}\n    }}\n")
}
