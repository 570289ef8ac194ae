"""The bridge's file: what it imports, what it repeats from the contract, what it looks like."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

from agp.contracts.gateway import FRAME_MAGIC, MAX_BODY, MAX_REPLY
from agp.gateway.frame import WAIT_LINE

BRIDGE = Path(__file__).parents[3] / "hooks" / "agp-bridge"
TREE = ast.parse(BRIDGE.read_text())
BUILT_IN = {"posix", "sys", "_signal", "_socket", "time"}


def constants() -> set[object]:
    return {node.value for node in ast.walk(TREE) if isinstance(node, ast.Constant)}


def test_it_imports_built_in_modules_only() -> None:
    """`socket` or `json` would double its time."""
    imported = {
        alias.name
        for node in ast.walk(TREE)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported == BUILT_IN
    assert not [node for node in ast.walk(TREE) if isinstance(node, ast.ImportFrom)]


def test_it_loads_nothing_that_python_does_not_load_anyway() -> None:
    def loaded(*arguments: str) -> set[bytes]:
        argv = ["/usr/bin/python3", "-I", "-S", "-X", "importtime", *arguments]
        done = subprocess.run(argv, input=b"", capture_output=True, check=False, env={})
        return {line.split(b"|")[-1].strip() for line in done.stderr.splitlines() if b"|" in line}

    bridge = loaded(str(BRIDGE), "claude-code", "PreToolUse", "/none", "0.01", "5")
    assert bridge - loaded("-c", "pass") <= {b"_socket"}


def test_it_repeats_the_frame_as_the_contract_has_it() -> None:
    assert WAIT_LINE in constants()
    assert FRAME_MAGIC + b" " in constants()
    assert FRAME_MAGIC + b" %d %d %d" in constants()
    shifts = {
        ast.literal_eval(node.left) << ast.literal_eval(node.right)
        for node in ast.walk(TREE)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift)
    }
    assert shifts == {MAX_BODY, MAX_REPLY}


def test_it_can_be_executed_by_everybody_and_written_by_its_owner() -> None:
    assert BRIDGE.stat().st_mode & 0o777 == 0o755


def test_only_its_last_statement_runs_the_hook_and_every_exception_there_is_a_refusal() -> None:
    last = TREE.body[-1]
    assert isinstance(last, ast.Try)
    (handler,) = last.handlers
    assert isinstance(handler.type, ast.Name)
    assert handler.type.id == "BaseException"
