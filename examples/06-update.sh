#!/usr/bin/env bash
# A service that changes while somebody uses it: its tasks are replaced one after the other, by what does
# not work (and back by itself), with the new ones first, and by what was before. A client counts what it loses.
#
# Needs root, and `swarmlb`, `ip` and `curl` on PATH. nftables balances here, which needs no IPVS. Keeps its
# state in a directory of its own, so a cluster that runs here already is not touched, and removes all that it made.
set -eu

SWARMLB_STATE_DIR=$(mktemp -d "${TMPDIR:-/tmp}/swarmlb-example.XXXXXX")
export SWARMLB_STATE_DIR SWARMLB_DATA_PLANE=nftables
counts=$SWARMLB_STATE_DIR.counts

# Whatever a failure left, and what runs in the background.
clean_up() {
    rm -f "$counts.on"
    wait
    swarmlb --quiet system reset --yes >/dev/null
    rm -rf "$SWARMLB_STATE_DIR" "$counts"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Shows a command as it is typed, then runs it.
run() {
    printf '$ %s\n' "$1"
    eval "$1" || return
    printf '\n'
}

say() { printf '# %s\n' "$*"; }

say 'Three web servers, and a task to ask from. What does not work shall go back by itself.'
run 'swarmlb --quiet network create --subnet 10.0.6.0/24 shop'
run 'swarmlb --quiet service create --name web --replicas 3 --network shop --update-monitor 1s --rollback-monitor 0s \
    --update-failure-action rollback'
run 'swarmlb --quiet service create --name box --network shop host sleep infinity'

say 'From now on a client asks for the name and connects anew for each request, and tries nothing twice.'
touch "$counts.on"
while [[ -e $counts.on ]]; do
    if swarmlb sandbox exec box.1 -- curl -sf -o /dev/null --max-time 5 http://web/; then
        echo answered
    else
        echo lost
    fi
done >"$counts" &

say 'Another variable: each task leaves rotation, is gone when nobody is connected, and is made anew in its slot.'
run 'swarmlb service update --env-add LEVEL=debug web'
run 'swarmlb task exec web.1 -- printenv LEVEL'

say 'What ends at once is tried with one task, and the service becomes what it was.'
run 'swarmlb service update --image host --args "sh -c \"exit 3\"" web || echo "exit code $?"'
run 'swarmlb service inspect --pretty web | grep -E "^(Image|Update):"'

say 'New tasks before old ones, all at once: the old ones leave when everybody sends to the new ones.'
run 'swarmlb service update --update-order start-first --update-parallelism 0 --env-add LEVEL=info web'
run 'swarmlb service ps web'

say 'And back to what was before the last change.'
run 'swarmlb service rollback web'
run 'swarmlb task exec "$(swarmlb service ps -q web | head -n 1)" -- printenv LEVEL'

say 'One of them shall get three times as many connections as the others.'
run 'swarmlb task update --weight 3 "$(swarmlb service ps web --format "{{.Name}}" | head -n 1)"'
run 'swarmlb inspect vip web'

rm "$counts.on"
wait
say 'What the client lost meanwhile:'
run 'sort "$counts" | uniq -c'
if grep -q lost "$counts"; then exit 1; fi
