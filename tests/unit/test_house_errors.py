"""The error tree: unique codes, a drawing that is the tree, a sentence on every class."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import agp.errors
from agp.cli.explain import OTHER_EXITS, all_errors, exit_code_rows
from agp.errors import AgpError

ROOT = Path(__file__).resolve().parents[2]
DRAWN = re.compile(r"^(?P<indent>[ |`-]*?)(?P<name>[A-Z]\w+)(?: {2,}.*)?$")


def drawn_tree() -> dict[str, str]:
    """Read the drawing: each class with its parent."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (agp.errors.__doc__ or "").splitlines():
        if not line.startswith("    "):
            continue
        match = DRAWN.match(line[4:])
        assert match is not None, line
        depth = len(match["indent"]) // 4
        path[depth:] = [match["name"]]
        parents[match["name"]] = path[depth - 1] if depth else ""
    return parents


def test_the_drawing_is_the_tree() -> None:
    """The docstring of `agp.errors` draws every class below its parent, and no other."""
    real = {cls.__name__: (cls.__mro__[1].__name__) for cls in all_errors()}

    assert drawn_tree() == real | {"AgpError": ""}


def test_exit_codes_and_error_codes_are_unique() -> None:
    """A script that sees an exit code knows which class it was."""
    errors = all_errors()

    assert len({cls.exit_code for cls in errors}) == len(errors)
    assert len({cls.code for cls in errors}) == len(errors)


def test_every_error_states_its_own_codes() -> None:
    """An inherited code would be a second class with the same exit."""
    silent = [c.__name__ for c in all_errors() if not {"exit_code", "code"} <= vars(c).keys()]

    assert silent == []


def test_no_error_takes_an_exit_that_means_something_else() -> None:
    """0, 130 and 141 are no errors of the tree; every code fits a process's exit."""
    codes = {cls.exit_code for cls in all_errors() if cls is not AgpError}

    assert codes.isdisjoint(number for number, _, _ in OTHER_EXITS)
    assert all(0 < code < 128 for code in codes)


def test_every_error_says_a_sentence() -> None:
    """`agp help AGP-...` prints the first line of the class: it must be one."""
    assert all(meaning.rstrip() for _, _, meaning in exit_code_rows())
    assert all((cls.__doc__ or "").splitlines()[0].endswith(".") for cls in all_errors())


def test_errors_are_raised_with_sentences_not_with_codes() -> None:
    """The tree stands in one file; nobody derives from it elsewhere unseen."""
    elsewhere = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in sorted((ROOT / "agp").rglob("*.py"))
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(b, ast.Name) and hasattr(agp.errors, b.id) for b in node.bases)
    ]

    assert elsewhere == []
