"""Looking at a set-up: the person's own is followed, the repository's never leads out of it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from agp.daemon.carry import LOGIN_FILE, look, told
from agp.errors import RunRefused
from agp.intendants.claude_code.carried import MOST_FILES, CarriedSet

ME = os.geteuid()


@dataclass(frozen=True)
class Machine:
    home: Path
    workspace: Path

    def write(self, place: Path, text: str = "x") -> Path:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o600)
        return place

    def look(self, *words: str, egress: tuple[str, ...] = (), uid: int = ME) -> CarriedSet:
        return look(
            words, workspace=str(self.workspace), view_uid=uid, home=self.home, egress=egress
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "home", tmp_path / "work")
    made.home.mkdir()
    made.workspace.mkdir()
    return made


def memory(made: CarriedSet) -> str:
    return "".join(content.decode() for path, content in made.files if path.endswith("memory.md"))


def test_nothing_is_carried_that_was_not_asked_for(machine: Machine) -> None:
    machine.write(machine.home / ".claude/CLAUDE.md")
    machine.write(machine.home / LOGIN_FILE)
    machine.write(machine.workspace / "CLAUDE.md")
    assert machine.look() == CarriedSet()


def test_memory_is_read_with_its_imports_in_order(machine: Machine) -> None:
    machine.write(machine.workspace / "CLAUDE.md", "TOP @docs/a.md and `@docs/code.md`\n")
    machine.write(machine.workspace / "docs/a.md", "A @b.md")
    machine.write(machine.workspace / "docs/b.md", "B @a.md again")
    machine.write(machine.workspace / "docs/code.md", "CODE")
    machine.write(machine.workspace / "CLAUDE.local.md", "LOCAL")
    machine.write(machine.home / ".claude/CLAUDE.md", "MINE @~/.claude/more.md @~/other.md")
    machine.write(machine.home / ".claude/more.md", "MORE")
    machine.write(machine.home / "other.md", "OTHER")
    text = memory(machine.look("memory", "project-memory"))
    assert [
        text.index(word) for word in ("MINE", "MORE", "TOP", "\nA ", "\nB ", "LOCAL")
    ] == sorted(text.index(word) for word in ("MINE", "MORE", "TOP", "\nA ", "\nB ", "LOCAL"))
    assert "CODE" not in text
    assert "OTHER" not in text


@dataclass(frozen=True)
class Way:
    """A way by which a repository makes root read for the model what the agent never could."""

    name: str
    text: str
    link: str = ""


WAYS = (
    Way("an import that climbs out", "@../secret.md"),
    Way("an import by its absolute path", "@SECRET"),
    Way("an import through a link", "@link.md", "link.md"),
    Way("an import through a linked directory", "@out/secret.md", "out"),
    Way("an import of the home", "@~/secret.md"),
    Way("an import of a secret of the repository", "@.env"),
    Way("the memory file itself a link", "", "CLAUDE.md"),
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_repository_s_memory_never_leads_out_of_it(machine: Machine, way: Way) -> None:
    secret = machine.write(machine.workspace.parent / "secret.md", "THE-SECRET")
    machine.write(machine.home / "secret.md", "THE-SECRET")
    machine.write(machine.workspace / ".env", "THE-SECRET")
    machine.write(machine.workspace / "inside.md", "INSIDE")
    if way.text:
        text = way.text.replace("SECRET", str(secret))
        machine.write(machine.workspace / "CLAUDE.md", f"{text} @inside.md")
    if way.link:
        target = secret.parent if way.link == "out" else secret
        (machine.workspace / way.link).symlink_to(target)
    made = machine.look("project-memory")
    assert "THE-SECRET" not in memory(made)
    assert ("INSIDE" in memory(made)) is bool(way.text), "the control: what lies inside is read"


def test_a_link_within_the_repository_is_followed(machine: Machine) -> None:
    machine.write(machine.workspace / "AGENTS.md", "AGENTS")
    (machine.workspace / "CLAUDE.md").symlink_to("AGENTS.md")
    assert "AGENTS" in memory(machine.look("project-memory"))


def test_a_file_that_the_agent_could_not_read_is_not_read_for_it(machine: Machine) -> None:
    machine.write(machine.workspace / "CLAUDE.md", "CLOSED")
    other = machine.look("project-memory", uid=ME + 1)
    assert memory(other) == ""
    assert "not the agent's to read" in other.left[0]


def test_too_much_memory_is_left_out_and_told_and_refuses_no_run(machine: Machine) -> None:
    """Attack: a repository that makes every run of the default settings fail."""
    machine.write(machine.workspace / "CLAUDE.md", "FIRST" + "x" * 400_000)
    machine.write(machine.workspace / "CLAUDE.local.md", "SECOND" + "\u00e9" * 200_000)
    machine.write(machine.workspace / ".claude/CLAUDE.md", "@nothing.md " * 30_000)
    made = machine.look("project-memory")
    assert "FIRST" in memory(made)
    assert "SECOND" not in memory(made)
    assert any("larger than" in why for why in made.left)


@pytest.mark.parametrize("kind", ["pipe", "directory", "huge"])
def test_what_is_no_plain_file_of_a_sane_size_stays_behind(machine: Machine, kind: str) -> None:
    place = machine.workspace / "CLAUDE.md"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        machine.write(place, "x" * 600_000)
    made = machine.look("project-memory")
    assert (memory(made), len(made.left)) == ("", 1)


def test_the_person_s_own_never_comes_out_of_the_workspace(machine: Machine) -> None:
    """Dotfiles may be links; into the workspace an agent may have written what they lead to."""
    elsewhere = machine.workspace.parent / "dotfiles"
    skill = "---\nname: a\ndescription: d\n---\n"
    machine.write(elsewhere / "a/SKILL.md", f"{skill}FINE")
    machine.write(machine.workspace / "b/SKILL.md", f"{skill}WRITTEN")
    machine.write(machine.workspace / "mem.md", "WRITTEN")
    (machine.home / ".claude/skills").mkdir(parents=True)
    (machine.home / ".claude/skills/a").symlink_to(elsewhere / "a")
    (machine.home / ".claude/skills/b").symlink_to(machine.workspace / "b")
    (machine.home / ".claude/CLAUDE.md").symlink_to(machine.workspace / "mem.md")
    made = machine.look("memory", "skills")
    everything = b"".join(content for _, content in made.files)
    assert b"FINE" in everything
    assert b"WRITTEN" not in everything
    assert any("leads into the workspace" in why for why in made.left)


def test_one_is_carried_by_its_name_and_a_missing_one_is_an_error(machine: Machine) -> None:
    for name in ("one", "two"):
        machine.write(machine.home / f".claude/agents/{name}.md", f"---\nname: {name}\n---\n")
    names = [name.rpartition(":")[0] for name in machine.look("agent:two").names]
    assert names == ["agent:my:two"]
    with pytest.raises(RunRefused) as refused:
        machine.look("agent:three")
    assert "three" in refused.value.what


def test_a_part_that_cannot_go_back_is_told(machine: Machine) -> None:
    machine.write(machine.home / ".claude/agents/odd.md", "---\nname: odd\ntools: Bash(x)\n---\n")
    made = machine.look("agents")
    assert made.files == ()
    (line,) = told(made.names, made.left)
    assert line.startswith("not carried: my agent odd: tools is not a plain list")


def test_the_login_is_named_read_only_and_never_opened(machine: Machine) -> None:
    """Without a permission to read it, whoever opened it as an ordinary user would fail."""
    login = machine.write(machine.home / LOGIN_FILE)
    login.chmod(0)
    made = machine.look("login")
    assert made.home_files == ((str(login), LOGIN_FILE, False),)
    assert made.names == ("login",)
    assert made.files == ()
    renewed = machine.look("login-refresh")
    assert renewed.home_files == ((str(login), LOGIN_FILE, True),)
    assert renewed.names == ("login-refresh",)


def refused_login(machine: Machine, **more: object) -> str:
    with pytest.raises(RunRefused) as refused:
        machine.look("login", **more)  # type: ignore[arg-type]
    assert refused.value.fix
    return refused.value.why


def test_a_login_that_could_be_lost_or_is_somebody_else_s_is_refused(machine: Machine) -> None:
    assert refused_login(machine)
    login = machine.write(machine.home / LOGIN_FILE)
    assert "runs as uid" in refused_login(machine, uid=ME + 1)
    assert "renewed, and not be kept" in refused_login(machine, egress=("platform.claude.com:443",))
    login.chmod(0o640)
    assert "others can" in refused_login(machine)
    login.unlink()
    login.symlink_to(machine.write(machine.workspace / "mine.json"))
    assert "not a file of your own home" in refused_login(machine)


@dataclass(frozen=True)
class Trap:
    """A thing in a repository that Python's own ways to look at it answer with a traceback."""

    name: str
    told: str
    text: str = ""
    links: tuple[tuple[str, str], ...] = ()


