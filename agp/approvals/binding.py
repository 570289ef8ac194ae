r"""What an approval binds, as one digest: what the person saw is what runs.

The digest is SHA-256 over `agp/binding/v1\\0` and the canonical JSON of the binding's values,
sets sorted. Source: system.md §2 principle 5.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from agp.contracts.base import Digest
from agp.contracts.strict_json import Json, canonical_json

if TYPE_CHECKING:
    from agp.contracts.channel import Binding
    from agp.contracts.policy import Effect

_DOMAIN = b"agp/binding/v1\0"


def binding_digest(binding: Binding) -> Digest:
    """Digest exactly the values that the person's answer is about."""
    value: dict[str, Json] = {
        "log_id": binding.log_id,
        "harness": binding.harness,
        "session_id": binding.session_id,
        "agent_id": binding.agent_id,
        "cwd": binding.cwd,
        "tool_use_id": binding.tool_use_id,
        "tool": binding.tool,
        "commitment": binding.commitment,
        "effective_input": binding.effective_input,
        "effects": [_effect(effect) for effect in binding.effects],
        "file_hashes": [[entry.path, entry.sha256] for entry in binding.file_hashes],
        "grade": binding.grade.value,
        "rule_id": binding.rule_id,
        "approvers": None if binding.approvers is None else [*sorted(binding.approvers)],
        "quorum": binding.quorum,
    }
    return Digest(hashlib.sha256(_DOMAIN + canonical_json(value)).hexdigest())


def _effect(effect: Effect) -> Json:
    return {
        "kind": effect.kind.value,
        "subject": effect.subject,
        "argv": [*effect.argv],
        "port": effect.port,
        "source": None if effect.source is None else effect.source.value,
        "sink": None if effect.sink is None else effect.sink.value,
        "arguments_json": effect.arguments_json,
        "labels": [*sorted(label.value for label in effect.labels)],
    }
