"""The checks of `doctor`: each one tries the thing itself and looks at what came out.

Only what the configured axes need is tried: a harness that nobody configured is no failure.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from agp.cli.findings import Finding, State, failed
from agp.cli.login import LOGIN_NAMES, LOGIN_WORDS
from agp.cli.wire import check_keys
from agp.errors import AgpError, ConfigurationError, DaemonAway, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agp.daemon.config import Config
    from agp.daemon.home import Home

_MIB = 1024 * 1024


def examine(home: Home) -> tuple[Finding, ...]:
    """Try everything, in the order in which a run needs it; one failure hides no other."""
    from agp.daemon.config import Config, load_config

    config = Config()
    first = (_tried("home", lambda: _home(home)), _tried("config", lambda: _config(home)))
    if all(finding.state is State.PROVED for finding in first):
        config = load_config(home.config)
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("disk", lambda: _disk(home, config)),
        ("key", lambda: _key(home)),
        ("policy", lambda: _policy(home)),
        ("journal", lambda: _journal(home)),
        ("bridge", _bridge),
        ("sandbox", lambda: _sandbox(home, config)),
        ("claude-code", lambda: _claude_code(home, config)),
        ("login", lambda: _login(config)),
        ("carry", lambda: _carry(config)),
        ("daemon", lambda: _daemon(home)),
    )
    if not home.root.exists():
        return (*first, *(_without_home(name, check) for name, check in checks))
    return (*first, *(_tried(name, check) for name, check in checks))


def _without_home(name: str, check: Callable[[], Finding]) -> Finding:
    """Try what needs no home; for the rest one failure, the home's own, says it all."""
    if name in {"bridge", "login", "carry"}:
        return _tried(name, check)
    return Finding(name, State.UNTRIED, "needs the home")


