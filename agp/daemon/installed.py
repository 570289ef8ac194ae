"""Installed hooks on disk: where each scope's settings lie, and how they are changed.

A settings file is a person's own. It is read strictly, compared with what was shown before it is
replaced, replaced in one step with its mode and owner kept, and a copy of what was there lies
beside it until the hooks are taken out again. The managed scope is a file of AGP's own.

Source: ADR 0016.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import ValidationError

from agp.contracts.base import Contract, Digest
from agp.daemon.files import read_regular
from agp.daemon.shipped import shipped
from agp.errors import ConfigurationError, OverLimit, Refusal
from agp.intendants.claude_code.installation import (
    Document,
    HookPlace,
    Undo,
    differences,
    everything_made,
    foreign_hooks,
    format_document,
    holds_ours,
    install,
    managed_document,
    parse_document,
    same_as_ours,
    uninstall,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agp.daemon.config import Config
    from agp.daemon.home import Home

Scope = Literal["user", "project", "managed"]
SCOPES: Final[tuple[Scope, ...]] = ("user", "project", "managed")
MANAGED_SETTINGS: Final = Path("/etc/claude-code/managed-settings.d/agp.json")
"""A drop-in of AGP's own: nobody else's settings are in it."""
MANAGED_BRIDGE: Final = Path("/etc/agp/agp-bridge")
"""Beside the admin's policy: root's, so that no agent of an ordinary user can change it."""
SIZE_LIMIT: Final = 1024 * 1024
_BACKUP: Final = ".agp-backup"
_INTERPRETER: Final = Path("/usr/bin/python3")


class Remembered(Contract):
    """What `uninstall` must know of the time before; in AGP's home, one file for each settings."""

    version: Literal[1] = 1
    settings: str
    undo: Undo
    before: Digest | None
    """Of the whole file as it was; None: there was none."""
    after: Digest
    """Of the file as the installation left it."""
    made_directory: bool


@dataclass(frozen=True)
class Target:
    """One scope on this machine."""

    scope: Scope
    settings: Path
    bridge: Path
    place: HookPlace
    memory: Path | None
    """None for the managed scope: the whole file is AGP's."""

    @property
    def backup(self) -> Path:
        """Name the copy of what was there, beside the file."""
        return self.settings.with_name(self.settings.name + _BACKUP)


@dataclass(frozen=True)
class Change:
    """What would be written; nothing has been."""

    target: Target
    before: bytes | None
    after: bytes | None
    """None: there is no such file afterwards."""
    bridge: bytes | None
    """The bridge as it shall be; None: removed with the last scope that needs it."""
    remembered: Remembered | None
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Everything is as it shall be."""
        return self.before == self.after and _read(self.target.bridge) == self.bridge


@dataclass(frozen=True)
class Standing:
    """How one scope stands."""

    target: Target
    installed: bool
    problems: tuple[str, ...]
    """What is not as `install` would leave it, each by name."""
    foreign: tuple[str, ...]
    """Events on which other hooks run as well."""


def target_of(
    scope: Scope,
    home: Home,
    config: Config,
    *,
    repo: Path,
    environment: Mapping[str, str] = os.environ,
) -> Target:
    """Say where one scope's settings lie.

    Raises:
        ConfigurationError: the project scope is asked for outside a repository.
    """
    managed = scope == "managed"
    settings = {
        "user": user_settings(environment),
        "project": _top(repo) / ".claude" / "settings.local.json",
        "managed": MANAGED_SETTINGS,
    }[scope]
    bridge = MANAGED_BRIDGE if managed else home.hooks / "agp-bridge"
    interpreter = _INTERPRETER if _INTERPRETER.exists() else Path(sys.executable).resolve()
    place = HookPlace(
        interpreter=str(interpreter),
        bridge=str(bridge),
        socket=str(home.hooks_socket),
        reconnect_s=config.reconnect_s,
    )
    memory = None if managed else home.hooks / f"before-{_sha(os.fsencode(settings))[:16]}.json"
    return Target(scope, settings, bridge, place, memory)


def user_settings(environment: Mapping[str, str] = os.environ) -> Path:
    """Name the person's own settings file, as the harness finds it."""
    named = environment.get("CLAUDE_CONFIG_DIR")
    return (Path(named) if named else Path.home() / ".claude") / "settings.json"


def settings_files(workspace: str) -> tuple[str, ...]:
    """Name every settings file that could switch installed hooks off."""
    here = Path(workspace) / ".claude"
    places = (user_settings(), here / "settings.json", here / "settings.local.json")
    return (*(str(place) for place in places), str(MANAGED_SETTINGS.parent.parent))


