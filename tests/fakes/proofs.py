"""Proofs for homes that a test makes: one real canary for each shape of a launch and test session.

A fresh home has no proof, so its first governed run would pay for a canary. Most tests are not
about that: they get the proof of a canary that this test session really ran, with the same binary,
the same user and the same settings; the product's own code runs it, judges it and writes it down.
"""

from __future__ import annotations

import functools
from pathlib import Path

import anyio

from agp.contracts.canary import CanaryReport
from agp.contracts.control import RunRequest
from agp.daemon.canary import prove_harness
from agp.daemon.config import load_config
from agp.daemon.home import Home
from agp.daemon.plans import plan_claude
from agp.daemon.proved import remember
from agp.sandbox.host import run_as

_REPORTS: dict[tuple[str, int], CanaryReport] = {}
"""By what a test can change of a launch's shape: the executable and the bridge's patience."""


def seed_proof(home: Home, repo: Path) -> None:
    """Let a home know what this test session has proved; the first time it is proved here."""
    config = load_config(home.config)
    key = (config.claude_code, config.reconnect_s)
    if key not in _REPORTS:
        request = RunRequest(
            intendant="claude-code", task="canary", repo=str(repo), model_url="http://127.0.0.1:1"
        )
        launch = plan_claude(home, config, request, str(repo)).launch
        assert launch is not None
        who = run_as(str(repo))
        prove = functools.partial(prove_harness, launch, who, agp_home=str(home.root))
        _REPORTS[key] = anyio.run(prove)
    report = _REPORTS[key]
    assert report.passed, report.detail
    remember(home, report)
