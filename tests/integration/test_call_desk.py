"""The launcher's call desk with the real shim and real views, and a daemon that is played."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from agp.contracts.gateway import ControlOp
from agp.daemon.call_desk import SOCKET_NAME, CallDesk
from agp.daemon.config import Config, McpServer
from agp.daemon.mcp import PlannedServer, plan_servers
from agp.daemon.messages import EndCall, StartedCall, write_value
from agp.errors import Unauthorised
from agp.sandbox.call_view import CallSeats, prepare_servers
from agp.sandbox.host import run_as
from agp.sandbox.places import create, plan_places, remove_created
from agp.sandbox.view import prepare_home, prepare_tmp
from tests.fakes.agp_house import ROOT, write_repo

pytestmark = pytest.mark.confinement

NAME = "c-0123456789abcdef"
THROUGH = """python3 - <<'E'
import socket
for target in ("127.0.0.1:{port}", "127.0.0.1:1"):
    with socket.create_connection(("127.0.0.1", 3128), timeout=5) as s:
        s.sendall(f"CONNECT {{target}} HTTP/1.1\\r\\nHost: {{target}}\\r\\n\\r\\n".encode())
        print(s.recv(300).split(b"\\r\\n")[0].decode())
E"""
DIRECT = "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), timeout=5)'"


class PlayedLease:
    """Answers as a daemon would that grants one call, and keeps what it was told."""

    def __init__(self, place: Path, command: str, network: tuple[str, ...], refuse: bool) -> None:
        self.session = SimpleNamespace(
            ask_directory=str(place / "run/ask"), session_id="s-0123456789ab"
        )
        self._started = StartedCall.model_validate(
            {"call_id": NAME, "command": command, "cwd": str(place / "repo"), "network": network}
        )
        self._refuse = refuse
        self.ends: list[EndCall] = []
        self.asked, self.withdrawn = anyio.Event(), anyio.Event()
        self.notes: list[str] = []

    def claim(self) -> dict[str, str]:
        return {"session_id": "s-0123456789ab", "secret": "0" * 64}

    async def note(self, payload: Any) -> None:
        self.notes.append(f"{payload.kind.value} {payload.target}")

    async def ask(self, op: ControlOp, args: Any) -> dict[str, Any]:
        if op is ControlOp.CALL_END:
            self.ends.append(args)
            return {}
        if op is ControlOp.CALL_WITHDRAW:
            self.withdrawn.set()
            return {"found": True}
        if op is ControlOp.CALL_TYPED and args.command == "touch too-late":
            self.asked.set()
            await self.withdrawn.wait()
        if self._refuse:
            raise Unauthorised("AGP granted no such call")
        return write_value(self._started)


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("desk")
    for above in (made, *made.parents):
        if above != Path("/tmp") and above.stat().st_uid == os.geteuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o711)
    (made / "run/ask").mkdir(parents=True)
    write_repo(made / "repo", {"README.md": "hello\n"})
    return made


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def _accept(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except OSError:
            return


Asks = Callable[[list[str], dict[str, Any]], Awaitable[Any]]
"""Starts the shim: its words without the kind, and whose process it is."""


def served(place: Path, lease: Any, ask: Asks, servers: tuple[PlannedServer, ...] = ()) -> Any:
    """Serve one desk while somebody asks it with the real shim, as the view's user."""
    who = run_as(str(place / "repo"))
    prepare_home(place / "call-home", who)
    prepare_tmp(place / "tmp", who)
    prepare_servers(place / "servers", tuple(server.name for server in servers), who)
    seats = CallSeats(
        agp_home="/nonexistent/agp",
        call_home=str(place / "call-home"),
        session_tmp=str(place / "tmp"),
        servers=str(place / "servers"),
        forwarder=(ROOT / "hooks/agp-forward").read_bytes(),
    )
    places = plan_places(str(place / "repo"))
    shim = (ROOT / "hooks/agp-call").read_text()
    words = ["/usr/bin/python3", "-I", "-S", "-c", shim, str(place / f"run/ask/{SOCKET_NAME}")]

    async def serve() -> Any:
        async with anyio.create_task_group() as tasks:
            await tasks.start(CallDesk(lease, seats, places, who, servers).serve)
            said = await ask(words, {"user": who.uid} if who.staged else {})
            tasks.cancel_scope.cancel()
        return said

    create(places)
    try:
        return anyio.run(serve)
    finally:
        remove_created(places)


def run(
    place: Path, command: str, *, network: tuple[str, ...] = (), refuse: bool = False
) -> tuple[subprocess.CompletedProcess[bytes], PlayedLease]:
    """Ask for one call; give what the shim said and what the daemon was told."""
    lease = PlayedLease(place, command, network, refuse)

    async def ask(words: list[str], given: dict[str, Any]) -> subprocess.CompletedProcess[bytes]:
        return await anyio.run_process(
            ["/bin/sh", "-c", 'exec "$@" 3>/dev/null', "sh", *words, "call", NAME],
            check=False,
            cwd="/",
            **given,
        )

    return served(place, lease, ask), lease


