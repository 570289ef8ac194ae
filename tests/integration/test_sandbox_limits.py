"""A view may not take the machine: its processes are bounded, and nobody else's are counted.

The bound of these tests is 100 in the place of the product's own, and whoever tries to pass it
starts 150 children and no more.
"""

from __future__ import annotations

import errno
import functools
import json
import select
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import pytest

from agp.contracts.base import SessionId
from agp.contracts.sandbox import ExecRequest, ExecResult
from agp.errors import Unavailable
from agp.sandbox import local
from agp.sandbox.call_view import CallSeats, build_call_view, shell_argv
from agp.sandbox.host import RunAs, run_as
from agp.sandbox.limits import PROCESSES
from agp.sandbox.local import LocalProvider
from agp.sandbox.profile import OurFile, ViewSpec
from agp.sandbox.spawn import opened
from agp.sandbox.view import FORWARD_IN_VIEW, prepare_home, prepare_tmp
from tests.fakes.views import FORWARDER, Stage, as_owner, processes_marked, stage

pytestmark = pytest.mark.confinement

BOUND = 100
TRIES = 150
OURS = 8
"""At most so many processes of a view are none of the children below: its init, watch, shell."""
FORKS = f"""
import json, os, resource, sys
try:
    resource.setrlimit(resource.RLIMIT_NPROC, ({TRIES}, {TRIES}))
    raised = True
except ValueError:
    raised = False
kept, ends = os.pipe()
children, refused = [], 0
while len(children) < {TRIES}:
    try:
        child = os.fork()
    except BlockingIOError as error:
        refused = error.errno
        break
    if child == 0:
        os.close(ends)
        os.read(kept, 1)
        os._exit(0)
    children.append(child)
core = resource.getrlimit(resource.RLIMIT_CORE)[1]
print(json.dumps([len(children), refused, raised, core]), flush=True)
sys.stdin.read()
os.close(ends)
for child in children:
    os.waitpid(child, 0)
"""
THREADS = f"""
import sys, threading
stay = threading.Event()
for _ in range({TRIES}):
    threading.Thread(target=stay.wait).start()
print("ready", flush=True)
sys.stdin.read()
stay.set()
"""
OUTSIDE = f"import resource\nresource.setrlimit(resource.RLIMIT_NPROC, ({BOUND}, {BOUND}))\n{FORKS}"
GUARD = local._GUARD
PYTHON = ("/usr/bin/python3", "-IS")


@pytest.fixture
def scene() -> Iterator[Stage]:
    with stage() as made:
        made.places()
        (made.workspace / "forks.py").write_text(FORKS)
        made.give()
        yield made


def bounded(spec: ViewSpec) -> ViewSpec:
    """Give a view with the bound of the tests in the place of the product's."""
    assert str(PROCESSES) in spec.argv
    argv = tuple(str(BOUND) if word == str(PROCESSES) else word for word in spec.argv)
    return spec.model_copy(update={"argv": argv})


def call_view(scene: Stage, *, network: bool) -> ViewSpec:
    """Give the view of a granted shell call, as the call desk builds it."""
    who = run_as(str(scene.workspace))
    home, tmp = scene.home / "call-home", scene.home / "tmp"
    prepare_home(home, who)
    prepare_tmp(tmp, who)
    seats = CallSeats(
        agp_home=str(scene.home),
        call_home=str(home),
        session_tmp=str(tmp),
        forwarder=FORWARDER.read_bytes(),
    )
    spec = build_call_view(
        seats,
        scene.built[0],
        who,
        argv=shell_argv("/usr/bin/python3 -IS forks.py"),
        cwd=str(scene.workspace),
        egress=str(scene.ask) if network else None,
    )
    return bounded(spec)


def harness_view(scene: Stage) -> ViewSpec:
    """Give the view of a harness, with the bound of the tests in its forwarder."""
    spec = scene.view((*PYTHON, "forks.py")).spec
    text = FORWARDER.read_text()
    ours = f"PROCESSES = {PROCESSES}\n"
    assert text.count(ours) == 1, "the forwarder's bound is that of every view"
    forwarder = text.replace(ours, f"PROCESSES = {BOUND}\n").encode()
    files = tuple(
        OurFile(path=f.path, content=forwarder, mode=f.mode) if f.path == FORWARD_IN_VIEW else f
        for f in spec.files
    )
    return spec.model_copy(update={"files": files})


