"""What a few programs do with exact words, until the command catalogue takes over.

Each grammar lists the flags under which the meaning is certain. A flag that is not listed makes
the command a plain `exec`, which no shipped rule covers: a person is asked, nothing is guessed.
Programs that hide another command in their words (interpreters, wrappers) are opaque.

Source: system.md §7; peers.md §3.3 and §6 (wrappers and bypasses found in the field).
"""

from __future__ import annotations

import posixpath
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from agp.contracts.policy import EffectKind
from agp.policy.git_words import git
from agp.policy.meaning import CWD, UNKNOWN, Args, Meaning, Touch, both, urls_among
from agp.policy.runners import runner, subcommands
from agp.policy.searches import find, grep, search

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROGRAM_DIRECTORIES: Final = frozenset(
    {"/bin", "/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin", "/usr/sbin"}
)
_SCRIPTS: Final = MappingProxyType(
    {
        "jest.js": "jest", "npm-cli.js": "npm", "npx-cli.js": "npx", "pnpm.cjs": "pnpm",
        "rustup": "cargo", "vitest.mjs": "vitest", "yarn.js": "yarn",
    }
)  # fmt: skip
"""Files that are the program of another name."""


def meaning_at(word: str, resolved: str, args: Args) -> Meaning:
    """Say what the file behind a word does: a grammar is for the program, not for its name.

    A word found on the view's PATH is the operator's choice of directory; a path is the agent's,
    and must end in one of the system's. A file of another name is what its own name says.
    """
    name, file = posixpath.basename(word), posixpath.basename(resolved)
    named = meaning_of(name, args)
    real = named if name in {file, _SCRIPTS.get(file)} else meaning_of(file, args)
    certain = "/" not in word or posixpath.dirname(resolved) in PROGRAM_DIRECTORIES
    return both(named, real, certain=certain)


def meaning_of(name: str, args: Args) -> Meaning:
    """Say what a program of this name does with these words."""
    grammar = _GRAMMARS.get(name)
    if grammar is not None:
        return grammar(args)
    if name in _WRAPPERS:
        return Meaning(opaque=f"{name} runs what its words say", privilege=_WRAPPERS[name])
    if _INTERPRETER.fullmatch(name):
        return _interpreter(name, args)
    return UNKNOWN


def _reads(paths: Args, *, recursive: bool = False) -> Meaning:
    return Meaning(
        tuple(Touch(EffectKind.READ, path, recursive) for path in paths), understood=True
    )


def _operands(args: Args, letters: str, words: Args = ()) -> Args | None:
    """Give the operands where every flag is a cluster of known letters or a known word."""
    operands: list[str] = []
    for index, arg in enumerate(args):
        if arg == "--":
            return (*operands, *args[index + 1 :])
        if not arg.startswith("-"):
            operands.append(arg)
        elif arg not in words and (len(arg) == 1 or set(arg[1:]) - set(letters)):
            return None
    return tuple(operands)


def _flags(args: Args) -> Args:
    end = args.index("--") if "--" in args else len(args)
    return tuple(arg for arg in args[:end] if arg.startswith("-"))


def _ls(args: Args) -> Meaning:
    operands = _operands(args, "laAhtr1dFiSsR", ("--all", "--recursive"))
    if operands is None:
        return UNKNOWN
    recursive = any(f == "--recursive" or (f[1] != "-" and "R" in f) for f in _flags(args))
    return _reads(operands or (CWD,), recursive=recursive)


def _reader(letters: str, *, least: int = 1) -> Callable[[Args], Meaning]:
    """Make the grammar of a program that reads its operands; without them it reads its input."""

    def grammar(args: Args) -> Meaning:
        operands = _operands(args, letters)
        return UNKNOWN if operands is None or len(operands) < least else _reads(operands)

    return grammar


def _head(args: Args) -> Meaning:
    """Read `-5`, `-n 5`, `-n5` and `-c 5`, then files. `tail -f` never ends and is not listed."""
    rest = list(args)
    while rest and (found := re.fullmatch(r"-(?:([0-9]+)|[nc]\+?([0-9]*))", rest[0], re.ASCII)):
        rest.pop(0)
        if found[1] is None and not found[2] and not (rest and rest.pop(0).lstrip("+").isdecimal()):
            return UNKNOWN
    return _reader("qv")(tuple(rest))


def _silent(letters: str = "") -> Callable[[Args], Meaning]:
    """Make the grammar of a program that touches nothing whatever its operands."""

    def grammar(args: Args) -> Meaning:
        return UNKNOWN if _operands(args, letters) is None else Meaning(understood=True)

    return grammar


def _echo(args: Args) -> Meaning:
    del args
    return Meaning(understood=True)


def _no_operands(letters: str) -> Callable[[Args], Meaning]:
    """Make the grammar of a program that takes flags only."""

    def grammar(args: Args) -> Meaning:
        return Meaning(understood=True) if _operands(args, letters) == () else UNKNOWN

    return grammar


def _writes(letters: str, kind: EffectKind, recursive: str = "") -> Callable[[Args], Meaning]:
    """Make the grammar of a program that writes or deletes its operands."""

    def grammar(args: Args) -> Meaning:
        operands = _operands(args, letters + recursive)
        if not operands:
            return UNKNOWN
        deep = any(set(flag[1:]) & set(recursive) for flag in _flags(args))
        return Meaning(tuple(Touch(kind, path, deep) for path in operands), understood=True)

    return grammar


