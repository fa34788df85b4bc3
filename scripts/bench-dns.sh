#!/usr/bin/env bash
# CPU for each DNS query of a sandbox's resolver, beside dnsmasq and an echo server, in a network
# namespace of its own. Ends with 1 when the bar is missed, with 3 when it cannot be measured.
#
#   bench-dns.sh [--rounds N]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:/usr/sbin:/sbin
((EUID == 0)) || { echo 'bench-dns.sh: it needs root, for a network namespace' >&2; exit 3; }
scripts/setup.sh build native bench
cargo bench --locked --bench dns -- "$@"
