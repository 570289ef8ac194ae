"""The outbox delivery: a value and a table in this version; nothing delivers yet."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from pydantic import ValidationError

from agp.contracts.outbox import DeliveryState, OutboxDelivery
from agp.store.database import open_database, writing
from agp.store.projection import Store
from agp.store.schema import TABLES
from tests.conformance.clauses import clause
from tests.fakes.journal_lines import LOG_ID, chain

NEW = OutboxDelivery(
    delivery_id="d-1",
    cause_seq=3,
    channel="slack",
    body_json='{"text":"é"}',
    not_before="2026-11-20T12:00:00.000000Z",
)
INSERT = """
    INSERT INTO outbox VALUES
    (:delivery_id, :cause_seq, :channel, :body_json, :state, :attempts, :not_before)
"""


def put(path: Path, row: dict[str, object]) -> None:
    database = open_database(path, LOG_ID)
    try:
        with writing(database):
            database.execute(INSERT, row)
    finally:
        database.close()


def held(path: Path) -> list[OutboxDelivery]:
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute("SELECT * FROM outbox")]
    connection.close()
    return [
        OutboxDelivery.model_validate(row | {"state": DeliveryState(row["state"])}) for row in rows
    ]


@clause("C-OUTBOX-01")
def test_a_new_delivery_is_pending_and_was_never_tried() -> None:
    assert (NEW.state, NEW.attempts) == (DeliveryState.PENDING, 0)


@clause("C-OUTBOX-02")
@pytest.mark.parametrize(
    "change",
    [{"state": "sent"}, {"attempts": -1}, {"cause_seq": -1}, {"cause_seq": None}, {"to": "x"}],
)
def test_a_delivery_that_breaks_its_contract_is_no_value(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        OutboxDelivery.model_validate(NEW.model_dump() | change)


@clause("C-OUTBOX-03")
def test_the_store_keeps_a_delivery_whole(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    put(path, NEW.model_dump())
    assert held(path) == [NEW]


@clause("C-OUTBOX-04")
def test_the_store_refuses_a_state_that_the_contract_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    for state in DeliveryState:
        put(path, NEW.model_dump() | {"state": state.value, "delivery_id": state.value})
    with pytest.raises(sqlite3.IntegrityError):
        put(path, NEW.model_dump() | {"state": "sent"})
    assert {delivery.state for delivery in held(path)} == set(DeliveryState)


@clause("C-OUTBOX-05")
def test_one_delivery_is_in_the_outbox_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    put(path, NEW.model_dump())
    with pytest.raises(sqlite3.IntegrityError):
        put(path, NEW.model_dump())
    assert held(path) == [NEW]


@clause("C-OUTBOX-06")
def test_the_journal_stays_the_truth_and_a_rebuild_keeps_no_delivery_of_its_own(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    put(path, NEW.model_dump())
    store = Store.open(path, LOG_ID)
    store.rebuild(chain())
    store.close()
    assert held(path) == []
    assert "outbox" in TABLES
