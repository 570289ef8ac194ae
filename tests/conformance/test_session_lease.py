"""The session lease: a real daemon on real sockets, and launchers that come, go and lie."""

# ruff: noqa: ASYNC240 - a temporary directory is looked at while nothing else runs

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from pydantic import JsonValue, ValidationError

from agp.contracts.base import Contract, Digest, SessionId
from agp.contracts.gateway import ControlOp
from agp.contracts.journal import Line
from agp.contracts.policy import Grade
from agp.contracts.session import SessionLease
from agp.daemon.config import Config
from agp.daemon.home import Home
from agp.daemon.messages import (
    AttachSession,
    EndSession,
    OpenedSession,
    OpenSession,
    ReconcileSession,
    read_args,
    write_value,
)
from agp.daemon.service import serve
from agp.errors import DaemonAway, Refusal, Unauthorised
from agp.gateway.client import ControlClient
from agp.journal.keys import Signer, generate_seed, read_public_key, write_key_files
from agp.journal.reader import read_events
from agp.journal.verify import Integrity, verify_directory
from tests.conformance.clauses import clause

DEADLINE_S = 20.0
CONFIG = Config(reattach_grace_s=60)
HASTY = Config(reattach_grace_s=1)
"""A daemon that reaps a session one second after its launcher has gone."""


@pytest.fixture
def home() -> Iterator[Home]:
    root = Path(tempfile.mkdtemp(prefix="agp-", dir="/tmp"))
    made = Home(root / "home")
    made.create()
    (root / "repo").mkdir()
    signer = Signer(generate_seed(), CONFIG.origin)
    write_key_files(made.signing_key, made.public_key, signer)
    yield made
    shutil.rmtree(root)


@asynccontextmanager
async def daemon(home: Home, config: Config = CONFIG) -> AsyncIterator[None]:
    """Run the daemon as a task; its end is the block's end."""
    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                await serve(home, config, until_idle=False)

            tasks.start_soon(run)
            await until(lambda: answers(home))
            yield
            with suppress(DaemonAway):  # it may be gone before its reply is written
                async with ControlClient(home.control_socket) as operator:
                    await operator.call(ControlOp.DAEMON_STOP, {})


async def answers(home: Home) -> bool:
    try:
        async with ControlClient(home.control_socket) as client:
            await client.call(ControlOp.DAEMON_STATUS, {})
    except DaemonAway:
        return False
    return True


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    while not await true():
        await anyio.lowlevel.checkpoint()


async def open_session(home: Home, client: ControlClient) -> OpenedSession:
    asked = OpenSession(
        intendant="claude-code",
        intendant_version="2.1.329",
        workspace=str(home.root.parent / "repo"),
        grade=Grade.SHARED,
        launch_digest=Digest("1" * 64),
        launcher_pid=os.getpid(),
        view_uid=os.geteuid(),
    )
    return read_args(OpenedSession, await client.call(ControlOp.SESSION_OPEN, write_value(asked)))


async def attach(client: ControlClient, opened: OpenedSession, **change: object) -> OpenedSession:
    asked = AttachSession.model_validate(
        {
            "session_id": opened.session_id,
            "secret": opened.secret,
            "fencing_token": opened.fencing_token,
            "view": None,
        }
        | change
    )
    return read_args(OpenedSession, await client.call(ControlOp.SESSION_ATTACH, write_value(asked)))


async def status_of(home: Home, session_id: SessionId) -> str:
    async with ControlClient(home.control_socket) as operator:
        said = await operator.call(ControlOp.SESSION_LIST, {})
    sessions: list[dict[str, JsonValue]] = said["sessions"]
    return next(str(one["status"]) for one in sessions if one["session_id"] == session_id)


async def gone(home: Home, session_id: SessionId, status: str) -> None:
    """Wait until a session has a status."""

    async def has() -> bool:
        return await status_of(home, session_id) == status

    await until(has)


def lines(home: Home) -> list[Line]:
    return list(read_events(home.journal))


def kinds(home: Home) -> list[str]:
    return [line.kind for line in lines(home)]


def play(act: Callable[[], Awaitable[None]]) -> None:
    anyio.run(act)


@clause("C-LEASE-01")
def test_a_session_is_journaled_before_its_launcher_hears_of_it(home: Home) -> None:
    async def act() -> None:
        async with daemon(home), ControlClient(home.control_socket) as launcher:
            opened = await open_session(home, launcher)
            (started,) = [line for line in lines(home) if line.kind == "session.started"]
            assert started.payload["session_id"] == opened.session_id
            assert started.payload["operator_uid"] == os.geteuid()
            assert (Path(opened.ask_directory) / "ask.sock").is_socket()
            assert opened.fencing_token == 1
            assert (
                opened.secret
                not in b"".join(path.read_bytes() for path in home.journal.iterdir()).decode()
            )

    play(act)


@clause("C-LEASE-02")
def test_whoever_does_not_know_the_secret_changes_nothing(home: Home) -> None:
    async def act() -> None:
        async with daemon(home), ControlClient(home.control_socket) as launcher:
            opened = await open_session(home, launcher)
            before = kinds(home)
            forged = {"session_id": opened.session_id, "secret": "0" * 64}
            asked: tuple[tuple[ControlOp, Contract], ...] = (
                (
                    ControlOp.SESSION_END,
                    EndSession.model_validate(forged | {"outcome": "finished"}),
                ),
                (
                    ControlOp.SESSION_RECONCILE,
                    ReconcileSession.model_validate(forged | {"executed": ()}),
                ),
            )
            async with ControlClient(home.control_socket) as stranger:
                for op, args in asked:
                    with pytest.raises(Unauthorised):
                        await stranger.call(op, write_value(args))
                with pytest.raises(Unauthorised):
                    await attach(stranger, opened, secret="0" * 64)
            assert kinds(home) == before
            assert await status_of(home, opened.session_id) == "held"

    play(act)


