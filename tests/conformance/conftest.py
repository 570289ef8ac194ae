"""The mark of the numbered requirements."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark; `--strict-markers` refuses every other spelling."""
    config.addinivalue_line("markers", "clause(number): the one test of a numbered requirement")


@pytest.fixture
def anyio_backend() -> str:
    """AGP runs on asyncio only."""
    return "asyncio"
