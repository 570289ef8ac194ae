"""`run`: one governed session, and a summary that a person enjoys reading."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from agp.cli.login import NO_LOGIN, without_login
from agp.cli.output import table
from agp.cli.wire import check_keys, checked_home, output_of
from agp.contracts.display import visible
from agp.errors import AgpError, NotBuilt, UsageRefused

if TYPE_CHECKING:
    from agp.cli.output import Output
    from agp.contracts.control import CallStory, RunRequest, RunSummary

_EFFECT_WIDTH = 160
"""Characters of the effects in a summary row; the journal has all of them."""
_REASON_WIDTH = 100
_LINE = 2000
"""Characters of a line that can be pasted."""
_COLOUR_OF = {
    "allowed": "green",
    "granted": "green",
    "denied": "red",
    "refused": "yellow",
    "observed": "yellow",
}
_COUNTED: Final = (
    ("allowed", "allowed by a rule"),
    ("granted", "allowed by a person"),
    ("denied", "denied by a rule"),
    ("refused", "refused after asking"),
    ("observed", "observed and let through"),
)
_OBSERVED: Final = (
    "!! OBSERVE MODE: rules are recorded, not enforced, in this run and in no other.",
    "!! What a rule would ask about or deny RUNS. The confinement, the floor and what",
    "!! the admin denies hold, and a failure of AGP still refuses.",
    "!! Enforce again at any time: agp observe off SESSION   (agp sessions lists it)",
)
_OUTCOMES = {
    "finished": "governed and finished",
    "refused": "refused before the agent started",
    "ungoverned": "UNGOVERNED: something ran without a decision",
    "harness_failed": "the agent itself failed",
    "killed": "killed",
    "journal_broken": "JOURNAL BROKEN: nothing is granted any more",
}


class IntendantName(StrEnum):
    """The adapters that this version has, and the one that it names and refuses."""

    CLAUDE_CODE = "claude-code"
    SCRIPTED = "scripted"
    CODEX = "codex"


def register(app: typer.Typer) -> None:
    """Put this group's command on the command line."""
    app.command()(run)


def run(  # noqa: PLR0913 - one parameter for each option: typer's idiom
    ctx: typer.Context,
    extra: Annotated[
        list[str] | None,
        typer.Argument(help="Behind `--`: arguments for the harness, from AGP's allow-list."),
    ] = None,
    *,
    intendant: Annotated[
        IntendantName, typer.Option(help="Whose calls are governed; codex is not built yet.")
    ] = IntendantName.CLAUDE_CODE,
    task: Annotated[
        str,
        typer.Option(help="What the agent is asked to do; without it its own screen opens."),
    ] = "",
    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive",
            "-i",
            help="Open the agent's own screen, with the task as first prompt.",
        ),
    ] = False,
    repo: Annotated[Path, typer.Option(help="The workspace.")] = Path(),
    script: Annotated[Path | None, typer.Option(help="Tool calls to play, for `scripted`.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name.")] = None,
    model_url: Annotated[
        str | None, typer.Option(help="A model endpoint, reached through AGP's relay only.")
    ] = None,
    pass_env: Annotated[
        list[str] | None, typer.Option(help="Hand this variable to the harness; repeatable.")
    ] = None,
    carry: Annotated[
        list[str] | None,
        typer.Option(
            help="Hand back more of your set-up: login, memory, skills, agents, skill:NAME, "
            "agent:NAME, project-skills, project-agents; repeatable."
        ),
    ] = None,
    unsafe_harness_version: Annotated[
        bool,
        typer.Option("--unsafe-harness-version", help="Run a version not proved; journaled."),
    ] = False,
    observe: Annotated[
        bool,
        typer.Option(
            "--observe", help="This run only: record what rules would ask or deny, let it run."
        ),
    ] = False,
    unsafe_unconfined: Annotated[
        bool, typer.Option("--unsafe-unconfined", help="Not built yet: refused.")
    ] = False,
) -> int:
    """Govern one agent session: each tool call is decided, asked, recorded and confined."""
    if unsafe_unconfined:
        raise NotBuilt(
            "running without a confinement is not built yet",
            why="an unconfined agent could answer its own questions",
            fix="install bubblewrap and run without --unsafe-unconfined",
        )
    harness_only = {
        "the harness's arguments behind --": extra,
        "--model-url": model_url,
        "--model": model,
        "--pass-env": pass_env,
        "--carry": carry,
        "--task": task,
        "--interactive": interactive,
        "--unsafe-harness-version": unsafe_harness_version,
    }
    _check_words(extra or [])
    which = _check_pairing(intendant, script, [n for n, v in harness_only.items() if v])
    output = output_of(ctx)
    at_screen = which == "claude-code" and (interactive or not task)
    if at_screen:
        _check_screen(output)
    from agp.contracts.control import RunRequest
    from agp.daemon.config import load_config
    from agp.daemon.launcher import governed_run

    request = RunRequest(
        intendant=which,
        task=task,
        repo=str(repo.resolve()),
        script=None if script is None else str(script.resolve()),
        model_url=model_url,
        model=model,
        pass_environment=tuple(pass_env or ()),
        unsafe_harness_version=unsafe_harness_version,
        interactive=at_screen,
        observe=observe,
        extra=tuple(extra or ()),
        carry=tuple(carry or ()),
    )
    home = checked_home()
    config = load_config(home.config)
    check_keys(home)
    named = (config.pass_environment, request.pass_environment, config.carry, request.carry)
    if without_login(which, *named):
        output.note(f"note: {NO_LOGIN}")
    if observe:
        output.note("\n".join(_OBSERVED))
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not output.as_json
    kept: list[str] = []
    try:
        summary = governed_run(home, config, request, terminal, kept.append)
    except AgpError:
        for conversation in kept:
            output.note(f"go on: {going_on(request, conversation)}")
        raise
    output.show("run", summary.model_dump(mode="json"), summary_lines(request, summary, output))
    return summary.exit_code