@clause("C-LEASE-03")
def test_a_lease_is_held_exactly_as_long_as_its_connection(home: Home) -> None:
    async def act() -> None:
        async with daemon(home):
            async with ControlClient(home.control_socket) as launcher:
                opened = await open_session(home, launcher)
                assert await status_of(home, opened.session_id) == "held"
            await gone(home, opened.session_id, "away")
            async with ControlClient(home.control_socket) as launcher:
                await attach(launcher, opened)
                assert await status_of(home, opened.session_id) == "held"

    play(act)


@clause("C-LEASE-04")
def test_each_attachment_grows_the_token_and_an_older_one_is_refused(home: Home) -> None:
    async def act() -> None:
        async with daemon(home):
            async with ControlClient(home.control_socket) as launcher:
                first = await open_session(home, launcher)
            await gone(home, first.session_id, "away")
            async with ControlClient(home.control_socket) as launcher:
                second = await attach(launcher, first)
                assert second.fencing_token == first.fencing_token + 1
            await gone(home, first.session_id, "away")
            async with ControlClient(home.control_socket) as late:
                for token in (first.fencing_token, second.fencing_token + 1):
                    with pytest.raises(Unauthorised):
                        await attach(late, second, fencing_token=token)
                assert await status_of(home, first.session_id) == "away"
                third = await attach(late, second)
                assert third.fencing_token == second.fencing_token + 1

    play(act)


@clause("C-LEASE-05")
def test_two_launchers_never_hold_one_session(home: Home) -> None:
    async def act() -> None:
        async with daemon(home), ControlClient(home.control_socket) as launcher:
            opened = await open_session(home, launcher)
            async with ControlClient(home.control_socket) as other:
                with pytest.raises(Unauthorised):
                    await attach(other, opened)
            assert await status_of(home, opened.session_id) == "held"

    play(act)


@clause("C-LEASE-06")
def test_a_launcher_that_stays_away_is_reaped_and_its_sockets_are_gone(home: Home) -> None:
    async def act() -> None:
        async with daemon(home, HASTY):
            async with ControlClient(home.control_socket) as launcher:
                opened = await open_session(home, launcher)
            await gone(home, opened.session_id, "reaped")
            assert kinds(home).count("session.reaped") == 1
            assert not Path(opened.ask_directory).exists()
            async with ControlClient(home.control_socket) as late:
                with pytest.raises(Unauthorised):
                    await attach(late, opened)

    play(act)


@clause("C-LEASE-07")
def test_an_ended_session_leaves_no_socket_no_secret_and_no_way_back(home: Home) -> None:
    async def act() -> None:
        async with daemon(home), ControlClient(home.control_socket) as launcher:
            opened = await open_session(home, launcher)
            claim = {"session_id": opened.session_id, "secret": opened.secret}
            ended = EndSession.model_validate(claim | {"outcome": "finished", "harness_exit": 0})
            await launcher.call(ControlOp.SESSION_END, write_value(ended))
            assert kinds(home)[-2:] == ["session.ended", "checkpoint.sealed"]
            assert not Path(opened.ask_directory).exists()
            assert not Path(opened.session_directory).exists()
            with pytest.raises(Refusal):
                await launcher.call(ControlOp.SESSION_END, write_value(ended))
            assert kinds(home).count("session.ended") == 1

    play(act)


@clause("C-LEASE-08")
def test_the_secret_rests_where_no_view_looks_and_nobody_else_reads(home: Home) -> None:
    async def act() -> None:
        async with daemon(home), ControlClient(home.control_socket) as launcher:
            opened = await open_session(home, launcher)
            holding = [
                path
                for path in home.root.rglob("*")
                if path.is_file() and opened.secret.encode() in path.read_bytes()
            ]
            assert holding
            for path in holding:
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                assert not path.is_relative_to(opened.ask_directory)
                assert json.loads(path.read_text())["fencing_token"] == 1

    play(act)


@clause("C-LEASE-09")
def test_a_lease_outlives_its_daemon_and_is_taken_up_by_the_next(home: Home) -> None:
    opened: list[OpenedSession] = []

    async def first() -> None:
        async with ControlClient(home.control_socket) as launcher:
            opened.append(await open_session(home, launcher))

    async def act() -> None:
        async with daemon(home):
            await first()
        async with daemon(home):
            assert await status_of(home, opened[0].session_id) == "away"
            async with ControlClient(home.control_socket) as launcher:
                again = await attach(launcher, opened[0])
                assert again.fencing_token == opened[0].fencing_token + 1
        report = verify_directory(home.journal, read_public_key(home.public_key))
        assert report.integrity is Integrity.OK

    play(act)


@clause("C-LEASE-10")
@pytest.mark.parametrize(
    "change",
    [{"secret": "short"}, {"fencing_token": 0}, {"status": "stolen"}, {"owner": "me"}],
    ids=lambda change: next(iter(change)),
)
def test_a_lease_that_breaks_its_contract_is_no_value(change: dict[str, object]) -> None:
    lease = {
        "session_id": SessionId("s-0123456789ab"),
        "secret": "0" * 64,
        "fencing_token": 1,
        "launcher_pid": 1,
        "reattach_grace_s": 45.0,
        "status": "held",
    }
    SessionLease.model_validate(lease)
    with pytest.raises(ValidationError):
        SessionLease.model_validate(lease | change)
