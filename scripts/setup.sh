#!/usr/bin/env bash
# Installs the Debian packages that a purpose needs; does nothing when their programs are there.
#
#   setup.sh PURPOSE...
#
#   build   a C compiler, for the SQLite that is built in
#   native  what swarmlb and the examples run on this machine
#   vm      what the virtual machine of tests/vm is made from
#   etcd    the server that the store is tested on
#   front   the balancers that `swarmlb export` writes for
#   images  the registry that images are pulled from
#   metrics what reads `swarmlb export prometheus`
#   bench   the peers that benches measure against
#   test    all but the peers
#
# Some of these packages come with a service of their own. None is started or left for the next boot, as
# the tests start their own; one that was installed before stays as it is.
#
# Rust itself is not installed here: `rustup` reads rust-version in Cargo.toml.
set -euo pipefail

say() { printf 'setup.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 3; }

# PROGRAM:PACKAGE. A program is looked for rather than its package, so that any distribution will do
# where all are there already.
native=(nft:nftables ip:iproute2 tc:iproute2 ipvsadm:ipvsadm curl:curl modprobe:kmod sysctl:procps
    iptables-legacy-save:iptables tcpdump:tcpdump runc:runc
    catatonit:catatonit)
vm=("${native[@]}" qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio)
build=(cc:build-essential)
etcd=(etcd:etcd-server)
# FILE:PACKAGE for what is no program.
front=(haproxy:haproxy nginx:nginx /usr/lib/nginx/modules/ngx_stream_module.so:libnginx-mod-stream)
bench=(dnsmasq:dnsmasq-base iperf3:iperf3 nsenter:util-linux haproxy:haproxy umoci:umoci)
images=(docker-registry:docker-registry nginx:nginx)
shells=(zsh:zsh fish:fish)
metrics=(promtool:prometheus)
# SERVICE:PACKAGE
services=(etcd:etcd-server haproxy:haproxy nginx:nginx
    docker-registry:docker-registry prometheus:prometheus)

wanted=()
for purpose; do
    case $purpose in
    build) wanted+=("${build[@]}") ;;
    native) wanted+=("${native[@]}") ;;
    vm) wanted+=("${vm[@]}") ;;
    etcd) wanted+=("${etcd[@]}") ;;
    front) wanted+=("${front[@]}") ;;
    images) wanted+=("${images[@]}") ;;
    metrics) wanted+=("${metrics[@]}") ;;
    bench) wanted+=("${bench[@]}") ;;
    test) wanted+=("${build[@]}" "${vm[@]}" "${etcd[@]}" "${front[@]}" "${images[@]}" "${shells[@]}" "${metrics[@]}") ;;
    *) die "no purpose is called $purpose: build, native, vm, etcd, front, images, metrics, bench or test" ;;
    esac
done
((${#wanted[@]})) || die 'usage: setup.sh build|native|vm|etcd|front|images|metrics|bench|test...'

# An ordinary user's PATH leaves these out.
PATH=$PATH:/usr/sbin:/sbin
missing=()
for pair in "${wanted[@]}"; do
    if [[ $pair == /* ]]; then
        [[ ! -e ${pair%%:*} ]] || continue
    elif command -v "${pair%%:*}" >/dev/null; then
        continue
    fi
    [[ " ${missing[*]} " == *" ${pair#*:} "* ]] || missing+=("${pair#*:}")
done
((${#missing[@]})) || exit 0

command -v apt-get >/dev/null || die "these Debian packages are needed, and there is no apt-get: ${missing[*]}"
((EUID == 0)) || die "run as root, or install first: apt-get install --no-install-recommends ${missing[*]}"

say "installing ${missing[*]}"
log=$(mktemp)
policy=
clean_up() { rm -f "$log" ${policy:+"$policy"}; }
trap clean_up EXIT

# Nothing that is installed now is started; a machine that has a rule of its own for that keeps it.
if [[ ! -e /usr/sbin/policy-rc.d ]]; then
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

# Of packages that were installed now, no service runs or waits for the next boot.
rest_services() {
    local pair name
    for pair in "${services[@]}"; do
        [[ " ${missing[*]} " == *" ${pair#*:} "* ]] || continue
        name=${pair%%:*}
        if [[ -d /run/systemd/system ]]; then
            systemctl -q disable --now "$name"
        elif command -v systemctl; then
            systemctl -q disable "$name"
        else
            update-rc.d "$name" disable
        fi
    done
}

export DEBIAN_FRONTEND=noninteractive
# Another apt may be at work, such as unattended upgrades just after boot.
if ! {
    apt-get -q -o DPkg::Lock::Timeout=300 update &&
        apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}" &&
        rest_services
} </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    die "apt-get could not install ${missing[*]}"
fi
