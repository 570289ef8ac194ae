"""Where AGP keeps its things: one directory, 0700, every file in it 0600."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Self

from agp.contracts.base import SessionId
from agp.errors import ConfigurationError

SOCKET_PATH_LIMIT = 107
"""Bytes that a Unix socket address holds on Linux, without the final zero (unix(7))."""


class Home:
    """The layout of `$AGP_HOME`; a value, it opens nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config.toml"
        self.policy = root / "policy.yaml"
        self.signing_key = root / "keys" / "signing.key"
        self.public_key = root / "keys" / "signing.pub"
        self.journal = root / "journal"
        self.calls = root / "calls"
        self.store = root / "store.db"
        self.proved = root / "proved.json"
        self.log = root / "daemon.log"
        self.harness = root / "harness"
        self.gone = root / "gone"
        """What ended sessions left, until it is removed."""
        self.run = root / "run"
        self.lock = self.run / "daemon.lock"
        self.control_socket = self.run / "control.sock"
        self.hooks = root / "hooks"
        """The bridge of installed hooks, and what `agp hooks` must remember."""
        self.hooks_socket = self.run / "hooks" / "ask.sock"
        """Where installed hooks ask; for the operator's own processes only."""

    @classmethod
    def from_environment(cls, environment: dict[str, str] | os._Environ[str] = os.environ) -> Self:
        """Find the home: `$AGP_HOME`, else `~/.agp`."""
        named = environment.get("AGP_HOME")
        root = Path(named) if named else Path.home() / ".agp"
        if not root.is_absolute():
            raise ConfigurationError(
                "AGP_HOME is not an absolute path", where=str(root), fix="export AGP_HOME=/path"
            )
        return cls(root)

    def ask_directory(self, session_id: SessionId) -> Path:
        """Name the only directory of AGP that a session's view may see, read-only."""
        return self.run / session_id / "ask"

    def session_directory(self, session_id: SessionId) -> Path:
        """Name the session's own directory: its HOME, its settings; removed at its end."""
        return self.root / "sessions" / session_id

    def create(self) -> None:
        """Make the directories, 0700; existing ones are tightened.

        Raises:
            ConfigurationError: the place cannot be written, or belongs to somebody else.
        """
        for directory in (
            self.root,
            self.root / "keys",
            self.journal,
            self.calls,
            self.run,
            self.root / "sessions",
            self.harness,
        ):
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                directory.chmod(0o700)
            except OSError as error:
                raise ConfigurationError(
                    "AGP's home cannot be written",
                    where=str(directory),
                    why=os.strerror(error.errno or 0),
                    fix="make it writable for you, or set AGP_HOME to a directory of yours",
                ) from error

    def check(self) -> None:
        """Refuse a home that others can enter, that is missing, or too long for a socket.

        Raises:
            ConfigurationError: with the command that mends it.
        """
        try:
            state = self.root.stat()
        except FileNotFoundError as error:
            raise ConfigurationError(
                "there is no AGP home here", where=str(self.root), fix="run `agp init`"
            ) from error
        if state.st_uid != os.geteuid():
            raise ConfigurationError(
                "AGP's home belongs to somebody else",
                where=str(self.root),
                why=f"its owner is uid {state.st_uid}, you are uid {os.geteuid()}",
                fix="set AGP_HOME to a directory of yours",
            )
        if stat.S_IMODE(state.st_mode) & 0o077:
            raise ConfigurationError(
                "others can enter AGP's home",
                where=str(self.root),
                fix=f"chmod 700 {self.root}",
            )
        self.check_length()

    def check_length(self) -> None:
        """Refuse a path that is too long for a socket, also of a home that is not there yet.

        Raises:
            ConfigurationError: it is.
        """
        longest = self.ask_directory(SessionId("s-" + "0" * 12)) / "model.sock"
        if len(os.fsencode(longest)) > SOCKET_PATH_LIMIT:
            raise ConfigurationError(
                "AGP's home has too long a path for its sockets",
                where=str(self.root),
                fix="set AGP_HOME to a shorter path (60 characters are always enough)",
            )
