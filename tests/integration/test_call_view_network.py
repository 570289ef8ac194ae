"""The network of a handed-over call: the real Claude Code, a real curl, listeners with logs.

One session for many claims. What was reached is what a listener of the host heard, never what the
call said about it; that each listener can be heard is shown from the host, at the end.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.agp_house import House, house
from tests.fakes.model_server import Call, ModelServer, call, say

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]

REACH = """
for port in "$@"; do
  curl -sSk -m 5 https://127.0.0.1:$port/later
  curl -sSk -m 5 -p -x http://127.0.0.1:3128 http://127.0.0.1:$port/later
  (echo GET > /dev/tcp/127.0.0.1/$port)
done 2>&1
exit 0
"""
"""What a call without a connection tries."""


def more(port: int) -> str:
    """Write a curl configuration that goes on to another port, by each way that curl has."""
    ways = {"tls": (), "direct": ('noproxy = "*"',), "tunnel": ("proxytunnel",)}
    blocks = [
        ("insecure", *options, f'url = "{scheme}://127.0.0.1:{port}/more-{way}"')
        for way, options in ways.items()
        for scheme in ("https", "http")
    ]
    return "\nnext\n".join("\n".join(block) for block in blocks) + "\n"


class Listener(http.server.ThreadingHTTPServer):
    """A server of the host, which writes down who came and what was asked."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.connections = 0
        self.asked: list[tuple[str, str]] = []
        """Path and Host of each request."""
        self._tls = tls

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def get_request(self) -> tuple[socket.socket, Any]:
        """Count the connection before anything is said on it."""
        peer, address = self.socket.accept()
        self.connections += 1
        if self._tls is not None:
            peer = self._tls.wrap_socket(peer, server_side=True, do_handshake_on_connect=False)
        return peer, address


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers every GET with its path, or sends the client on to a port."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, Listener)
        self.server.asked.append((self.path, self.headers["Host"]))
        body = f"heard {self.path}\n".encode()
        moved = self.path.removeprefix("/on/") if self.path.startswith("/on/") else ""
        self.send_response(302 if moved else 200)
        if moved:
            self.send_header("Location", f"http://127.0.0.1:{moved}/moved")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing: the log is the listener's own."""


