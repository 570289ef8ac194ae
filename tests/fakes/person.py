"""A person at a terminal: one under tmux, whose screen can be looked at, and one that keeps bytes.

Each has a server or a pseudo-terminal of its own and is ended by its own pid.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.agp_house import DEADLINE_S, House, Late

_TICK_S = 0.05
_READING_S = 0.8
"""What is typed within half a second after a question was drawn does not count."""
_PASSING = re.compile(r"◐ medium · /effort$|\b\d+s\b")
"""What changes by itself: a hint that the harness shows for a while, seconds that pass."""
_ENDED = re.compile(r"^ended (\d+)$", re.MULTILINE)
READY = "manual mode on"
"""The last row of the harness's own screen, once it waits for a prompt."""
ASKS = "AGP asks"


def words(house: House, url: str, *more: str) -> list[str]:
    """Spell `agp run` at the harness's own screen."""
    return [
        sys.executable, "-m", "agp", "run", "--repo", str(house.repo), "--model-url", url,
        "--pass-env", "ANTHROPIC_API_KEY", *more,
    ]  # fmt: skip


class Tmux:
    """One person at one tmux window; `captures` collects what was looked at."""

    def __init__(self, house: House, *, columns: int = 100, rows: int = 32) -> None:
        self.house = house
        self.socket = house.place / "tmux"
        self.captures: list[tuple[str, str]] = []
        env = {**house.env, "TERM": "xterm-256color"}
        self._run_env = env
        self._do("new-session", "-d", "-x", str(columns), "-y", str(rows), "sh")
        self._do("set-option", "-g", "status", "off")
        self._do("set-option", "-g", "history-limit", "5000")
        self.server = int(self._do("display-message", "-p", "#{pid}"))

    def _do(self, *command: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self.socket), "-f", "/dev/null", *command],
            env=self._run_env, capture_output=True, text=True, timeout=DEADLINE_S, check=True,
            cwd=self.house.place,
        )  # fmt: skip
        return done.stdout.rstrip("\n")

    def start(self, command: list[str]) -> None:
        """Run a command in the window's shell; its terminal's modes are kept before and after."""
        script = self.house.place / "run.sh"
        script.write_text(
            f"stty -g > modes-before; clear; {shlex.join(command)}; code=$?\n"
            'stty -g > modes-after; echo "ended $code"\n'
        )
        self._do("send-keys", "-l", "PS1= ; . ./run.sh")
        self._do("send-keys", "Enter")

    def type(self, text: str, *keys: str) -> None:
        """Type text as it is, then press the named keys."""
        if text:
            self._do("send-keys", "-l", text)
        if keys:
            self._do("send-keys", *keys)

    def paste(self, text: str) -> None:
        """Paste a text between its marks."""
        self._do("set-buffer", "--", text)
        self._do("paste-buffer", "-p")

    def screen(self) -> str:
        """Give what is on the screen, blanks at the ends of rows left away."""
        return self._do("capture-pane", "-p")

    def exactly(self) -> str:
        """Give the screen, and where the cursor is and whether it shows."""
        cursor = self._do("display-message", "-p", "#{cursor_x},#{cursor_y},#{cursor_flag}")
        rows = [_PASSING.sub("", row).rstrip() for row in self.screen().split("\n")]
        return "\n".join((*rows, cursor))

    def keep(self, name: str) -> str:
        """Look at the screen and keep it under a name."""
        seen = self.screen()
        self.captures.append((name, seen))
        return seen

    def resize(self, columns: int, rows: int) -> None:
        """Change the window's size."""
        self._do("resize-window", "-x", str(columns), "-y", str(rows))

    def sees(self, *texts: str, gone: str = "") -> str:
        """Wait until all texts are on the screen, and another is not; give the screen."""
        return self.until(
            lambda seen: all(t in seen for t in texts) and not (gone and gone in seen),
            f"{texts!r} without {gone!r}",
        )

    def until(self, holds: Callable[[str], bool], what: str) -> str:
        """Wait until the screen satisfies something; give it."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            seen = self.screen()
            if holds(seen):
                return seen
            time.sleep(_TICK_S)
        raise Late(f"the screen never showed {what}:\n{self.screen()}\n{_log(self.house)}")

    def still(self) -> str:
        """Wait until the screen is the same for a while; give it with its cursor."""
        before, deadline = "", time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            seen = self.exactly()
            if seen == before:
                return seen
            before = seen
            time.sleep(0.4)
        raise Late(f"the screen never stood still:\n{self.screen()}")

    def answer(self, what: str) -> str:
        """Answer the question on the screen: with its word for `allow`, else as it is typed."""
        seen = self.sees(ASKS, "Then Enter.")
        word = re.search(r"Type (\w+) to allow", seen)
        assert word, seen
        time.sleep(_READING_S)
        self.type(word[1] if what == "allow" else what, "Enter")
        self.until(lambda now: ASKS not in now, "that the question has gone")
        return seen

    def put_aside(self, key: str) -> str:
        """Put the question on the screen aside with a key; give the screen behind it."""
        self.sees(ASKS, "Then Enter.")
        time.sleep(_READING_S)
        self.type("", key)
        return self.until(lambda now: ASKS not in now, "what is behind the question")

    def ends(self) -> int:
        """Wait for the end of the command; give its exit code."""
        seen = self.until(lambda now: _ENDED.search(now) is not None, "an end")
        found = _ENDED.search(seen)
        assert found
        return int(found[1])

    def modes_are_back(self) -> bool:
        """Tell whether the terminal's modes are what they were before."""
        before, after = (self.house.place / f"modes-{when}" for when in ("before", "after"))
        return before.read_text() == after.read_text()

    def save(self, place: Path) -> None:
        """Write what was looked at into files, in order."""
        place.mkdir(exist_ok=True)
        for number, (name, seen) in enumerate(self.captures):
            (place / f"{number:02d}-{name}.txt").write_text(seen + "\n")

    def close(self) -> None:
        """End this server, by its pid, and with it what runs in it."""
        os.kill(self.server, signal.SIGTERM)


