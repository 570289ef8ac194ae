"""A person at a pseudo-terminal with a strict screen, and a process of AGP's at the other end."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

from agp.contracts.channel import ApprovalRequest
from tests.fakes.screen import Screen

REPOSITORY = Path(__file__).parents[2]
DEADLINE_S = 20.0


class Operator:
    """A person's end of a pseudo-terminal, with the prompt's process at the other."""

    def __init__(
        self,
        child: str = "tests.fakes.prompt_child",
        *,
        columns: int = 80,
        rows: int = 24,
        **environment: str,
    ) -> None:
        self.master, self.slave = pty.openpty()
        self.screen = Screen(columns, rows)
        self.raw = b""
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.slave)
        orders, self._orders = os.pipe()
        self._reports, reports = os.pipe()
        self._lines: list[dict[str, str]] = []
        self._buffer = b""
        self._silent = False
        self.child = subprocess.Popen(
            [sys.executable, "-m", child, os.ttyname(self.slave),
             str(orders), str(reports)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            pass_fds=(orders, reports),
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin", "TERM": "xterm-256color"} | environment,
        )  # fmt: skip
        os.close(orders)
        os.close(reports)

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait(DEADLINE_S)
        if self.child.stdin is not None:
            self.child.stdin.close()
        for descriptor in (self.master, self.slave, self._orders, self._reports):
            if descriptor >= 0:
                os.close(descriptor)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.columns, self.screen.height = columns, rows

    def order(self, **order: str) -> None:
        os.write(self._orders, json.dumps(order).encode() + b"\n")

    def show(self, shown: ApprovalRequest) -> None:
        self.order(show=shown.model_dump_json())

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, true: Callable[[], object], what: str) -> None:
        """Watch the terminal and the reports until something is true."""
        end = time.monotonic() + DEADLINE_S
        while not true():
            left = end - time.monotonic()
            assert left > 0, f"never: {what}\n{self.screen.text()}\n{self.screen.main}"
            watched = [self.master, *([] if self._silent else [self._reports])]
            for descriptor in select.select(watched, [], [], left)[0]:
                self._take(descriptor)

    def _take(self, descriptor: int) -> None:
        data = os.read(descriptor, 65536)
        if descriptor == self.master:
            self.raw += data
            self.screen.feed(data)
            return
        self._silent = not data
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        self._lines += [json.loads(line) for line in lines]

    def sees(self, text: str) -> None:
        self.until(lambda: text in self.screen.text(), f"to see {text!r}")

    def report(self, what: str) -> dict[str, str]:
        """Take the next report of one kind."""
        self.until(lambda: self.reported(what) or self._silent, f"report {what}")
        assert self.reported(what), f"the child ended without the report {what}"
        at = next(i for i, line in enumerate(self._lines) if line["what"] == what)
        return self._lines.pop(at)

    def reported(self, what: str) -> bool:
        return any(line["what"] == what for line in self._lines)

    def asked(self, shown: ApprovalRequest) -> None:
        """Show a question and wait until it takes keys: it is drawn again after the discarding."""
        self.show(shown)
        self.takes_keys()

    def takes_keys(self) -> None:
        self.until(lambda: self.screen.modes["alternate"], "the alternate screen")
        drawn = self.screen.draws
        self.until(lambda: self.screen.draws >= max(2, drawn + 1), "the second drawing")

    def asked_again(self) -> None:
        """Wait until a question that came back takes keys."""
        self.sees("AGP asks")
        drawn = self.screen.draws
        self.until(lambda: self.screen.draws > drawn, "another drawing")

    def drain(self) -> None:
        """Take what was still written to the terminal."""
        while select.select([self.master], [], [], 0.2)[0]:
            self._take(self.master)

    def gone(self) -> None:
        self.until(lambda: not self.screen.modes["alternate"], "the screen given back")

    def assert_given_back(self) -> None:
        assert termios.tcgetattr(self.slave) == self.before
        assert self.screen.modes == {
            "alternate": False, "bracketed_paste": False, "wrap": True, "cursor": True
        }  # fmt: skip
