"""The pages say what the code does, and the check that says so can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("agp", "docs", "decisions", "scripts", "tests", "README.md", "SECURITY.md", "CHANGELOG.md")


def check(place: Path, *arguments: str) -> tuple[int, str]:
    """Run the tree's own check of the documents."""
    done = subprocess.run(
        [sys.executable, place / "scripts" / "docs", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Give a copy of everything that the check reads."""
    ignore = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tmp_path / part, ignore=ignore)
        else:
            shutil.copy(source, tmp_path)
    for name in ("hooks", "policies", "LICENSE", "pyproject.toml", "requirements.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_the_pages_agree_with_the_tree() -> None:
    """Exit codes, commands, decisions, claims, links and settings."""
    assert check(ROOT) == (0, "")


def test_a_changed_exit_code_is_found(copied: Path) -> None:
    """The table in the page is the tree's own, not a copy that ages."""
    errors = copied / "agp" / "errors.py"
    errors.write_text(errors.read_text().replace("= 44\n", "= 45\n"))

    code, said = check(copied)

    assert code == 1
    assert "docs/cli.md: 'exit-codes' is out of date" in said


def test_a_claim_that_names_no_real_test_is_found(copied: Path) -> None:
    """A sentence in SECURITY.md cannot lean on a test that somebody deleted."""
    page = copied / "SECURITY.md"
    page.write_text(page.read_text() + "\nNothing ever fails (`tests/unit/test_x.py::test_y`).\n")

    code, said = check(copied)

    assert code == 1
    assert "there is no test tests/unit/test_x.py::test_y" in said


def test_a_link_that_leads_nowhere_is_found(copied: Path) -> None:
    """A page that moved leaves no dead pointer."""
    page = copied / "README.md"
    page.write_text(page.read_text() + "\n[see](docs/gone.md)\n")

    code, said = check(copied)

    assert code == 1
    assert "README.md: the link to docs/gone.md leads nowhere" in said


def test_write_renews_exactly_what_is_generated(copied: Path) -> None:
    """`--write` mends the table and leaves the rest of the page alone."""
    page = copied / "docs" / "cli.md"
    whole = page.read_text()
    page.write_text(whole.replace("| 44 |", "| 99 |"))

    assert check(copied, "--write") == (0, "")
    assert page.read_text() == whole
