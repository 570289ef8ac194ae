"""The command reference as Markdown, drawn from the commands themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer.main

if TYPE_CHECKING:
    from collections.abc import Iterator


def command_reference() -> str:
    """Draw every command with its usage, its sentence and its options."""
    from agp.cli.app import app

    return "\n".join(_commands(typer.main.get_command(app), "agp"))


def _commands(command: Any, path: str) -> Iterator[str]:
    """Walk a command tree; typer's own classes are not public, so nothing is known of its type."""
    below = getattr(command, "commands", None)
    if below is not None:
        for name in sorted(below):
            yield from _commands(below[name], f"{path} {name}")
        return
    yield f"### `{path}`\n"
    yield f"{command.help}\n"
    context = command.make_context(path, [], resilient_parsing=True)
    yield f"    {path} {' '.join(command.collect_usage_pieces(context))}\n"
    yield from _options(command, context)
    yield ""


def _options(command: Any, context: Any) -> list[str]:
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    rows = [record for record in records if record is not None and "--help" not in record[0]]
    return [f"- `{names}` {text}".rstrip() for names, text in rows]
