"""What one run is going to be, decided before anything of it exists."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agp.contracts.base import Digest
from agp.contracts.policy import Grade
from agp.daemon.carry import REFRESH_TARGET, look
from agp.daemon.config import CARRY_WORD
from agp.daemon.files import read_regular
from agp.daemon.mcp import PlannedServer, plan_servers
from agp.daemon.shelf import PolicyShelf
from agp.daemon.shipped import shipped
from agp.daemon.transcripts import Transcript, find, shelf_of
from agp.errors import RunRefused, UsageRefused
from agp.intendants.claude_code.arguments import read_arguments
from agp.intendants.claude_code.carried import CarriedSet
from agp.intendants.claude_code.environment import VIEW_HOME, check_name
from agp.intendants.claude_code.launch import (
    CallFiles,
    LaunchRequest,
    launch_digest,
    plan_launch,
    plan_screen,
)
from agp.intendants.claude_code.read_rules import MOST, read_rule
from agp.intendants.claude_code.version import check_version, find_executable
from agp.intendants.scripted import ScriptedCall, parse_script
from agp.policy.denied_reads import denied_reads
from agp.policy.targets import Root
from agp.sandbox.host import run_as

if TYPE_CHECKING:
    from agp.contracts.control import RunRequest
    from agp.contracts.intendant import LaunchPlan
    from agp.daemon.config import Config
    from agp.daemon.home import Home

_SHORTEST_SECRET = 8
"""Characters; a shorter value stands in too many harmless texts."""
_SCRIPT_LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True)
class Planned:
    """One run, planned."""

    intendant: str
    version: str
    workspace: str
    grade: Grade
    launch_digest: Digest
    egress: tuple[str, ...] = ()
    model_upstream: str = ""
    unsafe: tuple[str, ...] = ()
    observe: bool = False
    """The operator lets the session through; it changes nothing else that is planned."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Values of the variables that the operator hands over; never journaled."""
    launch: LaunchPlan | None = None
    """For a harness."""
    carried: tuple[str, ...] = ()
    """What of the person's set-up goes back, by name and digest; journaled and shown."""
    left: tuple[str, ...] = ()
    """What was asked for and does not, each with its reason; shown."""
    servers: tuple[PlannedServer, ...] = ()
    """The MCP servers that may be asked for in this run."""
    transcript: Transcript | None = None
    """The conversation that goes on."""
    calls: tuple[ScriptedCall, ...] = ()
    """For the scripted intendant."""


def plan_scripted(request: RunRequest, workspace: str) -> Planned:
    """Read the script whole; AGP executes its calls, each in a view of its own."""
    if request.script is None:
        raise UsageRefused("the scripted intendant plays a file", fix="--script FILE")
    path = Path(request.script)
    try:
        data = read_regular(path, limit=_SCRIPT_LIMIT)
    except OSError as error:
        raise UsageRefused(
            "the script cannot be read",
            where=str(path),
            why=error.strerror or "",
            fix="name a JSON file of calls that you can read; docs/harnesses.md shows one",
        ) from error
    return Planned(
        intendant="scripted",
        version="1",
        workspace=workspace,
        grade=Grade.CONFINED,
        launch_digest=Digest(hashlib.sha256(b"agp/script/v1\0" + data).hexdigest()),
        calls=parse_script(data, where=str(path), workspace=workspace),
    )


def plan_claude(home: Home, config: Config, request: RunRequest, workspace: str) -> Planned:
    """Find the harness, check its version, and write down everything that starts it.

    The grade is `confined`: every shell and server that it starts runs in a view of its own.
    """
    found = find_executable(
        config.claude_code, os.environ.get("PATH", os.defpath), workspace=workspace
    )
    executable = check_version(found, unsafe_version=request.unsafe_harness_version)
    upstream = "" if request.model_url is None else _upstream(request.model_url)
    model = () if request.model is None else ("--model", request.model)
    transcript = _transcript(home, request, workspace)
    carried, servers = _carried(home, config, request, workspace)
    who = _user_name()
    named = _named((*config.pass_environment, *request.pass_environment))
    plan = plan_screen if request.interactive else plan_launch
    launch = plan(
        LaunchRequest(
            task=request.task,
            arguments=(*model, *request.extra),
            executable=executable.path,
            executable_sha256=executable.sha256,
            version=executable.version,
            bridge=shipped("hooks/agp-bridge").read_bytes(),
            forwarder=shipped("hooks/agp-forward").read_bytes(),
            reconnect_s=config.reconnect_s,
            model_relay=bool(upstream),
            git_name=f"{who} (agent)",
            git_email=f"{who}@agp.invalid",
            named_environment=named,
            denied_reads=_denied_reads(home, workspace),
            unsafe=executable.unsafe,
            carried=carried,
            call_files=CallFiles(
                shim=shipped("hooks/agp-call").read_bytes(),
                hand_over=shipped("hooks/hand-over").read_bytes(),
                shell=shipped("hooks/agp-shell").read_bytes(),
                typed=shipped("hooks/agp-typed").read_bytes(),
            ),
        )
    )
    return Planned(
        intendant="claude-code",
        version=executable.version,
        workspace=workspace,
        grade=Grade.CONFINED,
        launch_digest=launch_digest(launch),
        egress=() if upstream else _egress(config, carried),
        model_upstream=upstream,
        unsafe=launch.unsafe,
        secrets=_secrets(named, servers),
        launch=launch,
        carried=(*carried.names, *(() if transcript is None else (transcript.said,))),
        left=carried.left,
        servers=servers,
        transcript=transcript,
    )