def plan_install(target: Target) -> Change:
    """Say what an installation would write.

    Raises:
        ConfigurationError: the file is not strict JSON, not a plain file of ours, or not ours to
            change; it says what to do.
    """
    _check_place(target)
    before = _settings(target)
    bridge = shipped("hooks/agp-bridge").read_bytes()
    if target.memory is None:
        after = format_document(managed_document(target.place))
        return Change(target, before, after, bridge, None)
    document = {} if before is None else parse_document(before, where=str(target.settings))
    known = _remembered(target) if holds_ours(document) else None
    done = install(document, target.place, undo=None if known is None else known.undo)
    same = before is not None and json.dumps(done.document) == json.dumps(document)
    after = before if before is not None and same else format_document(done.document)
    remembered = Remembered(
        settings=str(target.settings),
        undo=done.undo,
        before=_digest(before) if known is None else known.before,
        after=Digest(_sha(after)),
        made_directory=not target.settings.parent.exists()
        or (known is not None and known.made_directory),
    )
    notes = () if holds_ours(document) else _theirs(document, "stay when the hooks go again")
    return Change(target, before, after, bridge, remembered, notes)


def plan_uninstall(target: Target) -> Change:
    """Say what taking the hooks out would write; a file that nobody changed gets its bytes back.

    Raises:
        ConfigurationError: as `plan_install`.
    """
    _check_place(target)
    before, known = _settings(target), _remembered(target)
    if before is None or target.memory is None:
        return Change(target, before, None, None, None)
    if known is not None and known.after == _sha(before):
        kept = _read(target.backup)
        if known.before is None or (kept is not None and _sha(kept) == known.before):
            return Change(target, before, kept if known.before else None, None, known)
    document = parse_document(before, where=str(target.settings))
    if not holds_ours(document):
        # Attack on the person's own words: they wrote the file anew, with `ask: ["*"]` of theirs.
        bridge = _read(target.bridge) if known is None else None
        stays = _theirs(document, "stay; take them out yourself if they were AGP's")
        return Change(target, before, before, bridge, known, stays)
    notes: tuple[str, ...] = ()
    if known is None:
        lost = "what this file held before is not known any more: AGP's values are removed, and"
        notes = (f"{lost} what they replaced is not put back",)
    back = uninstall(document, everything_made() if known is None else known.undo)
    gone = not back and known is not None and known.before is None
    return Change(target, before, None if gone else format_document(back), None, known, notes)


def _theirs(document: Document, what_now: str) -> tuple[str, ...]:
    """Name what AGP would set too, in a file without a hook of AGP: nobody but the person set it.

    To take out what was theirs would loosen their own settings; what was AGP's is strict, and stays
    where nobody can tell.
    """
    values = same_as_ours(document)
    if not values:
        return ()
    return (f"no hook of AGP is in this file, so {', '.join(values)} are yours, and {what_now}",)


def apply(change: Change) -> None:
    """Write what was planned, if the file is still what was planned on.

    The order leaves hooks without a bridge never, and a bridge without hooks at worst.

    Raises:
        Refusal: somebody changed the file since it was shown.
        ConfigurationError: it cannot be written.
    """
    target = change.target
    try:
        if _settings(target) != change.before:
            raise Refusal(
                "the settings file was changed meanwhile",
                where=str(target.settings),
                fix="look at it, and try again",
            )
        if change.bridge is not None:
            _install_files(change, change.bridge)
        else:
            _remove_files(change)
    except OSError as error:
        raise ConfigurationError(
            "the hooks cannot be written",
            where=error.filename or str(target.settings),
            why=error.strerror or "",
            fix="look at its mode and owner, and at the space that is left",
        ) from error


def standing_of(target: Target) -> Standing:
    """Say whether a scope's hooks are installed, and what of them is not as it shall be.

    Raises:
        ConfigurationError: the settings file cannot be read or is no JSON: the harness drops it.
    """
    before = _read(target.settings)
    if before is None:
        return Standing(target, installed=False, problems=(), foreign=())
    document = parse_document(before, where=str(target.settings))
    if not holds_ours(document):
        return Standing(target, installed=False, problems=(), foreign=())
    wanted: Document = managed_document(target.place)
    problems = [*differences(document, target.place)]
    if target.scope == "managed" and not problems and document != wanted:
        problems.append("the file holds more, or less, than this AGP writes there")
    if _read(target.bridge) != shipped("hooks/agp-bridge").read_bytes():
        problems.append(f"the bridge {target.bridge} is missing, changed, or of another AGP")
    if not Path(target.place.interpreter).exists():
        problems.append(f"the bridge's interpreter {target.place.interpreter} is missing")
    return Standing(target, True, tuple(problems), foreign_hooks(document))


def installed_digest(home: Home, workspace: str) -> Digest:
    """Name the settings files and bridges that are in force, for the journal."""
    settings = (Path(name) for name in settings_files(workspace)[:3])
    files = (*settings, MANAGED_SETTINGS, MANAGED_BRIDGE, home.hooks / "agp-bridge")
    digest = hashlib.sha256(b"agp/installed/v1\0")
    for path in files:
        data = _read(path)
        digest.update(b"-" if data is None else b"%d:%b" % (len(data), data))
    return Digest(digest.hexdigest())


