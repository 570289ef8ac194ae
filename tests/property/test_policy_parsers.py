"""Any bytes give a value or our error; what the splitter accepts, bash reads the same way."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

from hypothesis import example, given, settings
from hypothesis import strategies as st

from agp.contracts.policy import ShellAction, Tier, World
from agp.errors import PolicyError
from agp.policy.effects import effects_of, needs
from agp.policy.language import load_policy_file
from agp.policy.patterns import is_host
from agp.policy.rules import PolicyFile
from agp.policy.shell import split
from agp.policy.targets import glob_components, glob_text
from agp.policy.urls import endpoint_of
from tests.fakes.policy_world import world_for

_PIECES = st.sampled_from(
    [
        "version: 1\n",
        "default: deny\n",
        "rules:\n",
        "  - ",
        "{",
        "}",
        "[",
        "]",
        "id: a",
        ", ",
        ": ",
        "\n",
        "match: ",
        "effect: ",
        "write",
        "verdict: ",
        "allow",
        "path: ",
        "'**'",
        '"',
        "'",
        "&a ",
        "*a",
        "!!x ",
        "<<",
        "? ",
        "- ",
        "|",
        ">-\n",
        "#",
        "%YAML 1.2\n",
        "---\n",
        "...\n",
        "\t",
        "\r",
        "\x85",
        "\ufeff",
        "~",
        "null",
        "0x1",
        "argv: ",
        "<any...>",
        "port: 1-2",
        "\U0001f600",
        "reason: x",
        "@",
        "`",
        "acknowledge: ",
    ]
)


@given(
    st.one_of(
        st.binary(max_size=400), st.lists(_PIECES, max_size=40).map(lambda p: "".join(p).encode())
    )
)
@settings(max_examples=400, deadline=None)
@example(b"version: 1\ndefault: deny\nrules: [{id: a, match: {effect: 1}, verdict: deny}]")
@example(b"\xff\xfe")
def test_any_bytes_are_a_policy_or_a_policy_error(data: bytes) -> None:
    """Nothing but a PolicyError with a place leaves the reader."""
    assert place_of_refusal(data, Tier.USER).startswith("p.yaml:")
    assert place_of_refusal(data, Tier.WORKSPACE).startswith("p.yaml:")


def place_of_refusal(data: bytes, tier: Tier) -> str:
    """Give the place that the reader names; a policy names its file."""
    try:
        made = load_policy_file(data, name="p.yaml", tier=tier)
    except PolicyError as error:
        return error.where
    assert isinstance(made, PolicyFile)
    return f"{made.name}:"


_LIKE_RULES = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b-c", "A", ""]),
        "verdict": st.sampled_from(["allow", "deny", "require", "x"]),
    },
    optional={
        "reason": st.text(max_size=5),
        "match": st.dictionaries(
            st.sampled_from(["effect", "path", "argv", "host", "port", "tool", "label"]),
            st.one_of(
                st.text(max_size=8),
                st.sampled_from(
                    ["write", "exec", "connect", "mcp", "**", "a/*", "git <any>", "x.example"]
                ),
                st.lists(st.sampled_from(["write", "exec", "git x", "443", "a"]), max_size=3),
            ),
            max_size=3,
        ),
    },
)


@given(st.lists(_LIKE_RULES, max_size=3))
@settings(max_examples=300, deadline=None)
def test_anything_shaped_like_rules_is_a_policy_or_a_policy_error(rules: list[object]) -> None:
    """The same for texts that get past YAML."""
    data = json.dumps({"version": 1, "default": "deny", "rules": rules}).encode()
    assert place_of_refusal(data, Tier.ADMIN).startswith("p.yaml:")


_SIGNS = st.sampled_from(
    [*"ab-=.,:/@%+_1 \t'\"\\$`~*?[]{}()<>|&;#!^\n\r\xa0é", "''", '""', "a b", "'a b'"]
)
_COMMANDS = st.lists(_SIGNS, max_size=12).map("".join)


@given(_COMMANDS)
@settings(max_examples=400, deadline=None)
def test_effects_never_raise_and_are_never_empty(command: str) -> None:
    """Whatever the command and however little is known of the world."""
    action = ShellAction(command=command)
    assert effects_of(action, world_for(action))
    assert effects_of(action, World(workspace="/w", cwd="/w"))
    assert len(needs(action).words) <= 1


_PIECES = st.one_of(
    st.text("ab-=.,:/@%+_1", max_size=4),
    st.text("ab-=.,:/@%+_1 é~*?[]{}()<>|&;#!^", max_size=6).map(lambda text: f"'{text}'"),
    st.text("ab-=.,:/@%+_1 é~*?[]{}()<>|&;#^'", max_size=6).map(lambda text: f'"{text}"'),
    st.sampled_from([" ", "\t", "  "]),
)
"""What is mostly accepted, so that nearly every example asks bash."""


@given(words=st.one_of(st.lists(_PIECES, min_size=1, max_size=10).map("".join), _COMMANDS))
@settings(max_examples=150, deadline=None)
@example(words="a'b'\"c\" --x=y a:b 'é ~' \"*{a,b}\"")
def test_bash_reads_accepted_words_as_we_do(words: str) -> None:
    """The oracle is the real shell, in an empty environment, on one printf."""
    ours = split(f"x {words}")
    if isinstance(ours, str):
        return  # refused: bash has no say
    assert read_by_bash(f"x {words}") == ours


def read_by_bash(words: str) -> tuple[str, ...]:
    """Let bash print each word followed by NUL."""
    program = shutil.which("bash")
    assert program, "bash is promised to the tests"
    run = subprocess.run(
        [program, "--norc", "--noprofile", "-c", f"printf '%s\\0' {words}"],
        capture_output=True,
        timeout=10,
        check=True,
        cwd="/",
        env={"LC_ALL": "C.UTF-8"},
    )
    return tuple(run.stdout.decode().split("\0")[:-1])


@given(st.text(alphabet="ab*?", max_size=10), st.text(alphabet="ab/\n", max_size=12))
def test_a_text_glob_is_the_regular_expression_of_its_signs(pattern: str, text: str) -> None:
    """The linear matcher against re, which would backtrack."""
    expression = "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern)
    assert glob_text(pattern, text) == bool(re.fullmatch(expression, text, re.DOTALL))


@given(
    st.lists(st.sampled_from(["a", "b", "*", "**", "a?"]), max_size=6),
    st.lists(st.sampled_from(["a", "b", "ab"]), max_size=7),
)
def test_a_path_glob_is_its_definition(pattern: list[str], path: list[str]) -> None:
    """The two-pointer matcher against the definition by recursion."""

    def by_definition(p: tuple[str, ...], t: tuple[str, ...]) -> bool:
        if not p:
            return not t
        if p[0] == "**":
            return any(by_definition(p[1:], t[i:]) for i in range(len(t) + 1))
        return bool(t) and glob_text(p[0], t[0]) and by_definition(p[1:], t[1:])

    assert glob_components(tuple(pattern), tuple(path)) == by_definition(
        tuple(pattern), tuple(path)
    )


@given(st.text(max_size=60).map(lambda t: f"https://{t}"))
def test_any_url_is_an_endpoint_or_a_reason(url: str) -> None:
    """A host that comes out is canonical."""
    endpoint = endpoint_of(url)
    assert isinstance(endpoint, str) or is_host(endpoint.host)
