"""The hostile matrix: nothing ungranted leaves a trace, whatever is put into a governed run.

Every row is a run of the real Claude Code, in the product's own launch and view, with each proved
version. What was seen is compared with the recorded results, of which `docs/conformance.md` is
drawn; a difference is a fact to look at, whichever way it goes. `scripts/conformance --write`
records anew.

Not part of the ordinary user's second pass: the view gives the harness an ordinary uid in any case.
"""

from __future__ import annotations

import pytest

from agp.errors import RunRefused
from agp.intendants.claude_code.arguments import read_arguments
from agp.intendants.claude_code.environment import check_name
from tests.fakes.hostile_matrix import (
    PLAYS,
    VERSIONS,
    Play,
    Played,
    as_record,
    play,
    read_record,
)
from tests.fakes.hostile_rows import OWN_RUNS, Row

pytestmark = pytest.mark.slow


def of(kind: str) -> list[Play]:
    return [this for this in PLAYS if this.kind == kind]


def title(this: Play) -> str:
    return f"{this.version}: {this.name}"


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest) -> dict[Play, Played]:
    """Play what the selected tests ask for, a few at once."""
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    chosen = [spec.params["this"] for spec in specs if spec and "this" in spec.params]
    return play(this for this in dict.fromkeys(chosen) if isinstance(this, Play))


def check(this: Play, played: dict[Play, Played]) -> None:
    """Nothing beyond what the row may, and exactly what was recorded."""
    seen = played[this]
    assert seen.troubles == ()
    recorded = read_record()[this.kind][this.name]
    found = as_record({this: seen})[this.kind][this.name]
    expected = {name: {this.version: by[this.version]} for name, by in recorded.items()}
    assert found == expected


@pytest.mark.parametrize("this", of("row"), ids=title)
def test_nothing_ungranted_leaves_a_trace(this: Play, played: dict[Play, Played]) -> None:
    """No mark, no changed file, no executed call, no secret sent, beyond what was granted."""
    check(this, played)


@pytest.mark.parametrize("this", of("control"), ids=title)
def test_the_same_attack_does_switch_off_an_ordinary_governor(
    this: Play, played: dict[Play, Played]
) -> None:
    """A veto hook from `--settings`, and no managed settings: there the attack works."""
    check(this, played)


@pytest.mark.parametrize("this", of("round"), ids=title)
def test_no_answer_but_both_hooks_whole_allow_lets_a_call_run(
    this: Play, played: dict[Play, Played]
) -> None:
    check(this, played)


@pytest.mark.parametrize(
    "row", [row for row in OWN_RUNS if row.refused_flag], ids=lambda row: row.name
)
def test_the_launcher_itself_refuses_each_of_these_flags(row: Row) -> None:
    """Before anything starts: in the matrix they are put behind its back."""
    flag = next(word for word in row.attack.argv if word.startswith("--"))
    with pytest.raises(RunRefused):
        read_arguments((flag, *row.attack.argv[1:]))


CODE_NAMES = ("BASH_ENV", "CLAUDE_ENV_FILE", "CLAUDE_CODE_SHELL_PREFIX", "BUN_OPTIONS",
              "NODE_OPTIONS", "LD_PRELOAD")  # fmt: skip
"""These make code run inside the harness or its shell (measured): no setting could hold it."""
SWITCHES = [row.attack.environment[0][0] for row in OWN_RUNS if row.refused_name]


@pytest.mark.parametrize("name", [*SWITCHES, *CODE_NAMES])
def test_the_launcher_itself_refuses_each_of_these_variables(name: str) -> None:
    with pytest.raises(RunRefused):
        check_name(name)


def test_the_record_holds_each_row_with_each_proved_version_and_nothing_else() -> None:
    record = read_record()
    for kind in ("row", "control", "round"):
        assert set(record[kind]) == {this.name for this in of(kind)}
        versions = [set(by) for row in record[kind].values() for by in row.values()]
        assert all(found == set(VERSIONS) for found in versions)
