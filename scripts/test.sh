#!/usr/bin/env bash
# Runs the tests tier by tier and ends with a table and `N passed, N failed, N skipped`.
#
#   test.sh [TIER]...    pure rehearsal command-line wire store dns kernel ipvs; all unless named
#
# A tier that cannot run says why and counts as skipped; SWARMLB_TEST_REQUIRE=root,vm,etcd,front,registry,shells,prometheus
# makes failures of what is skipped for want of root, the virtual machine, an etcd, HAProxy and nginx, a
# registry, the shells, or Prometheus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tiers=(pure rehearsal command-line wire store dns kernel ipvs)
declare -A targets=(
    [pure]='' [rehearsal]=rehearsal [command-line]='command_line documents' [wire]='wire wire_nft wire_xfrm'
    [store]=store [dns]=dns [kernel]=kernel [ipvs]=ipvs
)
# Seconds until a tier counts as hung: far beyond what each needs on two slow cores.
declare -A limits=([pure]=900 [rehearsal]=900 [command-line]=600 [wire]=300 [store]=600 [dns]=600 [kernel]=1500 [ipvs]=1800)

known=" ${tiers[*]} "
if (($#)); then tiers=("$@"); fi
for tier in "${tiers[@]}"; do
    [[ $known == *" $tier "* ]] || { echo "test.sh: no tier is called $tier:$known" >&2; exit 2; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/swarmlb-test.XXXXXX")
running=''
clean_up() {
    # timeout(1) passes it on to all that the tier started.
    if [[ -n $running ]]; then kill "$running" 2>/dev/null && wait "$running" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Snapshots are compared and never written beside the sources.
export INSTA_UPDATE=${INSTA_UPDATE:-no}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

seconds() { printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100)); }
now() { date +%s%3N; }

# What libtest prints, less what passing tests wrote (--show-output brings that, for `skipped:` lines).
shown() {
    awk '
        /^successes:$/ { hidden = 1 }
        /^(failures:$|test result:)/ { hidden = 0 }
        !hidden { print; fflush() }
    '
}

# limited TIER COMMAND...: runs it with its output on the screen and in the tier's log, which is a
# file and not a pipe, so that nothing left running can hold it open.
limited() {
    local log=$work/$1.log status=0
    # What bash starts in the background ignores an interrupt, and tests may send one.
    timeout --kill-after=10 "${limits[$1]}" env --default-signal=INT,QUIT "${@:2}" </dev/null >>"$log" 2>&1 &
    running=$!
    tail --pid="$running" --sleep-interval=0.1 --lines=+"$(($(wc -l <"$log") + 1))" --follow "$log" 2>/dev/null | shown &
    local screen=$!
    wait "$running" || status=$?
    running=''
    wait "$screen" || true
    if ((status == 124)); then echo "error: no end after ${limits[$1]} s" | tee -a "$log"; fi
    return "$status"
}

# count TIER STATUS: reads the log and writes `ran passed failed skipped` to TIER.count, and the
# reasons of what was skipped to TIER.reasons, one for each test.
count() {
    : >"$work/$1.reasons"
    awk -v status="$2" -v require=",${SWARMLB_TEST_REQUIRE:-}," -v reasons="$work/$1.reasons" '
        function skip(reason) {
            print reason >reasons
            skipped++
            n = split(reason, words, /[^A-Za-z]+/)
            for (i = 1; i <= n; i++)
                if (index(require, "," tolower(words[i]) ",")) { refused++; break }
        }
        /^---- .* stdout ----$/ { told = 0 }
        /^skipped: / && !told { told = 1; itself++; skip(substr($0, 10)) }
        /^not run: / { skip(substr($0, 10)) }
        /^test .* \.\.\. ignored/ { skip(sub(/.* \.\.\. ignored, /, "") ? $0 : "ignored") }
        /^test result: / { passed += $4; failed += $6 }
        END {
            # A test that skipped itself is one that passed, to libtest.
            passed -= itself
            skipped -= refused
            failed += refused
            # Died, hung, or was never there: no line tells of it.
            if (failed == 0 && (status != 0 || passed + skipped == 0)) failed = 1
            print passed + failed, passed + 0, failed + 0, skipped + 0
        }
    ' "$work/$1.log" >"$work/$1.count"
}

# The executable of the tier's tests, from what cargo reported when it built them.
ipvs_tests() { sed -n 's/.*"kind":\["test"\].*"name":"ipvs".*"executable":"\([^"]*\)".*/\1/p' "$work/artifacts"; }

# Whether TIER can run here; says what is missing otherwise.
runnable() {
    case $1 in
    kernel) ((EUID == 0)) || { echo 'needs root'; return 1; } ;;
    ipvs) command -v qemu-system-x86_64 >/dev/null || { echo 'needs the vm: qemu-system-x86_64 is missing'; return 1; } ;;
    esac
}

# One boot for the whole tier. The first line that comes back is the guest's clock since its boot.
run_in_vm() {
    # shellcheck disable=SC2016 # the guest's shell expands it
    limited ipvs tests/vm/run.sh .vm --timeout "${limits[ipvs]}" \
        --bin "$target_dir/debug/swarmlb" --add "$(ipvs_tests):/usr/local/bin/ipvs-tests" --add examples:/examples \
        --env SWARMLB_IN_VM=1 --env SWARMLB_BIN=/usr/local/bin/swarmlb \
        --env "SWARMLB_TEST_REQUIRE=${SWARMLB_TEST_REQUIRE:-}" -- \
        sh -c 'read -r up _ </proc/uptime; echo "the virtual machine was up after $up s"; exec "$@"' sh \
        /usr/local/bin/ipvs-tests --test-threads=1 --show-output
}

