"""A second verifier, written from docs/journal-format.md alone: an oracle for the first.

Standard library and nacl only. `verify` returns what it proved or raises ValueError.
"""

import base64
import hashlib
import json
import re
from datetime import datetime
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

DIGEST = "[0-9a-f]{64}"
FORMS = {
    "ts": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z",
    "kind": r"[a-z0-9_]+\.[a-z0-9_]+",
    "actor": "(?s:.+)",
    "prev_hash": DIGEST,
    "hash": DIGEST,
    "signing_key_id": DIGEST,
    "signature": "[A-Za-z0-9+/]{86}==",
}
RESERVED = "tenant_id approval_binding_type intendant_identity_uri on_behalf_of correlation_id"


def need(condition, what):
    if not condition:
        raise ValueError(what)


def sha(data):
    return hashlib.sha256(data).digest()


def unbase64(text, length):
    raw = base64.b64decode(text, validate=True)
    need(len(raw) == length and base64.b64encode(raw).decode() == text, "base64")
    return raw


def check_signature(key, message, signature):
    try:
        VerifyKey(key).verify(message, signature)
    except CryptoError as error:
        raise ValueError("signature") from error


def spell(value):
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def check_subset(value, depth):
    if isinstance(value, dict | list):
        need(depth <= 16, "depth")
        for item in value.values() if isinstance(value, dict) else value:
            check_subset(item, depth + 1)
        need(isinstance(value, list) or all(re.fullmatch("[a-z0-9_]+", k) for k in value), "key")
    else:
        need(isinstance(value, str | bool | int), "null or float")
        need(not isinstance(value, int) or abs(value) < 2**53, "large integer")


def read_line(raw):
    need(len(raw) <= 67_108_864, "length")
    line = json.loads(raw.decode())
    need(isinstance(line, dict), "object")
    check_subset(line, 1)
    need(spell(line) == raw, "spelling")
    need(type(line.get("v")) is int and line["v"] >= 1, "v")
    need(type(line.get("seq")) is int, "seq")
    need(isinstance(line.get("payload"), dict), "payload")
    for name, form in FORMS.items():
        need(isinstance(line.get(name), str) and re.fullmatch(form, line[name]), name)
    datetime.strptime(line["ts"], "%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: DTZ007 - validity only
    more = line.keys() - FORMS.keys() - {"v", "seq", "payload"}
    need(
        all(isinstance(line[n], str) and line[n] for n in more & set(RESERVED.split())), "reserved"
    )
    need(line["v"] > 1 or more <= set(RESERVED.split()), "member")
    return line


def root(leaves):
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha(b"\1" + root(leaves[:split]) + root(leaves[split:]))


def check_note(note, origin, keys, leaves):
    """Give the size of a checkpoint that one of the keys signed over these leaves."""
    text, _, tail = note.decode().rpartition("\n\n")
    name, size, top = text.split("\n")
    need(name == origin and re.fullmatch("[1-9][0-9]*", size) and tail.endswith("\n"), "note")
    need(int(size) <= len(leaves), "truncated")
    need(unbase64(top, 32) == root(leaves[: int(size)]), "root")
    for line in tail[:-1].split("\n"):
        dash, signer, blob = line.split(" ")
        raw = base64.b64decode(blob, validate=True)
        for key in keys:
            key_id = sha(origin.encode() + b"\n\1" + key)[:4]
            if (dash, signer, raw[:4]) == ("\u2014", origin, key_id):
                need(raw == unbase64(blob, 68), "note signature")
                check_signature(key, f"{text}\n".encode(), raw[4:])
                return int(size)
    raise ValueError("note signer")


def verify(directory, vkey, anchor=None):
    try:
        return walk(Path(directory), vkey, anchor)
    except (KeyError, TypeError) as error:
        raise ValueError("a member that is not there, or of another type") from error


def walk(directory, vkey, anchor):
    origin, _, typed = vkey.strip().split("+", 2)
    given = unbase64(typed, 33)[1:]
    leaves, keys, revoked, kinds, key, prev = [], [], [], set(), None, "0" * 64
    for name in sorted(path.name for path in directory.glob("*.jsonl")):
        need(name == f"{len(leaves):020d}.jsonl", "segment name")
        data = (directory / name).read_bytes()
        need(data.endswith(b"\n"), "torn tail")
        for raw in data[:-1].split(b"\n"):
            line = read_line(raw)
            payload, kind = line["payload"], line["kind"]
            if not leaves:
                need(kind == "journal.opened" and line["v"] == 1, "line 0")
                need(payload["origin"] == origin and len(payload["log_id"]) == 32, "origin")
                key = unbase64(payload["public_key"], 32)
                keys.append(key)
            if kind == "key.revoked" and line["signing_key_id"] != sha(key).hex():
                need(payload["revoked_key_id"] == sha(key).hex(), "revoked")
                key = given
                keys.append(key)
            body = {n: m for n, m in line.items() if n not in ("hash", "signature")}
            need(line["hash"] == sha(b"agp/line/v1\0" + spell(body)).hex(), "hash")
            need(line["signing_key_id"] == sha(key).hex(), "key")
            signed = b"agp/event/v1\0" + bytes.fromhex(line["hash"])
            check_signature(key, signed, unbase64(line["signature"], 64))
            need(line["seq"] == len(leaves) and line["prev_hash"] == prev, "place")
            need(not leaves or kind != "journal.opened", "opened twice")
            if kind == "checkpoint.sealed" and line["v"] == 1:
                size = check_note(payload["note"].encode(), origin, [key], leaves)
                need(size == len(leaves), "sealed size")
            if kind == "key.revoked":
                need(payload["revoked_key_id"] in [sha(k).hex() for k in keys[:-1]], "revoked")
                revoked.append(payload["revoked_key_id"])
            if kind == "key.rotated":
                new = unbase64(payload["public_key"], 32)
                preimage = b"agp/rotate/v1\0" + bytes.fromhex(line["prev_hash"]) + new
                check_signature(new, preimage, unbase64(payload["new_key_signature"], 64))
                need(new not in keys, "old key")
                key = new
                keys.append(key)
            leaves.append(sha(b"\0" + raw))
            prev = line["hash"]
            kinds.add(kind)
    need(leaves and given in keys and sha(given).hex() not in revoked, "given key")
    try:
        check_note((directory / "checkpoint").read_bytes(), origin, keys, leaves)
    except FileNotFoundError:
        need(kinds <= {"journal.opened", "journal.repaired"}, "no checkpoint")
    if anchor is not None:
        check_note(anchor, origin, keys, leaves)
    return {
        "lines": len(leaves),
        "head": prev,
        "root": root(leaves),
        "anchored": anchor is not None,
    }
