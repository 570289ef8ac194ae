"""The whole confinement suite of this room holds for an ordinary user too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from tests.fakes.views import ROOT, as_owner

FILES = ("view", "attacks", "seccomp", "local", "limits", "preflight", "claude")


@pytest.mark.slow
def test_the_confinement_suite_passes_for_an_ordinary_user() -> None:
    """Root runs it a second time as somebody else; whoever is somebody else has just run it."""
    if os.geteuid() != 0:
        return
    with tempfile.TemporaryDirectory(prefix="agp-ou-", dir="/tmp") as copied:
        place = Path(copied)
        place.chmod(0o755)
        ignore = shutil.ignore_patterns("__pycache__")
        for name in ("agp", "hooks", "tests"):
            shutil.copytree(ROOT / name, place / name, ignore=ignore)
        shutil.copy(ROOT / "pyproject.toml", place)
        libraries = Path(sysconfig.get_paths()["purelib"])
        shutil.copytree(libraries, place / "libraries", ignore=ignore)
        binary = next(ROOT.glob(".harness/node_modules/@anthropic-ai/claude-code-linux-*/claude"))
        harness = place / binary.relative_to(ROOT)
        harness.parent.mkdir(parents=True)
        shutil.copy(binary, harness)
        home = place / "home"
        home.mkdir()
        home.chmod(0o777)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        files = [f"tests/integration/test_sandbox_{name}.py" for name in FILES]
        done = subprocess.run(
            [*as_owner(), f"/usr/bin/python{version}", "-m", "pytest", "-q", "-p",
             "no:cacheprovider", "-p", "no:hypothesispytest", *files],
            cwd=place,
            env={"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8",
                 "PYTHONPATH": f"{place}:{place}/libraries", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert " passed" in done.stdout
        assert "skipped" not in done.stdout
