"""The policy file: what is refused, where, with which suggestion; what is accepted, exactly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from agp.contracts.policy import Decision, Grade, Tier
from agp.errors import PolicyError
from agp.policy.document import MAX_BYTES, MAX_NODES
from agp.policy.language import FILE_FIELDS, MATCH_FIELDS, RULE_FIELDS, load_policy_file
from agp.policy.schema import policy_schema
from tests.fakes.policy_world import rule

POLICIES = Path(__file__).parents[3] / "policies"
HEAD = "version: 1\ndefault: require\n"


def load(text: str | bytes, tier: Tier = Tier.USER):
    data = text if isinstance(text, bytes) else text.encode()
    return load_policy_file(data, name="p.yaml", tier=tier)


def one(verdict: str = "allow", match: str = "{effect: write}", more: str = "") -> str:
    return f"{HEAD}rules:\n  - {rule('r', verdict, match, more)}\n"


@dataclass(frozen=True)
class Refused:
    """A file that is not accepted, and what the error has to say."""

    name: str
    text: str | bytes
    where: str
    says: str
    tier: Tier = Tier.USER


REFUSED = [
    Refused("an empty file", "", "1:1", "empty"),
    Refused("comments only", "# nothing\n", "1:1", "empty"),
    Refused("a list instead of a map", "- a\n", "1:1", "is a map"),
    Refused("no version", "default: deny\nrules: []\n", "1:1", "'version'"),
    Refused("another version", HEAD.replace("1", "2") + "rules: []\n", "1:10", "version"),
    Refused("a quoted version", HEAD.replace("1", "'1'") + "rules: []\n", "1:10", "whole number"),
    Refused("no rules", HEAD, "1:1", "'rules'"),
    Refused("an empty list of rules", HEAD + "rules: []\n", "3:8", "without rules"),
    Refused("no default", one().replace("default: require\n", ""), "1:1", "'default'"),
    Refused("default allow", one().replace("require", "allow", 1), "2:10", "cannot be 'allow'"),
    Refused("a workspace with a default", one(), "2:10", "no default", Tier.WORKSPACE),
    Refused("an unknown key", HEAD + "rulez: []\n", "3:1", "did you mean 'rules'"),
    Refused("a duplicate key", HEAD + "default: deny\nrules: []\n", "3:1", "twice"),
    Refused("a duplicate verdict", one(more=", verdict: deny"), "4:53", "twice"),
    Refused(
        "a duplicate id",
        one() + f"  - {rule('r', 'deny')}\n",
        "5:5",
        "two rules have the id 'r', the first in line 4",
    ),
    Refused("an anchor", one().replace("{effect", "&a {effect"), "4:20", "anchors"),
    Refused("an alias", one().replace("{effect: write}", "*a"), "4:20", "aliases"),
    Refused("a merge key", one("allow", "{<<: {effect: write}}"), "4:21", "merge keys"),
    Refused("a tag", one("!!str allow"), "4:46", "tags"),
    Refused("a directive", "%YAML 1.1\n---\n" + one(), "2:1", "directives"),
    Refused("two documents", one() + "---\n" + one(), "5:1", "one document"),
    Refused("a number as a key", HEAD + "1: 2\n", "3:1", "a key is"),
    Refused("broken YAML", HEAD + "rules: [\n", "4:1", "not YAML"),
    Refused("a tab as indentation", HEAD + "rules:\n\t- a\n", "4:1", "not YAML"),
    Refused("bytes that are not UTF-8", HEAD.encode() + b"# ok\xff\n", "3:5", "UTF-8"),
    Refused("a control character", HEAD + "rules: \x07\n", "1:1", "not YAML"),
    Refused("a file above the cap", b"#" * (MAX_BYTES + 1), "1:1", "larger than"),
    Refused("too many values", "- a\n" * MAX_NODES, f"{MAX_NODES}:3", "holds too much"),
    Refused("deep nesting", "[" * 5000, "1:14", "nested too deeply"),
    Refused("an unknown verdict", one("alow"), "4:46", "did you mean 'allow'"),
    Refused("no effect", one("allow", "{path: a}"), "4:20", "'effect'"),
    Refused("an unknown effect", one("allow", "{effect: wirte}"), "4:29", "did you mean 'write'"),
    Refused("a star as effect", one("allow", "{effect: '*'}"), "4:29", "cannot be '*'"),
    Refused("no effect in the list", one("allow", "{effect: []}"), "4:29", "names nothing"),
    Refused("an unknown matcher", one("allow", "{effect: write, paht: a}"), "4:36", "'path'"),
    Refused(
        "a matcher that says nothing about the effect",
        one("allow", "{effect: [write, connect], path: a}"),
        "4:53",
        "says nothing about connect",
    ),
    Refused("an unknown label", one("allow", "{effect: write, label: secret}"), "4:43", "label"),
    Refused("a rule about govern", one("allow", "{effect: govern}"), "4:29", "AGP itself"),
    Refused("an id of AGP's own", one().replace("id: r", "id: agp-x"), "4:10", "AGP's own"),
    Refused("an id in capitals", one().replace("id: r", "id: R"), "4:10", "lower-case"),
    Refused(
        "a deny without a reason",
        one("deny").replace(", reason: Do something else.", ""),
        "4:46",
        "needs a reason",
    ),
    Refused("an empty reason", one(more=", reason: ' '"), "4:61", "printable"),
    Refused("a reason that is a boolean", one(more=", reason: true"), "4:61", "quotes: 'true'"),
    Refused("a grade on require", one("require", more=", min_grade: shared"), "4:66", "allow"),
    Refused("a grade on deny", one("deny", more=", min_grade: shared"), "4:91", "allow"),
    Refused("approvers on allow", one(more=", approvers: [a]"), "4:64", "says require"),
    Refused("a quorum on deny", one("deny", more=", quorum: 2"), "4:88", "says require"),
    Refused("nobody may approve", one("require", more=", approvers: []"), "4:66", "verdict: deny"),
    Refused(
        "too few approvers for the quorum",
        one("require", more=", approvers: [a, a], quorum: 2"),
        "4:66",
        "quorum of 2",
    ),
    Refused("a quorum of nobody", one("require", more=", quorum: 0"), "4:63", "from 1 to 10"),
    Refused("an endless expiry", one("require", more=f", expires_s: {9**99}"), "4:66", "86400"),
    Refused("grants, of a later version", one(more=", grants: session"), "4:53", "not built yet"),
    Refused(
        "arguments, of a later version",
        one("allow", "{effect: mcp, arguments: {}}"),
        "4:34",
        "not built yet",
    ),
    Refused(
        "acknowledge in another tier",
        "acknowledge: [x]\n" + one(),
        "1:14",
        "only the user",
        Tier.ADMIN,
    ),
    Refused("`..` in a path", one("allow", "{effect: write, path: ../x}"), "4:42", "'..'"),
    Refused("** inside a component", one("allow", "{effect: write, path: a**}"), "4:42", "alone"),
    Refused(
        "brackets in a path", one("allow", "{effect: write, path: 'a[b]'}"), "4:42", "no meaning"
    ),
    Refused("~name", one("allow", "{effect: write, path: ~root/x}"), "4:42", "HOME"),
    Refused("an empty path", one("allow", "{effect: write, path: ''}"), "4:42", "empty"),
    Refused("null as a path", one("allow", "{effect: write, path: ~}"), "4:42", "null"),
    Refused(
        "words that can be read in two ways",
        one("allow", "{effect: exec, argv: [rm, -rf]}"),
        "4:41",
        "`argv: rm -rf`",
    ),
    Refused(
        "a shell glob in a command", one("allow", "{effect: exec, argv: rm *}"), "4:41", "<any>"
    ),
    Refused(
        "a pipe in a command", one("allow", "{effect: exec, argv: 'a | b'}"), "4:41", "no shell"
    ),
    Refused(
        "an unknown placeholder", one("allow", "{effect: exec, argv: rm <file>}"), "4:41", "<path>"
    ),
    Refused(
        "a placeholder inside a word",
        one("allow", "{effect: exec, argv: a --x=<any>}"),
        "4:41",
        "whole word",
    ),
    Refused(
        "a command without a program",
        one("allow", "{effect: exec, argv: <any...> -f}"),
        "4:41",
        "begins with",
    ),
    Refused(
        "a double space in a command",
        one("allow", "{effect: exec, argv: 'a  b'}"),
        "4:41",
        "single",
    ),
    Refused(
        "a URL as a host", one("allow", "{effect: connect, host: 'http://a'}"), "4:44", "a host"
    ),
    Refused("an odd address", one("allow", "{effect: connect, host: '127.1'}"), "4:44", "a host"),
    Refused(
        "a host in Unicode",
        one("allow", "{effect: connect, host: bücher.example}"),
        "4:44",
        "punycode",
    ),
    Refused("port 0", one("allow", "{effect: connect, port: 0}"), "4:44", "1 to 65535"),
    Refused(
        "ports in the wrong order", one("allow", "{effect: connect, port: 9-8}"), "4:44", "smaller"
    ),
    Refused(
        "a question mark in a name", one("allow", "{effect: mcp, tool: 'a?'}"), "4:40", "only *"
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_file_that_is_not_exactly_a_policy_is_refused_with_its_place(case: Refused) -> None:
    """File, line and column, a sentence that says it, and nothing half loaded."""
    with pytest.raises(PolicyError) as caught:
        load(case.text, case.tier)
    error = caught.value
    assert error.where == f"p.yaml:{case.where}"
    assert case.says in f"{error.what} {error.why} {error.fix}"


def test_every_field_of_a_rule_arrives() -> None:
    """A full require and a full allow, value by value."""
    text = one(
        "require",
        "{effect: connect, host: [a.example, '*.b.example'], port: [443, 8000-8010]}",
        ", reason: Because., hint: Look., approvers: [ann, ben], quorum: 2, expires_s: 60",
    )
    (made,) = load(text + "  - " + rule("s", "allow", more=", min_grade: confined") + "\n").rules[
        :1
    ]
    assert (made.reason, made.hint, made.quorum, made.expires_s) == ("Because.", "Look.", 2, 60)
    assert made.approvers == frozenset({"ann", "ben"})
    assert made.verdict is Decision.REQUIRE
    assert [t.text for m in made.match.matchers for t in m.targets] == [
        "a.example",
        "*.b.example",
        "443",
        "8000-8010",
    ]


def test_a_scalar_is_a_list_of_one() -> None:
    """`effect: write` and `effect: [write]` are one rule."""
    assert load(one("allow", "{effect: write, path: a}")).rules[0].match == (
        load(one("allow", "{effect: [write], path: [a]}")).rules[0].match
    )


def test_a_grade_arrives() -> None:
    """`min_grade` is the contract's grade."""
    made = load(one(more=", min_grade: container-no-egress")).rules[0]
    assert made.min_grade is Grade.CONTAINER_NO_EGRESS


