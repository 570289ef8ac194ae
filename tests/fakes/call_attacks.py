"""Attacks from inside a call's view, as a program: `python3 call_attacks.py WAYS OUT`.

WAYS is JSON, a list of [name, way, arguments]; OUT gets {name: what was reached, or ""}. The same
program runs in the harness's own view, or outside, as the positive control. Standard library only.
"""

from __future__ import annotations

import glob
import json
import os
import socket
import sys
from pathlib import Path


def reads(*patterns: str) -> str:
    """Read the first file that a pattern names."""
    for pattern in patterns:
        for path in glob.glob(pattern):  # noqa: PTH207 - patterns are absolute
            with open(path, "rb") as file:  # noqa: PTH123 - what an attacker writes
                return f"{path}: {file.read(40)!r}"
    return ""


def environ(needle: str) -> str:
    """Find a text in the environment of any process that can be looked at."""
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if needle.encode() in entry.read_bytes():
                return str(entry)
        except OSError:
            continue
    return ""


def memory(program: str) -> str:
    """Open the memory of a process whose command line names a program."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
            if program.encode() in words.split(b"\0")[0] and int(entry.name) != os.getpid():
                os.close(os.open(entry / "mem", os.O_RDWR))
                return entry.name
        except OSError:
            continue
    return ""


def descriptors(program: str) -> str:
    """List the open files of a process whose command line names a program."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if program.encode() in (entry / "cmdline").read_bytes().split(b"\0")[0]:
                return ", ".join(str(one.readlink()) for one in (entry / "fd").iterdir())
        except OSError:
            continue
    return ""


def process(needle: str) -> str:
    """Find a process by a text on its command line."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if needle.encode() in entry.read_bytes() and str(os.getpid()) not in entry.parts:
                return str(entry)
        except OSError:
            continue
    return ""


def unix(*patterns: str) -> str:
    """Connect to a Unix socket."""
    for pattern in patterns:
        for path in glob.glob(pattern):  # noqa: PTH207 - likewise
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(path)
                return path
    return ""


def tcp(host: str, port: int) -> str:
    """Connect to an address."""
    with socket.create_connection((host, port), timeout=3):
        return f"{host}:{port}"


def writes(path: str) -> str:
    """Write a file that must not change."""
    with open(path, "ab") as file:  # noqa: PTH123 - what an attacker writes
        file.write(b"#")
    return path


def exists(path: str) -> str:
    """See whether something is there at all."""
    return path if os.path.lexists(path) else ""


def inherited(least: int) -> str:
    """Find an open descriptor that nobody of this view opened; its own report may be one."""
    kept = [n for n in range(least, 1024) if n != 709 and os.path.exists(f"/proc/self/fd/{n}")]  # noqa: PTH110
    return ",".join(os.readlink(f"/proc/self/fd/{n}") for n in kept)  # noqa: PTH115


WAYS = {
    each.__name__: each
    for each in (
        reads, environ, memory, descriptors, process, unix, tcp, writes, exists, inherited,
    )
}  # fmt: skip


def main(ways: str, out: str) -> None:
    """Try each; an exception is a way that is closed."""
    said = {}
    for name, way, arguments in json.loads(Path(ways).read_text()):
        try:
            said[name] = WAYS[way](*arguments)
        except OSError as error:
            said[name] = ""
            sys.stderr.write(f"{name}: {error}\n")
    Path(out).write_text(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:3])
