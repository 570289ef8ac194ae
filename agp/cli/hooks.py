"""`hooks install|status|uninstall`: governing a harness that you start yourself."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agp.cli.output import table
from agp.cli.wire import output_of
from agp.contracts.display import visible
from agp.errors import ConfigurationError, NotBuilt, UsageRefused

if TYPE_CHECKING:
    from pydantic import JsonValue

    from agp.cli.output import Output
    from agp.contracts.canary import CanaryProbe, CanaryReport
    from agp.daemon.config import Config
    from agp.daemon.home import Home
    from agp.daemon.installed import Change, Scope, Standing, Target

hooks = typer.Typer(help="Govern a harness that you start yourself.", rich_markup_mode=None)

_HARNESS = typer.Option("--harness", help="claude-code.")
_SCOPE = typer.Option("--scope", help="user, project or managed.")
_REPO = typer.Option("--repo", help="For the project scope: a directory of the repository.")
_YES = typer.Option("--yes", "-y", help="Write without asking.")
_WHERE = {
    "user": "Every session that you start yourself, in any directory.",
    "project": (
        "Sessions in this repository. Written to settings.local.json, because the paths are this"
        " machine's and your colleagues may not have AGP; keep it out of git."
    ),
    "managed": "Every session of every user of this machine; only root can change it.",
}


def register(app: typer.Typer) -> None:
    """Put this group's commands on the command line."""
    app.add_typer(hooks, name="hooks")


@hooks.command()
def install(
    ctx: typer.Context,
    *,
    harness: Annotated[str, _HARNESS] = "claude-code",
    scope: Annotated[str, _SCOPE] = "user",
    repo: Annotated[Path, _REPO] = Path(),
    yes: Annotated[bool, _YES] = False,
) -> None:
    """Put AGP's hooks into a harness's settings; the change is shown first, and can be undone."""
    from agp.daemon.installed import apply, plan_install
    from agp.intendants.claude_code.holds import ADVISORY

    output = output_of(ctx)
    target = _target(harness, scope, repo)
    change = plan_install(target)
    worth = [*_wrapped(_WHERE[target.scope]), *_wrapped(ADVISORY), ""]
    if change.empty:
        told = [f"Nothing to change: the hooks stand in {visible(str(target.settings))}.", ""]
        told += worth
    else:
        _agree(output, [*_proposed(output, change), "", *worth], yes=yes)
        apply(change)
        told = [f"Installed in {visible(str(target.settings))}.", ""]
    output.show("hooks-install", _document(change), [*told, *_next()])


@hooks.command()
def uninstall(
    ctx: typer.Context,
    *,
    harness: Annotated[str, _HARNESS] = "claude-code",
    scope: Annotated[str, _SCOPE] = "user",
    repo: Annotated[Path, _REPO] = Path(),
    yes: Annotated[bool, _YES] = False,
) -> None:
    """Take AGP's hooks out again, and put back what they replaced; your later changes stay."""
    from agp.daemon.installed import apply, plan_uninstall

    output = output_of(ctx)
    target = _target(harness, scope, repo)
    change = plan_uninstall(target)
    if change.empty:
        lines = [f"Nothing to change: no hooks of AGP in {visible(str(target.settings))}."]
    else:
        _agree(output, _proposed(output, change), yes=yes)
        apply(change)
        lines = [_removed(change)]
    output.show("hooks-uninstall", _document(change), lines)


@hooks.command()
def status(
    ctx: typer.Context,
    *,
    harness: Annotated[str, _HARNESS] = "claude-code",
    repo: Annotated[Path, _REPO] = Path(),
    no_canary: Annotated[
        bool, typer.Option("--no-canary", help="Do not start the harness for a proof.")
    ] = False,
) -> int:
    """Say what is installed, what it holds against, and prove it with the real harness."""
    from agp.cli.wire import ask_if_running
    from agp.contracts.control import DaemonStatus
    from agp.contracts.gateway import ControlOp
    from agp.daemon.installed import SCOPES

    _, config = _home("user")
    found = [_standing(_target(harness, scope, repo)) for scope in SCOPES]
    installed = [one for one in found if one.installed]
    running = ask_if_running(ControlOp.DAEMON_STATUS, DaemonStatus) is not None
    proofs = {one.target.scope: _proved(one, config) for one in installed if not no_canary}
    bad = any(one.problems for one in found) or any(proofs.values())
    document = _status_document(found, proofs, running=running)
    lines = _status_lines(output_of(ctx), found, proofs, running=running)
    output_of(ctx).show("hooks-status", document, lines)
    return ConfigurationError.exit_code if bad else 0


