#!/usr/bin/env bash
# Three web servers behind one virtual address, balanced by the kernel in every task's own network
# namespace, and a look at all that makes it work.
#
# Needs root, and `swarmlb`, `nft` and `curl` on PATH. Where the kernel has no IPVS, nftables balances,
# and every table says so. Keeps its state in a directory of its own, so a cluster that runs here
# already is not touched, and removes all that it made.
set -eu

SWARMLB_STATE_DIR=$(mktemp -d "${TMPDIR:-/tmp}/swarmlb-example.XXXXXX")
export SWARMLB_STATE_DIR

# Whatever a failure left, and what runs in the background.
clean_up() {
    swarmlb --quiet system reset --yes >/dev/null
    rm -rf "$SWARMLB_STATE_DIR"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Shows a command as it is typed, then runs it.
run() {
    printf '$ %s\n' "$1"
    eval "$1"
    printf '\n'
}

say() { printf '# %s\n' "$*"; }

say 'A network, and a service of three tasks on it. The service gets a virtual address, its VIP.'
run 'swarmlb network create --driver overlay --subnet 10.0.3.0/24 collabnet'
run 'swarmlb service create --replicas 3 --name collabweb --network collabnet'
run 'swarmlb service ls'
run 'swarmlb service ps collabweb'
run 'swarmlb inspect vip'

say 'A second service on the network finds the first by name: the VIP, or all of its tasks.'
run 'swarmlb service create --name collab-box --network collabnet'
run 'swarmlb diag dns collabweb --from collab-box.1'
run 'swarmlb diag dns tasks.collabweb --from collab-box.1'

say 'Requests to the VIP go to the tasks in turn.'
for _ in 1 2 3 4; do
    run 'swarmlb sandbox exec collab-box.1 -- curl -s http://collabweb/ | grep Task'
done

say 'What does it: marks, rules and virtual servers, the same in every sandbox. Each counts its own'
say 'requests, and nothing was sent from this one yet.'
run 'swarmlb sandbox dump collabweb.1 --table mangle --table nat --table ipvs'

say 'How evenly the VIP spreads requests, and round-robin DNS beside it.'
run 'swarmlb diag compare-dns-ipvs collabweb'

say 'And everything away again.'
run 'swarmlb service rm collab-box collabweb'
run 'swarmlb network rm collabnet'
