"""A stand-in for a harness on its own terminal: draws its size and what it was typed, all of it
anew whenever its size changes. Standard library only; ends at `q`, dies at `!`."""

import fcntl
import os
import signal
import struct
import sys
import termios
import tty

typed = ""


def draw(*_: object) -> None:
    rows, columns = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8))[:2]
    os.write(1, f"\x1b[2J\x1b[H\x1b]0;TITLE\x07size {columns}x{rows}\r\ntyped {typed}.".encode())


os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # as the view's entry does
tty.setraw(0)
signal.signal(signal.SIGWINCH, draw)
os.write(1, b"\x1b[?1049h\x1b[?1000h\x1b[?1006h\x1b[c")
draw()
while True:
    data = os.read(0, 1024).decode(errors="replace")
    if "q" in data:
        sys.exit(0)
    if "!" in data:
        os.kill(os.getpid(), signal.SIGKILL)
    if "s" in data:  # a flood, to be dropped under a question
        os.write(1, b"flood " * 20000)
    typed += "".join(c if c.isprintable() else f"<{ord(c)}>" for c in data)
    draw()
