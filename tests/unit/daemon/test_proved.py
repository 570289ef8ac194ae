"""What is remembered of a canary, and everything that is not a proof."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agp import __version__
from agp.contracts.base import Digest
from agp.contracts.canary import CanaryProbe, CanaryReport, CanaryTopic
from agp.contracts.intendant import LaunchPlan
from agp.daemon import proved
from agp.daemon.home import Home
from agp.daemon.proved import finished, is_proved, read_proofs, remember
from agp.errors import ConfigurationError
from agp.intendants.claude_code.launch import LaunchRequest, plan_launch
from agp.intendants.claude_code.shape import shape_digest


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def launch(version: str = "2.1.329", digest: str = "a" * 64) -> LaunchPlan:
    return plan_launch(
        LaunchRequest(
            task="t",
            executable="/x/claude",
            executable_sha256=Digest(digest),
            version=version,
            bridge=b"b",
            forwarder=b"f",
            reconnect_s=30,
            model_relay=True,
            git_name="a",
            git_email="a@b",
        )
    )


def report(plan: LaunchPlan, *, passed: bool = True, words: str = "w") -> CanaryReport:
    topics = (CanaryTopic.GRANTED, CanaryTopic.DENIED)
    return CanaryReport(
        intendant=plan.intendant,
        version=plan.version,
        harness_digest=Digest(plan.harness_digest),
        shape_digest=shape_digest(plan),
        probes=tuple(
            CanaryProbe(name=t.value, topic=t, passed=passed, words=words) for t in topics
        ),
        duration_ms=1200,
    )


def test_what_was_remembered_is_proved_and_nothing_else_is(home: Home) -> None:
    """Another binary, another version, another shape: each is proved anew."""
    assert not is_proved(home, launch())
    remember(home, report(launch()))
    assert is_proved(home, launch())
    assert not is_proved(home, launch(digest="b" * 64))
    assert not is_proved(home, launch(version="2.1.330"))
    assert home.proved.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.root.glob(".proved*")] == []


def test_a_proof_of_another_agp_is_none(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the shape were the same."""
    remember(home, report(launch()))
    monkeypatch.setattr(proved, "__version__", "0.0.1")
    assert not is_proved(home, launch())


def test_proofs_stand_beside_each_other_once_each_and_the_oldest_go(home: Home) -> None:
    """Two versions in turns do not cost a canary each time."""
    for number in range(70):
        remember(home, report(launch(digest=f"{number:064x}")))
    remember(home, report(launch(digest=f"{69:064x}")))
    known = read_proofs(home)
    assert len(known) == 64
    assert is_proved(home, launch(digest=f"{69:064x}"))
    assert not is_proved(home, launch(digest=f"{0:064x}"))


def test_what_did_not_pass_is_not_remembered(home: Home) -> None:
    """Not even by a caller that forgot to look."""
    with pytest.raises(ConfigurationError):
        remember(home, report(launch(), passed=False))
    assert not home.proved.exists()


@dataclass(frozen=True)
class Tampered:
    """One way in which the file is not what was written, as a sentence."""

    name: str
    act: Callable[[Path], object]


def edit(**members: object) -> Callable[[Path], object]:
    """Change members of the only proof."""

    def act(path: Path) -> None:
        document = json.loads(path.read_text())
        document["proofs"][0].update(members)
        path.write_text(json.dumps(document))

    return act


def moved(path: Path) -> None:
    """Put a link to the same bytes in its place."""
    other = path.with_name("elsewhere")
    path.rename(other)
    path.symlink_to(other)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


TAMPERED = (
    Tampered("it is gone", Path.unlink),
    Tampered("it is empty", lambda path: path.write_bytes(b"")),
    Tampered("it is half", lambda path: path.write_bytes(path.read_bytes()[:100])),
    Tampered("it has something behind it", lambda path: path.write_bytes(path.read_bytes() + b"x")),
    Tampered("it is no text", lambda path: path.write_bytes(b"\xff\xfe" * 100)),
    Tampered("it is deep", lambda path: path.write_bytes(b"[" * 200_000)),
    Tampered("it is huge", lambda path: path.write_bytes(path.read_bytes() + b" " * 300_000)),
    Tampered("others can read it", lambda path: path.chmod(0o644)),
    Tampered("others can write it", lambda path: path.chmod(0o620)),
    Tampered("it is a link", moved),
    Tampered("it is a pipe", pipe),
    Tampered("it is a directory", directory),
    Tampered("it is of another format", lambda p: p.write_text(
        p.read_text().replace('"version": 1', '"version": 2'))),
    Tampered("a member is unknown", edit(extra=1)),
    Tampered("the shape is another", edit(shape_digest="c" * 64)),
    Tampered("the shape is empty", edit(shape_digest="")),
    Tampered("the shape is a pattern", edit(shape_digest="*")),
    Tampered("the binary is another", edit(harness_digest="c" * 64)),
    Tampered("the AGP is another", edit(agp=__version__ + ".1")),
    Tampered("the version is a number", edit(version=2)),
    Tampered("the time is negative", edit(duration_ms=-1)),
)  # fmt: skip


@pytest.mark.parametrize("row", TAMPERED, ids=lambda row: row.name)
def test_a_file_that_is_not_exactly_the_proof_is_none_and_can_be_replaced(
    row: Tampered, home: Home
) -> None:
    """The canary runs again; nothing raises, nothing hangs, and a new proof stands afterwards."""
    remember(home, report(launch()))
    assert is_proved(home, launch())
    row.act(home.proved)
    assert not is_proved(home, launch())
    if home.proved.is_dir():
        with pytest.raises(ConfigurationError):
            remember(home, report(launch()))
        return
    remember(home, report(launch()))
    assert is_proved(home, launch())


def test_the_journal_hears_no_secret_and_no_novel() -> None:
    """A harness writes its last words itself; the operator's secrets may stand in them."""
    told = finished(
        report(launch(), passed=False, words="the key is hunter2-hunter2 " + "x" * 9000),
        ("hunter2-hunter2",),
    )
    assert "hunter2" not in told.detail
    assert len(told.detail) < 600
    assert not told.passed