def _copy(
    letters: str, recursive: str, source: tuple[EffectKind, ...]
) -> Callable[[Args], Meaning]:
    """Make the grammar of cp and mv: the last operand may be a directory, so both are written."""

    def grammar(args: Args) -> Meaning:
        operands = _operands(args, letters + recursive)
        if operands is None or len(operands) < 2:  # noqa: PLR2004 - source and target
            return UNKNOWN
        *sources, target = operands
        deep = not recursive or any(set(flag[1:]) & set(recursive) for flag in _flags(args))
        into = [f"{target}/{source.rstrip('/').rpartition('/')[2]}" for source in sources]
        return Meaning(
            (
                *(Touch(kind, path, deep) for path in sources for kind in source),
                *(Touch(EffectKind.WRITE, path, deep) for path in (target, *into)),
            ),
            understood=True,
        )

    return grammar


def _download(args: Args) -> Meaning:
    """Say where a download goes; what it does with the answer is not understood, so it is asked."""
    return Meaning(urls=urls_among(args))


def _interpreter(name: str, args: Args) -> Meaning:
    """Run FILE is running that file; everything else that an interpreter takes is opaque."""
    if (
        name.startswith("python")
        and args[:1] == ("-m",)
        and args[1:2] in {("pytest",), ("unittest",)}
    ):
        return _PYTEST(args[2:])
    if args and not args[0].startswith("-"):
        return Meaning((Touch(EffectKind.EXEC_WORKSPACE, args[0]),), understood=True)
    if args in {("--version",), ("-V",), ("-v",)} and not name.startswith("perl"):
        return Meaning(understood=True)
    return Meaning(opaque=f"{name} runs code that is not a file of its own")


_PYTEST: Final = runner("c")
_INTERPRETER: Final = re.compile(
    r"(ba|da|z|fi|k|mk|tc|c|a)?sh|(python|pypy)[0-9.]*|node(js)?|ruby[0-9.]*|perl[0-9.]*"
    r"|php[0-9.]*|lua[0-9.]*|tclsh[0-9.]*|osascript|pwsh|powershell|Rscript"
)
_WRAPPERS: Final = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "ansible", "at", "awk", "batch", "bun", "bunx", "busybox", "chroot", "chrt",
                "crontab", "dbus-run-session", "deno", "docker", "ed", "emacs", "env", "ex",
                "expect", "fakeroot", "firejail", "flock", "gawk", "gdb", "ionice",
                "kubectl", "linux32", "linux64", "ltrace", "m4", "mawk", "nice", "nohup", "npx",
                "nsenter", "numactl", "nvim", "parallel", "pipx", "podman", "rlwrap", "rsh",
                "script", "sed", "setarch", "setpriv", "setsid", "ssh", "ssh-agent",
                "start-stop-daemon", "stdbuf", "strace", "systemd-run", "tar", "taskset",
                "timeout", "toybox", "unbuffer", "unshare", "uvx", "vi", "vim", "watch", "xargs",
            ),
            "",
        ),
        **dict.fromkeys(
            ("sudo", "doas", "su", "pkexec", "run0", "runuser", "sg", "newgrp"), "root"
        ),
    }
)  # fmt: skip
"""Programs whose words are, or may hold, another command; and the privilege that some take."""

_GRAMMARS: Final[Mapping[str, Callable[[Args], Meaning]]] = MappingProxyType(
    {
        "ls": _ls,
        "cat": _reader("nbsvETA"),
        "wc": _reader("lwcmL"),
        "head": _head,
        "tail": _head,
        "grep": grep,
        "egrep": search,
        "fgrep": search,
        "rg": search,
        "find": find,
        "cmp": _reader("ls", least=2),
        "stat": _reader("L"),
        "md5sum": _reader("b"),
        "sha256sum": _reader("b"),
        "pwd": _no_operands("LP"),
        "echo": _echo,
        "true": _silent(),
        "false": _silent(),
        "basename": _silent(),
        "dirname": _silent(),
        "whoami": _no_operands(""),
        "id": _no_operands("ugnG"),
        "uname": _no_operands("asrmnpo"),
        "nproc": _no_operands(""),
        "curl": _download,
        "wget": _download,
        "git": git,
        "touch": _writes("cam", EffectKind.WRITE),
        "mkdir": _writes("pv", EffectKind.WRITE),
        "rm": _writes("fv", EffectKind.DELETE, recursive="rR"),
        "rmdir": _writes("v", EffectKind.DELETE),
        "cp": _copy("vfnp", "rRa", (EffectKind.READ,)),
        "mv": _copy("vfn", "", (EffectKind.READ, EffectKind.DELETE)),
        "pytest": _PYTEST,
        "tox": runner("cf"),
        "nox": runner("cf"),
        "make": runner("EIf"),
        "jest": runner("cr"),
        "vitest": runner("cr"),
        "npm": subcommands("test", "t", "run", "run-script", "start"),
        "pnpm": subcommands("test", "run", "start"),
        "yarn": subcommands("test", "run", "start"),
        "cargo": subcommands("test", "build", "check", "run", "clippy", "bench"),
        "go": subcommands("test", "run", "generate"),
        "mvn": subcommands("test", "compile", "verify", short="fs"),
        "gradle": subcommands("test", "build", "check", short="Ibcp"),
    }
)
