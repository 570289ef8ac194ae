"""What a preflight runs twice: outside as the control, inside as the proof. Standard library only.

    python3 -I -S -c SOURCE TOKEN PLAN

PLAN is a JSON object written by `agp.sandbox.preflight`; each attempt carries TOKEN to a listener,
whose own log is what counts. What is printed (one JSON object) judges only what no listener can
see: this process's own state.
"""

# This file's text runs as `-c`, in a view that does not have AGP's code.
from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 0.3
AF_VSOCK = 40


def _internet(kind: int, address: str, port: int, token: bytes) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as attempt:
        attempt.settimeout(TIMEOUT_S)
        attempt.connect((address, port))
        attempt.send(token)
    return "sent"


def _unix(address: str, token: bytes) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
        attempt.settimeout(TIMEOUT_S)
        attempt.connect(address)
        attempt.send(token)
    return "sent"


def _write(directory: str, token: bytes) -> str:
    os.makedirs(directory, exist_ok=True)  # noqa: PTH103 - pathlib costs 10 ms
    with open(f"{directory}/{token.decode()}", "wb") as file:  # noqa: PTH123 - likewise
        file.write(token)
    return "sent"


def _vsock() -> str:
    socket.socket(AF_VSOCK, socket.SOCK_STREAM).close()
    return "made"


def _status() -> dict[str, str]:
    with open("/proc/self/status") as file:  # noqa: PTH123 - likewise
        lines = [line.rstrip("\n").split(":\t", 1) for line in file]
    return {line[0]: line[1] for line in lines if len(line) == 2}  # noqa: PLR2004 - name, value


def _sees(marker: str) -> bool:
    for name in os.listdir("/proc"):  # noqa: PTH208 - likewise
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - likewise
                # Field 22, the start time in ticks since boot, is the same in every PID namespace.
                fields = file.read().rpartition(b")")[2].split()
                if fields[19].decode() == marker:
                    return True
    return False


def _said(attempt: Callable[..., str], *arguments: Any) -> str:
    try:
        return attempt(*arguments)
    except OSError as error:
        return f"errno {error.errno}"


def main(token: bytes, plan: dict[str, Any]) -> None:
    """Make every attempt of the plan and say what happened."""
    said: dict[str, Any] = {}
    for name, address, port in plan["tcp"]:
        said[name] = _said(_internet, socket.SOCK_STREAM, address, port, token)
    for name, address, port in plan["udp"]:
        said[name] = _said(_internet, socket.SOCK_DGRAM, address, port, token)
    for name, address in plan["unix"]:
        said[name] = _said(_unix, address.replace("@", "\0", 1), token)
    for name, directory in plan["write"]:
        said[name] = _said(_write, directory, token)
    said["vsock"] = _said(_vsock)
    said["status"] = _status()
    said["sees"] = _sees(plan["marker"])
    said["done"] = True
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1].encode(), json.loads(sys.argv[2]))
