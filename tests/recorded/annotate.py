#!/usr/bin/env python3
"""Turns the captures that record.sh leaves into annotated hex, one file for each command.

    annotate.py CAPTURES RECORDED

A line that begins with `>` opens a datagram to the kernel, one with `<` a datagram from it. Text
behind `#` is comment. One attribute is on one line, indented by its depth.
"""

import pathlib
import struct
import sys

# All other files leave out how ipvsadm asks for the family's number and the version.
WITH_PREAMBLE = "info-and-list-of-none"

COMMANDS = ("UNSPEC NEW_SERVICE SET_SERVICE DEL_SERVICE GET_SERVICE NEW_DEST SET_DEST DEL_DEST GET_DEST NEW_DAEMON "
            "DEL_DAEMON GET_DAEMON SET_CONFIG GET_CONFIG SET_INFO GET_INFO ZERO FLUSH").split()
STATS = {i: (n, None) for i, n in enumerate(
    "UNSPEC CONNS INPKTS OUTPKTS INBYTES OUTBYTES CPS INPPS OUTPPS INBPS OUTBPS PAD".split())}
SERVICE = {i: (n, STATS if n.startswith("STATS") else None) for i, n in enumerate(
    "UNSPEC AF PROTOCOL ADDR PORT FWMARK SCHED_NAME FLAGS TIMEOUT NETMASK STATS PE_NAME STATS64".split())}
DEST = {i: (n, STATS if n.startswith("STATS") else None) for i, n in enumerate(
    "UNSPEC ADDR PORT FWD_METHOD WEIGHT U_THRESH L_THRESH ACTIVE_CONNS INACT_CONNS PERSIST_CONNS STATS ADDR_FAMILY "
    "STATS64 TUN_TYPE TUN_PORT TUN_FLAGS".split())}
COMMAND = {1: ("SERVICE", SERVICE), 2: ("DEST", DEST), 3: ("DAEMON", None), 4: ("TIMEOUT_TCP", None),
           5: ("TIMEOUT_TCP_FIN", None), 6: ("TIMEOUT_UDP", None)}
INFO = {1: ("VERSION", None), 2: ("CONN_TAB_SIZE", None)}
CONTROL = {1: ("FAMILY_ID", None), 2: ("FAMILY_NAME", None), 3: ("VERSION", None), 4: ("HDRSIZE", None),
           5: ("MAXATTR", None), 6: ("OPS", None), 7: ("MCAST_GROUPS", None)}


def spaced(data):
    return data.hex(" ")


def attributes(data, names, depth):
    while data:
        length, number = struct.unpack_from("=HH", data)
        whole = data[:(length + 3) & ~3]
        data = data[len(whole):]
        name, inside = names.get(number & 0x3FFF, (f"attribute {number & 0x3fff}", None))
        indent = "  " * depth
        if inside is None:
            yield f"{indent}{spaced(whole)}  # {name}"
        else:
            yield f"{indent}{spaced(whole[:4])}  # {name}"
            yield from attributes(whole[4:], inside, depth + 1)


def message(data, direction):
    length, kind, flags, sequence, port = struct.unpack_from("=IHHII", data)
    yield f"{direction} {spaced(data[:16])}  # type {kind:#x} flags {flags:#x} sequence {sequence}"
    body = data[16:]
    if kind == 2:
        errno = -struct.unpack_from("=i", body)[0]
        yield f"  {spaced(body[:4])}  # errno {errno}"
        yield f"  {spaced(body[4:])}  # the request that it is about, and what is behind it"
    elif kind == 3:
        yield f"  {spaced(body)}  # done, errno {-struct.unpack_from('=i', body)[0]}"
    elif kind == 0x10:
        yield f"  {spaced(body[:4])}  # control command {body[0]}"
        yield from attributes(body[4:], CONTROL, 1)
    else:
        name = COMMANDS[body[0]] if body[0] < len(COMMANDS) else body[0]
        yield f"  {spaced(body[:4])}  # {name} version {body[1]}"
        yield from attributes(body[4:], INFO if name == "SET_INFO" else COMMAND, 1)


def datagrams(capture):
    order = "<" if struct.unpack_from("<I", capture)[0] in (0xA1B2C3D4, 0xA1B23C4D) else ">"
    at = 24
    while at < len(capture):
        length = struct.unpack_from(order + "IIII", capture, at)[2]
        packet = capture[at + 16:at + 16 + length]
        at += 16 + length
        # The cooked header ends with the netlink family. Its packet type is of no use: nlmon says the
        # same of both directions. A request says of itself that it is one.
        protocol, = struct.unpack_from(">H", packet, 14)
        data = packet[16:]
        if protocol == 16:
            flags, = struct.unpack_from("=H", data, 6)
            yield (">" if flags & 1 else "<"), data


def exchange(data):
    """What a request and all answers to it have in common."""
    return struct.unpack_from("=II", data, 8)


def kind(data):
    return struct.unpack_from("=H", data, 4)[0]


def is_preamble(data):
    """ipvsadm asks for the family's number on each new socket, and for the version once."""
    flags, = struct.unpack_from("=H", data, 6)
    return flags & 1 and (kind(data) == 0x10 or data[16] == 15)


def main():
    captures, recorded = map(pathlib.Path, sys.argv[1:3])
    for path in sorted(captures.glob("*.pcap")):
        command, status = path.with_suffix(".command").read_text().splitlines()
        lines = [f"# {command}", f"# exit status {status}"]
        output = path.with_suffix(".output").read_text().splitlines()
        lines += [f"#   {line}".rstrip() for line in output]
        preamble = set()
        for direction, data in datagrams(path.read_bytes()):
            if is_preamble(data) and path.stem != WITH_PREAMBLE:
                preamble.add(exchange(data))
            if exchange(data) in preamble or (kind(data) == 0x10 and path.stem != WITH_PREAMBLE):
                continue
            lines.append("")
            first = True
            while len(data) >= 16:
                length = (struct.unpack_from("=I", data)[0] + 3) & ~3
                lines += message(data[:length], direction if first else " ")
                data, first = data[length:], False
        (recorded / f"{path.stem}.hex").write_text("\n".join(lines) + "\n")


main()
