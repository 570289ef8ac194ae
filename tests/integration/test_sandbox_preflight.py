"""The preflight passes where the view holds, and fails for every hole and every doubt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from agp.contracts.policy import Grade
from agp.contracts.sandbox import PreflightReport, Probe, ProbeResult
from agp.sandbox import preflight
from agp.sandbox.host import our_etc, run_as, system_binds
from agp.sandbox.local import LocalProvider
from agp.sandbox.preflight import Outside, prove
from agp.sandbox.profile import Bind, ViewSpec
from agp.sandbox.view import scratch
from tests.fakes.views import ENVIRONMENT, Stage, stage

pytestmark = pytest.mark.confinement


@pytest.fixture
def scene() -> Iterator[Stage]:
    with stage() as made:
        yield made


def leftovers() -> set[Path]:
    return {p for d in (Path.home(), Path("/tmp")) for p in d.glob(".agp-pf-*")}


def test_every_way_out_is_blocked_each_with_its_control_within_two_seconds(scene: Stage) -> None:
    before = leftovers()
    started = time.monotonic()
    report = anyio.run(LocalProvider(agp_home=str(scene.home)).preflight, str(scene.workspace))
    assert time.monotonic() - started < 2
    assert report.passed, [probe for probe in report.probes if not probe.passed]
    names = {probe.name for probe in report.probes}
    assert {"tcp-loopback", "udp-loopback", "unix-abstract", "unix-agp", "unix-tmp", "write-agp",
            "write-tmp", "vsock-socket", "capabilities", "no-new-privileges", "seccomp",
            "host-processes"} <= names  # fmt: skip
    assert leftovers() == before
    assert [entry.name for entry in scene.workspace.iterdir()] == [".git"], "nothing was created"


def probes_of(scene: Stage, change: Callable[[ViewSpec], ViewSpec]) -> dict[str, Probe]:
    who = run_as(str(scene.workspace))
    system, links = system_binds()

    def view(argv: tuple[str, ...]) -> ViewSpec:
        return change(
            ViewSpec(
                system=system,
                links=links,
                scratch=scratch(),
                files=our_etc(who),
                binds=(),
                environment=tuple(ENVIRONMENT.items()),
                cwd="/",
                argv=argv,
            )
        )

    outside = Outside(agp_run=str(scene.home / "run"), homes=(str(scene.base / "open"), "/tmp"))
    (scene.base / "open").mkdir(exist_ok=True)
    (scene.base / "open").chmod(0o777)
    found = anyio.run(prove, view, who, outside)
    return {probe.name: probe for probe in found}


def test_a_view_that_shows_a_directory_of_the_host_fails(scene: Stage) -> None:
    """The control of the whole preflight: a hole is found, by the listener's own log."""
    place = str(scene.base / "open")
    hole = Bind(source=place, target=place, writable=True)
    probes = probes_of(scene, lambda spec: spec.model_copy(update={"binds": (hole,)}))
    reached = {name for name, probe in probes.items() if probe.result is ProbeResult.REACHED}
    name = place.strip("/").replace("/", "-")
    assert reached == {f"unix-{name}", f"write-{name}"}


def test_a_probe_that_does_not_come_to_its_end_is_doubtful_and_fails(scene: Stage) -> None:
    probes = probes_of(scene, lambda spec: spec.model_copy(update={"argv": ("/bin/true",)}))
    report = PreflightReport(provider="x", grade=Grade.CONFINED, probes=tuple(probes.values()))
    assert not report.passed
    assert {probe.result for probe in probes.values()} == {ProbeResult.DOUBTFUL}


def test_words_without_a_listener_s_log_prove_nothing() -> None:
    """A control that says it reached, while its listener heard nothing, is no control."""
    said = preflight._Said(vsock="made", status={}, sees=True, done=True)
    heard = preflight._Heard(said, frozenset())
    probes = preflight.judge(heard, heard, ("tcp-loopback",))
    assert not any(probe.passed for probe in probes)


@pytest.mark.parametrize(
    ("inside", "failed"),
    [
        ({"vsock": "made"}, "vsock-socket"),
        ({"vsock": "errno 97"}, "vsock-socket"),
        ({"sees": True}, "host-processes"),
        ({"status": {"NoNewPrivs": "0"}}, "no-new-privileges"),
        ({"status": {"Seccomp": "0"}}, "seccomp"),
        ({"status": {"CapBnd": "000001ffffffffff"}}, "capabilities"),
        ({"status": {"CapAmb": ""}}, "capabilities"),
    ],
)
def test_each_state_that_is_not_as_it_must_be_fails_its_probe(
    inside: dict[str, object], failed: str
) -> None:
    good = {"NoNewPrivs": "1", "Seccomp": "2"} | {
        f"Cap{name}": "0" * 16 for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")
    }
    changed = dict(inside)
    status = good | changed.pop("status", {})  # type: ignore[operator]
    control = preflight._Said(vsock="made", status=good, sees=True, done=True)
    base = {"vsock": "errno 1", "sees": False, "done": True, "status": status}
    said = preflight._Said.model_validate(base | changed)
    probes = preflight.judge(
        preflight._Heard(control, frozenset()), preflight._Heard(said, frozenset()), ()
    )
    assert [probe.name for probe in probes if not probe.passed] == [failed]
