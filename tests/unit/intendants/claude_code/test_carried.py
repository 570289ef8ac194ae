"""What goes back is written anew from a list of keys; what cannot be read stays behind."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agp.errors import RunRefused
from agp.intendants.claude_code.carried import (
    MEMORY_LIMIT,
    MOST_FILES,
    SERVERS_PATH,
    CarriedPart,
    Memory,
    carried_agent,
    carried_set,
    carried_skill,
    format_servers,
    read_head,
)


def skill(head: str, body: str = "Body\n", name: str = "s") -> str:
    part = carried_skill("my", name, f"---\n{head}\n---\n{body}".encode(), ())
    return dict(part.files)[f"skills/{name}/SKILL.md"].decode()


def agent(head: str) -> str:
    part = carried_agent("my", "file-name", f"---\n{head}\n---\nPrompt\n".encode())
    ((_, content),) = part.files
    return content.decode()


HOSTILE = (
    "hooks:\n  PreToolUse:\n  - hooks:\n    - command: touch x",
    "permissionMode: bypassPermissions",
    "mcpServers:\n  a:\n    command: touch",
    "allowed-tools: Bash",
    "allowed-tools: Bash(*)",
    "context: fork",
    "isolation: worktree",
    "memory: user",
    "background: true",
    "initialPrompt: run it",
    "shell: powershell",
    "anything-new: true",
)


@pytest.mark.parametrize("line", HOSTILE)
def test_only_listed_keys_survive(line: str) -> None:
    """Not a list of bad keys: a key that nobody here knows is gone as well."""
    assert skill(f"description: d\n{line}") == '---\nname: "s"\ndescription: "d"\n---\nBody\n'
    assert agent(f"name: a\n{line}\ndescription: d") == (
        '---\nname: "a"\ndescription: "d"\n---\nPrompt\n'
    )


@dataclass(frozen=True)
class Odd:
    name: str
    head: str


ODD = (
    Odd("a restriction under a quoted key", 'name: a\n"tools": Read'),
    Odd("a restriction in a flow map", "{name: a, tools: Read}"),
    Odd("a key twice", "name: a\ntools: Read\ntools: Bash"),
    Odd("a merge key", "name: a\n<<: *x"),
    Odd("a list at the margin", "name: a\ntools:\n- Read"),
    Odd("an anchor before the list", "name: a\ntools: &x [Read]"),
    Odd("a tag before the list", "name: a\ntools: !!seq [Read]"),
    Odd("a tool with an argument", "name: a\ntools: Bash(git:*)"),
    Odd("no tool at all", "name: a\ntools: []"),
    Odd("an empty restriction", "name: a\ntools:"),
    Odd("a comment inside a restriction", "name: a\ntools: Read # and more"),
    Odd("a list that is not one throughout", "name: a\ntools:\n  - Read\n  Bash"),
    Odd("a name that leads elsewhere", "name: ../x"),
    Odd("a model that is none", "name: a\nmodel: a b"),
    Odd("a colon without a blank", "name:a"),
    Odd("a restriction behind another kind of line end", "name: a\ndescription: d\rtools: Read"),
    Odd("a restriction behind a line separator", "name: a\ndescription: d\u2028tools: Read"),
)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_an_agent_whose_restriction_could_be_misread_stays_behind(odd: Odd) -> None:
    """Dropped, the restriction would be gone and the agent would have every tool."""
    with pytest.raises(RunRefused):
        agent(odd.head)


@pytest.mark.parametrize(
    "written", ["Read, Grep", "[Read, Grep]", '["Read", Grep]', "\n  - Read\n  - 'Grep'"]
)
def test_a_plain_restriction_is_kept_in_every_spelling(written: str) -> None:
    assert 'tools: "Read, Grep"' in agent(f"name: a\ntools: {written}").splitlines()


def test_a_switch_that_holds_a_skill_back_is_kept_or_the_skill_stays_behind() -> None:
    assert "disable-model-invocation: true" in skill("disable-model-invocation: true").splitlines()
    with pytest.raises(RunRefused):
        skill("disable-model-invocation: yes please")


@pytest.mark.parametrize("text", ["just text", "---\nname: x\n", "", " ---\nname: x\n---\n"])
def test_a_file_without_a_whole_head_stays_behind(text: str) -> None:
    with pytest.raises(RunRefused):
        read_head(text, where="x")


@given(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
)
def test_no_text_breaks_out_of_the_head(description: str, body: str) -> None:
    """Whatever a value or a body holds, the head has the listed keys and nothing else."""
    try:
        text = skill(f"description: {description}", body)
    except RunRefused:
        return
    head, _, rest = text.removeprefix("---\n").partition("\n---\n")
    assert [line.partition(":")[0] for line in head.split("\n")] == ["name", "description"]
    json.loads(head.split("\n")[1].partition(": ")[2])
    assert not re.search(r"(?<![\x21-\x7e])@", rest)


MENTIONS = ("@.env", "a @.env", '@".env"', "\u3000@.env", "\u3002@.env", "\n@.env", "\u00a0@/etc/x")


@pytest.mark.parametrize("mention", MENTIONS)
def test_a_mention_of_a_file_is_escaped_in_a_skill(mention: str) -> None:
    """Measured: each of these makes the harness read the file with no hook."""
    assert "\\@" in skill("description: d", mention)


@pytest.mark.parametrize("plain", ["me@example.org", "`@x`", "(@x)", "\\@x"])
def test_what_is_no_mention_is_left_as_it_is(plain: str) -> None:
    assert skill("description: d", plain).endswith(f"---\n{plain}")


def test_a_second_head_file_deeper_in_a_skill_stays_behind() -> None:
    others = (("sub/SKILL.md", b"x"), ("sub/skill.md", b"x"), ("run.sh", b"#!/bin/sh\n"))
    part = carried_skill("my", "s", b"---\ndescription: d\n---\nx", others)
    assert [path for path, _ in part.files] == ["skills/s/SKILL.md", "skills/s/run.sh"]


def test_memory_says_whose_words_it_is_and_is_named_with_its_digest() -> None:
    made = carried_set(
        (
            Memory(owner="my", name="~/.claude/CLAUDE.md", text="mine"),
            Memory(owner="project", name="CLAUDE.md", text="theirs"),
        ),
        (),
        (),
    )
    ((path, content),) = made.files
    assert made.arguments == (f"--append-system-prompt-file={path}",)
    assert b"whoever can write to this repository" in content
    assert [name.rpartition(":")[0] for name in made.names] == [
        "memory:my:~/.claude/CLAUDE.md",
        "memory:project:CLAUDE.md",
    ]


def test_a_project_never_hides_what_is_the_persons_own() -> None:
    mine = carried_agent("my", "a", b"---\nname: a\n---\nmine")
    theirs = carried_agent("project", "a", b"---\nname: a\n---\ntheirs")
    made = carried_set((), (mine, theirs), ())
    assert len(dict(made.files)) == len(made.files) == 4
    assert made.arguments == ("--plugin-dir=/opt/carried/my", "--plugin-dir=/opt/carried/project")


def test_two_agents_of_one_name_are_refused() -> None:
    one = carried_agent("my", "a", b"---\nname: same\n---\n1")
    two = carried_agent("my", "b", b"---\nname: same\n---\n2")
    with pytest.raises(RunRefused):
        carried_set((), (one, two), ())


def test_too_much_is_refused() -> None:
    long = Memory(owner="my", name="m", text="x" * MEMORY_LIMIT)
    many = CarriedPart(
        kind="skill",
        owner="my",
        name="s",
        files=tuple((f"skills/s/{n}", b"") for n in range(MOST_FILES)),
    )
    for memories, parts in (((long,), ()), ((), (many,))):
        with pytest.raises(RunRefused):
            carried_set(memories, parts, ())


def test_a_change_of_any_byte_is_another_name() -> None:
    names = {
        carried_set((), (carried_agent("my", "a", content),), ()).names
        for content in (b"---\nname: a\n---\n1", b"---\nname: a\n---\n2")
    }
    assert len(names) == 2


def test_nothing_carried_is_nothing_added() -> None:
    made = carried_set((), (), ())
    assert (made.files, made.arguments, made.names, made.home_files) == ((), (), (), ())


def test_a_server_is_started_by_our_shim_and_by_nothing_of_its_own() -> None:
    made = carried_set((), (), (), (("files", "0" * 64),))
    assert made.arguments == (f"--mcp-config={SERVERS_PATH}",)
    assert json.loads(format_servers(("files",))) == {
        "mcpServers": {
            "files": {
                "command": "/usr/bin/python3",
                "args": ["-I", "-S", "/opt/agp/agp-call", "/run/agp/call.sock", "mcp", "files"],
            }
        }
    }
