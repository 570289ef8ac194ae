"""Words before the agent's screen can be read: a key goes on, and the terminal is as it was."""

from __future__ import annotations

import os
import select
import termios

import anyio
import anyio.lowlevel
import pytest

from agp.channels.held_tty import HeldTty

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("typed", [b"x", b""])
async def test_any_key_ends_the_wait_and_time_does_too(typed: bytes) -> None:
    person, terminal = os.openpty()
    os.set_blocking(terminal, False)
    before = termios.tcgetattr(terminal)
    heard: list[bytes] = []

    async def listen(within_s: float) -> None:
        heard.append(await HeldTty(terminal).any_key(within_s=within_s))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen, 60.0 if typed else 0.05)
            while typed and termios.tcgetattr(terminal)[3] & termios.ICANON:
                await anyio.lowlevel.checkpoint()
            os.write(person, typed)

    assert heard == [typed]
    assert termios.tcgetattr(terminal) == before
    os.close(person)
    os.close(terminal)


def drained(descriptor: int) -> int:
    """Read all that is there; give how much it was."""
    got = 0
    while select.select([descriptor], [], [], 0)[0]:
        got += len(os.read(descriptor, 65536))
    return got


async def test_what_waits_for_the_terminal_is_not_drawn_over_a_question() -> None:
    """A flood that the terminal does not take wakes when it does, covered meanwhile."""
    person, terminal = os.openpty()
    os.set_blocking(terminal, False)
    os.set_blocking(person, False)
    tty, got = HeldTty(terminal), 0
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tty.draw, b"x" * 1_000_000)
            await anyio.wait_readable(person)
            tty.covered = True
            got += drained(person)
    got += drained(person)
    assert 0 < got < 1_000_000
    os.close(person)
    os.close(terminal)
