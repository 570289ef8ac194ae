"""Approval requests as a channel gets them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from agp.contracts.base import ApprovalId, CallId, Digest, RuleId, SessionId
from agp.contracts.channel import ApprovalRequest
from agp.contracts.policy import Effect, EffectKind, Grade

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
PUSH = Effect(kind=EffectKind.EXEC, subject="/usr/bin/git", argv=("git", "push", "origin", "main"))
CONNECT = Effect(kind=EffectKind.CONNECT, subject="github.example", port=443)


def request(**changes: object) -> ApprovalRequest:
    """A question about one push; any field can be changed."""
    fields: dict[str, object] = {
        "approval_id": ApprovalId("otter-3f9c2e1a"),
        "call_id": CallId("c-0123456789abcdef"),
        "binding_digest": Digest("3f9c2e1a" + "0" * 56),
        "session_id": SessionId("s-0123456789ab"),
        "harness": "claude-code",
        "workspace": "/home/me/repo",
        "cwd": "/home/me/repo",
        "agent_id": None,
        "tool": "Bash",
        "input_json": json.dumps({"command": "git push origin main", "timeout": 1000}),
        "says": "Push the branch",
        "effects": (PUSH, CONNECT),
        "cannot_see": (),
        "rule_id": RuleId("ask-push"),
        "reason": "a push leaves this machine",
        "hint": "",
        "grade": Grade.SHARED,
        "approvers": None,
        "quorum": 1,
        "requested_at": "2026-11-20T12:00:00.000000Z",
        "expires_at": "2099-01-01T00:00:00.000000Z",
    }
    return ApprovalRequest.model_validate(fields | changes)
