"""`agp run` at a screen without its daemon: holds a terminal, runs `drawing_child` on another.

Arguments: the terminal's path, a descriptor for orders, a descriptor for reports. Orders are JSON
lines: `{"show": REQUEST}`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import anyio

from agp.channels.harness_pty import HarnessPty
from agp.channels.held_tty import HeldTty
from agp.channels.overlay import OverlayPrompt
from agp.channels.pty_proxy import PtyProxy
from agp.channels.tty import Look
from agp.contracts.channel import Answer, ApprovalRequest

CHILD = Path(__file__).with_name("drawing_child.py")


class Child:
    def __init__(self, orders: int, reports: int) -> None:
        self._orders, self._reports = orders, reports
        self.prompt: OverlayPrompt

    def report(self, what: str, **more: object) -> None:
        os.write(self._reports, json.dumps({"what": what, **more}).encode() + b"\n")

    async def answer(self, answer: Answer) -> None:
        self.report("answer", verdict=answer.verdict, reason=answer.reason)

    async def main(self) -> None:
        with closing(HeldTty.open()) as tty:
            self.prompt = OverlayPrompt(
                tty,
                host="box",
                look=Look(colour=True, full_screen=True),
                now=lambda: datetime.now(UTC),
                answer=self.answer,
            )
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.prompt.run)
                tasks.start_soon(self.obey)
                await self.harness(tty)
                tasks.cancel_scope.cancel()

    async def harness(self, tty: HeldTty) -> None:
        with tty.held(), closing(HarnessPty.open(*tty.size())) as pty:
            process = await anyio.open_process(
                [sys.executable, str(CHILD)],
                stdin=pty.given, stdout=pty.given, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            pty.give()
            proxy = PtyProxy(
                tty, pty, recalled=self.prompt.recall, entered=lambda: self.report("entered")
            )
            await proxy.run()
            await process.wait()

    async def obey(self) -> None:
        buffer = b""
        while True:
            await anyio.wait_readable(self._orders)
            buffer += os.read(self._orders, 1 << 20)
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                request = ApprovalRequest.model_validate_json(json.loads(line)["show"])
                await self.prompt.show(request)


def main() -> None:
    path, orders, reports = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # A session leader without a terminal gets the first one that it opens.
    os.close(os.open(path, os.O_RDWR))
    child = Child(orders, reports)
    try:
        anyio.run(child.main)
        child.report("end", how="returned")
    except BaseException as error:  # noqa: BLE001 - whatever it was, it is what is reported
        names = [type(e).__name__ for e in getattr(error, "exceptions", (error,))]
        child.report("end", how=",".join(names))


if __name__ == "__main__":
    main()
