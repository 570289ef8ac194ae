"""The proof that a view confines: every way out is tried from inside, with a positive control.

The same program makes the same attempts twice: outside (the control, which must be reached, else
nothing is proved) and inside (which must not be). What counts is the listener's own log, never the
program's words; its words count only for its own state (capabilities, filter, process list), and
only where the program came to its end.

Source: `docker.md` §4 of the measurements; ADR 0006.
"""

from __future__ import annotations

import errno
import json
import secrets
import shutil
import socket
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio
from pydantic import Field, ValidationError

from agp.contracts.base import Contract
from agp.contracts.sandbox import Probe, ProbeResult
from agp.errors import Unavailable
from agp.sandbox.profile import INTERPRETER, ViewSpec
from agp.sandbox.run import Limits, run_view
from agp.sandbox.spawn import SPAWN_ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from agp.sandbox.host import RunAs

PROBE_TIMEOUT_S = 5.0
_SOURCE = (Path(__file__).parent / "probe.py").read_text(encoding="utf-8")


class Outside(Contract):
    """Places on the host that a view must not reach."""

    agp_run: str
    """The directory of AGP's control socket."""
    homes: tuple[str, ...] = Field(min_length=1)
    """Directories, such as HOME and /tmp, that hold other people's sockets and files."""


class _Said(Contract):
    """The parts of the program's words that count."""

    vsock: str
    status: dict[str, str]
    sees: bool
    done: bool


class _Heard(NamedTuple):
    said: _Said | None
    reached: frozenset[str]
    """Names of the listeners and sentinel directories that this run's token arrived at."""


async def prove(
    view: Callable[[tuple[str, ...]], ViewSpec], who: RunAs, outside: Outside
) -> tuple[Probe, ...]:
    """Run the probes in the view that `view(argv)` gives; well under a second.

    Raises:
        Unavailable: the view cannot be started at all.
    """
    with _ground(outside) as ground:
        plan = ground.plan()
        control_token, token = secrets.token_hex(16), secrets.token_hex(16)
        argv = (INTERPRETER, "-I", "-S", "-c", _SOURCE)
        ran = await anyio.run_process(
            [*argv, control_token, plan], env=SPAWN_ENVIRONMENT, check=False, cwd="/"
        )
        control = _Heard(_parse(ran.stdout), ground.reached(control_token))
        limits = Limits(PROBE_TIMEOUT_S, 1024 * 1024)
        outcome = await run_view(view((*argv, token, plan)), who, stdin=b"", limits=limits)
        inside = _Heard(_parse(bytes(outcome.stdout.kept)), ground.reached(token))
        return judge(control, inside, ground.names)


def judge(control: _Heard, inside: _Heard, names: tuple[str, ...]) -> tuple[Probe, ...]:
    """Turn what was heard into probes; whatever is not clear is doubtful, and so no pass."""
    finished = inside.said is not None and inside.said.done
    probes = [
        Probe(
            name=name,
            control_reached=name in control.reached,
            result=_result(reached=name in inside.reached, clear=finished),
        )
        for name in names
    ]
    if control.said is None or inside.said is None:
        return (*probes, *(_unclear(name) for name in _STATES))
    return (*probes, *_states(control.said, inside.said))


_STATES = ("vsock-socket", "capabilities", "no-new-privileges", "seccomp", "host-processes")
_CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def _states(control: _Said, inside: _Said) -> Iterator[Probe]:
    refused = f"errno {errno.EPERM}"
    yield _state("vsock-socket", control.vsock != refused, inside.vsock == refused, inside.vsock)
    sets = [inside.status.get(name, "?") for name in _CAPABILITIES]
    empty = all(value.strip("0") == "" and value for value in sets)
    yield _state("capabilities", "CapEff" in control.status, empty, ",".join(sets))
    privileges = inside.status.get("NoNewPrivs", "?")
    yield _state("no-new-privileges", "NoNewPrivs" in control.status, privileges == "1", privileges)
    mode = inside.status.get("Seccomp", "?")
    yield _state("seccomp", "Seccomp" in control.status, mode == "2", mode)
    yield _state("host-processes", control.sees, not inside.sees, "")


def _state(name: str, control: bool, blocked: bool, detail: str) -> Probe:  # noqa: FBT001 - two findings, not switches
    return Probe(
        name=name,
        control_reached=control,
        detail=detail,
        result=_result(reached=not blocked, clear=True),
    )


def _unclear(name: str) -> Probe:
    return Probe(
        name=name,
        control_reached=False,
        result=ProbeResult.DOUBTFUL,
        detail="a probe did not come to its end",
    )


def _result(*, reached: bool, clear: bool) -> ProbeResult:
    if reached:
        return ProbeResult.REACHED
    return ProbeResult.BLOCKED if clear else ProbeResult.DOUBTFUL


def _parse(stdout: bytes) -> _Said | None:
    try:
        said = json.loads(stdout)
        return _Said.model_validate({name: said[name] for name in _Said.model_fields})
    except (ValueError, KeyError, TypeError, ValidationError):
        return None


