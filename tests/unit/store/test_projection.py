"""The store shows what the journal says, refuses what it cannot have said, and is only a view."""

from __future__ import annotations

import sqlite3
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from agp.contracts.channel import ApprovalState
from agp.contracts.journal import Payload
from agp.contracts.policy import Decision
from agp.errors import ConfigurationError, IntegrityError, Unavailable
from agp.store.database import open_database, writing
from agp.store.projection import Store
from tests.fakes import story
from tests.fakes.journal_lines import LOG_ID, chain, line_after


@pytest.fixture
def store(tmp_path: Path):
    opened = Store.open(tmp_path / "store.db", LOG_ID)
    yield opened
    opened.close()


def shown(store: Store) -> tuple[object, ...]:
    return store.last_applied_seq, store.last_applied_hash, store.sessions(), store.approvals()


def test_a_new_store_is_private_strict_and_durable_enough(store: Store, tmp_path: Path):
    store.apply(chain()[0])
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    database = open_database(tmp_path / "store.db", LOG_ID)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA foreign_keys").fetchone() == (1,)
    tables = database.execute("SELECT name, strict FROM pragma_table_list WHERE schema='main'")
    ours = {name: strict for name, strict in tables if not name.startswith("sqlite_")}
    assert ours.keys() == {"meta", "sessions", "calls", "approvals", "grants_given", "outbox"}
    assert set(ours.values()) == {1}
    database.close()


def test_a_session_row_counts_its_decisions(store: Store):
    store.replay(
        chain(
            story.started(),
            story.decided(1, Decision.ALLOW),
            story.decided(2, Decision.ALLOW),
            story.decided(3, Decision.DENY),
            story.decided(4),
            story.ended(),
        )
    )
    (row,) = store.sessions()
    assert (row.calls, row.allowed, row.denied, row.asked) == (4, 2, 1, 1)
    assert (row.status, row.outcome) == ("ended", "finished")
    assert row.ended_at == "2026-11-20T12:00:06.000000Z"


def test_a_session_without_calls_is_listed_and_a_reaped_one_says_why(store: Store):
    store.replay(chain(story.started(), story.reaped()))
    (row,) = store.sessions()
    assert (row.calls, row.status, row.outcome) == (0, "reaped", "its launcher is gone")


def test_a_quorum_is_shown_grant_by_grant(store: Store):
    lines = chain(
        story.started(),
        story.decided(1),
        story.requested(1, quorum=2),
        story.granted(1, approver="uid:1001", complete=False),
        story.granted(1, approver="uid:1000"),
    )
    store.replay(lines[:-1])
    (row,) = store.pending()
    assert (row.state, row.granted_by) == (ApprovalState.PENDING, ("uid:1001",))
    assert row.approvers == ("uid:1000", "uid:1001")
    store.apply(lines[-1])
    assert store.pending() == ()
    (row,) = store.approvals(ApprovalState.GRANTED)
    assert (row.answered_by, row.granted_by) == ("uid:1000", ("uid:1001", "uid:1000"))


@dataclass(frozen=True)
class End:
    name: str
    payload: Payload
    state: ApprovalState
    answered_by: str
    reason: str


ENDS = (
    End("granted", story.granted(1), ApprovalState.GRANTED, "uid:1000", ""),
    End("denied", story.denied(1), ApprovalState.DENIED, "uid:1000", "not on a Friday"),
    End("expired", story.expired(1), ApprovalState.EXPIRED, "", ""),
    End("cancelled", story.cancelled(1), ApprovalState.CANCELLED, "", "interrupted"),
)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.name)
def test_an_approval_ends_as_the_journal_says(store: Store, end: End):
    store.replay(chain(story.started(), *story.asked(1), end.payload))
    (row,) = store.approvals()
    assert (row.state, row.answered_by, row.reason) == (end.state, end.answered_by, end.reason)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.name)
@pytest.mark.parametrize("again", ENDS, ids=lambda end: f"then {end.name}")
def test_an_approval_ends_exactly_once(store: Store, end: End, again: End):
    """A journal that ends one approval twice is refused, and nothing has changed."""
    lines = chain(story.started(), *story.asked(1), end.payload, again.payload)
    store.replay(lines[:-1])
    before = shown(store)
    with pytest.raises(IntegrityError, match=r"contradicts"):
        store.apply(lines[-1])
    assert shown(store) == before


def test_one_person_fills_no_quorum_twice(store: Store):
    grant = story.granted(1, complete=False)
    lines = chain(story.started(), story.decided(1), story.requested(1, quorum=2), grant, grant)
    store.replay(lines[:-1])
    with pytest.raises(IntegrityError):
        store.apply(lines[-1])


def test_an_id_may_come_again_after_its_end_but_not_while_it_waits(store: Store):
    second = (story.decided(2), story.requested(2, named=1))
    lines = chain(story.started(), *story.asked(1), story.expired(1), *second)
    store.replay(lines)
    assert [row.state.value for row in store.approvals()] == ["expired", "pending"]
    clash = line_after(lines[-1], story.decided(3))
    store.apply(clash)
    with pytest.raises(IntegrityError):
        store.apply(line_after(clash, story.requested(3, named=1)))


CONTRADICTIONS: tuple[tuple[str, tuple[Payload, ...]], ...] = (
    ("a call of a session that never started", (story.decided(1),)),
    ("a question about a call without a decision", (story.started(), story.requested(1))),
    ("a grant of something nobody asked", (story.started(), story.granted(1))),
    ("an outcome without a decision", (story.started(), story.finished(1))),
    ("an end of a session that never started", (story.ended(),)),
    ("one session started twice", (story.started(), story.started())),
)


