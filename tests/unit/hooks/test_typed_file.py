"""What a person typed is read out of the harness's script, or the script is refused.

The scripts are those of Claude Code 2.1.329, measured; the hostile ones begin as they do.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

FILE = Path(__file__).resolve().parents[3] / "hooks/agp-typed"
SOURCE = (
    "source /home/agent/.claude/shell-snapshots/snapshot-bash-1795197122734-7pxvd5.sh"
    " 2>/dev/null || true"
)
PREPARES = (
    " && { \\builtin shopt -u extglob || \\builtin setopt NO_EXTENDED_GLOB NO_BARE_GLOB_QUAL"
    " NO_BRACE_CCL NO_MAGIC_EQUAL_SUBST NO_EQUALS; } >/dev/null 2>&1 || true"
    " && { \\builtin unalias -- 'which'; \\builtin unset -f -- 'which'; } >/dev/null 2>&1 || true"
)
OLD_BASH = (
    "{ case \"${BASH_VERSINFO-}\" in '2'|'3') \\builtin printf '%s\\n'"
    " '__CLAUDE_CODE_DID_NOT_RUN_BASH_TOO_OLD='\"${BASH_VERSION-}\" >&2;"
    " \\builtin exit 126; \\exit 126;; esac; } && "
)
CWD_FILE = "/home/agent/tmp/claude-3677-cwd"
END = f" < /dev/null && pwd -P >| {CWD_FILE}"


def load() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("agp_typed", str(FILE))
    spec = importlib.util.spec_from_loader("agp_typed", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


TYPED = load()


def script(word: str, *, end: str = END, before: str = SOURCE + PREPARES) -> str:
    return f"{before} && eval {word}{end}"


def quoted(command: str) -> str:
    """Quote as the harness does (measured); only for what needs it."""
    return "'" + command.replace("'", "'\"'\"'") + "'"


@dataclass(frozen=True)
class Measured:
    """A script's own spelling of a command, from the real harness."""

    word: str
    command: str
    before: str = SOURCE + PREPARES
    end: str = END


MEASURED = (
    Measured("pwd", "pwd"),
    Measured("./x.sh", "./x.sh"),
    Measured("x:y,z", "x:y,z"),
    Measured("a=b", "a=b"),
    Measured("'git status'", "git status"),
    Measured("'a@b%c+d'", "a@b%c+d"),
    Measured("'$HOME'", "$HOME"),
    Measured("'a\\\\b'", "a\\\\b"),
    Measured("'echo '\"'\"'it'\"'\"''", "echo 'it'"),
    Measured("'echo `id`'", "echo `id`", before=OLD_BASH + SOURCE + PREPARES),
    Measured("'cat <<E\nhi\nE'", "cat <<E\nhi\nE", end=f" && pwd -P >| {CWD_FILE}"),
    Measured("'echo hé€'", "echo hé€"),
)


@pytest.mark.parametrize("one", MEASURED, ids=lambda one: one.word)
def test_what_the_real_harness_wrote_is_read_as_it_was_typed(one: Measured) -> None:
    found = TYPED.extract(script(one.word, end=one.end, before=one.before))
    assert found == (one.command, CWD_FILE)


@given(st.text(alphabet=st.characters(exclude_characters="\0"), min_size=1))
@pytest.mark.parametrize("end", [END, f" && pwd -P >| {CWD_FILE}"])
def test_whatever_was_typed_comes_back_from_how_the_harness_quotes_it(
    end: str, command: str
) -> None:
    assert TYPED.extract(script(quoted(command), end=end)) == (command, CWD_FILE)


PIECES = st.lists(
    st.sampled_from(
        ("'", '"', "'\"'\"'", " && eval ", "eval", " < /dev/null", " && pwd -P >| ", CWD_FILE, END,
         SOURCE, PREPARES, "touch x", "\n", "\\", "$(id)", "`", ";", " ")
    ),
    min_size=1,
)  # fmt: skip


@given(PIECES)
def test_a_command_made_of_the_script_s_own_pieces_is_still_only_a_command(
    pieces: list[str],
) -> None:
    """Attack: what is typed, or put into somebody's clipboard, closes the quotes early."""
    command = "".join(pieces)
    assert TYPED.extract(script(quoted(command))) == (command, CWD_FILE)


@given(PIECES)
def test_what_is_taken_is_spelled_as_the_harness_spells_it_and_in_no_other_way(
    pieces: list[str],
) -> None:
    whole = SOURCE + "".join(pieces)
    if (found := TYPED.extract(whole)) is None:
        return
    command, file = found
    spellings = {
        f"eval {word}{given} && pwd -P >| {file}"
        for word in (command, quoted(command))
        for given in ("", " < /dev/null")
    }
    assert whole[whole.index("eval ") :] in spellings


@dataclass(frozen=True)
class Hostile:
    """A script that is nearly the harness's."""

    name: str
    script: str


HOSTILE = (
    Hostile("nothing", ""),
    Hostile("a bare command", "touch x"),
    Hostile("another source", script("pwd", before="source /tmp/x 2>/dev/null || true")),
    Hostile(
        "a substitution in the snapshot's path",
        script("pwd", before=SOURCE.replace("7pxvd5", "$(touch x)")),
    ),
    Hostile("a newline before the command", script("pwd", before=f"{SOURCE}\ntouch x")),
    Hostile("an eval before the command", script("pwd", before=f"{SOURCE} && \\eval 'x'")),
    Hostile("two evals", script("pwd && eval 'touch x'")),
    Hostile("two evals, the first quoted", script("'pwd' && eval 'touch x'")),
    Hostile("a second word", script("'pwd' 'touch x'")),
    Hostile("a word glued on", script("'pwd'x")),
    Hostile("a bare word with a substitution", script("$(id)")),
    Hostile("a bare word with a tilde", script("~/x")),
    Hostile("double quotes", script('"pwd"')),
    Hostile("an open quote", script("'pwd")),
    Hostile("an empty command", script("''")),
    Hostile("something after the end", script("pwd", end=f"{END}; touch x")),
    Hostile("a newline after the end", script("pwd", end=f"{END}\n")),
    Hostile("another file", script("pwd", end=" < /dev/null && pwd -P >| /home/agent/.bashrc")),
    Hostile("a file that climbs", script("pwd", end=END.replace("3677", "../x"))),
    Hostile("another input", script("pwd", end=END.replace("/dev/null", "/etc/passwd"))),
    Hostile("the check of the shell's age, changed", script("pwd", before=f"x && {SOURCE}")),
)


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda attack: attack.name)
def test_every_other_script_is_refused(attack: Hostile) -> None:
    assert TYPED.extract(attack.script) is None


@pytest.mark.parametrize("words", [(), ("touch x",), ("\udcff",)])
def test_what_is_refused_ends_with_126_and_a_sentence(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", FILE, *words], capture_output=True, check=False, timeout=10
    )
    assert done.returncode == 126
    assert done.stderr.startswith(b"agp: ")
    assert done.stdout == b""
