"""MCP servers that the configuration names: planned before a launch, checked again at a start.

A server is its argument vector, the program that this resolves to, and the hashes of every file
that the vector names; its label is only how the agent calls it. What lies in the workspace is left
out: an agent could have written it, and a configuration is not a decision about a repository. A
server starts in the workspace, so a word is a place there whenever it is a name there.

Hashing narrows, it does not close: what a server's script imports is bounded by its view only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agp.contracts.base import Contract, Digest
from agp.daemon.files import open_regular
from agp.errors import ConfigurationError, RunRefused
from agp.intendants.claude_code.environment import VIEW_PATH, check_name

if TYPE_CHECKING:
    from agp.daemon.config import Config, McpServer

_FILE_LIMIT: Final = 512 * 1024 * 1024
"""Bytes; node's own binary has about a hundred million."""


class PinnedFile(Contract):
    """A file in exec position, and what it held when the run was planned."""

    path: str
    """Absolute, every link followed."""
    sha256: Digest


class PlannedServer(Contract):
    """One server as it may be started in this run."""

    name: str
    argv: tuple[str, ...]
    """With the resolved program in the first place, and named files by their resolved paths."""
    files: tuple[PinnedFile, ...]
    """The program first, then every argument that is a file."""
    environment: tuple[str, ...] = ()
    egress: tuple[str, ...] = ()

    @property
    def digest(self) -> Digest:
        """Name all of it: what the journal says was planned."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return Digest(hashlib.sha256(b"agp/mcp/v1\0" + text.encode()).hexdigest())

    @property
    def outside_system(self) -> tuple[str, ...]:
        """Its files that no view shows by itself; the server's view shows them read-only."""
        return tuple(file.path for file in self.files if not file.path.startswith("/usr/"))


def plan_servers(
    config: Config, workspace: str, *, agp_home: str
) -> tuple[tuple[PlannedServer, ...], tuple[str, ...]]:
    """Resolve and hash what the configuration names; also say what is left out, and why."""
    planned: list[PlannedServer] = []
    left: list[str] = []
    for name, server in sorted(config.mcp_servers.items()):
        try:
            planned.append(_planned(name, server, (workspace, agp_home)))
        except RunRefused as error:
            left.append(f"mcp {name}: {error.what}: {error.where}")
    return tuple(planned), tuple(left)


def check_unchanged(server: PlannedServer, workspace: str) -> None:
    """Look again at every pinned file and every other word, just before the server is started.

    Raises:
        RunRefused: one is gone, or is not what was planned and journaled, or an agent has made
            what a word names in the workspace.
    """
    pinned = {file.path for file in server.files}
    for word in server.argv:
        if word not in pinned:
            _refuse_inside(word, (workspace,))
    for file in server.files:
        if os.path.realpath(file.path) != file.path or _sha256(file.path) != file.sha256:
            raise RunRefused(
                "a file of an MCP server changed after the run was planned",
                where=file.path,
                why="what was journaled at the start is not what would run",
                fix="start the run again",
            )


def _planned(name: str, server: McpServer, closed: tuple[str, ...]) -> PlannedServer:
    for variable in server.environment:
        check_name(variable)
    workspace = closed[0]
    program = _resolved(server.command[0], closed)
    argv, files = [program], [program]
    for word in server.command[1:]:
        place = os.path.join(workspace, word)  # noqa: PTH118 - an absolute word stays itself
        if os.path.isfile(place):  # noqa: PTH113 - a word may be no path at all, or a long text
            files.append(_inside(os.path.realpath(place), closed))
            argv.append(files[-1])
        else:
            _refuse_inside(word, closed)
            argv.append(word)
    return PlannedServer(
        name=name,
        argv=tuple(argv),
        files=tuple(PinnedFile(path=path, sha256=_sha256(path)) for path in dict.fromkeys(files)),
        environment=server.environment,
        egress=server.egress,
    )


def _resolved(word: str, closed: tuple[str, ...]) -> str:
    """Find the program by its absolute path, or by a bare name on the PATH of every view."""
    if "/" in word and not word.startswith("/"):
        raise RunRefused("its program has a relative path", where=word)
    found = shutil.which(word, path=VIEW_PATH)
    if found is None:
        raise RunRefused("its program is not there", where=word)
    return _inside(os.path.realpath(found), closed)


def _refuse_inside(word: str, closed: tuple[str, ...]) -> None:
    """Refuse a word that names a place in the workspace, or a part of which does.

    Attack: `python3 tools/server.py`, `--config=x.json`, `-Itools`: the agent writes that file, and
    the next start runs it with the server's secrets.
    """
    workspace = closed[0]
    glued = (word[2:],) if word.startswith("-") else ()
    for part in dict.fromkeys((word, *glued, *re.split("[=:,]", word))):
        place = os.path.join(workspace, part)  # noqa: PTH118 - an absolute part stays itself
        if part and (part.startswith("/") or os.path.lexists(place)):
            _inside(os.path.realpath(place), closed)


def _inside(path: str, closed: tuple[str, ...]) -> str:
    for place in closed:
        if path == place or path.startswith(place + "/"):
            raise RunRefused(
                "it lies where an agent could have written, or in AGP's home", where=path
            )
    return path


def _sha256(path: str) -> Digest:
    try:
        with open_regular(Path(path)) as file:
            if os.fstat(file.fileno()).st_size > _FILE_LIMIT:
                raise RunRefused("it is too large to be hashed", where=path)
            return Digest(hashlib.file_digest(file, "sha256").hexdigest())
    except (OSError, ConfigurationError) as error:
        raise RunRefused("it cannot be read", where=path) from error
