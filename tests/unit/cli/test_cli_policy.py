"""`agp policy check` says where a rule waits for an answer that nobody can give."""

from __future__ import annotations

from pathlib import Path

import pytest

from agp.cli.app import run_command_line
from agp.errors import PolicyError

RULE = """\
version: 1
default: require
rules:
  - id: migrations
    match: {{effect: write, path: "db/**"}}
    verdict: require
    reason: A person reads migrations.
{rest}"""


@pytest.mark.parametrize(
    ("rest", "warned"),
    [
        ("", ()),
        ('    approvers: ["uid:1000"]\n', ()),
        ('    approvers: ["uid:1000", ann]\n', ("answers as ann",)),
        ('    approvers: ["slack:T1:U2"]\n', ("answers as slack:T1:U2",)),
        ("    quorum: 2\n", ("quorum of 2",)),
        ("    approvers: [ann, ben]\n    quorum: 2\n", ("as ann", "as ben", "quorum of 2")),
    ],
)
def test_an_answer_that_nobody_can_give_is_warned_of(
    rest: str, warned: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is right, so the exit is 0 and the result is as before; the warnings stand apart."""
    path = tmp_path / "p.yaml"
    path.write_text(RULE.format(rest=rest))

    assert run_command_line(["policy", "check", str(path)]) == 0

    told = capsys.readouterr()
    assert told.out == f"ok  {path}: 1 rules\n"
    assert len(told.err.splitlines()) == len(warned)
    for line, words in zip(told.err.splitlines(), warned, strict=True):
        assert line.startswith(f"warning: {path}: rule migrations: ")
        assert words in line


def test_a_policy_that_is_not_there_has_a_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["policy", "check", str(tmp_path / "no")]) == PolicyError.exit_code

    assert "fix: " in capsys.readouterr().err
