"""The command line's door: it answers `--version` before anything heavy is imported."""

from __future__ import annotations

import sys

from agp import __version__


def main() -> None:
    """Answer `--version` at once; hand every other command line to the rooms behind."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        sys.stdout.write(f"agp {__version__}\n")
        return
    from agp.cli.app import run_command_line  # noqa: PLC0415 - costs 70 ms; --version needs none

    sys.exit(run_command_line(arguments))


if __name__ == "__main__":
    main()
