"""How long ago, or how soon, in the unit that a person would use."""

from __future__ import annotations

from datetime import datetime

_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 48 * 3600
"""From two days on, days are counted."""


def since(now: datetime, moment: str) -> str:
    """Say how far a journal time is from now."""
    seconds = abs((datetime.fromisoformat(moment) - now).total_seconds())
    if seconds < _MINUTE_S:
        return f"{seconds:.0f}s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f}m"
    if seconds < _DAY_S:
        return f"{seconds / _HOUR_S:.1f}h"
    return f"{seconds / (24 * _HOUR_S):.0f}d"
