"""The real time, handed in where time is needed."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """This machine's clocks."""

    def now(self) -> datetime:
        """UTC, aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that a suspended laptop does not count."""
        return time.monotonic()
