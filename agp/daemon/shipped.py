"""Where the files are that ship beside the code: the bridge, the policies."""

from __future__ import annotations

from pathlib import Path

from agp.errors import ConfigurationError

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(name: str) -> Path:
    """Find a shipped file or directory: in the wheel's place, else in the repository.

    Raises:
        ConfigurationError: it is in neither; the installation is damaged.
    """
    places = (_PACKAGE / "_shipped" / name, _PACKAGE.parent / name)
    for place in places:
        if place.exists():
            return place
    raise ConfigurationError(
        f"{name} is missing from this installation of AGP",
        where=str(places[0]),
        fix="install AGP again",
    )
