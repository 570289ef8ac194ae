"""From a tool call to its effects: never raises, never empty; what is not understood is opaque.

1. the words of the call, from the structured tool or from an exact simple command;
2. the paths and the program that somebody outside must resolve (`needs`);
3. effects, from the words and from what was resolved (`effects_of`). A path that was not resolved
   makes the call opaque; a path of AGP's own makes it `govern`, and nothing else matters then.

Source: system.md §7.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

from agp.contracts.policy import (
    Action,
    Effect,
    EffectKind,
    ExecAction,
    FetchAction,
    FileChange,
    HarnessAction,
    Label,
    McpAction,
    PatchAction,
    PathFacts,
    ReadAction,
    ShellAction,
    SpawnAction,
    UnknownAction,
    World,
    WriteAction,
)
from agp.policy.meaning import Meaning, Touch
from agp.policy.places import is_ours, means_otherwise, persists
from agp.policy.programs import meaning_at, meaning_of
from agp.policy.searches import as_called
from agp.policy.shell import split
from agp.policy.targets import relative
from agp.policy.urls import endpoint_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PATH: Final = 4096
MAX_WORDS: Final = 256
"""Of one command; more is opaque."""
MAX_WORDS_AS_PATHS: Final = 64
"""Words of a command that are looked up as paths; the others are never taken for one."""


@dataclass(frozen=True)
class Needs:
    """What the outside must resolve into `World` before the effects are known."""

    paths: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def needs(action: Action) -> Needs:
    """Name the paths and the program that an action rests on."""
    match action:
        case ShellAction() | ExecAction():
            argv = _argv(action)
            return Needs() if isinstance(argv, str) else _needs_of(argv)
        case ReadAction() | WriteAction() | PatchAction():
            paths = (touch.path for touch in _touches(action))
            return Needs(paths=tuple(dict.fromkeys(path for path in paths if _is_path(path))))
        case FetchAction() | McpAction() | SpawnAction() | HarnessAction() | UnknownAction():
            return Needs()
        case _:
            assert_never(action)


def effects_of(action: Action, world: World) -> tuple[Effect, ...]:
    """Say everything that an action would do."""
    effects = tuple(dict.fromkeys(_effects(action, world)))
    governing = tuple(effect for effect in effects if effect.kind is EffectKind.GOVERN)
    return governing or effects or (_opaque("no effect is known"),)


def _effects(action: Action, world: World) -> Iterator[Effect]:
    match action:
        case ShellAction() | ExecAction():
            argv = _argv(action)
            yield from [_opaque(argv)] if isinstance(argv, str) else _command(argv, world)
        case ReadAction() | WriteAction() | PatchAction():
            for touch in _touches(action):
                yield from _touch(touch, world)
        case FetchAction():
            yield _fetch(action.url)
        case McpAction():
            yield _mcp(action)
        case SpawnAction():
            yield Effect(kind=EffectKind.SPAWN_AGENT, subject=action.agent_type)
        case HarnessAction():
            yield Effect(kind=EffectKind.HARNESS, subject=action.tool)
        case UnknownAction():
            yield _opaque(f"{action.tool}: {action.why}")
        case _:
            assert_never(action)


def _touches(action: ReadAction | WriteAction | PatchAction) -> tuple[Touch, ...]:
    """Say which files a structured tool touches, and how."""
    match action:
        case ReadAction():
            return (Touch(EffectKind.READ, action.path, action.recursive),)
        case WriteAction():
            kinds = (EffectKind.WRITE, *((EffectKind.READ,) if action.reads else ()))
            return tuple(Touch(kind, action.path) for kind in kinds)
        case PatchAction():
            return tuple(touch for change in action.changes for touch in _changed(change))
        case _:
            assert_never(action)


def _changed(change: FileChange) -> Iterator[Touch]:
    """A moved file is read, deleted where it was and written where it goes."""
    moved = change.moved_to is not None and change.moved_to != change.path
    if change.change == "delete" or moved:
        yield Touch(EffectKind.DELETE, change.path)
    else:
        yield Touch(EffectKind.WRITE, change.path)
    if change.change == "update":
        yield Touch(EffectKind.READ, change.path)
    if change.moved_to is not None:
        yield Touch(EffectKind.WRITE, change.moved_to)


def _opaque(why: str) -> Effect:
    return Effect(kind=EffectKind.OPAQUE, subject=why)


def _is_path(text: str) -> bool:
    return bool(text) and len(text) <= MAX_PATH and "\0" not in text


def _argv(action: ShellAction | ExecAction) -> tuple[str, ...] | str:
    """Give the words; a text says why there are none."""
    if isinstance(action, ShellAction):
        return _bounded(split(action.command))
    if not action.argv[0] or any("\0" in word for word in action.argv):
        return "the program has no name, or a word holds NUL"
    return _bounded(action.argv)


def _bounded(argv: tuple[str, ...] | str) -> tuple[str, ...] | str:
    """Refuse to look at more words than a person would: each may cost a look at the disk."""
    if not isinstance(argv, str) and len(argv) > MAX_WORDS:
        return f"it has more than {MAX_WORDS} words"
    return argv


def _meaning(argv: tuple[str, ...]) -> Meaning:
    return meaning_of(posixpath.basename(argv[0]), argv[1:])


def _needs_of(argv: tuple[str, ...]) -> Needs:
    touched = (touch.path for touch in _meaning(argv).touches)
    named = (word for word in argv[1:][:MAX_WORDS_AS_PATHS] if not word.startswith("-"))
    paths = (path for path in (*touched, *named) if _is_path(path))
    return Needs(paths=tuple(dict.fromkeys(paths)), words=argv[:1] if _is_path(argv[0]) else ())


def _command(argv: tuple[str, ...], world: World) -> Iterator[Effect]:
    """Say what one command does: what it is, and what is known of what it touches."""
    program = next((one for one in world.executables if one.word == argv[0]), None)
    if program is not None and program.in_agp:
        yield Effect(kind=EffectKind.GOVERN, subject=program.resolved or argv[0])
        return
    found = None if program is None or _elsewhere(argv[0], world) else program.resolved
    if program is None or found is None or _elsewhere(found, world):
        yield _opaque(f"the program {argv[0]} was not found")
        # What it asks for is known by its name, found or not.
        if privilege := _meaning(argv).privilege:
            yield Effect(kind=EffectKind.PRIVILEGE, subject=privilege)
        return
    if program.agent_writable or _named_inside(argv[0], world):
        yield from _run_workspace(found)
        yield from _ours_among(argv, world)
        return
    meaning = meaning_at(argv[0], found, argv[1:])
    meaning = as_called(meaning, argv[0], world.intendant if world.harness_shell else "")
    understood = meaning.understood and (world.cwd == world.workspace or not meaning.at_root)
    touched = [effect for touch in meaning.touches for effect in _touch(touch, world)]
    if EffectKind.OPAQUE in {effect.kind for effect in touched}:
        understood = False
    labels = meaning.labels | ({Label.UNDERSTOOD} if understood else set())
    yield Effect(kind=EffectKind.EXEC, subject=found, argv=argv, labels=labels)
    yield from touched
    if meaning.reads_all:
        labels = frozenset({Label.RECURSIVE})
        yield Effect(kind=EffectKind.READ, subject=world.workspace, labels=labels)
    yield from _beyond_files(meaning)
    if not understood:
        yield from _ours_among(argv, world)


def _beyond_files(meaning: Meaning) -> Iterator[Effect]:
    if meaning.privilege:
        yield Effect(kind=EffectKind.PRIVILEGE, subject=meaning.privilege)
    yield from (_fetch(url) for url in meaning.urls)
    if meaning.opaque:
        yield _opaque(meaning.opaque)


def _named_inside(word: str, world: World) -> bool:
    """A path that leads through the workspace can be bent by the agent, wherever it ends now."""
    if "/" not in word:
        return False
    return not word.startswith("/") or relative(word, world.workspace) is not None or ".." in word


def _elsewhere(path: str, world: World) -> bool:
    """A bare word is no path."""
    return "/" in path and means_otherwise(path, world.cwd)


def _run_workspace(path: str) -> Iterator[Effect]:
    yield Effect(kind=EffectKind.EXEC_WORKSPACE, subject=path)


def _ours_among(argv: tuple[str, ...], world: World) -> Iterator[Effect]:
    """Find AGP's own places among the words of a command that is not understood."""
    for facts in world.paths:
        if facts.in_agp and facts.raw in argv[1:]:
            yield Effect(kind=EffectKind.GOVERN, subject=facts.resolved)


