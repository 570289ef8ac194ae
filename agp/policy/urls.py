"""Which host and port a URL reaches, where every client agrees about it.

Parsers differ in backslashes, odd spaces, several `@`, percent signs and Unicode in the host, and
numbers that some resolvers take for addresses (`127.1`, `0x7f000001`). Each of these is refused:
a URL that two clients read differently names no host. Source: RFC 3986 §3.2; WHATWG URL.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final, NamedTuple

from agp.policy.patterns import LAST_PORT, is_address, is_host

_PORTS: Final = MappingProxyType({"http": 80, "https": 443, "ws": 80, "wss": 443})
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([/?#].*)?", re.DOTALL)
_AUTHORITY: Final = re.compile(r"(?:[^@]*@)?(\[[^\[\]]*\]|[^:\[\]]+)(?::([0-9]{1,5}))?", re.ASCII)
_ODD: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")


class Endpoint(NamedTuple):
    """Where a URL leads."""

    host: str
    port: int


def endpoint_of(url: str) -> Endpoint | str:
    """Read a URL strictly; a text says why it is not understood."""
    if _ODD.search(url):
        return "the URL holds spaces, controls or backslashes"
    found = _URL.fullmatch(url)
    if not found or found[1].lower() not in _PORTS:
        return "the URL is not http, https, ws or wss with a host"
    authority = _AUTHORITY.fullmatch(found[2])
    host = _host(authority[1].lower()) if authority and found[2].isascii() else None
    if authority is None or host is None:
        return "the URL's host, user or port is written in a way that clients read differently"
    port = int(authority[2]) if authority[2] else _PORTS[found[1].lower()]
    return Endpoint(host, port) if 0 < port <= LAST_PORT else "the URL's port does not exist"


def _host(written: str) -> str | None:
    """Give a canonical host, or None; an IPv6 address stands in brackets and nothing else does."""
    if written.startswith("["):
        address = written[1:-1]
        return address if ":" in address and is_address(address) else None
    name = written.removesuffix(".")
    return name if ":" not in name and is_host(name) else None
