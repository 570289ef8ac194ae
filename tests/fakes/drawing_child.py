"""A stand-in for a harness on its own terminal: draws its size and what it was typed, all of it
anew whenever its size changes. Standard library only; ends at `q`, dies at `!`.

With SLOW, seconds, it looks at its size only so long after it was told of a change, and draws a
spinner all the while: what a real one does on a busy machine."""

import fcntl
import os
import select
import signal
import struct
import sys
import termios
import time
import tty

SLOW = float(os.environ.get("SLOW", "0"))
typed = ""
drawn = [(0, 0)]
"""The size for which it drew last."""
told: list[float] = []
"""When it was told of changes that it has not looked at."""


def size() -> tuple[int, int]:
    rows, columns = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8))[:2]
    return columns, rows


def draw() -> None:
    drawn[0] = columns, rows = size()
    os.write(1, f"\x1b[2J\x1b[H\x1b]0;TITLE\x07size {columns}x{rows}\r\ntyped {typed}.".encode())


def resized(*_: object) -> None:
    if SLOW:
        told.append(time.monotonic())
    else:
        draw()


def spin() -> None:
    """Draw a piece; then everything, if it is time to look and the size is another."""
    os.write(1, b"\x1b[4;1Hspins")
    if told and time.monotonic() - told[0] > SLOW:
        told.clear()
        if size() != drawn[0]:
            draw()


os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # as the view's entry does
tty.setraw(0)
signal.signal(signal.SIGWINCH, resized)
os.write(1, b"\x1b[?1049h\x1b[?1000h\x1b[?1006h\x1b[c")
draw()
while True:
    while SLOW and not select.select([0], [], [], 0.02)[0]:
        spin()
    data = os.read(0, 1024).decode(errors="replace")
    if "q" in data:
        sys.exit(0)
    if "!" in data:
        os.kill(os.getpid(), signal.SIGKILL)
    if "s" in data:  # a flood, to be dropped under a question
        os.write(1, b"flood " * 20000)
    typed += "".join(c if c.isprintable() else f"<{ord(c)}>" for c in data)
    draw()
