"""Root's way into the same profile: hand the sources over, then become the workspace's owner.

A view of another user must not need that user to reach below a 0700 home. So root makes a private
mount namespace, covers /sys there with a tmpfs that everybody may enter (no source ever lies below
/sys, and bubblewrap does not read it), binds each source below it, drops every privilege and only
then starts bubblewrap. Each step is an `exec`: the process stays the launcher's child, so that
`--die-with-parent` follows the launcher.

Source: ADR 0006 (measured: about 9 ms more than plain bubblewrap).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from agp.contracts.base import Contract
from agp.sandbox.host import RunAs, tool

if TYPE_CHECKING:
    from agp.sandbox.profile import Bind, ViewSpec

STAGE = "/sys"

SCRIPT = """
set -eu
stage=$1 uid=$2 gid=$3 setpriv=$4; shift 4
mount -t tmpfs -o mode=0755,nosuid,nodev,size=256k agp "$stage"
while [ "$1" != -- ]; do
  kind=$1 source=$2 target=$stage/$3; shift 3
  if [ "$kind" = d ]; then
    mkdir "$target"; cd -P -- "$source"
    if [ "$(pwd -P)" != "$source" ]; then echo "agp: $source is not what it was" >&2; exit 98; fi
    mount -c --rbind . "$target"
  elif [ "$kind" = n ]; then
    mkdir "$target"; cd -P -- "$source"
    if [ "$(pwd -P)" != "$source" ]; then echo "agp: $source is not what it was" >&2; exit 98; fi
    mount -c --rbind . "$target"
    mount -o remount,bind,nosuid,nodev,nosymfollow "$target"
  else
    : > "$target"; mount --bind -- "$source" "$target"
  fi
done
shift; cd /
exec "$setpriv" --reuid "$uid" --regid "$gid" --clear-groups --inh-caps=-all --bounding-set=-all \\
  --no-new-privs --pdeathsig KILL -- "$@"
"""
"""A directory is entered first and bound as `.`: a link put in its place meanwhile is found out,
not followed. The text is fixed; paths are arguments, never program text."""


NO_LINKS = """
set -eu
setpriv=$1; shift
while [ "$1" != -- ]; do
  cd -P -- "$1"
  if [ "$(pwd -P)" != "$1" ]; then echo "agp: $1 is not what it was" >&2; exit 98; fi
  mount -c --rbind . "$1"
  mount -o remount,bind,nosuid,nodev,nosymfollow -- "$1"
  shift
done
shift; cd /
exec "$setpriv" --ambient-caps=-all --inh-caps=-all --bounding-set=-all --no-new-privs \\
  --pdeathsig KILL -- "$@"
"""
"""The same for an ordinary user, over each directory itself, in namespaces of its own."""


class Staged(Contract):
    """One source that root binds below the stage, under a number."""

    source: str
    kind: Literal["directory", "file", "no_links"]
    name: str


def stage(spec: ViewSpec, directories: frozenset[str]) -> tuple[ViewSpec, tuple[Staged, ...]]:
    """Point every bind of the view below the stage, and list what root puts there.

    `directories` names which sources are directories. Masks lie inside a staged source already.
    """
    given = (*spec.shared, *spec.binds)
    staged = tuple(
        Staged(source=bind.source, kind=_kind(bind, directories), name=str(number))
        for number, bind in enumerate(given)
    )
    placed = tuple(
        bind.model_copy(update={"source": f"{STAGE}/{item.name}"})
        for bind, item in zip(given, staged, strict=True)
    )
    shared, binds = placed[: len(spec.shared)], placed[len(spec.shared) :]
    masks = tuple(
        mask.model_copy(update={"source": _below_stage(mask, staged)}) for mask in spec.masks
    )
    return spec.model_copy(update={"shared": shared, "binds": binds, "masks": masks}), staged


def staging_argv(staged: tuple[Staged, ...], who: RunAs) -> tuple[str, ...]:
    """Spell what comes before the bubblewrap command line when root starts it."""
    words = [tool("unshare"), "--mount", "--propagation", "private", tool("sh"), "-c", SCRIPT]
    words += ["agp-stage", STAGE, str(who.uid), str(who.gid), tool("setpriv")]
    for item in staged:
        words += [item.kind[0], item.source, item.name]
    return (*words, "--")


def own_argv(spec: ViewSpec) -> tuple[str, ...]:
    """Spell what comes before the bubblewrap command line when an ordinary user starts it."""
    sealed = [bind.source for bind in (*spec.shared, *spec.binds) if not bind.follow]
    if not sealed:
        return (tool("setpriv"), "--pdeathsig", "KILL", "--")
    alone = ("--user", "--map-current-user", "--keep-caps", "--mount", "--propagation", "private")
    before = (tool("unshare"), *alone, tool("sh"), "-c", NO_LINKS, "agp-no-links", tool("setpriv"))
    return (*before, *sealed, "--")


def _kind(bind: Bind, directories: frozenset[str]) -> Literal["directory", "file", "no_links"]:
    if not bind.follow:
        return "no_links"
    return "directory" if bind.source in directories else "file"


def _below_stage(mask: Bind, staged: tuple[Staged, ...]) -> str:
    """Find a mask's source below the longest staged source that holds it."""
    holders = [
        item
        for item in staged
        if mask.source == item.source or mask.source.startswith(item.source + "/")
    ]
    holder = max(holders, key=lambda item: len(item.source))
    return f"{STAGE}/{holder.name}{mask.source[len(holder.source) :]}"
