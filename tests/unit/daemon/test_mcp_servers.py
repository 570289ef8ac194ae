"""An MCP server is its program and files as they were when the run was planned."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agp.daemon.config import Config, McpServer, load_config
from agp.daemon.mcp import PlannedServer, check_unchanged, plan_servers
from agp.errors import ConfigurationError, RunRefused

HOME = "/nonexistent/agp"


def plan(
    workspace: Path, *command: str, **more: tuple[str, ...]
) -> tuple[tuple[PlannedServer, ...], tuple[str, ...]]:
    config = Config(mcp_servers={"one": McpServer(command=command, **more)})
    return plan_servers(config, str(workspace), agp_home=HOME)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "server.py"
    path.write_text("print()")
    return path


def test_a_server_is_its_resolved_program_and_the_hash_of_each_file(
    workspace: Path, script: Path
) -> None:
    link = script.with_name("link.py")
    link.symlink_to(script)
    ((server,), left) = plan(workspace, "python3", str(link), "--fast")
    python = str(Path("/usr/bin/python3").resolve())
    assert left == ()
    assert server.argv == (python, str(script), "--fast")
    assert [file.path for file in server.files] == [python, str(script)]
    assert server.files[1].sha256 == hashlib.sha256(b"print()").hexdigest()
    assert server.outside_system == (str(script),)
    check_unchanged(server, str(workspace))


@pytest.mark.parametrize("change", ["edited", "gone", "a link"])
def test_a_file_that_changed_after_planning_is_refused(
    workspace: Path, script: Path, change: str
) -> None:
    ((server,), _) = plan(workspace, "python3", str(script))
    check_unchanged(server, str(workspace))
    if change == "edited":
        script.write_text("print(1)")
    else:
        script.rename(script.with_name("moved.py"))
    if change == "a link":
        script.symlink_to(script.with_name("moved.py"))
    with pytest.raises(RunRefused) as refused:
        check_unchanged(server, str(workspace))
    assert str(script) in str(refused.value)


@pytest.mark.parametrize(
    "command",
    [
        ("WORK/server.py",),
        ("python3", "WORK/server.py"),
        ("python3", "OUT/link.py"),
        ("python3", "--path=WORK"),
        ("python3", "WORK"),
        ("server.py",),
        ("./server.py",),
        ("/nonexistent/program",),
        ("python3", "/nonexistent/agp/x"),
        ("python3", "server.py"),
        ("python3", "./server.py"),
        ("python3", "-u", "sub/../server.py"),
        ("python3", "link-in-work"),
        ("python3", "sub"),
        ("python3", "."),
        ("python3", "--settings=server.py"),
        ("python3", "-Isub"),
        ("node", "--import=file:WORK/server.py"),
        ("python3", "../out.py"),
    ],
)
def test_what_lies_in_the_workspace_or_is_not_there_is_left_out_and_told(
    workspace: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """An agent could have written it; a configuration is no decision about a repository's code."""
    inside = workspace / "server.py"
    inside.write_text("#!/usr/bin/python3\n")
    inside.chmod(0o755)
    (tmp_path / "link.py").symlink_to(inside)
    (tmp_path / "out.py").symlink_to(inside)
    (workspace / "sub").mkdir()
    (workspace / "link-in-work").symlink_to("server.py")
    words = [w.replace("WORK", str(workspace)).replace("OUT", str(tmp_path)) for w in command]
    planned, (why,) = plan(workspace, *words)
    assert planned == ()
    assert why.startswith("mcp one: ")


def test_a_word_that_is_nothing_in_the_workspace_stays_a_word(
    workspace: Path, script: Path
) -> None:
    """The control; and a relative path that leads out of the workspace is pinned like any."""
    ((server,), left) = plan(workspace, "python3", "../server.py", "stdio", "--x=1", "-v", "@a/b")
    assert left == ()
    assert server.argv[1:] == (str(script), "stdio", "--x=1", "-v", "@a/b")
    assert server.files[1].path == str(script)
    check_unchanged(server, str(workspace))


@pytest.mark.parametrize("made", ["stdio", "@a/b"])
def test_what_an_agent_makes_of_a_word_after_planning_is_refused(
    workspace: Path, made: str
) -> None:
    """Attack: the word was a name for nothing when the run was planned."""
    ((server,), _) = plan(workspace, "python3", "stdio", "@a/b")
    (workspace / made).parent.mkdir(exist_ok=True)
    (workspace / made).write_text("print()")
    with pytest.raises(RunRefused, match="written"):
        check_unchanged(server, str(workspace))


def test_a_variable_that_loads_code_is_left_out_with_its_server(workspace: Path) -> None:
    planned, (why,) = plan(workspace, "true", environment=("LD_PRELOAD",))
    assert planned == ()
    assert "LD_PRELOAD" in why


def test_each_part_of_a_server_is_in_its_digest(workspace: Path, script: Path) -> None:
    other = "/usr/bin/env"
    base = plan(workspace, "python3", str(script))[0][0].digest
    others = {
        plan(workspace, "python3", str(script), "x")[0][0].digest,
        plan(workspace, "python3", str(script), egress=("a:1",))[0][0].digest,
        plan(workspace, "python3", str(script), environment=("A",))[0][0].digest,
        plan(workspace, other, str(script))[0][0].digest,
    }
    script.write_text("other")
    others.add(plan(workspace, "python3", str(script))[0][0].digest)
    assert len(others - {base}) == 5


def test_the_configuration_names_servers_and_what_is_carried(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        'carry = ["login", "skill:deploy"]\n[mcp_servers.files]\ncommand = ["srv", "--x"]\n'
    )
    config = load_config(path)
    assert config.carry == ("login", "skill:deploy")
    assert config.mcp_servers == {"files": McpServer(command=("srv", "--x"))}
    assert load_config(tmp_path / "absent").carry == ("project-memory",)


@pytest.mark.parametrize(
    "text",
    [
        'carry = ["hooks"]',
        'carry = ["skill:../x"]',
        'carry = "login"',
        "[mcp_servers.a__b]\ncommand = ['x']",
        "[mcp_servers.a_]\ncommand = ['x']",
        "[mcp_servers.a]\ncommand = []",
        "[mcp_servers.a]\ncommand = 'x'",
        "[mcp_servers.a]\ncommand = ['x']\nenv = {A = 'b'}",
    ],
)
def test_another_spelling_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        load_config(path)
