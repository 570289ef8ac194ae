"""Approved code that tries to get out, each way with its control outside. No trace may stay."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agp.sandbox.places import missing_masks, plan_places, remove_created
from agp.sandbox.snapshot import compare, take_snapshot
from tests.fakes.views import UID, Stage, as_owner, processes_marked, run_command, stage

pytestmark = pytest.mark.confinement


@pytest.fixture
def scene() -> Iterator[Stage]:
    with stage() as made:
        yield made


# ---------------------------------------------------------------------------- files on the host

TOUCH = """
import os, sys, json
said = {}
for path in sys.argv[1:]:
    for mode, flag in (("read", os.O_RDONLY), ("write", os.O_WRONLY), ("add", None)):
        try:
            if flag is None:
                os.makedirs(path + ".d", exist_ok=True); open(path + ".d/x", "w").close()
            else:
                os.close(os.open(path, flag))
            said[path + " " + mode] = "done"
        except OSError as e:
            said[path + " " + mode] = e.errno
print(json.dumps(said))
"""


def test_agp_s_home_its_key_journal_and_control_socket_do_not_exist_inside(scene: Stage) -> None:
    targets = {
        "keys/signing.key": b"secret",
        "journal/000.jsonl": b"{}",
        "config.toml": b"",
        "run/control.sock": b"",
        "sessions/s-1/files/managed-settings.json": b"{}",
    }
    paths = []
    for name, content in targets.items():
        path = scene.home / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(content)
        paths.append(path)
    said = json.loads(scene.python(TOUCH, *map(str, paths)))
    for path, content in zip(paths, targets.values(), strict=True):
        assert path.read_bytes() == content, "the control: outside it is there, and unchanged"
        assert {said[f"{path} {mode}"] for mode in ("read", "write")} == {2}
        assert not Path(f"{path}.d").exists()


def test_bridge_settings_forwarder_and_system_files_cannot_be_rewritten_or_joined(
    scene: Stage,
) -> None:
    ours = (
        "/opt/agp/forward",
        "/opt/agp/agp-bridge",
        "/etc/claude-code/managed-settings.json",
        "/etc/passwd",
        "/usr/bin/python3",
        "/run/agp/ask.sock",
    )
    code = (
        "import os, sys\n"
        "for p in sys.argv[1:]:\n"
        "    for act in (lambda: os.open(p, os.O_WRONLY), lambda: os.unlink(p),\n"
        "                lambda: os.rename(p, p + '2'), lambda: os.chmod(p, 0o777),\n"
        "                lambda: os.mkdir(os.path.dirname(p) + '/managed-settings.d'),\n"
        "                lambda: os.rename(os.path.dirname(p), '/tmp/moved')):\n"
        "        try: act()\n"
        "        except OSError: continue\n"
        "        print('broke', p)\n"
    )
    view = scene.view(
        ("/usr/bin/python3", "-ISc", code, *ours),
        files=(
            ("/opt/agp/agp-bridge", b"bridge"),
            ("/etc/claude-code/managed-settings.json", b"{}"),
        ),
    )
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(scene.ask / "ask.sock"))
    done = run_command(view)
    listener.close()
    assert (done.returncode, done.stdout) == (0, b""), done
    assert (scene.ask / "ask.sock").is_socket()


def test_nothing_is_written_outside_the_workspace(scene: Stage) -> None:
    """The control is a write inside, which arrives on the host."""
    beside = scene.base / "work" / "beside"
    code = (
        "import sys, os\n"
        "open(sys.argv[1] + '/inside', 'w').close()\n"
        "for p in sys.argv[2:]:\n"
        "    try: os.makedirs(os.path.dirname(p), exist_ok=True); open(p, 'w').close()\n"
        "    except OSError: pass\n"
    )
    stray = f"/tmp/agp-stray-{secrets.token_hex(8)}"
    elsewhere = (str(beside), stray, f"{Path.home()}/{Path(stray).name}", f"/var/tmp{stray[4:]}")
    scene.python(code, str(scene.workspace), *elsewhere)
    assert (scene.workspace / "inside").exists()
    assert not any(Path(path).exists() for path in elsewhere)


# ------------------------------------------------------------------------------------ sockets


@dataclass(frozen=True)
class Way:
    """One way to another process, and how its listener is opened outside."""

    name: str
    family: int
    address: str


WAYS = (
    Way("an abstract socket", socket.AF_UNIX, "@agp-attack-{token}"),
    Way("a path socket in HOME", socket.AF_UNIX, "{home}/.agp-attack-{token}"),
    Way("a path socket in /tmp", socket.AF_UNIX, "/tmp/agp-attack-{token}"),
    Way("a path socket beside the control socket", socket.AF_UNIX, "{agp}/run/c-{token}"),
    Way("a TCP listener on loopback", socket.AF_INET, "127.0.0.1"),
    Way("a TCP listener on every address", socket.AF_INET, "0.0.0.0"),
    Way("a TCP listener on IPv6 loopback", socket.AF_INET6, "::1"),
)

CONNECT = (
    "import socket, sys, json\n"
    "family, address, word = json.loads(sys.argv[1])\n"
    "s = socket.socket(family); s.settimeout(2)\n"
    "try:\n"
    "    s.connect(tuple(address) if type(address) is list else address.replace('@', chr(0), 1))\n"
    "    s.sendall(word.encode()); print('sent')\n"
    "except OSError as e: print(e)\n"
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_no_listener_of_the_host_hears_the_view(scene: Stage, way: Way) -> None:
    """Judged by the listener's own log; the control is the same program outside."""
    where = way.address.format(token=secrets.token_hex(6), home=Path.home(), agp=scene.home)
    with listening(way.family, where) as (listener, address):
        inside, outside = secrets.token_hex(8), secrets.token_hex(8)
        scene.python(CONNECT, json.dumps([way.family, address, inside]))
        question = json.dumps([way.family, address, outside])
        subprocess.run(["/usr/bin/python3", "-ISc", CONNECT, question], check=True, timeout=10)
        assert heard(listener) == [outside]


