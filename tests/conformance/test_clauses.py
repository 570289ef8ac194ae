"""The requirements and their tests hold each other: no clause without a test, no stray number."""

from __future__ import annotations

import pytest

from tests.conformance.clauses import CONTRACTS, PAGE, disagreements, sources, written

PAGE_OF_ONE = "- **C-POLICY-01** One.\n"
TEST_OF_ONE = '@clause("C-POLICY-01")\ndef test_one(): ...\n'


def test_every_clause_has_exactly_one_test_and_every_test_a_clause() -> None:
    assert disagreements(PAGE.read_text(), sources()) == []


def test_every_contract_has_clauses_numbered_from_one_without_a_gap() -> None:
    numbers = [number for number, _ in written(PAGE.read_text())]
    for contract in CONTRACTS:
        own = [number for number in numbers if number.startswith(f"C-{contract}-")]
        assert own
        assert own == [f"C-{contract}-{index:02d}" for index in range(1, len(own) + 1)]
    assert {number.split("-")[1] for number in numbers} == set(CONTRACTS)


def test_a_clause_is_one_sentence() -> None:
    for number, sentence in written(PAGE.read_text()):
        assert sentence.endswith("."), number
        assert ". " not in sentence, number


def test_no_line_of_the_page_looks_like_a_clause_and_is_none() -> None:
    """A misspelt number would be a requirement that nobody tests."""
    page = PAGE.read_text()
    assert page.count("**C-") == len(written(page))


@pytest.mark.parametrize(
    ("page", "test", "said"),
    [
        (PAGE_OF_ONE, "", "C-POLICY-01 has no test"),
        ("", TEST_OF_ONE, "a test names C-POLICY-01, which is no clause"),
        (PAGE_OF_ONE, TEST_OF_ONE * 2, "C-POLICY-01 has 2 tests"),
        (PAGE_OF_ONE * 2, TEST_OF_ONE, "C-POLICY-01 stands twice on the page"),
    ],
)
def test_the_check_itself_can_fail(page: str, test: str, said: str) -> None:
    assert disagreements(page, {"test_x.py": test}) == [said]
