"""The configuration: one TOML file into one frozen value; every default is the safe one."""

from __future__ import annotations

import hashlib
import tomllib
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

from agp.contracts.base import Contract, Digest
from agp.daemon.files import read_regular
from agp.errors import ConfigurationError, NotBuilt, OverLimit

if TYPE_CHECKING:
    from pathlib import Path


SIZE_LIMIT = 1024 * 1024
"""Bytes; a configuration has a few hundred."""


_NOT_BUILT = {
    "slack": "asking people in Slack",
    "docker": "running calls in Docker",
    "codex": "governing Codex",
}
"""Settings that a later version may have; an unknown one is refused as such."""


MCP_NAME = r"^[A-Za-z0-9](_?[A-Za-z0-9-]){0,31}$"
"""No `__`: the harness names a tool `mcp__SERVER__TOOL`, and one name must have one reading."""
CARRY_WORD = (
    r"^(login|login-refresh|memory|project-memory|skills|agents|project-skills|project-agents"
    r"|(skill|agent):[A-Za-z0-9][A-Za-z0-9_-]{0,63})$"
)
"""What may stand in `carry`; one alone of the person's own is `skill:NAME` or `agent:NAME`."""


class McpServer(Contract):
    """One `[mcp_servers.NAME]`: a program that a harness may speak the MCP protocol with."""

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    """Its argument vector; no shell reads it."""
    environment: tuple[str, ...] = ()
    """Names of environment variables that it gets of yours."""
    egress: tuple[str, ...] = ()
    """`host:port` names that it may reach."""


class Config(Contract):
    """What `config.toml` may say. Absent settings have the values below."""

    version: Literal[1] = 1
    origin: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-z0-9./_-]+$")] = (
        "agp.local/journal"
    )
    """The checkpoint's origin; choose a name of your own before the first event."""
    approval_timeout_s: Annotated[int, Field(ge=5, le=82_800)] = 600
    """How long a person may think where the rule names no `expires_s`; below the hook's own."""
    reconnect_s: Annotated[int, Field(ge=1, le=300)] = 30
    """How long a bridge looks for the daemon, counted anew after each break."""
    reattach_grace_s: Annotated[int, Field(ge=1, le=600)] = 45
    """How long the daemon waits for a waiter or a launcher that was cut off."""
    hooks_deadline_s: Annotated[int, Field(ge=5, le=300)] = 60
    """How long a harness may take to show live hooks before it is killed."""
    call_timeout_s: Annotated[int, Field(ge=1, le=86_400)] = 600
    """How long a call that AGP executes itself may run."""
    checkpoint_every_events: Annotated[int, Field(ge=1)] = 1000
    checkpoint_every_s: Annotated[int, Field(ge=1)] = 300
    disk_reserve_mib: Annotated[int, Field(ge=1)] = 64
    """Below this much free space the daemon pauses before the journal can break."""
    egress: tuple[str, ...] = ("api.anthropic.com:443",)
    """`host:port` names that a governed harness may reach, through AGP's proxy only."""
    toolchains: tuple[str, ...] = ()
    """Absolute directories that a view shows read-only besides /usr, e.g. a pyenv version."""
    claude_code: str = ""
    """Absolute path of the Claude Code executable; empty: looked up on PATH."""
    pass_environment: tuple[str, ...] = ()
    """Names of environment variables handed to the harness besides the built-in list."""
    carry: tuple[Annotated[str, Field(pattern=CARRY_WORD)], ...] = ("project-memory",)
    """What of your own set-up a harness gets; text alone by default, and only the repository's."""
    mcp_servers: dict[Annotated[str, Field(pattern=MCP_NAME)], McpServer] = Field(
        default_factory=dict
    )
    """MCP servers by name; each start is decided by the policy."""


def load_config(path: Path) -> Config:
    """Read the file; an absent file is the defaults.

    Raises:
        ConfigurationError: naming the file, the line or the setting, and what it should be.
        NotBuilt: it sets something up that this version does not have.
    """
    try:
        raw = read_regular(path, limit=SIZE_LIMIT)
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise ConfigurationError(
            "the configuration cannot be read",
            where=str(path),
            why=error.strerror or "",
            fix="make it a file that you can read; without one the defaults hold",
        ) from error
    except OverLimit as error:
        raise ConfigurationError(error.what, where=error.where) from error
    try:
        return Config.model_validate(_tuples(tomllib.loads(raw.decode("utf-8"))))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            "the configuration is not TOML",
            where=str(path),
            why=str(error),
            fix="mend the line; text values stand in quotes",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join(str(part) for part in first["loc"]) or "?"
        if setting in _NOT_BUILT:
            raise NotBuilt(
                f"{_NOT_BUILT[setting]} is not built yet",
                where=f"{path}: {setting}",
                fix=f"remove the setting {setting}",
            ) from error
        raise ConfigurationError(
            f"the setting {setting!r} is not acceptable",
            where=str(path),
            why=first["msg"],
            fix=f"known settings: {', '.join(Config.model_fields)}",
        ) from error


def digest_of(config: Config) -> Digest:
    """Name the configuration in force for the journal."""
    return Digest(hashlib.sha256(config.model_dump_json().encode()).hexdigest())


def _tuples(value: object) -> object:
    """TOML has arrays, the frozen value has tuples."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
