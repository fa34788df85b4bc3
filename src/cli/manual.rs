//! What the manual says of each command beyond its options: examples, the fields that a template
//! may name, exit codes. One page each, in the order of the help.

use clap::Command;

use crate::render::template::Words;

/// The manual of one command.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// `service ls`: what is typed behind `swarmlb`.
    pub command: &'static str,
    /// What an example is for, and what is typed.
    pub examples: &'static [(&'static str, &'static str)],
    /// The fields of what `--format json` prints, and what they hold.
    pub fields: &'static [(&'static str, &'static str)],
    /// Words of Docker's templates that are no fields of ours.
    pub words: Words,
    /// What exit codes mean here; the others mean what they always do.
    pub exits: &'static [(u8, &'static str)],
}

/// What exit codes mean.
pub const EXITS: [(u8, &str); 7] = [
    (0, "done, or the answer is good"),
    (1, "done, and the answer is bad"),
    (2, "the request is wrong; nothing was touched"),
    (3, "this machine cannot"),
    (4, "refused; everything was undone"),
    (5, "refused, and something was left behind"),
    (70, "a bug in swarmlb"),
];

/// The files that every command may read or write.
pub const FILES: [(&str, &str); 4] = [
    ("/etc/swarmlb/config.toml", "settings, by the long names of options"),
    ("/var/lib/swarmlb", "the state directory: one node of one cluster"),
    ("/var/lib/swarmlb/agent.log", "what the agent did and what it mended"),
    ("/run/netns", "the sandboxes, as ip-netns(8) knows them"),
];

const NOTHING: Page = Page { command: "", examples: &[], fields: &[], words: &[], exits: &[] };

const SERVICE_FIELDS: &[(&str, &str)] = &[
    ("id", "25 letters and digits"),
    ("name", "the service's name"),
    ("mode", "`replicated` or `global`"),
    ("replicas", "how many tasks are asked for; of a global service, how many nodes may run it"),
    ("running", "how many of them run"),
    ("pending", "how many of them wait for a place"),
    ("ports", "published in the routing mesh"),
    ("max_per_node", "how many of them one node may have; null for any number"),
    ("image", "what the tasks run"),
    ("endpoint_mode", "`vip` or `dnsrr`"),
    ("data_plane", "what balances the VIP: `ipvs` or `nftables`"),
    ("vips", "the VIP on each network, by the network's name"),
    ("networks", "the networks' names"),
];

const TASK_FIELDS: &[(&str, &str)] = &[
    ("id", "25 letters and digits; null for a slot that waits for a place"),
    ("name", "the task's name"),
    ("service", "the service's name"),
    ("slot", "its place among the service's tasks, from 1"),
    ("image", "what it runs"),
    ("node", "where it runs; null where there is no place yet"),
    ("addresses", "one on each network"),
    ("ports", "published by it for its own node"),
    ("desired_state", "`running`; `shutdown` while it leaves"),
    (
        "state",
        "pending, starting, running, unhealthy, draining, complete, failed or rejected; unknown when its node is silent",
    ),
    ("seconds", "how long it is in this state; null when nobody knows"),
    ("pid", "its process"),
    ("failures", "how often it ended or could not be started"),
    ("error", "why it last did, what its checks say, or what it waits for"),
    ("weight", "its share of new connections beside the others'; null while it waits for a place"),
];

const TASK_WORDS: Words = &[(
    "CurrentState",
    "{{ title(state) }}{% if seconds is not none %} {{ ago(seconds) }} ago{% endif %}",
)];

const NETWORK_FIELDS: &[(&str, &str)] = &[
    ("id", "25 letters and digits"),
    ("name", "the network's name"),
    ("driver", "`overlay`"),
    ("subnets", "each with subnet, gateway and addresses_left"),
    ("vni", "the VXLAN network identifier"),
    ("mtu", "bytes"),
    ("internal", "whether its tasks reach nothing outside"),
    ("labels", "by key"),
    ("attachable", "whether namespaces of others may be joined to it"),
    ("encrypted", "whether what is between nodes is encrypted"),
    ("addresses_left", "how many addresses nobody has, of all subnets"),
    ("peers", "the nodes that hold something of it, each with node, address and endpoints"),
    ("services", "each with name, vip, fwmark and tasks (how many on each node)"),
    (
        "namespaces",
        "those of others that were joined to it, each with target, path, identity, node, link, \
         address and names",
    ),
];

const VIP_FIELDS: &[(&str, &str)] = &[
    ("service", "the service's name"),
    ("network", "the network's name"),
    ("address", "the VIP"),
    ("fwmark", "its mark, a number"),
    ("data_plane", "what balances it"),
    ("scheduler", "how a real server is picked"),
    ("targets", "each with task, node, address, weight, active, inactive, connections and packets"),
    ("ladders", "one for each sandbox: sandbox, and rungs with step, holds and evidence"),
];

const NODE_FIELDS: &[(&str, &str)] = &[
    ("id", "25 letters and digits"),
    ("hostname", "the node's name"),
    ("self", "whether it is the node that was asked"),
    ("status", "`ready`, or `down` when it is silent"),
    ("availability", "`active`, or `drain` when it takes no tasks"),
    ("leader", "whether its agent decides for all"),
    ("address", "where other nodes reach it"),
    ("port", "the TCP port of its API"),
    ("labels", "by key"),
    ("data_plane", "what balances VIPs there: `ipvs` or `nftables`"),
    ("tasks", "how many tasks were placed there"),
    ("certificate", "the fingerprint of what it shows to other nodes"),
];

const NODE_WORDS: Words = &[
    ("Status", "{{ title(status) }}"),
    ("Availability", "{{ title(availability) }}"),
    ("ManagerStatus", "{% if leader %}Leader{% endif %}"),
];

