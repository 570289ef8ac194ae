"""Redaction, commitment and the call vault: what may be known, and by whom."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from agp.contracts.base import CallId
from agp.errors import ConfigurationError, MessageRefused, Unavailable
from agp.journal.calls import CallVault
from agp.journal.commitment import commitment, generate_salt
from agp.journal.keys import format_signer
from agp.journal.redact import redact_json, redact_text, survives
from tests.fakes.journal_logs import SIGNER

A = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0"


@dataclass(frozen=True)
class Leak:
    name: str
    text: str
    secret: str


OWN = format_signer(SIGNER).decode()
LEAKS = (
    Leak("an Anthropic key", f"export K=sk-ant-api03-{A}", f"sk-ant-api03-{A}"),
    Leak("an OpenAI key", f"curl -H 'x: sk-proj-{A}'", f"sk-proj-{A}"),
    Leak("a Slack bot token", f"echo xoxb-123456789012-{A}", f"xoxb-123456789012-{A}"),
    Leak("a Slack app token", f"echo xapp-1-{A}", f"xapp-1-{A}"),
    Leak("a Slack webhook", f"curl https://hooks.slack.com/services/T0/B0/{A}", f"T0/B0/{A}"),
    Leak("a GitHub token", f"git clone ghp_{A}", f"ghp_{A}"),
    Leak("a fine-grained GitHub token", f"x github_pat_{A}", f"github_pat_{A}"),
    Leak("an AWS key id", "aws AKIAIOSFODNN7EXAMPLE x", "AKIAIOSFODNN7EXAMPLE"),
    Leak("a Google key", f"key AIza{A[:35]}", f"AIza{A[:35]}"),
    Leak("a JSON web token", f"eyJhbGciOi.eyJzdWIiOi.{A}", "eyJzdWIiOi"),
    Leak("a private key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
         "MIIE"),
    Leak("a private key cut short", "x -----BEGIN PRIVATE KEY-----\nMIIE", "MIIE"),
    Leak("AGP's own key", OWN, OWN.split("+")[-1].strip()),
    Leak("a password assigned", "psql password=hunter2 -h x", "hunter2"),
    Leak("a quoted password", 'PASSWORD="hunter two"', "hunter two"),
    Leak("a password option", "tool --db-password hunter2", "hunter2"),
    Leak("an AWS secret", f"aws_secret_access_key = {A}", A),
    Leak("a bearer header", "-H 'Authorization: Bearer abcdef123456'", "abcdef123456"),
    Leak("a password in a URL", "git clone https://ada:hunter2@example.org/x", "hunter2"),
)  # fmt: skip


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_a_well_known_credential_is_replaced(leak: Leak) -> None:
    assert leak.secret in leak.text
    for redacted in (
        redact_text(leak.text),
        redact_json(json.dumps({"command": leak.text}).encode()),
        redact_json(json.dumps([leak.text], ensure_ascii=True).encode()),
    ):
        assert leak.secret not in redacted.text
        assert redacted.found >= 1
        assert not redacted.survived


@pytest.mark.parametrize(
    "text",
    [
        "git status",
        "echo $TOKEN",
        "password=$PASSWORD make",
        'curl -d "token=${API_TOKEN}" x',
        "run task-management-of-something-long",
        "ls /usr/share/keyrings",
        "https://example.org:8080/a@b",
    ],
)
def test_a_benign_command_stays_readable(text: str) -> None:
    assert redact_text(text) == (text, 0, False)


def test_an_escaped_spelling_hides_nothing() -> None:
    redacted = redact_json(rb'{"command":"p\u0061ssword=hunter2"}')
    assert "hunter2" not in redacted.text
    assert json.loads(redacted.text) == {"command": "password=[redacted:value]"}


def test_a_member_named_like_a_secret_is_replaced_whole() -> None:
    redacted = redact_json(b'{"api_key":"abc","options":{"dbPassword":"x y"},"max_tokens":10}')
    assert json.loads(redacted.text) == {
        "api_key": "[redacted:value]",
        "options": {"dbPassword": "[redacted:value]"},
        "max_tokens": 10,
    }


SECRET = 'kv-"9\\x'.ljust(12, "/") + "é+z\nq"
"""Holds everything that some encoding changes."""


def test_a_known_value_is_replaced_everywhere_it_is_plain() -> None:
    redacted = redact_json(json.dumps({"a": f"x{SECRET}y", SECRET: [SECRET]}).encode(), (SECRET,))
    assert SECRET not in json.dumps(json.loads(redacted.text), ensure_ascii=False)
    assert (redacted.found, redacted.survived) == (3, False)


FORMS = {
    "json": json.dumps(SECRET),
    "json, ascii": json.dumps(SECRET, ensure_ascii=True),
    "json in json": json.dumps(json.dumps({"k": SECRET})),
    "percent": quote(SECRET, safe=""),
    "percent in lower case": quote(SECRET, safe="").lower(),
    "every byte percent": "".join(f"%{byte:02x}" for byte in SECRET.encode()),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 after one byte": base64.b64encode(b"u" + SECRET.encode()).decode(),
    "base64 after two bytes": base64.b64encode(b"u:" + SECRET.encode() + b"!").decode(),
    "url-safe base64": base64.urlsafe_b64encode(SECRET.encode()).decode(),
    "wrapped base64": base64.encodebytes(SECRET.encode() * 5).decode(),
    "base64 in percent": quote(base64.b64encode(SECRET.encode()).decode(), safe=""),
    "hex": SECRET.encode().hex(),
    "upper-case hex": SECRET.encode().hex().upper(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_known_secret_that_survives_in_an_encoding_is_told(form: str) -> None:
    text = f"echo {FORMS[form]} | sh"
    redacted = redact_json(json.dumps({"command": text}).encode(), (SECRET,))
    plain = redact_text(text, (SECRET,))
    assert redacted.survived
    assert plain.survived
    assert not redact_json(b'{"command":"echo nothing"}', (SECRET,)).survived


def test_a_secret_number_survives_and_is_told() -> None:
    """A number is not a string to replace in; it must not slip through as one."""
    assert redact_json(b'{"pin":12345678}', ("12345678",)).survived


def test_the_longer_of_two_secrets_goes_first() -> None:
    redacted = redact_text("x abcdefgh-tail y", ("abcdefgh", "abcdefgh-tail"))
    assert "tail" not in redacted.text


def test_an_empty_secret_is_an_error_and_none_is_none() -> None:
    with pytest.raises(ConfigurationError):
        redact_text("x", ("",))
    assert not survives("anything", ())


@pytest.mark.parametrize(
    "unit",
    ["a-", "password", "--", "eyJ", "sk-", "://", "-----BEGIN PRIVATE KEY-----", "Authorization:",
     '"', "\\u0061", "%61", "token=", "eyJaaaaa."],
)  # fmt: skip
def test_no_text_makes_redaction_slow(unit: str) -> None:
    """An agent chooses the text: 400 KB of the worst unit must not hold the commit up."""
    text = unit * (400_000 // len(unit))
    began = time.process_time()
    redact_text(text, (SECRET,))
    assert time.process_time() - began < 5


def test_a_commitment_is_its_preimage_and_nothing_else() -> None:
    salt, raw = bytes(range(32)), b'{"command":"id"}'
    assert commitment(salt, raw) == hashlib.sha256(b"agp/call/v1\0" + salt + raw).hexdigest()
    assert generate_salt() != generate_salt()
    for wrong in (salt[:31], salt + b"{"):
        with pytest.raises(ConfigurationError):
            commitment(wrong, raw)


ONE, TWO, THREE = (CallId(f"c-{digit * 16}") for digit in "123")


def test_a_call_is_stored_private_and_read_back(tmp_path: Path) -> None:
    vault = CallVault(tmp_path)
    vault.put(ONE, b"raw \x00 input", bytes(32))
    assert vault.get(ONE) == (bytes(32), b"raw \x00 input")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert vault.get(TWO) is None


def test_a_call_is_durable_before_put_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda file: (synced.append(str(Path(f"/proc/self/fd/{file}").readlink())), real(file)),
    )
    CallVault(tmp_path).put(ONE, b"x", bytes(32))
    assert synced == [str(tmp_path / f"{ONE}.salt"), str(tmp_path / f"{ONE}.body"), str(tmp_path)]


def test_a_body_goes_and_its_salt_stays(tmp_path: Path) -> None:
    vault = CallVault(tmp_path)
    vault.put(ONE, b"x", bytes(32))
    for _ in range(2):
        vault.drop_body(ONE)
    assert vault.get(ONE) == (bytes(32), None)


def test_what_a_crash_left_is_removed_on_start(tmp_path: Path) -> None:
    vault = CallVault(tmp_path)
    for call_id in (ONE, TWO, THREE):
        vault.put(call_id, b"x", bytes(32))
    assert vault.remove_orphans(live={ONE}, journaled={TWO}) == 3
    assert vault.get(ONE) == (bytes(32), b"x")
    assert vault.get(TWO) == (bytes(32), None)
    assert vault.get(THREE) is None


def test_a_call_is_never_stored_over_another(tmp_path: Path) -> None:
    vault = CallVault(tmp_path)
    vault.put(ONE, b"first", bytes(32))
    with pytest.raises(MessageRefused):
        vault.put(ONE, b"second", bytes(32))
    assert vault.get(ONE) == (bytes(32), b"first")


@pytest.mark.parametrize("bad", ["../x", "c-1", "", "c-" + "g" * 16, "c-1111111111111111\n"])
def test_an_id_that_names_another_place_is_refused(tmp_path: Path, bad: str) -> None:
    vault = CallVault(tmp_path / "calls")
    (tmp_path / "calls").mkdir()
    for attempt in (
        lambda: vault.put(CallId(bad), b"x", bytes(32)),
        lambda: vault.get(CallId(bad)),
        lambda: vault.drop_body(CallId(bad)),
    ):
        with pytest.raises(MessageRefused):
            attempt()
    assert [path.name for path in tmp_path.iterdir()] == ["calls"]


def test_a_vault_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        CallVault(tmp_path / "gone").put(ONE, b"x", bytes(32))