def _touch(touch: Touch, world: World) -> Iterator[Effect]:
    """Say what touching one path is, from what was resolved."""
    facts = next((one for one in world.paths if one.raw == touch.path), None)
    if facts is None or not _is_path(touch.path):
        yield _opaque("a path of the call was not resolved")
        return
    if any(means_otherwise(path, world.cwd) for path in (touch.path, facts.resolved)):
        yield _opaque("a path of the call means something else to each process")
        return
    writes = touch.kind in {EffectKind.WRITE, EffectKind.DELETE}
    if facts.in_agp or (writes and is_ours(facts.resolved, world.workspace)):
        yield Effect(kind=EffectKind.GOVERN, subject=facts.resolved)
        return
    labels = _labels(facts, touch)
    yield Effect(kind=touch.kind, subject=facts.resolved, labels=labels)
    if writes and (facts.executing_place or persists(facts.resolved, world)):
        yield Effect(kind=EffectKind.PERSIST, subject=facts.resolved, labels=labels)


def _labels(facts: PathFacts, touch: Touch) -> frozenset[Label]:
    found = {
        Label.OUTSIDE_WORKSPACE: not facts.in_workspace,
        Label.SECRET_PATH: facts.secret,
        Label.RECURSIVE: touch.recursive,
    }
    return frozenset(label for label, there in found.items() if there)


def _fetch(url: str) -> Effect:
    """An empty URL is a search: some host, not known which."""
    if not url:
        return Effect(kind=EffectKind.CONNECT, subject="*", labels=frozenset({Label.DYNAMIC}))
    endpoint = endpoint_of(url)
    if isinstance(endpoint, str):
        return _opaque(endpoint)
    return Effect(kind=EffectKind.CONNECT, subject=endpoint.host, port=endpoint.port)


def _mcp(action: McpAction) -> Effect:
    """Name server and tool; a slash in the server's name would make two readings of it."""
    if not re.fullmatch(r"[^/]+", action.server) or not action.tool:
        return _opaque("the MCP server or its tool has no name that can be told apart")
    return Effect(
        kind=EffectKind.MCP,
        subject=f"{action.server}/{action.tool}",
        arguments_json=action.arguments_json,
    )
