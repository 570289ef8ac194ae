"""What governing costs a person: one tool call of the real Claude Code, gated against ungated.

Both runs play the same conversation: CALLS times one Bash call, CALLS times one Read, one a turn.
A call's time is what the model server sees: from one request to the next, so the harness's own
work, both hooks, the decision, the signed and durable journal lines and the call's view are all in
it. The floor is the same harness without AGP, with every tool allowed, in the same run.

    python bench/harness.py [CALLS]          needs scripts/fetch-harness, bubblewrap
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fakes.agp_house import house
from tests.fakes.claude_run import NATIVE
from tests.fakes.model_server import Conversation, ModelServer, Turn, call, say, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOLS = ("Bash", "Read")


def conversation(calls: int, readme: Path) -> Conversation:
    """Ask for each tool in turn, one call in each answer."""
    bash = [call("Bash", command="git status --short") for _ in range(calls)]
    reads = [call("Read", file_path=str(readme)) for _ in range(calls)]
    return say(*bash, *reads, "done")


@contextmanager
def timed() -> Iterator[list[float]]:
    """Note when each turn is asked for, in milliseconds, while the block runs."""
    asked: list[float] = []
    answer = ModelServer.answer

    def noted(server: ModelServer, body: object) -> Turn | str:
        said = answer(server, body)
        if isinstance(body, dict) and body.get("tools"):
            asked.append(time.perf_counter() * 1e3)
        return said

    ModelServer.answer = noted  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        ModelServer.answer = answer  # type: ignore[method-assign]


def split(asked: list[float], calls: int) -> dict[str, list[float]]:
    """Give each tool's times; the first of each kind warms up and does not count."""
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    if len(gaps) != 2 * calls:
        raise SystemExit(f"{len(gaps)} calls came to their end, not {2 * calls}")
    return {"Bash": gaps[1:calls], "Read": gaps[calls + 1 :]}


def ungated(calls: int) -> dict[str, list[float]]:
    """Run the harness as it is, every tool allowed."""
    with tempfile.TemporaryDirectory(prefix="agp-bench-") as place:
        repo, home = Path(place, "repo"), Path(place, "home")
        repo.mkdir()
        home.mkdir()
        (repo / "README.md").write_text("hi\n")
        subprocess.run(["git", "init", "-q", str(repo)], check=True)
        words = ["-p", "--allowedTools", "Bash,Read", "--setting-sources", "", "--", "do it"]
        with serve(conversation(calls, repo / "README.md")) as server, timed() as asked:
            environment = {
                "HOME": str(home),
                "PATH": "/usr/bin:/bin",
                "ANTHROPIC_API_KEY": "sk-ant-dummy",
                "ANTHROPIC_BASE_URL": server.url,
                "DISABLE_AUTOUPDATER": "1",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            }
            command = [str(NATIVE), *words]
            subprocess.run(
                command, env=environment, cwd=repo, check=True, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, timeout=300,
            )  # fmt: skip
        return split(asked, calls)


def gated(calls: int) -> dict[str, list[float]]:
    """Run the same under AGP, with the shipped policy: both tools are allowed by a rule."""
    with house() as home:
        with timed() as asked:
            home.claude(conversation(calls, home.repo / "README.md")).end()
        return split(asked, calls)


def main() -> int:
    """Measure, print; there is no budget of system.md for this figure, a person judges it."""
    calls = int(dict(enumerate(sys.argv)).get(1, "20"))
    bare, governed = ungated(calls), gated(calls)
    for tool in TOOLS:
        floor, ours = statistics.median(bare[tool]), statistics.median(governed[tool])
        print(
            f"{tool:5} ungated p50 {floor:6.1f} ms   gated p50 {ours:6.1f} ms"
            f"   +{ours - floor:5.1f} ms   ratio {ours / floor:.2f}   n={calls - 1}"
        )
    print(f"load  {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
