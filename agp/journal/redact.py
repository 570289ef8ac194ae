"""Redaction before hashing: patterns of well-known credentials, and values known to be secret.

Patterns are best effort. Known values are the promise: what is left of one after redaction is
looked for in its plain, JSON-escaped, percent-encoded, base64 and hex forms, also one inside the
other; if one survived, the caller journals commitments only and refuses the call. Values shorter
than 8 bytes are looked for in their plain form only: their encodings are everywhere.

Every pattern is linear in the text: an agent chooses the text.
"""

from __future__ import annotations

import base64
import re
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, unquote_plus

from agp.contracts.strict_json import canonical_json, parse_json
from agp.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agp.contracts.strict_json import Json

MIN_ENCODED: Final = 8
"""Bytes from which on a known value is also looked for in its encodings."""
UNWRAPPED: Final = 3
"""Layers of JSON strings and percent-encoding that are looked through."""


MAX_STRING: Final = 2048
"""Characters of one string that a journal line shows."""
MAX_MEMBERS: Final = 64
"""Members of one list or object that a journal line shows."""
MAX_JOURNALED: Final = 16 * 1024
"""Characters of one input in a journal line: an agent must not fill the journal with one call."""
_NEAR: Final = 256


class Redacted(NamedTuple):
    """What may be written down, and whether it may after all."""

    text: str
    found: int
    """Places that were replaced."""
    survived: bool
    """A known secret is still in there: journal commitments only, refuse the call."""


_PATTERNS: Final = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        (
            "pem",
            (
                r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
                r"(?s:.*?)(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
            ),
        ),
        ("agp", r"PRIVATE\+KEY\+[^\s+]{1,128}\+[0-9a-f]{8}\+[A-Za-z0-9+/=]{20,}"),
        ("anthropic", r"(?<![A-Za-z0-9])sk-ant-[A-Za-z0-9_-]{16,}"),
        ("openai", r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{20,}"),
        ("slack", r"(?<![A-Za-z0-9])xox[a-z]-[A-Za-z0-9-]{10,}"),
        ("slack", r"(?<![A-Za-z0-9])xapp-[0-9]-[A-Za-z0-9-]{10,}"),
        ("slack", r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{10,}"),
        ("github", r"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{30,}"),
        ("github", r"(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{22,}"),
        ("aws", r"(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])"),
        ("gcp", r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}"),
        ("gcp", r"(?<![A-Za-z0-9])ya29\.[A-Za-z0-9_-]{20,}"),
        ("gcp", r"(?<![A-Za-z0-9])GOCSPX-[A-Za-z0-9_-]{20,}"),
        (
            "jwt",
            r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?",
        ),
    )
)
_NAMES: Final = (
    r"(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|signing[_-]?key|credentials?|auth[_-]?key)"
)
_REFERENCE: Final = r"(?!\$\{?[A-Za-z_][A-Za-z0-9_]{0,63}\}?(?![^\s\"'&;,)]))"
"""A value that only names a variable is not the secret, and the reader needs it."""
_VALUE: Final = r"(?:\"[^\"\n]{1,4096}\"|'[^'\n]{1,4096}'|[^\s\"'&;,]{3,4096})"
_ASSIGNED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?i)({_NAMES}[A-Za-z0-9_-]{{0,32}}[\"']?\s{{0,4}}[=:]\s{{0,4}}){_REFERENCE}{_VALUE}",
        rf"(?i)((?<![\w-])--[a-z-]{{0,32}}?{_NAMES}\s{{1,4}}){_REFERENCE}(?!-){_VALUE}",
        rf"(?i)(\bauthorization[\"']?\s{{0,4}}[=:]\s{{0,4}}(?:[a-z]{{1,16}}\s{{1,4}})?){_REFERENCE}[^\s\"',;]{{6,4096}}",
        r"(://[^\s/:@\"']{0,256}:)[^\s/@\"']{1,256}(?=@)",
    )
)
_SECRET_NAME: Final = re.compile(rf"(?i){_NAMES}[A-Za-z0-9_-]{{0,32}}\Z")
_ESCAPE: Final = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WHITE: Final = re.compile(r"\s+")


def redact_text(text: str, known: tuple[str, ...] = ()) -> Redacted:
    """Redact a text that is not JSON: a reason, an error, an effect's words.

    Raises:
        ConfigurationError: a known secret is empty.
    """
    redacted, found = _redact(text, _longest_first(known))
    return Redacted(redacted, found, survives(redacted, known))


def redact_json(raw: bytes, known: tuple[str, ...] = ()) -> Redacted:
    """Redact a tool's input: each string by itself, then spelled canonically again.

    Working on values and not on their spelling, an escaped letter hides nothing.

    Raises:
        MessageRefused: the bytes are not one strict JSON value.
        ConfigurationError: a known secret is empty.
    """
    secrets = _longest_first(known)
    value, found = _redact_value(parse_json(raw), secrets)
    text = canonical_json(value).decode()
    return Redacted(text, found, survives(text, known))


