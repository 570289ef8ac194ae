"""What a person types behind `!` at the real harness's screen is decided and run like any call.

One screen session for all of it; what is claimed is read off the screen, the files and the journal.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from agp.gateway.call_wire import Typed, format_typed
from tests.fakes.agp_house import House, house
from tests.fakes.harness_view import in_harness_view
from tests.fakes.model_server import say, serve
from tests.fakes.person import ASKS, READY, Tmux, tmux, words

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]

RULES = (
    'id: status, match: {effect: exec, argv: "git status"}, verdict: allow',
    'id: makes, match: {effect: exec, argv: "touch <path>"}, verdict: allow',
    "id: never, match: {effect: write, path: never.txt}, verdict: deny, reason: Not this one.",
)
ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as peer:
    peer.settimeout(20)
    peer.connect("/run/agp/call.sock")
    peer.sendall(bytes.fromhex(sys.argv[1]))
    while data := peer.recv(4096):
        sys.stdout.write(data.decode(errors="replace"))
"""


def typed(person: Tmux, command: str, *texts: str, gone: str = "") -> str:
    """Type one command behind `!`; give the screen that shows it with these texts."""
    person.type("!")
    person.sees("! for shell mode")
    person.type(command)
    person.type("", "Enter")
    return person.sees(f"! {command}", *texts, gone=gone or "! for shell mode")


def spoken(made: House, command: str) -> str:
    """Say on the call socket, as code beside the harness, that a person typed this."""
    asked = format_typed(Typed(str(made.repo), command)).hex()
    done = in_harness_view(made, "/usr/bin/python3", "-I", "-S", "-c", ASK, asked)
    assert done.returncode == 0, done.stderr
    return done.stdout


def decided(made: House) -> dict[str, dict[str, Any]]:
    """Give what was decided, by the command that was typed."""
    return {
        str(json.loads(one["arguments"])["command"]): one
        for one in made.payloads("call.decided")
        if one["tool_use_id"].startswith("typed-")
    }


def test_what_is_typed_is_decided_shown_run_and_journaled_like_a_call() -> None:
    with house({"sub/inner.txt": "INNER\n"}) as made, serve(say("noted")) as model:
        made.policy(*RULES)
        with tmux(made) as person:
            person.start(words(made, model.url))
            person.sees(READY)
            at_screen(made, person)
            beside_it(made)
            person.type("", "C-u", "BSpace")  # an interrupted command stands in the line again
            person.sees(gone="! for shell mode")
            person.type("/exit", "Enter")
            assert person.ends() == 0
        at_the_end(made)


def at_screen(made: House, person: Tmux) -> None:
    """Quiet, run once, denied, asked about, interrupted; where one ended the next begins."""
    typed(person, "git status", "nothing to commit", gone=ASKS)
    typed(person, 'echo "it\'s" so', "it's so", gone=ASKS)
    typed(person, "touch made.txt", gone=ASKS)
    person.until(lambda _: (made.repo / "made.txt").exists(), "that it ran")
    typed(person, "touch never.txt", "denied this call (rule never)", "Not this one.")
    assert not (made.repo / "never.txt").exists()

    person.type("!cd sub && echo once >> asked.txt", "Enter")
    person.sees(ASKS, "cd sub && echo once >> asked.txt", "typed behind !")
    assert not (made.repo / "sub/asked.txt").exists(), "it waits, so it has not run"
    person.answer("allow")
    asked = made.repo / "sub/asked.txt"
    person.until(lambda _: asked.exists() and asked.read_text() == "once\n", "that it ran")
    typed(person, "cat inner.txt", "INNER")
    typed(person, "pwd", str(made.repo / "sub"))

    person.type("!echo no >> withdrawn.txt; true", "Enter")
    person.put_aside("C-z")
    person.type("", "Escape")
    made.await_event("approval.cancelled")


def beside_it(made: House) -> None:
    """Code in the harness's view that claims that a person types gets what the rules give."""
    assert "made.txt" in spoken(made, "git status")
    assert "rule never" in spoken(made, "touch never.txt")
    call_id = decided(made)["touch made.txt"]["call_id"]
    again = in_harness_view(
        made, "/usr/bin/python3", "-I", "-S", "/opt/agp/agp-call", "/run/agp/call.sock",
        "call", str(call_id),
    )  # fmt: skip
    assert again.returncode == 126
    assert "granted no such call" in again.stderr


def at_the_end(made: House) -> None:
    """Each was decided once, ran once or not at all, and AGP says how it ended."""
    assert not (made.repo / "never.txt").exists()
    assert not (made.repo / "sub/withdrawn.txt").exists()
    calls = decided(made)
    assert calls["touch never.txt"]["decision"] == "deny"
    assert calls["touch made.txt"]["rule_id"] == "makes"
    assert calls["cat inner.txt"]["cwd"] == str(made.repo / "sub")
    asked = calls["cd sub && echo once >> asked.txt"]
    assert asked["decision"] == "require"
    assert "edited_arguments" not in asked or asked["edited_arguments"] is None
    begun = [one["call_id"] for one in made.payloads("execution.started")]
    assert begun.count(asked["call_id"]) == begun.count(calls["touch made.txt"]["call_id"]) == 1
    assert calls["echo no >> withdrawn.txt; true"]["call_id"] not in begun
    ended = [one["call_id"] for one in made.payloads("execution.finished")]
    assert sorted(begun) == sorted(ended)
    seen = [one["detail"] for one in made.payloads("harness.observed")]
    assert "!touch made.txt" in seen, "what the harness says was typed stays beside it"
    assert made.kinds("coverage.violated") == []
