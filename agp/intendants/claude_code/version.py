"""Which Claude Code: where its native executable is, and whether its version was proved.

What was proved is data: `versions.toml` beside this module, shipped in the wheel (ADR 0018).
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import tempfile
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from agp.contracts.base import Contract, Digest
from agp.errors import ConfigurationError, RunRefused

TABLE_PLACE = Path(__file__).with_name("versions.toml")
UNSAFE_VERSION = "unsafe-harness-version"
"""What a run with a version that was not proved carries in its plan and its journal."""
ANSWER_TIMEOUT_S = 30.0
_VERSION = re.compile(rb"(\d{1,6})\.(\d{1,6})\.(\d{1,6}) \(Claude Code\)\n?")
_PLATFORMS = {"x86_64": "linux-x64", "aarch64": "linux-arm64"}
_ELF = b"\x7fELF"


class ProvedVersion(Contract):
    """One version with which everything that AGP relies on was shown, and by what."""

    version: Annotated[str, Field(pattern=r"^[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}$")]
    proved: date
    test: Annotated[str, Field(pattern=r"^tests/[a-z0-9_/]+\.py$")]
    notes: tuple[Annotated[str, Field(min_length=1)], ...]
    """What differs from the other versions, one sentence each."""

    @property
    def parts(self) -> tuple[int, int, int]:
        """The version as numbers, to be compared."""
        return _parts(self.version)


class _Table(Contract):
    proved: Annotated[tuple[ProvedVersion, ...], Field(min_length=1)]


def read_table(data: bytes) -> tuple[ProvedVersion, ...]:
    """Read the version table: strict, oldest first, each version once.

    Raises:
        ConfigurationError: it is not such a table. AGP's own file is damaged: nothing starts.
    """
    try:
        found = _Table.model_validate(_tuples(tomllib.loads(data.decode("utf-8")))).proved
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise _damaged(str(error)) from error
    order = [entry.parts for entry in found]
    if order != sorted(set(order)):
        raise _damaged("the versions are not in order, oldest first, each once")
    return found


def _tuples(value: object) -> object:
    """Turn lists into tuples: the contracts are frozen and strict."""
    match value:
        case dict():
            return {name: _tuples(item) for name, item in value.items()}
        case list():
            return tuple(_tuples(item) for item in value)
        case _:
            return value


def _damaged(why: str) -> ConfigurationError:
    return ConfigurationError(
        "AGP's table of proved harness versions cannot be read",
        where=str(TABLE_PLACE),
        why=why,
        fix="reinstall AGP",
    )


def _parts(text: str) -> tuple[int, int, int]:
    major, minor, patch = (int(part) for part in text.split("."))
    return major, minor, patch


PROVED = read_table(TABLE_PLACE.read_bytes())
LOWEST = PROVED[0]
NEWEST = PROVED[-1]
INSTALL = (
    f"npm install -g @anthropic-ai/claude-code@{NEWEST.version}, "
    "or name it: claude_code in config.toml"
)


class Executable(Contract):
    """A native executable that said its own version."""

    path: str
    version: str
    sha256: Digest
    unsafe: tuple[str, ...] = ()


def find_executable(configured: str, path: str, *, workspace: str) -> Path:
    """Find the native executable: the configured path, else `claude` on `path` (a PATH value).

    Empty and relative entries of PATH are passed over: they name the current directory, which
    may be a repository. An npm wrapper is resolved to the native binary beside it, because only
    that one starts without Node and only its bytes are worth hashing.

    Raises:
        RunRefused: none is there, it is not native, or the agent could write it.
    """
    found = _configured(configured) if configured else _on_path(path)
    native = _native(found.resolve())
    if native.is_relative_to(Path(workspace).resolve()):
        raise RunRefused(
            "Claude Code lies inside the workspace",
            where=str(native),
            why="the agent could replace it",
            fix="install it elsewhere, or govern another directory",
        )
    return native


def check_version(executable: Path, *, unsafe_version: bool = False) -> Executable:
    """Ask the executable for its version, in an empty environment, and compare with the table.

    Raises:
        RunRefused: it does not answer, is older than the lowest proved version, or is a version
            that was not proved and `unsafe_version` was not given.
    """
    version = _ask(executable)
    text = ".".join(str(part) for part in version)
    if version < LOWEST.parts:
        raise RunRefused(
            f"Claude Code {text} cannot be governed",
            where=str(executable),
            why=f"versions below {LOWEST.version} ignore settings that the grant rests on",
            fix=INSTALL,
        )
    proved = any(version == entry.parts for entry in PROVED)
    unsafe = () if proved else (UNSAFE_VERSION,)
    if unsafe and not unsafe_version:
        raise RunRefused(
            f"Claude Code {text} was not proved",
            where=str(executable),
            why="its hooks are a contract that changes between versions; proved: "
            + ", ".join(entry.version for entry in PROVED),
            fix=f"{INSTALL}; or --unsafe-harness-version, which is journaled",
        )
    return Executable(path=str(executable), version=text, sha256=_hash(executable), unsafe=unsafe)


def _configured(configured: str) -> Path:
    if not Path(configured).is_absolute():
        raise RunRefused("the setting claude_code is not an absolute path", where=configured)
    if not os.access(configured, os.X_OK):
        raise _missing(configured)
    return Path(configured)


def _on_path(path: str) -> Path:
    for entry in path.split(os.pathsep):
        candidate = Path(entry) / "claude"
        if entry.startswith("/") and candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise _missing("PATH")


def _missing(where: str) -> RunRefused:
    return RunRefused("there is no Claude Code here", where=where, fix=INSTALL)


def _native(found: Path) -> Path:
    if _is_elf(found):
        return found
    package = f"claude-code-{_PLATFORMS.get(platform.machine(), 'unknown')}"
    for parent in found.parents:
        for scope in (parent, parent / "node_modules" / "@anthropic-ai"):
            native = scope / package / "claude"
            if scope.name == "@anthropic-ai" and _is_elf(native):
                return native.resolve()
    raise RunRefused(
        "this Claude Code is not a native executable, and none lies beside it",
        where=str(found),
        fix=INSTALL,
    )


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_ELF)) == _ELF
    except OSError:
        return False


def _ask(executable: Path) -> tuple[int, int, int]:
    with tempfile.TemporaryDirectory(prefix="agp-version-") as home:
        try:
            answer = subprocess.run(
                [str(executable), "--version"],
                env={"HOME": home, "PATH": "/usr/bin:/bin", "DISABLE_AUTOUPDATER": "1"},
                cwd=home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=ANSWER_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _silent(executable, str(error)) from error
    said = _VERSION.fullmatch(answer.stdout)
    if answer.returncode != 0 or said is None:
        raise _silent(executable, f"it ended with {answer.returncode} and said something else")
    major, minor, patch = (int(part) for part in said.groups())
    return major, minor, patch


def _silent(executable: Path, why: str) -> RunRefused:
    return RunRefused(
        "this is no Claude Code that says its version", where=str(executable), why=why, fix=INSTALL
    )


def _hash(executable: Path) -> Digest:
    with executable.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())
