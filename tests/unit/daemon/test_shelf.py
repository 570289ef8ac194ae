"""The policy files of a machine: which count, what a broken or odd one does, what an agent may."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from agp.contracts.policy import Decision, Effect, EffectKind, Grade, World
from agp.daemon.home import Home
from agp.daemon.shelf import PolicyShelf
from agp.errors import AgpError, ConfigurationError, OverLimit, PolicyError

NETWORK = Effect(kind=EffectKind.CONNECT, subject="example.org", port=443)
HEAD = "version: 1\ndefault: require\nrules:\n"
DENY = HEAD + "  - {id: no, match: {effect: connect}, verdict: deny, reason: No.}\n"
OWN_DENY = DENY.replace("default: require\n", "")
"""As a repository says it: it has no default of its own."""
ALLOW = HEAD + "  - {id: yes, match: {effect: connect}, verdict: allow}\n"


@pytest.fixture
def shelf(tmp_path: Path) -> PolicyShelf:
    """Give a shelf without admin and user files."""
    home = Home(tmp_path / "home")
    home.root.mkdir()
    made = PolicyShelf(home, admin=tmp_path / "admin.yaml")
    made.reload()
    return made


def decided(shelf: PolicyShelf, workspace: Path) -> Decision:
    """Decide one connection in a workspace."""
    world = World(
        workspace=str(workspace), cwd=str(workspace), paths=(), executables=(),
        intendant="scripted", agent_id=None, session_id="s-000000000000",
    )  # fmt: skip
    verdict = shelf.of(str(workspace)).decide((NETWORK,), grade=Grade.SHARED, world=world)
    return verdict.decision


def workspace(tmp_path: Path, text: str | None) -> Path:
    """Make a workspace with its own policy."""
    made = tmp_path / "repo"
    (made / ".agp").mkdir(parents=True)
    if text is not None:
        (made / ".agp" / "policy.yaml").write_text(text)
    return made


def test_a_shelf_that_was_never_filled_decides_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        _ = PolicyShelf(Home(tmp_path)).base


def test_a_workspace_tightens(tmp_path: Path, shelf: PolicyShelf) -> None:
    repo = workspace(tmp_path, OWN_DENY)
    shelf.open_workspace(str(repo))

    assert decided(shelf, repo) is Decision.DENY
    assert decided(shelf, tmp_path / "other") is Decision.REQUIRE


def test_a_workspace_never_loosens(tmp_path: Path, shelf: PolicyShelf) -> None:
    """An allow in a repository's file is refused, or has no effect; never the contrary."""
    repo = workspace(tmp_path, ALLOW.replace("default: require\n", ""))
    with contextlib.suppress(AgpError):
        shelf.open_workspace(str(repo))

    assert decided(shelf, repo) is Decision.REQUIRE


def test_what_an_agent_writes_during_a_session_has_no_say(
    tmp_path: Path, shelf: PolicyShelf
) -> None:
    """Neither a new file nor the removal of the one that was read when the session opened."""
    repo = workspace(tmp_path, OWN_DENY)
    shelf.open_workspace(str(repo))

    (repo / ".agp" / "policy.yaml").unlink()

    assert decided(shelf, repo) is Decision.DENY


def test_a_reload_takes_user_and_admin_files_for_open_workspaces_too(
    tmp_path: Path, shelf: PolicyShelf
) -> None:
    repo = workspace(tmp_path, None)
    shelf.open_workspace(str(repo))
    (tmp_path / "home" / "policy.yaml").write_text(ALLOW)
    before = shelf.base.digest

    loaded = shelf.reload()

    assert decided(shelf, repo) is Decision.ALLOW
    assert loaded.policy_digest == shelf.base.digest != before
    (tmp_path / "admin.yaml").write_text(DENY)
    shelf.reload()
    assert decided(shelf, repo) is Decision.DENY


@pytest.mark.parametrize("where", ["home/policy.yaml", "admin.yaml", "repo/.agp/policy.yaml"])
@pytest.mark.parametrize("how", ["broken", "pipe", "directory", "device", "dangling", "huge"])
def test_a_file_that_cannot_be_used_leaves_everything_as_it_was(
    tmp_path: Path, shelf: PolicyShelf, where: str, how: str
) -> None:
    """And a named pipe or a device hangs nobody."""
    repo = workspace(tmp_path, OWN_DENY)
    shelf.open_workspace(str(repo))
    before = shelf.base.digest
    path = tmp_path / where
    path.unlink(missing_ok=True)
    match how:
        case "broken":
            path.write_text("version: 1\nversion: 1\n")
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "dangling":
            path.symlink_to("nowhere")
        case _:
            path.write_bytes(b"#" * (1024 * 1024 + 1))

    of_the_agent = where.startswith("repo/")
    if of_the_agent:
        shelf.reload()  # what the agent wrote since has no say, and blocks nobody's reload

    with pytest.raises((PolicyError, ConfigurationError, OverLimit)) as refused:
        shelf.open_workspace(str(repo)) if of_the_agent else shelf.reload()

    assert str(path) in refused.value.where
    assert of_the_agent or shelf.base.digest == before
    assert decided(shelf, repo) is Decision.DENY
