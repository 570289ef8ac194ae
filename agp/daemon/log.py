"""The daemon's log: one line an event, JSON when nobody watches, and never a peer's words.

A traceback names files, lines and functions and the error's class. It holds no local variables, and
the text of an error only where the error is ours: a foreign one may quote what a peer sent.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Final

import structlog

from agp.errors import AgpError

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

_FRAMES: Final = 12
_LONGEST: Final = 2000


def configure_log() -> None:
    """Set up structlog for this process; the lines go to standard error."""
    watched = sys.stderr.isatty()
    renderer: Processor = (
        structlog.dev.ConsoleRenderer() if watched else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _bounded_traceback,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _bounded_traceback(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace an exception by where it came from."""
    given = event.pop("exc_info", None)
    error = _error_of(given)
    if error is not None:
        event["error"] = said_of(error)
        event["at"] = frames_of(error)
    return event


def said_of(error: BaseException) -> str:
    """Name an error; its words only where they are ours."""
    name = type(error).__name__
    return f"{name}: {error}"[:_LONGEST] if isinstance(error, AgpError) else name


def frames_of(error: BaseException) -> list[str]:
    """Name the innermost frames, without source lines and without values."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def _error_of(given: object) -> BaseException | None:
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        found = given[1]
        return found if isinstance(found, BaseException) else None
    return sys.exc_info()[1] if given else None
