#!/usr/bin/env bash
# Builds swarmlb and plays examples/01-main-job.sh: on this machine where its kernel has IPVS, in a
# throw-away virtual machine where it has not. Removes what it made.
#
#   demo.sh [native|vm]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'demo: %s\n' "$*" >&2; }
die() { say "$*"; exit 3; }

# The module may be built in, or loaded and invisible to a container: the kernel's own word decides.
has_ipvs() {
    modprobe --quiet ip_vs 2>/dev/null || true
    [[ -e /proc/net/ip_vs ]]
}

PATH=$PATH:/usr/sbin:/sbin
place=${1:-}
if [[ -z $place ]]; then
    if has_ipvs && unshare --net true 2>/dev/null; then place=native; else place=vm; fi
fi
[[ $place == native || $place == vm ]] || die 'usage: demo.sh [native|vm]'

command -v cargo >/dev/null || die "cargo is missing: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer, for instance with rustup"
scripts/setup.sh build "$place"
say 'building swarmlb'
cargo build --release --locked --quiet --bin swarmlb
binary=${CARGO_TARGET_DIR:-target}/release/swarmlb

if [[ $place == native ]]; then
    say "playing examples/01-main-job.sh on this machine: its kernel, $(uname -r), has IPVS"
    directory=$(cd "${binary%/*}" && pwd)
    PATH=$directory:$PATH exec examples/01-main-job.sh
fi
say "playing examples/01-main-job.sh in a throw-away virtual machine: this kernel, $(uname -r), has no IPVS that can be used here"
exec tests/vm/run.sh .vm --bin "$binary" --add examples:/examples -- /examples/01-main-job.sh