def journal_json(raw: bytes, known: tuple[str, ...] = ()) -> Redacted:
    """Redact a tool's input for one journal line, bounded whatever the input is.

    Long strings keep their head, long lists and objects their first members; what is still longer
    than a line may be becomes one JSON string with its head. What was left out is covered by the
    commitment. Only heads are kept: the tail of a cut secret would match no pattern.

    Raises:
        MessageRefused: the bytes are not one strict JSON value.
        ConfigurationError: a known secret is empty.
    """
    value, found = _redact_value(_shortened(parse_json(raw)), _longest_first(known))
    text = canonical_json(value).decode()
    if len(text) > MAX_JOURNALED:
        text = canonical_json(_head(text, MAX_JOURNALED // 2)).decode()
    return Redacted(text, found, survives(text, known))


def journal_text(text: str, known: tuple[str, ...] = ()) -> Redacted:
    """Redact a text for one journal line; a long one keeps its head. Raises as `redact_text`."""
    return redact_text(_head(text, MAX_STRING), known)


def _shortened(value: Json) -> Json:
    if isinstance(value, str):
        return _head(value, MAX_STRING)
    if isinstance(value, list):
        more = [_left_out(len(value) - MAX_MEMBERS)] if len(value) > MAX_MEMBERS else []
        return [*(_shortened(item) for item in value[:MAX_MEMBERS]), *more]
    if isinstance(value, dict):
        kept = dict(islice(value.items(), MAX_MEMBERS))
        if len(value) > MAX_MEMBERS:
            kept["[left out]"] = _left_out(len(value) - MAX_MEMBERS)
        return {_head(key, MAX_STRING): _shortened(item) for key, item in kept.items()}
    return value


def _head(text: str, limit: int) -> str:
    """Cut behind a blank where one is near, so that no half of a credential stays."""
    if len(text) <= limit:
        return text
    head = text[:limit]
    blank = max(head.rfind(" ", limit - _NEAR), head.rfind("\n", limit - _NEAR))
    head = head[: blank if blank > 0 else limit - _NEAR]
    return f"{head} {_left_out(len(text) - len(head))}"


def _left_out(count: int) -> str:
    return f"[{count} more, see the commitment]"


def survives(text: str, known: tuple[str, ...]) -> bool:
    """Tell whether a known secret is still in a text, in any form that this module knows."""
    if not known:
        return False
    encodings = tuple(form for secret in known for form in _encodings(secret))
    for layer in _layers(text):
        if any(secret in layer for secret in known):
            return True
        packed = _WHITE.sub("", layer)
        lowered = packed.lower()
        if any(form in packed for form in encodings):
            return True
        if any(form in lowered for secret in known for form in _hex(secret)):
            return True
    return False


def _longest_first(known: tuple[str, ...]) -> tuple[str, ...]:
    """Order the values so that one that contains another goes first."""
    if not all(known):
        raise ConfigurationError("a known secret is empty", why="it would match everywhere")
    return tuple(sorted(known, key=len, reverse=True))


def _redact(text: str, known: tuple[str, ...]) -> tuple[str, int]:
    found = 0
    for secret in known:
        found += text.count(secret)
        text = text.replace(secret, "[redacted:known]")
    for name, pattern in _PATTERNS:
        text, count = pattern.subn(f"[redacted:{name}]", text)
        found += count
    for pattern in _ASSIGNED:
        text, count = pattern.subn(r"\1[redacted:value]", text)
        found += count
    return text, found


def _redact_value(value: Json, known: tuple[str, ...]) -> tuple[Json, int]:
    if isinstance(value, str):
        return _redact(value, known)
    if isinstance(value, list):
        pairs = [_redact_value(item, known) for item in value]
        return [item for item, _ in pairs], sum(count for _, count in pairs)
    if isinstance(value, dict):
        return _redact_object(value, known)
    return value, 0


def _redact_object(value: dict[str, Json], known: tuple[str, ...]) -> tuple[Json, int]:
    """Redact keys and values; two keys that become one are kept apart by a number."""
    result: dict[str, Json] = {}
    total = 0
    for key, item in value.items():
        shown, in_key = _redact(key, known)
        redacted, in_item = _redact_value(item, known)
        if _SECRET_NAME.search(key) and isinstance(item, str) and item:
            redacted, in_item = "[redacted:value]", 1
        while shown in result:
            shown += "+"
        result[shown] = redacted
        total += in_key + in_item
    return result, total


def _layers(text: str) -> Iterator[str]:
    """Give the text as it is and with its escapes undone, a few layers deep."""
    seen = {text}
    frontier = [text]
    for _ in range(UNWRAPPED + 1):
        yield from frontier
        undone = {form(layer) for layer in frontier for form in (_unescape, unquote, unquote_plus)}
        frontier = sorted(undone - seen)
        seen |= undone
        if not frontier:
            return


def _unescape(text: str) -> str:
    """Undo one layer of JSON string escapes, wherever they stand."""
    undone = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _SHORT.get(m[2], m[2]), text)
    return undone.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _encodings(secret: str) -> Iterator[str]:
    """Give what base64 makes of the value at each of the three offsets, both alphabets."""
    raw = secret.encode("utf-8", "surrogatepass")
    if len(raw) < MIN_ENCODED:
        return
    for offset, skipped in ((0, 0), (1, 2), (2, 3)):
        whole = (offset + len(raw)) * 8 // 6
        core = base64.b64encode(bytes(offset) + raw).decode()[skipped:whole]
        yield core
        yield core.replace("+", "-").replace("/", "_")


def _hex(secret: str) -> tuple[str, ...]:
    raw = secret.encode("utf-8", "surrogatepass")
    return (raw.hex(),) if len(raw) >= MIN_ENCODED else ()