const LAB_FIELDS: &[(&str, &str)] = &[
    ("node", "the node's name"),
    ("address", "its address on the underlay"),
    ("status", "`up` or `down`"),
    ("group", "a number; nodes of one group reach each other"),
    ("pid", "the process that its namespaces live with"),
    ("state_dir", "where it keeps its state"),
];

const EXPORT_FIELDS: &[(&str, &str)] = &[
    ("service", "the service's name"),
    ("protocol", "`tcp`, `udp` or `sctp`"),
    ("listen", "where the balancer listens"),
    ("port", "the port of who is behind it"),
    ("mode", "in front of the nodes: `ingress` or `host`"),
    ("servers", "in front of the nodes: each with name and address"),
    ("tasks", "inside: name, which resolves to all of them, and most, how many have room"),
];

const EXPORT_EXITS: &[(u8, &str)] =
    &[(2, "there is no such service or port, or two would have one port to listen on")];

const IMAGE_FIELDS: &[(&str, &str)] = &[
    ("id", "the digest of its configuration"),
    ("repository", "what it is called by without tag; null for one without a name"),
    ("tag", "the tag of that name"),
    ("digest", "what its registry or layout calls it by, which stands for the same bytes anywhere"),
    ("created", "when it was built (RFC 3339), where it says"),
    ("created_seconds", "how long ago that is"),
    ("size", "of its files, unpacked, in bytes; of `rootfs:` 0"),
];

const IMAGE_WORDS: Words = &[
    ("Size", "{{ bytes(size) }}"),
    (
        "CreatedSince",
        "{% if created_seconds is not none %}{{ ago(created_seconds) }} ago{% else %}N/A{% endif %}",
    ),
    ("CreatedAt", "{{ created }}"),
];

const IMAGE_DETAIL_FIELDS: &[(&str, &str)] = &[
    ("id", "the digest of its configuration"),
    ("names", "all of its names"),
    ("digests", "names by which its registry has exactly this one"),
    ("created", "when it was built (RFC 3339), where it says"),
    ("author", "who built it, where it says"),
    ("os", "the operating system that it is for"),
    ("architecture", "the processor that it is for"),
    ("variant", "which kind of that processor, where it says"),
    ("size", "of its files, unpacked, in bytes"),
    ("layers", "the digests of its layers, the lowest first"),
    ("rootfs", "the directory of a `rootfs:` image"),
    ("used_by", "the tasks that are made from it"),
    ("pulled", "when it came here, in seconds since 1970"),
    ("config", "how its tasks begin, with the names of the OCI image specification"),
];

const IMAGE_EXITS: &[(u8, &str)] =
    &[(2, "there is no such image, or it is used; nothing was touched")];

