"""Executing places: what is planned, created, removed, and told apart."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agp.errors import RunRefused
from agp.sandbox.nested import Kind, walk
from agp.sandbox.places import (
    MOST_NESTED,
    Mask,
    PlacesPlan,
    create,
    missing_masks,
    plan_places,
    remove_created,
)
from agp.sandbox.snapshot import MOST_DIFFERENCES, compare, take_snapshot

TOP = {".envrc", ".vscode", ".idea", ".claude", ".codex", ".mcp.json", ".agp"}
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a",
    "GIT_ALLOW_PROTOCOL": "file",
}


def git(where: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(where), *words],
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    made = (tmp_path / "repo").resolve()
    made.mkdir()
    git(made, "init", "-q")
    git(made, "commit", "-q", "--allow-empty", "-m", "x")
    return made


def masks(plan: PlacesPlan) -> dict[str, bool]:
    return {str(Path(m.path).relative_to(plan.workspace)): m.writable for m in plan.masks}


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_every_place_is_masked_and_every_parent_is_a_mount(repo: Path) -> None:
    found = masks(plan_places(str(repo)))
    names = ("hooks", "config", "config.worktree", "commondir", "worktrees", "modules")
    assert found == dict.fromkeys(TOP, False) | {".git": True} | {
        f".git/{name}": False for name in names
    }


def test_planning_changes_nothing_and_removal_restores_what_was(repo: Path) -> None:
    before = tree(repo)
    plan = plan_places(str(repo))
    assert tree(repo) == before
    create(plan)
    assert tree(repo) - before == {
        str(Path(path).relative_to(repo)) for path in plan.created_mount_points
    }
    assert plan_places(str(repo)).created_mount_points == ()
    assert set(remove_created(plan)) == set(plan.created_mount_points)
    assert tree(repo) == before


def test_git_works_as_before_while_the_mount_points_exist(repo: Path) -> None:
    create(plan_places(str(repo)))
    (repo / "file").write_text("x")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "second")
    git(repo, "gc", "-q")
    assert git(repo, "status", "--porcelain") == ""
    assert git(repo, "show", "--format=", "--name-only").split() == ["file"]
    assert git(repo, "worktree", "list").count("\n") == 1


def test_a_used_or_foreign_mount_point_is_left(repo: Path) -> None:
    plan = plan_places(str(repo))
    create(plan)
    (repo / ".vscode" / "settings.json").write_text("mine")
    (repo / ".git" / "config.worktree").write_text("mine")
    (repo / ".git" / "commondir").write_text("./\n")
    removed = remove_created(list(plan.created_mount_points))
    left = {str(Path(p).relative_to(repo)) for p in set(plan.created_mount_points) - set(removed)}
    assert left == {".vscode", ".git/config.worktree", ".git/commondir"}
    assert (repo / ".vscode" / "settings.json").read_text() == "mine"
    assert remove_created(list(removed)) == (), "a second clean-up finds nothing"


def test_creation_is_all_or_nothing(repo: Path) -> None:
    plan = plan_places(str(repo))
    before = tree(repo)
    (repo / ".mcp.json").write_text("came between")
    with pytest.raises(RunRefused):
        create(plan)
    assert tree(repo) - before == {".mcp.json"}


def test_a_link_put_under_a_planned_parent_is_not_followed(repo: Path, tmp_path: Path) -> None:
    """Attack: the parent becomes a link to a place where only the daemon may write."""
    git(repo, "config", "core.hooksPath", "tools/hooks")
    (repo / "tools").mkdir()
    plan = plan_places(str(repo))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (repo / "tools").rmdir()
    (repo / "tools").symlink_to(elsewhere)
    with pytest.raises(RunRefused):
        create(plan)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    "name", [".git", ".vscode", ".claude", ".envrc", ".git/hooks", ".git/config"]
)
def test_a_place_that_is_a_link_is_refused_because_no_mount_can_hold_it(
    repo: Path, tmp_path: Path, name: str
) -> None:
    target = tmp_path / "target"
    if os.path.lexists(repo / name):
        (repo / name).rename(target)
    else:
        target.mkdir()
    (repo / name).symlink_to(target)
    with pytest.raises(RunRefused, match="cannot be masked"):
        plan_places(str(repo))


def test_a_repository_that_is_redirected_already_is_refused(repo: Path) -> None:
    (repo / ".git" / "commondir").write_text("../evil\n")
    (repo / "evil").mkdir()
    with pytest.raises(RunRefused, match="another directory"):
        plan_places(str(repo))


def test_what_hookspath_names_inside_is_masked_with_its_parents(repo: Path) -> None:
    git(repo, "config", "core.hooksPath", ".husky/_")
    plan = plan_places(str(repo))
    found = masks(plan)
    assert found[".husky"] is True
    assert found[".husky/_"] is False
    assert {f"{repo}/.husky", f"{repo}/.husky/_"} <= set(plan.created_mount_points)


@pytest.mark.parametrize("value", ["/somewhere/else", "../outside", "~nobody-such/x"])
def test_hookspath_outside_is_not_in_the_view_and_needs_no_mask(repo: Path, value: str) -> None:
    git(repo, "config", "core.hooksPath", value)
    assert not any("else" in path or "outside" in path for path in masks(plan_places(str(repo))))


def test_hookspath_of_the_whole_workspace_is_refused(repo: Path) -> None:
    git(repo, "config", "core.hooksPath", ".")
    with pytest.raises(RunRefused, match="workspace itself"):
        plan_places(str(repo))


def test_an_included_file_of_the_workspace_is_configuration_too(repo: Path) -> None:
    (repo / "shared.gitconfig").write_text("[core]\n\thooksPath = from-include\n")
    git(repo, "config", "include.path", "../shared.gitconfig")
    found = masks(plan_places(str(repo)))
    assert found["shared.gitconfig"] is False
    assert found["from-include"] is False


@pytest.mark.parametrize("text", ["loop", "gone\0", "a" * 5000, "l0"])
def test_a_pointer_that_leads_nowhere_ends_in_a_refusal_or_a_mask(repo: Path, text: str) -> None:
    """Attack: a nested `.git`, or a `commondir`, ends every later run in a traceback."""
    (repo / "sub").mkdir()
    (repo / "sub/loop").symlink_to("loop")
    for number in range(1200):
        (repo / f"sub/l{number}").symlink_to(f"l{number + 1}")
    (repo / "sub/.git").write_text(f"gitdir: {text}\n")
    assert masks(plan_places(str(repo)))["sub/.git"] is False
    (repo / ".git/commondir").write_text(f"../sub/{text}\n")
    with pytest.raises(RunRefused, match="another directory"):
        plan_places(str(repo))


def deep(place: Path) -> None:
    """Make more directories inside one another than a path can name."""
    here = os.open(place, os.O_RDONLY)
    for _ in range(2200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def test_directories_without_end_stop_no_look_at_the_workspace(repo: Path) -> None:
    """Attack: the walks end themselves. Below git's modules it is a refusal, elsewhere a fact."""
    (repo / ".claude").mkdir()
    deep(repo / ".claude")
    try:
        facts = take_snapshot(plan_places(str(repo))).facts
        (repo / ".git/modules").mkdir()
        (repo / ".claude/d").rename(repo / ".git/modules/d")
        with pytest.raises(RunRefused, match="directories deep"):
            plan_places(str(repo))
    finally:  # pytest's own removal is one of those that end
        subprocess.run(["/bin/rm", "-rf", str(repo)], check=True)
    assert sum(fact.path.startswith(f"{repo}/.claude/d") for fact in facts) > 1000
    assert "too long" in max(facts, key=lambda fact: len(fact.path)).content


