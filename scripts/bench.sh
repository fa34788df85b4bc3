#!/usr/bin/env bash
# Measures what swarmlb costs beside its peers, and ends with the worst exit status of all benches.
#
#   bench.sh [NAME]...    all unless named
#
# A bench is a function `bench_NAME` here and, mostly, a program benches/NAME.rs, which prints its own
# table. It exits 0 when every bar is reached, 1 when one is missed, and 3 when this machine cannot
# measure it: a missing peer is an error, never a shorter table. Figures of a virtual machine under
# emulation are good for ratios only, and only within one run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PATH=$PATH:/usr/sbin:/sbin

# built NAME: builds benches/NAME.rs as the release is built and prints the executable's path.
built() {
    cargo bench --locked --no-run --bench "$1" --message-format=json-render-diagnostics |
        sed -n 's/.*"kind":\["bench"\].*"name":"'"$1"'".*"executable":"\([^"]*\)".*/\1/p'
}

# in_vm SECONDS EXECUTABLE [--add HOSTPATH:VMPATH]...: runs a bench in the virtual machine.
in_vm() {
    local limit=$1 executable=$2 program
    shift 2
    command -v qemu-system-x86_64 >/dev/null || { echo 'bench.sh: qemu-system-x86_64 is missing' >&2; return 3; }
    program=$(mktemp "${TMPDIR:-/tmp}/swarmlb-bench.XXXXXX")
    # The guest's files are memory: it does not need what names the lines.
    strip -o "$program" "$executable"
    chmod 755 "$program"
    local status=0
    tests/vm/run.sh .vm --timeout "$limit" --add "$program:/usr/local/bin/bench" "$@" -- bench || status=$?
    rm -f "$program"
    return "$status"
}

# Programming IPVS, beside ipvsadm and a bare loop.
bench_ipvs() {
    in_vm 3600 "$(built ipvs)"
}

# CPU for each DNS query of a sandbox's resolver, beside dnsmasq and an echo server.
bench_dns() {
    scripts/bench-dns.sh
}

# One node: commands until they are done, and what runs all the time in memory.
bench_node() {
    scripts/setup.sh build native
    cargo bench --locked --bench node
}

# Unpacking an image, beside umoci.
bench_images() {
    scripts/setup.sh build native bench
    cargo bench --locked --bench images
}

# Six nodes: until they are up, what happens when a task or a node dies, many networks, throughput, and a
# published port.
bench_cluster() {
    scripts/setup.sh build native bench
    cargo bench --locked --bench cluster
}

mapfile -t known < <(declare -F | sed -n 's/^declare -f bench_//p')
(($#)) || set -- "${known[@]}"
for name in "$@"; do
    declare -F "bench_$name" >/dev/null || { echo "bench.sh: no bench is called $name: ${known[*]}" >&2; exit 2; }
done
scripts/setup.sh test || ((EUID != 0))

worst=0
declare -A came
for name in "$@"; do
    printf '== %s\n' "$name"
    status=0
    "bench_$name" || status=$?
    case $status in
    0) came[$name]='every bar is reached' ;;
    1) came[$name]='a bar is MISSED' ;;
    *) came[$name]="it CANNOT BE MEASURED here (exit status $status)" ;;
    esac
    if ((status > worst)); then worst=$status; fi
done
printf '== all\n'
for name in "$@"; do printf '%s: %s\n' "$name" "${came[$name]}"; done
exit "$worst"
