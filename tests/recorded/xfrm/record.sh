#!/bin/bash
# Records what `ip xfrm` and the kernel say to each other, on a kernel with ESP. Run it as root in a
# throw-away virtual machine (the host needs strace), then annotate.py on what it leaves in /out:
#
#   cargo test --test wire_xfrm -- --ignored print_the_steps --nocapture >STEPS
#   tests/vm/run.sh CACHE --add tests/recorded/xfrm/record.sh:/record.sh --add STEPS:/steps --out DIR -- bash /record.sh
#   tests/recorded/xfrm/annotate.py DIR
#
# The steps are lines of a name, a tab and a command; each finds what those before it made.
set -u

while IFS=$'\t' read -r name command; do
    [ -n "${command:-}" ] || continue
    strace -f -e trace=%network -e read=all -e write=all -o "/out/$name.trace" bash -c "$command" >"/out/$name.output" 2>&1
    printf '%s\n' "$command" >"/out/$name.command"
done </steps