@contextmanager
def listening(family: int, where: str) -> Iterator[tuple[socket.socket, object]]:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        if family == socket.AF_UNIX:
            listener.bind(where.replace("@", "\0", 1))
            if where.startswith("/"):
                os.chmod(where, 0o777)  # noqa: PTH101 - beside its siblings of os
                stack.callback(os.unlink, where)
            address: object = where
        else:
            listener.bind((where, 0))
            address = [where if where != "0.0.0.0" else "127.0.0.1", listener.getsockname()[1]]
        listener.listen(8)
        listener.setblocking(False)
        yield listener, address


def heard(listener: socket.socket) -> list[str]:
    words = []
    while True:
        try:
            peer, _ = listener.accept()
        except BlockingIOError:
            return words
        with peer:
            words.append(peer.recv(100).decode())


def test_no_route_leads_out_and_no_name_resolves(scene: Stage) -> None:
    code = (
        "import socket\n"
        "for a in ('192.0.2.1', '2001:db8::1'):\n"
        "    family = socket.AF_INET6 if ':' in a else socket.AF_INET\n"
        "    s = socket.socket(family, socket.SOCK_DGRAM)\n"
        "    try: s.connect((a, 9)); print('route', a)\n"
        "    except OSError: pass\n"
        "print([l.split(':')[0].strip() for l in open('/proc/net/dev')][2:])\n"
    )
    assert scene.python(code) == "['lo']\n"


@pytest.mark.parametrize(
    "path",
    [
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/systemd/private",
        "/run/dbus/system_bus_socket",
        "/run/user",
        "/tmp/.X11-unix",
        "/tmp/tmux-0",
        "/sys/kernel",
        "/root",
        "/etc/shadow",
        "/etc/ssh",
        "/dev/vda",
        "/dev/kmsg",
    ],
)
def test_no_other_power_of_the_machine_is_visible(scene: Stage, path: str) -> None:
    said = scene.python("import os, sys; print(os.path.lexists(sys.argv[1]))", path)
    assert said == "False\n"


def test_systemd_run_reaches_no_manager(scene: Stage) -> None:
    """With the tool or without it: there is no bus and no XDG_RUNTIME_DIR to ask."""
    mark = scene.workspace / "escaped"
    script = f"systemd-run --user --wait touch {mark}; busctl --user call x / y z; echo over"
    done = scene.run(("/bin/sh", "-c", script))
    assert done.stdout.endswith(b"over\n")
    assert not mark.exists()


