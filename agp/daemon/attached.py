"""Sessions that nobody launched through AGP: a person starts the harness, installed hooks ask.

There is no view, no launcher and no event stream. Everything that the hooks say, also whose session
it is, is a claim of a process that has the operator's own uid and so the operator's own powers:
grade `advisory`. What holds all the same:

1. one standing socket, in a directory of the operator's alone, for the operator's uid alone;
2. the harness's own session id opens a session, within a rate and a number; it is journaled first;
3. its calls are decided, asked, ticketed and written down by the same loop as every other's, and a
   ticket of one session is found by no other;
4. a session that the operator ended is never opened again under its id, also after a restart;
5. whatever cannot be attributed is refused.

Source: ADR 0016.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import structlog

from agp.contracts.base import Digest, SessionId
from agp.contracts.intendant import (
    CallProposed,
    Denied,
    GrantAsked,
    HookMessage,
    Noted,
    SessionClosed,
    SessionOpened,
)
from agp.contracts.journal import SessionReaped, SessionStarted
from agp.contracts.policy import ExecutableFacts, Grade
from agp.contracts.session import SessionLease
from agp.daemon.installed import installed_digest, settings_files, write_file
from agp.daemon.live import LiveSession
from agp.daemon.survey import SEARCH_PATH, HostSurveyor
from agp.errors import IntegrityError, OverLimit, Refusal, RunRefused, Unavailable
from agp.gateway.ask import AskListener, Exchange, Waiter
from agp.gateway.limits import AskLimits, TokenBucket
from agp.governor.session import CallState, GovernedSession
from agp.intendants.claude_code.hooks import ClaudeCode
from agp.sandbox.host import check_workspace

if TYPE_CHECKING:
    from anyio.abc import TaskGroup, TaskStatus

    from agp.contracts.gateway import HookRequest
    from agp.contracts.journal import Record
    from agp.daemon.home import Home
    from agp.daemon.sessions import Outcome, Sessions
    from agp.daemon.shelf import PolicyShelf

MAX_ATTACHED: Final = 32
"""Attached sessions at once: half of all that a daemon holds."""
LIMITS: Final = AskLimits(connections=128, rate_per_s=400.0, burst=800)
"""For the standing socket, which all attached sessions share."""
MAX_OPEN_HOOKS: Final = 40
"""Hooks of one attached session that may be answered at once: the others keep their share."""
_OPENINGS_PER_S: Final = 0.5
_OPENINGS_AT_ONCE: Final = 16
IDLE_S: Final = 2 * 60 * 60.0
"""Without a word a session is over; its harness's next call opens another one."""
_STALE_S: Final = 60.0
"""A session that has been silent for so long, and waits for nothing, makes room for a new one."""
_LOOK_EVERY_S: Final = 30.0
_MOST_ENDED: Final = 1024
_OPEN_CALLS: Final = frozenset({CallState.DECIDING, CallState.ASKING, CallState.GRANTED})
_VERSION: Final = re.compile(rb"(?:^|\0)AI_AGENT=claude-code_(\d{1,6})-(\d{1,6})-(\d{1,6})_")
_PATH: Final = re.compile(rb"(?:^|\0)PATH=([^\0]{1,8192})")
_ENVIRONMENT_LIMIT: Final = 1024 * 1024
_NO_SESSION: Final = "AGP knows no such session; its next tool call opens one"
_KILLED: Final = "the operator ended this session (agp kill); nothing more runs in it"


class OutsideSurveyor(HostSurveyor):
    """Looks at this machine as a process of the operator sees it: there is no view."""

    view_own = ()

    def __init__(self, home: Home, workspace: str, search_path: tuple[str, ...]) -> None:
        ours = tuple(os.path.realpath(path) for path in settings_files(workspace))
        super().__init__(home.root, search_path, ours=ours)
        self.user_home = str(Path.home())

    def _program(self, word: str, workspace: str, cwd: str, shared: str | None) -> ExecutableFacts:
        """Know AGP's own command by its name: an agent that runs it would be the operator.

        Best effort: under another name, or through an interpreter, it is a program like any other.
        """
        facts = super()._program(word, workspace, cwd, shared)
        if "agp" not in {Path(word).name, Path(facts.resolved or word).name}:
            return facts
        return ExecutableFacts.model_validate(facts.model_dump() | {"in_agp": True})

    def _is_own(self, found: str, workspace: str) -> bool:  # noqa: ARG002 - as every surveyor's
        """Whatever the operator may write, the agent may; for root that would be everything."""
        if os.geteuid() == 0:
            return False
        return os.access(found, os.W_OK) or os.access(Path(found).parent, os.W_OK)