_LONG = "a" * 300
_CHAIN = tuple((f"l{n}.md", f"l{n + 1}.md") for n in range(1200))
TRAPS = (
    Trap("the memory file is a link to itself", "symbolic links", links=(("CLAUDE.md",) * 2,)),
    Trap("it imports a link to itself", "symbolic links", "@loop", (("loop", "loop"),)),
    Trap(
        "two links lead to one another", "symbolic links", "@a.md", (("a.md", "b"), ("b", "a.md"))
    ),
    Trap("a thousand links one behind another", "symbolic links", "@l0.md", _CHAIN),
    Trap("a name that no file system has", "name too long", f"@{_LONG}"),
    Trap("a path that no kernel takes", "name too long", f"@{'a/' * 3000}b"),
    Trap("a link that leads nowhere", "No such file", links=(("CLAUDE.md", "gone.md"),)),
)


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_what_cannot_be_read_is_left_out_and_told_and_stops_no_run(
    machine: Machine, trap: Trap
) -> None:
    """Attack: one link in a repository, and every later run of it ends in a traceback."""
    if trap.text:
        machine.write(machine.workspace / "CLAUDE.md", f"{trap.text} @inside.md")
    machine.write(machine.workspace / "inside.md", "INSIDE")
    machine.write(machine.workspace / "CLAUDE.local.md", "CONTROL")
    for name, target in trap.links:
        (machine.workspace / name).symlink_to(target)
    made = machine.look("project-memory")
    assert "CONTROL" in memory(made)
    assert ("INSIDE" in memory(made)) is bool(trap.text)
    assert any(trap.told in why for why in made.left), made.left


