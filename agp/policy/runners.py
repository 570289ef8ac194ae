"""Test runners and build tools: whatever their words, they run code of the directory they are in.

Unless a flag sends them to another directory, another file, or code in their own words: then they
are not understood. GNU tools take long flags shortened, so a beginning of one counts as the flag;
where that is another tool's harmless flag, a person is asked once more than needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agp.contracts.policy import EffectKind
from agp.policy.meaning import CWD, UNKNOWN, Args, Meaning, Touch

if TYPE_CHECKING:
    from collections.abc import Callable

_ELSEWHERE: Final = (
    "build-file", "chdir", "confcutdir", "config", "cwd", "dir", "directory", "eval", "exec",
    "file", "globalconfig", "include-build", "include-dir", "init-script", "makefile",
    "manifest-path", "modfile", "node-options", "overlay", "prefix", "project-dir", "root",
    "root-dir", "rootdir", "script-shell", "settings", "settings-file", "toolexec", "userconfig",
)  # fmt: skip


def runner(short: str = "", *, clusters: bool = True) -> Callable[[Args], Meaning]:
    """Make a grammar; `short` are the letters, beside -C, that send this tool elsewhere.

    `clusters`: the tool takes several letters after one hyphen.
    """
    letters = frozenset("C" + short)

    def grammar(args: Args) -> Meaning:
        end = args.index("--") if "--" in args else len(args)
        flags = [arg for arg in args[:end] if arg.startswith("-")]
        here = not any(_leaves(flag, letters, clusters=clusters) for flag in flags)
        return Meaning((Touch(EffectKind.EXEC_WORKSPACE, CWD),), understood=here)

    return grammar


def subcommands(*names: str, short: str = "", clusters: bool = False) -> Callable[[Args], Meaning]:
    """Make the grammar of a package tool of which some subcommands only run workspace code."""
    run = runner(short, clusters=clusters)

    def grammar(args: Args) -> Meaning:
        return run(args[1:]) if args and args[0] in names else UNKNOWN

    return grammar


def _leaves(flag: str, letters: frozenset[str], *, clusters: bool) -> bool:
    name, long = flag.lstrip("-").partition("=")[0], flag.startswith("--")
    named = (long or len(name) > 1) and any(one.startswith(name.lower()) for one in _ELSEWHERE)
    return named or (not long and not letters.isdisjoint(name if clusters else name[:1]))
