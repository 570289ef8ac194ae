"""The seccomp filter of a view, assembled by us from the table in `syscalls`.

The program, as an auditor reads it:
1. another architecture's call (32-bit, and x32 on x86_64) ends the process: their numbers differ,
   so that a table of ours would not see them (AF_VSOCK through `int 0x80` was measured);
2. a call of the table fails with EPERM;
3. `socket` with a family that is not listed fails with EPERM;
4. `ioctl` TIOCSTI and TIOCLINUX fail with EPERM;
5. where the view does not nest: `clone` and `unshare` with a namespace flag fail with EPERM,
   `clone3` with ENOSYS (its flags are behind a pointer; libc then uses `clone`);
6. everything else is allowed.

Arguments are compared in their low 32 bits, as the kernel does: a family with high bits set is
still that family.

Source: seccomp(2), `linux/filter.h`, `linux/audit.h`.
"""

from __future__ import annotations

import platform
import struct

from agp.errors import ConfigurationError
from agp.sandbox.syscalls import (
    ALWAYS,
    CLONE,
    CLONE3,
    FAMILIES,
    IOCTL,
    NAMESPACE_FLAGS,
    OLD_MOUNT_API,
    SOCKET,
    TERMINAL_IOCTLS,
    UNSHARE,
    Call,
)

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_EPERM = _ERRNO | 1
_ENOSYS = _ERRNO | 38

_LOAD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_JUMP_ANY_BIT = 0x45
_RETURN = 0x06
_NUMBER, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24
"""Offsets in `struct seccomp_data`; both machines are little-endian: low words come first."""


def filter_program(*, nesting: bool, machine: str = platform.machine()) -> bytes:
    """Assemble the filter as an array of `struct sock_filter`.

    Raises:
        ConfigurationError: no table for this machine; nothing is run unfiltered.
    """
    if machine not in _AUDIT_ARCH:
        raise ConfigurationError(
            "there is no system call filter for this machine",
            where=machine,
            fix="AGP confines on x86_64 and aarch64",
        )
    program = _prologue(machine)
    refused = ALWAYS if nesting else (*ALWAYS, *OLD_MOUNT_API)
    for call in refused:
        program += _when(call, machine, _return(_EPERM))
    program += _when(SOCKET, machine, _only_families())
    program += _when(IOCTL, machine, _no_terminal_ioctls())
    if not nesting:
        program += _when(CLONE3, machine, _return(_ENOSYS))
        program += _when(CLONE, machine, _no_namespaces())
        program += _when(UNSHARE, machine, _no_namespaces())
    return program + _return(_ALLOW)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _return(value: int) -> bytes:
    return _instruction(_RETURN, value)


def _prologue(machine: str) -> bytes:
    words = _instruction(_LOAD, _ARCH)
    words += _instruction(_JUMP_EQUAL, _AUDIT_ARCH[machine], if_true=1)
    words += _return(_KILL_PROCESS) + _instruction(_LOAD, _NUMBER)
    if machine == "x86_64":
        words += _instruction(_JUMP_AT_LEAST, _X32_BIT, if_false=1) + _return(_KILL_PROCESS)
    return words


def _when(call: Call, machine: str, then: bytes) -> bytes:
    """Run `then`, which always returns, for this call only; the accumulator holds the number."""
    number = call.x86_64 if machine == "x86_64" else call.aarch64
    if number is None:
        return b""
    return _instruction(_JUMP_EQUAL, number, if_false=len(then) // 8) + then


def _only_families() -> bytes:
    tests = b"".join(
        _instruction(_JUMP_EQUAL, family, if_true=len(FAMILIES) - index)
        for index, family in enumerate(FAMILIES)
    )
    return _instruction(_LOAD, _ARG0) + tests + _return(_EPERM) + _return(_ALLOW)


def _no_terminal_ioctls() -> bytes:
    tests = b"".join(
        _instruction(_JUMP_EQUAL, request, if_true=len(TERMINAL_IOCTLS) - index)
        for index, request in enumerate(TERMINAL_IOCTLS)
    )
    return _instruction(_LOAD, _ARG1) + tests + _return(_ALLOW) + _return(_EPERM)


def _no_namespaces() -> bytes:
    test = _instruction(_JUMP_ANY_BIT, NAMESPACE_FLAGS, if_true=1)
    return _instruction(_LOAD, _ARG0) + test + _return(_ALLOW) + _return(_EPERM)
