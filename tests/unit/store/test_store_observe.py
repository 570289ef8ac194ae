"""What the store shows of observe mode, and a store of an older schema that learns it."""

from __future__ import annotations

from pathlib import Path

from agp.contracts.journal import CallDecided, ObserveChanged, SessionStarted
from agp.contracts.policy import Decision
from agp.store import database
from agp.store.projection import Store
from agp.store.schema import MIGRATIONS
from tests.fakes import story
from tests.fakes.journal_lines import LOG_ID, chain

LIFTED = {"decision": Decision.ALLOW, "would_be": Decision.DENY, "observed": True}


def switched(*, on: bool) -> ObserveChanged:
    return ObserveChanged(session_id=story.SESSION, on=on, by="uid:1000")


def test_an_observed_allow_is_counted_apart_from_a_rules_allow(tmp_path: Path) -> None:
    """And the session shows whether it is observed now."""
    store = Store.open(tmp_path / "store.db", LOG_ID)
    started = SessionStarted.model_validate(story.started().model_dump() | {"observed": True})
    lifted = CallDecided.model_validate(story.decided(2).model_dump() | LIFTED)
    lines = chain(started, story.decided(1, Decision.ALLOW), lifted, switched(on=False))
    store.replay(lines[:-1])
    (row,) = store.sessions()
    assert (row.calls, row.allowed, row.let_through, row.asked, row.denied) == (2, 1, 1, 0, 0)
    assert row.observing
    store.apply(lines[-1])
    assert not store.sessions()[0].observing
    store.close()


def test_a_store_of_the_first_schema_is_brought_up_to_date_with_its_rows(
    tmp_path: Path, monkeypatch
) -> None:
    """Nothing in it was observed: no release before could write that."""
    lines = chain(story.started(), switched(on=True))
    with monkeypatch.context() as older:
        older.setattr(database, "MIGRATIONS", MIGRATIONS[:1])
        first = database.open_database(tmp_path / "store.db", LOG_ID)
    with database.writing(first):
        first.execute(
            "INSERT INTO sessions VALUES (?, 'scripted', '1', '/w', 'shared', ?, 0, 'open', '',"
            " ?, NULL, 1, NULL)",
            (story.SESSION, story.DIGEST, lines[1].ts),
        )
        first.execute(
            "UPDATE meta SET last_applied_seq = 1, last_applied_hash = ?", (lines[1].hash,)
        )
    first.close()
    store = Store.open(tmp_path / "store.db", LOG_ID)
    assert [row.observing for row in store.sessions()] == [False]
    store.apply(lines[2])
    assert [row.observing for row in store.sessions()] == [True]
    store.close()
