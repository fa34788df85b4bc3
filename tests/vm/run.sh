#!/usr/bin/env bash
# Runs a command in a throw-away virtual machine whose kernel has IPVS, ESP and all the rest, under
# software emulation (no KVM needed) and without a network card: nothing can leave it.
#
#   run.sh CACHE_DIR [OPTION]... [--] COMMAND [ARGUMENT]...
#
#   --add HOSTPATH:VMPATH   put a file or directory into the guest (repeatable)
#   --bin HOSTPATH          put a program into the guest's /usr/local/bin (repeatable)
#   --env NAME=VALUE        set an environment variable for the command (repeatable)
#   --out DIR               extract what the guest leaves in /out into DIR
#   --mem MB                memory of the guest (default 2048)
#   --timeout SECONDS       of the whole run, boot included (default 300)
#   --console FILE          keep the kernel's console there
#
# stdout carries the command's stdout and stderr and nothing else. The exit status is the command's;
# 124 when the time ran out; 125 when the machine failed, with its console on stderr.
# The kernel is fetched into CACHE_DIR at first use (kernel.sh).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { printf 'run.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 125; }

cache=${1:?usage: run.sh CACHE_DIR [OPTION]... [--] COMMAND [ARGUMENT]...}
shift
additions=() environment=() out='' memory=2048 limit=300 console=''
while (($#)); do
    case $1 in
    --add | --bin) additions+=("$1" "${2:?$1 needs a value}") ;;
    --env) environment+=("${2:?--env needs NAME=VALUE}") ;;
    --out) out=${2:?--out needs a directory} ;;
    --mem) memory=${2:?--mem needs a number} ;;
    --timeout) limit=${2:?--timeout needs a number} ;;
    --console) console=${2:?--console needs a file} ;;
    --) shift && break ;;
    -*) die "unknown option $1" ;;
    *) break ;;
    esac
    shift 2
done
(($#)) || die 'no command to run'
command -v qemu-system-x86_64 >/dev/null || die 'qemu-system-x86_64 is missing (Debian: qemu-system-x86)'

work=$(mktemp -d "${TMPDIR:-/tmp}/vm.XXXXXX")
machine=''
cleanup() {
    if [[ -n $machine ]]; then kill "$machine" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Quoted for any POSIX shell, newlines included.
quoted() { printf "'%s'" "${1//\'/\'\\\'\'}"; }

{
    printf 'exec'
    for word in "$@"; do printf ' %s' "$(quoted "$word")"; done
    printf '\n'
} >"$work/command"
for variable in "${environment[@]}"; do
    [[ $variable =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || die "$variable is not NAME=VALUE"
    printf 'export %s=%s\n' "${variable%%=*}" "$(quoted "${variable#*=}")"
done >"$work/environment"

"$here/kernel.sh" "$cache" || die 'there is no kernel to boot'
"$here/initramfs.sh" "$cache" "$work/initramfs" --add "$work/command:/command" \
    --add "$work/environment:/environment" "${additions[@]}" || die 'the initramfs could not be made'

mkfifo "$work/output"
: >"$work/status"
: >"$work/files"
arguments=(
    -accel tcg,thread=multi -cpu max -smp 2 -m "$memory"
    -nodefaults -no-user-config -display none -no-reboot
    -kernel "$cache/vmlinuz" -initrd "$work/initramfs"
    -append 'console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on nokaslr tsc=reliable rdinit=/init'
    -chardev "file,id=console,path=$work/console" -serial chardev:console
    -device virtio-serial-pci
)
# Ports of virtio-serial rather than the console: no line discipline adds a CR, and no kernel message
# falls in between.
for port in output status files; do
    arguments+=(-chardev "file,id=$port,path=$work/$port" -device "virtserialport,chardev=$port,name=$port")
done

cat "$work/output" &
reader=$!
timeout --kill-after=5 "$limit" qemu-system-x86_64 "${arguments[@]}" </dev/null 2>"$work/qemu" >&2 &
machine=$!
ended=0
wait "$machine" || ended=$?
machine=''
# qemu may have failed before it opened the pipe, and then the reader still waits for a writer.
: <>"$work/output"
wait "$reader" || true

[[ -z $console ]] || cp "$work/console" "$console"
if [[ -n $out && -s $work/files ]]; then
    mkdir -p "$out"
    tar -x -f "$work/files" -C "$out" --no-same-owner
fi

status=$(tr -dc 0-9 <"$work/status")
if [[ -n $status ]]; then exit "$status"; fi
# No status came back: say what the machine said.
sed 's/^/run.sh: qemu: /' "$work/qemu" >&2
if [[ -s $work/console ]]; then tr -d '\r' <"$work/console" | tail -n 60 | sed 's/^/run.sh: console: /' >&2; fi
if ((ended == 124 || ended == 137)); then
    say "no end after $limit s"
    exit 124
fi
die 'the machine ended without an exit status'
