"""The harness view: where a governed harness lives, and the entry that gives it its only way out.

Inside, `agp-forward` listens on two loopback ports of the view's own network namespace, relays them
to the sockets of the ask directory, and then becomes the harness. Standard input, output and error
pass through untouched.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from agp.contracts.base import Contract, Digest
from agp.errors import ConfigurationError, RunRefused
from agp.sandbox.host import RunAs, our_etc, run_as, system_binds
from agp.sandbox.profile import (
    ASK_IN_VIEW,
    HOME_IN_VIEW,
    INTERPRETER,
    OURS_IN_VIEW,
    Bind,
    OurFile,
    Scratch,
    ViewSpec,
    digest_of,
)
from agp.sandbox.seccomp import filter_program
from agp.sandbox.spawn import LIFELINE, Spawn, opened

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from agp.contracts.intendant import LaunchPlan
    from agp.sandbox.places import PlacesPlan

FORWARD_IN_VIEW = f"{OURS_IN_VIEW}/forward"
SHELL_IN_VIEW = f"{OURS_IN_VIEW}/agp-shell"
"""What the harness starts in place of a shell, by its name."""
CARRIED_IN_VIEW = "/opt/carried"
"""What of a person's set-up is handed back; outside /opt/agp, which is closed to the agent."""
TMP_IN_VIEW = "/tmp"  # noqa: S108 - a view's own
MODEL_PORT = 8080
PROXY_PORT = 3128
TMP_BYTES = 2 * 1024**3
SHM_BYTES = 256 * 1024**2


class ViewSeats(Contract):
    """The host's side of one session's view."""

    agp_home: str
    session_home: str
    """The session's HOME, owned by the view's user; see `prepare_home`."""
    session_tmp: str | None = None
    """What every view of the session has as /tmp; see `prepare_tmp`. None: one of its own."""
    ask_directory: str
    """0755, holding ask.sock, model.sock and proxy.sock, each 0666."""
    forwarder: bytes = Field(min_length=1)
    """The content of `hooks/agp-forward`."""
    toolchains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ViewCommand:
    """A view that is ready to be spawned by the launcher's main thread."""

    spec: ViewSpec
    who: RunAs
    digest: Digest
    """Names everything that defines the view; journaled before the start."""
    cleanup: tuple[str, ...]
    """Mount points in the workspace to remove when the view is gone."""

    def opened(self) -> AbstractContextManager[Spawn]:
        """Open its descriptors; leaving the context ends the view."""
        return opened(self.spec, self.who)


def build_view(plan: LaunchPlan, seats: ViewSeats, places: PlacesPlan) -> ViewCommand:
    """Put a launch plan into a view of the machine. Changes nothing.

    Raises:
        RunRefused: the workspace belongs to root and root started it, or a seat does not fit.
        ConfigurationError: something that the view must show does not exist.
    """
    who = run_as(places.workspace)
    _check_seats(seats, who)
    system, links = system_binds()
    files = dict(plan.files) | {FORWARD_IN_VIEW: seats.forwarder}
    spec = ViewSpec(
        system=system,
        links=links,
        scratch=scratch() if seats.session_tmp is None else scratch_beside_tmp(),
        shared=_shared(seats),
        files=(*our_etc(who), *(_our_file(p, c) for p, c in sorted(files.items()))),
        binds=(
            *toolchain_binds(seats.toolchains, agp_home=seats.agp_home),
            *(Bind(source=path, target=path) for path in places.visible),
            *(Bind(source=_real(host), target=inside) for host, inside in plan.harness_files),
            Bind(source=_real(seats.session_home), target=HOME_IN_VIEW, writable=True),
            *(
                Bind(source=_real(host), target=f"{HOME_IN_VIEW}/{inside}", writable=writable)
                for host, inside, writable in plan.home_files
            ),
            Bind(source=_real(seats.ask_directory), target=ASK_IN_VIEW),
            # Attack: a call flips a link between our look at a path and the harness's own.
            _unfollowed(places.workspace),
        ),
        masks=mask_binds(places),
        environment=plan.environment,
        cwd=places.workspace,
        argv=_entry(plan),
    )
    digest = digest_of(spec, filter_program(nesting=spec.nesting))
    return ViewCommand(spec, who, digest, places.created_mount_points)