def write_file(path: Path, data: bytes, *, mode: int, like: os.stat_result | None = None) -> None:
    """Replace a file in one step, durably; with the mode and the owner of `like`, if given.

    Raises:
        OSError: it cannot be written, or the owner cannot be kept.
    """
    path.parent.mkdir(mode=0o755 if mode & 0o004 else 0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            if like is not None and (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), like.st_uid, like.st_gid)
            os.fchmod(file.fileno(), mode if like is None else stat.S_IMODE(like.st_mode))
            os.fsync(file.fileno())
        fresh.replace(path)
        _sync(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def _install_files(change: Change, bridge: bytes) -> None:
    target, managed = change.target, change.target.scope == "managed"
    write_file(target.bridge, bridge, mode=0o644 if managed else 0o600)
    remembered = change.remembered
    state = target.settings.stat() if change.before is not None else None
    if target.memory is not None and remembered is not None:
        if change.before is not None and remembered.before == _sha(change.before):
            write_file(target.backup, change.before, mode=0o600, like=state)
        write_file(target.memory, remembered.model_dump_json().encode(), mode=0o600)
    if change.after is not None and change.after != change.before:
        write_file(target.settings, change.after, mode=0o644 if managed else 0o600, like=state)


def _remove_files(change: Change) -> None:
    target = change.target
    if change.after is None:
        target.settings.unlink(missing_ok=True)
    elif change.after != change.before:
        write_file(target.settings, change.after, mode=0o600, like=target.settings.stat())
    if change.remembered is not None:
        target.backup.unlink(missing_ok=True)
        if change.remembered.made_directory:
            _remove_empty(target.settings.parent)
    if target.memory is not None:
        target.memory.unlink(missing_ok=True)
        if any(target.memory.parent.glob("before-*.json")):
            return  # the bridge serves another file as well
    else:
        _remove_empty(target.settings.parent)
        _remove_empty(target.settings.parent.parent)
    target.bridge.unlink(missing_ok=True)
    _remove_empty(target.bridge.parent)


def _remove_empty(directory: Path) -> None:
    if directory.is_dir() and not any(directory.iterdir()):
        with suppress(OSError):  # a mount point stays; an empty directory harms nobody
            directory.rmdir()


def _check_place(target: Target) -> None:
    """Refuse a file that is somebody else's, or that a link leads away.

    Attack: a repository's `.claude` is a link to the person's own, or to another project's.
    """
    managed = target.scope == "managed"
    if managed and os.geteuid() != 0:
        raise ConfigurationError(
            "the managed scope is root's",
            where=str(target.settings),
            fix="as root, with AGP_HOME set to the operator's home of AGP",
        )
    for path in (target.settings.parent, target.settings):
        try:
            state = path.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _not_ours(path, error.strerror or "it cannot be looked at") from error
        linked = stat.S_ISLNK(state.st_mode)
        if linked and (path == target.settings or target.scope != "user"):
            raise _not_ours(path, "it is a link; name the file that it leads to, or replace it")
        if path.stat().st_uid != os.geteuid():
            raise _not_ours(path, "it belongs to somebody else")
        if managed and stat.S_IMODE(state.st_mode) & 0o022:
            raise _not_ours(path, "others may write it")


def _not_ours(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        "this settings file is not ours to change", where=str(path), why=why, fix=f"ls -la {path}"
    )


def _top(repo: Path) -> Path:
    place = repo.resolve()
    found = next((up for up in (place, *place.parents) if os.path.lexists(up / ".git")), None)
    if found is None:
        return place
    return found


def _settings(target: Target) -> bytes | None:
    return _read(target.settings)


def _read(path: Path) -> bytes | None:
    """Read a whole file; None: it is not there.

    Raises:
        ConfigurationError: it is there and cannot be read, or is no plain file of a fair size.
    """
    try:
        return read_regular(path, limit=SIZE_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OverLimit as error:
        raise ConfigurationError(error.what, where=str(path)) from error
    except OSError as error:
        raise ConfigurationError(
            "a file of the hooks cannot be read", where=str(path), why=error.strerror or ""
        ) from error


def _remembered(target: Target) -> Remembered | None:
    data = None if target.memory is None else _read(target.memory)
    if data is None:
        return None
    try:
        return Remembered.model_validate_json(data)
    except ValidationError as error:
        raise ConfigurationError(
            "what was there before the installation cannot be read",
            where=str(target.memory),
            fix=f"remove it; a copy of the settings may lie beside them ({_BACKUP})",
        ) from error


def _digest(data: bytes | None) -> Digest | None:
    return None if data is None else Digest(_sha(data))


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
