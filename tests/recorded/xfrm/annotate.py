#!/usr/bin/env python3
"""Makes of the traces that record.sh left in a directory one annotated file for each step, beside itself.

A line that begins with `>` opens a message to the kernel, one with `<` a message from it; text behind `#`
is comment. The recordings are of a little-endian machine.
"""

import pathlib
import re
import struct
import sys

NAMES = {2: "ACKNOWLEDGEMENT", 3: "DONE", 16: "NEWSA", 17: "DELSA", 18: "GETSA", 19: "NEWPOLICY", 20: "DELPOLICY",
         21: "GETPOLICY", 25: "UPDPOLICY"}


def datagrams(trace):
    """What went over the socket, with its direction: the hexadecimal dumps that strace prints behind calls."""
    direction, data = None, b""
    for line in trace.splitlines():
        dumped = re.match(r"(?:\d+ +)? ?\| [0-9a-f]{5,}  ((?:[0-9a-f]{2} {1,2}){1,16})", line)
        if dumped:
            data += bytes.fromhex(dumped.group(1))
            continue
        called = re.match(r"(?:\d+ +)?(sendto|sendmsg|recvfrom|recvmsg)\(", line)
        if called:
            if data:
                yield direction, data
            # `ip` looks how long an answer is before it takes it.
            direction = ">" if called.group(1).startswith("send") else "" if "MSG_PEEK" in line else "<"
            data = b""
    if data:
        yield direction, data


def messages(data):
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        yield kind, data[:length]
        data = data[(length + 3) & ~3:]


def annotated(command, trace):
    yield f"# {command}"
    for direction, data in datagrams(trace):
        for kind, message in messages(data) if direction else ():
            yield ""
            yield f"{direction} {message[:16].hex(' ')}  # {NAMES.get(kind, f'type {kind:#x}')}"
            for at in range(16, len(message), 16):
                line = message[at:at + 16]
                words = "".join(chr(c) if 32 < c < 127 and chr(c) != "#" else "." for c in line)
                yield f"  {line.hex(' '):47}  # {words}"


def main():
    here, traces = pathlib.Path(__file__).parent, pathlib.Path(sys.argv[1])
    for trace in sorted(traces.glob("*.trace")):
        command = trace.with_suffix(".command").read_text().strip()
        lines = annotated(command, trace.read_text())
        (here / f"{trace.stem}.hex").write_text("\n".join(lines) + "\n")


main()