def test_the_daemon_s_process_and_memory_are_not_there(scene: Stage) -> None:
    """Judged by start time, which is one number in every PID namespace."""
    mine = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    code = (
        "import os, sys\n"
        "seen = []\n"
        "for p in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try: seen.append(open(f'/proc/{p}/stat').read().rpartition(')')[2].split()[19])\n"
        "    except OSError: pass  # others come and go meanwhile\n"
        "print(sys.argv[1] in seen, os.path.exists(f'/proc/{sys.argv[2]}/mem'))\n"
    )
    outside = subprocess.run(
        ["/usr/bin/python3", "-ISc", code, mine, str(os.getpid())],
        capture_output=True,
        text=True,
        check=True,
    )
    assert outside.stdout == "True True\n", "the control"
    assert scene.python(code, mine, str(os.getpid())).startswith("False")


# -------------------------------------------------------------------------------- git's places

GIT_ATTACKS = {
    "renames .git and builds a new one": "mv .git .old; cp -r .old .git; "
    "echo '[core] fsmonitor = touch PWNED' >> .git/config",
    "sets core.hooksPath": "git config core.hooksPath evil; git config --local core.fsmonitor x",
    "writes a hook": "echo 'touch PWNED' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit; "
    "rm -rf .git/hooks; ln -s ../evil .git/hooks",
    "redirects the repository with commondir": "cp -r .git evil; "
    "git config -f evil/config core.fsmonitor 'touch PWNED'; rm -f .git/commondir; "
    "echo ../evil > .git/commondir",
    "writes worktree configuration": "git config extensions.worktreeConfig true; "
    "echo '[core] fsmonitor = touch PWNED' > .git/config.worktree",
    "prepares a submodule that does not exist yet": "mkdir -p .git/modules/sub/hooks; "
    "echo x > .git/modules/sub/config",
    "prepares a linked worktree": "git worktree add ../other; mkdir .git/worktrees/x",
    "writes editor and harness settings": "mkdir -p .vscode .claude .idea .codex; "
    "echo x > .vscode/tasks.json; echo x > .claude/settings.json; echo x > .idea/x; "
    "echo x > .codex/config.toml; echo x > .mcp.json; echo x > .envrc; "
    "mv .claude c; rmdir .envrc; rm -rf .vscode",
    "swaps the whole workspace": 'cd ..; mv repo old; mkdir repo; cd /; mv "$(dirname "$PWD")" x',
}


@pytest.mark.parametrize("attack", GIT_ATTACKS.values(), ids=GIT_ATTACKS.keys())
def test_no_executing_place_changes_whatever_the_agent_does(scene: Stage, attack: str) -> None:
    """Shown three ways: the places compare equal, a person's git runs nothing, nothing is left."""
    plan = plan_places(str(scene.workspace))
    before = take_snapshot(plan)
    scene.run(("/bin/sh", "-c", attack))
    scene.run(("/bin/sh", "-c", f"(cd '{scene.workspace}' && {attack}) 2>/dev/null; git status"))
    created = [path for built in scene.built for path in built.created_mount_points]
    remove_created(created)
    names = (".git", "HEAD") if "cp -r .git evil" in attack else ()
    copied = tuple(f"{scene.workspace}/evil/{name} was added" for name in names)
    assert compare(before, take_snapshot(plan)) == copied
    scene.git("status", "--porcelain")
    subprocess.run(
        [
            *as_owner(),
            "git",
            "-C",
            str(scene.workspace),
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "x",
        ],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a",
        },
        check=True,
        capture_output=True,
    )
    assert not (scene.workspace / "PWNED").exists()
    assert not any(os.path.lexists(path) for path in created)


CONTROL_ATTACKS = (
    "renames .git and builds a new one",
    "writes a hook",
    "redirects the repository with commondir",
)


@pytest.mark.parametrize("name", CONTROL_ATTACKS)
def test_the_same_attacks_do_work_without_a_view(scene: Stage, name: str) -> None:
    """The positive control: outside, git runs what the attack planted."""
    plan = plan_places(str(scene.workspace))
    before = take_snapshot(plan)
    script = f"cd '{scene.workspace}'; {GIT_ATTACKS[name]}"
    if name == "writes a hook":
        script = script.partition("rm -rf")[0]
    subprocess.run(
        [*as_owner(), "/bin/sh", "-c", script],
        check=False,
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )
    scene.git("commit", "-q", "--allow-empty", "-m", "x")
    scene.git("status", "--porcelain")
    assert (scene.workspace / "PWNED").exists()
    assert compare(before, take_snapshot(plan)) != ()