def test_the_words_that_yaml_1_1_took_for_booleans_are_text() -> None:
    """`no` and `off` are names, as YAML 1.2 says; `true` needs quotes."""
    made = load(one("allow", "{effect: harness, tool: [no, off, 'true']}")).rules[0]
    assert [t.text for t in made.match.matchers[0].targets] == ["no", "off", "true"]


def test_the_published_schema_is_the_reader() -> None:
    """The schema file is what the code generates; scripts/policy-schema renews it."""
    assert (POLICIES / "policy.schema.json").read_bytes() == policy_schema()


def test_the_schema_names_every_field_that_the_reader_knows() -> None:
    """No field is accepted by one and refused by the other."""
    text = policy_schema().decode()
    assert all(f'"{name}":' in text for name in (*FILE_FIELDS, *RULE_FIELDS, *MATCH_FIELDS))


@pytest.mark.parametrize("name", ["default.yaml", "starter.yaml"])
def test_shipped_files_load_and_name_their_schema(name: str) -> None:
    """Each begins with the editor's modeline."""
    data = (POLICIES / name).read_bytes()
    assert data.startswith(b"# yaml-language-server: $schema=policy.schema.json\n")
    assert load(data, Tier.DEFAULT if name == "default.yaml" else Tier.USER).rules


def test_the_commented_rules_of_the_starter_are_rules() -> None:
    """What a newcomer uncomments works: the page does not teach errors."""
    lines = (POLICIES / "starter.yaml").read_text().splitlines()
    start = lines.index("rules:") + 1
    body = [re.sub(r"^  #( |$)", "  ", line) for line in lines[start:]]
    end = next(i for i, line in enumerate(body) if "To lower a deny" in line)
    made = load("\n".join([*lines[:start], *body[:end]]))
    assert [r.id for r in made.rules] == [
        "no-publishing",
        "my-linter",
        "our-tests",
        "documentation",
        "migrations",
    ]
