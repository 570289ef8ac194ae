"""`doctor`: prove each part that the configuration needs, and print the fix for what fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer  # noqa: TC002 - typer reads the annotations

from agp.cli.findings import Finding, State
from agp.cli.output import table
from agp.cli.wire import output_of
from agp.contracts.display import visible
from agp.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import JsonValue

    from agp.cli.output import Output

_COLOUR = {
    State.PROVED: "green",
    State.FAILED: "red",
    State.WARNED: "yellow",
    State.UNUSED: "dim",
    State.TODO: "yellow",
    State.UNTRIED: "dim",
}
_TOLD = {State.FAILED, State.WARNED, State.TODO}
"""States with a fix to read."""


def register(app: typer.Typer) -> None:
    """Put this group's command on the command line."""
    app.command()(doctor)


def doctor(ctx: typer.Context) -> int:
    """Prove that AGP works here: a signature, a sandbox, a denied call; a fix for each failure."""
    from agp.cli.proofs import examine
    from agp.daemon.home import Home

    output = output_of(ctx)
    findings = examine(Home.from_environment())
    failed = [finding for finding in findings if finding.state is State.FAILED]
    document: dict[str, JsonValue] = {
        "ok": not failed,
        "checks": [finding.document() for finding in findings],
    }
    output.show("doctor", document, _lines(findings, output))
    return ConfigurationError.exit_code if failed else 0


def _lines(findings: Iterable[Finding], output: Output) -> list[str]:
    findings = tuple(findings)
    rows = [(f.state.value, f.name, visible(f.what)) for f in findings]
    head, *body = table(("STATE", "CHECK", "WHAT"), rows)
    painted = [
        line.replace(f.state.value, output.paint(f.state.value, _COLOUR[f.state]), 1)
        for f, line in zip(findings, body, strict=True)
    ]
    troubles = [f for f in findings if f.state in _TOLD]
    return [head, *painted, "", *_troubles(troubles, output)]


def _troubles(troubles: list[Finding], output: Output) -> list[str]:
    failed = sum(1 for finding in troubles if finding.state is State.FAILED)
    open_ones = [finding.name for finding in troubles if finding.state is State.TODO]
    if failed:
        word = "check" if failed == 1 else "checks"
        verdict = [output.paint(f"{failed} {word} failed.", "red")]
    elif open_ones:
        said = f"What was tried is proved. Before a run with Claude Code: {', '.join(open_ones)}."
        verdict = [output.paint(said, "yellow")]
    else:
        verdict = [output.paint("All that this configuration needs is proved.", "green")]
    return [line for finding in troubles for line in (*_trouble(finding), "")] + verdict


def _trouble(finding: Finding) -> list[str]:
    parts = (("where", finding.where), ("why", finding.why), ("fix", finding.fix))
    head = f"[{finding.state.value}] {finding.name}: {visible(finding.what)}"
    return [head, *(f"  {name}: {visible(text)}" for name, text in parts if text)]
