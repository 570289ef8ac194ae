"""The RFC 6962 Merkle tree over stored lines, kept as its right edge only.

Source: RFC 6962 §2.1. Leaves are the stored bytes of a line without LF.
"""

from __future__ import annotations

import hashlib
from typing import Final

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Hash a leaf: `SHA256(0x00 || leaf)`."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash an inner node: `SHA256(0x01 || left || right)`."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class RightEdge:
    """The roots of the full subtrees of a growing tree, largest first: O(log n) memory and time.

    The subtree sizes are the binary digits of `size`, so that carrying a leaf in is binary
    addition.
    """

    def __init__(self) -> None:
        self._roots: list[bytes] = []
        self._size = 0

    @property
    def size(self) -> int:
        """Leaves so far."""
        return self._size

    def push(self, leaf: bytes) -> None:
        """Add the next leaf's bytes."""
        carried = leaf_hash(leaf)
        size = self._size
        while size & 1:
            carried = node_hash(self._roots.pop(), carried)
            size >>= 1
        self._roots.append(carried)
        self._size += 1

    def root(self) -> bytes:
        """Give the root of the tree as it stands."""
        if not self._roots:
            return EMPTY_ROOT
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root
