"""Installing hooks into any settings document can be taken back, and twice is once."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agp.contracts.gateway import HookEvent
from agp.errors import ConfigurationError
from agp.intendants.claude_code.installation import (
    HookPlace,
    differences,
    format_document,
    holds_ours,
    install,
    parse_document,
    uninstall,
)

PLACE = HookPlace(
    interpreter="/usr/bin/python3",
    bridge="/h/.agp/hooks/agp-bridge",
    socket="/h/.agp/run/hooks/ask.sock",
    reconnect_s=30,
)
_LEAF = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["disable", "*", "x"])
_ANY = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner)
)
_GROUP = st.fixed_dictionaries(
    {"hooks": st.lists(st.fixed_dictionaries({"type": st.just("command"), "command": st.text()}))},
    optional={"matcher": st.sampled_from(["*", "Bash"])},
)
_HOOKS = st.dictionaries(
    st.sampled_from([*(event.value for event in HookEvent), "Stop"]),
    st.lists(_GROUP, max_size=2) | _ANY,
)
_PERMISSIONS = st.fixed_dictionaries(
    {},
    optional={
        "ask": st.lists(st.sampled_from(["*", "Bash", "Read(./x)"]), max_size=3) | _ANY,
        "allow": st.lists(st.text(max_size=5), max_size=2),
        "denyInsteadOfPrompting": _LEAF,
        "disableBypassPermissionsMode": _LEAF,
        "disableAutoMode": _LEAF,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "disableAllHooks": _LEAF,
        "disableSkillShellExecution": _LEAF,
        "permissions": _PERMISSIONS | _ANY,
        "hooks": _HOOKS | _ANY,
        "model": st.text(max_size=5),
        "env": st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
    },
)


def put_in(document: dict[str, Any]) -> Any:
    """Install, or None where the document is refused as the harness would drop it."""
    before = json.dumps(document)
    try:
        return install(document, PLACE)
    except ConfigurationError:
        return None
    finally:
        assert json.dumps(document) == before


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS)
def test_what_install_does_uninstall_takes_back_to_the_key_order(document: dict[str, Any]) -> None:
    """Property: uninstall(install(x)) is x, also after a second install."""
    done = put_in(document)
    if done is None:
        return

    twice = install(done.document, PLACE, undo=done.undo)

    assert differences(done.document, PLACE) == ()
    assert twice == done
    assert json.dumps(twice.document) == json.dumps(done.document)
    back = uninstall(twice.document, twice.undo)
    assert json.dumps(back) == json.dumps(document)
    assert json.dumps(uninstall(back, twice.undo)) == json.dumps(document)


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, st.dictionaries(st.sampled_from(["theme", "model", "z"]), st.text(max_size=3)))
def test_what_the_person_changed_meanwhile_stays(
    document: dict[str, Any], later: dict[str, str]
) -> None:
    """Keys that a person added or set after the installation survive its end."""
    done = put_in(document)
    if done is None:
        return

    changed = {**done.document, **later}

    assert uninstall(changed, done.undo) == {**document, **later}


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS)
def test_another_place_is_stale_and_a_second_install_mends_it(document: dict[str, Any]) -> None:
    """Hooks of another AGP are replaced, not doubled, and still taken out whole."""
    done = put_in(document)
    if done is None:
        return
    moved = PLACE.model_validate(PLACE.model_dump() | {"socket": "/other/ask.sock"})

    assert len(differences(done.document, moved)) == len(HookEvent)
    again = install(done.document, moved, undo=done.undo)
    assert differences(again.document, moved) == ()
    assert json.dumps(again.document).count("agp-bridge") == len(HookEvent)
    assert json.dumps(uninstall(again.document, again.undo)) == json.dumps(document)


@given(st.binary(max_size=60) | DOCUMENTS.map(lambda d: json.dumps(d).encode()))
def test_any_bytes_are_a_document_or_refused(data: bytes) -> None:
    """A settings file is read strictly or not at all."""
    try:
        document = parse_document(data, where="f")
    except ConfigurationError:
        return
    assert parse_document(format_document(document), where="f") == document
    assert not holds_ours(document)