@contextmanager
def forking(spec: ViewSpec, who: RunAs) -> Iterator[list[int]]:
    """Start a view, give what it says when it is full, and hold it so until the block ends."""
    with opened(spec, who) as spawn:
        process = subprocess.Popen(
            spawn.argv,
            pass_fds=spawn.pass_fds,
            env=dict(spawn.environment),
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            yield json.loads(said(process))
        finally:
            process.communicate(timeout=20)


def said(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 20)[0], "it never said anything"
    return process.stdout.readline()


VIEWS: dict[str, Callable[[Stage], ViewSpec]] = {
    "a call": functools.partial(call_view, network=False),
    "a call with network": functools.partial(call_view, network=True),
    "a harness": harness_view,
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_has_at_most_so_many_processes_and_cannot_have_more(
    scene: Stage, view: Callable[[Stage], ViewSpec]
) -> None:
    with forking(view(scene), run_as(str(scene.workspace))) as told:
        children, refused, raised, core = told
        assert BOUND - OURS <= children < BOUND
        assert refused == errno.EAGAIN
        assert not raised
        assert core <= 1, "a crash writes no core and starts no handler of the host"


def test_nobody_else_is_counted_and_a_full_view_leaves_the_others_alone(scene: Stage) -> None:
    """The control: the same bound outside, where the kernel counts all that the user runs."""
    who = run_as(str(scene.workspace))
    words = [*as_owner(), *PYTHON, "-c"]
    pipe = subprocess.PIPE
    crowd = subprocess.Popen([*words, THREADS], stdin=pipe, stdout=pipe)
    try:
        assert said(crowd) == b"ready\n"
        first = call_view(scene, network=False)
        with forking(first, who) as held, forking(first, who) as other:
            assert held[0] == other[0] >= BOUND - OURS
            outside = subprocess.run([*words, OUTSIDE], capture_output=True, input=b"", check=False)
            assert json.loads(outside.stdout)[:2] == [0, errno.EAGAIN]
    finally:
        crowd.communicate(timeout=20)


def execute(scene: Stage, *argv: str, timeout_s: float) -> ExecResult:
    request = ExecRequest(
        session_id=SessionId("s-000000000000"),
        argv=argv,
        cwd=str(scene.workspace),
        workspace=str(scene.workspace),
        timeout_s=timeout_s,
    )
    return anyio.run(LocalProvider(agp_home=str(scene.home)).execute, request)


def set_bound(monkeypatch: pytest.MonkeyPatch, bound: int) -> None:
    guard = (str(bound) if word == str(PROCESSES) else word for word in GUARD)
    monkeypatch.setattr(local, "_GUARD", tuple(guard))


def test_a_command_is_bounded_too_and_a_full_view_ends_as_any_other(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has to be started in it to end it."""
    set_bound(monkeypatch, BOUND)
    code = FORKS.replace("sys.stdin.read()", "os.read(kept, 1)")
    done = execute(scene, *PYTHON, "-c", code, "full-view", timeout_s=3)
    children, refused, raised, core = json.loads(done.stdout)
    assert BOUND - OURS <= children < BOUND
    assert (refused, raised, core <= 1) == (errno.EAGAIN, False, True)
    assert done.timed_out
    assert processes_marked("full-view") == []


def test_the_product_s_own_bound_is_the_one_inside(scene: Stage) -> None:
    """Or what the operator's own shell allows, if that is less."""
    here = subprocess.run(["/bin/bash", "-c", "ulimit -Hu"], capture_output=True, check=True)
    own = here.stdout.strip().decode()
    least = PROCESSES if own == "unlimited" else min(PROCESSES, int(own))
    done = execute(scene, "/bin/bash", "-c", "ulimit -Su; ulimit -Hu; ulimit -Hc", timeout_s=10)
    assert done.stdout.decode().split() == [str(least), str(least), "0"]


def test_where_its_watch_has_no_room_a_command_is_not_started(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command without its watch would outlive a daemon that is killed while it starts."""
    for bound in (1, 2, 3):
        set_bound(monkeypatch, bound)
        with pytest.raises(Unavailable, match="did not run"):
            execute(scene, "/usr/bin/touch", "ran", timeout_s=10)
        assert not (scene.workspace / "ran").exists()
    set_bound(monkeypatch, 4)
    assert execute(scene, "/usr/bin/touch", "ran", timeout_s=10).exit_code == 0, "the control"
