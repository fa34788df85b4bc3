#!/usr/bin/env bash
# What was asked for lies in an etcd, which machines can share: it is killed and started again, and
# the service answers all the while.
#
# Needs root, and `swarmlb`, `nft`, `curl` and `etcd` on PATH (Debian: etcd-server). nftables balances
# here, which needs no IPVS. Starts an etcd of its own on 127.0.0.1, keeps its state in a directory of
# its own, so a cluster that runs here already is not touched, and removes all that it made.
set -eu

directory=$(mktemp -d "${TMPDIR:-/tmp}/swarmlb-example.XXXXXX")
port=23790
export SWARMLB_STATE_DIR=$directory/node SWARMLB_DATA_PLANE=nftables
export SWARMLB_STORE=etcd://127.0.0.1:$port/example

# Starts etcd with what it had before, if there is something, and waits until it answers.
start_etcd() {
    etcd --name example --data-dir "$directory/etcd" --log-level error \
        --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
        --listen-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "example=http://127.0.0.1:$((port + 1))" >>"$directory/etcd.log" 2>&1 &
    etcd=$!
    await "curl -sSf http://127.0.0.1:$port/health"
}

kill_etcd() {
    kill -9 "$etcd"
    wait "$etcd" 2>/dev/null || true
    etcd=
}

# Whatever a failure left, and what runs in the background.
clean_up() {
    if [[ -d $SWARMLB_STATE_DIR ]]; then
        # What there is to remove stands in the store.
        if [[ -z ${etcd-} ]]; then start_etcd; fi
        swarmlb --quiet system reset --yes >/dev/null
    fi
    if [[ -n ${etcd-} ]]; then kill_etcd; fi
    rm -rf "$directory"
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

say 'An etcd of one member. Where the store is, the environment says: SWARMLB_STORE, as `--store` would.'
start_etcd
run 'echo "$SWARMLB_STORE"'
run 'swarmlb --quiet network create --subnet 10.0.7.0/24 shop'
run 'swarmlb --quiet service create --name web --replicas 2 --network shop'
run 'swarmlb --quiet service create --name box --network shop host sleep infinity'
run 'swarmlb service ls'

say 'It is killed. Nothing that runs needs it: the VIP balances, names are answered.'
kill_etcd
run 'for i in 1 2 3 4; do swarmlb sandbox exec box.1 -- curl -sS http://web/ | grep Task; done'

say 'Only what would have to be asked for cannot be.'
run 'swarmlb service scale web=3 || echo "exit $?"'

say 'It is back, and so is all that was asked for.'
start_etcd
run 'swarmlb service scale web=3'
run 'for i in 1 2 3; do swarmlb sandbox exec box.1 -- curl -sS http://web/ | grep Task; done'
run 'swarmlb agent status | grep store'

say 'And everything away again.'
run 'swarmlb service rm web box'
run 'swarmlb network rm shop'
