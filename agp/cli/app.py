"""The command line as a whole: its commands, and the one place that turns errors into exits."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from agp import __version__
from agp.cli import (
    approvals,
    control,
    daemon,
    doctor,
    explain,
    hooks,
    observe,
    policy,
    run,
    setup,
    verify,
)
from agp.cli.arguments import split_json
from agp.cli.output import Output, ReaderGoneError
from agp.cli.wire import output_of
from agp.errors import AgpError, UsageRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_INTERRUPTED = 130
"""128 + SIGINT: a person pressed Ctrl-C."""
EXIT_PIPE = 141
"""128 + SIGPIPE: the reader of our output went away."""

app = typer.Typer(
    name="agp",
    help="AGP governs coding agents: decided, asked, recorded and confined before anything runs.",
    epilog="`--json` works anywhere on the line. Exit codes: `agp help exit-codes`.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for group in (setup, doctor, run, hooks, control, approvals, verify, observe, policy, explain):
    group.register(app)
app.add_typer(daemon.app, name="daemon")


def _show_version(ctx: typer.Context, *, wanted: bool) -> None:
    if wanted:
        output_of(ctx).show("version", {"version": __version__}, [f"agp {__version__}"])
        raise typer.Exit


@app.callback()
def agp(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Read what stands before the command."""


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command line to its exit code; an expected error is told, never thrown.

    A defect of AGP keeps its traceback: it must be seen.
    """
    line = split_json(list(arguments))
    output = Output(sys.stdout, sys.stderr, as_json=line.as_json)
    try:
        return _dispatch(line.rest or ("--help",), output)
    except AgpError as error:
        output.fail(error)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except ReaderGoneError:
        # The interpreter flushes stdout once more at its end and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE


def _dispatch(rest: tuple[str, ...], output: Output) -> int:
    try:
        result = app(args=list(rest), prog_name="agp", standalone_mode=False, obj=output)
    except typer.TyperException as error:
        raise _usage_refused(error) from error
    return result if isinstance(result, int) else 0


def _usage_refused(error: typer.TyperException) -> UsageRefused:
    """Say a parser's complaint in the tree's words; it already names the nearest spelling."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "agp"
    return UsageRefused(error.format_message().rstrip("."), fix=f"{path} --help")
