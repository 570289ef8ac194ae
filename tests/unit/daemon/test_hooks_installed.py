"""Settings files on disk: whose they are, how they are replaced, and what comes back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agp.daemon.config import Config
from agp.daemon.home import Home
from agp.daemon.installed import (
    Target,
    apply,
    plan_install,
    plan_uninstall,
    standing_of,
    target_of,
    user_settings,
)
from agp.errors import AgpError, ConfigurationError, Refusal

ORIGINAL = '{ "theme": "dark",\n\t"permissions": {"denyInsteadOfPrompting": false} }\n'


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """Give a person's own settings in a directory of the test's."""
    home = Home(tmp_path / "agp")
    home.create()
    environment = {"CLAUDE_CONFIG_DIR": str(tmp_path / "claude")}
    (tmp_path / "claude").mkdir()
    return target_of("user", home, Config(), repo=tmp_path, environment=environment)


def everything(place: Path) -> dict[str, bytes | None]:
    found = sorted(place.rglob("*"))
    return {str(p): p.read_bytes() if p.is_file() else None for p in found}


def test_a_file_that_nobody_changed_gets_its_bytes_back(target: Target, tmp_path: Path) -> None:
    """Spelling, mode and surroundings are as they were before."""
    target.settings.write_text(ORIGINAL)
    target.settings.chmod(0o604)
    before = everything(tmp_path)

    apply(plan_install(target))
    assert target.settings.stat().st_mode & 0o777 == 0o604
    assert target.backup.read_text() == ORIGINAL
    assert target.backup.stat().st_mode & 0o777 == 0o604
    assert standing_of(target).problems == ()
    assert plan_install(target).empty
    apply(plan_uninstall(target))

    assert everything(tmp_path) == before
    assert target.settings.stat().st_mode & 0o777 == 0o604
    assert plan_uninstall(target).empty


def test_where_there_was_no_file_there_is_none_afterwards(target: Target, tmp_path: Path) -> None:
    """No empty shell stays, nor the directory that was made for it."""
    target.settings.parent.rmdir()
    before = everything(tmp_path)

    apply(plan_install(target))
    assert target.settings.stat().st_mode & 0o777 == 0o600
    apply(plan_uninstall(target))

    assert everything(tmp_path) == before


def test_what_was_changed_meanwhile_stays_and_what_was_replaced_comes_back(target: Target) -> None:
    """The person's later words count; AGP's share is gone to the last container."""
    target.settings.write_text(ORIGINAL)
    apply(plan_install(target))
    document = json.loads(target.settings.read_text())
    document["theme"] = "light"
    document["permissions"]["allow"] = ["Read"]
    document["permissions"]["disableAutoMode"] = "their own"
    target.settings.write_text(json.dumps(document))

    apply(plan_uninstall(target))

    assert json.loads(target.settings.read_text()) == {
        "theme": "light",
        "permissions": {
            "denyInsteadOfPrompting": False,
            "allow": ["Read"],
            "disableAutoMode": "their own",
        },
    }


def test_a_second_install_keeps_what_the_first_one_knew(target: Target, tmp_path: Path) -> None:
    """A newer AGP with other clocks installs over an older one; the way back is the first one's."""
    target.settings.write_text(ORIGINAL)
    apply(plan_install(target))
    environment = {"CLAUDE_CONFIG_DIR": str(tmp_path / "claude")}
    newer = target_of(
        "user",
        Home(tmp_path / "agp"),
        Config(reconnect_s=7),
        repo=tmp_path,
        environment=environment,
    )
    assert any("edited" in problem for problem in standing_of(newer).problems)

    apply(plan_install(newer))
    assert standing_of(newer).problems == ()
    apply(plan_uninstall(newer))

    assert target.settings.read_text() == ORIGINAL


THEIRS = """\
{"model": "sonnet", "permissions": {"ask": ["*"], "denyInsteadOfPrompting": true}}
"""


def test_a_file_that_the_person_wrote_anew_is_theirs_to_the_byte(target: Target) -> None:
    """Attack: `uninstall` took `ask: ["*"]` out of settings that never held a hook of AGP."""
    target.settings.write_text(ORIGINAL)
    apply(plan_install(target))
    target.settings.write_text(THEIRS)

    change = plan_uninstall(target)
    apply(change)

    assert target.settings.read_text() == THEIRS
    assert "permissions.denyInsteadOfPrompting" in change.notes[0]
    assert not target.bridge.exists()
    assert not target.backup.exists()
    assert plan_uninstall(target).empty


