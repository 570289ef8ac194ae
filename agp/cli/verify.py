"""`verify`: check a journal offline, with a public key and nothing else."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agp.cli.wire import output_of
from agp.contracts.display import visible
from agp.errors import ConfigurationError, IntegrityError

if TYPE_CHECKING:
    from pydantic import JsonValue

    from agp.cli.output import Output
    from agp.daemon.home import Home
    from agp.journal.keys import PublicKey
    from agp.journal.verify import VerifyReport

_ANCHOR_LIMIT = 65_536
"""Bytes of a signed checkpoint that are read; real ones have a few hundred."""


def register(app: typer.Typer) -> None:
    """Put this group's command on the command line."""
    app.command()(verify)


def verify(
    ctx: typer.Context,
    path: Annotated[
        Path | None, typer.Argument(help="The journal's directory; AGP's own without it.")
    ] = None,
    *,
    key: Annotated[
        Path | None, typer.Option(help="The public key file, obtained from outside the log.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="A signed checkpoint that was kept elsewhere; `-`: stdin.")
    ] = None,
) -> int:
    """Check every line of a journal: untouched, and complete against an anchor."""
    from agp.daemon.home import Home
    from agp.journal.keys import read_public_key
    from agp.journal.verify import Integrity, verify_directory

    home = Home.from_environment()
    output = output_of(ctx)
    if path is None and against is None and is_fresh(home):
        nothing: dict[str, JsonValue] = {
            "integrity": "NOTHING",
            "completeness": "UNANCHORED",
            "lines": 0,
        }
        line = "Nothing recorded yet: this home has no journal. `agp run` begins one."
        output.show("verify", nothing, [line])
        return 0
    directory = path or home.journal
    public_key = read_public_key(home.public_key) if key is None else _given(key)
    anchor = None if against is None else _read_anchor(against)
    try:
        report = verify_directory(directory, public_key, anchor)
    except IntegrityError as error:
        raise _failed(error, directory) from error
    output.show("verify", report.model_dump(mode="json"), _lines(report, directory, output))
    trusted = report.integrity in {Integrity.OK, Integrity.UNKNOWN}
    return 0 if trusted else IntegrityError.exit_code


def is_fresh(home: Home) -> bool:
    """Tell whether nothing was ever recorded: a used home without its journal is no fresh one.

    Raises:
        ConfigurationError: there is no home.
    """
    home.check()
    used = (home.store, home.log)
    return not any(home.journal.glob("*")) and not any(map(os.path.lexists, used))


def _given(key: Path) -> PublicKey:
    """Read the key that was named; a new key would be no help to whoever named a wrong file.

    Raises:
        ConfigurationError: it is none.
    """
    from agp.journal.keys import read_public_key

    try:
        return read_public_key(key)
    except ConfigurationError as error:
        raise ConfigurationError(
            error.what,
            where=str(key),
            why=error.why,
            fix="give the public key of this journal: keys/signing.pub of the home that wrote it",
        ) from error


def _failed(error: IntegrityError, directory: Path) -> IntegrityError:
    """Put the verdict first, and the whole path beside the place."""
    return type(error)(
        f"INTEGRITY FAILED: {error.what}",
        where=f"{directory}: {error.where}" if error.where else str(directory),
        why=error.why,
        fix=error.fix or "compare the directory with a copy of it",
    )


def _read_anchor(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(_ANCHOR_LIMIT)
        with Path(name).open("rb") as file:
            return file.read(_ANCHOR_LIMIT)
    except OSError as error:
        raise ConfigurationError(
            "the anchor cannot be read",
            where=name,
            why=error.strerror or "",
            fix="name a checkpoint that you copied away earlier, or `-` for standard input",
        ) from error


def _lines(report: VerifyReport, directory: Path, output: Output) -> list[str]:
    """Say both verdicts in full sentences; a part that is proved never sounds like the whole."""
    return [
        *_integrity(report, output),
        *_completeness(report, directory, output),
        "",
        f"  journal     {visible(str(directory))}, log {report.log_id}",
        f"  events      0 to {report.lines - 1}, {report.segments} segment(s)",
        f"  claimed     {visible(report.first_ts)} to {visible(report.last_ts)}",
        f"  keys        {', '.join(report.key_ids)}",
        f"  root        {report.root}",
        f"  checkpoints {report.checkpoints} proved inside the log",
        *([f"  repairs     {report.repairs}"] if report.repairs else []),
        *_observed(report, output),
    ]


def _observed(report: VerifyReport, output: Output) -> list[str]:
    """Say that rules were not always enforced: an allow in such a journal may be none of theirs."""
    if not report.let_through:
        return []
    told = f"{report.let_through} calls ran against a rule, in observe mode (agp observe report)"
    return [f"  observed    {output.paint(told, 'yellow')}"]


def _integrity(report: VerifyReport, output: Output) -> list[str]:
    from agp.journal.verify import Integrity

    events = f"{report.lines} events"
    if report.integrity is Integrity.DISTRUSTED:
        head = f"DISTRUSTED: {report.distrusted_lines} of {events} are signed by a revoked key."
        return [output.paint(head, "red")]
    ok = f"INTEGRITY OK: all {events} are exactly what was sealed and signed."
    if report.integrity is Integrity.OK:
        return [output.paint(ok, "green")]
    unknown = [f"  event {line.seq}: {visible(line.why)}" for line in report.unknown]
    told = f"{report.unknown_lines} of them say something that this version does not know:"
    return [output.paint(ok, "green"), output.paint(told, "yellow"), *unknown]


def _completeness(report: VerifyReport, directory: Path, output: Output) -> list[str]:
    from agp.journal.checkpoint import CHECKPOINT_FILE
    from agp.journal.verify import Completeness

    if report.completeness is Completeness.ANCHORED:
        end = (report.anchor_size or 0) - 1
        head = f"ANCHORED: nothing is missing up to event {end}, by the checkpoint that you gave."
        return [output.paint(head, "green")]
    copy = f"cp {shlex.quote(str(directory / CHECKPOINT_FILE))} SOMEWHERE-ELSE"
    return [
        output.paint("UNANCHORED: whether events are missing at the end is not proved.", "yellow"),
        "  A log and its checkpoint can be rolled back together; only a checkpoint that was kept",
        "  elsewhere shows it. Keep one now, and give it later: agp verify --against FILE",
        *([f"    {visible(copy)}"] if report.local_checkpoint_size else []),
    ]
