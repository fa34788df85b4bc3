#!/usr/bin/env bash
# Fetches Debian's newest cloud kernel into a directory, without installing it.
#
#   kernel.sh CACHE_DIR
#
# Leaves CACHE_DIR/vmlinuz, CACHE_DIR/lib/modules/VERSION and CACHE_DIR/version.
# Does nothing when they are there; delete CACHE_DIR to get a newer kernel.
set -euo pipefail

cache=${1:?usage: kernel.sh CACHE_DIR}

# `version` is moved into place last, so its presence means that all the rest is there.
[[ -s $cache/version && -s $cache/vmlinuz ]] && exit 0

say() { printf 'kernel.sh: %s\n' "$*" >&2; }

# Prints nothing where the package lists are missing, of which apt-cache makes an error.
versioned_package() {
    { apt-cache depends linux-image-cloud-amd64 2>/dev/null || true; } |
        sed -n 's/^ *Depends: *\(linux-image-[0-9][^ ]*\)$/\1/p;T;q'
}

fetch() {
    # apt's sandbox user cannot write here, and says so at length; as root there is nothing to drop.
    apt-get -q -o APT::Sandbox::User=root download "$1" >&2
}

mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
# Two test runs may start at once: the second waits and then finds the work done.
exec 9>"$cache/.lock"
flock 9
[[ -s $cache/version && -s $cache/vmlinuz ]] && exit 0

work=$(mktemp -d "$cache/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

package=$(versioned_package)
if [[ -z $package ]]; then
    say 'no package lists: running apt-get update'
    apt-get -q update >&2
    package=$(versioned_package)
fi
[[ -n $package ]] || { say 'Debian offers no linux-image-cloud-amd64 here'; exit 1; }

say "fetching $package"
cd "$work"
if ! fetch "$package"; then
    # The lists may name a version that the archive has already replaced.
    apt-get -q update >&2
    package=$(versioned_package)
    fetch "$package"
fi
dpkg -x ./*.deb tree

version=${package#linux-image-}
[[ -s tree/boot/vmlinuz-$version && -d tree/lib/modules/$version ]] || {
    say "$package holds no kernel $version"
    exit 1
}
cd - >/dev/null

# modprobe --show-depends needs an index, and Debian makes it only when the package is installed.
depmod -b "$work/tree" "$version"

rm -rf "$cache/lib" "$cache/vmlinuz" "$cache/version"
mv "$work/tree/lib" "$cache/lib"
mv "$work/tree/boot/vmlinuz-$version" "$cache/vmlinuz"
printf '%s\n' "$version" >"$work/version"
mv "$work/version" "$cache/version"
say "kernel $version is in $cache"