def prepare_home(path: Path, who: RunAs) -> None:
    """Make the session's HOME for the view's user, 0700; it must not exist yet."""
    path.mkdir(mode=0o700)
    if who.staged:
        os.chown(path, who.uid, who.gid)


def _unfollowed(workspace: str) -> Bind:
    return Bind(source=workspace, target=workspace, writable=True, follow=False)


def _shared(seats: ViewSeats) -> tuple[Bind, ...]:
    if seats.session_tmp is None:
        return ()
    real = _real(seats.session_tmp)
    return (Bind(source=real, target=TMP_IN_VIEW, writable=True, follow=False),)


def prepare_tmp(path: Path, who: RunAs) -> None:
    """Make the /tmp that all views of a session share; it must not exist yet."""
    path.mkdir()
    path.chmod(0o1777)
    if who.staged:
        os.chown(path, who.uid, who.gid)


def write_home(path: Path, content: bytes, who: RunAs) -> None:
    """Put a new file into a session's HOME, 0600, for the view's user; before the view starts."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        if who.staged:
            os.fchown(file.fileno(), who.uid, who.gid)


def scratch() -> tuple[Scratch, ...]:
    """Give a view its own /tmp and /dev/shm, bounded."""
    return (Scratch(target=TMP_IN_VIEW, size=TMP_BYTES), *scratch_beside_tmp())


def scratch_beside_tmp() -> tuple[Scratch, ...]:
    """Give a view that shares its /tmp with others of its session a bounded /dev/shm of its own."""
    return (Scratch(target="/dev/shm", size=SHM_BYTES),)  # noqa: S108 - the view's own


def mask_binds(places: PlacesPlan) -> tuple[Bind, ...]:
    """Turn the places into binds of the workspace over itself."""
    return tuple(
        Bind(source=mask.path, target=mask.path, writable=mask.writable) for mask in places.masks
    )


def toolchain_binds(toolchains: tuple[str, ...], *, agp_home: str) -> tuple[Bind, ...]:
    """Show the configured toolchains read-only at their own places.

    Raises:
        ConfigurationError: one is not an absolute directory, or would show AGP's home.
    """
    home = Path(agp_home).resolve()
    binds: list[Bind] = []
    for named in toolchains:
        real = Path(named).resolve()
        if not Path(named).is_absolute() or not real.is_dir():
            why = "it is not an absolute path of a directory"
        elif real in (home, *home.parents) or home in real.parents:
            why = "it would show AGP's own home to the agent"
        else:
            binds.append(Bind(source=str(real), target=os.path.normpath(named)))
            continue
        raise ConfigurationError(
            "a toolchain cannot be shown",
            where=named,
            why=why,
            fix="correct `toolchains` in config.toml",
        )
    return tuple(binds)


def _our_file(path: str, content: bytes) -> OurFile:
    """Show a file of the plan; what was carried may be a script, and its call is decided anyway."""
    runs = path == SHELL_IN_VIEW or path.startswith(f"{CARRIED_IN_VIEW}/")
    mode = 0o555 if runs else 0o444
    return OurFile(path=path, content=content, mode=mode)


def _entry(plan: LaunchPlan) -> tuple[str, ...]:
    """Let the forwarder start first, then become the harness."""
    terminal = ("--terminal",) if plan.interactive else ()
    routes = (
        str(MODEL_PORT),
        f"{ASK_IN_VIEW}/model.sock",
        str(PROXY_PORT),
        f"{ASK_IN_VIEW}/proxy.sock",
    )
    ours = (INTERPRETER, "-I", "-S", FORWARD_IN_VIEW, *terminal, LIFELINE)
    return (*ours, *routes, "--", *plan.argv)


def _check_seats(seats: ViewSeats, who: RunAs) -> None:
    if not Path(INTERPRETER).exists():
        raise ConfigurationError(
            "the view has no Python for the bridge",
            where=INTERPRETER,
            fix="apt-get install python3",
        )
    home = Path(seats.session_home)
    if not home.is_dir() or home.stat().st_uid != who.uid:
        raise RunRefused(
            "the session's HOME is not the agent's",
            where=str(home),
            why=f"it must belong to uid {who.uid}",
            fix="start the run again",
        )


def _real(path: str) -> str:
    """Resolve links on the host: the stage and the view bind what is there, not a name for it."""
    return str(Path(path).resolve())
