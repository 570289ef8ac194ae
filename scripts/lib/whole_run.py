"""Accept a pytest report only where tests ran and none was skipped: else nothing is proved.

python scripts/lib/whole_run.py REPORT.xml
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET


def main(report: Path) -> int:
    """Name what was skipped; 1 where the run is not whole."""
    if not report.is_file():
        print(f"{report.name}: there is no report, so nothing was proved")
        return 1
    cases = list(ET.parse(report).iter("testcase"))
    skipped = [case for case in cases if case.find("skipped") is not None]
    for case in skipped:
        print(f"skipped, which is a failure here: {case.get('classname')}.{case.get('name')}")
    if not cases:
        print(f"{report.name}: no test ran")
    return 1 if skipped or not cases else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