class _Ground:
    """Listeners and sentinel directories outside, and what arrived at each."""

    def __init__(self) -> None:
        self._streams: dict[str, socket.socket] = {}
        self._datagrams: dict[str, socket.socket] = {}
        self._sentinels: dict[str, str] = {}
        self._addresses: dict[str, tuple[str, int]] = {}
        self._heard: dict[str, set[str]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return (*self._streams, *self._datagrams, *self._sentinels)

    def plan(self) -> str:
        """Spell for the program what to try."""
        internet = {n: a for n, a in self._addresses.items() if a[1]}
        return json.dumps(
            {
                "tcp": [(n, *a) for n, a in internet.items() if n in self._streams],
                "udp": [(n, *a) for n, a in internet.items() if n in self._datagrams],
                "unix": [(n, a[0]) for n, a in self._addresses.items() if not a[1]],
                "write": list(self._sentinels.items()),
                "marker": _start_time(),
            }
        )

    def listen(self, name: str, address: str, kind: int, stack: ExitStack) -> None:
        """Open an internet listener; an address that the host lacks is no way out either."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = stack.enter_context(socket.socket(family, kind))
        listener.bind((address, 0))
        self._addresses[name] = (address, listener.getsockname()[1])
        self._keep(name, listener, kind)

    def listen_unix(self, name: str, address: str, stack: ExitStack) -> None:
        """Open a Unix listener; `@` stands for the abstract namespace's zero byte."""
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(address.replace("@", "\0", 1))
        self._addresses[name] = (address, 0)
        self._keep(name, listener, socket.SOCK_STREAM)

    def sentinel(self, name: str, directory: str) -> None:
        """Watch a directory of the host for files that come from inside."""
        self._sentinels[name] = directory

    def reached(self, token: str) -> frozenset[str]:
        """Name everything that the token has arrived at, from each listener's own log."""
        for name, listener in self._streams.items():
            self._heard.setdefault(name, set()).update(_accepted(listener))
        for name, listener in self._datagrams.items():
            self._heard.setdefault(name, set()).update(_received(listener))
        for name, directory in self._sentinels.items():
            self._heard[name] = {entry.name for entry in Path(directory).iterdir()}
        return frozenset(name for name, tokens in self._heard.items() if token in tokens)

    def _keep(self, name: str, listener: socket.socket, kind: int) -> None:
        listener.setblocking(False)
        if kind == socket.SOCK_STREAM:
            listener.listen(8)
            self._streams[name] = listener
        else:
            self._datagrams[name] = listener


@contextmanager
def _ground(outside: Outside) -> Iterator[_Ground]:
    """Open everything that a view must not reach; nothing of it stays.

    Raises:
        Unavailable: a listener cannot be opened, so that nothing could be proved.
    """
    ground = _Ground()
    with ExitStack() as stack:
        try:
            for name, address in _addresses().items():
                ground.listen(f"tcp-{name}", address, socket.SOCK_STREAM, stack)
                ground.listen(f"udp-{name}", address, socket.SOCK_DGRAM, stack)
            ground.listen_unix("unix-abstract", f"@agp-preflight-{secrets.token_hex(8)}", stack)
            for number, home in enumerate((outside.agp_run, *outside.homes)):
                place = tempfile.mkdtemp(prefix=".agp-pf-", dir=home)
                stack.callback(shutil.rmtree, place, ignore_errors=True)
                name = "agp" if number == 0 else home.strip("/").replace("/", "-")
                ground.listen_unix(f"unix-{name}", f"{place}/s", stack)
                (Path(place) / "w").mkdir()
                # Open to the view's user, so that the view is what blocks and not our own mode.
                for path, mode in ((place, 0o755), (f"{place}/s", 0o777), (f"{place}/w", 0o777)):
                    Path(path).chmod(mode)
                ground.sentinel(f"write-{name}", f"{place}/w")
        except OSError as error:
            raise Unavailable(
                "the preflight cannot open its listeners; nothing is proved",
                why=str(error),
                fix="see that what it names is there and writable for you, with space left, and"
                " that 127.0.0.1 can be listened on; then try again",
            ) from error
        yield ground


def _addresses() -> Mapping[str, str]:
    """Name the host's loopback addresses and one of its other addresses of each family, if any."""
    candidates = {"loopback6": "::1", "host": _own("192.0.2.1"), "host6": _own("2001:db8::1")}
    present = {name: a for name, a in candidates.items() if a and _can_bind(a)}
    return {"loopback": "127.0.0.1", **present}


def _own(elsewhere: str) -> str:
    """Ask the kernel which of our addresses leads to a documentation address; sends nothing."""
    family = socket.AF_INET6 if ":" in elsewhere else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as question:
            question.connect((elsewhere, 9))
            return str(question.getsockname()[0])
    except OSError:
        return ""


def _can_bind(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.bind((address, 0))
    except OSError:
        return False
    return True


def _accepted(listener: socket.socket) -> Iterator[str]:
    while True:
        try:
            peer, _ = listener.accept()
        except BlockingIOError:
            return
        with peer:
            peer.settimeout(0.1)
            yield peer.recv(64).decode(errors="replace")


def _received(listener: socket.socket) -> Iterator[str]:
    while True:
        try:
            yield listener.recv(64).decode(errors="replace")
        except BlockingIOError:
            return


def _start_time() -> str:
    """Give this process's start in ticks since boot: its name in every PID namespace."""
    return Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