def test_submodules_are_masked_and_no_new_one_can_be_made(repo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "commit", "-q", "--allow-empty", "-m", "x")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "libs/sub")
    plan = plan_places(str(repo))
    found = masks(plan)
    assert found[".git/modules"] is False
    assert found[".git/modules/libs/sub"] is True
    assert ".git/modules/libs" not in found, "it stays read-only with its parent"
    for name in ("hooks", "config", "commondir", "config.worktree", "modules", "worktrees"):
        assert found[f".git/modules/libs/sub/{name}"] is False
    order = [mask.path for mask in plan.masks]
    assert order.index(f"{repo}/.git/modules") < order.index(f"{repo}/.git/modules/libs/sub")


def test_a_linked_worktree_shows_its_repository_read_only(repo: Path, tmp_path: Path) -> None:
    linked = tmp_path.resolve() / "linked"
    git(repo, "worktree", "add", "-q", str(linked))
    plan = plan_places(str(linked))
    assert plan.visible == (f"{repo}/.git",)
    assert masks(plan)[".git"] is False


def test_a_forged_git_file_shows_nothing(tmp_path: Path) -> None:
    """Attack: `.git` names a directory that the operator would not show."""
    workspace, secret = tmp_path.resolve() / "ws", tmp_path.resolve() / "secret"
    workspace.mkdir()
    (secret / "worktrees" / "x").mkdir(parents=True)
    for text in (f"gitdir: {secret}", f"gitdir: {secret}/worktrees/x", "gitdir: ../secret", "x"):
        (workspace / ".git").write_text(text)
        assert plan_places(str(workspace)).visible == ()


