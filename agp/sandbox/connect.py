"""The head of a request to a proxy and the target that it names: pure, strict, in pairs.

Anything that two readers could read differently is refused: other versions, userinfo, spaces,
control bytes, folded or nameless header lines; of CONNECT also other methods and a body.

Source: RFC 9110 §7.6.1 and §9.3.6, RFC 9112 §3.2.2 and §3.2.3.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from agp.errors import ConfigurationError, MessageRefused

MAX_HEAD = 8192
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z")
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\Z")
_METHOD = re.compile(rb"[A-Z]{1,32}\Z")
_PLAIN_URL = re.compile(rb"http://([^/?#]*)(/[\x21-\x22\x24-\x7e]*|\?[\x21-\x22\x24-\x7e]*|)\Z")
_HOP = frozenset(
    (b"connection", b"host", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"upgrade")
)
"""Header lines that are the proxy's to write, or end with it."""
_HAS_PORT = re.compile(rb":[0-9]*\Z")
_PORT = re.compile(r"[1-9][0-9]{0,4}\Z")
_MAX_PORT = 65_535
_MAX_NAME = 253


class Target(NamedTuple):
    """A host, lower-case name or canonical address, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Opening(NamedTuple):
    """What a request to a proxy asks for, and what either end hears before they are joined."""

    target: Target
    answer: bytes
    """For who asked."""
    first: bytes
    """For the target."""


def parse_target(text: str) -> Target:
    """Read `host:port` or `[v6]:port`.

    Raises:
        MessageRefused: anything else.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.match(port) or int(port) > _MAX_PORT:
        raise MessageRefused("a target is not host:port")
    if host.startswith("[") and host.endswith("]"):
        return Target(_address(host[1:-1], ipaddress.IPv6Address), int(port))
    name = host.lower()
    if len(name) > _MAX_NAME or not _NAME.match(name):
        raise MessageRefused("a target's host is not a name or an address")
    if re.fullmatch(r"[0-9.]+|0x[0-9a-f.x]*", name) or name.rpartition(".")[2].isdigit():
        # A resolver reads 127.1, 0x7f.1 and 2130706433 as addresses too: one spelling only.
        return Target(_address(name, ipaddress.IPv4Address), int(port))
    return Target(name, int(port))


def parse_egress(names: tuple[str, ...]) -> frozenset[Target]:
    """Read the configured egress.

    Raises:
        ConfigurationError: one of the names is not exactly `host:port`.
    """
    targets: set[Target] = set()
    for name in names:
        try:
            targets.add(parse_target(name))
        except MessageRefused as error:
            raise ConfigurationError(
                "an egress target is not acceptable",
                where=name,
                why=error.what,
                fix="write host:port, for example api.anthropic.com:443",
            ) from error
    return frozenset(targets)


def parse_connect(head: bytes) -> Target:
    r"""Read a request head without its final empty line.

    Raises:
        MessageRefused: anything but one plain CONNECT with well-formed header lines.
    """
    (method, named, _), headers = _read(head)
    if method != b"CONNECT":
        raise MessageRefused("only CONNECT is served here")
    for name, _ in headers:
        if name in (b"transfer-encoding", b"content-length"):
            raise MessageRefused("a CONNECT request has no body")
    return _target(named)


def format_connect(target: Target) -> bytes:
    """Write the head that `parse_connect` reads."""
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}".encode()


def open_tunnel(head: bytes) -> Opening:
    """Read a CONNECT, and nothing else.

    Raises:
        MessageRefused: as `parse_connect`.
    """
    return Opening(parse_connect(head), b"HTTP/1.1 200 Connection established\r\n\r\n", b"")


def open_tunnel_or_plain(head: bytes) -> Opening:
    """Read a CONNECT, or a plain request for one `http://` URL, which its server hears as its own.

    Whoever may CONNECT to a target may say anything there, so this opens nothing more. The server
    is told to close: the next request on this connection could be for another.

    Raises:
        MessageRefused: anything else.
    """
    (method, url, version), headers = _read(head)
    if method == b"CONNECT":
        return open_tunnel(head)
    split = _PLAIN_URL.match(url)
    if split is None or not _METHOD.match(method):
        raise MessageRefused("only CONNECT, and plain requests for an http:// URL, are served here")
    authority, path = split.groups()
    target = _target(authority if _HAS_PORT.search(authority) else authority + b":80")
    path = path if path.startswith(b"/") else b"/" + path
    lines = [b"%s %s %s" % (method, path, version), b"Host: " + authority]
    lines += [line for name, line in headers if name not in _HOP]
    return Opening(target, b"", b"\r\n".join((*lines, b"Connection: close", b"", b"")))


def _read(head: bytes) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Split a head into the three words of its first line, and its other lines by lower-case name.

    Raises:
        MessageRefused: a line is not one.
    """
    first, *lines = head.split(b"\r\n")
    words = first.split(b" ")
    if len(words) != 3 or words[2] not in (b"HTTP/1.1", b"HTTP/1.0"):  # noqa: PLR2004 - method, target, version
        raise MessageRefused("a proxy request does not begin as one")
    if not all(_HEADER.match(line) for line in lines):
        raise MessageRefused("a proxy request has a malformed header line")
    return words, [(line.partition(b":")[0].lower(), line) for line in lines]


def _target(named: bytes) -> Target:
    try:
        return parse_target(named.decode("ascii"))
    except UnicodeDecodeError as error:
        raise MessageRefused("a target is not ASCII") from error


def _address(text: str, kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> str:
    try:
        address = kind(text)
    except ValueError as error:
        raise MessageRefused("a target's address is not one") from error
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise MessageRefused("a target's address has a zone")
    return str(address)
