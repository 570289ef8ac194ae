"""The surveyor's port: this machine and its fake say the same of what both can know by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from agp.contracts.policy import (
    Action,
    Effect,
    EffectKind,
    ReadAction,
    ShellAction,
    World,
    WriteAction,
)
from agp.daemon.survey import HostSurveyor
from agp.governor.ports import Surveyor
from agp.policy.effects import needs
from tests.fakes.governed import FakeSurveyor

HOME = Path("/nonexistent/agp-home")


@pytest.fixture(params=["fake", "real"])
def surveyor(request: pytest.FixtureRequest) -> Surveyor:
    if request.param == "fake":
        return FakeSurveyor()
    return HostSurveyor(HOME, ("/usr/local/bin", "/usr/bin", "/bin"))


@pytest.fixture
def workspace(tmp_path: Path) -> str:
    made = (tmp_path / "repo").resolve()
    (made / "sub").mkdir(parents=True)
    return str(made)


def survey(surveyor: Surveyor, action: Action, workspace: str, below: str = "") -> World:
    return surveyor.survey(
        action,
        workspace=workspace,
        cwd=f"{workspace}{below}",
        session_id="s-0123456789ab",
        agent_id="sub-1",
        intendant="claude-code",
    )


@pytest.mark.parametrize(
    "action",
    [
        ReadAction(path="a"),
        WriteAction(path="/etc/passwd"),
        ShellAction(command="cat a b a"),
        ShellAction(command="cp a ../b"),
        ShellAction(command="ls | wc"),
    ],
    ids=str,
)
def test_exactly_what_the_policy_needs_is_answered_in_its_order(
    surveyor: Surveyor, workspace: str, action: Action
) -> None:
    world = survey(surveyor, action, workspace)
    needed = needs(action)
    assert tuple(facts.raw for facts in world.paths) == tuple(needed.paths)
    assert tuple(facts.word for facts in world.executables) == tuple(needed.words)


def test_who_asks_and_where_is_passed_on(surveyor: Surveyor, workspace: str) -> None:
    world = survey(surveyor, ReadAction(path="a"), workspace, "/sub")
    assert (world.workspace, world.cwd) == (workspace, f"{workspace}/sub")
    assert (world.session_id, world.agent_id) == ("s-0123456789ab", "sub-1")
    assert world.intendant == "claude-code"


@dataclass(frozen=True)
class Named:
    """A path as a call in `sub` writes it, and what is true of it; `{ws}` is the workspace."""

    raw: str
    resolved: str
    in_workspace: bool = True
    in_agp: bool = False
    executing_place: bool = False
    agent_writable: bool = True
    secret: bool = False


PATHS = (
    Named("a", "{ws}/sub/a"),
    Named("../a", "{ws}/a"),
    Named("./x/../a", "{ws}/sub/a"),
    Named("{ws}", "{ws}"),
    Named("{ws}/../other", "{up}/other", in_workspace=False),
    Named("{ws}-twin/a", "{ws}-twin/a", in_workspace=False),
    Named("/usr/share/x", "/usr/share/x", in_workspace=False, agent_writable=False),
    Named("/opt/agp/agp-bridge", "/opt/agp/agp-bridge", False, True, agent_writable=False),
    Named("/home/agent/x", "/home/agent/x", in_workspace=False),
    Named("../.git/hooks/pre-commit", "{ws}/.git/hooks/pre-commit", True, False, True, False),
    Named("../.claude/settings.json", "{ws}/.claude/settings.json", True, False, True, False),
    Named(".env", "{ws}/sub/.env", secret=True),
    Named("/etc/ssl/key.pem", "/etc/ssl/key.pem", False, agent_writable=False, secret=True),
)


@pytest.mark.parametrize("named", PATHS, ids=lambda named: named.raw)
def test_a_path_is_resolved_and_told_apart_by_name(
    surveyor: Surveyor, workspace: str, named: Named
) -> None:
    def here(text: str) -> str:
        return text.replace("{ws}", workspace).replace("{up}", str(Path(workspace).parent))

    (facts,) = survey(surveyor, ReadAction(path=here(named.raw)), workspace, "/sub").paths
    assert facts.resolved == here(named.resolved)
    assert (facts.in_workspace, facts.in_agp) == (named.in_workspace, named.in_agp)
    assert facts.executing_place is named.executing_place
    assert facts.agent_writable is named.agent_writable
    assert facts.secret is named.secret


def test_a_program_of_the_system_is_not_the_agents_and_one_of_the_workspace_is(
    surveyor: Surveyor, workspace: str
) -> None:
    (system,) = survey(surveyor, ShellAction(command="env"), workspace).executables
    assert system.resolved is not None
    assert system.resolved.startswith("/usr/")
    assert not system.agent_writable
    (own,) = survey(surveyor, ShellAction(command="./build.sh"), workspace, "/sub").executables
    assert (own.resolved, own.agent_writable) == (f"{workspace}/sub/build.sh", True)


def test_only_workspace_files_in_exec_position_are_hashed_each_once_in_order(
    surveyor: Surveyor, workspace: str
) -> None:
    run = [
        Effect(kind=EffectKind.EXEC_WORKSPACE, subject=f"{workspace}/{name}")
        for name in ("b.sh", "a.sh", "b.sh")
    ]
    others = [
        Effect(kind=EffectKind.EXEC_WORKSPACE, subject="/usr/bin/env"),
        Effect(kind=EffectKind.READ, subject=f"{workspace}/c"),
    ]
    hashed = surveyor.hash_files([*run, *others], workspace=workspace)
    assert [entry.path for entry in hashed] == [f"{workspace}/a.sh", f"{workspace}/b.sh"]
    assert surveyor.hash_files(reversed([*run, *others]), workspace=workspace) == hashed
    assert surveyor.hash_files(others, workspace=workspace) == ()
