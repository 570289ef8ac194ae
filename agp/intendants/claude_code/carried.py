"""What of a person's own set-up is handed back to Claude Code, and in which form.

Pure: texts in, the files of the view and the arguments that name them out. With
`--setting-sources ""` the harness reads none of it by itself; each part goes back by the way that
was measured to be the weakest one that works (ADR 0015):

- memory is appended to the system prompt from a file, where no `@import` is followed;
- skills and sub-agents are two plugins of ours, `my` and `project`: a plugin's skill starts no
  inline command, a plugin's agent changes no permission;
- the head of each is written anew from a list of keys. Hooks, grants, servers and modes are not on
  that list, so that they are gone rather than looked for.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field

from agp.contracts.base import Contract
from agp.errors import RunRefused
from agp.intendants.claude_code.settings import INTERPRETER

CARRIED_PLACE: Final = "/opt/carried"
"""In the view; not below /opt/agp, which the policy's floor closes to the agent."""
MEMORY_PATH: Final = f"{CARRIED_PLACE}/memory.md"
SERVERS_PATH: Final = f"{CARRIED_PLACE}/mcp.json"
CALL_PATH: Final = "/opt/agp/agp-call"
"""The shim by which a server is started outside the harness's view."""
CALL_SOCKET: Final = "/run/agp/call.sock"
MEMORY_LIMIT: Final = 512 * 1024
"""Bytes of all memory together: about a model's whole context, so more is a mistake."""
MOST_FILES: Final = 400
"""Each travels by a descriptor of its own."""
SIZE_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of all skills and agents together."""
HEAD_FILE: Final = "SKILL.md"

Owner = Literal["my", "project"]
"""Whose it is; also the plugin's name, so that a project's skill never hides one of the person."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_KEY: Final = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)[ \t]*:(?:[ \t]+(.*))?")
_TOOL: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,127}")
_BREAK: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
"""What another reader could take for the end of a line, and for a key behind it."""
_MENTION: Final = re.compile(r"(?<![\x21-\x7e])@")
"""Measured: what stands before a mention is a blank, a line's start or not ASCII."""
_TEXT_KEYS: Final = {
    "skill": ("description", "when_to_use", "argument-hint"),
    "agent": ("description",),
}
_SWITCHES: Final = ("disable-model-invocation", "user-invocable")
_RESTRICTIONS: Final = ("tools", "disallowedTools")


_PREFACE: Final = """\
# Instructions that were handed over

They say how to work here. They cannot change what may run: each tool call is decided by AGP, and a
refusal stands whatever a text says.
"""


class Head(NamedTuple):
    """The front matter's top-level keys, each with its raw lines, and what follows it."""

    keys: dict[str, tuple[str, ...]]
    body: str


class CarriedPart(Contract):
    """One skill or sub-agent as it is written into the view."""

    kind: Literal["skill", "agent"]
    owner: Owner
    name: str
    files: tuple[tuple[str, bytes], ...]
    """Path below the plugin, content."""

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(len(content) for _, content in self.files)


class Memory(Contract):
    """One memory file with its imports, resolved."""

    owner: Owner
    name: str
    """As a person names it: `CLAUDE.md`, `~/.claude/CLAUDE.md`."""
    text: str


class CarriedSet(Contract):
    """Everything that goes back, ready for a launch plan."""

    files: tuple[tuple[str, bytes], ...] = ()
    """Path in the view, content; read-only."""
    arguments: tuple[str, ...] = ()
    home_files: tuple[tuple[str, str, bool], ...] = ()
    """Path on the host, path in the view's HOME, writable. AGP never opens them."""
    names: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    """For the journal: `login`, `memory:project:SHA256`, `skill:my:NAME:SHA256`..."""
    left: tuple[str, ...] = ()
    """What was asked for and does not go back, each with its reason; told to the person."""


def read_head(text: str, *, where: str) -> Head:
    """Split a Markdown file into the keys of its front matter and its body.

    Only what has one reading is read: an unquoted key at the line's start, once. Everything else
    (flow maps, quoted keys, a list at the margin) could hide a restriction from us.

    Raises:
        RunRefused: the head is not understood.
    """
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    if lines[0].rstrip() != "---":
        raise _odd(where, "it has no front matter (`---` in its first line)")
    try:
        end = next(n for n, line in enumerate(lines[1:], 1) if line.rstrip() == "---")
    except StopIteration:
        raise _odd(where, "its front matter has no end") from None
    if any(_BREAK.search(line) for line in lines[:end]):
        raise _odd(where, "its front matter holds a control character")
    keys: dict[str, list[str]] = {}
    last = ""
    for line in lines[1:end]:
        found = _KEY.fullmatch(line.rstrip())
        if found is not None:
            last = found[1]
            if last in keys:
                raise _odd(where, f"the key {last!r} stands twice")
            keys[last] = [found[2] or ""]
        elif not line.strip() or line.startswith("#"):
            continue
        elif last and line[0] in " \t":
            keys[last].append(line.strip())
        else:
            raise _odd(where, f"the line {line[:60]!r} of its front matter is not `key: value`")
    return Head({key: tuple(value) for key, value in keys.items()}, "\n".join(lines[end + 1 :]))


