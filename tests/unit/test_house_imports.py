"""The walls between the rooms stand: one violation of each contract, planted, is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120


@dataclass(frozen=True)
class Violation:
    """One forbidden line, where it is put, and the contract that must break."""

    says: str
    module: str
    line: str
    contract: str


VIOLATIONS = (
    Violation("a lower room imports a higher one", "policy/x.py", "import agp.governor", "rooms"),
    Violation("two rooms of one line know each other", "store/x.py", "import agp.gateway", "rooms"),
    Violation("a room that nobody placed appears", "newroom/__init__.py", "", "rooms"),
    Violation("the policy reads a clock", "policy/x.py", "import time", "pure-policy"),
    Violation("approvals open a socket", "approvals/x.py", "import socket", "pure-policy"),
    Violation("a contract signs", "contracts/x.py", "import nacl", "contracts-pydantic-only"),
    Violation("the governor talks to Docker", "governor/x.py", "import docker", "one-library-each"),
)


def contracts() -> dict[str, str]:
    """Give the name of each contract by its id."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {one["id"]: one["name"] for one in pyproject["tool"]["importlinter"]["contracts"]}


def copy_tree(place: Path) -> None:
    """Copy the package and its configuration; nothing is imported from the original."""
    shutil.copytree(ROOT / "agp", place / "agp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)


def lint(place: Path) -> tuple[int, str]:
    """Run import-linter over a copied tree."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_tree_itself_keeps_every_contract(tmp_path: Path) -> None:
    """The positive control: without a planted line nothing is reported."""
    copy_tree(tmp_path)

    code, said = lint(tmp_path)

    assert code == 0, said
    assert f"{len(contracts())} kept, 0 broken" in said


def test_every_contract_has_a_planted_violation() -> None:
    """A contract that no test breaks could be empty."""
    assert {violation.contract for violation in VIOLATIONS} == set(contracts())


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.says)
def test_a_planted_violation_breaks_exactly_its_contract(
    violation: Violation, tmp_path: Path
) -> None:
    """The linter names the contract, and no other."""
    copy_tree(tmp_path)
    planted = tmp_path / "agp" / violation.module
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(f"{violation.line}\n")

    code, said = lint(tmp_path)

    broken = {id_ for id_, name in contracts().items() if f"{name} BROKEN" in said}
    assert code == 1, said
    assert broken == {violation.contract}, said
