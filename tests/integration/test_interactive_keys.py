"""What the real harness does by itself for a key or a paste: no program, no undecided file.

One screen session for all of it; each attack was found at 2.1.329 and ran or reached the model.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import pytest

from tests.fakes.agp_house import House, house
from tests.fakes.model_server import call, say, serve
from tests.fakes.person import READY, Tmux, tmux, words

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]

EDITORS = {"vi", "vim", "vim.tiny", "vim.basic", "nano", "code", "ed", "emacs"}


def picture() -> bytes:
    """Write a small valid PNG."""

    def part(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = part(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    rows = part(b"IDAT", zlib.compress((b"\0" + b"\xff\0\0" * 8) * 8))
    return b"\x89PNG\r\n\x1a\n" + head + rows + part(b"IEND", b"")


def running(made: House) -> set[str]:
    """Name the programs in this house's views."""
    found = set()
    for pid in made.view_processes():
        try:
            found.add(Path(f"/proc/{pid}/comm").read_text().strip())
        except OSError:
            continue
    return found


def no_editor(made: House, person: Tmux, *keys: str, shown: str = "") -> None:
    """Press keys that start an editor in the harness; what would be typed into it makes nothing."""
    person.type("", *keys)
    person.sees(shown) if shown else person.still()
    assert not running(made) & EDITORS
    person.type(":!touch ran.txt")
    person.still()
    person.type("", "C-u", "C-u")
    assert not (made.repo / "ran.txt").exists()


def test_no_key_starts_a_program_and_no_pasted_picture_reaches_the_model() -> None:
    with house({"keep.txt": "x"}) as made:
        made.policy('id: naps, match: {effect: exec, argv: "sleep <int>"}, verdict: allow')
        path = made.repo / "shot.png"
        path.write_bytes(picture())
        owner = made.repo.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
        turns = say("first words", call("Bash", command="sleep 6"), "then done", "and over")
        with serve(turns) as model, tmux(made) as person:
            person.start(words(made, model.url))
            person.sees(READY)
            no_editor(made, person, "C-g")
            no_editor(made, person, "C-x", "C-e")
            person.type("/memory", "Enter")
            person.sees("User instructions")
            no_editor(made, person, "Enter", shown="Couldn't open")
            person.type("hello", "Enter")
            person.sees("first words")

            person.paste(str(path))
            person.sees("[Image #1]")
            person.type("", "Enter")
            person.sees("AGP blocked this prompt: a picture is in it")
            person.type("", "C-u", "C-u")
            person.type("do it", "Enter")
            person.sees("sleep 6")
            person.paste(str(path))
            person.sees("[Image #2]")
            person.type(" while it works", "Enter")
            person.sees("then done")
            person.type("", "C-u", "C-u")
            person.type("and now", "Enter")
            person.sees("and over")
            person.type("/exit", "Enter")
            assert person.ends() == 0
        sent = json.dumps([request.body for request in model.requests])
        assert "and now" in sent
        assert '"type": "image"' not in sent
        seen = [o["detail"] for o in made.payloads("harness.observed")]
        assert seen.count("a picture, pasted: deny") == 2
