"""Durable append against its floor, in one run: `python bench/append.py [DIRECTORY]`.

Floor: the same bytes appended to a plain file with write and `fdatasync`. The rounds of floor and
subject alternate, so that both meet the same disk. Prints microseconds.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import anyio

from agp.contracts.base import CallId, Digest, RuleId, SessionId
from agp.contracts.journal import CallDecided
from agp.contracts.policy import Decision, Grade, Tier
from agp.journal.commit import GroupCommit
from agp.journal.keys import Signer, generate_seed
from agp.journal.line import Draft, timestamp
from agp.journal.writer import JournalWriter

ROUNDS = 10
EACH = 100
WRITERS = 64
PAYLOAD = CallDecided(
    session_id=SessionId("s-0123456789ab"),
    call_id=CallId("c-0123456789abcdef"),
    tool_use_id="toolu_01",
    tool="Bash",
    cwd="/home/ada/sums",
    decision=Decision.ALLOW,
    rule_id=RuleId("git-reads"),
    tier=Tier.DEFAULT,
    reason="reading the repository's state is free",
    effects=("exec(git status)",),
    grade=Grade.SHARED,
    policy_digest=Digest("ab" * 32),
    commitment=Digest("cd" * 32),
    arguments='{"command":"git status"}',
)


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def floor(file: int, data: bytes) -> list[float]:
    taken = []
    for _ in range(EACH):
        began = time.perf_counter()
        os.write(file, data)
        os.fdatasync(file)
        taken.append((time.perf_counter() - began) * 1e6)
    return taken


def inline(writer: JournalWriter, clock: WallClock) -> list[float]:
    taken = []
    for _ in range(EACH):
        began = time.perf_counter()
        writer.append([Draft(PAYLOAD, "agp", timestamp(clock.now()))])
        taken.append((time.perf_counter() - began) * 1e6)
    return taken


async def threaded(journal: GroupCommit) -> list[float]:
    taken = []
    for _ in range(EACH):
        began = time.perf_counter()
        await journal.append(PAYLOAD, actor="agp")
        taken.append((time.perf_counter() - began) * 1e6)
    return taken


async def crowd(journal: GroupCommit) -> float:
    """Lines a second with many callers."""

    async def one() -> None:
        for _ in range(EACH):
            await journal.append(PAYLOAD, actor="agp")

    began = time.perf_counter()
    async with anyio.create_task_group() as callers:
        for _ in range(WRITERS):
            callers.start_soon(one)
    return WRITERS * EACH / (time.perf_counter() - began)


def say(name: str, taken: list[float], base: float) -> None:
    p50 = statistics.median(taken)
    p99 = statistics.quantiles(taken, n=100)[98]
    print(f"{name:28} p50 {p50:7.0f}  p99 {p99:7.0f}  {p50 / base:5.2f} x floor")


async def measure(directory: Path) -> None:
    clock = WallClock()
    signer = Signer(generate_seed(), "bench.example/journal")
    writer = JournalWriter.open(directory, signer, origin=signer.name, clock=clock)
    (line,) = writer.append([Draft(PAYLOAD, "agp", timestamp(clock.now()))])
    data = line.raw + b"\n"  # type: ignore[union-attr]
    file = os.open(directory / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    journal = GroupCommit(writer, clock)
    floors: list[float] = []
    inlined: list[float] = []
    through: list[float] = []
    async with anyio.create_task_group() as tasks:
        await tasks.start(journal.run)
        for _ in range(ROUNDS):
            floors += floor(file, data)
            inlined += inline(writer, clock)
            through += await threaded(journal)
        rate = await crowd(journal)
        tasks.cancel_scope.cancel()
    os.close(file)
    writer.close()
    base = statistics.median(floors)
    print(f"{len(data)} bytes a line, {ROUNDS * EACH} each")
    say("append + fdatasync (floor)", floors, base)
    say("inline, signed", inlined, base)
    say("through the commit thread", through, base)
    print(f"{WRITERS} callers: {rate:.0f} signed, durable lines a second")


def main() -> None:
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=given) as directory:
        anyio.run(measure, Path(directory))


if __name__ == "__main__":
    main()