run_tier() {
    local tier=$1 status=0 target arguments=()
    case $tier in
    pure)
        limited pure cargo test --locked --no-fail-fast --lib --bins -- --show-output || status=$?
        limited pure cargo test --locked --doc || status=$?
        ;;
    ipvs) run_in_vm || status=$? ;;
    *)
        for target in ${targets[$tier]}; do arguments+=(--test "$target"); done
        limited "$tier" cargo test --locked --no-fail-fast "${arguments[@]}" -- --show-output || status=$?
        ;;
    esac
    return "$status"
}

# The table, then the line that ends every run. Fails when a test did.
report() {
    local tier ran passed failed skipped all_passed=0 all_failed=0 all_skipped=0
    printf '\n%-14s %6s %7s %7s %8s %9s\n' tier ran passed failed skipped seconds
    for tier in "${tiers[@]}"; do
        read -r ran passed failed skipped <"$work/$tier.count"
        printf '%-14s %6d %7d %7d %8d %9s\n' "$tier" "$ran" "$passed" "$failed" "$skipped" "$(<"$work/$tier.seconds")"
        all_passed=$((all_passed + passed)) all_failed=$((all_failed + failed)) all_skipped=$((all_skipped + skipped))
    done
    for tier in "${tiers[@]}"; do
        sort "$work/$tier.reasons" | uniq -c | while read -r times reason; do
            printf '%s: not run, %d: %s\n' "$tier" "$times" "$reason"
        done
    done
    printf '%d passed, %d failed, %d skipped\n' "$all_passed" "$all_failed" "$all_skipped"
    ((all_failed == 0))
}

# What tests must not leave: processes of ours, links and named namespaces of this machine.
here() {
    local process link namespace
    for process in /proc/[0-9]*; do
        if [[ $(readlink "$process/exe" 2>/dev/null) == "$target_dir"/debug/* ]]; then
            printf 'process %s: %s\n' "${process#/proc/}" "$(tr '\0' ' ' 2>/dev/null <"$process/cmdline")"
        fi
    done
    for link in /sys/class/net/*; do printf 'link %s\n' "${link##*/}"; done
    for namespace in /run/netns/*; do printf 'namespace %s\n' "${namespace##*/}"; done
}

left_behind() { here | LC_ALL=C sort | LC_ALL=C comm -13 "$work/here" -; }

# Prints what is here now and was not before the tests, once it had time to go.
leftovers() {
    local deadline=$((SECONDS + 10))
    while [[ -n $(left_behind) ]] && ((SECONDS < deadline)); do sleep 0.2; done
    left_behind
}

# --- what is there ---

mkdir -p "${CARGO_TARGET_DIR:-target}"
target_dir=$(cd "${CARGO_TARGET_DIR:-target}" && pwd -P)
here | LC_ALL=C sort >"$work/here"

building=()
for tier in "${tiers[@]}"; do
    : >"$work/$tier.log"
    : >"$work/$tier.reasons"
    echo '0 0 0 0' >"$work/$tier.count"
    echo - >"$work/$tier.seconds"
    [[ $tier != pure ]] || building+=(--lib --bins)
    for target in ${targets[$tier]}; do
        if [[ -e tests/$target.rs || -e tests/$target/main.rs ]]; then building+=(--test "$target"); fi
    done
done
# A file that no tier names would never run.
for file in tests/*.rs tests/*/main.rs; do
    target=${file#tests/} target=${target%/main.rs} target=${target%.rs}
    [[ " ${targets[*]} " == *" $target "* ]] || { echo "test.sh: $file belongs to no tier" >&2; exit 2; }
done

# --- build ---

PATH=$PATH:/usr/sbin:/sbin
if [[ " ${tiers[*]} " == *' ipvs '* ]]; then purposes=(test); else purposes=(build native etcd front images); fi
# Without root the programs may be missing: each tier then says what it could not do.
scripts/setup.sh "${purposes[@]}" || ((EUID != 0))

began=$(now)
echo '== build'
if ! cargo test --locked --no-run "${building[@]}" --message-format=json-render-diagnostics >"$work/artifacts"; then
    for tier in "${tiers[@]}"; do echo '1 0 1 0' >"$work/$tier.count"; done
    echo 'the tests do not build' >&2
    report
fi
echo "built in $(seconds $(($(now) - began))) s"

# --- run ---

for tier in "${tiers[@]}"; do
    printf '\n== %s\n' "$tier"
    began=$(now) status=0 absent=''
    for target in ${targets[$tier]}; do
        [[ -e tests/$target.rs || -e tests/$target/main.rs ]] || absent=$target
    done
    if [[ -n $absent ]]; then
        echo "error: there is no tests/$absent.rs" | tee -a "$work/$tier.log"
        status=1
    elif lack=$(runnable "$tier"); then
        run_tier "$tier" || status=$?
    else
        echo "not run: $lack" | tee -a "$work/$tier.log"
    fi
    count "$tier" "$status"
    seconds $(($(now) - began)) >"$work/$tier.seconds"
done

left=$(leftovers)
if [[ -n $left ]]; then
    tiers+=(leftovers)
    echo - >"$work/leftovers.seconds"
    : >"$work/leftovers.reasons"
    echo '1 0 1 0' >"$work/leftovers.count"
    printf 'left behind: %s\n' "${left//$'\n'/$'\n'left behind: }"
fi
report
