"""The command line of a view: pure, complete, in the right order."""

from __future__ import annotations

import pytest

from agp.errors import RunRefused
from agp.sandbox.host import RunAs
from agp.sandbox.profile import (
    MOST_WORDS,
    Bind,
    OurFile,
    Scratch,
    ViewSpec,
    bwrap_options,
    digest_of,
    format_options,
)
from agp.sandbox.staging import stage, staging_argv

SPEC = ViewSpec(
    system=(Bind(source="/usr", target="/usr"),),
    links=(("/bin", "usr/bin"),),
    scratch=(Scratch(target="/tmp", size=5),),
    files=(OurFile(path="/etc/hosts", content=b"x"),),
    binds=(Bind(source="/h/w s", target="/h/w s", writable=True),),
    masks=(
        Bind(source="/h/w s/.git", target="/h/w s/.git", writable=True),
        Bind(source="/h/w s/.git/hooks", target="/h/w s/.git/hooks"),
    ),
    environment=(("HOME", "/x"),),
    cwd="/h/w s",
    argv=("run", "--bind"),
)


def options(spec: ViewSpec) -> list[str]:
    return list(bwrap_options(spec, seccomp_fd=8, file_fds=(9,)))


def test_the_whole_list_of_options() -> None:
    assert " ".join(options(SPEC)) == (
        "--unshare-user --unshare-pid --unshare-ipc --unshare-uts --unshare-net"
        " --unshare-cgroup-try --disable-userns --cap-drop ALL --new-session --die-with-parent"
        " --hostname agp --seccomp 8 --clearenv --setenv HOME /x --proc /proc --dev /dev"
        " --perms 1777 --size 5 --tmpfs /tmp --ro-bind /usr /usr --symlink usr/bin /bin"
        " --perms 0444 --file 9 /etc/hosts --bind /h/w s /h/w s --bind /h/w s/.git /h/w s/.git"
        " --ro-bind /h/w s/.git/hooks /h/w s/.git/hooks --remount-ro /dev --remount-ro /"
        " --chdir /h/w s"
    )


def test_only_a_view_that_nests_may_make_user_namespaces() -> None:
    nests = SPEC.model_copy(update={"nesting": True})
    assert set(options(SPEC)) - set(options(nests)) == {"--disable-userns"}


def test_parents_below_a_scratch_place_become_read_only_mounts() -> None:
    inside = Bind(source="/tmp/a/b/c", target="/tmp/a/b/c", writable=True)
    words = options(SPEC.model_copy(update={"binds": (inside,), "masks": ()}))
    assert " ".join(words).count("--perms 0755 --tmpfs /tmp/a ") == 1
    assert words.index("/tmp/a") < words.index("/tmp/a/b/c")
    assert " --remount-ro /tmp/a " in " ".join(words)


def test_the_digest_covers_the_profile_and_the_filter() -> None:
    other = SPEC.model_copy(update={"masks": ()})
    assert len({digest_of(SPEC, b"f"), digest_of(other, b"f"), digest_of(SPEC, b"g")}) == 3


def test_descriptors_and_files_must_match() -> None:
    with pytest.raises(ValueError, match="argument"):
        bwrap_options(SPEC, seccomp_fd=8, file_fds=())


def test_options_travel_as_one_word_each_and_a_nul_cannot_make_two() -> None:
    """Attack: a variable's value that would add a bind."""
    assert format_options(("--setenv", "A", "b c", "é")) == b"--setenv\0A\0b c\0\xc3\xa9\0"
    with pytest.raises(RunRefused, match="NUL"):
        format_options(("--setenv", "A", "x\0--bind\0/\0/"))


def test_more_options_than_bubblewrap_takes_are_refused_with_the_reason() -> None:
    assert format_options(("x",) * MOST_WORDS)
    with pytest.raises(RunRefused, match="more mounts"):
        format_options(("x",) * (MOST_WORDS + 1))


def test_root_s_stage_replaces_sources_and_nothing_else() -> None:
    staged, sources = stage(SPEC, frozenset({"/h/w s"}))
    assert [bind.source for bind in (*staged.binds, *staged.masks)] == [
        "/sys/0", "/sys/0/.git", "/sys/0/.git/hooks",
    ]  # fmt: skip
    assert [b.target for b in (*staged.binds, *staged.masks)] == [
        b.target for b in (*SPEC.binds, *SPEC.masks)
    ]
    assert staged.model_copy(update={"binds": SPEC.binds, "masks": SPEC.masks}) == SPEC
    words = staging_argv(sources, RunAs(uid=4001, gid=4002, staged=True))
    assert words[-4:] == ("d", "/h/w s", "0", "--"), "paths are arguments, never program text"
    assert "/h/w s" not in words[words.index("-c") + 1]
