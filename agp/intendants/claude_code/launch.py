"""The launch: everything that starts one governed Claude Code, as one value, and its digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath

from pydantic import Field

from agp.contracts.base import Contract, Digest
from agp.contracts.intendant import LaunchPlan
from agp.errors import RunRefused
from agp.intendants.claude_code.arguments import read_arguments, read_task
from agp.intendants.claude_code.carried import CALL_PATH, CarriedSet
from agp.intendants.claude_code.environment import (
    CALL_VIEW_ENVIRONMENT,
    OWN_NAMES,
    SCREEN_ENVIRONMENT,
    build_environment,
)
from agp.intendants.claude_code.hand_over import HAND_OVER_PATH, SHELL_PATH, TYPED_PATH
from agp.intendants.claude_code.settings import (
    BRIDGE_PATH,
    HARNESS,
    SETTINGS_PATH,
    check_settings,
    format_settings,
)

CLAUDE_PATH = "/opt/agp/claude"
FORWARD_PATH = "/opt/agp/forward"
_GOVERNED = (
    "--setting-sources",
    "",
    "--strict-mcp-config",
    "--permission-mode",
    "default",
)
_STREAM = (
    "--output-format",
    "stream-json",
    "--verbose",
    "--include-hook-events",
)


class CallFiles(Contract):
    """What a harness needs so that its calls run in views of their own."""

    shim: bytes = Field(min_length=1)
    hand_over: bytes = Field(min_length=1)
    shell: bytes = Field(min_length=1)
    typed: bytes = Field(min_length=1)

    @property
    def in_view(self) -> tuple[tuple[str, bytes], ...]:
        """Each at its place in the view."""
        return (
            (CALL_PATH, self.shim),
            (HAND_OVER_PATH, self.hand_over),
            (SHELL_PATH, self.shell),
            (TYPED_PATH, self.typed),
        )


class LaunchRequest(Contract):
    """What a person asked for, and what was found on this machine."""

    task: str
    arguments: tuple[str, ...] = ()
    """Extra arguments, as the person wrote them."""
    executable: str
    """The native binary on the host: absolute, every link followed, its version checked."""
    executable_sha256: Digest
    version: str
    bridge: bytes = Field(min_length=1)
    forwarder: bytes = Field(min_length=1)
    reconnect_s: int = Field(ge=1, le=300)
    model_relay: bool
    """True: the model is reached at 127.0.0.1:8080 of the view; False: through the proxy."""
    git_name: str = Field(min_length=1)
    git_email: str = Field(min_length=1)
    named_environment: tuple[tuple[str, str], ...] = ()
    """The variables that the operator named in `pass_environment`, with their values."""
    denied_reads: tuple[str, ...] = ()
    """What the policy denies for reading, as the harness's own rules; see `read_rules`."""
    unsafe: tuple[str, ...] = ()
    call_files: CallFiles | None = None
    """None: the harness runs its calls itself, beside it."""
    carried: CarriedSet = CarriedSet()
    """What of the person's own set-up goes back."""


def plan_launch(request: LaunchRequest) -> LaunchPlan:
    """Say exactly what is started: argument vector, environment, files, all from nothing.

    Raises:
        RunRefused: a task, an argument or a variable that would loosen the governed run.
    """
    task = read_task(request.task)
    extra = (*request.carried.arguments, *read_arguments(request.arguments))
    return _plan(request, ("-p", *_GOVERNED, *_STREAM, *extra, "--", task))


def plan_screen(request: LaunchRequest) -> LaunchPlan:
    """Say exactly what is started for a person at the harness's own screen; as `plan_launch`.

    A task is the first prompt; without one the screen waits for it.

    Raises:
        RunRefused: a task, an argument or a variable that would loosen the governed run.
    """
    first = ("--", read_task(request.task)) if request.task else ()
    extra = (*request.carried.arguments, *read_arguments(request.arguments))
    plan = _plan(request, (*_GOVERNED, *extra, *first))
    environment = tuple(sorted((*plan.environment, *SCREEN_ENVIRONMENT)))
    return LaunchPlan.model_validate(
        {**dict(plan), "environment": environment, "interactive": True}
    )


def _plan(request: LaunchRequest, words: tuple[str, ...]) -> LaunchPlan:
    """Put one argument vector together with everything that governs it."""
    if not PurePosixPath(request.executable).is_absolute():
        raise RunRefused("the harness's executable has no absolute path", where=request.executable)
    environment = build_environment(
        model_relay=request.model_relay,
        git_name=request.git_name,
        git_email=request.git_email,
        named=request.named_environment,
    )
    if request.call_files is not None:
        environment = tuple(sorted((dict(environment) | dict(CALL_VIEW_ENVIRONMENT)).items()))
    reads = request.denied_reads
    settings = format_settings(reconnect_s=request.reconnect_s, denied_reads=reads)
    check_settings(settings, reconnect_s=request.reconnect_s, denied_reads=reads)
    return LaunchPlan(
        intendant=HARNESS,
        version=request.version,
        argv=(CLAUDE_PATH, *words),
        environment=environment,
        files=(
            (SETTINGS_PATH, settings),
            (BRIDGE_PATH, request.bridge),
            (FORWARD_PATH, request.forwarder),
            *(() if request.call_files is None else request.call_files.in_view),
            *request.carried.files,
        ),
        harness_files=((request.executable, CLAUDE_PATH),),
        home_files=request.carried.home_files,
        settings_digest=_sha256(settings),
        harness_digest=request.executable_sha256,
        unsafe=request.unsafe,
    )


def launch_digest(plan: LaunchPlan) -> Digest:
    """Digest what is started, for the journal, before it starts.

    Covers argv, files, harness, the names of the environment and the values that AGP chose. What
    the operator named may be a secret, and a digest of a short secret is an oracle for it.
    """
    shape = {
        "argv": plan.argv,
        "environment": [[n, v if n in OWN_NAMES else ""] for n, v in plan.environment],
        "files": [[path, _sha256(content)] for path, content in plan.files],
        "harness": [plan.intendant, plan.version, plan.harness_digest, plan.harness_files],
        "unsafe": plan.unsafe,
        "home": plan.home_files,
    }
    text = json.dumps(shape, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return Digest(hashlib.sha256(b"agp/launch/v1\0" + text.encode()).hexdigest())


def _sha256(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())
