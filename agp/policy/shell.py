"""Exact simple commands only: one program and words whose meaning no shell can change.

Accepted are words of plain ASCII characters and of single or double quotes without any expansion,
between spaces or tabs. Everything else is not understood, and says why: operators, redirections,
expansions, globs, braces, tilde, assignments, newlines, backslashes, comments, keywords, builtins
that change what follows. The full shell semantics replace this part; the rule stays that what is
not understood is opaque.

Source: system.md §7; bash(1) QUOTING, zshexpn(1) for the signs that only zsh expands (`=ls`, `^`).
"""

from __future__ import annotations

import re
from typing import Final

MAX_COMMAND: Final = 64 * 1024
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:,+@%=-]+")
_SPACE: Final = " \t"
_SPECIAL_IN_DOUBLE: Final = frozenset('$`\\!"')
_SIGN: Final = {
    "\n": "a newline", "\\": "a backslash", "$": "an expansion", "`": "a substitution",
    "|": "a pipe", "&": "an operator", ";": "an operator", "<": "a redirection",
    ">": "a redirection", "(": "a subshell", ")": "a subshell", "{": "braces", "}": "braces",
    "*": "a glob", "?": "a glob", "[": "a glob", "]": "a glob", "~": "a tilde", "#": "a comment",
    "!": "a history sign", "^": "a caret",
}  # fmt: skip
_KEYWORDS: Final = frozenset(
    {
        "if", "then", "else", "elif", "fi", "case", "esac", "for", "foreach", "select", "while",
        "until", "do", "done", "end", "in", "function", "time", "coproc", "repeat", "nocorrect",
        "noglob", "-", "declare", "typeset",
    }
)  # fmt: skip
_BUILTINS: Final = frozenset(
    {
        ".", ":", "alias", "autoload", "bg", "bind", "break", "builtin", "bye", "caller", "cd",
        "chdir", "command", "compgen", "complete", "compopt", "continue", "dirs", "disable",
        "disown", "emulate", "enable", "eval", "exec", "exit", "export", "fc", "fg", "float",
        "functions", "getopts", "hash", "help", "history", "integer", "jobs", "kill", "let",
        "limit", "local", "log", "logout", "mapfile", "popd", "print", "printf", "pushd", "r",
        "read", "readarray", "readonly", "rehash", "return", "sched", "set", "setopt", "shift",
        "shopt", "source", "suspend", "test", "times", "trap", "type", "ulimit", "umask",
        "unalias", "unfunction", "unhash", "unlimit", "unset", "unsetopt", "vared", "wait",
        "where", "whence", "which", "zcompile", "zle", "zmodload", "zparseopts", "zstyle",
    }
)  # fmt: skip


def split(command: str) -> tuple[str, ...] | str:
    """Give the words of a simple command; a text says why it is not one."""
    if len(command) > MAX_COMMAND:
        return "the command is too long"
    words: list[str] = []
    at = 0
    while at < len(command):
        if command[at] in _SPACE:
            at += 1
            continue
        word = _word(command, at)
        if isinstance(word, str):
            return word
        at, text = word
        words.append(text)
    return _command(tuple(words))


def _command(words: tuple[str, ...]) -> tuple[str, ...] | str:
    if not words or not words[0]:
        return "there is no command"
    first = words[0]
    if "=" in first:
        return "an assignment stands before the command"
    if first in _KEYWORDS:
        return f"{first} is a shell keyword"
    if first in _BUILTINS:
        return f"{first} is a shell builtin that AGP does not follow yet"
    return words


def _word(command: str, at: int) -> tuple[int, str] | str:
    """Read one word that begins here; give where it ends, and what it is."""
    if command[at] == "=":
        return "a word begins with =, which zsh expands"
    text = ""
    while at < len(command) and command[at] not in _SPACE:
        piece = _piece(command, at)
        if isinstance(piece, str):
            return piece
        at, more = piece
        text += more
    return at, text


def _piece(command: str, at: int) -> tuple[int, str] | str:
    sign = command[at]
    if sign in "'\"":
        return _quoted(command, at, sign)
    plain = _PLAIN.match(command, at)
    if plain:
        return plain.end(), plain[0]
    return f"it holds {_SIGN.get(sign, 'a character that shells may read differently')}"


def _quoted(command: str, at: int, quote: str) -> tuple[int, str] | str:
    end = command.find(quote, at + 1)
    if end < 0:
        return "a quote is not closed"
    text = command[at + 1 : end]
    if not text.isprintable():
        return "it holds a newline or a control character in quotes"
    if quote == '"' and not _SPECIAL_IN_DOUBLE.isdisjoint(text):
        return "it holds an expansion in quotes"
    return end + 1, text
