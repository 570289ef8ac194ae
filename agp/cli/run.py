"""`run`: one governed session, and a summary that a person enjoys reading."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agp.cli.output import table
from agp.cli.wire import checked_home, output_of
from agp.contracts.display import visible
from agp.errors import NotBuilt, UsageRefused

if TYPE_CHECKING:
    from agp.cli.output import Output
    from agp.contracts.control import CallStory, RunRequest, RunSummary

_EFFECT_WIDTH = 160
"""Characters of the effects in a summary row; the journal has all of them."""
_REASON_WIDTH = 100
_COLOUR_OF = {"allowed": "green", "granted": "green", "denied": "red", "refused": "yellow"}
_COUNTED: Final = (
    ("allowed", "allowed by a rule"),
    ("granted", "allowed by a person"),
    ("denied", "denied by a rule"),
    ("refused", "refused after asking"),
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
    """The adapters that this version has."""

    CLAUDE_CODE = "claude-code"
    SCRIPTED = "scripted"


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
        IntendantName, typer.Option(help="Whose calls are governed.")
    ] = IntendantName.CLAUDE_CODE,
    task: Annotated[str, typer.Option(help="What the agent is asked to do.")] = "",
    repo: Annotated[Path, typer.Option(help="The workspace.")] = Path(),
    script: Annotated[Path | None, typer.Option(help="Tool calls to play, for `scripted`.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name.")] = None,
    model_url: Annotated[
        str | None, typer.Option(help="A model endpoint, reached through AGP's relay only.")
    ] = None,
    pass_env: Annotated[
        list[str] | None, typer.Option(help="Hand this variable to the harness; repeatable.")
    ] = None,
    unsafe_harness_version: Annotated[
        bool,
        typer.Option("--unsafe-harness-version", help="Run a version not proved; journaled."),
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
    _check_pairing(intendant, task, script)
    from agp.contracts.control import RunRequest
    from agp.daemon.config import load_config
    from agp.daemon.launcher import governed_run

    request = RunRequest(
        intendant=intendant.value,
        task=task,
        repo=str(repo.resolve()),
        script=None if script is None else str(script.resolve()),
        model_url=model_url,
        model=model,
        pass_environment=tuple(pass_env or ()),
        unsafe_harness_version=unsafe_harness_version,
        extra=tuple(extra or ()),
    )
    output = output_of(ctx)
    home = checked_home()
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not output.as_json
    summary = governed_run(home, load_config(home.config), request, terminal)
    output.show("run", summary.model_dump(mode="json"), summary_lines(request, summary, output))
    return summary.exit_code


def _check_pairing(intendant: IntendantName, task: str, script: Path | None) -> None:
    """Refuse options that do not belong together, before anything is opened."""
    if intendant is IntendantName.SCRIPTED:
        if script is None:
            raise UsageRefused(
                "the scripted intendant plays a file",
                fix="agp run --intendant scripted --script FILE",
            )
        if not script.is_file():
            raise UsageRefused("there is no such script", where=str(script))
    elif script is not None:
        raise UsageRefused("--script is for the scripted intendant", fix="--intendant scripted")
    elif not task:
        raise UsageRefused("the agent needs a task", fix='agp run --task "..." --repo DIRECTORY')


def summary_lines(request: RunRequest, summary: RunSummary, output: Output) -> list[str]:
    """Tell a run in a few lines: each call and who decided it, the journal, the end."""
    counts: Counter[str] = Counter(call.decision for call in summary.calls)
    counted = ", ".join(f"{counts[d]} {words}" for d, words in _COUNTED if counts[d])
    verified = (
        output.paint("verified", "green")
        if summary.journal_verified
        else output.paint("NOT VERIFIED", "red")
    )
    end = _OUTCOMES[summary.outcome] + (f" ({visible(summary.why)})" if summary.why else "")
    seconds = summary.duration_ms / 1000
    colour = "green" if summary.outcome == "finished" else "red"
    return [
        "",
        output.paint(f"{request.intendant} in {visible(request.repo)}", "bold"),
        "",
        *_call_lines(summary.calls, request.repo, output),
        "",
        f"  calls    {len(summary.calls)}" + (f": {counted}" if counted else ""),
        f"  journal  {summary.events} events, {verified} with the public key (agp verify)",
        f"  session  {summary.session_id}, grade {summary.grade.value}, {seconds:.1f} s",
        f"  outcome  {output.paint(end, colour)}, exit {summary.exit_code}",
    ]


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
