"""Sealed lines without a signer: chained by hash, as the store sees them."""

from __future__ import annotations

import hashlib
import json

from agp.contracts.journal import JournalOpened, Line, Payload

LOG_ID = "ab" * 16
NO_HASH = "0" * 64


def opened(log_id: str = LOG_ID) -> JournalOpened:
    return JournalOpened(log_id=log_id, origin="agp.test/journal", public_key="A" * 43 + "=")


def line_after(before: Line | None, payload: Payload, *, kind: str | None = None) -> Line:
    """Seal one event behind another; `kind` overrides what the payload is called."""
    seq = 0 if before is None else before.seq + 1
    prev_hash = NO_HASH if before is None else before.hash
    body = payload.model_dump(mode="json", exclude_none=True)
    preimage = f"{seq} {prev_hash} {payload.kind} {json.dumps(body, sort_keys=True)}"
    return Line(
        v=1,
        seq=seq,
        ts=f"2026-11-20T12:{seq // 60 % 60:02d}:{seq % 60:02d}.000000Z",
        kind=kind or payload.kind.value,
        actor="agp",
        payload=body,
        prev_hash=prev_hash,
        hash=hashlib.sha256(preimage.encode()).hexdigest(),
        signing_key_id="c" * 64,
        signature="sig",
    )


def chain(*payloads: Payload, log_id: str = LOG_ID) -> tuple[Line, ...]:
    """Seal a whole log: `journal.opened`, then the payloads."""
    lines = [line_after(None, opened(log_id))]
    for payload in payloads:
        lines.append(line_after(lines[-1], payload))
    return tuple(lines)