def _target(harness: str, scope: str, repo: Path) -> Target:
    from agp.daemon.installed import SCOPES, target_of

    if harness != "claude-code":
        raise NotBuilt(f"hooks of {harness} are not built yet", fix="--harness claude-code")
    known: Scope | None = next((one for one in SCOPES if one == scope), None)
    if known is None:
        raise UsageRefused(f"there is no scope {scope}", fix=f"known: {', '.join(SCOPES)}")
    home, config = _home(known)
    return target_of(known, home, config, repo=repo)


def _home(scope: Scope) -> tuple[Home, Config]:
    """Find the home whose daemon the hooks shall ask; root installs for another's home unread."""
    from agp.cli.wire import checked_home
    from agp.daemon.config import Config, load_config
    from agp.daemon.home import Home

    if scope == "managed":
        home = Home.from_environment()
        home.check_length()
        return home, Config()
    home = checked_home()
    return home, load_config(home.config)


def _standing(target: Target) -> Standing:
    from agp.daemon.installed import Standing, standing_of
    from agp.errors import AgpError

    try:
        return standing_of(target)
    except AgpError as error:
        return Standing(target, installed=False, problems=(str(error),), foreign=())


def _agree(output: Output, shown: list[str], *, yes: bool) -> None:
    """Show the change and have a person say yes.

    Raises:
        UsageRefused: nobody can be asked.
        Abort: they did not.
    """
    if yes:
        if not output.as_json:
            output.note("\n".join(shown))
        return
    output.note("\n".join(shown))
    if output.as_json or not sys.stdin.isatty():
        raise UsageRefused(
            "nothing was written: nobody can be asked here", fix="look at the change, then --yes"
        )
    typer.confirm("Write this?", abort=True, err=True)


def _proposed(output: Output, change: Change) -> list[str]:
    target = change.target
    name = str(target.settings)
    old, new = (
        data.decode("utf-8", "replace").splitlines() if data else []
        for data in (change.before, change.after)
    )
    to = "/dev/null" if change.after is None else name
    diff = difflib.unified_diff(
        old, new, "/dev/null" if change.before is None else name, to, lineterm=""
    )
    lines = [_coloured(output, visible(line)) for line in diff]
    if change.bridge is not None:
        lines.append(f"and the bridge is copied to {visible(str(target.bridge))}")
    return [*lines, *(f"note: {note}" for note in change.notes)]


def _coloured(output: Output, line: str) -> str:
    colour = {"+": "green", "-": "red"}.get(line[:1])
    return line if colour is None else output.paint(line, colour)


def _removed(change: Change) -> str:
    name = visible(str(change.target.settings))
    if change.before == change.after:
        return f"No hook of AGP was in {name}: it stays as it is. The bridge is removed."
    return f"Removed from {name}."


def _document(change: Change) -> dict[str, JsonValue]:
    return {
        "scope": change.target.scope,
        "settings": str(change.target.settings),
        "bridge": str(change.target.bridge),
        "changed": not change.empty,
        "grade": "advisory",
        "notes": list(change.notes),
    }


def _next() -> list[str]:
    return [
        "Next:",
        "  agp daemon start     nothing runs without it",
        "  agp hooks status     what this holds against, proved with the real harness",
        "  agp approvals        what waits for you, while a session runs",
        "  agp hooks uninstall  takes it out again",
    ]


def _proved(standing: Standing, config: Config) -> str:
    """Run the canary against a copy of one scope's settings; empty: it passed."""
    from agp.contracts.canary import CanaryTopic
    from agp.errors import AgpError

    try:
        report = _canary(standing, config)
    except AgpError as error:
        return str(error)
    failures = [probe for probe in report.failures if not _is_known(standing, probe)]
    controlled = report.holds(CanaryTopic.GRANTED) and report.holds(CanaryTopic.DENIED)
    return failures[0].words if failures else "" if controlled else "no call was tried"


def _is_known(standing: Standing, probe: CanaryProbe) -> bool:
    """A project's settings cannot forbid the harness's own dialog (measured): the table says so."""
    from agp.contracts.canary import CanaryTopic

    return standing.target.scope == "project" and probe.topic is CanaryTopic.DIALOG


