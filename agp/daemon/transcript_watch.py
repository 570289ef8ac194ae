"""Following what a harness writes about itself below its HOME, while it runs and at its end.

Everything there was written by an untrusted user: directories are opened one by one without
following links, only that user's plain files are read, a pipe is opened without waiting, and what
is read and remembered is bounded. Blocking; call it from a worker thread.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from agp.intendants.claude_code.transcript import TRANSCRIPTS, Told, read_entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_BYTES: Final = 512 * 1024 * 1024
"""Read in one session; what comes after is not looked at any more."""
LONGEST_LINE: Final = 16 * 1024 * 1024
"""Bytes; a longer line is passed over."""
MOST_KEPT: Final = 200_000
"""Names that are remembered."""
_MOST_FILES: Final = 1024
_DEEPEST: Final = 4
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Place(NamedTuple):
    device: int
    inode: int


class TranscriptWatch:
    """What one session's transcripts have told so far; what was there before it does not count."""

    def __init__(self, home: Path, view_uid: int) -> None:
        self._home = home
        self._uid = view_uid
        self._read_to: dict[_Place, int] = {}
        self._unfinished: dict[_Place, int] = {}
        """The size of a file whose last line was being written; it is read again once it grew."""
        self._left = MOST_BYTES
        self._known: set[bytes] = set()
        self.tools: dict[str, str] = {}
        """Each call that the model asked for, and its tool."""
        self.executed: dict[str, None] = {}
        """The calls that have a result and were not refused."""
        for _ in self.look():
            """What a conversation that goes on brought along is not of this session."""
        self._before = frozenset(self.executed)

    def look(self) -> tuple[str, ...]:
        """Read what was added since; give the `!commands` that a person typed in it, in order."""
        shells: list[str] = []
        for line in self._lines():
            for told in read_entry(line):
                self._take(told)
                if told.shell and self._is_new(line):
                    shells.append(told.shell)
        return tuple(shells)

    def executed_here(self) -> tuple[tuple[str, str], ...]:
        """Name each call that was executed in this session, with its tool."""
        mine = (name for name in self.executed if name not in self._before)
        return tuple((name, self.tools.get(name, "")) for name in mine)

    def _take(self, told: Told) -> None:
        if told.asked is not None and len(self.tools) < MOST_KEPT:
            self.tools.setdefault(told.asked.tool_use_id, told.asked.tool)
        if told.executed and len(self.executed) < MOST_KEPT:
            self.executed.setdefault(told.executed)

    def _is_new(self, line: bytes) -> bool:
        """Tell whether this line was not read before: a file may be copied, or begun anew."""
        key = hashlib.sha256(line).digest()
        if key in self._known or len(self._known) >= MOST_KEPT:
            return False
        self._known.add(key)
        return True

    def _lines(self) -> Iterator[bytes]:
        with ExitStack() as opened:
            try:
                here = os.open(self._home, _DIRECTORY)
                opened.callback(os.close, here)
                for part in TRANSCRIPTS.split("/"):
                    here = os.open(part, _DIRECTORY, dir_fd=here)
                    opened.callback(os.close, here)
            except OSError:
                return
            yield from self._below(here)

    def _below(self, top: int) -> Iterator[bytes]:
        """Walk breadth first without following a link; each directory is open while it is read."""
        waiting: deque[tuple[str, ...]] = deque([()])
        files = 0
        while waiting and files < _MOST_FILES:
            parts = waiting.popleft()
            with ExitStack() as opened:
                try:
                    here = os.dup(top)
                    opened.callback(os.close, here)
                    for part in parts:
                        here = os.open(part, _DIRECTORY, dir_fd=here)
                        opened.callback(os.close, here)
                    names = sorted(os.listdir(here))  # noqa: PTH208 - of a descriptor
                except OSError:
                    continue
                for name in names[:_MOST_FILES]:
                    if name.endswith(".jsonl"):
                        files += 1
                        yield from self._added(here, name)
                    elif len(parts) < _DEEPEST and len(waiting) < _MOST_FILES:
                        waiting.append((*parts, name))

    def _added(self, directory: int, name: str) -> Iterator[bytes]:
        """Give the whole lines that were added to one file."""
        try:
            descriptor = os.open(name, _FILE, dir_fd=directory)
        except OSError:
            return
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or state.st_uid != self._uid:
            os.close(descriptor)
            return
        with os.fdopen(descriptor, "rb") as file:
            place = _Place(state.st_dev, state.st_ino)
            at = self._read_to.get(place, 0)
            if self._unfinished.get(place) == state.st_size:
                return
            file.seek(at if at <= state.st_size else 0)
            while self._left > 0 and (line := file.readline(LONGEST_LINE)):
                if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                    # Not charged: attack, a long line that never ends used the bound up, and
                    # whatever came later was not looked at.
                    self._unfinished[place] = state.st_size
                    return
                self._left -= len(line)
                self._read_to[place] = file.tell()
                yield line
