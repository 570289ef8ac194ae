"""`observe on|off|report`: let a session through and record it, and read what that has shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from agp.cli.verify import is_fresh
from agp.cli.wire import ask_daemon, checked_home, output_of
from agp.contracts.display import visible
from agp.errors import UsageRefused

if TYPE_CHECKING:
    from agp.cli.output import Output

observing = typer.Typer(help="Record what rules would do, and read it.", rich_markup_mode=None)
_SPAN = re.compile(r"([1-9][0-9]{0,3})([hdw])")
_NOTHING = "Nothing recorded yet: `agp run --observe` begins a journal to report on."
_HOURS = {"h": 1, "d": 24, "w": 168}

SessionName = Annotated[str, typer.Argument(help="The session's id, from `agp sessions`.")]


def register(app: typer.Typer) -> None:
    """Put this group's commands on the command line."""
    app.add_typer(observing, name="observe")


@observing.callback()
def observe() -> None:
    """Let a session through and only record, for as long as you say; read what it would cost."""


@observing.command()
def on(ctx: typer.Context, session: SessionName) -> None:
    """Let one live session through: rules are recorded, not enforced, from its next call on."""
    _switch(ctx, session, wanted=True)


@observing.command()
def off(ctx: typer.Context, session: SessionName) -> None:
    """Enforce the rules again, from the session's very next call on."""
    _switch(ctx, session, wanted=False)


def _switch(ctx: typer.Context, session: str, *, wanted: bool) -> None:
    from agp.contracts.base import SessionId
    from agp.contracts.control import ObserveGiven, ObserveState
    from agp.contracts.gateway import ControlOp

    given = ObserveGiven(session_id=SessionId(session), on=wanted)
    state = ask_daemon(ControlOp.SESSION_OBSERVE, ObserveState, given)
    name = visible(state.session_id)
    said = {
        (True, True): f"OBSERVE MODE for {name}: what a rule would ask about or deny RUNS now.",
        (True, False): f"{name} was in observe mode already.",
        (False, True): f"Rules are enforced for {name} again; what had not begun was taken back.",
        (False, False): f"Rules are enforced for {name} already.",
    }[wanted, state.changed]
    document = state.model_dump(mode="json")
    output_of(ctx).show("observe-on" if wanted else "observe-off", document, [said])


@observing.command()
def report(
    ctx: typer.Context,
    *,
    since: Annotated[
        str, typer.Option(help="How far back: 12h, 7d, 4w, or a date such as 2026-11-20.")
    ] = "7d",
    session: Annotated[str, typer.Option(help="One session only.")] = "",
) -> None:
    """Sum up what rules would have asked and denied, and propose the rules that would quiet it.

    The journal is verified first; a damaged one is refused. Nothing is changed: the proposals are
    printed, and each was proved by deciding the same calls again.
    """
    from agp.cli.observe_page import document_of, page_of
    from agp.daemon.observe_report import observe_report
    from agp.governor.observed import Span

    span = Span(_moment(since, datetime.now(UTC)), session)
    home = checked_home()
    output: Output = output_of(ctx)
    if is_fresh(home):
        output.show("observe-report", {"calls": {"observed": 0}}, [_NOTHING])
        return
    made = observe_report(home, span)
    output.show("observe-report", document_of(made), page_of(made, output))


def _moment(since: str, now: datetime) -> str:
    """Spell the beginning of a span as the journal spells times.

    Raises:
        UsageRefused: it is neither a span nor a date.
    """
    found = _SPAN.fullmatch(since)
    if found:
        at = now - timedelta(hours=int(found[1]) * _HOURS[found[2]])
    else:
        try:
            at = datetime.strptime(since, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError as error:
            raise UsageRefused(
                f"{since!r} is neither a span nor a date",
                fix="--since 7d, --since 12h, or --since 2026-11-20",
            ) from error
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
