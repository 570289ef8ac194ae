"""A handed-over call, from the shim's start to its end, against the same command in a bare view.

The floor, in the same run: bubblewrap with the same mounts, started the same way, running the same
shell command. Above it lie the shim, the watch inside the view, the frames and the launcher. What
the daemon adds (two durable lines) is in `decision.py` and `append.py`. Run it with the interpreter
of the development venv, as root for a repository of uid 4001 or as an ordinary user:

    python bench/callview.py [rounds]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agp.contracts.gateway import ControlOp
from agp.daemon.call_desk import SOCKET_NAME, CallDesk
from agp.daemon.messages import StartedCall, write_value
from agp.sandbox.call_view import CallSeats, build_call_view
from agp.sandbox.host import RunAs, run_as
from agp.sandbox.places import PlacesPlan, create, plan_places, remove_created
from agp.sandbox.spawn import opened
from agp.sandbox.view import prepare_home, prepare_tmp

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "echo done"


class Granting:
    """A lease whose daemon grants everything at once."""

    def __init__(self, ask: Path, workspace: str) -> None:
        self.session = SimpleNamespace(ask_directory=str(ask), session_id="s-0123456789ab")
        self._workspace = workspace

    def claim(self) -> dict[str, str]:
        return {"session_id": "s-0123456789ab", "secret": "0" * 64}

    async def ask(self, op: ControlOp, args: Any) -> dict[str, Any]:
        if op is not ControlOp.CALL_START:
            return {}
        started = StartedCall(call_id=args.call_id, command=COMMAND, cwd=self._workspace)
        return write_value(started)


async def bare(seats: CallSeats, places: PlacesPlan, who: RunAs) -> float:
    spec = build_call_view(seats, places, who, argv=("true",), cwd=places.workspace)
    plain = spec.model_copy(update={"argv": ("/bin/bash", "-c", COMMAND)})
    begin = time.perf_counter()
    with opened(plain, who) as spawn:
        process = await anyio.open_process(
            spawn.argv, pass_fds=spawn.pass_fds, env=spawn.environment, stdin=subprocess.DEVNULL
        )
        await process.wait()
        taken = time.perf_counter() - begin
        await spawn.end(process)
    return taken


async def handed(ask: Path, who: RunAs) -> float:
    shim = ("/usr/bin/python3", "-I", "-S", str(ROOT / "hooks/agp-call"))
    words = (*shim, str(ask / SOCKET_NAME), "call", "c-0123456789abcdef")
    begin = time.perf_counter()
    process = await anyio.open_process(
        ("sh", "-c", 'exec "$@" 3>/dev/null', "sh", *words),
        user=who.uid if who.staged else None,
        stdin=subprocess.DEVNULL,
    )
    await process.wait()
    taken = time.perf_counter() - begin
    assert process.returncode == 0, process.returncode
    return taken


def lay_out(place: Path) -> tuple[Path, Path]:
    place.chmod(0o755)
    repo, ask = place / "repo", place / "ask"
    for made in (repo, ask):
        made.mkdir(mode=0o755)
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "4001:4001", str(repo)], check=True)
    return repo, ask


async def main(rounds: int, place: Path) -> None:
    repo, ask = lay_out(place)
    who = run_as(str(repo))
    prepare_home(place / "call-home", who)
    prepare_tmp(place / "tmp", who)
    places = plan_places(str(repo))
    create(places)
    seats = CallSeats(
        agp_home="/nonexistent/agp",
        call_home=str(place / "call-home"),
        session_tmp=str(place / "tmp"),
        forwarder=b"",
    )
    lease: Any = Granting(ask, str(repo))
    desk = CallDesk(lease, seats, places, who, ())
    raw: list[float] = []
    through: list[float] = []
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(desk.serve)
            for _ in range(rounds):  # alternating: a busy machine slows both
                raw.append(await bare(seats, places, who))
                through.append(await handed(ask, who))
            tasks.cancel_scope.cancel()
    finally:
        remove_created(places)
    floor, whole = statistics.median(raw), statistics.median(through)
    print(f"bare view        p50 {floor * 1000:6.1f} ms")
    print(f"handed-over call p50 {whole * 1000:6.1f} ms")
    print(f"ratio            {whole / floor:6.2f}   overhead {(whole - floor) * 1000:.1f} ms")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="agp-bench-", dir="/tmp") as made:
        anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 30, Path(made))