def test_a_workspace_without_a_repository_cannot_be_given_one(scene: Stage) -> None:
    with stage(git=False) as bare:
        done = bare.run(("/bin/sh", "-c", "git init; mkdir .git/hooks; mv .git g; ls -a .git"))
        assert done.stdout.split() == [b".", b".."]
        plan = bare.built[0]
        remove_created(plan)
        assert list(bare.workspace.iterdir()) == []


@dataclass(frozen=True)
class Nested:
    """One way to a person's next `git status` through a repository below the top."""

    name: str
    script: str
    where: str
    """Where the person then asks git."""
    told: tuple[str, ...]
    """What the comparison says; nothing: the mask held, and git ran nothing."""


PROGRAM = (
    """printf '[core]\\n\\trepositoryformatversion = 0\\n\\tbare = false\\n%s\\tfsmonitor = """
)
PROGRAM += """"touch %s;true"\\n' "$1" "$MARK" > $2"""
NESTED = (
    Nested(
        "the pointer file of a submodule",
        'cp -r .git/modules/sub evil; plant "\tworktree = $PWD/sub\n" evil/config; '
        "echo 'gitdir: ../evil' > sub/.git; rm -f sub/.git; mv sub sub2",
        ".",
        ("evil/HEAD was added",),
    ),
    Nested(
        "the configuration of an existing nested repository",
        "plant '' vendor/x/.git/config; mv vendor v; mv vendor/x/.git vendor/x/g; "
        "echo ../../evil > vendor/x/.git/commondir; touch vendor/x/.git/hooks/post-checkout",
        "vendor/x",
        (),
    ),
    Nested(
        "a new repository and a gitlink",
        "mkdir nn; cd nn; git init -q; git commit -q --allow-empty -m y; cd ..; git add nn; "
        "plant '' nn/.git/config",
        ".",
        ("nn/.git was added", "nn: a gitlink was added"),
    ),
    Nested(
        "editor and harness settings at depth",
        "echo x > vendor/.claude/settings.json; mv vendor/.claude c; mkdir sub/.vscode",
        ".",
        ("sub/.vscode was added",),
    ),
)


@pytest.fixture
def nesting(scene: Stage) -> Stage:
    """A workspace with a submodule, a nested repository and a nested harness directory."""
    source = scene.base / "work" / "source"
    vendor = scene.workspace / "vendor" / "x"
    for place in (source, vendor):
        place.mkdir(parents=True)
        if os.geteuid() == 0:
            os.chown(place, UID, UID)
    scene.give()
    for place in (source, vendor):
        scene.git("-C", str(place), "init", "-q")
        scene.git("-C", str(place), "commit", "-q", "--allow-empty", "-m", "x")
    allow = ("-c", "protocol.file.allow=always")
    scene.git(*allow, "submodule", "--quiet", "add", str(source), "sub")
    scene.git("commit", "-q", "-m", "sub")
    (scene.workspace / "vendor" / ".claude").mkdir()
    scene.give()
    return scene


@pytest.mark.parametrize("attack", NESTED, ids=lambda attack: attack.name)
def test_a_nested_repository_is_masked_or_told(nesting: Stage, attack: Nested) -> None:
    """Finding 11: approved code prepares the person's next `git status` on the host."""
    mark = nesting.workspace / "PWNED"
    plan = plan_places(str(nesting.workspace))
    before = take_snapshot(plan)
    prelude = f"export MARK='{mark}'; plant() {{ {PROGRAM}; }}\n"
    for name in ("AUTHOR", "COMMITTER"):
        prelude += f"export GIT_{name}_NAME=a GIT_{name}_EMAIL=a\n"
    nesting.run(("/bin/sh", "-c", prelude + attack.script))
    for built in nesting.built:
        remove_created(built)
    told = tuple(sorted(f"{nesting.workspace}/{words}" for words in attack.told))
    assert compare(before, take_snapshot(plan)) == told
    nesting.git("-C", attack.where, "status", "--porcelain")
    assert mark.exists() == ("nn/.git was added" in attack.told), "only what is told runs"


def test_a_bare_repository_at_the_root_is_told_by_the_comparison() -> None:
    with stage(git=False) as bare:
        plan = plan_places(str(bare.workspace))
        before = take_snapshot(plan)
        bare.run(("/bin/sh", "-c", "git init -q --bare x; mv x/* ."))
        assert compare(before, take_snapshot(plan)) == (f"{bare.workspace}/HEAD was added",)