@contextmanager
def tmux(house: House, *, keep: Path | None = None) -> Iterator[Tmux]:
    """Give a person under tmux; what was looked at is written into a directory, if named."""
    person = Tmux(house)
    try:
        yield person
    finally:
        if keep is not None:
            person.save(keep)
        person.close()


class Bytes:
    """One person at a plain pseudo-terminal: every byte that reached it is kept."""

    def __init__(self, house: House, command: list[str]) -> None:
        self.house = house
        self.raw = b""
        self.code: int | None = None
        env = {**house.env, "TERM": "xterm-256color"}
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(house.place)
            os.execvpe(command[0], command, env)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 32, 100, 0, 0))

    def sees(self, *texts: str, since: int = 0) -> None:
        """Wait until all texts were written, drawing sequences left away."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            shown = text_of(self.raw[since:])
            if all(text.replace(" ", "") in shown for text in texts):
                return
            if not self._take():
                break
        shown = text_of(self.raw[since:])[-2000:]
        raise Late(f"the terminal never got {texts!r}: {shown}\n{_log(self.house)}")

    def type(self, text: str, pause: float = 0.3) -> None:
        """Type, and read for a moment."""
        os.write(self._fd, text.encode())
        self.wait(pause)

    def wait(self, seconds: float) -> None:
        """Read for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._take():
            pass

    def ends(self) -> int:
        """Read to the end; give the exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline and self._take():
            pass
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def _take(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], _TICK_S)
        if not ready:
            return True
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            return False
        self.raw += data
        return bool(data)

    def close(self) -> None:
        """End it by its pid."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)


@contextmanager
def bytes_of(house: House, command: list[str]) -> Iterator[Bytes]:
    """Give a person whose terminal keeps every byte."""
    person = Bytes(house, command)
    try:
        yield person
    finally:
        person.close()


_SEQUENCE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][0-9A-B]|\x1b[^\[\]P]|[\x00-\x1f ]")


def text_of(raw: bytes) -> str:
    """Leave drawing sequences and blanks away: the harness moves the cursor instead of a blank."""
    return _SEQUENCE.sub(b"", raw).decode("utf-8", "replace").replace("\u00a0", "")


def _log(house: House) -> str:
    return house.home.log.read_text()[-3000:] if house.home.log.exists() else ""