def test_what_the_person_wrote_anew_is_what_a_later_installation_puts_back(target: Target) -> None:
    """The first installation's knowledge is of another file, and does not outlive it."""
    target.settings.write_text(ORIGINAL)
    apply(plan_install(target))
    target.settings.write_text(THEIRS)

    again = plan_install(target)
    apply(again)
    document = json.loads(target.settings.read_text())
    document["theme"] = "light"
    target.settings.write_text(json.dumps(document))
    apply(plan_uninstall(target))

    assert "stay when the hooks go again" in again.notes[0]
    assert json.loads(target.settings.read_text()) == {**json.loads(THEIRS), "theme": "light"}


def test_without_its_memory_agp_removes_its_share_and_says_what_it_cannot_do(
    target: Target,
) -> None:
    """AGP's home was deleted: nothing of AGP stays in the settings, and the loss is named."""
    target.settings.write_text('{"theme": "dark"}')
    apply(plan_install(target))
    assert target.memory is not None
    target.memory.unlink()

    change = plan_uninstall(target)
    apply(change)

    assert "not known any more" in change.notes[0]
    assert json.loads(target.settings.read_text()) == {"theme": "dark"}


def test_a_file_that_changed_since_it_was_shown_is_not_replaced(target: Target) -> None:
    """What a person agreed to is what is written."""
    target.settings.write_text(ORIGINAL)
    change = plan_install(target)
    target.settings.write_text('{"theme": "new"}')

    with pytest.raises(Refusal, match="changed meanwhile"):
        apply(change)

    assert target.settings.read_text() == '{"theme": "new"}'
    assert not target.bridge.exists()


@dataclass(frozen=True)
class Trap:
    """A settings file that must not be touched."""

    name: str
    set_up: Callable[[Path], object]
    why: str


def _link(path: Path) -> None:
    path.with_name("elsewhere.json").write_text("{}")
    path.symlink_to("elsewhere.json")


TRAPS = (
    Trap("a link", _link, "it is a link"),
    Trap("a pipe", os.mkfifo, "not a regular file"),
    Trap("a comment", lambda p: p.write_text("{} // x"), "not strict JSON"),
    Trap("a key twice", lambda p: p.write_text('{"a":1,"a":2}'), "not strict JSON"),
    Trap("a list", lambda p: p.write_text("[]"), "not a JSON object"),
    Trap("hooks that are a list", lambda p: p.write_text('{"hooks":[]}'), "setting hooks"),
    Trap("ask that is a word", lambda p: p.write_text('{"permissions":{"ask":"*"}}'), "ask"),
    Trap("too large", lambda p: p.write_bytes(b" " * 2_000_000), "larger than"),
)


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_a_file_that_is_not_plainly_ours_is_refused_and_left(
    target: Target, trap: Trap, tmp_path: Path
) -> None:
    """Each refusal says what to do, and nothing was written; the control is a plain file."""
    trap.set_up(target.settings)
    before = sorted(str(path) for path in tmp_path.rglob("*"))

    with pytest.raises(AgpError) as caught:
        apply(plan_install(target))

    assert trap.why in f"{caught.value} {caught.value.where}"
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
    target.settings.unlink()
    target.settings.write_text("{}")
    apply(plan_install(target))


def test_a_repository_s_link_leads_no_installation_away(tmp_path: Path) -> None:
    """Attack: the repository's `.claude` is a link to the person's own settings directory."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "repo" / ".claude").symlink_to(tmp_path / "mine")
    home = Home(tmp_path / "agp")
    home.create()
    target = target_of("project", home, Config(), repo=tmp_path / "repo", environment={})

    with pytest.raises(ConfigurationError, match="not ours to change"):
        plan_install(target)

    assert list((tmp_path / "mine").iterdir()) == []


def test_the_person_s_settings_are_where_the_harness_looks(tmp_path: Path) -> None:
    """CLAUDE_CONFIG_DIR, else `.claude` in the home directory."""
    assert user_settings({"CLAUDE_CONFIG_DIR": "/x"}) == Path("/x/settings.json")
    assert user_settings({}) == Path.home() / ".claude" / "settings.json"
