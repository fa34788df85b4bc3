#!/usr/bin/env bash
# Six nodes whose network is encrypted between them: what is on the wire, and HAProxy in front of the
# nodes and inside the cluster.
#
# Needs root, a kernel with ESP, and `swarmlb`, `nft`, `curl`, `tcpdump` and `haproxy` on PATH; where one
# is missing it says so and ends with 3. Keeps its state in a directory of its own, so a cluster that runs
# here already is not touched, and removes all that it made.
set -eu

for program in tcpdump haproxy; do
    command -v "$program" >/dev/null || { echo "error: $program is missing" >&2; exit 3; }
done

SWARMLB_STATE_DIR=$(mktemp -d "${TMPDIR:-/tmp}/swarmlb-example.XXXXXX")
export SWARMLB_STATE_DIR
# Every node sees these files.
files=$(mktemp -d "${TMPDIR:-/tmp}/swarmlb-example.XXXXXX")

# Whatever a failure left, and what runs in the background.
clean_up() {
    local process
    for process in $(jobs -p); do kill "$process" 2>/dev/null && wait "$process" 2>/dev/null; done
    swarmlb lab down 2>/dev/null
    rm -rf "$SWARMLB_STATE_DIR" "$files"
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
    local deadline=$((SECONDS + 60))
    until eval "$1" >/dev/null 2>&1; do
        if ((SECONDS > deadline)); then
            echo "still not so after 60 s: $1" >&2
            exit 1
        fi
        sleep 0.1
    done
}

# Ends with 3 and the reason where this kernel cannot encrypt.
swarmlb --quiet network create --dry-run -o encrypted collabnet >/dev/null

say 'Six nodes, a network that is encrypted between them, and a service with a task on each.'
run 'swarmlb lab up --nodes 6'
run 'swarmlb network create --driver overlay -o encrypted --subnet 10.0.3.0/24 collabnet'
run 'swarmlb --quiet service create --replicas 6 --name collabweb --network collabnet -p 8080:80'
run 'swarmlb --quiet service create --name box --network collabnet --constraint node.name==node-1 host sleep infinity'
run "swarmlb service ps collabweb --format '{{.Name}} {{.Node}} {{.State}}'"

say 'Somebody listens at the link of node-1, while a task there asks all of them something secret.'
node=$(swarmlb lab status --format '{{.Node}} {{.PID}}' | sed -n 's/^node-1 //p')
capture=$files/capture
nsenter -t "$node" -n tcpdump -Z root -U -s 0 -ni eth0 -w "$capture" 'ip proto 50 or udp port 4789' 2>"$files/tcpdump" &
listener=$!
await 'grep "listening on" "$files/tcpdump"'
run 'for i in 1 2 3 4 5 6; do swarmlb sandbox exec box.1 -- curl -sS http://collabweb/the-secret | grep -E "^Node"; done'
kill "$listener"
wait "$listener" || true

say 'It is ESP: the secret arrived, and was not on the wire.'
run 'tcpdump -Z root -nr "$capture" esp 2>/dev/null | head -n 4'
run 'grep -c the-secret "$capture" || true'

say 'In front of the nodes: HAProxy connects to each at the published port, and checks it. From there the'
say 'mesh leads to the tasks, over a network of its own, which is not encrypted.'
run 'swarmlb export haproxy collabweb:9000:8080 | tee "$files/front.cfg" | grep -A 8 ^listen'
haproxy -f "$files/front.cfg" >"$files/front.log" 2>&1 &
front=$!
await 'curl -sSf http://127.0.0.1:9000/'
run 'for i in 1 2 3 4 5 6; do curl -sS http://127.0.0.1:9000/ | grep -E "^Node"; done'

say 'Inside: as a task of the network it asks 127.0.0.11 who the tasks are, and what it sends them is'
say 'encrypted too. Its own port is published.'
run 'swarmlb export haproxy --inside collabweb:80 | tee "$files/inside.cfg" | grep -A 2 ^listen'
run 'swarmlb --quiet service create --name proxy --network collabnet -p 8000:80 host haproxy -f "$files/inside.cfg"'
address=$(swarmlb lab status --format '{{.Node}} {{.Address}}' | sed -n 's/^node-2 //p')
await 'curl -sSf "http://$address:8000/"'
run 'for i in 1 2 3 4 5 6; do curl -sS "http://$address:8000/" | grep -E "^Node"; done | sort'

say 'A node dies. What comes to the other nodes goes on, and HAProxy says when it has seen it.'
run 'swarmlb lab kill-node node-6'
await 'grep "node-6 is DOWN" "$files/front.log"'
await '[[ $(swarmlb service ls --format "{{.Name}} {{.Running}}" | sed -n "s/^collabweb //p") == 6 ]]'
run 'for i in 1 2 3 4 5 6; do curl -sS http://127.0.0.1:9000/ | grep -E "^Node"; done'

say 'And everything away again.'
kill "$front"
wait "$front" || true
run 'swarmlb lab down'
