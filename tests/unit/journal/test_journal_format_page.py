"""docs/journal-format.md is the format: its example, its list of kinds, the frozen journals."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import orjson
import pytest

from agp.contracts.journal import ALL_PAYLOADS
from agp.journal.commitment import commitment
from agp.journal.keys import Signer, encode_base64, format_public_key, read_public_key
from agp.journal.line import Draft, read_payload, seal
from agp.journal.merkle import RightEdge, leaf_hash
from agp.journal.verify import Completeness, Integrity, verify_directory
from tests.fakes import second_verifier
from tests.fakes.journal_logs import lines_of

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "journal-format.md").read_text()
VECTORS = ROOT / "tests" / "vectors" / "journal"


def _block(name: str) -> str:
    found = re.findall(rf"^```{name}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def test_the_list_of_kinds_is_the_contracts() -> None:
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (.*) \|$", PAGE, re.MULTILINE)
    expected = [
        (
            str(model.kind),
            ", ".join(
                f"`{name}`" + ("" if field.is_required() else "?")
                for name, field in model.model_fields.items()
                if name != "observed"  # said once, above the table
            ),
        )
        for model in ALL_PAYLOADS
    ]
    assert rows == expected


def test_the_worked_example_verifies(tmp_path: Path) -> None:
    (tmp_path / f"{0:020d}.jsonl").write_text(_block("jsonl"))
    (tmp_path / "checkpoint").write_text(_block("note"))
    key = Signer(bytes(range(32)), "example.org/journal").public_key
    assert _block("vkey") == format_public_key(key).decode()
    report = verify_directory(tmp_path, key, against=_block("note").encode())
    assert (report.integrity, report.lines) == (Integrity.OK, 3)
    assert report.completeness is Completeness.ANCHORED
    second_verifier.verify(str(tmp_path), _block("vkey"), _block("note").encode())


def test_the_worked_example_is_what_sealing_gives_byte_for_byte() -> None:
    signer = Signer(bytes(range(32)), "example.org/journal")
    prev_hash = "0" * 64
    for raw in _block("jsonl").encode().splitlines():
        members = orjson.loads(raw)
        draft = Draft(
            read_payload(members["kind"], members["payload"]), members["actor"], members["ts"]
        )
        sealed = seal(draft, seq=members["seq"], prev_hash=prev_hash, signer=signer)
        assert sealed.raw == raw
        prev_hash = sealed.line.hash


def test_the_preimage_tree_and_commitment_of_the_example_are_right() -> None:
    lines = _block("jsonl").encode().splitlines()
    preimage = b"agp/line/v1\0" + _block("preimage").strip().encode()
    assert hashlib.sha256(preimage).hexdigest() == orjson.loads(lines[0])["hash"]
    edge = RightEdge()
    for line in lines[:2]:
        edge.push(line)
    expected = [*(leaf_hash(line).hex() for line in lines[:2]), edge.root().hex()]
    assert _block("tree").split() == expected
    payload = orjson.loads(lines[1])["payload"]
    assert payload["commitment"] == commitment(bytes(32), b'{"command":"git status"}')


FROZEN = {
    "every-kind": "DV7D+mM1JCoUYkQewL+OBED/Hj5yVP9lCZjN8+KmbjM=",
    "sessions": "vsOUWCaJHZ4WxOhK263leQ5ObjikJteMWiricNx5qNQ=",
    "rotated": "zJ00Og47mzxe8Br8o/JEhypySspV4+LW9CKy/XfU00w=",
}
"""Root over all lines of each frozen journal. They verify for ever: never write them anew."""


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_a_frozen_journal_verifies_for_ever(name: str) -> None:
    directory = VECTORS / name
    key = read_public_key(directory / "signing.pub")
    report = verify_directory(directory, key, against=(directory / "anchor").read_bytes())
    assert (report.integrity, report.completeness) == (Integrity.OK, Completeness.ANCHORED)
    assert report.root == FROZEN[name]
    vkey = (directory / "signing.pub").read_text()
    other = second_verifier.verify(str(directory), vkey, (directory / "anchor").read_bytes())
    assert encode_base64(other["root"]) == FROZEN[name]


def test_the_frozen_journals_hold_every_kind() -> None:
    kinds = {orjson.loads(raw)["kind"] for name in FROZEN for raw in lines_of(VECTORS / name)}
    assert kinds == {str(model.kind) for model in ALL_PAYLOADS}
