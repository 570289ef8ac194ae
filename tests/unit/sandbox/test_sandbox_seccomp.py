"""The filter, interpreted instruction by instruction, for both machines."""

from __future__ import annotations

import struct

import pytest

from agp.errors import ConfigurationError
from agp.sandbox.seccomp import filter_program
from agp.sandbox.syscalls import ALWAYS, CLONE, CLONE3, IOCTL, OLD_MOUNT_API, SOCKET, UNSHARE, Call

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = tuple(ARCH)


def run(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """Interpret the classic BPF subset that seccomp(2) allows; anything else is an error."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *(a % 2**64 for a in padded))
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("<HBBI", program, at * 8)
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif code == 0x06:
            return value
        else:
            taken = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }[code]
            at += if_true if taken else if_false


def number(call: Call, machine: str) -> int | None:
    return getattr(call, machine)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("nesting", [True, False])
def test_every_call_of_the_table_is_refused(machine: str, nesting: bool) -> None:
    program = filter_program(nesting=nesting, machine=machine)
    for call in ALWAYS:
        if (n := number(call, machine)) is not None:
            assert run(program, ARCH[machine], n) == EPERM, call.name


@pytest.mark.parametrize("machine", MACHINES)
def test_mounts_and_namespaces_are_open_only_to_a_view_that_nests(machine: str) -> None:
    nests = filter_program(nesting=True, machine=machine)
    plain = filter_program(nesting=False, machine=machine)
    for call in OLD_MOUNT_API:
        n = number(call, machine)
        assert n is not None
        assert run(nests, ARCH[machine], n) == ALLOW
        assert run(plain, ARCH[machine], n) == EPERM
    for call in (CLONE, UNSHARE):
        n = number(call, machine)
        assert n is not None
        for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x80, 0x10000000 | 1 << 40):
            assert run(nests, ARCH[machine], n, flag) == ALLOW
            assert run(plain, ARCH[machine], n, flag) == EPERM
        assert run(plain, ARCH[machine], n, 0x3D0F00) == ALLOW, "a thread"
    n = number(CLONE3, machine)
    assert n is not None
    assert run(plain, ARCH[machine], n) == ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_a_foreign_architecture_kills_whatever_the_number(machine: str) -> None:
    program = filter_program(nesting=False, machine=machine)
    for arch in {0x40000003, 0x40000028, *ARCH.values()} - {ARCH[machine]}:
        for n in (0, 20, 39, 41, 102, 359):
            assert run(program, arch, n) == KILL
    if machine == "x86_64":
        assert run(program, ARCH[machine], 0x40000000 + 39) == KILL
        assert run(program, ARCH[machine], 0xFFFFFFFF) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_families_and_terminal_requests_are_judged_by_their_low_32_bits(machine: str) -> None:
    program = filter_program(nesting=False, machine=machine)
    socket_number, ioctl_number = number(SOCKET, machine), number(IOCTL, machine)
    assert socket_number is not None
    assert ioctl_number is not None
    for family in range(64):
        expected = ALLOW if family in {1, 2, 10, 16} else EPERM
        assert run(program, ARCH[machine], socket_number, family) == expected
        assert run(program, ARCH[machine], socket_number, family | 1 << 32) == expected
    for request, expected in ((0x5412, EPERM), (0x541C, EPERM), (0x5413, ALLOW), (0x5401, ALLOW)):
        assert run(program, ARCH[machine], ioctl_number, 0, request) == expected
        assert run(program, ARCH[machine], ioctl_number, 0, request | 1 << 32) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_ordinary_calls_pass(machine: str) -> None:
    program = filter_program(nesting=False, machine=machine)
    refused = {number(c, machine) for c in (*ALWAYS, *OLD_MOUNT_API, CLONE3)}
    for n in set(range(460)) - refused:
        if n != number(SOCKET, machine):
            assert run(program, ARCH[machine], n) == ALLOW


def test_an_unknown_machine_is_an_error_not_an_open_filter() -> None:
    with pytest.raises(ConfigurationError):
        filter_program(nesting=False, machine="riscv64")
