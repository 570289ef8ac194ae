"""One command to the daemon, synchronously: what the command line pays for at every start.

Standard library only: neither anyio nor pydantic is imported. The daemon checks the request
against its contract; the reply is checked here by hand, and anything unexpected is an error.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from agp.errors import DaemonAway, MessageRefused, OverLimit
from agp.gateway.failure import error_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic import JsonValue

MAX_LINE = 16 * 1024 * 1024
"""Bytes of one control line, in both directions, its newline included."""
_CHUNK = 65_536
_REQUEST_ID = 1


def call_once(
    path: Path, op: str, args: Mapping[str, JsonValue], *, timeout_s: float
) -> dict[str, JsonValue]:
    """Ask one operation and give its result; notices are passed over.

    Raises:
        DaemonAway: nobody answers at the path, or not in time, or the daemon hung up.
        MessageRefused: an argument is not Unicode, or the answer breaks the contract.
        OverLimit: the arguments are longer than a line may be.
        AgpError: the daemon's own failure, as the class that its code names.
    """
    line = _request(op, args)
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            _arm(connection, deadline)
            connection.connect(os.fspath(path))
            with suppress(BrokenPipeError):  # one that refuses early has said why: reading tells
                connection.sendall(line)
            return _reply(connection, deadline)
        except TimeoutError as error:
            raise daemon_away(path, f"it did not answer within {timeout_s:g} s") from error
        except OSError as error:
            raise daemon_away(path, error.strerror or str(error)) from error


def daemon_away(path: Path, why: str) -> DaemonAway:
    """Say that no daemon answers, and what to do."""
    return DaemonAway(
        "no AGP daemon answers", where=str(path), why=why, fix="start it with `agp daemon start`"
    )


def _request(op: str, args: Mapping[str, JsonValue]) -> bytes:
    request = {"v": 1, "id": _REQUEST_ID, "op": str(op), "args": dict(args)}
    try:
        line = json.dumps(request, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except ValueError as error:  # lone surrogates, as an argument that was no UTF-8 has them
        raise MessageRefused("an argument is not text that can be sent", why=str(error)) from error
    if len(line) > MAX_LINE:
        raise OverLimit(f"the arguments are longer than {MAX_LINE} bytes")
    return line


def _arm(connection: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)


def _reply(connection: socket.socket, deadline: float) -> dict[str, JsonValue]:
    data = bytearray()
    while True:
        _arm(connection, deadline)
        chunk = connection.recv(_CHUNK)
        if not chunk:
            raise ConnectionResetError("it hung up without an answer")
        data += chunk
        *lines, rest = data.split(b"\n") if b"\n" in chunk else (data,)
        for line in lines:
            answer = _object(line)
            if "notice" not in answer:
                return _result(answer)
        if len(rest) > MAX_LINE:
            raise MessageRefused("the daemon's answer is longer than a control line may be")
        data = bytearray(rest)


def _object(line: bytes | bytearray) -> dict[str, JsonValue]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MessageRefused("the daemon's answer is not JSON") from error
    if not isinstance(answer, dict):
        raise MessageRefused("the daemon's answer is not a JSON object")
    return answer


def _result(answer: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Check a reply: only an explicit `ok: true` for our request is a result."""
    result, failure = answer.get("result"), answer.get("failure")
    if answer.get("v") != 1:
        raise MessageRefused(
            f"this command speaks control version 1, the daemon {answer.get('v')!r}",
            fix="stop the daemon and start it again from this installation",
        )
    if isinstance(failure, dict) and answer.get("ok") is False:
        raise error_of({name: text for name, text in failure.items() if isinstance(text, str)})
    if answer.get("ok") is not True or answer.get("id") != _REQUEST_ID:
        raise MessageRefused("the daemon's answer is not one to this request")
    if not isinstance(result, dict) or failure is not None:
        raise MessageRefused("the daemon's answer has no result")
    return result
