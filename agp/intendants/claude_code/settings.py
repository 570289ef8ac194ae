"""The managed settings: what makes Claude Code unable to run anything without a grant.

Every key here was measured (`docs/harnesses.md`). One invalid hook entry is dropped with nothing
but a warning, so the bytes are re-read and checked before every launch: what is started is what
was checked.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from agp.contracts.base import Contract
from agp.contracts.gateway import HookEvent
from agp.contracts.strict_json import canonical_json, parse_json
from agp.errors import MessageRefused, RunRefused
from agp.intendants.claude_code.version import LOWEST

SETTINGS_PATH = "/etc/claude-code/managed-settings.json"
BRIDGE_PATH = "/opt/agp/agp-bridge"
ASK_SOCKET = "/run/agp/ask.sock"
INTERPRETER = "/usr/bin/python3"
HARNESS = "claude-code"
HOOK_TIMEOUT_S: Literal[86_400] = 86_400
"""The harness's own limit; honoured by 2.1.329, and far above every clock of ours."""
DECIDE_DEADLINE_S = 86_100
"""The bridge's whole wait for a decision: below the hook's timeout, above any approval's."""
REDEEM_DEADLINE_S = 5
OBSERVE_DEADLINE_S = 120
_MATCHED = frozenset(
    {
        HookEvent.PRE_TOOL_USE,
        HookEvent.PERMISSION_REQUEST,
        HookEvent.POST_TOOL_USE,
        HookEvent.POST_TOOL_USE_FAILURE,
    }
)
"""Events that take a tool matcher; `*` is every tool."""


def _lowest(version: str) -> str:
    if version != LOWEST.version:
        raise ValueError(f"the lowest proved version is {LOWEST.version}")
    return version


_READ_RULE = r"^Read\(//[^()]+\)$"


class _Hook(Contract):
    type: Literal["command"]
    command: str
    args: list[str]
    timeout: Literal[86_400]
    onFailure: Literal["block"]  # noqa: N815 - the harness's own key


class _Matcher(Contract):
    matcher: Literal["*"] | None = None
    hooks: Annotated[list[_Hook], Field(min_length=1, max_length=1)]


class _Permissions(Contract):
    deny: Annotated[list[Annotated[str, Field(pattern=_READ_RULE)]], Field(min_length=1)] | None = (
        None
    )
    """Reads that the policy denies, for what no hook decides; see `read_rules`."""
    ask: Annotated[list[Literal["*"]], Field(min_length=1, max_length=1)]
    denyInsteadOfPrompting: Literal[True]  # noqa: N815 - the harness's own key
    disableBypassPermissionsMode: Literal["disable"]  # noqa: N815 - likewise
    disableAutoMode: Literal["disable"]  # noqa: N815 - likewise


class _Settings(Contract):
    allowManagedHooksOnly: Literal[True]  # noqa: N815 - the harness's own key
    allowManagedPermissionRulesOnly: Literal[True]  # noqa: N815 - likewise
    disableAgentView: Literal[True]  # noqa: N815 - likewise
    disableAllHooks: Literal[False]  # noqa: N815 - likewise
    disableSkillShellExecution: Literal[True]  # noqa: N815 - likewise
    requiredMinimumVersion: Annotated[str, AfterValidator(_lowest)]  # noqa: N815 - likewise
    """The harness checks this itself too: an older one exits 1 before it does anything."""
    permissions: _Permissions
    hooks: dict[str, Annotated[list[_Matcher], Field(min_length=1, max_length=1)]]


def format_settings(*, reconnect_s: int, denied_reads: tuple[str, ...] = ()) -> bytes:
    """Write the managed settings for one session, as they are bound into its view.

    Exec form (`args`): without it the harness starts a shell around the hook, whose memory code
    of the same uid can open (measured).
    """
    settings = _Settings(
        allowManagedHooksOnly=True,
        allowManagedPermissionRulesOnly=True,
        disableAgentView=True,
        disableAllHooks=False,
        disableSkillShellExecution=True,
        requiredMinimumVersion=LOWEST.version,
        permissions=_Permissions(
            deny=[*denied_reads] or None,
            ask=["*"],
            denyInsteadOfPrompting=True,
            disableBypassPermissionsMode="disable",
            disableAutoMode="disable",
        ),
        hooks={event.value: [_entry(event, reconnect_s)] for event in HookEvent},
    )
    return json.dumps(settings.model_dump(exclude_none=True), indent=1).encode() + b"\n"


def check_settings(data: bytes, *, reconnect_s: int, denied_reads: tuple[str, ...] = ()) -> None:
    """Refuse settings that are not, key for key, the governed ones.

    Raises:
        RunRefused: naming the first key that is missing, unknown or different.
    """
    try:
        exact = canonical_json(parse_json(data))
        read = _Settings.model_validate_json(data)
    except MessageRefused as error:
        raise _refused(error.why or error.what) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _refused(f"{place}: {first['msg']}") from error
    for event in HookEvent:
        if read.hooks.get(event.value) != [_entry(event, reconnect_s)]:
            raise _refused(f"hooks.{event.value} is not AGP's hook")
    if unknown := sorted(set(read.hooks) - set(HookEvent)):
        raise _refused(f"hooks.{unknown[0]} is not an event that AGP listens to")
    if tuple(read.permissions.deny or ()) != denied_reads:
        raise _refused("permissions.deny is not what the policy denies for reading")
    again = format_settings(reconnect_s=reconnect_s, denied_reads=denied_reads)
    if exact != canonical_json(parse_json(again)):
        raise _refused("a value is equal to the right one, but of another type")


def _refused(why: str) -> RunRefused:
    return RunRefused(
        "the managed settings would not govern the harness",
        where=SETTINGS_PATH,
        why=why,
        fix="reinstall AGP; these bytes are generated, nothing of yours goes into them",
    )


def _entry(event: HookEvent, reconnect_s: int) -> _Matcher:
    redeem = event is HookEvent.PERMISSION_REQUEST
    deadline = {
        HookEvent.PRE_TOOL_USE: DECIDE_DEADLINE_S,
        HookEvent.PERMISSION_REQUEST: REDEEM_DEADLINE_S,
    }.get(event, OBSERVE_DEADLINE_S)
    reconnect = min(reconnect_s, REDEEM_DEADLINE_S) if redeem else reconnect_s
    clocks = [str(reconnect), str(deadline)]
    arguments = ["-I", "-S", BRIDGE_PATH, HARNESS, event.value, ASK_SOCKET, *clocks]
    hook = _Hook(
        type="command",
        command=INTERPRETER,
        args=arguments,
        timeout=HOOK_TIMEOUT_S,
        onFailure="block",
    )
    return _Matcher(matcher="*" if event in _MATCHED else None, hooks=[hook])
