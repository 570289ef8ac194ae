"""Which arguments of a person reach Claude Code: six are allowed, everything else says why not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agp.errors import RunRefused

TASK_LIMIT = 131_000
"""Bytes; Linux accepts 131072 for one argument with its end (MAX_ARG_STRLEN)."""
_PROMPT_LIMIT = TASK_LIMIT - 100


@dataclass(frozen=True, slots=True)
class _Flag:
    """One allowed flag: the shape of its value; None: it takes none."""

    value: re.Pattern[str] | None
    shape: str = ""


_ALLOWED = {
    "--model": _Flag(re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,127}"), "a model's name"),
    "--resume": _Flag(
        re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        "a session id (a UUID in lower case)",
    ),
    "--continue": _Flag(None),
    "--append-system-prompt": _Flag(re.compile(r"[^\0]+"), "a text"),
    "--effort": _Flag(re.compile(r"low|medium|high|xhigh|max"), "low, medium, high, xhigh or max"),
    "--max-turns": _Flag(re.compile(r"[1-9][0-9]{0,5}"), "a whole number from 1"),
}
_SHORT = {"-r": "--resume", "-c": "--continue"}

_PREFIXES = {
    "--permission": "it would let something other than AGP answer permissions",
    "--dangerously": "it would switch permissions off",
    "--allow": "it would let tools run without a grant",
    "--disallow": "AGP's policy decides which tools run: write the rule there",
    "--setting": "AGP's own settings are the only ones that govern",
    "--system-prompt": "only --append-system-prompt is passed on",
    "--append-system-prompt-": "only the plain --append-system-prompt is passed on",
    "--plugin": "a plugin brings code that runs without a decision",
    "--mcp": "MCP servers are named in config.toml: [mcp_servers.NAME]",
    "--remote": "it would open the session to somebody else",
    "--input": "AGP writes what the harness reads",
    "--output": "AGP reads the event stream to prove coverage",
}
_REASONS = {
    "--add-dir": "the view shows the workspace only",
    "--agent": "an agent definition can change its own permissions",
    "--agents": "an agent definition can change its own permissions; carry yours: --carry agents",
    "--background": "a run that leaves its launcher is not governed",
    "--bare": "it switches hooks off",
    "--bg": "a run that leaves its launcher is not governed",
    "--cloud": "a session elsewhere is not governed here",
    "--environment": "a session elsewhere is not governed here",
    "--teleport": "a session elsewhere is not governed here",
    "--chrome": "a browser is outside the view",
    "--debug": "it changes what the harness writes",
    "--debug-file": "it writes outside what is decided",
    "--file": "it fetches files without a decision",
    "--ide": "an editor is outside the view",
    "--print": "AGP sets it itself",
    "--restricted": "AGP's policy decides which tools run: write the rule there",
    "--safe-mode": "it changes what of the settings is read",
    "--tools": "AGP's policy decides which tools run: write the rule there",
    "--verbose": "AGP sets it itself",
    "--include-hook-events": "AGP sets it itself",
    "--strict-mcp-config": "AGP sets it itself",
    "--worktree": "the view shows the workspace only",
    "--session-id": "AGP binds the session that the harness names itself",
}


def read_arguments(given: tuple[str, ...]) -> tuple[str, ...]:
    """Check a person's extra arguments and spell each as one word, `--flag=value`.

    One word: a value can then never be read as a flag of its own.

    Raises:
        RunRefused: for anything outside the allow-list, with the reason.
    """
    words: dict[str, str] = {}
    rest = list(given)
    while rest:
        flag, joined, value = rest.pop(0).partition("=")
        flag = _SHORT.get(flag, flag)
        known = _ALLOWED.get(flag)
        if known is None:
            raise _refused(flag, why_not(flag))
        if flag in words:
            raise _refused(flag, "it is given twice")
        if known.value is None:
            if joined:
                raise _refused(flag, "it takes no value")
            words[flag] = flag
            continue
        if not joined:
            value = _next(rest, flag, known)
        if not known.value.fullmatch(value) or len(value.encode()) > _PROMPT_LIMIT:
            raise _refused(flag, f"its value is not {known.shape}")
        words[flag] = f"{flag}={value}"
    return tuple(words.values())


def read_task(task: str) -> str:
    """Check the task; it stands behind `--`, where it is a prompt and nothing else (measured).

    Raises:
        RunRefused: for an empty task, a NUL, or more than one argument can carry.
    """
    if not task.strip():
        raise RunRefused("the task is empty", fix="say what the agent shall do: --task 'TEXT'")
    if "\0" in task:
        raise RunRefused("the task holds a NUL character", fix="remove it")
    try:
        size = len(task.encode())
    except UnicodeEncodeError as error:
        raise RunRefused("the task is not text", why="it holds a lone surrogate") from error
    if size > TASK_LIMIT:
        raise RunRefused(
            f"the task is {size} bytes long",
            why=f"one argument carries at most {TASK_LIMIT}",
            fix="put the long part into a file of the workspace and name it in the task",
        )
    return task


def why_not(flag: str) -> str:
    """Say why this flag is not passed on; unknown ones are refused because they are unknown."""
    if flag in _REASONS:
        return _REASONS[flag]
    for prefix, why in _PREFIXES.items():
        if flag.startswith(prefix):
            return why
    if not flag.startswith("-"):
        return "it is not a flag; the task is given with --task"
    return "it is not one of the arguments that were proved to keep the run governed"


def _next(rest: list[str], flag: str, known: _Flag) -> str:
    if not rest or rest[0].startswith("-"):
        raise _refused(flag, f"it needs {known.shape}; one that begins with - is {flag}=VALUE")
    return rest.pop(0)


def _refused(flag: str, why: str) -> RunRefused:
    return RunRefused(
        f"the argument {flag!r} is not passed on to Claude Code",
        why=why,
        fix=f"allowed are {', '.join(_ALLOWED)}",
    )
