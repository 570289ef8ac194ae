"""A pending approval as rows of text: everything that a person needs to judge, nothing hidden.

Pure. Every untrusted string passes `contracts.display`; rows that hold text of the agent begin
with a gutter or an indent of ours, so that no text of theirs stands where ours stands. Widths are
counted for the worst terminal (two columns for all but ASCII): text that wrapped by itself would
begin a row at its first column and could imitate a prompt.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from agp.channels.effect_words import by_gravity, in_words, network_in_words
from agp.contracts.display import visible, visible_lines
from agp.contracts.strict_json import Member, parse_object
from agp.errors import MessageRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agp.contracts.channel import ApprovalRequest

BOLD: Final = "\x1b[1m"
WARN: Final = "\x1b[1;33m"
PLAIN: Final = "\x1b[0m"
NARROWEST: Final = 16
WIDEST: Final = 160
_LABEL: Final = 9
"""Columns of the label at the left."""
_GUTTER: Final = "│ "
_CONTINUED: Final = "┊ "
"""Before the rest of a line that was too long: not a line of its own, neither ours nor theirs."""
_MEMBERWISE: Final = 256 * 1024
"""Characters of input that are still taken apart; a longer one is shown as it is written."""


_UNITS: Final = ((86_400, "days"), (3600, "h"), (60, "min"))


class Cut(NamedTuple):
    """How much of a call is shown."""

    text: int
    """Characters of one text."""
    rows: int
    """Rows of the call."""
    effects: int


SHORT: Final = Cut(text=4000, rows=60, effects=12)
WHOLE: Final = Cut(text=1 << 62, rows=1 << 62, effects=1 << 62)


def render(
    request: ApprovalRequest, *, host: str, width: int, now: datetime, colour: bool
) -> tuple[str, ...]:
    """Lay the question out; a call that is too long keeps head and tail, and says so."""
    return _render(request, SHORT, _Page(host, _usable(width), now, colour=colour))


def render_whole(
    request: ApprovalRequest, *, host: str, width: int, now: datetime, colour: bool
) -> tuple[str, ...]:
    """Lay the question out with every character of the call; can be long, costs its length."""
    return _render(request, WHOLE, _Page(host, _usable(width), now, colour=colour))


def time_left(expires_at: str, now: datetime) -> float:
    """Give the seconds until a time in the journal's spelling; 0 where it cannot be read."""
    try:
        end = datetime.strptime(expires_at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return 0.0
    return max(0.0, (end - now).total_seconds())


def wrap(text: str, width: int) -> list[str]:
    """Break a text that is safe to show into rows; joined, they are the text again."""
    rows: list[str] = []
    row: list[str] = []
    used = 0
    for char in text:
        cells = _cells(char)
        if used + cells > width:
            rows.append("".join(row))
            row, used = [], 0
        row.append(char)
        used += cells
    return [*rows, "".join(row)]


def wrap_words(text: str, width: int) -> list[str]:
    """Break prose behind a blank where there is one in the row's second half; else as `wrap`."""
    rows: list[str] = []
    while True:
        row = wrap(text, width)[0]
        if row == text:
            return [*rows, row]
        blank = row.rfind(" ") + 1
        if blank > len(row) // 2:
            row = row[:blank]
        rows.append(row)
        text = text[len(row) :]


def fit(text: str, width: int) -> str:
    """Cut a text that is safe to show to one row, from the left: the end is what is typed."""
    while sum(map(_cells, text)) > width:
        text = text[1:]
    return text


class _Page(NamedTuple):
    host: str
    width: int
    now: datetime
    colour: bool


def _usable(width: int) -> int:
    return min(max(width, NARROWEST), WIDEST)


def _cells(char: str) -> int:
    return 1 if char.isascii() else 2


def _render(request: ApprovalRequest, cut: Cut, page: _Page) -> tuple[str, ...]:
    """What it does and the call itself first: a small window shows them without a key."""
    call = tuple(_call(request, cut, page))
    said = _about_call(request, call, cut)
    return (
        *_rows(_deeds(request, cut), page),
        *_labelled("call", said, page),
        *_shorten_rows(call, cut, request.input_json, page.width),
        *_rows(_circumstances(request, page), page),
    )


def _rows(facts: Iterable[tuple[str, str]], page: _Page) -> Iterator[str]:
    for label, text in facts:
        yield from _labelled(label, text, page)


def _deeds(request: ApprovalRequest, cut: Cut) -> Iterator[tuple[str, str]]:
    yield "id", visible(request.approval_id)
    yield "what", f"{visible(request.tool, limit=200)}, wanted by {visible(request.harness)}"
    yield from _effects(request, cut)
    if request.network is not None:
        yield "network", visible(network_in_words(request.network), limit=cut.text)
    for text in request.cannot_see:
        yield "unseen", f"the policy cannot see inside: {visible(text, limit=400)}"


def _circumstances(request: ApprovalRequest, page: _Page) -> Iterator[tuple[str, str]]:
    if request.says:
        yield "says", f"the agent says: {visible(request.says, limit=400)}"
    agent = "its main agent" if request.agent_id is None else f"agent {visible(request.agent_id)}"
    yield "where", f"on {visible(page.host)}, in {visible(request.cwd, limit=600)}"
    yield "", f"session {visible(request.session_id)}, {agent}"
    yield "", f"isolation: {request.grade.value}"
    yield "why", f"rule {visible(request.rule_id)}: {visible(request.reason, limit=600)}"
    yield from _people(request)
    yield "until", _until(request.expires_at, page.now)


def _effects(request: ApprovalRequest, cut: Cut) -> Iterator[tuple[str, str]]:
    effects = by_gravity(request.effects)
    for index, effect in enumerate(effects[: cut.effects]):
        yield "" if index else "it", in_words(effect, limit=min(cut.text, 2000))
    if len(effects) > cut.effects:
        yield "", f"⟪and {len(effects) - cut.effects} lesser effects; Tab shows them⟫"


def _people(request: ApprovalRequest) -> Iterator[tuple[str, str]]:
    if request.approvers is not None or request.quorum > 1:
        who = "anyone" if request.approvers is None else ", ".join(sorted(request.approvers))
        yield "who", f"{request.quorum} of {visible(who, limit=400)}"
    if request.granted_by:
        yield "", f"yes so far: {visible(', '.join(request.granted_by), limit=400)}"


def _until(expires_at: str, now: datetime) -> str:
    left = time_left(expires_at, now)
    clock = visible(expires_at)[:19].replace("T", " ")
    if not left:
        return f"{clock} UTC: its time is over"
    return f"{clock} UTC, in {_span(left)}"


def _span(seconds: float) -> str:
    for unit, name in _UNITS:
        if seconds >= 2 * unit:
            return f"{int(seconds / unit)} {name}"
    return f"{int(seconds)} s"


def _labelled(label: str, text: str, page: _Page) -> list[str]:
    rows = wrap_words(text, page.width - _LABEL - 4)
    start = f"{label:<{_LABEL}}"
    if page.colour and label:
        start = f"{WARN if label == 'unseen' else BOLD}{start}{PLAIN}"
    return [f"{start}{rows[0]}", *(f"{'':<{_LABEL}}{_CONTINUED}{row}" for row in rows[1:])]


def _about_call(request: ApprovalRequest, call: tuple[str, ...], cut: Cut) -> str:
    size = len(request.input_json.encode("utf-8", "surrogatepass"))
    is_cut = len(call) > cut.rows or any("⟪" in row for row in call)
    extent = "head and tail; Tab shows all of it" if is_cut else "the whole of it"
    return f"{size} bytes of input, {extent}"


def _call(request: ApprovalRequest, cut: Cut, page: _Page) -> Iterator[str]:
    for line in _call_lines(request.input_json, cut):
        first, *rest = wrap(line, page.width - 4)
        yield f"{_GUTTER}{first}"
        yield from (f"{_CONTINUED}{row}" for row in rest)


def _call_lines(input_json: str, cut: Cut) -> Iterator[str]:
    """Take the input apart into members where it is an object; else show it as it is written."""
    members = _members(input_json)
    if not members:
        yield from visible_lines(input_json, limit=cut.text)
    for key, member in members.items():
        name = visible(key, limit=200)
        if isinstance(member.value, str):
            yield f"{name} ="
            yield from (f"   {line}" for line in visible_lines(member.value, limit=cut.text))
        else:
            raw = member.raw.decode("utf-8")
            first, *rest = visible_lines(raw, limit=cut.text)
            yield f"{name} = {first}"
            yield from (f"   {line}" for line in rest)


def _members(input_json: str) -> dict[str, Member]:
    if len(input_json) > _MEMBERWISE:
        return {}
    try:
        return parse_object(input_json.encode("utf-8", "surrogatepass"))
    except MessageRefused:
        return {}


def _shorten_rows(call: tuple[str, ...], cut: Cut, input_json: str, width: int) -> tuple[str, ...]:
    if len(call) <= cut.rows:
        return call
    head, tail = cut.rows * 2 // 3, cut.rows // 3
    digest = hashlib.sha256(input_json.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    text = f"⟪{len(call) - head - tail} rows left out, sha256 {digest}⟫"
    first, *rest = wrap(text, width - 4)
    return (*call[:head], first, *(f"{_CONTINUED}{row}" for row in rest), *call[-tail:])