def test_a_call_reaches_exactly_what_it_was_granted(place: Path, port: int) -> None:
    done, lease = run(place, THROUGH.format(port=port), network=(f"127.0.0.1:{port}",))
    assert done.stdout.splitlines() == [
        b"HTTP/1.1 200 Connection established",
        b"HTTP/1.1 403 Forbidden",
    ], done.stderr
    assert lease.notes == [f"egress.allowed 127.0.0.1:{port}", "egress.refused 127.0.0.1:1"]
    said = b"agp: no connection to 127.0.0.1:1: this target is not in the session's egress;"
    assert done.stderr == said + b" this call was granted 127.0.0.1:%d\n" % port
    ((code, size),) = [(end.exit_code, end.output_bytes) for end in lease.ends]
    assert (code, size) == (0, len(done.stdout)), "AGP's words are no part of what the call wrote"
    assert list((place / "run").iterdir()) == [place / "run/ask"], "its proxy is gone with it"


@pytest.mark.parametrize("network", [(), ("127.0.0.1:1",)])
def test_no_call_reaches_anything_directly(
    place: Path, port: int, network: tuple[str, ...]
) -> None:
    done, _ = run(place, DIRECT.format(port=port), network=network)
    assert b"refused" in done.stderr
    socket.create_connection(("127.0.0.1", port)).close()  # the control


def test_what_the_daemon_refuses_is_refused_by_the_shim_and_nothing_is_started(
    place: Path,
) -> None:
    done, lease = run(place, "touch ran", refuse=True)
    assert (done.returncode, done.stderr) == (126, b"agp: AGP granted no such call\n")
    assert lease.ends == []
    assert not (place / "repo/ran").exists()


def test_a_call_that_cannot_be_started_is_a_refusal_and_journaled_as_one(place: Path) -> None:
    done, lease = run(place, "x" * 200_000)
    assert done.returncode == 126
    assert b"longer than a shell takes" in done.stderr
    assert [(end.exit_code, bool(end.error)) for end in lease.ends] == [(None, True)]


def test_what_was_typed_and_is_granted_when_nobody_waits_any_more_does_not_run(
    place: Path,
) -> None:
    """The shim is gone while a person thinks; the answer comes in the same moment."""
    lease = PlayedLease(place, "touch too-late", (), refuse=False)

    async def ask(words: list[str], given: dict[str, Any]) -> None:
        typed = str(place / "repo").encode(), b"touch too-late"
        shim = await anyio.open_process(
            [*words, "typed", ".".join(str(len(part)) for part in typed)], cwd="/", **given
        )
        assert shim.stdin is not None
        await shim.stdin.send(b"".join(typed))
        await shim.stdin.aclose()
        with anyio.fail_after(20):
            await lease.asked.wait()
            shim.kill()
            await lease.withdrawn.wait()
            while not lease.ends:  # noqa: ASYNC110 - the desk tells nobody
                await anyio.sleep(0.01)
        await shim.aclose()

    served(place, lease, ask)
    assert [(end.exit_code, end.error) for end in lease.ends] == [
        (None, "whoever waited for it was gone, so its view was ended")
    ]
    assert not (place / "repo/too-late").exists()


POISON = """python3 - <<'E'
import os, site
os.makedirs(site.getusersitepackages(), exist_ok=True)
code = "print('POISONED by', __file__, flush=True)"
open(site.getusersitepackages() + "/usercustomize.py", "w").write(code)
open("/tmp/left", "w").write("x")
E
python3 -c 'print("the control")'
"""
LOOKS = """import os
def found(top):
    return [os.path.join(d, f) for d, _, files in os.walk(top) for f in files]
print(found(os.environ["HOME"]), os.path.exists("/tmp/left"), flush=True)
for name in (os.environ["HOME"], "/tmp"):
    open(name + "/mine", "a").write("x")
    print(open(name + "/mine").read(), flush=True)
"""


def test_what_a_call_leaves_reaches_no_server_and_no_server_another(place: Path) -> None:
    """Attack: while a person thinks about a server's start, a quiet call leaves a
    `usercustomize.py` in HOME; the approved, hashed server runs it with its secret and network.
    """
    script = place / "server.py"
    script.write_text(LOOKS)
    script.chmod(0o644)
    named = McpServer(command=("python3", str(script)))
    config = Config(mcp_servers={"one": named, "two": named})
    servers, left = plan_servers(config, str(place / "repo"), agp_home="/nonexistent/agp")
    assert left == ()

    async def ask(words: list[str], given: dict[str, Any]) -> list[bytes]:
        said: list[bytes] = []
        for kind in (("call", NAME), ("mcp", "one"), ("mcp", "one"), ("mcp", "two")):
            whole = ["/bin/sh", "-c", 'exec "$@" 3>/dev/null', "sh", *words, *kind]
            done = await anyio.run_process(whole, check=False, cwd="/", **given)
            said.append(done.stdout)
        return said

    call, *started = served(place, PlayedLease(place, POISON, (), False), ask, servers)
    assert b"POISONED" in call, "the control: a later program of the calls does load it"
    assert started[0].split(b"\n") == [b"[] False", b"x", b"x", b""]
    assert started[1].split(b"\n")[1:] == [b"xx", b"xx", b""], "what is its own is kept"
    assert started[2] == started[0], "another server begins with nothing, too"


def test_what_an_earlier_call_left_adds_nothing_to_a_granted_curl(place: Path) -> None:
    """Attack: `upload-file = ...` in ~/.curlrc; a person sees and grants a plain `curl URL`."""
    left = "echo 'write-out = \"LEFT\"' > ~/.curlrc; curl -sS file:///etc/hostname"
    done, _ = run(place, f"{left}; env -u CURL_HOME curl -sS file:///etc/hostname; echo $WGETRC")
    assert done.stdout == b"agp\nagp\nLEFT/dev/null\n", done.stderr  # the second is the control
