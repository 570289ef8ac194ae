"""A call's view as a value: what is in it, what is not, and where a shell may say it ended."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from agp.errors import RunRefused
from agp.sandbox.call_run import inside
from agp.sandbox.call_view import LONGEST_SCRIPT, CallSeats, build_call_view, shell_argv
from agp.sandbox.host import RunAs
from agp.sandbox.places import PlacesPlan
from agp.sandbox.profile import bwrap_options

NOBODY = RunAs(uid=65_534, gid=65_534, staged=False)
PLACES = PlacesPlan(workspace="/tmp/a/w", masks=(), created_mount_points=())
SEATS = CallSeats(
    agp_home="/h", call_home="/h/sessions/s/call-home", session_tmp="/h/tmp", forwarder=b"f"
)


def targets(egress: str | None) -> set[str]:
    spec = build_call_view(SEATS, PLACES, NOBODY, argv=("true",), cwd="/tmp/a/w", egress=egress)
    return {b.target for b in (*spec.shared, *spec.binds)} | {f.path for f in spec.files}


def test_nothing_of_the_harness_or_of_agp_is_in_a_call_s_view() -> None:
    seen = targets(None)
    assert not [t for t in seen if t.startswith(("/opt", "/run", "/etc/claude-code"))]
    assert {"/tmp", "/home/agent", "/tmp/a/w"} <= seen


def test_the_network_s_parts_are_there_only_where_something_may_be_reached() -> None:
    more = targets("/h/run/s/e1") - targets(None)
    assert more == {"/run/egress", "/opt/egress-forward"}


@pytest.mark.parametrize(
    ("network", "past"),
    [
        (("example.org:443",), "localhost,127.0.0.1,::1"),
        (("127.0.0.1:80", "example.org:443"), "localhost,::1"),
        (("[::1]:80",), "localhost,127.0.0.1"),
    ],
)
def test_every_client_is_led_to_the_proxy_but_not_from_what_the_call_serves_itself(
    network: tuple[str, ...], past: str
) -> None:
    spec = build_call_view(
        SEATS, PLACES, NOBODY, argv=("true",), cwd="/tmp/a/w", egress="/e", network=network
    )
    given = dict(spec.environment)
    assert given["NO_PROXY"] == given["no_proxy"] == past
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    assert {given[name] for name in names} == {"http://127.0.0.1:3128"}


def test_the_parents_of_a_workspace_below_the_shared_tmp_are_mounts_of_their_own() -> None:
    """Attack: rename `/tmp/a`, which every view shares, and build another `/tmp/a/w`."""
    spec = build_call_view(SEATS, PLACES, NOBODY, argv=("true",), cwd="/tmp/a/w")
    words = bwrap_options(spec, seccomp_fd=3, file_fds=tuple(range(10, 10 + len(spec.files))))
    order = [i for i, word in enumerate(words) if word in {"/tmp", "/tmp/a", "/tmp/a/w"}]
    named = [words[i] for i in order]
    assert named[0] == "/tmp"
    assert named.index("/tmp/a") < named.index("/tmp/a/w")
    assert words[words.index("--remount-ro") + 1] == "/tmp/a"


@pytest.mark.parametrize(
    ("said", "there"),
    [
        (b"/w\n", "/w"),
        (b"/w/sub\n", "/w/sub"),
        (b"", ""),
        (b"/w/sub", ""),
        (b"/w2\n", ""),
        (b"/\n", ""),
        (b"/w/../etc\n", ""),
        (b"/w/a\n/w/b\n", ""),
        (b"/w/\x1b[2J\n", ""),
        (b"/w/\xff\n", ""),
        (b"w\n", ""),
    ],
)
def test_where_a_shell_ended_counts_as_one_plain_directory_of_the_workspace(
    said: bytes, there: str
) -> None:
    assert inside(said, "/w") == there


@pytest.mark.parametrize(
    ("command", "code", "ended"),
    [
        ("cd sub", 0, True),
        ("cd sub; exit 3", 3, False),
        ("cd sub; exec true", 0, False),
        ("cd sub; kill -9 $$", -9, False),
        ("echo 'it'\\''s' | grep -q s && cd sub", 0, True),
        ("cat <<'E'\n$(touch no)\nE\ncd sub", 0, True),
        ("cd sub; false", 1, False),
        ("cd sub # said", 0, True),
        ("cd sub &", 0, False),
    ],
)
def test_the_shell_says_where_it_ended_if_it_ended_well(
    tmp_path: Path, command: str, code: int, ended: bool
) -> None:
    (tmp_path / "sub").mkdir()
    bash = shutil.which("bash")
    assert bash is not None
    script = shell_argv(command)[2]
    whole = ["bash", "-c", 'exec 709>said; exec bash -c "$1"', "x", script]
    done = subprocess.run(whole, cwd=tmp_path, check=False, timeout=10, capture_output=True)
    said = (tmp_path / "said").read_text()
    assert (done.returncode, said) == (code, f"{tmp_path}/sub\n" if ended else said)
    assert ended or said in {"", f"{tmp_path}\n"}


def test_a_command_that_no_shell_takes_is_refused_with_what_to_do() -> None:
    shell_argv("x" * (LONGEST_SCRIPT - 200))
    with pytest.raises(RunRefused, match="longer"):
        shell_argv("x" * LONGEST_SCRIPT)
