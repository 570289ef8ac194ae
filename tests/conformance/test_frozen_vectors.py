"""The frozen preimages, held against files whose digests were computed with hashlib alone.

`tests/vectors/frozen/*.json` hold inputs and expected bytes. Each is computed here twice: from the
format's own words with hashlib, and by the code in use. A change of either is a broken promise.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from agp.approvals.binding import binding_digest
from agp.contracts.channel import Binding
from agp.contracts.gateway import HookEvent, HookReply, HookRequest
from agp.contracts.policy import Tier
from agp.contracts.strict_json import canonical_json, parse_json
from agp.gateway.frame import (
    WAIT_LINE,
    format_reply,
    format_request,
    parse_reply,
    parse_request,
)
from agp.governor.tickets import input_digest
from agp.journal.commitment import commitment
from agp.policy.language import load_policy_file
from agp.policy.policyset import PolicySet

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "frozen"
Case = dict[str, Any]


def cases(name: str) -> list[Any]:
    """Read one file of cases, each with its name."""
    read: list[Case] = json.loads((VECTORS / f"{name}.json").read_text())
    assert read, name
    return [pytest.param(case, id=case["name"]) for case in read]


def sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.parametrize("case", cases("ticket"))
def test_ticket_preimage(case: Case) -> None:
    """SHA-256(`agp/ticket/v1\\0` || canonical effective input)."""
    assert canonical_json(parse_json(case["input"].encode())) == case["canonical"].encode()
    expected = sha256(b"agp/ticket/v1\0", case["canonical"].encode())
    assert expected == case["digest"]
    assert input_digest(case["canonical"].encode()) == case["digest"]


@pytest.mark.parametrize("case", cases("commitment"))
def test_commitment(case: Case) -> None:
    """SHA-256(`agp/call/v1\\0` || 32 bytes of salt || the raw input)."""
    salt, raw = bytes.fromhex(case["salt"]), bytes.fromhex(case["raw_input"])
    assert sha256(b"agp/call/v1\0", salt, raw) == case["commitment"]
    assert commitment(salt, raw) == case["commitment"]


@pytest.mark.parametrize("case", cases("binding"))
def test_binding_digest(case: Case) -> None:
    """SHA-256(`agp/binding/v1\\0` || canonical JSON of the bound values, sets sorted)."""
    binding = Binding.model_validate_json(json.dumps(case["binding"]))
    bound = dict(case["binding"])
    bound["file_hashes"] = [[entry["path"], entry["sha256"]] for entry in bound["file_hashes"]]
    bound["approvers"] = bound["approvers"] and sorted(bound["approvers"])
    spelled = json.dumps(bound, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert spelled == case["canonical"]
    assert sha256(b"agp/binding/v1\0", case["canonical"].encode()) == case["digest"]
    assert binding_digest(binding) == case["digest"]


@pytest.mark.parametrize("case", cases("frame_request"))
def test_request_frame(case: Case) -> None:
    """`AGP1 <harness> <event> <body-length>\\n` and the body."""
    body, frame = bytes.fromhex(case["body"]), bytes.fromhex(case["frame"])
    head = f"AGP1 {case['harness']} {case['event']} {len(body)}\n".encode()
    assert head + body == frame
    request = HookRequest(harness=case["harness"], event=HookEvent(case["event"]), body=body)
    assert format_request(request) == frame
    assert parse_request(frame) == request


@pytest.mark.parametrize("case", cases("frame_reply"))
def test_reply_frame(case: Case) -> None:
    """`AGP1 <exit-code> <stdout-length> <stderr-length>\\n` and both, after any wait lines."""
    out, err = bytes.fromhex(case["stdout"]), bytes.fromhex(case["stderr"])
    frame = bytes.fromhex(case["frame"])
    waits = b"AGP1 wait\n" * case["waits"]
    assert WAIT_LINE == b"AGP1 wait\n"
    assert waits + f"AGP1 {case['exit_code']} {len(out)} {len(err)}\n".encode() + out + err == frame
    reply = HookReply(exit_code=case["exit_code"], stdout=out, stderr=err)
    assert waits + format_reply(reply) == frame
    assert parse_reply(frame) == reply


@pytest.mark.parametrize("case", cases("policy"))
def test_policy_digest(case: Case) -> None:
    """A file: SHA-256 of its bytes. A set: `agp/policy/v1\\0`, then `tier:digest\\n` each."""
    files = [
        load_policy_file(file["text"].encode(), name="p.yaml", tier=Tier(file["tier"]))
        for file in case["files"]
    ]
    digests = [sha256(file["text"].encode()) for file in case["files"]]
    assert digests == [file["digest"] for file in case["files"]]
    assert [file.digest for file in files] == digests
    order = ["admin", "user", "default", "workspace"]
    named = sorted(
        zip((file["tier"] for file in case["files"]), digests, strict=True),
        key=lambda one: (order.index(one[0]), one[1]),
    )
    lines = "".join(f"{tier}:{digest}\n" for tier, digest in named).encode()
    assert sha256(b"agp/policy/v1\0", lines) == case["digest"]
    assert PolicySet.build(files).digest == case["digest"]
