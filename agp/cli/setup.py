"""`init` and `keygen`: a home with a configuration, a policy and a key, made once."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from agp.cli.config_template import CONFIG_TEMPLATE
from agp.cli.wire import checked_home, output_of
from agp.contracts.display import visible
from agp.errors import ConfigurationError, NotBuilt

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import JsonValue

    from agp.daemon.config import Config
    from agp.daemon.home import Home
    from agp.journal.keys import PublicKey

_SCHEMA = "policy.schema.json"
"""Beside the policy, whose first line names it to editors."""
_OURS = frozenset(
    {"config.toml", "policy.yaml", "keys", "journal", "calls", "run", "sessions", "harness", "gone"}
)


def register(app: typer.Typer) -> None:
    """Put this group's commands on the command line."""
    for command in (init, keygen):
        app.command()(command)


def init(
    ctx: typer.Context,
    *,
    no_key: Annotated[bool, typer.Option("--no-key", help="Make no signing key now.")] = False,
) -> None:
    """Make AGP's home: configuration, starter policy, signing key. What is there is kept."""
    from agp.daemon.config import load_config
    from agp.daemon.home import Home
    from agp.daemon.shelf import PolicyShelf
    from agp.daemon.shipped import shipped

    home = Home.from_environment()
    home.check_length()
    _refuse_strange(home)
    home.create()
    home.check()
    starter = shipped("policies/starter.yaml").read_bytes()
    schema = shipped("policies/policy.schema.json").read_bytes()
    made = [
        path
        for path, content in (
            (home.config, CONFIG_TEMPLATE.encode()),
            (home.policy, starter),
            (home.policy.with_name(_SCHEMA), schema),
        )
        if write_new(path, content)
    ]
    config = load_config(home.config)
    PolicyShelf(home).reload()
    if not no_key and not home.signing_key.exists():
        made.append(home.signing_key)
        _make_key(home, config)
    key = _public_key(home)
    document: dict[str, JsonValue] = {
        "home": str(home.root),
        "made": [str(path) for path in made],
        "key_id": None if key is None else key.key_id,
    }
    output_of(ctx).show("init", document, _init_lines(home, made, key))


def keygen(
    ctx: typer.Context,
    *,
    rotate: Annotated[bool, typer.Option("--rotate", help="Not built yet: refused.")] = False,
) -> None:
    """Make the key that signs the journal; an existing one is never overwritten."""
    if rotate:
        raise NotBuilt(
            "key rotation is not built yet",
            why="a journal keeps the key that it was begun with",
            fix="begin a new home with AGP_HOME, and keep the old one for its journal",
        )
    from agp.daemon.config import load_config
    from agp.journal.keys import format_public_key

    home = checked_home()
    home.create()
    key = _make_key(home, load_config(home.config))
    vkey = format_public_key(key).decode().rstrip("\n")
    document = {"key_id": key.key_id, "public_key": vkey, "path": str(home.public_key)}
    lines = [
        f"key id      {key.key_id}",
        f"public key  {vkey}",
        f"file        {visible(str(home.public_key))}",
        "Give the public key to whoever shall verify this journal, before the first run.",
    ]
    output_of(ctx).show("keygen", document, lines)


def write_new(path: Path, content: bytes) -> bool:
    """Create a file whole, durable and 0600, or leave an existing one as it is.

    The content becomes visible under its name only when all of it is on disk: a crash leaves
    either no file or the whole one.

    Raises:
        ConfigurationError: the place cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return _link_new(draft, path)
    except OSError as error:
        raise ConfigurationError(
            "a file of AGP's home cannot be written",
            where=str(path),
            why=error.strerror or "",
            fix="make it writable for you, or set AGP_HOME to a directory of yours",
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _link_new(draft: Path, path: Path) -> bool:
    """Give a finished file its name; `link` refuses an existing one atomically."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    return True


def _refuse_strange(home: Home) -> None:
    """Refuse to tighten and fill a directory that is not AGP's own.

    `AGP_HOME=/tmp agp init`, run by root, would otherwise close /tmp for everybody.
    """
    try:
        owner = home.root.stat().st_uid
        strange = sorted(
            entry.name for entry in home.root.iterdir() if entry.name not in {*_OURS, _SCHEMA}
        )
        known = any(entry.name in _OURS for entry in home.root.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(
            "AGP's home cannot be read",
            where=str(home.root),
            why=error.strerror or "",
            fix="set AGP_HOME to a directory of yours",
        ) from error
    if owner != os.geteuid():
        home.check()
    if strange and not known:
        raise ConfigurationError(
            "this directory holds other things than AGP's",
            where=str(home.root),
            why=f"for example {strange[0]}",
            fix="set AGP_HOME to a directory that is new or empty",
        )


def _make_key(home: Home, config: Config) -> PublicKey:
    """Make the key pair, refusing where a journal was begun with another one."""
    from agp.journal.keys import Signer, generate_seed, write_key_files

    if any(home.journal.iterdir()):
        raise ConfigurationError(
            "a journal stands here, so its key is not replaced",
            where=str(home.journal),
            why="a new key could not continue what the old one signed; rotation is not built yet",
            fix="restore keys/ from your backup, or begin a new home with AGP_HOME",
        )
    signer = Signer(generate_seed(), config.origin)
    write_key_files(home.signing_key, home.public_key, signer)
    return signer.public_key


def _public_key(home: Home) -> PublicKey | None:
    """Give the public half; where a crash kept it from being written, it is derived again."""
    from agp.journal.keys import format_public_key, read_public_key, read_signer

    if not home.signing_key.exists():
        return None
    if not home.public_key.exists():
        derived = read_signer(home.signing_key).public_key
        write_new(home.public_key, format_public_key(derived))
    return read_public_key(home.public_key)


def _init_lines(home: Home, made: list[Path], key: PublicKey | None) -> list[str]:
    root = visible(str(home.root))
    news = [f"  made {visible(str(path.relative_to(home.root)))}" for path in made]
    steps = ["agp keygen"] if key is None else []
    steps += ["agp doctor", 'agp run --task "..." --repo DIRECTORY', "agp verify"]
    return [
        f"AGP's home is {root}",
        *(news or ["  everything was there already; nothing was changed"]),
        *([] if key is None else [f"  key  {key.key_id}"]),
        "",
        "Next:",
        *(f"  {step}" for step in steps),
        "",
        "Claude Code gets the key for its model by name: agp run --pass-env ANTHROPIC_API_KEY, or",
        'pass_environment = ["ANTHROPIC_API_KEY"] in config.toml.',
    ]
