"""`approvals`, `approve`, `deny`: the inbox, and the two answers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agp.cli.age import since
from agp.cli.control import NOT_RUNNING
from agp.cli.output import table
from agp.cli.wire import ask_daemon, ask_if_running, output_of
from agp.contracts.display import visible
from agp.errors import AgpError

if TYPE_CHECKING:
    from datetime import datetime

    from agp.contracts.channel import ApprovalRequest

_GIST = 240
"""Characters of an effect or a reason in the list; `--full` shows all."""
_WHOLE = 8 * 1024 * 1024
"""Characters of a call on its own card: all that a call can have."""


def register(app: typer.Typer) -> None:
    """Put this group's commands on the command line."""
    for command in (approvals, approve, deny):
        app.command()(command)


def approvals(
    ctx: typer.Context,
    approval_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Show this one question, whole.")
    ] = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="Show more of each question.")] = False,
) -> None:
    """List what waits for a person: agent, session, effect, rule, age, expiry."""
    from datetime import UTC, datetime

    from agp.contracts.base import ApprovalId
    from agp.contracts.control import ApprovalList, ApprovalsAsked
    from agp.contracts.gateway import ControlOp

    asked = ApprovalsAsked(approval_id=None if approval_id is None else ApprovalId(approval_id))
    listed = ask_if_running(ControlOp.APPROVAL_LIST, ApprovalList, asked)
    if listed is None:
        output_of(ctx).show("approvals", {"approvals": []}, [NOT_RUNNING])
        return
    now = datetime.now(UTC)
    waiting = listed.approvals
    closer = full or approval_id is not None
    lines = _cards(waiting, now) if closer else _inbox(waiting, now)
    output_of(ctx).show("approvals", listed.model_dump(mode="json"), lines)


def _pending_ids() -> list[str]:
    """Complete approval ids in the shell; where there is no daemon, there is nothing to offer."""
    from agp.contracts.control import ApprovalList
    from agp.contracts.gateway import ControlOp

    try:
        listed = ask_daemon(ControlOp.APPROVAL_LIST, ApprovalList)
    except AgpError:
        return []
    return [one.approval_id for one in listed.approvals]


ApprovalName = Annotated[
    str, typer.Argument(help="As `agp approvals` shows it.", autocompletion=_pending_ids)
]


def approve(ctx: typer.Context, approval_id: ApprovalName) -> None:
    """Grant one waiting call, once, exactly as it was shown."""
    _answer(ctx, "approve", approval_id, "allow", "")


def deny(
    ctx: typer.Context,
    approval_id: ApprovalName,
    *,
    reason: Annotated[str, typer.Option(help="The agent is told this, word for word.")] = "",
) -> None:
    """Refuse one waiting call, and tell the agent why."""
    _answer(ctx, "deny", approval_id, "deny", reason)


def _answer(
    ctx: typer.Context,
    command: str,
    approval_id: str,
    verdict: Literal["allow", "deny"],
    reason: str,
) -> None:
    from agp.contracts.base import ApprovalId
    from agp.contracts.control import AnswerGiven, AnswerTaken
    from agp.contracts.gateway import ControlOp

    given = AnswerGiven(approval_id=ApprovalId(approval_id), verdict=verdict, reason=reason)
    taken = ask_daemon(ControlOp.APPROVAL_ANSWER, AnswerTaken, given).approval
    document = {"approval": taken.model_dump(mode="json")}
    output_of(ctx).show(command, document, [_answered(taken), *_nobody(taken)])


def _nobody(taken: ApprovalRequest) -> list[str]:
    """Say that a granted call has nobody who would run it, where that is so."""
    from agp.contracts.control import SessionList
    from agp.contracts.gateway import ControlOp

    if taken.state.value != "granted":
        return []
    found = ask_if_running(ControlOp.SESSION_LIST, SessionList)
    away = {one.session_id for one in found.sessions if one.status == "away"} if found else set()
    if taken.session_id not in away:
        return []
    return ["Its `agp run` is gone: nothing runs unless that comes back in time."]


