"""The commitment of a call: provable later, silent until then.

An unsalted digest of a short command is an oracle for secrets: whoever guesses can check. The
salt is random for each call, kept in the call vault, and given out by `agp prove-content`.

FROZEN: `docs/journal-format.md` §8; ADR 0002.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from agp.contracts.base import Digest
from agp.errors import ConfigurationError

CALL_DOMAIN: Final = b"agp/call/v1\0"
SALT_BYTES: Final = 32


def generate_salt() -> bytes:
    """Draw one call's salt from the operating system."""
    return secrets.token_bytes(SALT_BYTES)


def commitment(salt: bytes, raw_input: bytes) -> Digest:
    """Commit to the raw bytes of a tool input, exactly as the hook wrote them.

    Raises:
        ConfigurationError: the salt is not 32 bytes; another length would let bytes move
            between salt and input.
    """
    if len(salt) != SALT_BYTES:
        raise ConfigurationError("a call's salt is not 32 bytes long", why=str(len(salt)))
    return Digest(hashlib.sha256(CALL_DOMAIN + salt + raw_input).hexdigest())
