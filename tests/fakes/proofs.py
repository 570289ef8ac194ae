"""Proofs for homes that a test makes: one real canary for each shape of a launch and test session.

A fresh home has no proof, so its first governed run would pay for a canary. Most tests are not
about that: they get the proof of a canary that this test session really ran, with the same binary,
the same user and the same settings; the product's own code runs it, judges it and writes it down.
"""

from __future__ import annotations

import functools
from pathlib import Path

import anyio

from agp.contracts.base import Digest
from agp.contracts.canary import CanaryProbe, CanaryReport, CanaryTopic
from agp.contracts.control import RunRequest
from agp.contracts.intendant import LaunchPlan
from agp.daemon.canary import prove_harness
from agp.daemon.config import load_config
from agp.daemon.home import Home
from agp.daemon.plans import plan_claude
from agp.daemon.proved import remember
from agp.intendants.claude_code.shape import shape_digest
from agp.sandbox.host import run_as

_REPORTS: dict[tuple[str, int], CanaryReport] = {}
"""By what a test can change of a launch's shape: the executable and the bridge's patience."""


def seed_proof(home: Home, repo: Path) -> None:
    """Let a home know what this test session has proved; the first time it is proved here."""
    config = load_config(home.config)
    key = (config.claude_code, config.reconnect_s)
    if key not in _REPORTS:
        who = run_as(str(repo))
        launch = _launch(home, repo)
        prove = functools.partial(prove_harness, launch, who, agp_home=str(home.root))
        _REPORTS[key] = anyio.run(prove)
    report = _REPORTS[key]
    assert report.passed, report.detail
    remember(home, report)


def forge_proof(home: Home, repo: Path, files: dict[str, bytes]) -> None:
    """Let a home hold a proof that no canary gave: of its launch with other files.

    What somebody who can write to AGP's home could leave there: for the product it is a proof.
    """
    launch = _launch(home, repo)
    assert files.keys() <= dict(launch.files).keys(), "not the files of this launch"
    damaged = launch.model_copy(update={"files": tuple((dict(launch.files) | files).items())})
    lied = (CanaryTopic.GRANTED, CanaryTopic.DENIED)
    report = CanaryReport(
        intendant=launch.intendant,
        version=launch.version,
        harness_digest=Digest(launch.harness_digest),
        shape_digest=shape_digest(damaged),
        probes=tuple(CanaryProbe(name=t, topic=t, passed=True, words="forged") for t in lied),
        duration_ms=0,
    )
    remember(home, report)


def planned_file(home: Home, repo: Path, path: str) -> bytes:
    """Give one file of the launch as it is planned for this home."""
    return dict(_launch(home, repo).files)[path]


def _launch(home: Home, repo: Path) -> LaunchPlan:
    request = RunRequest(
        intendant="claude-code", task="canary", repo=str(repo), model_url="http://127.0.0.1:1"
    )
    launch = plan_claude(home, load_config(home.config), request, str(repo)).launch
    assert launch is not None
    return launch