def _answered(taken: ApprovalRequest) -> str:
    what = visible(f"{taken.tool} in {taken.workspace}")
    if taken.state.value == "pending":
        return (
            f"{taken.approval_id}: {len(taken.granted_by)} of {taken.quorum} people agreed so far."
        )
    return f"{taken.approval_id} is {taken.state.value}: {what}"


def _inbox(waiting: tuple[ApprovalRequest, ...], now: datetime) -> list[str]:
    """Give one row for each question, and below it what would happen and why it is asked."""
    if not waiting:
        return ["Nothing waits for an answer."]
    heads = ("ID", "AGENT", "SESSION", "RULE", "AGE", "EXPIRES")
    rows = [
        (
            visible(one.approval_id),
            _agent(one),
            visible(one.session_id),
            visible(one.rule_id),
            since(now, one.requested_at),
            since(now, one.expires_at),
        )
        for one in waiting
    ]
    head, *body = table(heads, rows)
    hint = "Look closer: agp approvals ID. Answer: agp approve ID, agp deny ID --reason '...'"
    return [
        head,
        *(line for row, one in zip(body, waiting, strict=True) for line in (row, *_gist(one))),
        "",
        hint,
    ]


def _gist(one: ApprovalRequest) -> tuple[str, ...]:
    effects = ", ".join(effect.describe() for effect in one.effects)
    return (
        f"    effect  {visible(effects, limit=_GIST)}",
        f"    why     {visible(one.reason, limit=_GIST)}",
        *(f"    who     {text}" for text in _who(one)),
    )


def _who(one: ApprovalRequest) -> tuple[str, ...]:
    """Say whose answer counts, where a rule says so; the daemon answers its own user only.

    The names come from a policy file, which may be a repository's own: untrusted text.
    """
    if one.approvers is None and one.quorum == 1:
        return ()
    names = "anyone" if one.approvers is None else ", ".join(sorted(one.approvers))
    needed = f"; {one.quorum} people must agree" if one.quorum > 1 else ""
    agreed = f" (so far: {', '.join(one.granted_by)})" if one.granted_by else ""
    return (visible(f"{names}{needed}{agreed}"), f"your answer counts as uid:{os.geteuid()}")


def _cards(waiting: tuple[ApprovalRequest, ...], now: datetime) -> list[str]:
    if not waiting:
        return ["Nothing waits for an answer."]
    return [line for one in waiting for line in (*_card(one, now), "")]


def _card(one: ApprovalRequest, now: datetime) -> tuple[str, ...]:
    """Show one question whole: a person decides about what is printed here."""
    says = f"  the agent says: {visible(one.says)}"
    blind = [f"  cannot see      {visible(text)}" for text in one.cannot_see]
    return (
        f"{visible(one.approval_id)}  expires in {since(now, one.expires_at)}",
        f"  agent           {_agent(one)}, session {visible(one.session_id)}, {one.grade.value}",
        f"  repo            {visible(one.workspace)}",
        f"  directory       {visible(one.cwd)}",
        f"  call            {visible(one.tool)} {visible(one.input_json, limit=_WHOLE)}",
        *_left_out(one.input_left_out, "characters of the call", one),
        *(f"  effect          {visible(e.describe())}" for e in one.effects),
        *_left_out(one.effects_left_out, "effects", one),
        *(f"  network         {text}" for text in _network(one)),
        *blind,
        f"  rule            {visible(one.rule_id)}: {visible(one.reason)}",
        *(f"  who             {text}" for text in _who(one)),
        *([says] if one.says else []),
        f"  answer          agp approve {visible(one.approval_id)}, or agp deny it with a --reason",
    )


def _network(one: ApprovalRequest) -> tuple[str, ...]:
    from agp.channels.effect_words import network_in_words

    if one.network is None:
        return ()
    return (visible(network_in_words(one.network), limit=_WHOLE),)


def _left_out(count: int, what: str, one: ApprovalRequest) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"  LEFT OUT        {count} {what}: read it with agp approvals {one.approval_id}",)


def _agent(one: ApprovalRequest) -> str:
    sub = f"/{one.agent_id}" if one.agent_id else ""
    return visible(f"{one.harness}{sub}")
