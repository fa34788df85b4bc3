#!/usr/bin/env bash
# Makes the initramfs that run.sh boots: a small Debian userland, the kernel modules that load
# balancing and overlays need, and whatever the caller adds.
#
#   initramfs.sh CACHE_DIR OUT [--add HOSTPATH:VMPATH]... [--bin HOSTPATH]...
#
#   --add   a file or a directory; a dynamic executable brings its shared libraries along
#   --bin   the same as --add HOSTPATH:/usr/local/bin/NAME
#
# The base layer is cached in CACHE_DIR and made anew when a program or the kernel in it changes;
# what is added goes into a second archive behind it, so a run costs a copy. Nothing is compressed:
# decompressing costs more under emulation than reading.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { printf 'initramfs.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

(($# >= 2)) || die 'usage: initramfs.sh CACHE_DIR OUT [--add HOSTPATH:VMPATH]... [--bin HOSTPATH]...'
cache=$1 out=$2
shift 2
additions=()
while (($#)); do
    case $1 in
    --add) additions+=("${2:?--add needs HOSTPATH:VMPATH}") ;;
    --bin) additions+=("${2:?--bin needs a path}:/usr/local/bin/$(basename "$2")") ;;
    *) die "unknown argument $1" ;;
    esac
    shift 2
done
[[ -s $cache/version ]] || die "no kernel in $cache: run kernel.sh first"
cache=$(cd "$cache" && pwd)
version=$(<"$cache/version")

required=(busybox bash nft ipvsadm ip bridge ss tc curl kmod nsenter unshare)
optional=(tcpdump haproxy ethtool conntrack strace socat jq ping getent)

# Loaded at boot: what nothing autoloads, and what nearly every run uses.
at_boot=(
    virtio_pci virtio_console virtio_rng
    ip_vs nf_tables nft_chain_nat nft_nat nft_ct nft_hash nft_numgen nft_reject_inet
    veth bridge vxlan dummy
)
# There for whatever asks for it: schedulers, nft expressions, SCTP, ESP and its ciphers. `*` is a
# module by any name below that directory.
available=(
    'net/netfilter/*' 'net/ipv4/*' 'net/ipv6/*' 'net/bridge/*' 'net/sctp/*' 'net/sched/*' 'net/xfrm/*' 'net/key/*'
    'net/unix/*' 'net/netlink/*' 'net/packet/*' 'net/8021q/*' 'crypto/*' 'arch/x86/crypto/*'
    drivers/net/{veth,dummy,nlmon,ifb,macvlan,tun,vrf,geneve}.ko drivers/net/ipvlan/ipvlan.ko fs/overlayfs/overlay.ko
)

host_program() { PATH=$PATH:/usr/sbin:/sbin command -v "$1"; }

# /bin, /sbin and /lib* are links into /usr, here as on Debian; a directory of that name in a second
# archive would replace the link.
usr_merged() {
    case $1 in
    /bin/* | /sbin/* | /lib/* | /lib64/*) printf '/usr%s' "$1" ;;
    *) printf '%s' "$1" ;;
    esac
}

is_elf() { [[ -f $1 ]] && [[ $(head -c 4 "$1" | tr -d '\0') == $'\x7fELF' ]]; }

# The shared libraries of a program and its loader, one a line; none for a static one.
libraries() { ldd "$1" 2>/dev/null | sed -n 's|^[^/]*\(/[^ ]*\) (0x.*|\1|p' || true; }

# install_file HOSTPATH VMPATH ROOT: copies the file that HOSTPATH means, and its libraries.
install_file() {
    local target library
    target=$3$(usr_merged "$2")
    mkdir -p "${target%/*}"
    cp -L --preserve=mode,timestamps "$1" "$target"
    is_elf "$1" || return 0
    while read -r library; do
        target=$3$(usr_merged "$library")
        [[ -e $target ]] && continue
        grep -qxF "$library" "$base.libraries" 2>/dev/null && continue
        mkdir -p "${target%/*}"
        cp -L --preserve=mode,timestamps "$library" "$target"
        printf '%s\n' "$library"
    done < <(libraries "$1")
}

archive() { (cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z | cpio --null -o -H newc -R 0:0 --quiet); }

# The modules to install, with all that they depend on, as names below lib/modules/VERSION.
module_files() {
    local tree=$cache/lib/modules/$version pattern names=()
    names=("${at_boot[@]}")
    for pattern in "${available[@]}"; do
        while read -r name; do
            name=${name##*/}
            names+=("${name%%.ko*}")
        done < <(find "$tree/kernel" -path "$tree/kernel/$pattern" -name '*.ko*')
    done
    modprobe -a -d "$cache" -S "$version" --show-depends "${names[@]}" | sed -n "s|^insmod $tree/\\([^ ]*\\).*|\\1|p" | sort -u
}

