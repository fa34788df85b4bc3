#!/usr/bin/env bash
# Installs the Debian packages that a purpose needs; does nothing when their programs are there.
#
#   setup.sh PURPOSE...
#
#   build   a C compiler, for the SQLite that is built in
#   native  what swarmlb and the examples run on this machine
#   vm      what the virtual machine of tests/vm is made from
#   etcd    the server that the store is tested on
#   bench   the peers that benches measure against
#   test    all but the peers
#
# Rust itself is not installed here: `rustup` reads rust-version in Cargo.toml.
set -euo pipefail

say() { printf 'setup.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 3; }

# PROGRAM:PACKAGE. A program is looked for rather than its package, so that any distribution will do
# where all are there already.
native=(nft:nftables ip:iproute2 tc:iproute2 ipvsadm:ipvsadm curl:curl modprobe:kmod sysctl:procps
    iptables-legacy-save:iptables)
vm=("${native[@]}" qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio)
build=(cc:build-essential)
etcd=(etcd:etcd-server)
bench=(dnsmasq:dnsmasq-base iperf3:iperf3 nsenter:util-linux)
shells=(zsh:zsh fish:fish)

wanted=()
for purpose; do
    case $purpose in
    build) wanted+=("${build[@]}") ;;
    native) wanted+=("${native[@]}") ;;
    vm) wanted+=("${vm[@]}") ;;
    etcd) wanted+=("${etcd[@]}") ;;
    bench) wanted+=("${bench[@]}") ;;
    test) wanted+=("${build[@]}" "${vm[@]}" "${etcd[@]}" "${shells[@]}") ;;
    *) die "no purpose is called $purpose: build, native, vm, etcd, bench or test" ;;
    esac
done
((${#wanted[@]})) || die 'usage: setup.sh build|native|vm|etcd|bench|test...'

# An ordinary user's PATH leaves these out.
PATH=$PATH:/usr/sbin:/sbin
missing=()
for pair in "${wanted[@]}"; do
    command -v "${pair%%:*}" >/dev/null && continue
    [[ " ${missing[*]} " == *" ${pair#*:} "* ]] || missing+=("${pair#*:}")
done
((${#missing[@]})) || exit 0

command -v apt-get >/dev/null || die "these Debian packages are needed, and there is no apt-get: ${missing[*]}"
((EUID == 0)) || die "run as root, or install first: apt-get install --no-install-recommends ${missing[*]}"

say "installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# Another apt may be at work, such as unattended upgrades just after boot.
if ! {
    apt-get -q -o DPkg::Lock::Timeout=300 update &&
        apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}"
} </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    die "apt-get could not install ${missing[*]}"
fi