def _check_words(extra: list[str]) -> None:
    """Refuse a task without its option; what is behind `--` begins with a dash."""
    if extra and not extra[0].startswith("-"):
        task = extra[0] if " " in extra[0] else " ".join(extra)
        raise UsageRefused(
            "words without an option are no task", fix=f'agp run --task "{visible(task)}"'
        )


def _check_pairing(
    intendant: IntendantName, script: Path | None, harness_only: list[str]
) -> Literal["claude-code", "scripted"]:
    """Refuse options that do not belong together, before anything is opened."""
    match intendant:
        case IntendantName.CODEX:
            raise NotBuilt(
                "governing Codex is not built yet",
                fix="--intendant claude-code, or --intendant scripted",
            )
        case IntendantName.SCRIPTED:
            _check_script(script, harness_only)
            return "scripted"
        case IntendantName.CLAUDE_CODE:
            _check_harness(script)
            return "claude-code"


def _check_script(script: Path | None, harness_only: list[str]) -> None:
    if script is None:
        raise UsageRefused(
            "the scripted intendant plays a file",
            fix="agp run --intendant scripted --script FILE",
        )
    if harness_only:
        raise UsageRefused(
            f"the scripted intendant cannot use {harness_only[0]}",
            why="it plays the calls of its file: there is no harness and no model",
            fix="leave it away, or govern a harness: --intendant claude-code",
        )
    if not script.is_file():
        raise UsageRefused(
            "there is no such script",
            where=str(script),
            fix="name a JSON file of calls; docs/harnesses.md shows one",
        )


def _check_harness(script: Path | None) -> None:
    if script is not None:
        raise UsageRefused("--script is for the scripted intendant", fix="--intendant scripted")


def _check_screen(output: Output) -> None:
    """Refuse the agent's own screen where there is none, before anything is opened.

    Raises:
        UsageRefused: not at a terminal, in its background, one that cannot be drawn on, or --json.
    """
    why = ""
    if output.as_json:
        why = "--json is for a run with a task: a screen and JSON do not go together"
    elif not (sys.stdin.isatty() and sys.stdout.isatty()):
        why = "the agent's own screen needs a terminal, and this is none"
    elif os.environ.get("TERM", "") in {"", "dumb", "unknown"}:
        why = "this terminal cannot be drawn on (TERM)"
    elif os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
        why = "this job is in the background of its terminal"
    if why:
        raise UsageRefused(
            "the agent needs a task, or a terminal for its own screen",
            why=why,
            fix='agp run --task "..." --repo DIRECTORY',
        )


