"""Whether a structured tool's path leads through a link, where the harness cannot follow one.

In a harness's view no link on a mount that agents write leads anywhere (`nosymfollow`): a call that
still runs could turn one between AGP's look and the tool's own. So such a path is refused here,
with the one that says the same without a link, instead of failing there with "too many links".

Source: ADR 0013; mount(2), MS_NOSYMFOLLOW.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from agp.contracts.policy import ReadAction, WriteAction
from agp.policy.targets import relative

if TYPE_CHECKING:
    from agp.contracts.policy import Action, World

_TMP = "/tmp"  # noqa: S108 - a name in a view


def led_through(action: Action, world: World) -> str | None:
    """Give where a path of the workspace or of /tmp leads, if a link is on its way."""
    if not isinstance(action, ReadAction | WriteAction):
        return None
    facts = next((one for one in world.paths if one.raw == action.path), None)
    written = posixpath.normpath(action.path)
    inside = any(relative(written, place) is not None for place in (world.workspace, _TMP))
    if facts is None or not inside or facts.resolved == written:
        return None
    return facts.resolved
