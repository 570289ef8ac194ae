"""Measure one hook alone: spawn, 2 KB in, a null server's 200 bytes out, exit; against bare Python.

    python bench/bridge.py [RUNS] [PYTHON]

Runs alternate, so that the machine's mood meets both. Budget (system.md §12): p50 <= 1.1x of
`python -I -S -c pass` and <= 10 ms. Prints the figures; exits 1 where the budget is missed.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

BRIDGE = Path(__file__).parents[1] / "hooks" / "agp-bridge"
BODY = b"{" + b" " * 2046 + b"}"
REPLY = b"AGP1 0 200 0\n" + b"x" * 200
RATIO, LIMIT_MS = 1.1, 10.0


def serve(listening: socket.socket) -> None:
    """Answer for ever in a process of its own; its parent ends it."""
    while True:
        connection, _ = listening.accept()
        with connection:
            data = b""
            while not data.endswith(BODY):
                data += connection.recv(65536)
            connection.sendall(REPLY)


def spawn(argv: list[str], body: str, out: str) -> float:
    """Give the milliseconds from spawn to exit of one process that must succeed."""
    files = [
        (os.POSIX_SPAWN_OPEN, 0, body, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    started = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, {}, file_actions=files)
    _, status = os.waitpid(pid, 0)
    took = (time.perf_counter() - started) * 1e3
    if status != 0:
        raise SystemExit(f"{argv} ended with {status}")
    return took


def measure(directory: Path, python: str, runs: int) -> dict[str, list[float]]:
    """Alternate both, and check the bytes that came out: a bridge that fails is fast."""
    body, out = directory / "body", directory / "out"
    body.write_bytes(BODY)
    bare = [python, "-I", "-S", "-c", "pass"]
    clocks = ["claude-code", "PreToolUse", str(directory / "s"), "30", "60"]
    bridge = [python, "-I", "-S", str(BRIDGE), *clocks]
    took: dict[str, list[float]] = {"bare": [], "bridge": []}
    for _ in range(runs):
        took["bare"].append(spawn(bare, str(body), str(out)))
        took["bridge"].append(spawn(bridge, str(body), str(out)))
        if out.read_bytes() != b"x" * 200:
            raise SystemExit("the bridge did not relay the reply")
    return took


def main() -> int:
    """Measure, print, judge."""
    given = dict(enumerate(sys.argv))
    runs, python = int(given.get(1, "300")), given.get(2, "/usr/bin/python3")
    with tempfile.TemporaryDirectory(prefix="agp-") as name:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(f"{name}/s")
        listening.listen()
        server = os.fork()
        if server == 0:
            serve(listening)
        try:
            took = measure(Path(name), python, runs)
        finally:
            os.kill(server, 15)
            os.waitpid(server, 0)
    p50 = {who: statistics.median(times) for who, times in took.items()}
    for who, times in took.items():
        p99 = statistics.quantiles(times, n=100)[98]
        print(f"{who:8} p50 {p50[who]:6.2f} ms   p99 {p99:6.2f} ms   n={runs}")
    ratio = p50["bridge"] / p50["bare"]
    print(f"ratio    {ratio:.3f} (budget {RATIO})   p50 budget {LIMIT_MS} ms   {python}")
    return 0 if ratio <= RATIO and p50["bridge"] <= LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