def summary_lines(request: RunRequest, summary: RunSummary, output: Output) -> list[str]:
    """Tell a run in a few lines: each call and who decided it, the journal, the end."""
    counts: Counter[str] = Counter(call.decision for call in summary.calls)
    counted = ", ".join(f"{counts[d]} {words}" for d, words in _COUNTED if counts[d])
    verified = (
        output.paint("verified with the public key", "green")
        if summary.journal_verified
        else output.paint("NOT VERIFIED", "red")
    )
    end = _OUTCOMES[summary.outcome] + _because(visible(summary.why))
    seconds = summary.duration_ms / 1000
    colour = "green" if summary.outcome == "finished" else "red"
    return [
        "",
        output.paint(f"{request.intendant} in {visible(request.repo)}", "bold"),
        "",
        *_call_lines(summary.calls, request.repo, output),
        "",
        *_observed(request, counts["observed"], output),
        f"  calls    {len(summary.calls)}" + (f": {counted}" if counted else ""),
        f"  journal  {summary.events} events in the log, {verified} (agp verify)",
        f"  session  {summary.session_id}, grade {summary.grade.value}, {seconds:.1f} s",
        f"  outcome  {output.paint(end, colour)}, exit {summary.exit_code}",
        *([f"  go on    {going_on(request, summary.resume)}"] if summary.resume else []),
    ]


def going_on(request: RunRequest, conversation: str) -> str:
    """Spell the line that goes on with a conversation, as this run was started; it can be pasted.

    Observe mode is not in it: it is chosen anew for each run.
    """
    words = ["agp", "run", "--repo", request.repo]
    if request.task and not request.interactive:
        words += ["--task", "go on"]
    for option, value in (("--model-url", request.model_url), ("--model", request.model)):
        words += [] if value is None else [option, value]
    words += [word for name in request.pass_environment for word in ("--pass-env", name)]
    words += [word for name in request.carry for word in ("--carry", name)]
    words += ["--unsafe-harness-version"] if request.unsafe_harness_version else []
    return visible(shlex.join([*words, "--", "--resume", conversation]), limit=_LINE)


def _observed(request: RunRequest, count: int, output: Output) -> list[str]:
    """Say that rules were not enforced, before anything sounds as if they had been."""
    if not request.observe and not count:
        return []
    ran = "1 call" if count == 1 else f"{count or 'no'} calls"
    said = f"{ran} ran that would have been asked or denied"
    head = output.paint("OBSERVE MODE", "yellow")
    return [f"  observe  {head}: {said} (agp observe report)"]


def _because(why: str) -> str:
    """Put the reason behind the outcome; one that only says it again is its end."""
    for word in _OUTCOMES.values():
        if why.startswith(f"{word} "):
            return why.removeprefix(word)
    return f" ({why})" if why else ""


def _call_lines(calls: tuple[CallStory, ...], repo: str, output: Output) -> list[str]:
    if not calls:
        return ["  No call was gated: the agent asked for nothing."]
    rows = [
        (
            visible(call.tool),
            visible(_by(call)),
            visible(call.what.replace(f"{repo}/", ""), limit=_EFFECT_WIDTH),
        )
        for call in calls
    ]
    aligned = table(("",) * 3, rows)[1:]
    return [
        line
        for call, row in zip(calls, aligned, strict=True)
        for line in (f"  {_mark(call, output)}  {row}", *_reason(call))
    ]


def _by(call: CallStory) -> str:
    if call.would_be is not None:
        return f"would {'ask' if call.would_be == 'require' else 'DENY'}: {call.rule_id}"
    return call.rule_id if call.by == call.rule_id else f"{call.by} ({call.rule_id})"


def _mark(call: CallStory, output: Output) -> str:
    return output.paint(f"{call.decision:8}", _COLOUR_OF[call.decision])


def _reason(call: CallStory) -> list[str]:
    told = call.decision in {"denied", "refused"} and call.reason
    if not told:
        return []
    indent = " " * 12
    reason = visible(call.reason)
    return textwrap.wrap(reason, _REASON_WIDTH, initial_indent=indent, subsequent_indent=indent)
