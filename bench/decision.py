"""One deciding hook, from connect to the last byte of the answer: signed and durable, one client.

The floor, in the same run: the same bytes over a Unix socket to a thread that answers at once, and
an append with fdatasync to a file beside the journal. The session's rate limit (200 a second,
burst 400) bounds the number of rounds. Run it with the interpreter of the development venv:

    python bench/decision.py [rounds]
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agp.contracts.base import Digest
from agp.contracts.policy import Grade
from agp.daemon.config import Config
from agp.daemon.home import Home
from agp.daemon.lease import open_lease
from agp.daemon.messages import OpenSession

MOST = 380
FRAME = b"AGP1 claude-code %s %d\n"


def hook(event: str, workspace: str, **members: object) -> bytes:
    body = json.dumps(
        {"session_id": "bench", "cwd": workspace, "hook_event_name": event, **members}
    ).encode()
    return FRAME % (event.encode(), len(body)) + body


def ask(path: str, frame: bytes) -> tuple[float, bytes]:
    begin = time.perf_counter()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
        peer.sendall(frame)
        said = bytearray()
        while chunk := peer.recv(65536):
            said += chunk
    return time.perf_counter() - begin, bytes(said)


def read_call(workspace: str, number: int) -> bytes:
    return hook(
        "PreToolUse",
        workspace,
        tool_name="Read",
        tool_input={"file_path": f"{workspace}/README.md", "limit": number + 1},
        tool_use_id=f"toolu_{number:06d}",
    )


def floor(directory: Path, frame: bytes, rounds: int) -> list[float]:
    """A thread that reads the frame, appends 900 bytes with fdatasync, and answers."""
    path = str(directory / "floor.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    log = os.open(directory / "floor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def serve() -> None:
        for _ in range(rounds):
            peer, _ = listener.accept()
            with peer:
                left = len(frame)
                while left > 0:
                    left -= len(peer.recv(65536))
                os.write(log, b"x" * 900)
                os.fdatasync(log)
                peer.sendall(b"AGP1 0 200 0\n" + b"y" * 200)

    thread = threading.Thread(target=serve)
    thread.start()
    times = [ask(path, frame)[0] for _ in range(rounds)]
    thread.join()
    return times


async def measure(home: Home, workspace: str, rounds: int) -> list[float]:
    args = OpenSession(
        intendant="claude-code",
        intendant_version="bench",
        workspace=workspace,
        grade=Grade.SHARED,
        launch_digest=Digest("0" * 64),
        launcher_pid=os.getpid(),
        view_uid=os.getuid(),
    )
    async with open_lease(home, Config(), args) as lease:
        path = f"{lease.session.ask_directory}/ask.sock"
        run = partial(anyio.to_thread.run_sync)
        await run(ask, path, hook("SessionStart", workspace, source="startup"))
        times = []
        for number in range(rounds):
            took, said = await run(ask, path, read_call(workspace, number))
            if b'"allow"' not in said:
                raise SystemExit(f"round {number} was not allowed: {said!r}")
            times.append(took)
    return times


def show(name: str, times: list[float], floor_p50: float | None = None) -> float:
    ordered = sorted(times)
    p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99) - 1]
    ratio = "" if floor_p50 is None else f"   {p50 / floor_p50:.2f}x the floor"
    print(f"{name:34} p50 {p50 * 1e3:7.3f} ms   p99 {p99 * 1e3:7.3f} ms{ratio}")
    return p50


def main() -> None:
    rounds = min(int(sys.argv[1]) if len(sys.argv) > 1 else 300, MOST)
    with tempfile.TemporaryDirectory(prefix="agpb-", dir="/tmp") as place:
        root = Path(place)
        workspace = root / "repo"
        workspace.mkdir()
        (workspace / "README.md").write_text("hello\n")
        environment = os.environ | {"AGP_HOME": str(root / "home")}
        agp = [sys.executable, "-m", "agp"]
        subprocess.run([*agp, "init"], env=environment, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(
            [*agp, "daemon", "start"], env=environment, check=True, stdout=subprocess.DEVNULL
        )
        try:
            p50 = show("floor: round trip, append, sync", floor(root, read_call(place, 0), rounds))
            times = anyio.run(measure, Home(root / "home"), str(workspace), rounds)
            show("daemon: decided, signed, durable", times, p50)
        finally:
            subprocess.run(
                [*agp, "daemon", "stop"], env=environment, check=True, stdout=subprocess.DEVNULL
            )


if __name__ == "__main__":
    main()