def test_a_separate_git_directory_inside_is_masked_like_git_s_own(tmp_path: Path) -> None:
    workspace = tmp_path.resolve() / "ws"
    workspace.mkdir()
    git(tmp_path, "init", "-q", f"--separate-git-dir={workspace}/data", str(workspace))
    found = masks(plan_places(str(workspace)))
    assert found["data"] is True
    assert found["data/hooks"] is False
    assert found[".git"] is False


def nested_repo(place: Path) -> Path:
    place.mkdir(parents=True)
    git(place, "init", "-q")
    return place


GIT_PLACES = ("hooks", "config", "config.worktree", "commondir", "worktrees", "modules")


def test_a_nested_repository_is_masked_like_the_top_and_its_parents_are_mounts(repo: Path) -> None:
    nested_repo(repo / "vendor" / "x")
    plan = plan_places(str(repo))
    found = masks(plan)
    assert {found[name] for name in ("vendor", "vendor/x", "vendor/x/.git")} == {True}
    assert {found[f"vendor/x/.git/{name}"] for name in GIT_PLACES} == {False}
    assert set(plan.created_below) == {
        f"{repo}/vendor/x/.git/{name}"
        for name in ("config.worktree", "commondir", "worktrees", "modules")
    }
    assert set(plan.created_below) < set(plan.created_mount_points)


def test_a_repository_in_node_modules_is_masked_and_editor_settings_there_are_not(
    repo: Path,
) -> None:
    nested_repo(repo / "node_modules" / "a")
    for place in ("node_modules/a/.vscode", "src/.vscode", "src/.claude"):
        (repo / place).mkdir(parents=True)
    (repo / "src" / ".envrc").write_text("x")
    found = masks(plan_places(str(repo)))
    assert found["node_modules/a/.git/config"] is False
    assert [found[f"src/{name}"] for name in (".vscode", ".claude", ".envrc")] == [False] * 3
    assert "node_modules/a/.vscode" not in found


def test_a_pointer_file_is_masked_and_so_is_the_repository_that_it_names(repo: Path) -> None:
    (repo / ".git" / "own").mkdir()
    git(repo, "init", "-q", f"--separate-git-dir={repo}/.git/own/y", str(repo / "y"))
    found = masks(plan_places(str(repo)))
    assert found["y/.git"] is False
    assert found[".git/own/y/config"] is False


def test_a_bare_repository_is_masked_like_a_git_directory(repo: Path) -> None:
    git(repo, "init", "-q", "--bare", "data/x")
    found = masks(plan_places(str(repo)))
    assert {found[f"data/x/{name}"] for name in GIT_PLACES} == {False}


def test_a_nested_repository_whose_settings_git_cannot_read_is_masked_as_a_whole(
    repo: Path,
) -> None:
    (nested_repo(repo / "x") / ".git" / "config").write_text("[broken")
    assert masks(plan_places(str(repo)))["x/.git"] is False


@pytest.mark.parametrize("name", [".git", ".claude", ".envrc"])
def test_a_nested_place_that_is_a_link_is_refused(repo: Path, name: str) -> None:
    (repo / "sub").mkdir()
    (repo / "sub" / name).symlink_to(repo)
    with pytest.raises(RunRefused, match="cannot be masked"):
        plan_places(str(repo))


def test_a_nested_repository_that_is_redirected_is_refused(repo: Path) -> None:
    (nested_repo(repo / "x") / ".git" / "commondir").write_text("../../evil\n")
    with pytest.raises(RunRefused, match="another directory"):
        plan_places(str(repo))


def test_more_nested_repositories_than_a_view_can_start_with_are_refused(repo: Path) -> None:
    for number in range(MOST_NESTED + 1):
        (repo / str(number) / ".git").mkdir(parents=True)
    assert len(plan_places(str(repo)).masks) > MOST_NESTED, "no HEAD: one mask for each"
    for number in range(MOST_NESTED + 1):
        (repo / str(number) / ".git" / "HEAD").write_text("ref: refs/heads/x")
    with pytest.raises(RunRefused, match="nested repositories"):
        plan_places(str(repo))


def test_the_walk_follows_no_link_and_ends_at_its_bound(repo: Path, tmp_path: Path) -> None:
    nested_repo(tmp_path / "outside" / "x")
    (repo / "link").symlink_to(tmp_path / "outside")
    (repo / "loop").symlink_to(repo)
    assert list(walk(str(repo))) == []
    for number in range(5):
        (repo / str(number)).mkdir()
    assert [entry.kind for entry in walk(str(repo), most=5)] == [Kind.BEYOND]


