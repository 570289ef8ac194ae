"""A call's own view: what a granted shell call, or an MCP server, sees of the machine.

Grade `confined`. The workspace with the harness view's masks, the system read-only, the toolchains,
a HOME and a /tmp that belong to all calls of the session, or to one server alone, and outlive it.
Not the harness: its HOME, login, process, memory, sockets and settings do not exist here, nor does
another call's view. No network, unless the granted call names what it connects to: then one proxy,
which dials exactly that.

Source: system.md §9; ADR 0013.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agp.contracts.base import Contract
from agp.contracts.git import GIT_ENVIRONMENT
from agp.errors import RunRefused
from agp.sandbox.host import our_etc, system_binds
from agp.sandbox.limits import PROCESSES
from agp.sandbox.profile import HOME_IN_VIEW, INTERPRETER, Bind, OurFile, ViewSpec
from agp.sandbox.spawn import HANDBACK, LIFELINE, REPORT
from agp.sandbox.view import (
    CARRIED_IN_VIEW,
    TMP_IN_VIEW,
    mask_binds,
    prepare_home,
    prepare_tmp,
    scratch_beside_tmp,
    toolchain_binds,
)

if TYPE_CHECKING:
    from agp.sandbox.host import RunAs
    from agp.sandbox.places import PlacesPlan

EGRESS_IN_VIEW: Final = "/run/egress"
PROXY_NAME: Final = "proxy.sock"
_FORWARD_IN_VIEW: Final = "/opt/egress-forward"
_PROXY_PORT: Final = 3128
_KEPT_LIFELINE: Final = "708"
_HANDED_BACK: Final = "709"
"""As `call_guard` numbers them."""
_GUARD: Final = (Path(__file__).parent / "call_guard.py").read_text(encoding="utf-8")
_NO_EDITOR: Final = (
    "echo 'agp: there is no editor and no terminal here; give the text itself (git commit -m TEXT),"
    " or GIT_SEQUENCE_EDITOR for a rebase' >&2; exit 1; :"
)
_NO_CURLRC: Final = "/etc/curl/.curlrc"
"""Empty. Attack: a quiet call writes `upload-file = ...` into ~/.curlrc; the next `curl`, whose
host a person grants, does that besides what its card says. curl takes the first one it finds."""
_ENVIRONMENT: Final = (
    *GIT_ENVIRONMENT,
    ("CURL_HOME", _NO_CURLRC.rpartition("/")[0]),
    ("EDITOR", "/bin/false"),
    ("GIT_EDITOR", _NO_EDITOR),
    ("HOME", HOME_IN_VIEW),
    ("LANG", "C.UTF-8"),
    ("PAGER", "cat"),
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("SHELL", "/bin/bash"),
    ("TERM", "dumb"),
    ("TMPDIR", TMP_IN_VIEW),
    # Without terminal and input vi waits for ever (measured); `vi -es` does not read this.
    ("VIMINIT", "silent !echo 'agp: there is no terminal here, so no editor' >&2\ncquit"),
    ("VISUAL", "/bin/false"),
    ("WGETRC", "/dev/null"),
)
LONGEST_SCRIPT: Final = 128 * 1024 - 1
"""Bytes that Linux passes as one argument (MAX_ARG_STRLEN)."""


class CallSeats(Contract):
    """The host's side of the calls' views of one session."""

    agp_home: str
    call_home: str
    """The calls' HOME, the view user's own; kept from call to call, never the harness's."""
    session_tmp: str
    """What every view of the session has as /tmp."""
    forwarder: bytes
    """The content of `hooks/agp-forward`, for calls with network."""
    servers: str | None = None
    """Where each MCP server has a HOME and a /tmp of its own; see `prepare_servers`."""
    carried: str | None = None
    """A directory with what was carried for the harness: a skill's scripts are run by calls."""
    toolchains: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    """Besides ours: git identity and what the operator handed over, no login."""


def prepare_servers(place: Path, names: tuple[str, ...], who: RunAs) -> None:
    """Make a HOME and a /tmp for each MCP server of a session; the place must not exist yet."""
    place.mkdir(mode=0o700)
    for name in names:
        (place / name).mkdir(mode=0o700)
        prepare_home(place / name / "home", who)
        prepare_tmp(place / name / "tmp", who)


