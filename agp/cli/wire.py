"""What the commands share: the home they work on, and one question to the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    import typer
    from pydantic import JsonValue

    from agp.cli.output import Output
    from agp.contracts.base import Contract
    from agp.contracts.gateway import ControlOp
    from agp.daemon.home import Home

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
