#!/usr/bin/env bash
# Six nodes on one machine and a service on all of them: who answers whom over the overlay network,
# what each node's tables hold, and what becomes of the tasks of a node that is killed, drained or
# cut off.
#
# Needs root, and `swarmlb`, `nft` and `curl` on PATH. nftables balances here, which needs no IPVS.
# Keeps its state in a directory of its own, so a cluster that runs here already is not touched, and
# removes all that it made.
set -eu

SWARMLB_STATE_DIR=$(mktemp -d "${TMPDIR:-/tmp}/swarmlb-example.XXXXXX")
export SWARMLB_STATE_DIR SWARMLB_DATA_PLANE=nftables

# Whatever a failure left, and what runs in the background.
clean_up() {
    swarmlb lab down 2>/dev/null
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

# Waits until a command ends well.
await() {
    local deadline=$((SECONDS + 30))
    until eval "$1" >/dev/null 2>&1; do
        if ((SECONDS > deadline)); then
            echo "still not so after 30 s: $1" >&2
            exit 1
        fi
        sleep 0.1
    done
}

# On which nodes tasks of `web` run, sorted, each once.
nodes_of_web() { swarmlb service ps web --format '{{.Node}} {{.State}}' | sed -n 's/ running$//p' | sort -u | xargs; }

# How many tasks of `web` run.
running() { swarmlb service ls --format '{{.Name}} {{.Running}}' | sed -n 's/^web //p'; }

say 'Six nodes. Each has its own network, mounts, processes, keeper and agent, and joined as a machine'
say 'would: with a token, over TLS.'
run 'swarmlb lab up --nodes 6'
run 'swarmlb node ls'

say 'A network, a service of six tasks, and a task on node-6 to ask from.'
run 'swarmlb network create --subnet 10.0.3.0/24 shop'
run 'swarmlb service create --name web --replicas 6 --network shop'
run 'swarmlb --quiet service create --name box --network shop --constraint node.name==node-6 host sleep infinity'
run "swarmlb service ps web --format '{{.Name}} {{.Node}} {{.State}}'"

say 'Whoever asks the VIP on node-6 is answered from every node in turn.'
run 'for i in 1 2 3 4 5 6; do swarmlb --node node-6 sandbox exec box.1 -- curl -sS http://web/ | grep -E "^Node"; done'

say 'What leads to the other nodes: for each task elsewhere, one neighbour and one forwarding entry, both'
say 'permanent. Nothing is learned and nothing is flooded.'
run "swarmlb --node node-6 sandbox dump shop --table fdb | grep ' dst '"
run 'swarmlb network inspect shop'

say 'Every node holds the same virtual servers, and each finds the whole way of a packet in order.'
for node in 1 2 3 4 5 6; do
    run "swarmlb --node node-$node inspect vip web | grep -E '^It works|real servers'"
done

say 'A node dies. When its lease is over, 3 seconds later, its task is placed anew, and nobody is sent to'
say 'where it was.'
run 'swarmlb lab kill-node node-3'
await '[[ $(nodes_of_web) != *node-3* && $(running) == 6 ]]'
run 'swarmlb node ls'
run "swarmlb service ps web --format '{{.Name}} {{.Node}} {{.State}}'"
run 'swarmlb --node node-6 inspect vip web | grep -E "^It works|real servers"'
run 'swarmlb lab start-node node-3'

say 'Tasks leave a node that is drained, and nobody notices.'
run 'swarmlb node drain node-2'
await '[[ $(swarmlb node inspect node-2 --format "{{.Tasks}}") == 0 && $(running) == 6 ]]'
run "swarmlb node ls --format '{{.Hostname}} {{.Status}} {{.Availability}} {{.Tasks}}'"
run 'swarmlb node activate node-2'

say 'A node that is cut off goes on balancing to the tasks that it reaches, its own, and cannot be told'
say 'anything; for the others it is as one that died.'
run 'swarmlb lab partition node-6'
await '[[ $(nodes_of_web) != *node-6* && $(running) == 6 ]]'
run "swarmlb node ls --format '{{.Hostname}} {{.Status}}' | grep node-6"
run 'swarmlb --node node-6 service ls || echo "exit $?"'

say 'It is connected again. What was placed elsewhere meanwhile is stopped there.'
run 'swarmlb lab heal'
await '[[ $(swarmlb node ls --format "{{.Status}}" | sort -u) == Ready ]]'
await 'swarmlb --node node-6 inspect vip web'
run "swarmlb service ps web --format '{{.Name}} {{.Node}} {{.State}}'"

say 'And everything away again.'
run 'swarmlb lab down'
