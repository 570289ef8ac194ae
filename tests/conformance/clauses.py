"""Numbered requirements: the page they stand on, and the mark by which a test names its one."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE / "requirements.md"
CONTRACTS = (
    "JOURNAL", "POLICY", "GATEWAY", "INTENDANT", "SANDBOX", "CHANNEL", "LEASE", "OUTBOX",
)  # fmt: skip
_CLAUSE = re.compile(r"^- \*\*(C-[A-Z]+-\d\d)\*\* (.+)$", re.MULTILINE)


def clause(number: str) -> pytest.MarkDecorator:
    """Mark the one test of one numbered requirement."""
    return pytest.mark.clause(number)


def written(page: str) -> list[tuple[str, str]]:
    """Give (number, sentence) of every clause on the page, in its order."""
    return _CLAUSE.findall(page)


def tested(sources: dict[str, str]) -> Counter[str]:
    """Count the tests that name each clause; a name that is no literal text is a mistake."""
    named: Counter[str] = Counter()
    for where, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                named.update(_numbers(node, where))
    return named


def sources() -> dict[str, str]:
    """Read every test module of this directory."""
    return {path.name: path.read_text() for path in sorted(HERE.glob("test_*.py"))}


def disagreements(page: str, modules: dict[str, str]) -> list[str]:
    """Say what does not hold between the page and the tests; nothing is agreement."""
    numbers = Counter(number for number, _ in written(page))
    tests = tested(modules)
    return [
        *(f"{number} stands twice on the page" for number, count in numbers.items() if count > 1),
        *(f"{number} has no test" for number in numbers if number not in tests),
        *(f"{number} has {count} tests" for number, count in tests.items() if count > 1),
        *(
            f"a test names {number}, which is no clause"
            for number in tests
            if number not in numbers
        ),
    ]


def _numbers(node: ast.FunctionDef | ast.AsyncFunctionDef, where: str) -> list[str]:
    marks = [
        mark
        for mark in node.decorator_list
        if isinstance(mark, ast.Call)
        and isinstance(mark.func, ast.Name)
        and mark.func.id == "clause"
    ]
    assert not marks or node.name.startswith("test_"), f"{where}: {node.name} is no test"
    return [ast.literal_eval(mark.args[0]) for mark in marks]