def server_seats(seats: CallSeats, name: str) -> CallSeats:
    """Give one MCP server a HOME and a /tmp that no call writes.

    Attack: while a person thinks about the server's start, a quiet call leaves a `usercustomize.py`
    or an `.npmrc` in the HOME that both have; the approved, hashed program then loads it.

    Raises:
        RunRefused: the session has no place for servers.
    """
    if seats.servers is None:
        raise RunRefused("this session has no place for MCP servers")
    own = Path(seats.servers) / name
    mine = {"call_home": str(own / "home"), "session_tmp": str(own / "tmp")}
    return CallSeats.model_validate(dict(seats) | mine)


def shell_argv(command: str) -> tuple[str, ...]:
    """Run a shell text as the harness would, and say where it ended if it ended well.

    Raises:
        RunRefused: it is longer than a program's argument can be.
    """
    script = f"eval {shlex.quote(command)} && builtin pwd -P >&{_HANDED_BACK}"
    if len(os.fsencode(script)) > LONGEST_SCRIPT:
        raise RunRefused(
            "the command is longer than a shell takes",
            why=f"at most {LONGEST_SCRIPT} bytes",
            fix="write it to a file of the workspace and run that",
        )
    return ("/bin/bash", "-c", script)


def build_call_view(  # noqa: PLR0913 - one argument for each thing that a call has of its own
    seats: CallSeats,
    places: PlacesPlan,
    who: RunAs,
    *,
    argv: tuple[str, ...],
    cwd: str,
    egress: str | None = None,
    network: tuple[str, ...] = (),
    shown: tuple[str, ...] = (),
    environment: tuple[tuple[str, str], ...] = (),
) -> ViewSpec:
    """Say what one call sees. Changes nothing.

    `egress` is the host directory of this call's proxy socket, behind which lie the `host:port`
    names of `network`; `shown` are files that this call
    alone sees, read-only, at their own place.
    """
    system, links = system_binds()
    return ViewSpec(
        system=system,
        links=links,
        scratch=scratch_beside_tmp(),
        shared=(Bind(source=seats.session_tmp, target=TMP_IN_VIEW, writable=True),),
        files=(
            *our_etc(who),
            OurFile(path=_NO_CURLRC, content=b""),
            *_forwarder(seats, egress),
        ),
        binds=(
            *toolchain_binds(seats.toolchains, agp_home=seats.agp_home),
            *(Bind(source=path, target=path) for path in (*places.visible, *shown)),
            *_carried(seats),
            Bind(source=seats.call_home, target=HOME_IN_VIEW, writable=True),
            *(() if egress is None else (Bind(source=egress, target=EGRESS_IN_VIEW),)),
            Bind(source=places.workspace, target=places.workspace, writable=True),
        ),
        masks=mask_binds(places),
        environment=_environment((*seats.environment, *environment), egress, network),
        cwd=cwd,
        argv=(*_guard(egress), *_relayed(argv, egress)),
    )


def _environment(
    given: tuple[tuple[str, str], ...], egress: str | None, network: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Lead every client to the proxy, but not to what the call itself serves on its own loopback.

    A loopback address that was granted is the host's; `localhost` the proxy never dials.
    """
    whole = dict(_ENVIRONMENT) | dict(given)
    if egress is not None:
        proxy = f"http://127.0.0.1:{_PROXY_PORT}"
        names = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")
        granted = {target.rpartition(":")[0].strip("[]") for target in network}
        own = ",".join(("localhost", *(a for a in ("127.0.0.1", "::1") if a not in granted)))
        whole |= dict.fromkeys(names, proxy) | {"NO_PROXY": own, "no_proxy": own}
    return tuple(sorted(whole.items()))


def _carried(seats: CallSeats) -> tuple[Bind, ...]:
    return () if seats.carried is None else (Bind(source=seats.carried, target=CARRIED_IN_VIEW),)


def _forwarder(seats: CallSeats, egress: str | None) -> tuple[OurFile, ...]:
    return () if egress is None else (OurFile(path=_FORWARD_IN_VIEW, content=seats.forwarder),)


def _guard(egress: str | None) -> tuple[str, ...]:
    """A watch comes first; the placeholders count among a view's first words only."""
    network = "no" if egress is None else "yes"
    ours = (LIFELINE, REPORT, HANDBACK, network, str(PROCESSES))
    return (INTERPRETER, "-I", "-S", "-c", _GUARD, *ours)


def _relayed(argv: tuple[str, ...], egress: str | None) -> tuple[str, ...]:
    if egress is None:
        return argv
    route = (str(_PROXY_PORT), f"{EGRESS_IN_VIEW}/{PROXY_NAME}")
    return (INTERPRETER, "-I", "-S", _FORWARD_IN_VIEW, _KEPT_LIFELINE, *route, "--", *argv)
