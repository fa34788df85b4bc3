#!/usr/bin/env python3
"""Records what `nft` and the kernel say to each other about swarmlb's table, one file for each step.

    sudo ./record.py STEPS

STEPS has one step a line: a name, a tab, and commands for `nft -f -`, or `list` to read the table back.
`cargo test --test wire_nft -- --ignored print_the_steps --nocapture` prints it. Each step is done in one
and the same new network namespace, so it finds what those before it made. Needs root and strace.

A line that begins with `>` opens a message to the kernel, one with `<` a message from it; text behind `#`
is comment. The recordings are of a little-endian machine.
"""

import ctypes
import os
import pathlib
import re
import struct
import subprocess
import sys

CLONE_NEWNET = 0x40000000
NAMES = dict(enumerate("NEWTABLE GETTABLE DELTABLE NEWCHAIN GETCHAIN DELCHAIN NEWRULE GETRULE DELRULE NEWSET GETSET DELSET "
                       "NEWSETELEM GETSETELEM DELSETELEM NEWGEN GETGEN".split()))
NAMES.update({21: "GETOBJ", 25: "GETFLOWTABLE"})
# nft asks for these only to fill its cache, and for what there is before it changes anything; swarmlb never does.
LEFT_OUT = ("NEWGEN", "GETGEN", "GETOBJ", "GETFLOWTABLE")


def name(kind):
    if kind >> 8 == 10:
        return NAMES.get(kind & 0xFF, f"message {kind & 0xff}")
    return {2: "ACKNOWLEDGEMENT", 3: "DONE", 16: "BEGIN", 17: "END"}.get(kind, f"type {kind:#x}")


def datagrams(trace):
    """What went over the socket, with its direction: the hexadecimal dumps that strace prints behind calls."""
    direction, data = None, b""
    for line in trace.splitlines():
        dumped = re.match(r" \| [0-9a-f]{5,}  ((?:[0-9a-f]{2} {1,2}){1,16})", line)
        if dumped:
            data += bytes.fromhex(dumped.group(1))
            continue
        called = re.match(r"(?:\d+ +)?(sendto|sendmsg|recvfrom|recvmsg)\(", line)
        if called:
            if data:
                yield direction, data
            direction, data = ">" if called.group(1).startswith("send") else "<", b""
    if data:
        yield direction, data


def messages(data):
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        yield kind, data[:length]
        data = data[(length + 3) & ~3:]


def annotated(step, text, trace):
    yield f"# {text}"
    begun = False
    for direction, data in datagrams(trace):
        for kind, message in messages(data):
            begun = begun or kind == 16 or text == "list"
            if name(kind) in LEFT_OUT or not begun:
                continue
            yield ""
            yield f"{direction} {message[:16].hex(' ')}  # {name(kind)}"
            for at in range(16, len(message), 16):
                line = message[at:at + 16]
                words = "".join(chr(c) if 32 < c < 127 and chr(c) != "#" else "." for c in line)
                yield f"  {line.hex(' '):47}  # {words}"


def main():
    directory = pathlib.Path(__file__).parent
    steps = [line.split("\t") for line in open(sys.argv[1]).read().splitlines() if "\t" in line]
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for step, text in steps:
        words = ["nft", "list", "table", "ip", "swarmlb"] if text == "list" else ["nft", "-f", "-"]
        traced = ["strace", "-e", "trace=sendto,sendmsg,recvfrom,recvmsg", "-e", "write=all", "-e", "read=all", "-o", "/dev/fd/9"]
        reader, writer = os.pipe()
        os.dup2(writer, 9)
        os.close(writer)
        child = subprocess.Popen(traced + words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 pass_fds=[9])
        os.close(9)
        child.stdin.write(text.encode())
        child.stdin.close()
        trace = open(reader).read()
        child.wait()
        lines = list(annotated(step, text, trace)) + [f"\n# exit status {child.returncode}"]
        (directory / f"{step}.hex").write_text("\n".join(lines) + "\n")
        print(f"{step}: {len(lines)} lines, exit status {child.returncode}")


main()
