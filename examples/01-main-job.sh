#!/usr/bin/env bash
# Three web servers behind one virtual address, balanced by the kernel in every task's own network
# namespace, and a look at all that makes it work.
#
# Needs root, `swarmlb` on PATH and a kernel with IPVS. Keeps its state in a directory of its own,
# so a cluster that runs here already is not touched, and removes all that it made.
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

say 'A network, and a service of three tasks on it. It gets a virtual address.'
run 'swarmlb network create --driver overlay --subnet 10.0.3.0/24 collabnet'
run 'swarmlb service create --replicas 3 --name collabweb --network collabnet'
run 'swarmlb service ls'
run 'swarmlb service ps collabweb'
run 'swarmlb inspect vip'

say 'A second service gets the next address by itself, and finds the first by its name.'
run 'swarmlb service create --name collab-box --network collabnet'
run 'swarmlb diag dns collabweb --from collab-box.1'
run 'swarmlb diag dns tasks.collabweb --from collab-box.1'

say 'The tasks take turns.'
for _ in 1 2 3 4; do
    run 'swarmlb sandbox exec collab-box.1 -- curl -s http://collabweb/ | grep Task'
done

say 'What does it: marks, rules and virtual servers in the sandbox.'
run 'swarmlb sandbox dump collabweb.1 --table mangle --table nat --table ipvs'

say 'How evenly, against DNS round robin.'
run 'swarmlb diag compare-dns-ipvs collabweb'

say 'And all of it away again.'
run 'swarmlb service rm collab-box collabweb'
run 'swarmlb network rm collabnet'
