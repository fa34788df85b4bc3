#!/usr/bin/env bash
# Builds a Debian package from a binary and what stands beside the sources.
#
#   build.sh BINARY DIRECTORY    writes DIRECTORY/swarmlb_VERSION_ARCHITECTURE.deb and prints its path
#
# Needs dpkg-deb, dpkg-shlibdeps (dpkg-dev) if it is there, and no root. The same files give the same
# package, byte by byte, where SOURCE_DATE_EPOCH is set.
set -euo pipefail

(($# == 2)) || { echo 'usage: build.sh BINARY DIRECTORY' >&2; exit 2; }
binary=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

umask 022
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
architecture=$(dpkg --print-architecture)
maintainer=${DEBFULLNAME:-swarmlb maintainers}' <'${DEBEMAIL:-packages@swarmlb.invalid}'>'
date=$(date --utc --rfc-email ${SOURCE_DATE_EPOCH:+--date "@$SOURCE_DATE_EPOCH"})

# put MODE SOURCE TARGET
put() { install -D -m "$1" "$2" "$stage/$3"; }
# packed SOURCE TARGET: as Debian wants documents
packed() {
    mkdir -p "$stage/${2%/*}"
    gzip -9n <"$1" >"$stage/$2"
}

put 755 "$binary" usr/bin/swarmlb
put 644 packaging/systemd/swarmlb.service lib/systemd/system/swarmlb.service
put 644 packaging/systemd/swarmlb-metrics.service lib/systemd/system/swarmlb-metrics.service
put 644 packaging/config.toml etc/swarmlb/config.toml
put 644 completions/swarmlb.bash usr/share/bash-completion/completions/swarmlb
put 644 completions/_swarmlb usr/share/zsh/vendor-completions/_swarmlb
put 644 completions/swarmlb.fish usr/share/fish/vendor_completions.d/swarmlb.fish
for page in man/*.[1-8]; do
    packed "$page" "usr/share/man/man${page##*.}/${page##*/}.gz"
done
put 644 README.md usr/share/doc/swarmlb/README.md
for example in examples/*.sh; do put 755 "$example" "usr/share/doc/swarmlb/examples/${example##*/}"; done
packed CHANGELOG.md usr/share/doc/swarmlb/changelog.gz
packed <(printf 'swarmlb (%s-1) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' "$version" "$maintainer" "$date") \
    usr/share/doc/swarmlb/changelog.Debian.gz
mkdir -p "$stage/usr/share/doc/swarmlb"
{
    printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: swarmlb\n\n'
    printf 'Files: *\nCopyright: %s\nLicense: MIT or Apache-2.0\n\n' "$(date --utc +%Y ${SOURCE_DATE_EPOCH:+--date "@$SOURCE_DATE_EPOCH"}) $(sed -n 's/^Copyright (c) //p' LICENSE-MIT | head -1)"
    printf 'License: MIT\n'
    sed 's/^$/./; s/^/ /' LICENSE-MIT
    printf '\nLicense: Apache-2.0\n On Debian systems, see /usr/share/common-licenses/Apache-2.0.\n'
} >"$stage/usr/share/doc/swarmlb/copyright"

mkdir "$stage/DEBIAN"
for script in postinst prerm postrm; do install -m 755 "packaging/debian/$script" "$stage/DEBIAN/"; done
echo /etc/swarmlb/config.toml >"$stage/DEBIAN/conffiles"
libraries=libc6
if command -v dpkg-shlibdeps >/dev/null; then
    work=$(mktemp -d)
    mkdir "$work/debian" && printf 'Source: swarmlb\nPackage: swarmlb\n' >"$work/debian/control"
    found=$(cd "$work" && dpkg-shlibdeps -O "$stage/usr/bin/swarmlb" 2>/dev/null | sed -n 's/^shlibs:Depends=//p') || true
    rm -rf "$work"
    libraries=${found:-$libraries}
fi
cat >"$stage/DEBIAN/control" <<CONTROL
Package: swarmlb
Version: $version-1
Architecture: $architecture
Maintainer: $maintainer
Section: net
Priority: optional
Installed-Size: $(du -k -s --apparent-size "$stage" | cut -f1)
Depends: $libraries, nftables
Recommends: kmod
Suggests: iproute2, ipvsadm
Description: Docker Swarm mode's load balancing as one inspectable binary
 swarmlb makes overlay networks and replicated services on plain Linux. Each
 service has a virtual IP that the kernel's IPVS balances inside every sandbox;
 names resolve at 127.0.0.11, and everything that the kernel holds can be read
 with the names of what it belongs to.
 .
 Commands start what they need. Enable the unit swarmlb.service to have the
 node come up at boot, and swarmlb-metrics.service to have Prometheus answered.
CONTROL
(cd "$stage" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) >"$stage/DEBIAN/md5sums"

package=$out/swarmlb_$version-1_$architecture.deb
dpkg-deb --root-owner-group --build "$stage" "$package" >&2
echo "$package"
