"""Looking for processes of a view that should be gone.

A view's processes are recognised by their mount table: only they show the session's own HOME. The
kernel ends them all with the view's pid 1; this looks whether it did.
"""

from __future__ import annotations

from pathlib import Path


def survivors(session_directory: str) -> tuple[int, ...]:
    """Name the processes whose mount table shows the session's directory; blocking, ~1 ms.

    A process that ends while it is looked at is not a survivor.
    """
    # /proc/PID/mountinfo escapes blanks; our own directory names hold none after the home's path.
    marker = Path(session_directory).name.encode() + b"/home "
    return tuple(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and marker in _mounts(entry)
    )


def _mounts(process: Path) -> bytes:
    try:
        return (process / "mountinfo").read_bytes()
    except OSError:
        return b""
