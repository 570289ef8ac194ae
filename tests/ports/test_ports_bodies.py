"""The call vault's port: the directory on the disk and its fake keep the same promises."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest

from agp.contracts.base import CallId
from agp.errors import ConfigurationError, MessageRefused
from agp.governor.ports import Bodies
from agp.journal.calls import CallVault, StoredCall
from tests.fakes.governed import FakeBodies

ONE, TWO = CallId("c-0123456789abcdef"), CallId("c-fedcba9876543210")
SALT, OTHER = bytes(range(32)), b"\xff" * 32


class Readable(Bodies, Protocol):
    """What a test has to see beside the port."""

    def get(self, call_id: CallId) -> StoredCall | None: ...


@pytest.fixture(params=["fake", "real"])
def bodies(request: pytest.FixtureRequest, tmp_path: Path) -> Readable:
    return FakeBodies() if request.param == "fake" else CallVault(tmp_path)


def test_what_was_put_comes_back_byte_for_byte(bodies: Readable) -> None:
    bodies.put(ONE, b'{"a":"\xff"}\x00', SALT)
    bodies.put(TWO, b"", OTHER)
    assert bodies.get(ONE) == StoredCall(SALT, b'{"a":"\xff"}\x00')
    assert bodies.get(TWO) == StoredCall(OTHER, b"")


def test_a_dropped_body_leaves_its_salt_and_the_other_calls(bodies: Readable) -> None:
    bodies.put(ONE, b"one", SALT)
    bodies.put(TWO, b"two", OTHER)
    bodies.drop_body(ONE)
    assert bodies.get(ONE) == StoredCall(SALT, None)
    assert bodies.get(TWO) == StoredCall(OTHER, b"two")


def test_a_drop_is_safe_to_repeat_and_of_an_unknown_call(bodies: Readable) -> None:
    bodies.put(ONE, b"one", SALT)
    for call_id in (ONE, ONE, TWO):
        bodies.drop_body(call_id)
    assert bodies.get(ONE) == StoredCall(SALT, None)
    assert bodies.get(TWO) is None


def test_a_call_is_stored_once_also_after_its_body_was_dropped(bodies: Readable) -> None:
    bodies.put(ONE, b"one", SALT)
    with pytest.raises(MessageRefused):
        bodies.put(ONE, b"another", OTHER)
    assert bodies.get(ONE) == StoredCall(SALT, b"one")
    bodies.drop_body(ONE)
    with pytest.raises(MessageRefused):
        bodies.put(ONE, b"another", OTHER)
    assert bodies.get(ONE) == StoredCall(SALT, None)


@pytest.mark.parametrize("salt", [b"", SALT[:-1], SALT + b"x"], ids=["none", "short", "long"])
def test_a_salt_of_another_length_stores_nothing(bodies: Readable, salt: bytes) -> None:
    with pytest.raises(ConfigurationError):
        bodies.put(ONE, b"one", salt)
    assert bodies.get(ONE) is None


@pytest.mark.parametrize(
    "name", ["", "c-", "../c-0123456789abcdef", "c-0123456789ABCDEF", "c-0123456789abcdef\n"]
)
def test_a_name_that_is_no_call_id_is_refused(bodies: Readable, name: str) -> None:
    with pytest.raises(MessageRefused):
        bodies.put(CallId(name), b"one", SALT)
    with pytest.raises(MessageRefused):
        bodies.drop_body(CallId(name))