def _tried(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except AgpError as error:
        return failed(name, error)


def _home(home: Home) -> Finding:
    """Prove that the home is ours alone, down to each file that holds a secret."""
    home.check()
    for path in (home.root, *sorted(home.root.glob("*")), *sorted(home.root.glob("keys/*.key"))):
        if path.is_socket() or path.is_symlink():
            continue
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(
                "others can reach a part of AGP's home",
                where=str(path),
                fix=f"chmod go-rwx {path}",
            )
    return Finding("home", State.PROVED, f"{home.root}, yours alone")


def _config(home: Home) -> Finding:
    from agp.daemon.config import load_config

    load_config(home.config)
    said = "read" if home.config.exists() else "absent: the defaults hold"
    return Finding("config", State.PROVED, f"config.toml {said}")


def _disk(home: Home, config: Config) -> Finding:
    """Prove that the journal has room: below the reserve the daemon would pause."""
    try:
        free = shutil.disk_usage(home.root).free // _MIB
    except OSError as error:
        raise ConfigurationError(
            "the disk cannot be looked at", where=str(home.root), why=error.strerror or ""
        ) from error
    if free <= config.disk_reserve_mib:
        raise ConfigurationError(
            f"only {free} MiB are free, the reserve is {config.disk_reserve_mib} MiB",
            where=str(home.root),
            why="the daemon grants nothing while a journal could run out of room",
            fix="free some space, or move AGP_HOME to another disk",
        )
    return Finding("disk", State.PROVED, f"{free} MiB free")


def _key(home: Home) -> Finding:
    """Sign something new with the private key and verify it with the *published* public one."""
    from agp.journal.keys import read_public_key, read_signer, verify_signature

    check_keys(home)
    signer = read_signer(home.signing_key)
    public = read_public_key(home.public_key)
    message = b"agp/doctor/v1\0" + secrets.token_bytes(32)
    verify_signature(public.raw, message, signer.sign(message))
    return Finding("key", State.PROVED, f"signed and verified, key {public.key_id[:16]}")


def _policy(home: Home) -> Finding:
    from agp.daemon.shelf import PolicyShelf

    loaded = PolicyShelf(home).reload()
    if not home.policy.exists():
        raise ConfigurationError(
            "there is no policy of yours", where=str(home.policy), fix="run `agp init`"
        )
    return Finding("policy", State.PROVED, f"{loaded.rules} rules, {loaded.policy_digest[:16]}")


def _journal(home: Home) -> Finding:
    """Verify the whole journal offline, as `agp verify` does."""
    from agp.journal.keys import read_public_key
    from agp.journal.verify import Integrity, verify_directory

    if not any(home.journal.glob("*")):
        return Finding("journal", State.UNUSED, "nothing recorded yet")
    report = verify_directory(home.journal, read_public_key(home.public_key))
    if report.integrity is Integrity.DISTRUSTED:
        raise IntegrityError(
            f"{report.distrusted_lines} lines are signed by a revoked key",
            where=str(home.journal),
            fix="agp verify says more",
        )
    return Finding("journal", State.PROVED, f"{report.lines} events are what was signed")


def _bridge() -> Finding:
    """Let the shipped bridge carry a denied call through a real socket, and lose its daemon."""
    from agp.cli.bridge_proof import prove_denied_call, prove_no_daemon

    with tempfile.TemporaryDirectory(prefix="agp-") as place:
        prove_denied_call(Path(place))
        prove_no_daemon(Path(place))
    return Finding("bridge", State.PROVED, "a denied call was blocked; so was one without a daemon")


def _sandbox(home: Home, config: Config) -> Finding:
    """Run the local provider's own preflight in a throw-away workspace of an ordinary user."""
    import anyio

    from agp.sandbox.local import LocalProvider
    from agp.sandbox.places import create, plan_places

    provider = LocalProvider(agp_home=str(home.root), toolchains=config.toolchains)
    with tempfile.TemporaryDirectory(prefix="agp-", dir=_SCRATCH) as workspace:
        if os.geteuid() == 0:
            os.chown(workspace, _NOBODY, _NOBODY)
        create(plan_places(workspace))
        report = anyio.run(provider.preflight, workspace)
    escaped = [probe for probe in report.probes if not probe.passed]
    if not report.passed:
        raise ConfigurationError(
            "the sandbox did not hold what it must hold",
            why="; ".join(f"{probe.name}: {probe.detail or probe.result}" for probe in escaped)
            or "no probe ran",
            fix="install bubblewrap >= 0.8 and allow unprivileged user namespaces",
        )
    what = f"{report.grade.value}: {len(report.probes)} ways out tried, each one blocked"
    names = ", ".join(probe.name for probe in report.probes)
    return Finding("sandbox", State.PROVED, what, why=names)


_SCRATCH = "/tmp"  # noqa: S108 - of our own name, 0700, removed at once
_NOBODY = 65534
"""Owner of the throw-away workspace: AGP refuses to run agents as root."""


def _claude_code(home: Home, config: Config) -> Finding:
    """Let the configured binary show that it is governed; where none is named, one on PATH."""
    from agp.cli.canary_proof import prove_claude_code
    from agp.intendants.claude_code.version import INSTALL

    if not _has_claude(config):
        what = "not on PATH and not named: `agp run` has no harness to govern"
        return Finding("claude-code", State.TODO, what, fix=INSTALL)
    return prove_claude_code(home, config)


def _has_claude(config: Config) -> bool:
    found = shutil.which("claude", path=os.environ.get("PATH", ""))
    return bool(config.claude_code) or found is not None


def _login(config: Config) -> Finding:
    """Look for a model key that is named to be handed over; only a run shows that it is taken."""
    named = sorted(LOGIN_NAMES & set(config.pass_environment))
    if not _has_claude(config):
        return Finding("login", State.UNUSED, "no harness that needs one")
    if not named and not LOGIN_WORDS.isdisjoint(config.carry):
        return Finding("login", State.PROVED, "the login file of your home is carried")
    if not named:
        what = "no variable with a model key is named for Claude Code"
        fix = 'pass_environment = ["ANTHROPIC_API_KEY"] or carry = ["login"] in config.toml,'
        return Finding("login", State.TODO, what, fix=f"{fix} or agp run --pass-env NAME")
    unset = [name for name in named if name not in os.environ]
    if unset:
        what = f"{unset[0]} is named for Claude Code, and is not set here"
        return Finding("login", State.TODO, what, fix=f"export {unset[0]}=...")
    return Finding("login", State.PROVED, f"{', '.join(named)} is named and set")


def _carry(config: Config) -> Finding:
    """Look at what of your own set-up would go back; the repository's part is seen by a run only.

    A throw-away directory stands for the repository.
    """
    from agp.daemon.carry import look, told

    with tempfile.TemporaryDirectory(prefix="agp-") as workspace:
        made = look(
            config.carry,
            workspace=str(Path(workspace).resolve()),
            view_uid=os.geteuid(),
            home=Path.home(),
            egress=config.egress,
        )
    if made.left:
        why = "; ".join(told((), made.left))
        return Finding("carry", State.WARNED, "a part of your set-up cannot go back", why=why)
    said = ", ".join(config.carry) or "nothing"
    return Finding("carry", State.PROVED, f"{said}; {len(made.names)} parts of your own")


def _daemon(home: Home) -> Finding:
    """Ask the daemon; none is no failure, because `agp run` starts one."""
    from agp.cli.wire import ask_daemon
    from agp.contracts.control import DaemonStatus
    from agp.contracts.gateway import ControlOp

    try:
        state = ask_daemon(ControlOp.DAEMON_STATUS, DaemonStatus)
    except DaemonAway:
        return Finding("daemon", State.UNUSED, "not running; `agp run` starts one")
    if state.paused is not None:
        return Finding(
            "daemon", State.WARNED, f"paused: {state.paused}", str(home.root), fix="agp resume"
        )
    return Finding("daemon", State.PROVED, f"answers, pid {state.pid}")
