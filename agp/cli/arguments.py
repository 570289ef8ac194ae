"""What is read from a command line before typer sees it."""

from __future__ import annotations

from typing import NamedTuple


class Arguments(NamedTuple):
    """A command line without the switch that every command shares."""

    rest: tuple[str, ...]
    as_json: bool


def split_json(arguments: list[str]) -> Arguments:
    """Take `--json` out wherever it stands, except behind `--`, which belongs to the harness."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    ours, theirs = arguments[:end], arguments[end:]
    rest = (*(word for word in ours if word != "--json"), *theirs)
    return Arguments(rest, "--json" in ours)
