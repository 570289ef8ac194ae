"""Ed25519 keys: sign, verify, and the two files in which a key pair lives.

Both files are one line of text in the encoding of Go's `sumdb/note`, so that tools which nobody
here wrote can read them: `<name>+<id>+<base64 of 0x01 and the public key>` and
`PRIVATE+KEY+<name>+<id>+<base64 of 0x01 and the seed>`. The name is the log's origin, the id is
the note key id (4 bytes, hex) and doubles as a checksum over name and key.

Source: c2sp.org/signed-note (vkey); ADR 0003.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nacl.exceptions import BadSignatureError
from nacl.exceptions import ValueError as NaclValueError
from nacl.signing import SigningKey, VerifyKey

from agp.contracts.base import Digest
from agp.errors import ConfigurationError, IntegrityError

if TYPE_CHECKING:
    from pathlib import Path

KEY_BYTES = 32
"""Of a seed and of a public key (RFC 8032)."""
SIGNATURE_BYTES = 64
_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,128}")
_PRIVATE = "PRIVATE+KEY+"
_KEY_FILE_LIMIT = 1024
_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A named Ed25519 public key; what a verifier is given."""

    name: str
    """The origin of the log that it signs."""
    raw: bytes

    def __post_init__(self) -> None:
        """Refuse what could never verify anything."""
        if len(self.raw) != KEY_BYTES:
            raise ConfigurationError("a public key is not 32 bytes long", why=str(len(self.raw)))
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError("a key's name holds a space, a plus, or nothing")

    @property
    def key_id(self) -> Digest:
        """Hex SHA-256 of the 32 bytes: a line's `signing_key_id`."""
        return key_id_of(self.raw)

    @property
    def note_key_id(self) -> bytes:
        """The 4 bytes that name this key in a signed note."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:4]


@dataclass(frozen=True, slots=True)
class Signer:
    """A named key pair; the seed is never shown by `repr`."""

    seed: bytes = field(repr=False)
    name: str
    public_key: PublicKey = field(init=False)
    _key: SigningKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Derive the public half once."""
        if len(self.seed) != KEY_BYTES:
            raise ConfigurationError("a signing seed is not 32 bytes long")
        key = SigningKey(self.seed)
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "public_key", PublicKey(self.name, bytes(key.verify_key)))

    @property
    def key_id(self) -> Digest:
        """Hex SHA-256 of the public key."""
        return self.public_key.key_id

    def sign(self, message: bytes) -> bytes:
        """Give the 64 bytes of the Ed25519 signature (RFC 8032, deterministic)."""
        return self._key.sign(message).signature


def key_id_of(raw: bytes) -> Digest:
    """Name a public key for `signing_key_id`."""
    return Digest(hashlib.sha256(raw).hexdigest())


def generate_seed() -> bytes:
    """Draw 32 bytes from the operating system."""
    return secrets.token_bytes(KEY_BYTES)


def verify_signature(raw_key: bytes, message: bytes, signature: bytes) -> None:
    """Check one Ed25519 signature; success is silence.

    libsodium also refuses small-order keys and signatures that are not in their one spelling.

    Raises:
        IntegrityError: the signature is not this key's over these bytes.
    """
    try:
        VerifyKey(raw_key).verify(message, signature)
    except (BadSignatureError, NaclValueError) as error:
        raise IntegrityError(
            "a signature does not verify", why=f"key {key_id_of(raw_key)[:16]} did not make it"
        ) from error


def decode_base64(text: str, length: int) -> bytes:
    """Read standard base64 with padding in its one spelling.

    Raises:
        ValueError: other characters, another length, or trailing bits that are not zero.
    """
    raw = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    if len(raw) != length or base64.b64encode(raw).decode() != text:
        raise ValueError(f"it is not {length} bytes in standard base64")
    return raw


def encode_base64(raw: bytes) -> str:
    """Spell standard base64 with padding."""
    return base64.b64encode(raw).decode()


def parse_public_key(data: bytes) -> PublicKey:
    """Read a vkey line.

    Raises:
        ConfigurationError: it is not one, or its id does not fit its name and key.
    """
    try:
        name, key_id, encoded = data.decode().removesuffix("\n").split("+", 2)
        key = PublicKey(name, _untyped(encoded))
    except ValueError as error:
        raise _malformed("public key", str(error)) from error
    if key.note_key_id.hex() != key_id:
        raise _malformed("public key", f"its id should be {key.note_key_id.hex()}")
    return key