def test_a_plain_directory_gets_a_closed_git(tmp_path: Path) -> None:
    plan = plan_places(str(tmp_path.resolve()))
    assert masks(plan) == dict.fromkeys(TOP | {".git"}, False)


def test_a_name_that_the_journal_cannot_hold_is_refused(repo: Path) -> None:
    module = os.fsencode(repo) + b"/.git/modules/\xff"
    Path(os.fsdecode(module)).mkdir(parents=True)
    Path(os.fsdecode(module + b"/HEAD")).write_text("ref: x")
    Path(os.fsdecode(module + b"/config")).write_text("")
    with pytest.raises(RunRefused):
        plan_places(str(repo))


def test_missing_masks_are_read_from_a_view_s_mountinfo() -> None:
    plan = PlacesPlan(
        workspace="/w s",
        masks=(Mask(path="/w s/.git", writable=True), Mask(path="/w s/.git/hooks", writable=False)),
        created_mount_points=(),
    )
    line = "1 2 8:1 /w /w\\040s/.git rw,nosuid - ext4 /dev/x rw\n"
    assert missing_masks(plan, line) == ("/w s/.git/hooks",)
    assert missing_masks(plan, "") == ("/w s/.git", "/w s/.git/hooks")


# ---------------------------------------------------------------------------------- comparison


def test_creating_and_removing_mount_points_is_no_difference(repo: Path) -> None:
    plan = plan_places(str(repo))
    before = take_snapshot(plan)
    create(plan)
    during = take_snapshot(plan)
    remove_created(plan)
    assert compare(before, during) == compare(before, take_snapshot(plan)) == ()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda r: (r / ".git/hooks/pre-commit").write_text("x"), "pre-commit was added"),
        (lambda r: (r / ".git/config").write_text("x"), "config was changed"),
        (lambda r: (r / ".git/config").unlink(), "config was removed"),
        (lambda r: (r / ".git/config").chmod(0o777), "config was changed"),
        (lambda r: (r / ".envrc").write_text("x"), ".envrc was added"),
        (lambda r: (r / ".claude").symlink_to("/etc"), ".claude was added"),
        (lambda r: (r / ".git/commondir").write_text("../evil"), "commondir was added"),
        (lambda r: os.mkfifo(r / ".mcp.json"), ".mcp.json was added"),
        (lambda r: (r / "HEAD").write_text("ref: x"), "HEAD was added"),
        (lambda r: nested_repo(r / "a" / "b"), "a/b/.git was added"),
        (lambda r: git(r, "init", "-q", "--bare", "a/b"), "a/b/HEAD was added"),
        (lambda r: (r / "src" / ".git").write_text("gitdir: x"), "src/.git was added"),
        (lambda r: (r / "src" / ".git").symlink_to("x"), "src/.git was added"),
        (lambda r: (r / "src" / ".envrc").mkdir(), "src/.envrc was added"),
        (lambda r: link_in_index(r, "src/n"), "src/n: a gitlink was added"),
        (lambda r: (r / ".git/index").write_text("x"), "(git cannot read it): a gitlink was added"),
        (lambda r: (r / "src" / os.fsdecode(b"\xff")).mkdir(), None),
    ],
)
def test_every_change_of_a_place_is_told(repo: Path, change, word: str | None) -> None:
    (repo / "src").mkdir()
    plan = plan_places(str(repo))
    before = take_snapshot(plan)
    change(repo)
    differences = compare(before, take_snapshot(plan))
    assert len(differences) == (word is not None)
    assert all(difference.endswith(str(word)) for difference in differences)


def link_in_index(repo: Path, path: str) -> None:
    head = git(repo, "rev-parse", "HEAD").strip()
    git(repo, "update-index", "--add", "--cacheinfo", f"160000,{head},{path}")


def test_an_agent_chooses_neither_the_number_nor_the_bytes_of_the_differences(repo: Path) -> None:
    plan = plan_places(str(repo))
    before = take_snapshot(plan)
    for number in range(MOST_DIFFERENCES + 5):
        (repo / os.fsdecode(b"\xff%d" % number) / ".git").mkdir(parents=True)
    differences = compare(before, take_snapshot(plan))
    assert len(differences) == MOST_DIFFERENCES + 1
    assert differences[0] == f"{repo}/\\xff0/.git was added"
    assert differences[-1] == "and 5 more differences"


def test_a_snapshot_follows_no_link_and_waits_for_no_pipe(repo: Path) -> None:
    plan = plan_places(str(repo))
    (repo / ".claude").mkdir()
    (repo / ".claude" / "loop").symlink_to("/")
    os.mkfifo(repo / ".claude" / "pipe")
    paths = [fact.path for fact in take_snapshot(plan).facts if ".claude/" in fact.path]
    assert len(paths) == 2
