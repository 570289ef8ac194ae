"""What the commands share: the home they work on, and one question to the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from pathlib import Path

    import typer
    from pydantic import JsonValue

    from agp.cli.output import Output
    from agp.contracts.base import Contract
    from agp.contracts.gateway import ControlOp
    from agp.daemon.home import Home
    from agp.errors import ConfigurationError

    Reply = TypeVar("Reply", bound=Contract)

ANSWER_TIMEOUT_S = 10.0
"""A daemon that is alive answers within milliseconds."""


def output_of(context: typer.Context) -> Output:
    """Give the streams of this command line."""
    return cast("Output", context.obj)


def checked_home() -> Home:
    """Find AGP's home and refuse it where it is missing, foreign or open to others.

    Raises:
        ConfigurationError: with the command that mends it.
    """
    from agp.daemon.home import Home

    home = Home.from_environment()
    home.check()
    return home


def check_keys(home: Home) -> None:
    """Read both halves of the signing key before anything is started with them.

    Raises:
        ConfigurationError: one is missing or unfit; beside a journal a new one is no remedy.
    """
    import os

    from agp.errors import ConfigurationError
    from agp.journal.keys import read_public_key, read_signer

    try:
        read_signer(home.signing_key)
        read_public_key(home.public_key)
    except ConfigurationError as error:
        gone = [p for p in (home.signing_key, home.public_key) if not os.path.lexists(p)]
        if not gone:
            raise
        raise _keys_gone(home, gone) from error


def _keys_gone(home: Home, gone: list[Path]) -> ConfigurationError:
    from agp.errors import ConfigurationError

    if gone == [home.public_key]:
        why, fix = "", "run `agp init`: it derives the public key from the signing key"
    elif any(home.journal.glob("*")):
        why = "a new key could not continue the journal that the old one signed"
        fix = "restore keys/ from your backup, or begin a new home with AGP_HOME"
    else:
        why, fix = "", "run `agp keygen`"
    return ConfigurationError("a key is missing", where=str(gone[0]), why=why, fix=fix)


def ask_if_running(op: ControlOp, reply: type[Reply], args: Contract | None = None) -> Reply | None:
    """Ask as `ask_daemon` does; None where nobody listens at this home.

    The lock is not probed for this: to hold it, if only for a moment, could turn a daemon away
    that starts just now.

    Raises:
        DaemonAway: somebody listens and does not answer: that is not "not running".
    """
    from agp.errors import DaemonAway

    try:
        return ask_daemon(op, reply, args)
    except DaemonAway as error:
        if not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            raise
        return None


def ask_daemon(op: ControlOp, reply: type[Reply], args: Contract | None = None) -> Reply:
    """Ask the daemon one thing and read its answer.

    Raises:
        DaemonAway: nobody answers at this home.
        MessageRefused: the answer is not what this version expects.
        AgpError: what the daemon itself refused, in its own class.
    """
    import json

    from pydantic import ValidationError

    from agp.errors import MessageRefused
    from agp.gateway.once import call_once

    home = checked_home()
    body = cast("dict[str, JsonValue]", {} if args is None else args.model_dump(mode="json"))
    result = call_once(home.control_socket, op, body, timeout_s=ANSWER_TIMEOUT_S)
    try:
        return reply.model_validate_json(json.dumps(result))
    except ValidationError as error:
        raise MessageRefused(
            f"the daemon's answer to {op.value} was not understood",
            where=str(home.control_socket),
            why="it may be another version of AGP",
            fix="agp daemon stop, then start it again",
        ) from error
