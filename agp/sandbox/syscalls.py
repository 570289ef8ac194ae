"""The system calls that no view needs and that lead out of one, as data.

Numbers: Linux `arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h`
(which aarch64 uses). None: the call does not exist there. One test for each closed hole runs from
inside a view.
"""

from __future__ import annotations

from typing import NamedTuple


class Call(NamedTuple):
    """One system call by its two numbers."""

    name: str
    x86_64: int | None
    aarch64: int | None


MEMORY_OF_OTHERS = (
    Call("ptrace", 101, 117),
    Call("process_vm_readv", 310, 270),
    Call("process_vm_writev", 311, 271),
    Call("pidfd_getfd", 438, 438),
    Call("kcmp", 312, 272),
    Call("move_pages", 279, 239),
    Call("migrate_pages", 256, 238),
)
"""Reading or steering another process of the same user: the harness, the forwarder."""

KEYRINGS = (Call("add_key", 248, 217), Call("request_key", 249, 218), Call("keyctl", 250, 219))
"""Kernel keyrings are not covered by every namespace; the operator's session keys live there."""

KERNEL_SURFACE = (
    Call("io_uring_setup", 425, 425),
    Call("io_uring_enter", 426, 426),
    Call("io_uring_register", 427, 427),
    Call("bpf", 321, 280),
    Call("perf_event_open", 298, 241),
    Call("userfaultfd", 323, 282),
    Call("open_by_handle_at", 304, 265),
    Call("fanotify_init", 300, 262),
    Call("lookup_dcookie", 212, 18),
    Call("syslog", 103, 116),
    Call("modify_ldt", 154, None),
    Call("iopl", 172, None),
    Call("ioperm", 173, None),
    Call("acct", 163, 89),
    Call("quotactl", 179, 60),
    Call("quotactl_fd", 443, 443),
    Call("nfsservctl", 180, 42),
    Call("vhangup", 153, 58),
    Call("setns", 308, 268),
)
"""Large or privileged interfaces; io_uring also runs calls that the filter would not see."""

MACHINE = (
    Call("init_module", 175, 105),
    Call("finit_module", 313, 273),
    Call("delete_module", 176, 106),
    Call("kexec_load", 246, 104),
    Call("kexec_file_load", 320, 294),
    Call("reboot", 169, 142),
    Call("swapon", 167, 224),
    Call("swapoff", 168, 225),
    Call("settimeofday", 164, 170),
    Call("clock_settime", 227, 112),
    Call("clock_adjtime", 305, 266),
    Call("adjtimex", 159, 171),
)
"""The machine itself; capabilities refuse these too."""

NEW_MOUNT_API = (
    Call("open_tree", 428, 428),
    Call("move_mount", 429, 429),
    Call("fsopen", 430, 430),
    Call("fsconfig", 431, 431),
    Call("fsmount", 432, 432),
    Call("fspick", 433, 433),
    Call("mount_setattr", 442, 442),
    Call("open_tree_attr", 467, 467),
)

OLD_MOUNT_API = (
    Call("mount", 165, 40),
    Call("umount2", 166, 39),
    Call("pivot_root", 155, 41),
    Call("chroot", 161, 51),
)
"""What a nested bubblewrap needs; open only where the profile nests."""

SOCKET = Call("socket", 41, 198)
IOCTL = Call("ioctl", 16, 29)
CLONE = Call("clone", 56, 220)
CLONE3 = Call("clone3", 435, 435)
UNSHARE = Call("unshare", 272, 97)

ALWAYS = (*MEMORY_OF_OTHERS, *KEYRINGS, *KERNEL_SURFACE, *MACHINE, *NEW_MOUNT_API)

FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK. Everything else is refused: AF_VSOCK (40) is not bound
to the network namespace and leads to the hypervisor (measured)."""

TERMINAL_IOCTLS = (0x5412, 0x541C)
"""TIOCSTI types into the terminal, TIOCLINUX pastes into it."""

NAMESPACE_FLAGS = 0x7E020080
"""CLONE_NEW{USER,PID,NET,IPC,UTS,CGROUP,NS,TIME} of clone(2) and unshare(2)."""
