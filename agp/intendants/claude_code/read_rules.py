"""The policy's denied paths in Claude Code's own spelling: `Read(//absolute/pattern)`.

A second barrier for what no hook decides: the harness refuses these files to a mention, to its own
reads and to plain `cat`, and refuses to write them too (measured). Its patterns are gitignore's,
relative to nothing, ignoring case: a pattern covers what lies below it. So the translation denies
as much as the policy or more, never less; a pattern that cannot be spelled is left to the hooks.

Source: measured with 2.1.329 (ADR 0014).
"""

from __future__ import annotations

import re
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9._/*?@+,=~%^&-]+")
"""Letters that mean themselves both in gitignore's language and in a permission rule."""
MOST: Final = 1000
"""Rules that are written; what is beyond is left to the hooks."""


def read_rule(base: str, parts: tuple[str, ...]) -> str | None:
    """Spell one pattern below an absolute directory; None: it cannot be spelled exactly.

    `parts` are the components of a policy's path pattern, `**` being any number of them. A `*` of
    the machine's root alone is everything.
    """
    if any(set(part) & set("*?") for part in base.split("/")):
        return None
    kept = parts[:-1] if parts[-1:] == ("**",) else parts
    path = "/".join((base.rstrip("/"), *kept))
    whole = path or "/**"
    return f"Read(/{whole})" if _PLAIN.fullmatch(whole) else None