def _canary(standing: Standing, config: Config) -> CanaryReport:
    import functools
    import os

    import anyio

    from agp.daemon.canary_installed import HookScope, prove_installed
    from agp.daemon.files import read_regular
    from agp.daemon.installed import SIZE_LIMIT
    from agp.daemon.unwrap import unwrapped
    from agp.intendants.claude_code.version import check_version, find_executable

    target = standing.target
    path = os.environ.get("PATH", os.defpath)
    found = find_executable(config.claude_code, path, workspace=str(target.settings.parent))
    prove = functools.partial(
        prove_installed,
        check_version(found, unsafe_version=True),
        read_regular(target.settings, limit=SIZE_LIMIT),
        target.place.socket,
        HookScope(target.scope),
    )
    return unwrapped(lambda: anyio.run(prove))


def _status_document(
    found: list[Standing], proofs: dict[Scope, str], *, running: bool
) -> dict[str, JsonValue]:
    from agp.intendants.claude_code.holds import ADVISORY, CASES, UNSEEN

    scopes: list[JsonValue] = [
        {
            "scope": one.target.scope,
            "settings": str(one.target.settings),
            "installed": one.installed,
            "problems": list(one.problems),
            "other_hooks": list(one.foreign),
            "canary": _canary_word(one, proofs),
            "canary_why": proofs.get(one.target.scope, ""),
        }
        for one in found
    ]
    holds: list[JsonValue] = [
        {
            "case": case.id,
            "what": case.what,
            **{one.target.scope: case.of(one.target.scope).value for one in found},
        }
        for case in CASES
    ]
    return {
        "daemon": running,
        "grade": "advisory",
        "grade_words": ADVISORY,
        "scopes": scopes,
        "holds": holds,
        "unseen": list(UNSEEN),
    }


def _canary_word(one: Standing, proofs: dict[Scope, str]) -> str:
    if one.target.scope not in proofs:
        return "not tried"
    return "failed" if proofs[one.target.scope] else "passed"


def _status_lines(
    output: Output, found: list[Standing], proofs: dict[Scope, str], *, running: bool
) -> list[str]:
    from agp.intendants.claude_code.holds import ADVISORY, CASES, DIALOG, UNSEEN, Holds

    rows = [
        (
            one.target.scope,
            _state(one),
            _canary_word(one, proofs),
            visible(str(one.target.settings)),
        )
        for one in found
    ]
    lines = table(("SCOPE", "HOOKS", "CANARY", "SETTINGS"), rows)
    for one in found:
        lines += [f"  {one.target.scope}: {visible(problem)}" for problem in one.problems]
        if one.foreign:
            lines.append(f"  {one.target.scope}: other hooks run too: {', '.join(one.foreign)}")
        if why := proofs.get(one.target.scope):
            lines.append(f"  {one.target.scope}: the canary failed: {visible(why)}")
        if one.problems and one.installed:
            lines.append(f"  fix: agp hooks install --scope {one.target.scope}")
    daemon = "running" if running else "not running, so nothing runs: agp daemon start"
    lines += [f"daemon  {output.paint(daemon, 'green' if running else 'yellow')}", ""]
    if not any(one.installed for one in found):
        return [*lines, "Nothing is installed: agp hooks install [--scope user|project|managed]"]
    scopes = [one.target.scope for one in found if one.installed]
    if any(one.problems for one in found if one.installed):
        lines.append(
            "What follows holds for hooks as `agp hooks install` writes them; yours differ."
        )
    heads = ("WHAT HAPPENS", *(scope.upper() for scope in scopes))
    lines += table(heads, [(case.what, *(case.of(s).value for s in scopes)) for case in CASES])
    if any(case.of(scope) is Holds.ASKS for case in CASES for scope in scopes):
        lines += ["", *_wrapped(DIALOG)]
    lines += ["", *_wrapped(f"Seen by no hook: {'; '.join(UNSEEN)}.")]
    lines += _wrapped(
        "Another hook that answers allow lifts neither a deny nor a question of AGP; one that edits"
        " a call after AGP decided it is refused, because the edited call has no grant."
    )
    lines += _wrapped(
        "The canary runs on a copy without your other settings: it does not see an invalid entry"
        " elsewhere in the file, for which the harness drops all of it and says so when it starts."
    )
    return [*lines, *_wrapped(ADVISORY)]


def _state(one: Standing) -> str:
    if not one.installed:
        return "unreadable" if one.problems else "absent"
    return "stale" if one.problems else "installed"


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 100)