class Attached:
    """The standing socket, and the sessions that were opened on it."""

    def __init__(
        self, home: Home, sessions: Sessions, record: Record, shelf: PolicyShelf, tasks: TaskGroup
    ) -> None:
        self._home = home
        self._sessions = sessions
        self._record = record
        self._shelf = shelf
        self._tasks = tasks
        self._log = structlog.get_logger()
        self._intendant = ClaudeCode()
        self._ended = EndedByOperator(home)
        self._heard: dict[SessionId, float] = {}
        self._answering: dict[SessionId, int] = {}
        self._opening = anyio.Lock()
        self._refused = 0

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled.

        Raises:
            ConfigurationError: the socket cannot be bound.
            IntegrityError: it is not known which sessions the operator ended.
        """
        self._ended.load()
        directory = self._home.hooks_socket.parent
        directory.mkdir(mode=0o700, exist_ok=True)
        directory.chmod(0o700)
        self._bucket = TokenBucket(_OPENINGS_PER_S, _OPENINGS_AT_ONCE, anyio.current_time())
        for live in self._live():
            live.forbid = partial(self._forbid, live)
        listener = AskListener(
            self._home.hooks_socket,
            self._hear,
            allowed_uids=frozenset({os.geteuid()}),
            on_refused=lambda because: self._count(because.value),
            limits=LIMITS,
            mode=0o600,
        )
        async with anyio.create_task_group() as group:
            await group.start(listener.serve)
            group.start_soon(self._end_idle)
            task_status.started()

    def _live(self) -> list[LiveSession]:
        live = self._sessions.live.values()
        return [one for one in live if one.started.attached is not None]

    async def _hear(self, request: HookRequest, waiter: Waiter) -> Exchange:
        """Answer one hook: find or open its session, then the same loop as every other's.

        Raises:
            Refusal: the gateway blocks the call with its reason.
        """
        if request.harness != self._intendant.name:
            raise Refusal("AGP has no hooks of this harness installed")
        message = await anyio.to_thread.run_sync(self._intendant.parse, request)
        name = _claimed(message)
        if name in self._ended:
            self._count(_KILLED)
            return self._refusal(request, _KILLED)
        live = await self._session_of(name, message, waiter)
        if live is None:
            self._count(_NO_SESSION)
            if isinstance(message, GrantAsked):
                return self._refusal(request, _NO_SESSION)
            return Exchange(self._intendant.format(request, Noted()))  # nothing is decided by it
        return await self._answer(live, request, message, waiter)

    async def _answer(
        self, live: LiveSession, request: HookRequest, message: HookMessage, waiter: Waiter
    ) -> Exchange:
        name = live.session_id
        if self._answering.get(name, 0) >= MAX_OPEN_HOOKS:
            raise OverLimit("too many hooks of this session wait at once; wait for them first")
        self._heard[name] = anyio.current_time()
        self._answering[name] = self._answering.get(name, 0) + 1
        try:
            exchange = await self._sessions.answer(live, request, message, waiter.peer)
        finally:
            self._answering[name] -= 1
            if not self._answering[name]:
                del self._answering[name]
            self._heard[name] = anyio.current_time()
        if isinstance(message, SessionClosed):
            await self._finish(live)
        return exchange

    async def _session_of(
        self, name: str, message: HookMessage, waiter: Waiter
    ) -> LiveSession | None:
        """Find the session that a hook claims to be of; only a beginning or a call opens one."""
        found = self._known(name)
        if found is not None or not isinstance(message, SessionOpened | CallProposed):
            return found
        async with self._opening:
            found = self._known(name)
            return found or await self._open(name, message, waiter)

    def _known(self, harness_session: str) -> LiveSession | None:
        return next(
            (live for live in self._live() if live.governed.harness_session == harness_session),
            None,
        )

    async def _open(
        self, name: str, message: SessionOpened | CallProposed, waiter: Waiter
    ) -> LiveSession:
        """Journal a new session before its first call is decided.

        Raises:
            Refusal: too many, too fast, or not a place to work in.
        """
        if not self._bucket.take(anyio.current_time()):
            raise OverLimit("sessions are opened too fast; wait a moment")
        await self._make_room()
        cwd = message.cwd if isinstance(message, SessionOpened) else message.call.cwd
        if cwd is None:
            raise RunRefused("the harness does not say where it works")
        workspace = await anyio.to_thread.run_sync(self._workspace, cwd)
        version, search_path = await anyio.to_thread.run_sync(claims_of, waiter.peer.pid)
        policy = await anyio.to_thread.run_sync(self._policy, workspace)
        started = SessionStarted(
            session_id=SessionId(f"s-{secrets.token_hex(6)}"),
            intendant=self._intendant.name,
            intendant_version=version,
            workspace=workspace,
            grade=Grade.ADVISORY,
            policy_digest=policy,
            launch_digest=await anyio.to_thread.run_sync(installed_digest, self._home, workspace),
            egress=(),
            operator_uid=waiter.peer.uid,
            attached=True,
        )
        governed = GovernedSession(
            started.session_id, self._intendant, workspace=workspace, grade=started.grade
        )
        governed.bind(name)
        live_outside(governed, self._home, search_path=search_path)
        if policy != self._shelf.base.digest:
            loaded = self._shelf.loaded(self._shelf.of(workspace))
            await self._record.append(loaded, actor="agp")
        sealed = await self._record.append(started, actor=f"uid:{waiter.peer.uid}")
        live = LiveSession(
            governed, started, sealed.ts, _no_lease(started.session_id), waiter.peer.uid, ""
        )
        live.forbid = partial(self._forbid, live)
        await self._sessions.keep(live)
        self._sessions.take_in(live)
        self._heard[live.session_id] = anyio.current_time()
        return live

    def _workspace(self, cwd: str) -> str:
        """Give the repository that a claimed directory lies in, else the directory itself.

        Raises:
            RunRefused: it is no place for an agent's work, or `agp run` governs it now.
        """
        place = _resolved(cwd)
        top = next((up for up in (place, *place.parents) if os.path.lexists(up / ".git")), place)
        workspace = check_workspace(str(top), agp_home=str(self._home.root))
        for live in self._sessions.live.values():
            other = live.started.workspace
            apart = not (
                Path(workspace).is_relative_to(other) or Path(other).is_relative_to(workspace)
            )
            if live.started.attached is None and not apart:
                raise RunRefused(
                    "`agp run` governs this workspace now",
                    where=other,
                    why=f"what happens outside its view would uncover session {live.session_id}",
                    fix="wait for its end, or work in a git worktree elsewhere",
                )
        return workspace

    def _policy(self, workspace: str) -> Digest:
        """Compile the workspace's policy, once for all that work in it now.

        Attack: an agent removes the repository's own policy, and the next session to open would
        loosen what its neighbours are held to.
        """
        if any(live.started.workspace == workspace for live in self._live()):
            return self._shelf.of(workspace).digest
        return self._shelf.open_workspace(workspace).digest

    async def _make_room(self) -> None:
        live = self._live()
        if len(live) < MAX_ATTACHED:
            return
        silent = [one for one in live if self._silent_s(one) > _STALE_S]
        if not silent:
            raise OverLimit(
                f"{MAX_ATTACHED} sessions with installed hooks run already",
                fix="end one: agp sessions, agp kill",
            )
        await self._reap(max(silent, key=self._silent_s), "it made room for a new session")

    def _silent_s(self, live: LiveSession) -> float:
        """Say for how long nothing was heard; a session that waits for something is not silent."""
        name = live.session_id
        waits = any(call.state in _OPEN_CALLS for call in live.governed.calls.values())
        if self._answering.get(name, 0) or waits:
            return 0.0
        now = anyio.current_time()
        return now - self._heard.setdefault(name, now)

    async def _end_idle(self) -> None:
        while True:
            await anyio.sleep(_LOOK_EVERY_S)
            known = {live.session_id for live in self._live()}
            self._heard = {name: at for name, at in self._heard.items() if name in known}
            for live in self._live():
                if self._silent_s(live) > IDLE_S:
                    await self._reap(live, "its harness has not been heard for two hours")

    async def _reap(self, live: LiveSession, reason: str) -> None:
        await self._sessions.close(live, "session_ended")
        await self._record.append(
            SessionReaped(session_id=live.session_id, reason=reason), actor="agp"
        )
        self._sessions.forget(live)
        self._heard.pop(live.session_id, None)

    async def _finish(self, live: LiveSession) -> None:
        """End a session whose harness says that it ends; a claim, and it only takes away."""
        if live.governed.ended:
            return
        await self._sessions.close(live, "session_ended")
        outcome: Outcome = "ungoverned" if live.governed.violations else "finished"
        await self._sessions.closed(live, outcome)
        self._heard.pop(live.session_id, None)

    async def _forbid(self, live: LiveSession) -> None:
        """Grant nothing more to a harness, and keep it so.

        Raises:
            Unavailable: it holds now, and would not outlive the daemon: the home cannot be written.
        """
        live.governed.ended = True
        if live.governed.harness_session is not None:
            await anyio.to_thread.run_sync(self._ended.add, live.governed.harness_session)

    def _refusal(self, request: HookRequest, why: str) -> Exchange:
        return Exchange(self._intendant.format(request, Denied(reason=why)))

    def _count(self, reason: str) -> None:
        """Say in the log that peers without a session were refused; one line a second at most."""
        self._refused += 1
        if self._refused == 1:
            self._tasks.start_soon(self._tell_refused, reason)

    async def _tell_refused(self, reason: str) -> None:
        await anyio.sleep(1.0)
        self._log.warning("installed hooks were refused", count=self._refused, last=reason)
        self._refused = 0


class EndedByOperator:
    """Which harness sessions the operator ended: theirs is no session of AGP again."""

    def __init__(self, home: Home) -> None:
        self._path = home.hooks / "ended.json"
        self._names: list[str] = []

    def __contains__(self, harness_session: str) -> bool:
        return harness_session in self._names

    def load(self) -> None:
        """Read what an earlier daemon wrote.

        Raises:
            IntegrityError: it cannot be read; whom it names is not known, so nobody is let in.
        """
        try:
            names = json.loads(self._path.read_text())
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise self._damaged() from error
        if not isinstance(names, list) or any(not isinstance(name, str) for name in names):
            raise self._damaged()
        self._names = names

    def add(self, harness_session: str) -> None:
        """Keep one more, durably; the oldest of very many are let go.

        Raises:
            Unavailable: it is kept in memory only.
        """
        self._names = [*self._names, harness_session][-_MOST_ENDED:]
        try:
            write_file(self._path, json.dumps(self._names).encode(), mode=0o600)
        except OSError as error:
            raise Unavailable(
                "the session is ended, and a restarted daemon would not know it",
                where=str(self._path),
                why=error.strerror or "",
                fix="end the harness itself, too",
            ) from error

    def _damaged(self) -> IntegrityError:
        return IntegrityError(
            "it cannot be read which sessions were ended by `agp kill`",
            where=str(self._path),
            fix="remove the file if no killed harness is still running",
        )


def live_outside(
    governed: GovernedSession, home: Home, *, search_path: tuple[str, ...] = SEARCH_PATH
) -> None:
    """Let a session be looked at as what it is: a process of the operator, in no view."""
    governed.private_places = ()
    governed.surveyor = OutsideSurveyor(home, governed.workspace, search_path)


def claims_of(pid: int) -> tuple[str, tuple[str, ...]]:
    """Read the harness's version and PATH out of its hook's environment; both are claims.

    A PATH that cannot be read, or that names a relative place, is the system's: a program that is
    not on that one is not known, and asks.
    """
    try:
        with Path(f"/proc/{pid}/environ").open("rb") as file:
            environment = file.read(_ENVIRONMENT_LIMIT)
    except OSError:
        return "unknown", SEARCH_PATH
    version, path = _VERSION.search(environment), _PATH.search(environment)
    said = "unknown" if version is None else b".".join(version.groups()).decode()
    places = tuple(os.fsdecode(path[1]).split(":")) if path is not None else ()
    usable = bool(places) and all(place.startswith("/") for place in places)
    return said, places if usable else SEARCH_PATH


def _claimed(message: HookMessage) -> str:
    return (
        message.call.harness_session
        if isinstance(message, CallProposed)
        else (message.harness_session)
    )


def _resolved(cwd: str) -> Path:
    try:
        return Path(cwd).resolve()
    except (OSError, RuntimeError) as error:
        raise RunRefused("the working directory cannot be resolved", where=cwd) from error


def _no_lease(session_id: SessionId) -> SessionLease:
    """Nobody holds an attached session: its secret is given to nobody."""
    return SessionLease(
        session_id=session_id,
        secret=secrets.token_hex(32),
        fencing_token=1,
        launcher_pid=0,
        reattach_grace_s=0.0,
        status="held",
    )