@contextlib.contextmanager
def listening(tls: ssl.SSLContext | None = None) -> Iterator[Listener]:
    with Listener(tls) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def certificate(place: Path) -> ssl.SSLContext:
    """Make a certificate that nobody trusts."""
    key, signed = place / "key.pem", place / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    words += ["-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(signed)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed, key)
    return context


@dataclass(frozen=True)
class Session:
    """One session that has ended: what was asked, told and heard."""

    made: House
    granted: Listener
    plain: Listener
    other: Listener
    told: dict[str, str]
    asked: dict[str, str]
    """What `agp approvals` printed while a call waited."""
    started: dict[str, dict[str, Any]]
    """`execution.started` of each call, by its name."""


def named(name: str, command: str) -> Call:
    one = call("Bash", command=command, description=f"call {name}")
    return Call(one.tool, one.input_json, f"toolu_{name}")


def told(model: ModelServer) -> dict[str, str]:
    found: dict[str, str] = {}
    for message in model.turns_asked[-1].body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else []:
            if block.get("type") == "tool_result":
                text = block["content"]
                whole = text if isinstance(text, str) else "".join(p.get("text", "") for p in text)
                found[block["tool_use_id"].removeprefix("toolu_")] = whole
    return found


def begun(made: House) -> dict[str, dict[str, Any]]:
    names = {p["call_id"]: p["tool_use_id"] for p in made.payloads("call.decided")}
    started = made.payloads("execution.started")
    return {names[p["call_id"]].removeprefix("toolu_"): p for p in started}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    tls = certificate(tmp_path_factory.mktemp("tls"))
    with (
        listening(tls) as granted,
        listening() as plain,
        listening() as other,
        house({"reach.sh": REACH, "more.txt": more(other.port)}) as made,
    ):
        serve = "python3 -m http.server 8099 >/dev/null 2>&1 &"
        retry = "--retry 20 --retry-connrefused --retry-delay 1"
        calls = (
            named("denied", f"curl -sk https://{granted.target}/denied"),
            named("tls", f"curl -sSk https://{granted.target}/one -K more.txt"),
            named("plain", f"curl -sSL http://{plain.target}/on/{other.port}"),
            named("gone", "curl -sS -m 5 http://127.0.0.1:1/"),
            named("own", f"{serve} curl -sS {retry} http://127.0.0.1:8099/README.md"),
            named("later", f"bash reach.sh {granted.port} {plain.port} {other.port}"),
        )
        run = made.claude(say(*calls, "done"))
        asked: dict[str, str] = {}
        for one in calls[:-1]:  # the last one asks nobody: it is a script of the workspace
            name = one.id.removeprefix("toolu_")
            question = run.question(f"call {name}")
            asked[name] = made.agp("approvals", question["approval_id"]).stdout
            run.answer("deny" if name == "denied" else "approve", f"call {name}")
        run.end()
        assert run.model is not None
        yield Session(made, granted, plain, other, told(run.model), asked, begun(made))


def test_a_card_names_the_host_and_port_that_a_yes_would_open(session: Session) -> None:
    assert f"connect({session.granted.target})" in session.asked["tls"]
    assert f"connect({session.plain.target})" in session.asked["plain"]
    assert "connect(" not in session.asked["own"]
    assert f"  network         {session.granted.target}\n" in session.asked["tls"]
    assert "  network         none: " in session.asked["own"]


def test_an_approved_call_reaches_exactly_the_port_that_was_approved(session: Session) -> None:
    """Judged by the listener: one connection, one request, of one call."""
    assert session.told["tls"].partition("heard ")[2].startswith("/one\n")
    assert session.granted.asked == [("/one", session.granted.target)]
    assert session.granted.connections == 1, "no try of the denied or of the later call came here"


def test_it_reaches_no_other_port_and_the_agent_is_told(session: Session) -> None:
    """Not by the proxy, not directly, not by a tunnel, not where a server sends it on to."""
    assert session.other.connections == 0
    for name, granted in (("tls", session.granted), ("plain", session.plain)):
        assert (
            f"agp: no connection to {session.other.target}: this target is not in the session's "
            f"egress; this call was granted {granted.target}" in session.told[name]
        )
        assert "more-" not in session.told[name]


def test_a_plain_url_is_reached_as_well(session: Session) -> None:
    """The server hears an ordinary request; a refused one is explained where curl prints it."""
    assert session.plain.asked == [(f"/on/{session.other.port}", session.plain.target)]
    assert session.plain.connections == 1
    assert "AGP: this target is not in the session's egress" in session.told["plain"]


def test_what_a_call_serves_itself_it_reaches(session: Session) -> None:
    assert "hello" in session.told["own"]


def test_a_granted_address_where_nothing_listens_is_explained(session: Session) -> None:
    """`127.0.0.1` of a granted target is the host's, and the agent is told so."""
    said = "agp: no connection to 127.0.0.1:1: the target cannot be reached"
    assert said in session.told["gone"]
    assert "(the host's; what the call itself serves is at localhost)" in session.told["gone"]


def test_a_later_call_without_a_connection_reaches_nothing(session: Session) -> None:
    """What was opened for one call is closed for the next; its tries left no trace above."""
    assert session.told["later"].count("curl: (7)") >= 3
    assert "heard" not in session.told["later"]
    assert "agp:" not in session.told["later"], "there is no proxy that could refuse"
    assert "network" not in session.started["later"]


def test_the_journal_says_what_each_call_may_reach_and_what_became_of_it(
    session: Session,
) -> None:
    networks = {name: one.get("network") for name, one in session.started.items()}
    assert networks == {
        "tls": [session.granted.target],
        "plain": [session.plain.target],
        "gone": ["127.0.0.1:1"],
        "own": None,
        "later": None,
    }
    allowed = [one["target"] for one in session.made.payloads("egress.allowed")]
    assert allowed[1:] == [session.granted.target, session.plain.target, "127.0.0.1:1"]
    refused = [one["target"] for one in session.made.payloads("egress.refused")]
    assert refused == [session.other.target, session.other.target, "127.0.0.1:1"]
    order = session.made.kinds("approval.granted", "execution.started", "egress.allowed")
    assert order[1:4] == ["approval.granted", "execution.started", "egress.allowed"], (
        "the model's endpoint, and then the first call's"
    )


def test_each_listener_can_be_heard(session: Session) -> None:
    """The control, from the host, and the last test: it is heard in the logs above."""
    for listener in (session.plain, session.other):
        before = listener.connections
        connection = http.client.HTTPConnection("127.0.0.1", listener.port, timeout=5)
        connection.request("GET", "/control")
        assert connection.getresponse().read() == b"heard /control\n"
        connection.close()
        assert listener.connections == before + 1
