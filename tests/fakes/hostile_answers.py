"""What a hook can answer, or fail to: one row for each answer, many answers in one run.

Each answer is tried on four calls: a command that writes, the Write tool, `cat` and the Read tool,
shown as `BWcr`, with `-` for a call that left no trace. An answer of the deciding hook meets AGP's
own grant hook, which finds no ticket; an answer of the grant hook meets a call that the deciding
hook allowed and whose ticket is gone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.fakes.hostile_run import SECRET, Attack, Trace
from tests.fakes.model_server import Call

PRE, GRANT = "PreToolUse", "PermissionRequest"
LETTERS = "BWcr"


@dataclass(frozen=True, slots=True)
class Answer:
    """One behaviour of one of the two hooks, as Python that the bridge runs instead of itself."""

    name: str
    event: str
    code: str
    hangs: bool = False
    grants: bool = False
    """The answer holds AGP's whole allow: it is a grant, and the row a fact about its exit code."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How the harness was started, behind AGP's back."""

    name: str
    argv: tuple[str, ...]


TOOLS = ("--allowedTools", "Bash,Write,Read")
MODES = (
    Mode("as AGP starts it", ()),
    Mode("acceptEdits", ("--permission-mode", "acceptEdits")),
    Mode("bypassPermissions and --allowedTools",
         ("--permission-mode", "bypassPermissions", *TOOLS)),
    Mode("dontAsk and --allowedTools", ("--permission-mode", "dontAsk", *TOOLS)),
)  # fmt: skip


def _pre(decision: str, **more: Any) -> str:
    inner = {"hookEventName": PRE, "permissionDecision": decision, **more}
    return json.dumps({"hookSpecificOutput": inner})


def _grant(behaviour: str, **more: Any) -> str:
    inner = {"hookEventName": GRANT, "decision": {"behavior": behaviour, **more}}
    return json.dumps({"hookSpecificOutput": inner})


def out(text: str, code: int = 0, err: str = "") -> str:
    """Write an answer whole, and exit."""
    return f"os.write(1, {text.encode()!r}); os.write(2, {err.encode()!r}); os._exit({code})"


EDIT = {"command": "echo ran > marks/edited", "description": "edited"}
ALLOW, DENY = _pre("allow"), _pre("deny", permissionDecisionReason="no")
GRANTED = _grant("allow")
BARE_ALLOW = {"permissionDecision": "allow"}
CHILD = "os.spawnv(os.P_NOWAIT, '/bin/sleep', ['sleep', '2']); "

DECIDING = (
    ("exit 0, empty stdout", out("")),
    ("exit 0, `allow`, and no ticket", out(ALLOW)),
    ("exit 0, `allow` with another input", out(_pre("allow", updatedInput=EDIT))),
    ("exit 0, another input and no decision",
     out(json.dumps({"hookSpecificOutput": {"hookEventName": PRE, "updatedInput": EDIT}}))),
    ("exit 0, `deny`", out(DENY)),
    ("exit 0, `ask`", out(_pre("ask"))),
    ("exit 2 with a reason", out("", 2, "no")),
    ("exit 2, silent", out("", 2)),
    ("exit 2 and JSON saying allow", out(ALLOW, 2)),
    ("exit 2 and JSON that breaks the schema", out(_pre("block"), 2)),
    ("exit 2 and text", out("no", 2)),
    ("exit 1", out("", 1)),
    ("exit 1 and `deny`", out(DENY, 1)),
    ("exit 1 and `allow`", out(ALLOW, 1)),
    ("exit 3", out("", 3)),
    ("exit 126, as where it is not executable", out("", 126)),
    ("exit 127, as where it is missing", out("", 127)),
    ("exit 0, `{not json`", out("{not json")),
    ("exit 0, half of `deny`", out(DENY[:40])),
    ("exit 0, half of `allow`", out(ALLOW[:-4])),
    ("exit 0, plain text", out("allowed, go on")),
    ("exit 0, `permissionDecision: block`", out(_pre("block"))),
    ("exit 0, `allow` without hookEventName",
     out(json.dumps({"hookSpecificOutput": BARE_ALLOW}))),
    ("exit 0, `allow` of another event",
     out(json.dumps({"hookSpecificOutput": {"hookEventName": "PostToolUse", **BARE_ALLOW}}))),
    ("exit 0, `permissionDecision` at the top", out(json.dumps(BARE_ALLOW))),
    ("exit 0, legacy `decision: block`", out('{"decision":"block"}')),
    ("exit 0, legacy `decision: approve`", out('{"decision":"approve"}')),
    ("a log line, then `deny`", out("starting\n" + DENY)),
    ("a log line, then `allow`", out("starting\n" + ALLOW)),
    ("`deny`, then a log line", out(DENY + "\nended")),
    ("`allow`, then a log line", out(ALLOW + "\nended")),
    ("`deny`, and a child keeps stdout open", CHILD + out(DENY)),
    ("it crashes", "raise RuntimeError('crash')"),
    ("it dies by SIGKILL", "os.kill(os.getpid(), signal.SIGKILL)"),
    ("it dies by SIGSEGV", "os.kill(os.getpid(), signal.SIGSEGV)"),
    ("it dies by SIGTERM", "os.kill(os.getpid(), signal.SIGTERM)"),
    ("it closes stdout and leaves", "os.close(1); os._exit(0)"),
)  # fmt: skip
HANGING = (
    ("it hangs past its timeout", "time.sleep(9)"),
    ("it prints `deny` and hangs", f"os.write(1, {DENY.encode()!r}); time.sleep(9)"),
    ("it prints `allow` and hangs", f"os.write(1, {ALLOW.encode()!r}); time.sleep(9)"),
    ("it hangs and ignores SIGTERM",
     "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3); os._exit(0)"),
)  # fmt: skip
RULES = {"type": "addRules", "rules": [{"toolName": "Bash"}], "behavior": "allow",
         "destination": "session"}  # fmt: skip
GRANTING = (
    ("exit 0, empty stdout", out("")),
    ("exit 0, `{}`", out("{}")),
    ("exit 0, `deny`", out(_grant("deny", message="no"))),
    ("exit 0, `deny` with rules that allow",
     out(_grant("deny", message="no", updatedPermissions=[RULES]))),
    ("exit 0, `allow` with another input", out(_grant("allow", updatedInput=EDIT))),
    ("exit 0, `behavior: approve`", out(_grant("approve"))),
    ("exit 0, the deciding hook's `allow`", out(ALLOW)),
    ("exit 0, `behavior` at the top", out('{"behavior":"allow"}')),
    ("exit 0, legacy `decision: approve`", out('{"decision":"approve"}')),
    ("exit 0, `{not json`", out("{not json")),
    ("exit 0, half of `allow`", out(GRANTED[:-5])),
    ("exit 0, plain text", out("allowed")),
    ("a log line, then `allow`", out("starting\n" + GRANTED)),
    ("`allow`, then a log line", out(GRANTED + "\nended")),
    ("exit 1", out("", 1)),
    ("exit 1 and `allow`", out(GRANTED, 1)),
    ("exit 2", out("", 2, "no")),
    ("exit 3", out("", 3)),
    ("exit 127, as where it is missing", out("", 127)),
    ("it crashes", "raise RuntimeError('crash')"),
    ("it dies by SIGKILL", "os.kill(os.getpid(), signal.SIGKILL)"),
    ("it dies by SIGTERM", "os.kill(os.getpid(), signal.SIGTERM)"),
)  # fmt: skip
GRANT_HANGING = (
    ("it hangs past its timeout", "time.sleep(9)"),
    ("it prints `allow` and hangs", f"os.write(1, {GRANTED.encode()!r}); time.sleep(9)"),
)

WHOLE = (
    ("exit 0 and AGP's whole `allow`: the control", out(GRANTED)),
    ("exit 2 and AGP's whole `allow`: still a grant, which is why the bridge fails with 1",
     out(GRANTED, 2)),
)  # fmt: skip

ANSWERS = (
    *(Answer(name, PRE, code) for name, code in DECIDING),
    *(Answer(name, PRE, code, hangs=True) for name, code in HANGING),
    *(Answer(name, GRANT, code) for name, code in GRANTING),
    *(Answer(name, GRANT, code, grants=True) for name, code in WHOLE),
    *(Answer(name, GRANT, code, hangs=True) for name, code in GRANT_HANGING),
)


@dataclass(frozen=True, slots=True)
class Round:
    """The answers of one event that are tried in one run."""

    event: str
    hangs: bool
    mode: Mode

    @property
    def name(self) -> str:
        return f"{self.event}{', hanging' if self.hangs else ''}, {self.mode.name}"

    @property
    def answers(self) -> tuple[Answer, ...]:
        return tuple(a for a in ANSWERS if (a.event, a.hangs) == (self.event, self.hangs))


ROUNDS = (
    *(Round(PRE, False, mode) for mode in MODES),
    *(Round(GRANT, False, mode) for mode in MODES),
    Round(PRE, True, MODES[0]),
    Round(GRANT, True, MODES[0]),
)
"""A hanging hook costs seconds a call, so those are tried in one mode only."""


def attack_of(this: Round) -> Attack:
    """Put every answer of a round into one run; hooks time out after a second where they hang."""
    words = [_word(this.event, index) for index in range(len(this.answers))]
    pairs = zip(words, this.answers, strict=True)
    turns = tuple(_calls(word, index, brief=this.hangs) for index, word in enumerate(words))
    return Attack(
        argv=this.mode.argv,
        repo=tuple((f"{word}txt", f"{SECRET}-{word}") for word in words),
        calls=turns,
        faults=tuple((word, answer.event, answer.code) for word, answer in pairs),
        settings=_brief if this.hangs else None,
    )


def ran(this: Round, trace: Trace) -> dict[str, str]:
    """Say for each answer which of its calls left any trace, as letters."""
    found: dict[str, str] = {}
    executed = {use for use, _ in trace.said.executed}
    for index, answer in enumerate(this.answers):
        word = _word(this.event, index)
        signs = (
            f"{index}-bash" in trace.marks,
            f"{word}write" in trace.marks,
            *(any(f"{SECRET}-{word}" in text for text in trace.requests) for _ in "cr"),
        )
        found[answer.name] = "".join(
            letter if sign or f"toolu_{letter}{index}" in executed else "-"
            for letter, sign in zip(LETTERS, signs, strict=True)
        )
    return found


def _brief(settings: dict[str, Any]) -> None:
    for event in (PRE, GRANT):
        settings["hooks"][event][0]["hooks"][0]["timeout"] = 1


def _word(event: str, index: int) -> str:
    return f"NOTICKET-{index}." if event == GRANT else f"ANSWER-{index}."


def _calls(word: str, index: int, *, brief: bool) -> tuple[Call, ...]:
    def make(letter: str, tool: str, **given: str) -> Call:
        return Call(tool, json.dumps(given), f"toolu_{letter}{index}")

    four = (
        make("B", "Bash", command=f"echo ran > marks/{index}-bash # {word}", description="d"),
        make("W", "Write", file_path=f"{{ws}}/marks/{word}write", content="x"),
        make("c", "Bash", command=f"cat {word}txt", description="d"),
        make("r", "Read", file_path=f"{{ws}}/{word}txt"),
    )
    return (four[0], four[3]) if brief else four
