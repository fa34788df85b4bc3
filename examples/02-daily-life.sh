#!/usr/bin/env bash
# Living with services on one machine: a connection that outlives scaling, commands and signals for
# tasks, logs with times, a service without a VIP, a measurement that leaves nothing but its report,
# and the rules of a namespace that swarmlb did not make.
#
# Needs root, and `swarmlb`, `nft`, `ip` and `curl` on PATH. nftables balances here, which needs no
# IPVS. Keeps its state in a directory of its own, so a cluster that runs here already is not
# touched, and removes all that it made.
set -eu

SWARMLB_STATE_DIR=$(mktemp -d "${TMPDIR:-/tmp}/swarmlb-example.XXXXXX")
export SWARMLB_STATE_DIR SWARMLB_DATA_PLANE=nftables
report=$SWARMLB_STATE_DIR.csv

# Whatever a failure left, and what runs in the background.
clean_up() {
    swarmlb --quiet system reset --yes >/dev/null
    if [[ -n ${elsewhere-} ]]; then ip netns del "$elsewhere"; fi
    rm -rf "$SWARMLB_STATE_DIR" "$report"
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

say 'Two echo servers that greet with their names, and a task to ask from.'
run 'swarmlb --quiet network create --subnet 10.0.5.0/24 shop'
run 'swarmlb --quiet service create --name echo --replicas 2 --network shop --drain-timeout 1m builtin:echo --greet'
run 'swarmlb --quiet service create --name box --network shop host sleep infinity'

say 'Somebody is connected to echo.2 when the service is scaled to one task. It leaves rotation, and'
say 'its connection goes on.'
coproc client { exec swarmlb sandbox exec box.1 -- curl -sN telnet://echo.2:7; }
read -r greeting <&"${client[0]}"
run 'swarmlb service scale --detach echo=1'
await 'swarmlb diag dns tasks.echo --from box.1'
run 'swarmlb service ps echo'
run 'swarmlb diag dns tasks.echo --from box.1'
run 'echo "are you there, $greeting?" >&"${client[1]}" && head -n 1 <&"${client[0]}"'

say 'It ends when nobody is connected any more. Who waits with `scale` sees it go.'
kill "$client_PID"
run 'swarmlb service scale echo=1'
run "swarmlb service ps echo --format '{{.Name}} {{.DesiredState}}'"

say 'A program of this machine in a sandbox. It can be looked into, told something and killed; then'
say 'it is started again, with the same address.'
program='trap "echo reads its settings" HUP; echo "$SWARMLB_TASK begins"; while :; do sleep 1 & wait; done'
run 'swarmlb --quiet service create --name job --network shop host bash -c "$program"'
run 'swarmlb task exec job.1 -- printenv SWARMLB_SERVICE'
run 'swarmlb task kill --signal HUP job.1'
await 'swarmlb task logs job.1 | grep settings'
run 'swarmlb task kill job.1'
await '[[ $(swarmlb task logs --raw job.1 | grep -c begins) == 2 ]]'
run 'swarmlb service logs --timestamps --no-task-ids job'

say 'Without a VIP the name is that of all tasks, and their order changes from answer to answer.'
run 'swarmlb --quiet service create --name web --replicas 2 --network shop --endpoint-mode dnsrr --dns-ttl 30'
for _ in 1 2; do
    run 'swarmlb diag dns web --from box.1'
done

say 'DNS against a VIP for clients that keep what they resolved, on a network made for this and removed.'
run 'swarmlb diag compare-dns-ipvs --clients 3 --client-cache forever --report "$report"'
run 'head -n 2 "$report"'
run "swarmlb network ls --format '{{.Name}}'"

say 'Rules of a namespace that is not of swarmlb, as the original tool prints them.'
ip netns add "elsewhere-$$"
elsewhere=elsewhere-$$
ip netns exec "$elsewhere" nft 'table ip guard { chain in { type filter hook input priority 0; tcp dport 22 drop; }; }'
run "swarmlb sandbox dump --raw --table filter $elsewhere"

say 'And everything away again.'
run 'swarmlb service rm echo box job web'
run 'swarmlb network rm shop'
