"""The outbox delivery: one message to an outside party, caused by one journal event."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from agp.contracts.base import Contract


class DeliveryState(StrEnum):
    """Where a delivery stands; `dead` needs a person."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class OutboxDelivery(Contract):
    """At least once, first in first out for each channel; the journal stays the truth."""

    delivery_id: str
    cause_seq: Annotated[int, Field(ge=0)]
    """The journal line that caused it."""
    channel: str
    body_json: str
    state: DeliveryState = DeliveryState.PENDING
    attempts: Annotated[int, Field(ge=0)] = 0
    not_before: str
    """UTC, the journal's time format."""
