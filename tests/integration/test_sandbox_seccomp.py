"""Each closed hole of the filter, tried by raw system call from inside a view."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator

import pytest

from agp.sandbox.syscalls import ALWAYS, FAMILIES, OLD_MOUNT_API
from tests.fakes.views import Stage, stage

pytestmark = pytest.mark.confinement

CALLS = """
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
said = {}
for name, number in json.loads(sys.argv[1]):
    ctypes.set_errno(0)
    # Arguments that no kernel accepts, so that an open hole answers with another error.
    done = libc.syscall(number, -1, -1, -1, -1, -1, -1)
    said[name] = [done, ctypes.get_errno()]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def scene() -> Iterator[Stage]:
    with stage() as made:
        yield made


def number_of(call: object) -> int | None:
    return getattr(call, platform.machine())


HARMLESS_OUTSIDE = {
    "ptrace", "process_vm_readv", "pidfd_getfd", "keyctl", "add_key", "io_uring_setup", "setns",
    "userfaultfd", "bpf", "perf_event_open",
}  # fmt: skip


@pytest.fixture(scope="module")
def inside(scene: Stage) -> dict[str, list[int]]:
    table = [(c.name, number_of(c)) for c in (*ALWAYS, *OLD_MOUNT_API) if number_of(c) is not None]
    return json.loads(scene.python(CALLS, json.dumps(table)))


@pytest.mark.parametrize(
    "name", [c.name for c in (*ALWAYS, *OLD_MOUNT_API) if number_of(c) is not None]
)
def test_a_closed_call_is_refused_inside(inside: dict[str, list[int]], name: str) -> None:
    assert inside[name] == [-1, 1]


def test_the_same_calls_reach_the_kernel_outside() -> None:
    """The control: with these arguments the kernel itself answers something else than EPERM."""
    table = [(c.name, number_of(c)) for c in ALWAYS if c.name in HARMLESS_OUTSIDE]
    done = subprocess.run(
        ["/usr/bin/python3", "-ISc", CALLS, json.dumps(table)],
        capture_output=True, check=True, timeout=10,
    )  # fmt: skip
    reached = {name for name, answer in json.loads(done.stdout).items() if answer[1] != 1}
    assert {"ptrace", "process_vm_readv", "pidfd_getfd", "keyctl", "setns"} <= reached


def test_only_listed_socket_families_exist_inside_also_with_high_bits_set(scene: Stage) -> None:
    """AF_VSOCK survives an own network namespace; the kernel looks at the low 32 bits only."""
    code = (
        "import ctypes, json, platform\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "number = {'x86_64': 41, 'aarch64': 198}[platform.machine()]\n"
        "def call(f):\n"
        "    fd = libc.syscall(number, ctypes.c_long(f), 2, 0)\n"
        "    return 'made' if fd >= 0 else ctypes.get_errno()\n"
        "print(json.dumps({f: call(f) for f in list(range(47)) + [40 + (1 << 32)]}))\n"
    )
    said = json.loads(scene.python(code))
    assert {int(family) for family, answer in said.items() if answer != 1} == set(FAMILIES)
    assert said[str(40 + (1 << 32))] == 1


def test_nothing_is_typed_into_a_terminal(scene: Stage) -> None:
    """TIOCSTI and TIOCLINUX, also with high bits set; an ordinary request still works."""
    code = (
        "import ctypes, os, platform\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "number = {'x86_64': 16, 'aarch64': 29}[platform.machine()]\n"
        "main, side = os.openpty()\n"
        "for request in (0x5412, 0x541C, 0x5412 + (1 << 32)):\n"
        "    print(libc.syscall(number, side, ctypes.c_long(request), b'x'), ctypes.get_errno())\n"
        "print(os.get_terminal_size(side).columns >= 0)\n"
    )
    assert scene.python(code).splitlines() == ["-1 1", "-1 1", "-1 1", "True"]


@pytest.mark.parametrize(
    ("name", "machine_code"),
    [
        # mov eax,20 (getpid); int 0x80; ret
        ("the 32-bit entry", b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"),
        # mov eax,0x40000027 (x32 getpid); syscall; ret
        ("the x32 entry", b"\xb8\x27\x00\x00\x40\x0f\x05\xc3"),
    ],
)
def test_another_architecture_s_entry_ends_the_process(
    scene: Stage, name: str, machine_code: bytes
) -> None:
    """A table of 64-bit numbers does not see those calls: AF_VSOCK by `int 0x80` was measured."""
    assert platform.machine() == "x86_64", "these two entries exist on x86_64 only"
    code = (
        "import ctypes, mmap, sys\n"
        "page = mmap.mmap(-1, 4096, prot=7)\n"
        "page.write(bytes.fromhex(sys.argv[1]))\n"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(page))\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(address)(); print('survived')\n"
    )
    argv = ("/usr/bin/python3", "-ISc", code, machine_code.hex())
    outside = subprocess.run(argv, capture_output=True, check=False, timeout=10)
    assert outside.stdout == b"survived\n", "the control"
    done = scene.run(argv)
    assert done.stdout == b""
    assert done.returncode in (-31, 128 + 31)


def test_threads_children_and_ordinary_calls_are_not_touched(scene: Stage) -> None:
    code = (
        "import threading, subprocess, socket, os\n"
        "t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
        "print(subprocess.run(['echo', 'child'], capture_output=True).stdout.decode().strip())\n"
        "a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))\n"
        "print(os.sched_getaffinity(0) != set())\n"
    )
    assert scene.python(code) == "thread\nchild\nb'x'\nTrue\n"
    assert os.sched_getaffinity(0)
