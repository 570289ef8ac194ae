"""What the host gives to a view: the system's own files, the tools, and the user it runs as."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agp.contracts.base import Contract
from agp.errors import ConfigurationError, RunRefused
from agp.sandbox.profile import Bind, OurFile

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOL_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where our own tools are looked up; never the operator's PATH."""
_ROOT_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC: Final = (
    "alternatives",
    "ca-certificates",
    "ssl/certs",
    "ssl/openssl.cnf",
    "pki/tls/certs",
    "pki/ca-trust",
    "crypto-policies",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "timezone",
    "locale.alias",
    "mime.types",
    "protocols",
    "services",
    "os-release",
    "debian_version",
    "inputrc",
    "terminfo",
    "perl",
)
"""Named, not globbed: pip.conf, npmrc, gitconfig and others may hold credentials."""
_NEVER_BELOW = (
    "/usr",
    "/etc",
    "/proc",
    "/dev",
    "/sys",
    "/run",
    "/boot",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/opt/agp",
    "/home/agent",
)
_NEVER_ITSELF = (
    "/",
    "/tmp",  # noqa: S108 - a name to refuse
    "/home",
    "/root",
    "/var",
    "/var/tmp",  # noqa: S108 - likewise
    "/opt",
    "/srv",
    "/mnt",
    "/media",
)
_FIRST_PERSON = 1000
"""Below are the system's own accounts, whose homes are often shared places (login.defs(5))."""


class RunAs(Contract):
    """The user inside a view; `staged` where root started it and must hand the sources over."""

    uid: int
    gid: int
    staged: bool


def tool(name: str) -> str:
    """Find one of our tools by a fixed path.

    Raises:
        ConfigurationError: it is not installed; nothing runs without it.
    """
    found = shutil.which(name, path=TOOL_PATH)
    if found is None:
        raise ConfigurationError(
            f"{name} is not installed",
            where=TOOL_PATH,
            why="without it nothing can be confined, and AGP runs nothing unconfined",
            fix=f"apt-get install {_PACKAGE_OF.get(name, name)}",
        )
    return found


def run_as(workspace: str) -> RunAs:
    """Choose the view's user: yourself, or for root the workspace's owner.

    Raises:
        RunRefused: root would have to run the agent as root.
    """
    if os.geteuid() != 0:
        return RunAs(uid=os.geteuid(), gid=os.getegid(), staged=False)
    state = Path(workspace).stat()
    if state.st_uid == 0 or state.st_gid == 0:
        raise RunRefused(
            "an agent never runs as root, and the workspace belongs to root",
            where=workspace,
            fix=f"chown -R USER:GROUP {workspace} (not root), or start AGP as that user",
        )
    return RunAs(uid=state.st_uid, gid=state.st_gid, staged=True)


def check_workspace(named: str, *, agp_home: str) -> str:
    """Resolve the workspace and refuse a place that would show more than a project.

    Compares identities (device, inode) besides paths: a bind mount is another name for a home.

    Raises:
        RunRefused: with the reason and what to do.
    """
    workspace = Path(named).resolve()
    path = str(workspace).encode(errors="replace").decode()
    if path != str(workspace):
        raise _refused(path, "its name is not UTF-8", "rename it; the journal holds text")
    if not workspace.is_dir():
        raise _refused(path, "it is not a directory", "name an existing directory")
    if path in _NEVER_ITSELF or any(_below(path, place) for place in _NEVER_BELOW):
        raise _refused(path, "it is a place of the system", "move the project below your home")
    home = Path(agp_home).resolve()
    if _holds(workspace, home) or _holds(home, workspace):
        raise _refused(path, "it contains or lies in AGP's home", "set AGP_HOME to another place")
    for person in _homes():
        if _holds(workspace, person):
            raise _refused(
                path,
                f"it is or contains the home directory {person}",
                "name the project's own directory",
            )
    return path


def system_binds() -> tuple[tuple[Bind, ...], tuple[tuple[str, str], ...]]:
    """List /usr, the root's links into it, and the named entries of /etc that exist."""
    binds = [Bind(source="/usr", target="/usr")]
    links: list[tuple[str, str]] = []
    for name in _ROOT_LINKS:
        place = Path("/") / name
        if place.is_symlink():
            links.append((str(place), str(place.readlink())))
        elif place.is_dir():
            binds.append(Bind(source=str(place), target=str(place)))
    binds += [
        Bind(source=f"/etc/{name}", target=f"/etc/{name}")
        for name in _ETC
        if Path("/etc", name).exists()
    ]
    links += [("/var/tmp", "/tmp"), ("/var/run", "/run")]  # noqa: S108 - the view's own, private /tmp
    return tuple(binds), tuple(links)


def our_etc(who: RunAs) -> tuple[OurFile, ...]:
    """Write the view's own user, group, host and name-service files: only what it needs."""
    users = f"agent:x:{who.uid}:{who.gid}:agent:/home/agent:/bin/sh\n"
    nobody = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    return tuple(
        OurFile(path=f"/etc/{name}", content=text.encode())
        for name, text in {
            "passwd": "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n" + nobody + users,
            "group": f"root:x:0:\nnogroup:x:65534:\nagent:x:{who.gid}:\n",
            "hosts": "127.0.0.1 localhost agp\n::1 localhost\n",
            "hostname": "agp\n",
            "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n"
            "services: files\nprotocols: files\n",
        }.items()
    )


_PACKAGE_OF = {
    "bwrap": "bubblewrap",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "python3": "python3",
}


def _refused(path: str, why: str, fix: str) -> RunRefused:
    return RunRefused("this directory cannot be a workspace", where=path, why=why, fix=fix)


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(place + "/")


def _holds(outer: Path, inner: Path) -> bool:
    """Tell whether `inner` is or lies below `outer`, by identity where both exist."""
    if outer in (inner, *inner.parents):
        return True
    if not (outer.exists() and inner.exists()):
        return False
    return any(
        place.exists() and outer.samefile(place)
        for place in (inner, *inner.parents)
        if place != Path("/")
    )


def _homes() -> Iterator[Path]:
    yield Path.home().resolve()
    for entry in pwd.getpwall():
        home = Path(entry.pw_dir)
        person = entry.pw_uid == 0 or _FIRST_PERSON <= entry.pw_uid < 65_534  # noqa: PLR2004 - nobody
        if person and home != Path("/") and home.is_absolute() and os.access(home, os.F_OK):
            yield home.resolve()
