"""What a stranger installs is whole: the wheel carries the bridge and the policies, and works."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from this tree, offline."""
    place = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place],
        cwd=ROOT, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (built,) = place.glob("*.whl")
    return built


def test_the_wheel_ships_the_same_bridge_and_policies(wheel: Path) -> None:
    """Byte for byte: a bridge that differs would not be the one that was attacked in the tests."""
    with zipfile.ZipFile(wheel) as archive:
        for name in ("hooks/agp-bridge", "hooks/agp-forward", "policies/default.yaml"):
            assert archive.read(f"agp/_shipped/{name}") == (ROOT / name).read_bytes()


def test_the_wheel_ships_the_table_of_proved_harness_versions(wheel: Path) -> None:
    table = "agp/intendants/claude_code/versions.toml"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(table) == (ROOT / table).read_bytes()


def test_the_wheel_holds_nothing_but_the_package(wheel: Path) -> None:
    """No test, no harness and no home of a developer travels along."""
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}

    assert tops == {"agp", next(top for top in tops if top.endswith(".dist-info"))}


def test_an_installed_wheel_makes_a_home_and_proves_it(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, without the repository: init, doctor, daemon, verify."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AGP_HOME": str(tmp_path / "agp"),
        "PYTHONPATH": str(site),
        "LANG": "C.UTF-8",
    }

    for line in ("init", "doctor", "daemon start", "daemon stop", "verify"):
        done = subprocess.run(
            [sys.executable, "-m", "agp", *line.split()],
            env=env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