def test_a_skill_that_is_deeper_than_anybody_s_is_read_as_far_as_it_is_sane(
    machine: Machine,
) -> None:
    """Attack: a thousand directories inside one another end the walk; so do as many beside."""
    place = machine.workspace / ".claude/skills"
    head = "---\nname: x\ndescription: d\n---\n"
    machine.write(place / "deep/SKILL.md", f"{head}DEEP")
    machine.write(place / "wide/SKILL.md", f"{head}WIDE")
    here = os.open(place / "deep", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    for number in range(MOST_FILES + 5):
        (place / f"wide/{number}").mkdir()
    try:
        made = machine.look("project-skills")
    finally:  # pytest's own removal would not come to an end
        subprocess.run(["/bin/rm", "-rf", str(place / "deep")], check=True)
    everything = b"".join(content for _, content in made.files)
    assert b"DEEP" in everything
    assert b"WIDE" in everything
    assert sum("directories" in why for why in made.left) == 2


def test_a_repository_cannot_fill_the_screen_with_reasons(machine: Machine) -> None:
    for number in range(100):
        (machine.workspace / f"l{number}").symlink_to(f"l{number}")
    names = " ".join(f"@l{number}" for number in range(100))
    machine.write(machine.workspace / "CLAUDE.md", names)
    left = machine.look("project-memory").left
    assert (len(left), left[-1]) == (21, "and 80 more")
