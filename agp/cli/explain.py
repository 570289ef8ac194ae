"""`help`: the exit codes and every error of the tree, offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agp.cli.error_help import ERROR_HELP
from agp.cli.output import table
from agp.cli.wire import output_of
from agp.errors import AgpError, UsageRefused

if TYPE_CHECKING:
    from pydantic import JsonValue

    from agp.cli.output import Output

OTHER_EXITS = (
    (0, "", "done; for `run`: governed and finished"),
    (1, "AGP-1000", ERROR_HELP["AGP-1000"].means),
    (130, "", "interrupted by Ctrl-C"),
    (141, "", "the reader of the output went away"),
)
"""Exits that no class of the tree carries; 1 is also the tree's root."""


def register(app: typer.Typer) -> None:
    """Put this group's command on the command line."""
    app.command(name="help")(explain)


def explain(
    ctx: typer.Context,
    topic: Annotated[
        list[str] | None,
        typer.Argument(help="`exit-codes`, an error such as AGP-1301, or a command."),
    ] = None,
) -> int:
    """Explain the exit codes, one error code, or one command."""
    output = output_of(ctx)
    words = topic or ["exit-codes"]
    found = next((cls for cls in all_errors() if [cls.code] == [w.upper() for w in words]), None)
    if words == ["exit-codes"]:
        _show_exit_codes(output)
    elif found is not None:
        _show_error(found, output)
    elif _is_command(ctx, words):
        from agp.cli.app import run_command_line

        return run_command_line([*words, "--help"])
    else:
        raise UsageRefused(
            f"there is no topic {' '.join(words)}", fix="agp help exit-codes, or agp help run"
        )
    return 0


def _show_exit_codes(output: Output) -> None:
    rows = exit_code_rows()
    document: list[JsonValue] = [
        {"exit_code": number, "code": code, "meaning": meaning} for number, code, meaning in rows
    ]
    lines = table(("EXIT", "ERROR", "MEANING"), [(str(n), c, m) for n, c, m in rows])
    output.show("help-exit-codes", {"exit_codes": document}, lines)


def _show_error(found: type[AgpError], output: Output) -> None:
    told = ERROR_HELP[found.code]
    body: dict[str, JsonValue] = {
        "code": found.code,
        "exit_code": found.exit_code,
        "meaning": told.means,
        "cause": told.cause,
        "fix": told.fix,
    }
    lines = [
        f"{found.code}, exit code {found.exit_code}: {told.means}",
        f"  cause: {told.cause}",
        f"  fix: {told.fix}",
    ]
    output.show("help-error", body, lines)


def _is_command(ctx: typer.Context, words: list[str]) -> bool:
    """Walk down the command tree; typer's own classes are not public."""
    at: object = ctx.find_root().command
    for word in words:
        at = getattr(at, "commands", {}).get(word)
    return at is not None


def all_errors() -> tuple[type[AgpError], ...]:
    """List every class of the error tree, parents before children."""
    found: list[type[AgpError]] = []
    waiting: list[type[AgpError]] = [AgpError]
    while waiting:
        cls = waiting.pop(0)
        found.append(cls)
        waiting.extend(cls.__subclasses__())
    return tuple(found)


def exit_code_rows() -> tuple[tuple[int, str, str], ...]:
    """Give every exit code with its error and its meaning, in numerical order."""
    tree = (
        (c.exit_code, c.code, ERROR_HELP[c.code].means) for c in all_errors() if c is not AgpError
    )
    return tuple(sorted((*OTHER_EXITS, *tree)))
