"""Reading files that somebody else may have put there."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from agp.errors import ConfigurationError, OverLimit

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, and nothing else.

    A named pipe would hang the daemon and a device would do worse: the file is opened without
    blocking and its type looked at before a byte is read.

    Raises:
        OSError: it cannot be opened.
        ConfigurationError: it is not a regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ConfigurationError("this is not a regular file", where=str(path))
    return file


def read_regular(path: Path, *, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        OSError: it cannot be opened.
        ConfigurationError: it is not a regular file.
        OverLimit: it is larger.
    """
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OverLimit(f"the file is larger than {limit} bytes", where=str(path))
    return data
