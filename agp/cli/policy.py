"""`policy check|reload`: read policy files as the daemon would, and have it read them again."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from agp.cli.wire import ask_daemon, output_of
from agp.contracts.display import visible
from agp.errors import PolicyError, UsageRefused

if TYPE_CHECKING:
    from pydantic import JsonValue

    from agp.policy.rules import Rule

_LOCAL = re.compile(r"uid:(0|[1-9][0-9]{0,9})")
"""Who answers over the operator's socket: the kernel names the peer (unix(7), SO_PEERCRED)."""

policies = typer.Typer(help="Read and check policy files.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Put this group's commands on the command line."""
    app.add_typer(policies, name="policy")


@policies.callback()
def policy() -> None:
    """Read and check policy files."""


@policies.command()
def check(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Policy files.")],
    *,
    tier: Annotated[
        str, typer.Option(help="As whose rules: admin, user, default or workspace.")
    ] = "user",
) -> None:
    """Read policy files strictly; the first mistake is told with its line and column."""
    from agp.contracts.policy import Tier

    known = {one.value: one for one in (Tier.ADMIN, Tier.USER, Tier.DEFAULT, Tier.WORKSPACE)}
    if tier not in known:
        raise UsageRefused(f"there is no tier {tier}", fix=f"known: {', '.join(known)}")
    from agp.policy.language import load_policy_file

    loaded = [load_policy_file(_read(path), name=str(path), tier=known[tier]) for path in files]
    counted = [(str(path), len(one.rules)) for path, one in zip(files, loaded, strict=True)]
    document: dict[str, JsonValue] = {
        "files": [{"path": path, "rules": rules} for path, rules in counted]
    }
    lines = [f"ok  {visible(path)}: {rules} rules" for path, rules in counted]
    output = output_of(ctx)
    output.show("policy-check", document, lines)
    for path, one in zip(files, loaded, strict=True):
        for rule in one.rules:
            for trouble in _unanswerable(rule):
                output.note(visible(f"warning: {path}: rule {rule.id}: {trouble}"))


@policies.command()
def reload(ctx: typer.Context) -> None:
    """Have the daemon read its policy files again; a broken file changes nothing."""
    from agp.contracts.gateway import ControlOp
    from agp.contracts.journal import PolicyLoaded

    try:
        loaded = ask_daemon(ControlOp.POLICY_RELOAD, PolicyLoaded)
    except PolicyError:
        output_of(ctx).note("Nothing changed: the rules that were in force stay in force.")
        raise
    counted = f"{loaded.rules} rules of {len(loaded.files)} files"
    line = f"In force now: {counted}, {loaded.policy_digest[:16]}."
    output_of(ctx).show("policy-reload", loaded.model_dump(mode="json"), [line])


def _unanswerable(rule: Rule) -> list[str]:
    """Say where nobody can give the answer that a rule waits for: its questions only expire."""
    named = rule.approvers or frozenset()
    troubles = [
        f"no channel of this version answers as {name}; a local answer is uid:N (id -u)"
        for name in sorted(named)
        if not _LOCAL.fullmatch(name)
    ]
    if rule.quorum > 1:
        troubles.append(
            f"a quorum of {rule.quorum} cannot be met: in this version only the user who runs"
            " the daemon answers"
        )
    return troubles


def _read(path: Path) -> bytes:
    from agp.daemon.files import read_regular
    from agp.daemon.shelf import SIZE_LIMIT

    try:
        return read_regular(path, limit=SIZE_LIMIT)
    except OSError as error:
        raise PolicyError(
            "a policy file cannot be read",
            where=str(path),
            why=error.strerror or "",
            fix="name a file that you can read; yours is policy.yaml in AGP's home (`agp init`)",
        ) from error
