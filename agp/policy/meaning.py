"""What is known about one command, in values that every grammar gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from agp.contracts.policy import EffectKind, Label

Args = tuple[str, ...]
CWD: Final = "."
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class Touch:
    """A path that a program reads, writes, deletes or runs, as the command wrote it."""

    kind: EffectKind
    path: str
    recursive: bool = False


@dataclass(frozen=True)
class Meaning:
    """What is known about one command."""

    touches: tuple[Touch, ...] = ()
    understood: bool = False
    """The touches are all that it does."""
    opaque: str = ""
    """Why it can do anything, where it can."""
    privilege: str = ""
    labels: frozenset[Label] = frozenset()
    at_root: bool = False
    """Understood only in the workspace's own directory."""
    reads_all: bool = False
    """It prints what any file of the workspace holds or held."""
    urls: Args = ()
    """Which of its words are URLs that it goes to; it may go elsewhere besides."""


UNKNOWN: Final = Meaning()


def both(named: Meaning, real: Meaning, *, certain: bool) -> Meaning:
    """Join what a command's name and what the file behind it say; the file makes it understood."""
    return Meaning(
        touches=tuple(dict.fromkeys((*named.touches, *real.touches))),
        understood=certain and real.understood,
        opaque=real.opaque or named.opaque,
        privilege=real.privilege or named.privilege,
        labels=named.labels | real.labels,
        at_root=named.at_root or real.at_root,
        reads_all=named.reads_all or real.reads_all,
        urls=tuple(dict.fromkeys((*named.urls, *real.urls))),
    )


def urls_among(args: Args) -> Args:
    """Pick the words that are URLs; a scheme in capitals is one as well."""
    return tuple(arg for arg in args if _URL.match(arg))
