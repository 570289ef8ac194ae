"""A process that does nothing but append, and dies by SIGKILL at a chosen system call.

Arguments: directory, number of batches, call name, the how-many-th such call, and how: `before`,
`half` (of a `pwrite`: two fifths of the bytes, never a whole number of lines) or `after`.
Acknowledged lines go to stdout, one write each.
"""

import os
import signal
import sys
from pathlib import Path

from agp.journal import writer as writer_module
from agp.journal.line import SealedLine
from agp.journal.writer import JournalWriter
from tests.fakes.journal_logs import SIGNER, TS, SteppingClock, drafts


def arm(call: str, countdown: int, how: str) -> None:
    real = getattr(os, call)
    left = [countdown]

    def armed(*arguments, **named):
        left[0] -= 1
        if left[0]:
            return real(*arguments, **named)
        if how == "half":
            file, data, offset = arguments
            real(file, data[: len(data) * 2 // 5], offset)
        elif how == "after":
            real(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    setattr(os, call, armed)


def main() -> None:
    directory, batches, call, countdown, how = sys.argv[1:]
    writer_module.SEGMENT_BYTES = 4000
    if call != "none":
        arm(call, int(countdown), how)
    writer = JournalWriter.open(Path(directory), SIGNER, origin=SIGNER.name, clock=SteppingClock())
    for batch in range(int(batches)):
        for sealed in writer.append(drafts(1 + batch % 3, first=writer.size)):
            assert isinstance(sealed, SealedLine)
            os.write(1, f"{sealed.line.seq} {sealed.line.hash}\n".encode())
        if batch % 4 == 3:
            sealed_note = writer.seal_checkpoint(TS)
            assert sealed_note is not None
            os.write(1, f"{sealed_note.line.seq} {sealed_note.line.hash}\n".encode())
    writer.close()


main()