/// Every command's page.
pub const PAGES: &[Page] = &[
    Page {
        command: "network create",
        examples: &[
            ("A network with a range of its own choice:", "swarmlb network create blue"),
            (
                "As Docker's users type it:",
                "swarmlb network create --driver overlay --subnet 10.0.3.0/24 collabnet",
            ),
            (
                "Only show what it takes:",
                "swarmlb network create --subnet 10.0.9.0/24 --opt mtu=1400 --dry-run green",
            ),
            ("Encrypted between nodes:", "swarmlb network create -o encrypted private"),
        ],
        exits: &[
            (2, "the name, VNI or range is taken or impossible; nothing was touched"),
            (3, "a node's kernel cannot encrypt; nothing was touched"),
        ],
        ..NOTHING
    },
    Page {
        command: "network rotate-keys",
        examples: &[
            ("New keys for all nodes of a network:", "swarmlb network rotate-keys private"),
            ("What this node would make first:", "swarmlb network rotate-keys --dry-run private"),
        ],
        exits: &[
            (1, "a node does not come along; the old keys stay in use beside the new ones"),
            (2, "there is no such network, or it is not encrypted; nothing was touched"),
        ],
        ..NOTHING
    },
    Page {
        command: "network ls",
        examples: &[
            ("All of them:", "swarmlb network ls"),
            (
                "Names with their ranges:",
                "swarmlb network ls --format '{{.Name}} {{json .Subnets}}'",
            ),
            ("For a program:", "swarmlb network ls --format json"),
        ],
        fields: NETWORK_FIELDS,
        ..NOTHING
    },
    Page {
        command: "network inspect",
        examples: &[
            ("Who is on it, and how many addresses are left:", "swarmlb network inspect blue"),
            (
                "The VIPs on it:",
                "swarmlb network inspect blue --format '{{range .Services}}{{.Name}} {{.VIP}}\\n{{end}}'",
            ),
        ],
        fields: NETWORK_FIELDS,
        ..NOTHING
    },
    Page {
        command: "network connect",
        examples: &[
            (
                "A namespace of `ip netns`, found as `legacy` and as `db` on the network:",
                "swarmlb network connect --alias db blue legacy",
            ),
            (
                "The namespace of a process, with an address of your own choice:",
                "swarmlb network connect --ip 10.0.3.77 blue 4711",
            ),
            (
                "A container of Docker's, by the file of its sandbox:",
                "swarmlb network connect blue /var/run/docker/netns/b2bfa013ce3a",
            ),
            ("What would be done:", "swarmlb network connect --dry-run blue legacy"),
        ],
        exits: &[(
            2,
            "the network is not attachable, the namespace is on it already, is swarmlb's own, or has \
             its loopback down; nothing was touched",
        )],
        ..NOTHING
    },
    Page {
        command: "network disconnect",
        examples: &[("By what it was called:", "swarmlb network disconnect blue legacy")],
        exits: &[(2, "the namespace is not on the network; nothing was touched")],
        ..NOTHING
    },
    Page {
        command: "network prune",
        examples: &[
            ("Networks that nothing is on, after a question:", "swarmlb network prune"),
            ("Without being asked, in a script:", "swarmlb network prune --force"),
        ],
        ..NOTHING
    },
    Page {
        command: "network rm",
        examples: &[
            ("Two of them:", "swarmlb network rm blue green"),
            ("What would be undone:", "swarmlb network rm --dry-run blue"),
        ],
        exits: &[(2, "there is no such network, or something is on it; nothing was touched")],
        ..NOTHING
    },
    Page {
        command: "service create",
        examples: &[
            (
                "Three tasks behind a VIP:",
                "swarmlb service create --replicas 3 --name web --network blue",
            ),
            (
                "No VIP; DNS names all tasks in turn:",
                "swarmlb service create --name rr --replicas 2 --endpoint-mode dnsrr",
            ),
            (
                "A program of this machine in each sandbox:",
                "swarmlb service create --name files --env TIER=front host python3 -m http.server 80",
            ),
            (
                "Each client to the task that it had, by its address; at most 100 connections for each task:",
                "swarmlb service create --replicas 3 --name shop --network blue --persistent 600 \
                 --max-connections 100",
            ),
            (
                "Containers of a directory that is their root, which they cannot change:",
                "swarmlb service create --name shell --read-only --limit-memory 64m rootfs:/srv/busybox sleep 1d",
            ),
            (
                "One task on every node with that label:",
                "swarmlb service create --name cache --mode global --constraint node.label.disk==ssd",
            ),
            (
                "At most two tasks on a node, and none on node one:",
                "swarmlb service create --replicas 4 --replicas-max-per-node 2 --constraint node.name!=one",
            ),
            (
                "In rotation only while a page is answered; kept out, not ended, while it is not:",
                "swarmlb service create --name web --health-http 80/ --unhealthy-action quiesce",
            ),
            (
                "Checked by a command five times a second, unhealthy after two failures:",
                "swarmlb service create --name web --health-cmd 'test -e /tmp' --health-interval 200ms --health-retries 2",
            ),
            (
                "A job that is to run once:",
                "swarmlb service create --name job --restart-condition none host date",
            ),
            (
                "At most five restarts within an hour:",
                "swarmlb service create --name web --restart-max-attempts 5 --restart-window 1h",
            ),
            (
                "Every operation it takes, without doing it:",
                "swarmlb service create --dry-run --name web --replicas 3",
            ),
        ],
        exits: &[
            (
                1,
                "the service is made, but a task does not stay up, is not healthy, or waits for a place",
            ),
            (2, "the name is taken, or a network could never hold its tasks; nothing was touched"),
        ],
        ..NOTHING
    },
    Page {
        command: "service ls",
        examples: &[
            ("All of them:", "swarmlb service ls"),
            ("As Docker's users type it:", "swarmlb service ls --format '{{.Name}} {{.Replicas}}'"),
            (
                "Columns of your own:",
                "swarmlb service ls --format 'table {{.Name}}\\t{{.Image}}\\t{{.Running}}'",
            ),
            (
                "Those that lack tasks:",
                "swarmlb service ls --format '{{if lt .Running .replicas}}{{.Name}}{{end}}'",
            ),
        ],
        fields: SERVICE_FIELDS,
        words: &[(
            "Replicas",
            "{{ running }}/{{ replicas }}{% if max_per_node is not none %} (max {{ max_per_node }} per node){% endif %}",
        )],
        ..NOTHING
    },
    Page {
        command: "service ps",
        examples: &[
            ("Where its tasks are, and since when:", "swarmlb service ps web"),
            (
                "Names and addresses:",
                "swarmlb service ps web --format '{{.Name}} {{join .Addresses \" \"}}'",
            ),
            (
                "What is wrong with which:",
                "swarmlb service ps web --format '{{.Name}} {{.CurrentState}} {{.Error}}'",
            ),
        ],
        fields: TASK_FIELDS,
        words: TASK_WORDS,
        ..NOTHING
    },
    Page {
        command: "service inspect",
        examples: &[
            ("For people:", "swarmlb service inspect --pretty web"),
            ("All of it, as JSON:", "swarmlb service inspect web"),
            (
                "Its VIP on network blue:",
                "swarmlb service inspect web --format '{{(index .VIPs \"blue\").Address}}'",
            ),
        ],
        fields: &[
            ("id", "25 letters and digits"),
            ("name", "the service's name"),
            ("image", "what its tasks run"),
            ("command", "the command of `host`, word by word"),
            ("mode", "`replicated` or `global`"),
            (
                "replicas",
                "how many tasks are asked for; of a global service, how many nodes may run it",
            ),
            ("placement", "the constraints, and how many of its tasks one node may have"),
            ("pending", "by slot: what waits for a place, and why"),
            ("networks", "the networks' names"),
            ("aliases", "by network: other names of the service there"),
            ("endpoint_mode", "`vip` or `dnsrr`"),
            ("scheduler", "how IPVS picks a real server"),
            (
                "balancing",
                "what was asked for: scheduler (null for auto), scheduler_flags, affinity (seconds, netmask) and \
                 thresholds (most, least), where there are any",
            ),
            ("data_plane", "`auto`, `ipvs` or `nftables`, as it was asked for"),
            ("vips", "by network: address and fwmark"),
            (
                "ports",
                "each with published, target, protocol, mode; for one address, address; where clients \
                 keep theirs, source",
            ),
            ("ingress", "address and fwmark in the routing mesh; null without a port there"),
            ("labels", "by key"),
            ("environment", "by name"),
            ("hostname", "what `hostname` says in its tasks"),
            (
                "log",
                "how much of a task's output is kept: max_size of a part in bytes, null for any, and \
                 max_file, how many parts",
            ),
            ("drain_timeout", "how long a task that is scaled away may still serve"),
            ("dns_ttl", "how long clients may keep DNS answers about it, in seconds"),
            ("slow_start", "how long a task that begins takes to come to its share"),
            (
                "health",
                "the test (`image` for that of the image), with those times and counts that were given",
            ),
            ("unhealthy_action", "`replace` or `quiesce`"),
            ("no_healthy", "`fail` or `all`"),
            ("restart", "condition, delay, max_attempts and window"),
            ("created", "seconds since 1970"),
            ("version", "which of the templates that it ever had its new tasks are made from"),
            ("older", "by version: what some of its tasks are still made from"),
            ("forced", "how often `service update --force` asked for new tasks"),
            ("update_config", "how an update replaces tasks"),
            ("rollback_config", "how the way back does"),
            (
                "update_status",
                "the last update: state, started and completed in milliseconds since 1970, message, \
                 tasks that it had to replace, and those of the new ones that failed",
            ),
            ("previous_spec", "what it was before its last change, to which a rollback leads"),
        ],
        ..NOTHING
    },
    Page {
        command: "service logs",
        examples: &[
            ("The last ten lines of each task:", "swarmlb service logs --tail 10 web"),
            ("With times, of the last ten minutes:", "swarmlb service logs -t --since 10m web"),
            ("One task, as it writes:", "swarmlb service logs --follow web.2"),
        ],
        ..NOTHING
    },
    Page {
        command: "service scale",
        examples: &[
            ("Five tasks, and wait until they run:", "swarmlb service scale web=5"),
            ("Two services at once, without waiting:", "swarmlb service scale -d web=3 api=2"),
            ("Which operations that would be:", "swarmlb service scale --dry-run web=5"),
        ],
        exits: &[(1, "it is asked for, but a task does not stay up, or waits for a place")],
        ..NOTHING
    },
    Page {
        command: "service update",
        examples: &[
            (
                "Another variable, two tasks at a time, and back by itself when one fails:",
                "swarmlb service update --env-add LEVEL=debug --update-parallelism 2 \
                 --update-failure-action rollback web",
            ),
            (
                "New tasks beside the old ones, which leave when everybody sends to the new:",
                "swarmlb service update --update-order start-first --force web",
            ),
            ("Another command:", "swarmlb service update --image host --args \"nc -lk 80\" web"),
            (
                "One network for another:",
                "swarmlb service update --network-add green --network-rm blue web",
            ),
            ("What would be done, task by task:", "swarmlb service update --dry-run --force web"),
            ("Go on after it was paused:", "swarmlb service update web"),
            (
                "New connections to who has the fewest:",
                "swarmlb service update --scheduler wlc web",
            ),
        ],
        exits: &[(1, "it was paused or rolled back as tasks failed, or a task waits for a place")],
        ..NOTHING
    },
    Page {
        command: "service rollback",
        examples: &[
            ("What it was before its last change:", "swarmlb service rollback web"),
            ("Without waiting:", "swarmlb service rollback --detach web"),
        ],
        exits: &[(1, "it was paused as tasks failed, or a task waits for a place")],
        ..NOTHING
    },
    Page {
        command: "service rm",
        examples: &[
            ("Two of them:", "swarmlb service rm web api"),
            ("What would be undone:", "swarmlb service rm --dry-run web"),
        ],
        ..NOTHING
    },
    Page {
        command: "task ls",
        examples: &[
            ("Every task of the cluster:", "swarmlb task ls"),
            (
                "Those that do not run:",
                "swarmlb task ls --filter state=failed --filter state=rejected",
            ),
            (
                "Of one service, without headings:",
                "swarmlb task ls web --format '{{.Name}} {{.Node}}'",
            ),
        ],
        fields: TASK_FIELDS,
        words: TASK_WORDS,
        ..NOTHING
    },
    Page {
        command: "task inspect",
        examples: &[
            ("All of a task, for people:", "swarmlb task inspect --pretty web.2"),
            ("Its addresses:", "swarmlb task inspect web.2 --format '{{json .Endpoints}}'"),
        ],
        fields: &[
            ("id", "25 letters and digits"),
            ("name", "the task's name"),
            ("service", "the service's name"),
            ("service_id", "the service's id"),
            ("slot", "its place among the service's tasks, from 1"),
            ("node", "where it runs"),
            ("image", "what it runs"),
            ("command", "the command of `host`"),
            ("environment", "what is added to its environment"),
            ("hostname", "what `hostname` says; null for the machine's"),
            ("labels", "the service's labels"),
            ("endpoints", "network, address, prefix length, MAC and rank of each"),
            ("desired_state", "`running`; `shutdown` while it leaves"),
            ("state", "as `task ls` has it"),
            ("since", "since when it is in this state, in UTC"),
            ("process", "pid and start; null while it does not run"),
            ("restarts", "how often its process was started again"),
            ("failures", "how often it failed without a steady while between"),
            ("error", "why it last ended or was not started"),
            ("last_exit", "the code or signal that it last ended with"),
            ("over", "whether it ended and is not started again"),
            (
                "health",
                "condition, since, how many checks failed in a row, how many there were, and the log of the \
                 last five with what they said; null without a check",
            ),
            ("sandbox", "its sandbox"),
            ("log", "the file that holds what it wrote"),
        ],
        ..NOTHING
    },
    Page {
        command: "task logs",
        examples: &[
            ("The last ten lines, and what comes:", "swarmlb task logs -f --tail 10 web.2"),
            ("By the beginning of its id:", "swarmlb task logs 8nq0lr91"),
        ],
        ..NOTHING
    },
    Page {
        command: "task exec",
        examples: &[
            ("What a task sees of its network:", "swarmlb task exec web.2 ip address"),
            ("A shell in its sandbox:", "swarmlb task exec web.2 sh"),
        ],
        exits: &[
            (126, "the command cannot be run"),
            (127, "there is no such command; any other code is the command's own"),
        ],
        ..NOTHING
    },
    Page {
        command: "task update",
        examples: &[
            (
                "Three times as many new connections as others:",
                "swarmlb task update --weight 3 web.2",
            ),
            ("Nobody new:", "swarmlb task update --weight 0 web.2"),
            ("What would be done:", "swarmlb task update --dry-run --weight 3 web.2"),
        ],
        ..NOTHING
    },
    Page {
        command: "task kill",
        examples: &[
            ("Let the supervisor start it anew:", "swarmlb task kill web.2"),
            ("Have it read its settings again:", "swarmlb task kill -s HUP web.2"),
        ],
        ..NOTHING
    },
    Page {
        command: "image pull",
        examples: &[
            ("From Docker's registry:", "swarmlb image pull nginx"),
            (
                "From one without certificates, in a network that is trusted:",
                "swarmlb image pull --insecure-registry 10.0.0.5:5000 10.0.0.5:5000/web:v1",
            ),
            ("From a directory in the OCI image layout:", "swarmlb image pull oci:/srv/web:v1"),
            ("What `docker save` wrote:", "swarmlb image pull docker-archive:/srv/web.tar"),
            ("For another processor:", "swarmlb image pull --platform linux/arm64 nginx"),
        ],
        exits: &[
            (2, "there is no such image, or it is damaged; nothing half is left"),
            (
                3,
                "its registry cannot be asked, or it cannot be kept, as when the disk is full; nothing \
                 half is left",
            ),
        ],
        ..NOTHING
    },
    Page {
        command: "image ls",
        examples: &[
            ("All of them:", "swarmlb image ls"),
            ("With what registries call them by:", "swarmlb image ls --digests"),
            (
                "As Docker's users type it:",
                "swarmlb image ls --format '{{.Repository}}:{{.Tag}} {{.Size}}'",
            ),
            ("Ids of those without a name:", "swarmlb image ls -q --filter dangling=true"),
        ],
        fields: IMAGE_FIELDS,
        words: IMAGE_WORDS,
        ..NOTHING
    },
    Page {
        command: "image inspect",
        examples: &[
            ("For people:", "swarmlb image inspect oci:/srv/web:v1"),
            (
                "What its tasks begin with:",
                "swarmlb image inspect oci:/srv/web:v1 --format '{{json .Config.Entrypoint}} {{json .Config.Cmd}}'",
            ),
        ],
        fields: IMAGE_DETAIL_FIELDS,
        exits: IMAGE_EXITS,
        ..NOTHING
    },
    Page {
        command: "image prune",
        examples: &[
            ("Those without a name, after a question:", "swarmlb image prune"),
            (
                "All that no task is made from, without being asked:",
                "swarmlb image prune --all --force",
            ),
        ],
        ..NOTHING
    },
    Page {
        command: "image rm",
        examples: &[
            ("By name:", "swarmlb image rm oci:/srv/web:v1"),
            ("By the beginning of its id, with all its names:", "swarmlb image rm --force 3f1c2a"),
        ],
        exits: IMAGE_EXITS,
        ..NOTHING
    },
    Page {
        command: "inspect vip",
        examples: &[
            ("Every VIP with the tasks behind it:", "swarmlb inspect vip"),
            ("One, rung by rung:", "swarmlb inspect vip web"),
            ("The same, looking again each second:", "swarmlb inspect vip web --watch=1"),
            (
                "On another machine, from dumps of sandboxes:",
                "swarmlb inspect vip --from dumps.json",
            ),
            (
                "Weights and connections of its targets:",
                "swarmlb inspect vip web --format '{{range .Targets}}{{.Task}} {{.Weight}} {{.Connections}}\\n{{end}}'",
            ),
        ],
        fields: VIP_FIELDS,
        exits: &[(1, "a VIP is broken: the rung is named")],
        ..NOTHING
    },
    Page {
        command: "sandbox ls",
        examples: &[
            ("Those of this cluster:", "swarmlb sandbox ls"),
            ("Others' named namespaces too:", "swarmlb sandbox ls --all"),
            (
                "Names and addresses:",
                "swarmlb sandbox ls --format 'table {{.Name}}\\t{{.Addresses}}'",
            ),
        ],
        fields: &[
            ("name", "as ip-netns(8) knows it"),
            ("kind", "task, overlay, left over or foreign"),
            ("belongs_to", "the service or network"),
            ("addresses", "of its links, with prefix length"),
            ("links", "how many links it has"),
            ("virtual_servers", "how many it has"),
            ("process", "what runs in it"),
        ],
        ..NOTHING
    },
    Page {
        command: "sandbox dump",
        examples: &[
            ("All that a task's sandbox holds:", "swarmlb sandbox dump web.1"),
            (
                "Marks and virtual servers only:",
                "swarmlb sandbox dump web.1 --table mangle --table ipvs",
            ),
            (
                "Docker's ingress, as the original tools print it:",
                "swarmlb sandbox dump --raw ingress_sbox",
            ),
            ("For a report of a bug:", "swarmlb sandbox dump web.1 --format json"),
        ],
        fields: &[
            ("sandboxes", "by name: links, addresses, routes, rules, virtual servers"),
            ("contents", "by name: each part as it was read, or why it was not"),
        ],
        ..NOTHING
    },
    Page {
        command: "sandbox ipvs",
        examples: &[
            ("As `ipvsadm -Ln` lists it:", "swarmlb sandbox ipvs web.1"),
            ("What passed, in full figures:", "swarmlb sandbox ipvs web.1 -Ln --stats --exact"),
            ("The connections:", "swarmlb sandbox ipvs ingress_sbox -c"),
            (
                "To a file, for `sandbox apply` or `ipvsadm -R`:",
                "swarmlb sandbox ipvs web.1 -S > table",
            ),
        ],
        fields: &[
            ("key", "protocol, address and port, or the mark"),
            ("scheduler", "its name, as rr"),
            ("counted", "connections, packets_in, packets_out, bytes_in, bytes_out"),
            (
                "real_servers",
                "each with key, forwarding, weight, thresholds, active, inactive, persistent and counted",
            ),
        ],
        exits: &[(3, "IPVS is not there")],
        ..NOTHING
    },
    Page {
        command: "sandbox apply",
        examples: &[
            ("What would be changed:", "swarmlb sandbox apply web.1 --ipvsadm table --dry-run"),
            (
                "Make it just this, but for what swarmlb itself keeps:",
                "swarmlb sandbox apply balancer --ipvsadm table --prune",
            ),
        ],
        fields: &[
            ("changes", "what was done, or would be, as options of ipvsadm"),
            ("kept", "virtual servers that the file does not name and that stay"),
        ],
        exits: &[(4, "a change was refused, and those before it were taken back")],
        ..NOTHING
    },
    Page {
        command: "sandbox exec",
        examples: &[
            ("Ask as a task would:", "swarmlb sandbox exec web.1 curl -s http://web/"),
            ("Look around:", "swarmlb sandbox exec web.1 ip addr"),
        ],
        exits: &[(0, "as the command ends, whatever its code")],
        ..NOTHING
    },
    Page {
        command: "diag check",
        examples: &[
            ("Is anything wrong here?", "swarmlb diag check"),
            (
                "On another node, a line for each finding:",
                "swarmlb --node node-2 diag check --short",
            ),
            ("For a monitor, the codes only:", "swarmlb --quiet diag check"),
        ],
        fields: &[
            ("node", "the node that was looked at"),
            ("healthy", "whether there is nothing but notes"),
            ("looked_for", "how many kinds of findings there are"),
            (
                "findings",
                "each with group, code, severity (`error`, `warning` or `note`), place, evidence, cause and mend: the command, or null",
            ),
        ],
        exits: &[(1, "something is wrong")],
        ..NOTHING
    },
    Page {
        command: "diag explain",
        examples: &[
            ("All codes:", "swarmlb diag explain"),
            ("One of them:", "swarmlb diag explain mark-missing"),
        ],
        fields: &[
            ("name", "the code"),
            ("group", "what it is about"),
            ("severity", "`error`, `warning` or `note`"),
            ("cause", "what it means"),
        ],
        ..NOTHING
    },
    Page {
        command: "diag dns",
        examples: &[
            ("In every task's sandbox:", "swarmlb diag dns web"),
            ("In one of them, every task's address:", "swarmlb diag dns tasks.web --from box.1"),
        ],
        fields: &[
            ("sandbox", "where it was asked"),
            ("addresses", "in the order received"),
            ("ttl", "seconds"),
            ("verdict", "the answer's code"),
            ("from_cluster", "false when the machine's own resolver was asked"),
            ("microseconds", "how long it took"),
            ("expected", "what it should have been; none for names of others"),
            ("right", "whether it was"),
        ],
        exits: &[(1, "a resolver answers otherwise than it should")],
        ..NOTHING
    },
    Page {
        command: "diag compare-dns-ipvs",
        examples: &[
            ("300 requests each way:", "swarmlb diag compare-dns-ipvs web"),
            (
                "Many at once, from another task:",
                "swarmlb diag compare-dns-ipvs web --requests 5000 --concurrency 64 --from box.1",
            ),
            (
                "What clients meet when a task dies, drawn over time, on a service made for it:",
                "swarmlb diag compare-dns-ipvs --kill-task-at 0.5 --report outage.html",
            ),
        ],
        fields: &[
            ("conditions", "who asked whom, how often and with what cache"),
            ("ways", "each with way, mechanism, requests, answered, tasks, spread and latency"),
            ("verdict", "evenness, speed, failures, and whether the kernel's counters agree"),
            (
                "outages",
                "with `--kill-task-at`: killed_after_ms, lasted_ms and episodes, each with way, \
                 client_cache, victim, kills, requests, after, failures, to_the_dead, \
                 last_failure_ms and slices; else null",
            ),
        ],
        exits: &[(1, "requests failed, or the kernel's counters disagree")],
        ..NOTHING
    },
    Page {
        command: "events",
        examples: &[
            ("All of it, until Ctrl-C:", "swarmlb events"),
            (
                "Tasks that die or are unhealthy, for the next ten minutes:",
                "swarmlb events --filter type=task --filter action=die --filter action=health_status --until 10m",
            ),
            ("Of one service, for programs:", "swarmlb events --filter service=web --format json"),
            (
                "What the agent of another node mends:",
                "swarmlb --node node-2 events --filter type=agent",
            ),
        ],
        fields: &[
            ("time", "when it was seen, RFC 3339"),
            ("type", "`node`, `network`, `service`, `task` or `agent`"),
            ("action", "what happened"),
            ("name", "whom it happened to"),
            (
                "attributes",
                "by name: id, service, node, address, subnet, image, replicas, from, state, slot, reason, pid, failures, health, weight, error or message, where there is one",
            ),
        ],
        ..NOTHING
    },
    Page {
        command: "export haproxy",
        examples: &[
            (
                "For a machine in front of the nodes, all that is published (haproxy -c -f swarmlb.cfg checks it):",
                "swarmlb export haproxy > swarmlb.cfg",
            ),
            (
                "It listens on port 80 for what is published at 8080:",
                "swarmlb export haproxy web:80:8080",
            ),
            (
                "As a task of the cluster, published itself:",
                "swarmlb export haproxy --inside web:80 > /etc/haproxy/inside.cfg\n\
                 swarmlb service create --name front --network blue -p 8080:80 \\\n    \
                 host haproxy -f /etc/haproxy/inside.cfg",
            ),
        ],
        fields: EXPORT_FIELDS,
        exits: EXPORT_EXITS,
        ..NOTHING
    },
    Page {
        command: "export nginx",
        examples: &[
            (
                "For a machine in front of the nodes, two services (nginx -t -c $PWD/swarmlb.conf checks it):",
                "swarmlb export nginx web names > swarmlb.conf",
            ),
            (
                "As a task of the cluster, for UDP:",
                "swarmlb export nginx --inside names:53/udp > /etc/nginx/inside.conf\n\
                 swarmlb service create --name front --network blue host nginx -c /etc/nginx/inside.conf",
            ),
        ],
        fields: EXPORT_FIELDS,
        exits: EXPORT_EXITS,
        ..NOTHING
    },
    Page {
        command: "export prometheus",
        examples: &[
            ("What is measured now:", "swarmlb export prometheus | grep ^swarmlb_vip"),
            (
                "On each node, for a Prometheus on the same machine:",
                "swarmlb export prometheus --listen 127.0.0.1:9733",
            ),
            (
                "For node_exporter's text file collector, from a timer:",
                "swarmlb export prometheus > swarmlb.prom.new && mv swarmlb.prom.new swarmlb.prom",
            ),
        ],
        fields: &[
            ("name", "the family's name"),
            ("help", "what it tells"),
            ("kind", "`gauge`, or `counter`"),
            ("samples", "each with labels (pairs of a name and a value) and value"),
        ],
        ..NOTHING
    },
    Page {
        command: "node init",
        examples: &[
            ("Others can join then:", "swarmlb node init"),
            (
                "On a machine of several addresses, beside a Docker Swarm:",
                "swarmlb node init --advertise-addr 192.0.2.1 --data-path-port 4790",
            ),
        ],
        ..NOTHING
    },
    Page {
        command: "node join",
        examples: &[(
            "With what `swarmlb node token -q` prints on the first node, on standard input:",
            "swarmlb node join --token - 192.0.2.1",
        )],
        ..NOTHING
    },
    Page {
        command: "node token",
        examples: &[
            ("How another node joins:", "swarmlb node token"),
            ("The token alone, and a new one:", "swarmlb node token --rotate -q"),
        ],
        ..NOTHING
    },
    Page {
        command: "node leave",
        examples: &[("On the node that is to leave:", "swarmlb node leave")],
        ..NOTHING
    },
    Page {
        command: "node ls",
        examples: &[
            ("Who is there:", "swarmlb node ls"),
            ("Who is silent:", "swarmlb node ls --format '{{.Hostname}} {{.Status}}'"),
            ("Those with a fast disk:", "swarmlb node ls --filter label=disk=ssd"),
        ],
        fields: NODE_FIELDS,
        words: NODE_WORDS,
        ..NOTHING
    },
    Page {
        command: "node ps",
        examples: &[
            ("What runs here:", "swarmlb node ps"),
            ("What does not run there:", "swarmlb node ps --filter state=failed node-2"),
        ],
        fields: TASK_FIELDS,
        words: TASK_WORDS,
        ..NOTHING
    },
    Page {
        command: "node inspect",
        examples: &[
            ("This one:", "swarmlb node inspect self"),
            ("In words:", "swarmlb node inspect --pretty node-2"),
        ],
        fields: NODE_FIELDS,
        ..NOTHING
    },
    Page {
        command: "node drain",
        examples: &[("Before its machine is looked after:", "swarmlb node drain node-2")],
        ..NOTHING
    },
    Page {
        command: "node activate",
        examples: &[("It takes tasks again:", "swarmlb node activate node-2")],
        ..NOTHING
    },
    Page {
        command: "node update",
        examples: &[
            ("A label:", "swarmlb node update --label-add disk=ssd node-2"),
            ("As Docker's users type it:", "swarmlb node update --availability drain node-2"),
        ],
        ..NOTHING
    },
    Page {
        command: "node rm",
        examples: &[("One that will not come back:", "swarmlb node rm node-2")],
        ..NOTHING
    },
    Page {
        command: "lab up",
        examples: &[
            ("Three nodes:", "swarmlb lab up"),
            (
                "Six, with their state in a directory of their own:",
                "swarmlb --state-dir /tmp/lab lab up --nodes 6",
            ),
        ],
        ..NOTHING
    },
    Page {
        command: "lab status",
        examples: &[("Which nodes reach each other:", "swarmlb lab status")],
        fields: LAB_FIELDS,
        exits: &[(1, "a node is down")],
        ..NOTHING
    },
    Page {
        command: "lab partition",
        examples: &[("Two of six nodes lose the others:", "swarmlb lab partition node-5 node-6")],
        ..NOTHING
    },
    Page {
        command: "lab heal",
        examples: &[("All is well again:", "swarmlb lab heal")],
        ..NOTHING
    },
    Page {
        command: "lab kill-node",
        examples: &[("As if its power was cut:", "swarmlb lab kill-node node-3")],
        ..NOTHING
    },
    Page {
        command: "lab start-node",
        examples: &[("It comes back:", "swarmlb lab start-node node-3")],
        ..NOTHING
    },
    Page {
        command: "lab down",
        examples: &[("Nothing is left of it:", "swarmlb lab down")],
        ..NOTHING
    },
    Page {
        command: "agent run",
        examples: &[
            ("In the foreground, until Ctrl-C:", "swarmlb agent run"),
            ("Another node of this machine:", "swarmlb --state-dir /srv/lb2 --node two agent run"),
        ],
        exits: &[(0, "it was told to end")],
        ..NOTHING
    },
    Page {
        command: "agent status",
        examples: &[
            ("Who runs, and whether all is done:", "swarmlb agent status"),
            ("The agent's process:", "swarmlb agent status --format '{{.Agent}}'"),
        ],
        fields: &[
            ("node", "this node's name"),
            ("keeper", "its process"),
            ("agent", "its process"),
            ("store", "its process; null where the store is elsewhere"),
            ("store_address", "where the store is"),
            ("store_problem", "why it does not answer"),
            (
                "last_known",
                "the revision of what was asked for that the agent goes on from meanwhile; else null",
            ),
            ("keeper_seconds", "how long the keeper runs"),
            ("agent_restarts", "how often it was started again"),
            ("store_restarts", "how often it was started again"),
            ("tasks_running", "how many"),
            ("report", "what the agent last reported: revision, settled, refusal, tasks"),
        ],
        exits: &[(1, "a process is missing, or what is asked for is not done")],
        ..NOTHING
    },
    Page {
        command: "agent stop",
        examples: &[("Before an upgrade of swarmlb, say:", "swarmlb agent stop")],
        ..NOTHING
    },
    Page {
        command: "system info",
        examples: &[
            ("What will not work here, and why:", "swarmlb system info"),
            (
                "Where each setting comes from:",
                "swarmlb system info --format '{{range .Settings}}{{.Name}} {{.Value}} {{.Source}}\\n{{end}}'",
            ),
        ],
        fields: &[
            ("version", "of swarmlb"),
            ("node", "this node's name"),
            ("state_dir", "where the state is kept"),
            ("kernel", "the kernel's release"),
            ("root", "whether this is root"),
            ("ipvs", "IPVS's version; none where the kernel has none"),
            ("data_plane", "what `auto` means here"),
            ("egress", "how tasks reach the outside from here"),
            ("encryption", "how networks are encrypted here"),
            ("runtime", "the OCI runtime that runs containers here"),
            ("limiting", "by what tasks are limited here"),
            ("programs", "each with name, path and needed_for"),
            ("limits", "what will not work, and why"),
            ("settings", "each with name, value and source"),
        ],
        ..NOTHING
    },
    Page {
        command: "system reset",
        examples: &[
            ("What would be undone:", "swarmlb system reset --dry-run"),
            ("Everything goes, without a question:", "swarmlb system reset --yes"),
        ],
        exits: &[(1, "the question was answered with no; nothing was touched")],
        ..NOTHING
    },
    Page {
        command: "completions",
        examples: &[
            (
                "For all users of bash:",
                "swarmlb completions bash > /usr/share/bash-completion/completions/swarmlb",
            ),
            (
                "For zsh and fish:",
                "swarmlb completions zsh > /usr/local/share/zsh/site-functions/_swarmlb\n\
                 swarmlb completions fish > /usr/share/fish/vendor_completions.d/swarmlb.fish",
            ),
        ],
        ..NOTHING
    },
    Page {
        command: "man",
        examples: &[
            ("This command's page, read:", "swarmlb man | man -l -"),
            ("All of them, in files:", "swarmlb man --directory /usr/local/share/man/man1"),
        ],
        ..NOTHING
    },
];

