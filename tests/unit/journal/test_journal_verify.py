"""The verifier names what happened to a log, and both verifiers agree that something did."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from agp.contracts.journal import ControlResumed, EventKind, JournalOpened
from agp.errors import ConfigurationError, IntegrityError
from agp.journal import writer as writer_module
from agp.journal.keys import PublicKey, Signer, encode_base64, format_public_key
from agp.journal.line import EVENT_DOMAIN, Members, hash_of, spell
from agp.journal.verify import Completeness, Integrity, verify_directory
from tests.fakes import second_verifier
from tests.fakes.journal_logs import (
    ORIGIN,
    OTHER,
    SIGNER,
    TS,
    HandLog,
    drafts,
    lines_of,
    open_writer,
    resumed,
    sample,
    segment,
    write_log,
)

VKEY = format_public_key(SIGNER.public_key).decode()
Lines = list[bytes]


def _write(directory: Path, lines: Lines) -> None:
    segment(directory).write_bytes(b"".join(line + b"\n" for line in lines))


def _refused(directory: Path, key: PublicKey = SIGNER.public_key) -> IntegrityError:
    """Both verifiers refuse; give the first one's reason."""
    with pytest.raises(ValueError):  # noqa: PT011 - any of the oracle's
        second_verifier.verify(str(directory), format_public_key(key).decode())
    with pytest.raises(IntegrityError) as caught:
        verify_directory(directory, key)
    return caught.value


def _reseal(raw: bytes, signer: Signer, **changes: object) -> bytes:
    """Seal changed members again, as somebody with that key could."""
    members: Members = {**orjson.loads(raw), **changes, "signing_key_id": signer.key_id}
    members["hash"] = hash_of(members)
    signature = signer.sign(EVENT_DOMAIN + bytes.fromhex(str(members["hash"])))
    return spell({**members, "signature": encode_base64(signature)})


def _rehash(raw: bytes) -> bytes:
    """Change a line and its hash, as somebody without the key could."""
    members = orjson.loads(raw.replace(b'"n1"', b'"n9"'))
    return spell({**members, "hash": hash_of(members)})


@dataclass(frozen=True)
class Attack:
    name: str
    change: Callable[[Lines], Lines]
    cause: str
    field: str
    line: int | None


