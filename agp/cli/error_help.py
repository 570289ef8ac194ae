"""Each error code in the words of who runs AGP: what it means, and what to do.

`agp help CODE` and the table of exit codes print this; every class of `agp.errors` has an entry.
"""

from __future__ import annotations

from typing import NamedTuple


class ErrorHelp(NamedTuple):
    """One code."""

    means: str
    cause: str
    fix: str


ERROR_HELP = {
    "AGP-1000": ErrorHelp(
        "a defect of AGP itself: the traceback is shown, please report it",
        "AGP met something that it does not expect; nothing is granted meanwhile",
        "report it with the traceback and `agp --version`",
    ),
    "AGP-1100": ErrorHelp(
        "what you asked for was refused",
        "for example an answer to a question that has ended, or an approver whom the rule"
        " does not name",
        "`agp approvals` shows what waits, and who may answer",
    ),
    "AGP-1101": ErrorHelp(
        "the command line is wrong: a command, an option or a file that does not exist",
        "a misspelling, a missing option, or options that do not belong together",
        "`agp help COMMAND` shows the options",
    ),
    "AGP-1102": ErrorHelp(
        "the bytes on a socket of AGP are not its protocol",
        "another program connected, or a bridge of another version",
        "end the session and start it again from this installation",
    ),
    "AGP-1103": ErrorHelp(
        "a message to or from the daemon was not understood",
        "the daemon is of another version, or an argument is not text",
        "`agp daemon stop`, then try again",
    ),
    "AGP-1104": ErrorHelp(
        "you may not ask the daemon this",
        "only the user who runs the daemon may command it, and only a session's own launcher"
        " may act for it",
        "run the command as the user who runs the daemon",
    ),
    "AGP-1105": ErrorHelp(
        "too much at once: a size, a rate or a number of questions was exceeded",
        "a file or a call is larger than its limit, or too many things wait",
        "make it smaller, or answer what waits (`agp approvals`)",
    ),
    "AGP-1106": ErrorHelp(
        "this version of AGP cannot do that yet",
        "an option or a setting names something that is planned and not built",
        "the message names what works instead; README.md lists what is not built",
    ),
    "AGP-1107": ErrorHelp(
        "the run was refused before the agent started",
        "the workspace is not fit (root's, a home, a system directory), the harness is missing or"
        " of another version, a variable must not be handed over, or the sandbox did not hold",
        "the message names which; `agp doctor` tries everything that a run needs",
    ),
    "AGP-1200": ErrorHelp(
        "integrity failed: the journal is not what was signed",
        "a line was changed, removed or put in, or the key is another log's; the message names"
        " the line and the likeliest cause",
        "keep the directory as it is, and compare it with a copy and with kept checkpoints",
    ),
    "AGP-1201": ErrorHelp(
        "the journal cannot be written any more, so nothing is granted",
        "the disk is full or failed, or something else changed the journal's files",
        "see that the disk has room, then `agp verify` and `agp daemon start`",
    ),
    "AGP-1202": ErrorHelp(
        "UNGOVERNED: the agent ran something without a decision",
        "its hooks did not answer, or its own event stream shows a call that was not granted",
        "look at the workspace before you use it, and keep the journal; report it with the"
        " harness's version",
    ),
    "AGP-1203": ErrorHelp(
        "a place from which programs start by themselves was changed in the workspace",
        "something wrote git hooks, editor settings or the like while a call ran",
        "look at the named file before you run anything in the workspace",
    ),
    "AGP-1204": ErrorHelp(
        "AGP's own index is damaged; it was moved aside and is rebuilt from the journal",
        "the disk failed, or another program wrote store.db",
        "nothing: the journal has everything; `agp verify` checks it",
    ),
    "AGP-1300": ErrorHelp(
        "something outside AGP does not answer",
        "the daemon ended, a file or a program did not answer in time",
        "try again; the message names where to look",
    ),
    "AGP-1301": ErrorHelp(
        "no daemon answers",
        "it was never started, was stopped, or hangs",
        "`agp daemon start`; `agp run` starts one by itself",
    ),
    "AGP-1302": ErrorHelp(
        "the run was killed",
        "by `agp kill`, or because the daemon was away for too long",
        "`agp sessions` shows how it ended; start it again",
    ),
    "AGP-1303": ErrorHelp(
        "the agent itself failed",
        "the harness ended with an error of its own, often because it has no key for its model",
        "read its last words in the summary; --pass-env ANTHROPIC_API_KEY hands it a key",
    ),
    "AGP-1400": ErrorHelp(
        "something of AGP's own is missing or wrong: its home, its configuration or a key",
        "no `agp init` yet, an unknown setting, a key that is gone, or bubblewrap is missing",
        "the message names the command; `agp doctor` looks at everything",
    ),
    "AGP-1401": ErrorHelp(
        "a policy file is not acceptable",
        "a mistake at the line and column that the message names",
        "mend the line, then `agp policy check FILE`; docs/policy.md has every field",
    ),
}