def _secrets(
    named: tuple[tuple[str, str], ...], servers: tuple[PlannedServer, ...]
) -> tuple[str, ...]:
    """Give the values that the operator hands over, to the harness or to a server."""
    values = [value for _, value in named]
    values += [os.environ[n] for s in servers for n in s.environment if n in os.environ]
    return tuple(value for value in values if len(value) >= _SHORTEST_SECRET)


def _carried(
    home: Home, config: Config, request: RunRequest, workspace: str
) -> tuple[CarriedSet, tuple[PlannedServer, ...]]:
    """Look at the person's set-up, and at the MCP servers that the configuration names.

    Raises:
        RunRefused: something asked for by its name cannot be handed back.
        UsageRefused: a word is nothing that can be carried.
    """
    odd = [word for word in request.carry if not re.fullmatch(CARRY_WORD, word)]
    if odd:
        raise UsageRefused(
            f"{odd[0]!r} is nothing that can be carried",
            fix="--carry login, login-refresh, memory, project-memory, skills, agents, "
            "project-skills, project-agents, skill:NAME or agent:NAME",
        )
    servers, left = plan_servers(config, workspace, agp_home=str(home.root))
    carried = look(
        (*config.carry, *request.carry),
        workspace=workspace,
        view_uid=run_as(workspace).uid,
        home=Path.home(),
        egress=() if request.model_url else config.egress,
        servers=servers,
    )
    told = CarriedSet.model_validate({**dict(carried), "left": (*carried.left, *left)})
    return told, servers


def _egress(config: Config, carried: CarriedSet) -> tuple[str, ...]:
    """Name what the session may reach: a login that may be renewed needs the place for it."""
    renewed = any(writable for _, _, writable in carried.home_files)
    return tuple(dict.fromkeys((*config.egress, *((REFRESH_TARGET,) if renewed else ()))))


def _transcript(home: Home, request: RunRequest, workspace: str) -> Transcript | None:
    """Find the conversation that the arguments go on with, before anything is started."""
    words = read_arguments(request.extra)
    asked = next((w.partition("=")[2] for w in words if w.startswith("--resume=")), None)
    if asked is None and "--continue" not in words:
        return None
    return find(shelf_of(home.harness, workspace), asked)


def _denied_reads(home: Home, workspace: str) -> tuple[str, ...]:
    """Spell what the policy files deny for reading as rules of the harness's own, where it can be.

    They are written once, for the whole session, and only refuse: the gate decides by the policy
    that the daemon has in force, also after a reload.

    Raises:
        PolicyError: a policy file is broken.
    """
    shelf = PolicyShelf(home)
    shelf.reload()
    base = {Root.WORKSPACE: workspace, Root.HOME: VIEW_HOME, Root.MACHINE: "/"}
    rules = (
        read_rule(base[target.root], target.parts)
        for target in denied_reads(shelf.open_workspace(workspace), intendant="claude-code")
    )
    return tuple(dict.fromkeys(filter(None, rules)))[:MOST]


def _user_name() -> str:
    """Name whose agent it is; a uid that the machine does not list is its number."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"


def _upstream(url: str) -> str:
    """Take `host:port` out of a model URL; the relay speaks plain HTTP to exactly that."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise UsageRefused(
            "the model URL has no usable port", where=url, fix="--model-url http://127.0.0.1:8000"
        ) from error
    odd = parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username
    if parts.scheme != "http" or not parts.hostname or port is None or odd:
        raise UsageRefused(
            "the model URL is not http://HOST:PORT",
            where=url,
            why="the relay carries plain HTTP to one host and port; TLS goes through `egress`",
            fix="--model-url http://127.0.0.1:8000",
        )
    return f"{parts.hostname}:{port}"


def _named(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Read the variables that the operator named, from the operator's own environment."""
    for name in names:  # first: to set one that is never handed over would be no remedy
        check_name(name)
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise RunRefused(
            f"the environment variable {missing[0]} is named to be handed over, and is not set",
            fix=f"export {missing[0]}=..., or do not name it",
        )
    return tuple((name, os.environ[name]) for name in dict.fromkeys(names))