ATTACKS = (
    Attack("a value is edited", lambda ls: [*ls[:2], ls[2].replace(b"n1", b"n9"), *ls[3:]],
           "edit", "hash", 3),
    Attack("a value and its hash are edited", lambda ls: [*ls[:2], _rehash(ls[2]), *ls[3:]],
           "edit", "signature", 3),
    Attack("a line is sealed again by another key",
           lambda ls: [*ls[:2], _reseal(ls[2], OTHER, payload={"by": "x"}), *ls[3:]],
           "other key", "signing_key_id", 3),
    Attack("the key's holder replaces a line in the middle",
           lambda ls: [*ls[:2], _reseal(ls[2], SIGNER, payload={"by": "x"}), *ls[3:]],
           "rollback", "prev_hash", 4),
    Attack("a line is deleted", lambda ls: ls[:2] + ls[3:], "deletion", "seq", 3),
    Attack("the first line is deleted", lambda ls: ls[1:], "deletion", "kind", 1),
    Attack("two neighbours are swapped", lambda ls: [*ls[:2], ls[3], ls[2], *ls[4:]],
           "swap", "seq", 3),
    Attack("a line is written twice", lambda ls: ls[:3] + ls[2:], "duplication", "seq", 4),
    Attack("an old line is put in again", lambda ls: [*ls[:4], ls[1], *ls[4:]],
           "insertion", "seq", 5),
    Attack("a line is spelled with spaces",
           lambda ls: [*ls[:2], ls[2].replace(b'"v":1', b'"v": 1'), *ls[3:]],
           "re-encoding", "line", 3),
    Attack("an empty line is put in", lambda ls: [*ls[:2], b"", *ls[2:]], "edit", "line", 3),
    Attack("sealed lines are cut off at the end", lambda ls: ls[:4],
           "truncation", "size", None),
    Attack("all but the first line is cut off", lambda ls: ls[:1], "truncation", "size", None),
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_found_and_named(tmp_path: Path, attack: Attack) -> None:
    write_log(tmp_path)
    _write(tmp_path, attack.change(lines_of(tmp_path)))
    error = _refused(tmp_path)
    assert f"likeliest cause: {attack.cause} (" in error.why
    assert error.where.endswith(f"field {attack.field}")
    if attack.line is not None:
        assert f"{segment(tmp_path).name} line {attack.line} " in error.where
    assert re.search(r"expected .+, found .+;", error.why)
    assert error.fix


def test_an_untouched_log_is_proved_by_both_verifiers(tmp_path: Path) -> None:
    write_log(tmp_path)
    report = verify_directory(tmp_path, SIGNER.public_key)
    other = second_verifier.verify(str(tmp_path), VKEY)
    assert (report.integrity, report.completeness) == (Integrity.OK, Completeness.UNANCHORED)
    assert (report.lines, report.checkpoints, report.local_checkpoint_size) == (8, 1, 7)
    assert other["lines"] == report.lines
    assert other["head"] == report.head_hash
    assert encode_base64(other["root"]) == report.root


def test_a_torn_tail_is_never_verified(tmp_path: Path) -> None:
    write_log(tmp_path)
    path = segment(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert "torn tail" in _refused(tmp_path).why


def test_a_tail_that_was_cut_back_after_the_last_checkpoint_is_only_seen_by_an_anchor(
    tmp_path: Path,
) -> None:
    writer = open_writer(tmp_path)
    writer.append(drafts(4))
    early = (tmp_path / "checkpoint").read_bytes()
    writer.seal_checkpoint(TS)
    anchor = (tmp_path / "checkpoint").read_bytes()
    writer.close()
    report = verify_directory(tmp_path, SIGNER.public_key, against=anchor)
    assert report.completeness is Completeness.ANCHORED
    assert report.anchor_size == 5
    _write(tmp_path, lines_of(tmp_path)[:3])
    (tmp_path / "checkpoint").write_bytes(early)
    rolled_back = verify_directory(tmp_path, SIGNER.public_key)
    assert rolled_back.completeness is Completeness.UNANCHORED
    with pytest.raises(IntegrityError, match="missing") as caught:
        verify_directory(tmp_path, SIGNER.public_key, against=anchor)
    assert "truncation" in caught.value.why


def test_another_history_by_the_same_key_does_not_pass_an_anchor(tmp_path: Path) -> None:
    first, second = HandLog(), HandLog()
    first.add(resumed("told"))
    second.add(resumed("rewritten"))
    first.write(tmp_path / "first")
    second.write(tmp_path / "second")
    anchor = first.checkpoint()
    verify_directory(tmp_path / "first", SIGNER.public_key, against=anchor)
    with pytest.raises(IntegrityError) as caught:
        verify_directory(tmp_path / "second", SIGNER.public_key, against=anchor)
    assert "rollback" in caught.value.why


@pytest.mark.parametrize("anchor", [b"", b"garbage", HandLog(OTHER).checkpoint()])
def test_an_anchor_that_is_none_is_refused(tmp_path: Path, anchor: bytes) -> None:
    write_log(tmp_path)
    with pytest.raises(IntegrityError):
        verify_directory(tmp_path, SIGNER.public_key, against=anchor)


def test_the_wrong_key_is_told_from_damage(tmp_path: Path) -> None:
    write_log(tmp_path)
    assert "other key" in _refused(tmp_path, OTHER.public_key).why
    named = PublicKey("another.example/journal", SIGNER.public_key.raw)
    assert "other key" in _refused(tmp_path, named).why


def test_a_whole_log_forged_by_another_key_is_refused(tmp_path: Path) -> None:
    forged = HandLog(OTHER)
    forged.add(resumed())
    assert "other key" in _refused(forged.write(tmp_path)).why


def test_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="no journal"):
        verify_directory(tmp_path, SIGNER.public_key)
    with pytest.raises(ConfigurationError):
        verify_directory(tmp_path / "missing", SIGNER.public_key)


def test_a_missing_checkpoint_is_damage_once_there_is_something_to_hide(tmp_path: Path) -> None:
    write_log(tmp_path, sealed=False)
    (tmp_path / "checkpoint").unlink()
    assert "deletion" in _refused(tmp_path).why


def test_a_changed_checkpoint_is_damage(tmp_path: Path) -> None:
    write_log(tmp_path)
    path = tmp_path / "checkpoint"
    path.write_bytes(path.read_bytes().replace(b"\n7\n", b"\n6\n"))
    _refused(tmp_path)


def test_segments_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SEGMENT_BYTES", 1)
    writer = open_writer(tmp_path)
    for index in range(4):
        writer.append(drafts(2, first=index * 2))
    writer.seal_checkpoint(TS)
    writer.close()
    paths = sorted(tmp_path.glob("*.jsonl"))
    assert [int(path.stem) for path in paths] == [0, 1, 3, 5, 7, 9]
    assert verify_directory(tmp_path, SIGNER.public_key).segments == 6
    assert second_verifier.verify(str(tmp_path), VKEY)["lines"] == 10
    paths[2].rename(tmp_path / "kept")
    assert "deletion" in _refused(tmp_path).why
    (tmp_path / "kept").rename(paths[2])
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    assert "torn tail" in _refused(tmp_path).why


@pytest.mark.parametrize("name", ["1.jsonl", "notes.jsonl"])
def test_a_stray_segment_is_refused(tmp_path: Path, name: str) -> None:
    write_log(tmp_path)
    (tmp_path / name).write_bytes(b"")
    _refused(tmp_path)


def test_an_empty_last_segment_is_a_torn_tail(tmp_path: Path) -> None:
    write_log(tmp_path)
    (tmp_path / f"{8:020d}.jsonl").write_bytes(b"")
    with pytest.raises(IntegrityError, match="whole line"):
        verify_directory(tmp_path, SIGNER.public_key)


def test_unknown_kinds_and_versions_are_proved_and_said(tmp_path: Path) -> None:
    log = HandLog()
    log.add(resumed())
    for changes in ({"kind": "moon.landed"}, {"v": 2, "extra": "x"}, {"payload": {"new": 1}}):
        base = {"seq": len(log.lines), "prev_hash": log.prev_hash}
        raw = _reseal(log.lines[-1].raw, SIGNER, **{**base, **changes})
        line = log.lines[-1].line.model_copy(update={"hash": orjson.loads(raw)["hash"]})
        log.lines.append(log.lines[-1]._replace(raw=raw, line=line))
        log.lines[-2] = log.lines[-2]
        if "extra" in changes:
            break
    log.write(tmp_path)
    report = verify_directory(tmp_path, SIGNER.public_key)
    assert report.integrity is Integrity.UNKNOWN
    assert report.unknown_lines == 2
    assert [line.kind for line in report.unknown] == ["moon.landed", "moon.landed"]
    assert second_verifier.verify(str(tmp_path), VKEY)["lines"] == report.lines


def test_a_payload_with_a_new_member_is_unknown_not_damage(tmp_path: Path) -> None:
    log = HandLog()
    log.add(resumed())
    raw = _reseal(log.lines[1].raw, SIGNER, payload={"by": "x", "reason": "new in 1.1"})
    log.lines[1] = log.lines[1]._replace(raw=raw)
    log.write(tmp_path)
    report = verify_directory(tmp_path, SIGNER.public_key)
    assert (report.integrity, report.unknown_lines) == (Integrity.UNKNOWN, 1)


def test_a_line_before_any_signature_cannot_be_of_an_unknown_kind(tmp_path: Path) -> None:
    log = HandLog()
    log.lines[0] = log.lines[0]._replace(raw=_reseal(log.lines[0].raw, SIGNER, kind="moon.landed"))
    log.write(tmp_path)
    _refused(tmp_path)


def test_a_log_is_opened_once(tmp_path: Path) -> None:
    log = HandLog()
    key = encode_base64(SIGNER.public_key.raw)
    log.add(JournalOpened(log_id="f" * 32, origin=ORIGIN, public_key=key))
    assert "insertion" in _refused(log.write(tmp_path)).why


@pytest.mark.parametrize("about", ["another size", "another root", "another origin", "garbage"])
def test_a_false_checkpoint_inside_the_log_is_found(tmp_path: Path, about: str) -> None:
    """Whoever holds the key could seal a note about another history into this one."""
    log, other = HandLog(), HandLog()
    other.add(resumed("another"))
    log.add(resumed())
    if about == "another size":
        other.add(resumed())
    note = other.checkpoint().decode()
    if about == "another origin":
        note = HandLog(Signer(SIGNER.seed, "another.example")).checkpoint().decode()
    payload = sample(EventKind.CHECKPOINT_SEALED)
    log.add(type(payload)(note="garbage" if about == "garbage" else note))  # type: ignore[call-arg]
    log.add(resumed())
    _refused(log.write(tmp_path))


NEW = Signer(b"n" * 32, ORIGIN)


def _rotated() -> HandLog:
    log = HandLog()
    log.add(resumed("old era"))
    log.rotate(NEW)
    log.add(resumed("new era"))
    return log


@pytest.mark.parametrize("given", [SIGNER, NEW], ids=["the first key", "the newest key"])
def test_every_era_verifies_with_either_key(tmp_path: Path, given: Signer) -> None:
    _rotated().write(tmp_path)
    report = verify_directory(tmp_path, given.public_key)
    assert report.key_ids == (SIGNER.key_id, NEW.key_id)
    second_verifier.verify(str(tmp_path), format_public_key(given.public_key).decode())


def test_the_old_key_does_not_sign_after_its_era(tmp_path: Path) -> None:
    log = _rotated()
    log.add(resumed(), SIGNER)
    assert "other key" in _refused(log.write(tmp_path)).why


def test_a_rotation_needs_the_new_key_and_this_place(tmp_path: Path) -> None:
    """A rotation signature that was made for another place in the log is refused."""
    log, elsewhere = HandLog(), HandLog()
    elsewhere.add(resumed())
    elsewhere.rotate(NEW)
    payload = elsewhere.lines[-1].line.payload
    stolen = {name: str(payload[name]) for name in ("public_key", "new_key_signature")}
    log.add(type(sample(EventKind.KEY_ROTATED))(**stolen))  # type: ignore[arg-type]
    _refused(log.write(tmp_path))


def test_a_key_never_comes_back(tmp_path: Path) -> None:
    log = _rotated()
    log.rotate(SIGNER)
    _refused(log.write(tmp_path))


def test_after_a_theft_only_the_given_successor_is_believed(tmp_path: Path) -> None:
    log = HandLog()
    log.add(resumed("trusted"))
    log.add(resumed("by the thief"))
    log.revoke(SIGNER.key_id, 1, NEW)
    log.add(resumed("after"))
    log.write(tmp_path)
    report = verify_directory(tmp_path, NEW.public_key)
    assert (report.integrity, report.distrusted_lines) == (Integrity.DISTRUSTED, 1)
    second_verifier.verify(str(tmp_path), format_public_key(NEW.public_key).decode())
    _refused(tmp_path, SIGNER.public_key)
    _refused(tmp_path, OTHER.public_key)


def test_a_thief_cannot_rotate_and_revoke_his_way_past_the_given_key(tmp_path: Path) -> None:
    log = HandLog()
    log.rotate(OTHER)
    log.revoke(SIGNER.key_id, 0, OTHER)
    error = _refused(log.write(tmp_path), SIGNER.public_key)
    assert "revoked" in error.what


def test_nobody_revokes_a_key_that_the_log_never_had(tmp_path: Path) -> None:
    log = HandLog()
    log.revoke(OTHER.key_id, 0, SIGNER)
    _refused(log.write(tmp_path))


def test_a_resumed_payload_is_what_the_samples_use() -> None:
    assert ControlResumed(by="x").kind is EventKind.CONTROL_RESUMED
