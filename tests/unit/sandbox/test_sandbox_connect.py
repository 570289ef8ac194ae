"""The head of a proxy request: one reading only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agp.errors import ConfigurationError, MessageRefused
from agp.sandbox.connect import (
    Target,
    format_connect,
    open_tunnel,
    open_tunnel_or_plain,
    parse_connect,
    parse_egress,
    parse_target,
)

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


PLAIN = {
    "a name": (b"http://Example.org", "example.org:80", b"/", b"Example.org"),
    "a port": (
        b"http://example.org:8080/a?b=c",
        "example.org:8080",
        b"/a?b=c",
        b"example.org:8080",
    ),
    "a question": (b"http://127.0.0.1:9?x", "127.0.0.1:9", b"/?x", b"127.0.0.1:9"),
    "version six": (b"http://[::1]/", "[::1]:80", b"/", b"[::1]"),
}


@pytest.mark.parametrize(("url", "target", "path", "host"), PLAIN.values(), ids=PLAIN.keys())
def test_a_plain_request_names_its_target_and_is_the_server_s_own_then(
    url: bytes, target: str, path: bytes, host: bytes
) -> None:
    """What the proxy writes stands in it once, whatever the client wrote there."""
    lines = (
        b"Host: elsewhere\r\nAccept: */*\r\nConnection: keep-alive\r\nProxy-Connection: keep-alive"
    )
    body = b"Content-Length: 3"
    opening = open_tunnel_or_plain(b"POST " + url + b" HTTP/1.1\r\n" + lines + b"\r\n" + body)
    assert str(opening.target) == target
    assert opening.answer == b""
    assert opening.first == (
        b"POST " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\nAccept: */*\r\n" + body
        + b"\r\nConnection: close\r\n\r\n"
    )  # fmt: skip


BAD_PLAIN = {
    "another scheme": b"GET https://example.org/ HTTP/1.1",
    "a path alone": b"GET / HTTP/1.1",
    "userinfo": b"GET http://good.example@127.0.0.1/ HTTP/1.1",
    "a fragment": b"GET http://example.org/#x HTTP/1.1",
    "no host": b"GET http:///x HTTP/1.1",
    "an empty port": b"GET http://example.org:/ HTTP/1.1",
    "a backslash in the host": b"GET http://example.org\\@127.0.0.1/ HTTP/1.1",
    "a short address": b"GET http://127.1/ HTTP/1.1",
    "a control byte in the path": b"GET http://example.org/\x00 HTTP/1.1",
    "a bare carriage return": b"GET http://example.org/ HTTP/1.1\r\nX: a\rHost: b",
    "a small method": b"get http://example.org/ HTTP/1.1",
    "a folded line": b"GET http://example.org/ HTTP/1.1\r\nX: y\r\n z",
    "an address without its end": b"GET http://[::1/ HTTP/1.1",
}


@pytest.mark.parametrize("head", BAD_PLAIN.values(), ids=BAD_PLAIN.keys())
def test_a_plain_request_that_two_readers_could_read_differently_is_refused(head: bytes) -> None:
    with pytest.raises(MessageRefused):
        open_tunnel_or_plain(head)


@given(st.binary(max_size=200))
def test_any_bytes_open_one_target_with_one_head_or_nothing(head: bytes) -> None:
    for tried in (head, b"GET http://" + head, b"GET http://a" + head + b" HTTP/1.1"):
        try:
            opening = open_tunnel_or_plain(tried)
        except MessageRefused:
            continue
        assert parse_target(str(opening.target)) == opening.target
        assert opening.first.count(b"\r\n\r\n") == (0 if opening.answer else 1)


@given(st.binary(max_size=200))
def test_a_tunnel_is_read_as_ever(head: bytes) -> None:
    """What serves plain requests too gives CONNECT no second reading."""
    tried = b"CONNECT " + head
    try:
        opening = open_tunnel(tried)
    except MessageRefused:
        with pytest.raises(MessageRefused):
            open_tunnel_or_plain(tried)
        return
    assert open_tunnel_or_plain(tried) == opening
