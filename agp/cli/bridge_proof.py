"""Two proofs over the shipped bridge: a denial arrives, and silence is a denial too."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

from agp.errors import ConfigurationError

INTERPRETER = Path("/usr/bin/python3")
"""The one that a harness's view shows."""
_BLOCKED = 2
_REASON = b"denied by agp doctor"
_BODY = b'{"hook_event_name":"PreToolUse"}'
_TIMEOUT_S = 15.0


def prove_denied_call(place: Path) -> None:
    """Answer one hook with a denial and see the bridge exit 2 with exactly that reason.

    Raises:
        ConfigurationError: it did anything else.
    """
    path = place / "deny.sock"
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(_TIMEOUT_S)
        thread = threading.Thread(target=_deny_one, args=(listener, heard), daemon=True)
        thread.start()
        done = _run_bridge(path)
        thread.join(_TIMEOUT_S)
    expected = b"AGP1 claude-code PreToolUse %d\n" % len(_BODY) + _BODY
    if done.returncode != _BLOCKED or _REASON not in done.stderr or heard != [expected]:
        raise _wrong("the bridge did not carry a denied call", done)


def prove_no_daemon(place: Path) -> None:
    """Let the bridge find nobody and see it block.

    Raises:
        ConfigurationError: it did anything else.
    """
    done = _run_bridge(place / "nobody.sock")
    if done.returncode != _BLOCKED or done.stdout:
        raise _wrong("the bridge did not block without a daemon", done)


def _deny_one(listener: socket.socket, heard: list[bytes]) -> None:
    """Serve one connection; where it breaks, `heard` stays empty and the proof fails."""
    try:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(_TIMEOUT_S)
            data = b""
            while not data.endswith(_BODY):
                chunk = connection.recv(65_536)
                if not chunk:
                    return
                data += chunk
            heard.append(data)
            connection.sendall(b"AGP1 %d 0 %d\n%s" % (_BLOCKED, len(_REASON), _REASON))
    except OSError:
        return


def _run_bridge(path: Path) -> subprocess.CompletedProcess[bytes]:
    from agp.daemon.shipped import shipped

    bridge = shipped("hooks/agp-bridge")
    hook = ("claude-code", "PreToolUse", str(path), "1", "5")
    command = (str(INTERPRETER), "-I", "-S", str(bridge), *hook)
    try:
        return subprocess.run(
            command, input=_BODY, capture_output=True, check=False, timeout=_TIMEOUT_S, env={}
        )
    except FileNotFoundError as error:
        raise ConfigurationError(
            "the interpreter of the bridge is missing",
            where=str(INTERPRETER),
            fix="install Python 3.11 or later there (Debian: apt-get install python3)",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError("the bridge hung", where=str(bridge)) from error


def _wrong(what: str, done: subprocess.CompletedProcess[bytes]) -> ConfigurationError:
    said = done.stderr[-500:].decode("utf-8", "replace")
    return ConfigurationError(
        what,
        why=f"it exited {done.returncode} and said {said!r}",
        fix="install AGP again; a bridge that was changed must not be used",
    )
