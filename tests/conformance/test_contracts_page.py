"""`docs/contracts.md` says what the code does: its tables are drawn, its names exist."""

from __future__ import annotations

import importlib
import re

import pytest

from agp.approvals.table import Step, after
from agp.contracts import (
    base,
    channel,
    gateway,
    intendant,
    journal,
    outbox,
    policy,
    sandbox,
    session,
)
from agp.contracts.channel import ApprovalState
from agp.governor.session import CALL_TRANSITIONS, CallState
from tests.conformance.state_tables import PAGE, TABLES, approval_table, renewed

MODULES = (channel, gateway, intendant, journal, outbox, policy, sandbox, session)


def test_the_tables_on_the_page_are_those_of_the_code() -> None:
    """Renew them with `python -m tests.conformance.state_tables`."""
    page = PAGE.read_text()
    assert renewed(page) == page


def test_a_table_that_is_out_of_date_is_found() -> None:
    page = PAGE.read_text()
    assert "| pending | pending | granted |" in page
    assert renewed(page.replace("| pending | pending | granted |", "| pending |")) == page


@pytest.mark.parametrize("name", TABLES)
def test_a_page_without_a_place_for_a_table_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        renewed(PAGE.read_text().replace(f"<!-- end: state-{name} -->", ""))


def test_only_a_pending_approval_takes_a_step_and_every_end_is_an_end() -> None:
    for state in ApprovalState:
        ends = [after(state, step) for step in Step]
        assert all(ends) if state is ApprovalState.PENDING else not any(ends)
    assert approval_table().count("\n") == len(ApprovalState) + 1


def test_every_call_can_end_and_nothing_refused_or_ended_moves() -> None:
    ends = {state for state in CallState if not CALL_TRANSITIONS[state]}
    assert ends == {CallState.REFUSED, CallState.ENDED}
    for state in set(CallState) - ends:
        assert CALL_TRANSITIONS[state] & ends


def test_every_adapter_that_the_page_names_exists() -> None:
    for dotted in re.findall(r"`(agp(?:\.\w+)+)`", PAGE.read_text()):
        module, _, name = dotted.rpartition(".")
        found = importlib.import_module(module)
        assert hasattr(found, name) or importlib.import_module(dotted)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_value_of_a_contract_is_frozen_and_refuses_what_it_does_not_know(module) -> None:
    models = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, base.Contract)
    ]
    assert models
    for model in models:
        assert model.model_config["frozen"] is True, model
        assert model.model_config["extra"] == "forbid", model
        assert model.model_config["strict"] is True, model