/// The page of a command.
pub fn page(command: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.command == command)
}

/// The command line with each command's examples at the end of its help.
pub fn with_examples(command: Command) -> Command {
    below(command, "")
}

fn below(command: Command, path: &str) -> Command {
    let command = match page(path) {
        Some(page) => command.after_long_help(examples(page)),
        None => command,
    };
    command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        below(sub, path.trim_start())
    })
}

fn examples(page: &Page) -> String {
    let mut text = String::from("Examples:\n");
    for (purpose, lines) in page.examples {
        text.push_str(&format!("  {purpose}\n"));
        for line in lines.lines() {
            text.push_str(&format!("    {line}\n"));
        }
    }
    if !page.fields.is_empty() {
        let names = page.fields.iter().map(|(name, _)| *name);
        let words = page.words.iter().map(|(word, _)| *word);
        text.push_str("\nFields:");
        let mut width = "Fields:".len();
        for name in names.chain(words) {
            if width + name.len() + 1 > 90 {
                text.push_str("\n ");
                width = 1;
            }
            text.push_str(&format!(" {name}"));
            width += name.len() + 1;
        }
    }
    text.trim_end().to_owned()
}

/// Words of a line as a shell takes them: quotes, and no more than that.
#[cfg(test)]
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), letter) if open == letter => quote = None,
            (Some(_), letter) => words.last_mut().unwrap().push(letter),
            (None, '\'' | '"') => quote = Some(letter),
            (None, ' ') => words.push(String::new()),
            (None, letter) => words.last_mut().unwrap().push(letter),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::command;

    fn leaves(command: &Command, path: &str, found: &mut BTreeSet<String>) {
        let subs = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        for sub in subs.filter(|sub| sub.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name()).trim_start().to_owned();
            if sub.has_subcommands() {
                leaves(sub, &path, found);
            } else {
                found.insert(path);
            }
        }
    }

    #[test]
    fn every_command_has_a_page_and_every_page_a_command() {
        let mut commands = BTreeSet::new();
        leaves(&command(), "", &mut commands);
        let pages: BTreeSet<String> = PAGES.iter().map(|page| page.command.to_owned()).collect();
        assert_eq!(pages, commands);
        assert_eq!(pages.len(), PAGES.len(), "a command has two pages");
    }

    /// The command that a line types, as it is in the help.
    fn typed(line: &str) -> String {
        let pipes = [">", "|"].map(|c| format!(" {c} "));
        let end = pipes.iter().filter_map(|pipe| line.find(pipe.as_str())).min();
        let matches = command().try_get_matches_from(words(&line[..end.unwrap_or(line.len())]));
        let matches = matches.unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut path = Vec::new();
        let mut inner = &matches;
        while let Some((name, below)) = inner.subcommand() {
            path.push(name);
            inner = below;
        }
        path.join(" ")
    }

    #[test]
    fn every_example_can_be_typed_and_has_its_command() {
        for page in PAGES {
            assert!(!page.examples.is_empty(), "{} has no example", page.command);
            for (_, text) in page.examples {
                let joined: Vec<&str> = text.split("\\\n").map(str::trim).collect();
                let commands: Vec<String> = joined.join(" ").lines().map(typed).collect();
                assert!(commands.iter().any(|typed| typed == page.command), "{text}: {commands:?}");
            }
        }
    }

    #[test]
    fn words_of_dockers_are_templates_over_the_fields() {
        use crate::render::template::Template;
        for page in PAGES {
            for (word, template) in page.words {
                assert!(Template::parse(template).is_ok(), "{}: {word}", page.command);
            }
        }
    }

    #[test]
    fn the_help_tells_the_exit_codes_of_the_manual() {
        let help = command().render_long_help().to_string();
        for (code, meaning) in EXITS {
            let line = format!("{code:>3}  {meaning}");
            assert!(help.lines().any(|told| told.trim_end() == line), "{line}\n{help}");
        }
    }
}