@pytest.mark.parametrize(("name", "payloads"), CONTRADICTIONS, ids=lambda value: str(value)[:50])
def test_a_story_that_agp_never_writes_is_refused(
    store: Store, name: str, payloads: tuple[Payload, ...]
):
    lines = chain(*payloads)
    store.replay(lines[:-1])
    before = shown(store)
    with pytest.raises(IntegrityError):
        store.apply(lines[-1])
    assert shown(store) == before


def test_a_line_is_applied_once(store: Store):
    lines = chain(story.started(), *story.asked(1))
    assert [store.apply(line) for line in lines] == [True] * 4
    before = shown(store)
    assert [store.apply(line) for line in lines] == [False] * 4
    assert store.replay(lines) == 0
    assert shown(store) == before


def test_a_gap_is_refused_and_changes_nothing(store: Store):
    lines = chain(story.started(), *story.asked(1))
    store.apply(lines[0])
    before = shown(store)
    with pytest.raises(IntegrityError, match="line 1 was expected"):
        store.apply(lines[2])
    assert shown(store) == before


def test_another_line_under_a_known_number_is_refused(store: Store):
    """A journal that was rolled back and written on differently is noticed at the seam."""
    store.replay(chain(story.started()))
    with pytest.raises(IntegrityError, match="another line was projected"):
        store.apply(chain(story.reaped())[1])


def test_a_line_that_does_not_follow_is_refused(store: Store):
    store.replay(chain(story.started()))
    stranger = chain(story.reaped(), story.decided(1))[2]
    with pytest.raises(IntegrityError, match="does not follow"):
        store.apply(stranger)


@pytest.mark.parametrize("first", [chain(log_id="cd" * 16)[0], line_after(None, story.started())])
def test_line_zero_must_open_this_log(store: Store, first):
    with pytest.raises(IntegrityError, match="does not open log"):
        store.apply(first)
    assert store.last_applied_seq == -1


def test_a_kind_of_a_newer_agp_is_passed_over_but_counted(store: Store):
    lines = chain(story.started())
    unknown = line_after(lines[-1], story.decided(1), kind="call.dreamt")
    assert store.replay((*lines, unknown)) == 3
    assert store.last_applied_seq == 2
    assert store.sessions()[0].calls == 0


def test_a_store_of_another_log_is_refused_by_name(tmp_path: Path):
    Store.open(tmp_path / "store.db", LOG_ID).close()
    with pytest.raises(IntegrityError, match=LOG_ID):
        Store.open(tmp_path / "store.db", "cd" * 16)


def test_a_store_of_a_newer_agp_is_refused_and_left_as_it_is(tmp_path: Path):
    path = tmp_path / "store.db"
    Store.open(path, LOG_ID).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="newer AGP"):
        Store.open(path, LOG_ID)
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path):
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="some other program"):
        Store.open(path, LOG_ID)
    assert path.read_bytes() == before


@dataclass(frozen=True)
class Damage:
    name: str
    offset: int
    junk: bytes


DAMAGES = (
    Damage("the header is overwritten", 0, b"not a database at all, really"),
    Damage("a page in the middle is zeros", 4096, b"\0" * 4096),
    Damage("a page in the middle is noise", 8192, bytes(range(256)) * 16),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_a_damaged_file_is_moved_aside_and_filled_again(tmp_path: Path, damage: Damage):
    path = tmp_path / "store.db"
    lines = chain(story.started(), *story.asked(1), story.granted(1))
    first = Store.open(path, LOG_ID)
    first.replay(lines)
    before = shown(first)
    first.close()
    with path.open("r+b") as file:
        file.seek(damage.offset)
        file.write(damage.junk)
    broken = path.read_bytes()
    second = Store.open(path, LOG_ID)
    assert second.moved_aside == tmp_path / "store.db.corrupt"
    assert second.moved_aside.read_bytes() == broken
    assert second.last_applied_seq == -1
    second.replay(lines)
    assert shown(second) == before
    second.close()


def test_a_sound_store_is_not_moved_aside(tmp_path: Path):
    for _ in range(2):
        store = Store.open(tmp_path / "store.db", LOG_ID)
        assert store.moved_aside is None
        store.close()


def test_rebuild_forgets_what_stood_there(store: Store):
    lines = chain(story.started(), *story.asked(1), story.denied(1))
    store.replay(lines)
    before = shown(store)
    assert store.rebuild(lines) == len(lines)
    assert shown(store) == before
    assert store.rebuild(lines[:2]) == 2
    assert (len(store.sessions()), store.approvals()) == (1, ())


def test_a_directory_in_the_place_of_the_file_is_unavailable_not_a_traceback(tmp_path: Path):
    (tmp_path / "store.db").mkdir()
    with pytest.raises(Unavailable, match="cannot be used"):
        Store.open(tmp_path / "store.db", LOG_ID)


def test_another_writer_makes_us_wait_and_then_say_so(store: Store, tmp_path: Path):
    other = open_database(tmp_path / "store.db", LOG_ID)
    store._db.execute("PRAGMA busy_timeout = 1")
    with writing(other), pytest.raises(Unavailable, match="locked"):
        store.apply(chain()[0])
    assert store.apply(chain()[0])
    other.close()


def test_no_descriptor_is_left_open(tmp_path: Path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    store = Store.open(tmp_path / "store.db", LOG_ID)
    store.close()
    with pytest.raises(IntegrityError):
        Store.open(tmp_path / "store.db", "cd" * 16)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
