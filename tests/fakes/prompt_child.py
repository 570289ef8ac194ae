"""A process with a terminal of its own, as `agp run` is: shows prompts, reports what was said.

Arguments: the terminal's path, a descriptor for orders, a descriptor for reports. Orders are JSON
lines: `{"show": REQUEST}`, `{"say": TEXT}`, `{"refuse": REASON}`, `{"end": "cancel" | "crash"}`.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime

import anyio

from agp.channels.terminal import TerminalPrompt
from agp.channels.tty import Look, Tty
from agp.contracts.channel import Answer, ApprovalRequest
from agp.errors import AgpError, Refusal


class Child:
    def __init__(self, orders: int, reports: int) -> None:
        self._orders, self._reports = orders, reports
        self._refusal = ""

    def report(self, what: str, **more: object) -> None:
        os.write(self._reports, json.dumps({"what": what, **more}).encode() + b"\n")

    async def answer(self, answer: Answer) -> None:
        if self._refusal:
            reason, self._refusal = self._refusal, ""
            raise Refusal("the answer does not count", why=reason)
        self.report("answer", verdict=answer.verdict, reason=answer.reason,
                    id=answer.approval_id, binding=answer.binding_digest)  # fmt: skip

    async def main(self) -> None:
        look = Look.from_environment(os.environ)
        prompt = TerminalPrompt(
            Tty.open(), host="box", look=look, now=lambda: datetime.now(UTC), answer=self.answer
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(prompt.run)
            self.report("ready")
            await self.obey(prompt)
            tasks.cancel_scope.cancel()

    async def obey(self, prompt: TerminalPrompt) -> None:
        buffer = b""
        while True:
            await anyio.wait_readable(self._orders)
            buffer += os.read(self._orders, 1 << 20)
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                order = json.loads(line)
                if "show" in order:
                    await prompt.show(ApprovalRequest.model_validate_json(order["show"]))
                elif "say" in order:
                    prompt.say(order["say"])
                elif "refuse" in order:
                    self._refusal = order["refuse"]
                elif order["end"] == "crash":
                    raise RuntimeError("planted")
                else:
                    return


def main() -> None:
    path, orders, reports = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # A session leader without a terminal gets the first one that it opens.
    os.close(os.open(path, os.O_RDWR))
    child = Child(orders, reports)
    try:
        anyio.run(child.main)
        child.report("end", how="returned")
    except KeyboardInterrupt:
        child.report("end", how="KeyboardInterrupt")
    except BaseExceptionGroup as group:
        names = [_name(error) for error in group.exceptions]
        child.report("end", how=",".join(names))


def _name(error: BaseException) -> str:
    return error.code if isinstance(error, AgpError) else type(error).__name__


if __name__ == "__main__":
    main()
