"""The one way in which untrusted text is shown, on every surface.

A terminal obeys what it is sent, and people read what they see: control characters, bidirectional
overrides, zero-width characters and newlines are therefore shown as visible escapes, and a long
text keeps its head *and* its tail around a mark that says how much is missing.

Source: system.md §8; Unicode TR 36 and TR 39 for the invisible characters.
"""

from __future__ import annotations

import hashlib
import unicodedata

_INVISIBLE = frozenset("\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u2800\u3164\ufeff\uffa0")
"""Characters that draw nothing although their category is not a control or a format."""
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e"}


def visible(text: str, *, limit: int = 4000) -> str:
    r"""Show untrusted text on one line: what could steer a terminal or an eye is escaped.

    A backslash is doubled, so that an escape that we made cannot be imitated. `limit` counts
    characters of the result without the mark; a cut text keeps two thirds head and one third
    tail, and the mark holds the number of characters left out and a digest of the whole.
    """
    return shorten("".join(_show(char) for char in text), limit=limit, whole=text)


def visible_lines(text: str, *, limit: int = 4000) -> tuple[str, ...]:
    """Show untrusted text keeping its line breaks: each line passes `visible` by itself."""
    shown = "\n".join(visible(line, limit=len(line) * 10 + 1) for line in text.split("\n"))
    return tuple(shorten(shown, limit=limit, whole=text).split("\n"))


def shorten(text: str, *, limit: int, whole: str | None = None) -> str:
    """Cut the middle out of a text that is already safe to show."""
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    source = text if whole is None else whole
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    left_out = len(text) - head - tail
    return f"{text[:head]} ⟪{left_out} characters left out, sha256 {digest}⟫ {text[-tail:]}"


def _show(char: str) -> str:
    if char == "\\":
        return "\\\\"
    if char in _SHORT:
        return _SHORT[char]
    hidden = char in _INVISIBLE or unicodedata.category(char) in _HIDDEN_CATEGORIES
    if not hidden and (char == " " or unicodedata.category(char) != "Zs"):
        return char
    point = ord(char)
    if point <= 0xFF:  # noqa: PLR2004 - Latin-1
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"  # noqa: PLR2004 - BMP
