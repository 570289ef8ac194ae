"""`help`: the exit codes and every error of the tree, offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agp.cli.output import table
from agp.cli.wire import output_of
from agp.errors import AgpError, UsageRefused

if TYPE_CHECKING:
    from pydantic import JsonValue

OTHER_EXITS = (
    (0, "", "done; for `run`: governed and finished"),
    (1, "AGP-1000", "a defect of AGP itself: the traceback is shown, please report it"),
    (130, "", "interrupted by Ctrl-C"),
    (141, "", "the reader of the output went away"),
)
"""Exits that no class of the tree carries; 1 is also the tree's root."""


def register(app: typer.Typer) -> None:
    """Put this group's command on the command line."""
    app.command(name="help")(explain)


def explain(
    ctx: typer.Context,
    topic: Annotated[str, typer.Argument(help="`exit-codes`, or an error such as AGP-1301.")] = (
        "exit-codes"
    ),
) -> None:
    """Explain the exit codes, or one error code."""
    output = output_of(ctx)
    if topic == "exit-codes":
        rows = exit_code_rows()
        document: list[JsonValue] = [
            {"exit_code": number, "code": code, "meaning": meaning}
            for number, code, meaning in rows
        ]
        lines = table(("EXIT", "ERROR", "MEANING"), [(str(n), c, m) for n, c, m in rows])
        output.show("help-exit-codes", {"exit_codes": document}, lines)
        return
    found = next((cls for cls in all_errors() if cls.code == topic.upper()), None)
    if found is None:
        raise UsageRefused(f"there is no topic {topic}", fix="agp help exit-codes")
    sentence = first_line(found)
    body: dict[str, JsonValue] = {
        "code": found.code,
        "exit_code": found.exit_code,
        "meaning": sentence,
    }
    output.show("help-error", body, [f"{found.code}, exit code {found.exit_code}", sentence])


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
    tree = ((c.exit_code, c.code, first_line(c)) for c in all_errors() if c is not AgpError)
    return tuple(sorted((*OTHER_EXITS, *tree)))


def first_line(cls: type[AgpError]) -> str:
    """Give the sentence that a class says about itself."""
    return (cls.__doc__ or "").splitlines()[0]