install_modules() {
    local tree=usr/lib/modules/$version root=$1 file
    mkdir -p "$root/$tree"
    module_files >"$root/$tree/files"
    tar -c -C "$cache/lib/modules/$version" -T "$root/$tree/files" modules.order modules.builtin modules.builtin.modinfo |
        tar -x -C "$root/$tree"
    rm "$root/$tree/files"
    depmod -b "$root/usr" "$version"
    printf '%s\n' "${at_boot[@]}" >"$root/etc/modules"
    # As systemd has it on every Debian: no dummy0 that nobody asked for.
    mkdir -p "$root/etc/modprobe.d"
    printf 'options dummy numdummies=0\noptions bonding max_bonds=0\noptions ifb numifbs=0\n' >"$root/etc/modprobe.d/systemd.conf"
}

install_settings() {
    local root=$1
    printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    printf '127.0.0.1 localhost node-1\n::1 localhost ip6-localhost\n' >"$root/etc/hosts"
    printf 'passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n' >"$root/etc/nsswitch.conf"
    printf 'node-1\n' >"$root/etc/hostname"
    : >"$root/etc/resolv.conf"
    local file
    for file in protocols services; do
        [[ -e /etc/$file ]] && cp -L "/etc/$file" "$root/etc/$file"
    done
    for file in ethertypes iproute2/rt_tables iproute2/rt_protos iproute2/rt_scopes; do
        if [[ -e /etc/$file ]]; then
            mkdir -p "$root/etc/${file%/*}"
            cp -L "/etc/$file" "$root/etc/$file"
        fi
    done
    # glibc opens these by name, so no ldd shows them.
    for file in /lib/x86_64-linux-gnu/libnss_{files,dns}.so.2 /lib/x86_64-linux-gnu/libgcc_s.so.1; do
        [[ -e $file ]] && install_file "$file" "$file" "$root"
    done
}

install_programs() {
    local root=$1 name path
    for name in "${programs[@]}"; do
        path=$(host_program "$name")
        install_file "$path" "$path" "$root"
    done
    for name in modprobe insmod rmmod lsmod modinfo depmod; do
        ln -sf ../bin/kmod "$root/usr/sbin/$name"
    done
    "$(host_program busybox)" --list | while read -r name; do
        [[ -e $root/usr/bin/$name || -e $root/usr/sbin/$name || -L $root/usr/sbin/$name ]] || ln -s busybox "$root/usr/bin/$name"
    done
}

build_base() {
    local root=$1
    mkdir -p "$root"/{dev,etc,mnt,opt,out,proc,root,run,srv,sys,tmp,var} "$root"/usr/{bin,sbin,lib,lib64,local/bin,share}
    local directory
    for directory in bin sbin lib lib64; do ln -s "usr/$directory" "$root/$directory"; done
    chmod 1777 "$root/tmp"
    {
        install_programs "$root"
        install_settings "$root"
    } | sort -u >"$base.libraries.part"
    install_modules "$root"
    install -m 755 "$here/init" "$root/init"
}

# --- the base layer ---

programs=()
for name in "${required[@]}"; do
    host_program "$name" >/dev/null || die "the program $name is missing here"
    programs+=("$name")
done
for name in "${optional[@]}"; do
    if host_program "$name" >/dev/null; then programs+=("$name"); fi
done

paths=()
for name in "${programs[@]}"; do paths+=("$(host_program "$name")"); done
# A library that changes without the program doing so is a rebuild of libc: the loader stands for it.
key=$({
    cat "${BASH_SOURCE[0]}" "$here/init" "$cache/version"
    stat -L -c '%n %s %Y' "${paths[@]}" /lib64/ld-linux-x86-64.so.2
} | sha256sum | cut -c 1-16)
base=$cache/base-$key

if [[ ! -s $base.cpio ]]; then
    exec 9>"$cache/.lock"
    flock 9
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/initramfs.XXXXXX")
trap 'rm -rf "$work"' EXIT
if [[ ! -s $base.cpio ]]; then
    rm -f "$cache"/base-*
    build_base "$work/base"
    archive "$work/base" >"$base.cpio.part"
    mv "$base.libraries.part" "$base.libraries"
    mv "$base.cpio.part" "$base.cpio"
    rm -rf "$work/base"
    say "made $base.cpio"
fi

# --- what this run adds ---

mkdir "$work/layer"
for addition in "${additions[@]}"; do
    from=${addition%%:*} to=${addition#*:}
    [[ $addition == *:/* ]] || die "$addition is not HOSTPATH:VMPATH with an absolute VMPATH"
    [[ -e $from ]] || die "$from does not exist"
    case $to/ in
    /proc/* | /sys/* | /dev/* | /tmp/* | /run/* | /var/*) die "$to would be hidden by what is mounted there at boot" ;;
    esac
    if [[ -d $from ]]; then
        target=$work/layer$(usr_merged "${to%/}/x")
        target=${target%/x}
        mkdir -p "$target"
        cp -a "$from/." "$target/"
    else
        install_file "$from" "$to" "$work/layer" >/dev/null
    fi
done
{
    cat "$base.cpio"
    archive "$work/layer"
} >"$out"
