"""Which git questions are understood, and which of them print what files hold.

A patch, a blob, a blame show tracked files whatever their names are, so they read the whole
workspace. They are understood only with `--no-ext-diff --no-textconv`: else git starts the
programs that the repository's configuration names (measured with git 2.39: `diff.external`,
`diff.<driver>.command` and `.textconv`; `--stat` and `--name-only` start none of them).

Residue: `filter.<driver>.clean` runs also for `git status` and `git diff --stat` (docs/policy.md).
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from agp.contracts.policy import EffectKind, Label
from agp.policy.meaning import CWD, UNKNOWN, Args, Meaning, Touch, urls_among

if TYPE_CHECKING:
    from collections.abc import Mapping

_VALUE: Final = re.compile(r"-[0-9]+|-n[0-9]+|--max-count=[0-9]+|--(since|until|author)=[^%]*")
_PATCH: Final = frozenset({"-p", "--patch", "--word-diff"})
_SUMMARY: Final = frozenset(
    {"--stat", "--shortstat", "--numstat", "--name-only", "--name-status", "--no-patch", "-s"}
)
_OWN_EYES: Final = frozenset({"--no-ext-diff", "--no-textconv"})
"""With these git itself compares, and no program of the repository's choice."""
_SHOWING: Final = _PATCH | _SUMMARY | _OWN_EYES | {
    "--no-color", "--oneline", "--graph", "--all", "--decorate", "--reverse", "--cached",
    "--staged", "-w", "--no-merges", "--merges", "--first-parent",
    "--pretty=oneline", "--pretty=short", "--pretty=full", "--format=%H", "--format=%h %s",
}  # fmt: skip
_QUESTIONS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "status": frozenset(
            {"-s", "--short", "-b", "--branch", "-sb", "--porcelain", "--porcelain=v1",
             "--porcelain=v2", "--long", "-u", "--untracked-files=no", "--untracked-files=all"}
        ),
        "log": _SHOWING,
        "diff": _SHOWING,
        "show": _SHOWING,
        "branch": frozenset({"-a", "--all", "-r", "-v", "-vv", "--list", "--show-current"}),
        "rev-parse": frozenset(
            {"--show-toplevel", "--abbrev-ref", "--short", "--is-inside-work-tree", "--verify"}
        ),
        "ls-files": frozenset({"-m", "-o", "-d", "-c", "--modified", "--others", "--cached"}),
    }
)  # fmt: skip
_WITHOUT_OPERANDS: Final = frozenset({"branch"})
_PRINTING: Final = frozenset(
    {"annotate", "archive", "blame", "bundle", "cat-file", "diff", "diff-files", "diff-index",
     "diff-tree", "difftool", "fast-export", "format-patch", "grep", "log", "range-diff", "show",
     "stash", "whatchanged"}
)  # fmt: skip
_REMOTE: Final = frozenset({"clone", "fetch", "ls-remote", "pull", "push"})
"""With a URL among their words, that is where they go; a remote's name is not followed."""
_SURELY_A_COMMIT: Final = re.compile(r"HEAD([~^][0-9]*)*")
"""Any other name may be one of a blob, which `git show --stat` prints whole."""


def git(args: Args) -> Meaning:
    """Read the listed questions; git's global options (`-c`, `-C`) are not listed."""
    rest = args[1:] if args[:1] == ("--no-pager",) else args
    if not rest:
        return UNKNOWN
    urls = urls_among(rest[1:]) if rest[0] in _REMOTE else ()
    if rest[0] == "push" and any(_forces(arg) for arg in rest[1:]):
        return Meaning(labels=frozenset({Label.HISTORY}), urls=urls)
    asked = _asked(rest[0], rest[1:])
    if asked is None:
        return Meaning(reads_all=not _PRINTING.isdisjoint(args), urls=urls)
    flags, operands = asked
    # Outside a repository `git diff A B` compares two directories with all that lies below them.
    deep = rest[0] == "diff" and len(operands) > 1
    prints = _prints(rest[0], flags, operands)
    return Meaning(
        tuple(Touch(EffectKind.READ, path, deep) for path in _paths(operands)),
        understood=not prints or flags >= _OWN_EYES,
        at_root=True,
        reads_all=prints,
    )


def _forces(arg: str) -> bool:
    short = re.fullmatch(r"-[a-zA-Z]*[fd][a-zA-Z]*", arg) is not None
    return short or arg.startswith(("--force", "--delete", "--mirror", "--prune", "+", ":"))


def _asked(question: str, args: Args) -> tuple[frozenset[str], Args] | None:
    """Part flags and operands of a listed question; after `--` nothing is a flag."""
    known = _QUESTIONS.get(question)
    if known is None:
        return None
    end = args.index("--") if "--" in args else len(args)
    flags = frozenset(arg for arg in args[:end] if arg.startswith("-"))
    operands = (*(arg for arg in args[:end] if arg not in flags), *args[end + 1 :])
    if any(flag not in known and not _VALUE.fullmatch(flag) for flag in flags):
        return None
    odd = any(not arg or arg.startswith((":", "-")) for arg in operands)
    return None if odd or (operands and question in _WITHOUT_OPERANDS) else (flags, operands)


def _prints(question: str, flags: frozenset[str], operands: Args) -> bool:
    """Tell whether the answer holds what is, or was, in files."""
    if question not in {"log", "diff", "show"} or not flags.isdisjoint(_PATCH):
        return question in {"log", "diff", "show"}
    if question == "log":
        return False
    if question == "show" and not all(_SURELY_A_COMMIT.fullmatch(arg) for arg in operands):
        return True
    return flags.isdisjoint(_SUMMARY)


def _paths(operands: Args) -> Args:
    """Give what may be paths: each operand, and the path in `revision:path`."""
    pairs = ((arg, arg.partition(":")[2] or CWD) if ":" in arg else (arg,) for arg in operands)
    return tuple(path for pair in pairs for path in pair)
