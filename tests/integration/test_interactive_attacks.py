"""Attacks at the harness's own screen: broken hooks, escape sequences, a screen that is drawn on.

The terminal of these tests keeps every byte that reached it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fakes.agp_house import ROOT, House, house
from tests.fakes.model_server import call, say, serve
from tests.fakes.person import bytes_of, text_of, words

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]

EVENT = "import os, signal, sys, time\nevent = sys.argv[2]\n"
REAL = (ROOT / "hooks/agp-bridge").read_text()
PRE = '{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow"}}'
DIALOG = ("Do you want", "Yes, and", "No, and tell")
"""What the harness's own dialogs say (measured without `denyInsteadOfPrompting`)."""
PASSED = re.compile(
    rb"[^\x00-\x1f\x7f]|[\b\t\n\r\x07\x0f\x18]|\x1b[78DEM]|\x1b\(B"
    rb"|\x1b\[[0-9;:]*m|\x1b\[[0-9;]*[@A-HK-MPSTXdfr`]|\x1b\[[0-2]?J"
    rb"|\x1b\[\?(?:6|7|12|25|1000|1002|1003|1006|1049|2004|2026)[hl]|\x1b\[[0-6]? q"
)
"""Everything that may reach a terminal: AGP's own and what its filter passes, written once more."""


@pytest.fixture
def damaged() -> Iterator[House]:
    """Give a house whose `agp` is a copy of this tree, to be damaged."""
    with house() as made:
        for name in ("agp", "hooks", "policies"):
            shutil.copytree(ROOT / name, made.place / "tree" / name)
        # The canary would refuse the damage before the screen opens; here the screen is tried.
        launcher = made.place / "tree/agp/daemon/launcher.py"
        text = launcher.read_text()
        launcher.write_text(text.replace("await prove_first(", "await anyio.sleep(0) or ("))
        made.env["PYTHONPATH"] = str(made.place / "tree")
        yield made


@dataclass(frozen=True)
class Fault:
    """What the bridge does for some events; for every other it works."""

    name: str
    code: str
    events: tuple[str, ...]


FAULTS = (
    Fault("the deciding hook crashes", "raise RuntimeError('x')", ("PreToolUse",)),
    Fault("the deciding hook allows all", f"os.write(1, {PRE!r}.encode()); os._exit(0)",
          ("PreToolUse",)),
    Fault("the grant hook says nothing", "os._exit(0)", ("PermissionRequest",)),
    Fault("the grant hook has no opinion", "os._exit(2)", ("PermissionRequest",)),
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_no_dialog_of_the_harness_opens_whatever_a_hook_does(damaged: House, fault: Fault) -> None:
    """Enter and 1 are pressed where its dialog would stand; nothing runs."""
    path = damaged.repo / "made.txt"
    turns = say(call("Write", file_path=str(path), content="x"), "the end of it")
    faulty = f"if event in {fault.events!r}:\n    exec({fault.code!r})\n"
    with serve(turns) as model:
        (damaged.place / "tree/hooks/agp-bridge").write_text(f"{EVENT}{faulty}{REAL}")
        with bytes_of(damaged, words(damaged, model.url)) as person:
            person.sees("manual mode on")
            person.type("go on\r", 1.0)
            for key in ("\r", "1", "\r"):
                person.type(key, 0.4)
            person.sees("the end of it")
            shown = text_of(person.raw)
            assert not [words for words in DIALOG if words.replace(" ", "") in shown]
            person.type("\x15/exit\r")
            assert person.ends() == 0
    assert not path.exists()
    assert damaged.kinds("ticket.redeemed", "execution.finished") == []


def test_hooks_that_stay_silent_reach_no_model_and_end_the_run(damaged: House) -> None:
    """SessionStart never arrives: the screen waits, nothing is sent, the view is killed."""
    damaged.configure(hooks_deadline_s=5)
    faulty = "if event == 'SessionStart':\n    os._exit(0)\n"
    with serve(say("never said")) as model:
        (damaged.place / "tree/hooks/agp-bridge").write_text(f"{EVENT}{faulty}{REAL}")
        command = words(damaged, model.url, "--task", "go on", "--interactive")
        with bytes_of(damaged, command) as person:
            assert person.ends() == 11
            assert b"hooks did not show themselves alive" in person.raw
        assert model.requests == []
    assert damaged.payloads("coverage.violated")[0]["what"] == "hooks_not_alive"
    assert damaged.view_processes() == []


HOSTILE = (
    "\x1b]0;OWNED\x07\x1b]52;c;T1dORUQ=\x07\x1b[c\x1b[6n\x1b]11;?\x07\x1bP$qm\x1b\\"
    "\x1b[?1004h\x1b[?1049l\x1bc\x1b[21t\x05"
)


def test_nothing_that_is_drawn_makes_the_outer_terminal_obey_or_answer() -> None:
    """The whole session's bytes, a hostile file's among them, are drawing and nothing else.

    The harness's own start is the control: it sends queries, a title and reports (measured).
    """
    with house({"hostile.txt": f"MARK before {HOSTILE} MARK after\n"}) as made:
        made.policy('id: cats, match: {effect: exec, argv: "cat <path>"}, verdict: allow')
        turns = say(
            call("Bash", command="cat hostile.txt"),
            f"I say {HOSTILE} as it was",
            "the last word",
        )
        with serve(turns) as model, bytes_of(made, words(made, model.url)) as person:
            person.sees("manual mode on")
            person.type("go on\r")
            person.sees("as it was")
            person.type("more\r")
            person.sees("the last word")
            person.type("\x15/exit\r")
            assert person.ends() == 0
            odd = PASSED.sub(b"", person.raw)
            assert odd == b"", odd[:200]
            assert person.raw.count(b"\x1b[?1049h") == person.raw.count(b"\x1b[?1049l") == 1
            mouse = re.findall(rb"\x1b\[\?(?:1000|1002|1003|1006)([hl])", person.raw)
            assert mouse[0] == b"h", "the harness asked for the mouse and got it"
            assert mouse[-1] == b"l", "and it was taken back"
