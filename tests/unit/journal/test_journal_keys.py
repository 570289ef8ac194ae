"""Keys sign and verify, and their files are refused rather than trusted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from agp.errors import ConfigurationError, IntegrityError
from agp.journal.keys import (
    PublicKey,
    Signer,
    format_public_key,
    format_signer,
    generate_seed,
    parse_public_key,
    parse_signer,
    read_public_key,
    read_signer,
    verify_signature,
    write_key_files,
)
from tests.fakes.journal_logs import OTHER, SIGNER


def test_a_signature_is_that_of_rfc_8032() -> None:
    """RFC 8032 §7.1, TEST 2: one byte."""
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    signature = Signer(seed, "x").sign(b"\x72")
    assert signature.hex().startswith("92a009a9f0d4cab8720e820b5f642540")
    verify_signature(Signer(seed, "x").public_key.raw, b"\x72", signature)


def test_another_message_or_key_does_not_verify() -> None:
    signature = SIGNER.sign(b"message")
    for raw, message in ((SIGNER.public_key.raw, b"massage"), (OTHER.public_key.raw, b"message")):
        with pytest.raises(IntegrityError):
            verify_signature(raw, message, signature)
    with pytest.raises(IntegrityError):
        verify_signature(SIGNER.public_key.raw, b"message", signature[:63])


def test_the_note_key_id_is_that_of_the_signed_note_specification() -> None:
    """The example key of Go's sumdb/note package, published with its id."""
    line = b"PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n"
    assert parse_public_key(line).note_key_id.hex() == "c74f20a3"


def test_both_lines_round_trip() -> None:
    assert parse_signer(format_signer(SIGNER)) == SIGNER
    assert parse_public_key(format_public_key(SIGNER.public_key)) == SIGNER.public_key


def test_files_are_written_private_and_read_back(tmp_path: Path) -> None:
    key, public = tmp_path / "signing.key", tmp_path / "signing.pub"
    write_key_files(key, public, SIGNER)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert read_signer(key) == SIGNER
    assert read_public_key(public) == SIGNER.public_key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["signing.key", "signing.pub"]


@pytest.mark.parametrize("existing", ["signing.key", "signing.pub"])
def test_a_key_file_is_never_overwritten(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).symlink_to("nowhere")
    with pytest.raises(ConfigurationError, match="not overwritten"):
        write_key_files(tmp_path / "signing.key", tmp_path / "signing.pub", SIGNER)
    assert [path.name for path in tmp_path.iterdir()] == [existing]


def test_a_key_that_others_can_read_is_refused_with_the_command_that_mends_it(
    tmp_path: Path,
) -> None:
    key = tmp_path / "signing.key"
    write_key_files(key, tmp_path / "signing.pub", SIGNER)
    for mode in (0o640, 0o604, 0o610):
        key.chmod(mode)
        with pytest.raises(ConfigurationError) as caught:
            read_signer(key)
        assert "chmod 600" in caught.value.fix


def test_a_missing_key_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_signer(tmp_path / "signing.key")
    assert "agp keygen" in caught.value.fix


def test_a_pipe_in_place_of_the_key_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "signing.key", 0o600)
    with pytest.raises(ConfigurationError, match="regular file"):
        read_signer(tmp_path / "signing.key")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 32,
        generate_seed(),
        format_signer(SIGNER)[:-9],
        format_signer(SIGNER).replace(b"agp.test", b"agp.tesu"),
        format_signer(SIGNER).replace(b"PRIVATE", b"PUBLIC"),
        format_public_key(SIGNER.public_key),
        format_signer(SIGNER) * 40,
    ],
)
def test_a_malformed_key_is_refused_and_no_error_shows_it(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "signing.key"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        read_signer(path)
    error = caught.value
    said = f"{error.what}{error.where}{error.why}{error.fix}"
    assert format_signer(SIGNER).decode().split("+")[-1][:20] not in said


def test_a_seed_is_not_shown() -> None:
    assert repr(SIGNER.seed)[2:20] not in repr(SIGNER)


@pytest.mark.parametrize(
    ("name", "raw"), [("a b", bytes(32)), ("a+b", bytes(32)), ("", bytes(32)), ("a", b"")]
)
def test_a_key_that_could_not_be_written_down_cannot_be_made(name: str, raw: bytes) -> None:
    with pytest.raises(ConfigurationError):
        PublicKey(name, raw)


def test_every_key_pair_survives_its_two_files() -> None:
    """Base64 holds plus signs in every second key: the fields are cut from the left."""
    for number in range(64):
        signer = Signer(bytes([number]) * 32, "agp.local/journal")
        assert parse_signer(format_signer(signer)) == signer
        assert parse_public_key(format_public_key(signer.public_key)) == signer.public_key