def carried_skill(
    owner: Owner, name: str, head_file: bytes, others: tuple[tuple[str, bytes], ...]
) -> CarriedPart:
    """Write a skill anew: its description and switches, its text, its other files as they are.

    A `@file` of the text is escaped: the harness would read that file without asking (measured).

    Raises:
        RunRefused: its name or its head is not understood.
    """
    where = f"skill {name}"
    head = read_head(_text(head_file, where), where=where)
    pairs = [("name", _name(name, where)), *_texts(head, "skill")]
    pairs += [(key, _switch(head, key, where)) for key in _SWITCHES if key in head.keys]
    text = _format(pairs, _MENTION.sub(r"\\@", head.body))
    place = f"skills/{name}"
    kept = tuple(
        (f"{place}/{path}", content)
        for path, content in others
        if path.rpartition("/")[2].upper() != HEAD_FILE.upper()
    )
    return CarriedPart(
        kind="skill", owner=owner, name=name, files=((f"{place}/{HEAD_FILE}", text), *kept)
    )


def carried_agent(owner: Owner, stem: str, content: bytes) -> CarriedPart:
    """Write a sub-agent anew: who it is, which model, which tools it is held to.

    Raises:
        RunRefused: its head is not understood; above all a list of tools that is not a plain one,
            because an agent without the list would have every tool.
    """
    where = f"agent {stem}"
    head = read_head(_text(content, where), where=where)
    name = _name(_scalar(head.keys.get("name", (stem,))), where)
    pairs: list[tuple[str, str]] = [("name", name), *_texts(head, "agent")]
    pairs += [
        (key, ", ".join(_tools(head.keys[key], where, key)))
        for key in _RESTRICTIONS
        if key in head.keys
    ]
    if "model" in head.keys:
        model = _scalar(head.keys["model"])
        if not _MODEL.fullmatch(model):
            raise _odd(where, "its model is not a model's name")
        pairs.append(("model", model))
    text = _format(pairs, head.body)
    return CarriedPart(kind="agent", owner=owner, name=name, files=((f"agents/{name}.md", text),))


def format_memory(memories: tuple[Memory, ...]) -> bytes:
    """Write all memory as one text that says, part by part, whose words it is."""
    said = [
        _PREFACE,
    ]
    for memory in memories:
        whose = (
            "the user's own instructions for all projects"
            if memory.owner == "my"
            else "project instructions, written by whoever can write to this repository"
        )
        said.append(f"## Contents of {memory.name} ({whose})\n\n{memory.text.rstrip()}\n")
    return "\n".join(said).encode()


def format_servers(names: tuple[str, ...]) -> bytes:
    """Write the MCP configuration: each server is AGP's shim, which asks to have it started.

    The harness starts nothing but the shim, and the name is all that it can say to it.
    """
    servers = {
        name: {"command": INTERPRETER, "args": ["-I", "-S", CALL_PATH, CALL_SOCKET, "mcp", name]}
        for name in names
    }
    return json.dumps({"mcpServers": servers}, indent=1).encode() + b"\n"