def test_a_nested_view_would_remove_the_masks_so_namespaces_are_not_to_be_had(
    scene: Stage,
) -> None:
    """Measured: from a namespace without the mount, a mount point can be renamed by descriptor."""
    code = (
        "import ctypes, os, subprocess\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "for flags in (0x10000000, 0x10020000, 0x20000, 0x20000000):\n"
        "    print(libc.unshare(flags), ctypes.get_errno())\n"
        "print(libc.syscall(435, 0, 0), ctypes.get_errno())\n"
        "print(libc.syscall(56, 0x10000011, 0, 0, 0, 0), ctypes.get_errno())\n"
        "print(subprocess.run(['bwrap', '--ro-bind', '/', '/', 'true'],"
        " capture_output=True).returncode)\n"
    )
    lines = scene.python(code).splitlines()
    assert lines == ["-1 1"] * 4 + ["-1 38", "-1 1", "1"]


def test_a_person_s_git_config_removes_a_mask_and_the_loss_is_told(scene: Stage) -> None:
    """Measured: renaming over a mount point on the host takes the mount away inside."""
    view = scene.view(("/bin/sh", "-c", "echo ready; read x; echo $x > .git/config; echo $?"))
    plan = scene.built[-1]
    with view.opened() as spawn:
        child = subprocess.Popen(
            spawn.argv,
            pass_fds=spawn.pass_fds,
            env=dict(spawn.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        pid = spawn.status().pid
        mountinfo = Path(f"/proc/{pid}/mountinfo")
        intact = missing_masks(plan, mountinfo.read_text())
        scene.git("config", "user.name", "operator")
        lost = missing_masks(plan, mountinfo.read_text())
        child.kill()
        child.communicate(timeout=10)
    assert intact == ()
    assert lost == (f"{scene.workspace}/.git/config",)


def test_the_parents_of_a_workspace_in_tmp_cannot_be_renamed(scene: Stage) -> None:
    """Else one name would mean two files: one to the policy, one inside."""
    code = (
        "import os, sys\n"
        "p = sys.argv[1]\n"
        "while p not in ('/', '/tmp'):\n"
        "    try: os.rename(p, '/tmp/moved'); print('moved', p)\n"
        "    except OSError: pass\n"
        "    p = os.path.dirname(p)\n"
    )
    assert scene.python(code, str(scene.workspace)) == ""


def test_a_killed_view_leaves_no_created_mount_point(scene: Stage) -> None:
    """After `kill -9` the journal's list is enough to clean up."""
    view = scene.view(("/bin/sh", "-c", "echo ready; exec sleep 600"))
    journaled = list(scene.built[-1].created_mount_points)
    with view.opened() as spawn:
        child = subprocess.Popen(
            spawn.argv,
            pass_fds=spawn.pass_fds,
            env=dict(spawn.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
        child.communicate(timeout=10)
    assert sorted(remove_created(journaled)) == sorted(journaled)
    assert [entry.name for entry in scene.workspace.iterdir()] == [".git"]
    assert not any(os.path.lexists(path) for path in journaled)


def test_descriptors_and_environment_of_the_operator_do_not_pass(scene: Stage) -> None:
    with tempfile.TemporaryFile() as secret:
        os.set_inheritable(secret.fileno(), True)
        os.environ["SSH_AUTH_SOCK"] = "/tmp/agent"
        try:
            said = scene.python(
                "import os\n"
                "print(sorted(os.listdir('/proc/self/fd')), 'SSH_AUTH_SOCK' in os.environ)"
            )
        finally:
            del os.environ["SSH_AUTH_SOCK"]
    assert said == "['0', '1', '2', '3'] False\n"


def test_no_command_line_of_the_view_shows_its_environment(scene: Stage) -> None:
    """Attack: any local user reads `ps`; a harness's environment holds its key."""
    secret = f"sk-{secrets.token_hex(12)}"
    code = "import os; print(os.environ['KEY'], flush=True); input()"
    environment = {"PATH": "/usr/bin:/bin", "KEY": secret}
    view = scene.view(("/usr/bin/python3", "-ISc", code), environment=environment)
    with view.opened() as spawn:
        assert not any(secret in word for word in spawn.argv)
        child = subprocess.Popen(
            spawn.argv,
            pass_fds=spawn.pass_fds,
            env=dict(spawn.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.readline().decode().strip() == secret, "the control: it is there"
        lives, shown = processes_marked("os.environ['KEY']"), processes_marked(secret)
        child.communicate(b"\n", timeout=10)
    assert len(lives) >= 3, "bubblewrap, its init and the program were looked at"
    assert shown == []
