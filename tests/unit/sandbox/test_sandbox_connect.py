"""The CONNECT head: one reading only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agp.errors import ConfigurationError, MessageRefused
from agp.sandbox.connect import Target, format_connect, parse_connect, parse_egress, parse_target

BAD_HEADS = {
    "another method": b"GET example.org:443 HTTP/1.1",
    "an absolute form": b"CONNECT http://example.org/ HTTP/1.1",
    "no port": b"CONNECT example.org HTTP/1.1",
    "an old version": b"CONNECT example.org:443 HTTP/0.9",
    "two spaces": b"CONNECT  example.org:443 HTTP/1.1",
    "a bare line feed": b"CONNECT example.org:443 HTTP/1.1\nX: y",
    "userinfo": b"CONNECT user@example.org:443 HTTP/1.1",
    "a zero byte": b"CONNECT exam\0ple.org:443 HTTP/1.1",
    "port zero": b"CONNECT example.org:0 HTTP/1.1",
    "a large port": b"CONNECT example.org:65536 HTTP/1.1",
    "a padded port": b"CONNECT example.org:0443 HTTP/1.1",
    "a signed port": b"CONNECT example.org:+443 HTTP/1.1",
    "an underscore port": b"CONNECT example.org:4_43 HTTP/1.1",
    "a trailing dot": b"CONNECT example.org.:443 HTTP/1.1",
    "a short address": b"CONNECT 127.1:443 HTTP/1.1",
    "a hexadecimal address": b"CONNECT 0x7f000001:443 HTTP/1.1",
    "a hexadecimal part": b"CONNECT 0x7f.0.0.1:443 HTTP/1.1",
    "a decimal address": b"CONNECT 2130706433:443 HTTP/1.1",
    "an octal part": b"CONNECT 0177.0.0.1:443 HTTP/1.1",
    "a zone": b"CONNECT [fe80::1%eth0]:443 HTTP/1.1",
    "not ASCII": "CONNECT exämple.org:443 HTTP/1.1".encode(),
    "a folded header": b"CONNECT example.org:443 HTTP/1.1\r\nX: y\r\n z",
    "a nameless header": b"CONNECT example.org:443 HTTP/1.1\r\n: y",
    "a space before the colon": b"CONNECT example.org:443 HTTP/1.1\r\nHost : y",
    "a body": b"CONNECT example.org:443 HTTP/1.1\r\nContent-Length: 5",
    "chunks": b"CONNECT example.org:443 HTTP/1.1\r\nTransfer-Encoding: chunked",
    "nothing": b"",
}


@pytest.mark.parametrize("head", BAD_HEADS.values(), ids=BAD_HEADS.keys())
def test_a_head_that_two_readers_could_read_differently_is_refused(head: bytes) -> None:
    with pytest.raises(MessageRefused):
        parse_connect(head)


def test_a_plain_head_names_its_target_in_one_spelling() -> None:
    assert parse_connect(b"CONNECT EXAMPLE.org:443 HTTP/1.1\r\nHost: x") == ("example.org", 443)
    assert parse_target("[0:0::1]:80") == Target("::1", 80)


NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,8}){0,3}", fullmatch=True)
HOSTS = st.one_of(NAMES, st.ip_addresses().map(str))


@given(HOSTS, st.integers(1, 65535))
def test_every_target_survives_the_round_trip(host: str, port: int) -> None:
    target = parse_target(str(Target(host, port)))
    assert parse_connect(format_connect(target)) == target


@given(st.binary(max_size=300))
def test_any_bytes_give_a_target_or_our_error(head: bytes) -> None:
    for tried in (head, b"CONNECT " + head, b"CONNECT " + head + b" HTTP/1.1"):
        try:
            target = parse_connect(tried)
        except MessageRefused:
            continue
        assert parse_target(str(target)) == target


def test_a_configured_target_that_is_not_one_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_egress(("api.example.org:443", "https://x"))
    assert caught.value.where == "https://x"