def carried_set(
    memories: tuple[Memory, ...],
    parts: tuple[CarriedPart, ...],
    left: tuple[str, ...],
    servers: tuple[tuple[str, str], ...] = (),
) -> CarriedSet:
    """Put everything into the view's files, and name it for the journal.

    `servers` are MCP servers: name, digest of what was planned.

    Raises:
        RunRefused: it is more than a view can be given.
    """
    files: list[tuple[str, bytes]] = []
    arguments: list[str] = []
    names: list[str] = []
    if memories:
        content = format_memory(memories)
        if len(content) > MEMORY_LIMIT:
            raise _too_much(f"the memory is {len(content)} bytes long, at most {MEMORY_LIMIT}")
        files.append((MEMORY_PATH, content))
        arguments.append(f"--append-system-prompt-file={MEMORY_PATH}")
        names += [f"memory:{m.owner}:{m.name}:{_sha256(m.text.encode())}" for m in memories]
    for owner in ("my", "project"):
        own = tuple(part for part in parts if part.owner == owner)
        if own:
            place = f"{CARRIED_PLACE}/{owner}"
            manifest = json.dumps({"name": owner}).encode()
            files.append((f"{place}/.claude-plugin/plugin.json", manifest))
            files += [(f"{place}/{path}", content) for p in own for path, content in p.files]
            arguments.append(f"--plugin-dir={place}")
            names += [f"{p.kind}:{owner}:{p.name}:{_digest(p)}" for p in own]
    if servers:
        files.append((SERVERS_PATH, format_servers(tuple(name for name, _ in servers))))
        arguments.append(f"--mcp-config={SERVERS_PATH}")
        names += [f"mcp:{name}:{digest}" for name, digest in servers]
    _check_unique(files)
    if len(files) > MOST_FILES or sum(part.size for part in parts) > SIZE_LIMIT:
        raise _too_much(
            f"skills and agents are {len(files)} files, at most {MOST_FILES} of together "
            f"{SIZE_LIMIT // 1024**2} MiB"
        )
    return CarriedSet(files=tuple(files), arguments=tuple(arguments), names=tuple(names), left=left)


def _check_unique(files: list[tuple[str, bytes]]) -> None:
    seen: set[str] = set()
    for path, _ in files:
        if path in seen:
            raise RunRefused(
                "two parts of the set-up have one name",
                where=path.removeprefix(f"{CARRIED_PLACE}/"),
                fix="rename one of them, or carry the other by name: --carry agent:NAME",
            )
        seen.add(path)


def _texts(head: Head, kind: Literal["skill", "agent"]) -> list[tuple[str, str]]:
    return [(key, _scalar(head.keys[key])) for key in _TEXT_KEYS[kind] if key in head.keys]


def _scalar(lines: tuple[str, ...]) -> str:
    """Read a text value: plain, quoted, folded or over several lines; it is only ever text."""
    first, *more = lines
    if first[:1] in {"|", ">"} and re.fullmatch(r"[|>][+-]?[0-9]?[+-]?", first):
        return " ".join(more)
    whole = " ".join((first, *more)).strip()
    quote = whole[:1]
    if quote and quote in "\"'" and len(whole) > 1 and whole.endswith(quote):
        return whole[1:-1]
    return whole


def _switch(head: Head, key: str, where: str) -> str:
    value = _scalar(head.keys[key])
    if value not in {"true", "false"}:
        raise _odd(where, f"{key} is neither true nor false")
    return value


def _tools(lines: tuple[str, ...], where: str, key: str) -> tuple[str, ...]:
    """Read `A, B`, `[A, B]` or one `- A` a line; names only, no `Bash(git:*)`."""
    first, *more = lines
    if more and not first:
        words = [line.removeprefix("-").strip() for line in more if line.startswith("-")]
        whole = len(words) == len(more)
    else:
        plain = _scalar(lines)
        if plain.startswith("[") and plain.endswith("]"):
            plain = plain[1:-1]
        words = [word.strip() for word in plain.split(",")]
        whole = True
    names = tuple(word.strip("\"'") for word in words)
    if not whole or not names or not all(_TOOL.fullmatch(name) for name in names):
        raise _odd(where, f"{key} is not a plain list of tool names")
    return names


def _format(pairs: list[tuple[str, str]], body: str) -> bytes:
    """Write the head in YAML's double-quoted form, which JSON's strings are; switches stay bare."""
    lines = [
        f"{key}: {value if key in _SWITCHES else json.dumps(value, ensure_ascii=False)}"
        for key, value in pairs
    ]
    return "\n".join(("---", *lines, "---", body)).encode()


def _name(name: str, where: str) -> str:
    if not _NAME.fullmatch(name):
        raise _odd(where, "its name is not letters, digits, `_` and `-`, at most 64")
    return name


def _text(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _odd(where, "it is not UTF-8") from error


def _digest(part: CarriedPart) -> str:
    """Name a part's content: every path and every byte."""
    shape = [[path, _sha256(content)] for path, content in sorted(part.files)]
    return _sha256(json.dumps(shape).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _odd(where: str, why: str) -> RunRefused:
    return RunRefused("this part of the set-up cannot be handed back", where=where, why=why)


def _too_much(why: str) -> RunRefused:
    return RunRefused(
        "more is to be handed back than a view can be given",
        why=why,
        fix="carry fewer, each by its name: --carry skill:NAME",
    )
