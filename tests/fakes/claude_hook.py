"""A stand-in for the bridge: keeps what the hook was given, answers from a table.

Run exactly as the bridge is: `python3 -I -S THIS HARNESS EVENT SOCKET RECONNECT_S DEADLINE_S`.
Beside the socket path lie `rules.json` (the first rule whose event and text match answers) and
`seen/`, into which each call is written as one JSON file whose name sorts by arrival.
"""

import json
import os
import sys
import time
from pathlib import Path

harness, event, socket = sys.argv[1:4]
place = Path(socket).parent
body = sys.stdin.buffer.read().decode()
part = place / "seen" / f"{time.monotonic_ns():020d}-{os.getpid()}.part"
part.write_text(
    json.dumps({"argv": sys.argv[1:], "event": event, "body": body, "environ": dict(os.environ)})
)
part.rename(part.with_suffix(".json"))
for wanted, text, code, stdout, stderr in json.loads((place / "rules.json").read_text()):
    if wanted == event and text in body:
        sys.stdout.write(stdout)
        sys.stderr.write(stderr)
        raise SystemExit(code)
raise SystemExit("no rule answers this hook")