def format_public_key(key: PublicKey) -> bytes:
    """Spell a vkey line, with its newline."""
    encoded = encode_base64(_ED25519 + key.raw)
    return f"{key.name}+{key.note_key_id.hex()}+{encoded}\n".encode()


def parse_signer(data: bytes) -> Signer:
    """Read a private key line; no error of it holds the key.

    Raises:
        ConfigurationError: it is not one, or its id does not fit its name and key.
    """
    try:
        text = data.decode().removesuffix("\n")
        if not text.startswith(_PRIVATE):
            raise _malformed("signing key", f"it does not begin with {_PRIVATE}")
        # From the left: a name holds no plus, base64 may.
        name, key_id, encoded = text.removeprefix(_PRIVATE).split("+", 2)
        signer = Signer(_untyped(encoded), name)
    except ValueError:
        raise _malformed("signing key", "it is not name, id and base64") from None
    if signer.public_key.note_key_id.hex() != key_id:
        raise _malformed("signing key", "its id does not fit its name and key")
    return signer


def format_signer(signer: Signer) -> bytes:
    """Spell a private key line, with its newline."""
    encoded = encode_base64(_ED25519 + signer.seed)
    return f"{_PRIVATE}{signer.name}+{signer.public_key.note_key_id.hex()}+{encoded}\n".encode()


def read_signer(path: Path) -> Signer:
    """Read `signing.key`.

    Raises:
        ConfigurationError: missing, readable for others, somebody else's, or malformed.
    """
    data = _read_file(path, missing_fix="run `agp keygen`", secret=True)
    try:
        return parse_signer(data)
    except ConfigurationError as error:
        raise _at(path, error) from error


def read_public_key(path: Path) -> PublicKey:
    """Read `signing.pub`, or any file with a vkey.

    Raises:
        ConfigurationError: missing or malformed.
    """
    data = _read_file(path, missing_fix="give the file that `agp keygen` wrote", secret=False)
    try:
        return parse_public_key(data)
    except ConfigurationError as error:
        raise _at(path, error) from error


def write_key_files(key_path: Path, public_path: Path, signer: Signer) -> None:
    """Write both files, 0600 and 0644, durable; never over an existing one.

    The private key is written first: a crash between the two leaves a public file that can be
    derived again, never a public key whose private half is lost.

    Raises:
        ConfigurationError: one of them exists, or the place cannot be written.
    """
    for path in (key_path, public_path):
        if os.path.lexists(path):
            raise _exists(path)
    _write_new(key_path, format_signer(signer), 0o600)
    _write_new(public_path, format_public_key(signer.public_key), 0o644)


def _untyped(encoded: str) -> bytes:
    raw = decode_base64(encoded, KEY_BYTES + 1)
    if raw[:1] != _ED25519:
        raise ValueError("it is not an Ed25519 key")
    return raw[1:]


def _malformed(what: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"a {what} is malformed",
        why=why,
        fix="restore the file from a copy; `agp keygen` makes a new key for a new journal",
    )


def _at(path: Path, error: ConfigurationError) -> ConfigurationError:
    return ConfigurationError(error.what, where=str(path), why=error.why, fix=error.fix)


def _exists(path: Path) -> ConfigurationError:
    return ConfigurationError(
        "a key file exists and is not overwritten",
        where=str(path),
        why="the journal that it signs could never be continued",
        fix="move it away first if you really want a new key and a new journal",
    )


def _read_file(path: Path, *, missing_fix: str, secret: bool) -> bytes:
    """Read a small regular file; a key that others can read is no secret any more."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ConfigurationError("there is no key", where=str(path), fix=missing_fix) from error
    except OSError as error:
        raise ConfigurationError(
            "a key cannot be read", where=str(path), why=error.strerror or ""
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise ConfigurationError("a key is not a regular file", where=str(path))
        if secret and (stat.S_IMODE(state.st_mode) & _OTHERS or state.st_uid != os.geteuid()):
            raise ConfigurationError(
                "others can read the signing key, or it is somebody else's",
                where=str(path),
                why=f"its mode is {stat.S_IMODE(state.st_mode):04o}, its owner uid {state.st_uid}",
                fix=f"chmod 600 {path}; if others could have read it, make a new key",
            )
        data = file.read(_KEY_FILE_LIMIT + 1)
    if len(data) > _KEY_FILE_LIMIT:
        raise _at(path, _malformed("key", "it is too long"))
    return data


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Make a file appear whole or not at all: `link` refuses an existing name atomically."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.link(temporary, path)
        finally:
            temporary.unlink()
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise ConfigurationError(
            "a key file cannot be written", where=str(path), why=error.strerror or ""
        ) from error
