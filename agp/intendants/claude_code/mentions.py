"""Which files a prompt mentions: `@path`, read by the harness without any hook but the prompt's.

Measured with 2.1.329: a mention begins behind the start or a blank (`@a.txt`, `@"a b.txt"`,
`@./a`, `@~/a`, `@../a`, `@dir`), ends at a blank, loses `#L1-2` and closing signs, and follows
links. What is taken here is more than that: a reading too many is one question too many, a reading
too few would be a file that nobody decided on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from agp.errors import MessageRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST: Final = 64
"""Readings of one prompt; a prompt with more is refused."""
_LONGEST: Final = 4096
"""Bytes of a path that a kernel opens."""
_MENTION: Final = re.compile(r'(?<![0-9A-Za-z_])@(?:"(?P<quoted>[^"]+)"|(?P<plain>[^\s"]\S*))')
_PICTURE: Final = re.compile(r"\[Image\b", re.IGNORECASE)
"""What stands in a prompt for a picture: one without it is not sent (measured)."""
_SERVER_PROMPT: Final = re.compile(r"\s*/(mcp__\S+)")
"""A server is asked for the text of a prompt, which reaches the model (measured)."""
_CLOSING: Final = re.compile(r"[^0-9A-Za-z_/~*]+$")


def server_prompt(prompt: str) -> str:
    """Give the name of the MCP server's prompt that this asks for, as a tool's; empty: none."""
    found = _SERVER_PROMPT.match(prompt)
    return found[1] if found else ""


def brings_picture(prompt: str) -> bool:
    """Tell whether a prompt has a picture in it, or a mark that could be one's."""
    return _PICTURE.search(prompt) is not None


def mentioned_paths(prompt: str) -> tuple[str, ...]:
    """Give every path that a prompt could make the harness read, each once, in order.

    Raises:
        MessageRefused: there are too many to decide on.
    """
    found: dict[str, None] = {}
    for match in _MENTION.finditer(prompt):
        for reading in _readings(match["quoted"] or match["plain"]):
            found[reading] = None
            if len(found) > MOST:
                raise MessageRefused(
                    "a prompt mentions too many files", fix="mention fewer of them at once"
                )
    return tuple(found)


def _readings(text: str) -> Iterator[str]:
    """Spell one mention in every way in which it may be read."""
    for whole in dict.fromkeys((text, text.partition("#")[0])):
        for path in dict.fromkeys((whole, _CLOSING.sub("", whole))):
            if path and len(path.encode("utf-8", "replace")) <= _LONGEST and "\0" not in path:
                yield path
