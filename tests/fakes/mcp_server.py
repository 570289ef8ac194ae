"""A local MCP server over stdio with two tools: `echo` returns its argument, `touch` makes a file.

Standard library only, started by a harness as `python -m tests.fakes.mcp_server` or by its path.
`touch` leaves a mark on disk, so that a test can see whether a call really ran.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TOOLS = [
    {
        "name": "echo",
        "description": "Return x.",
        "inputSchema": {
            "type": "object",
            "properties": {"x": {"type": "string"}, "n": {"type": "number"}},
            "required": ["x"],
        },
    },
    {
        "name": "touch",
        "description": "Create the file.",
        "inputSchema": {
            "type": "object",
            "properties": {"path": {"type": "string"}},
            "required": ["path"],
        },
    },
]


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """Answer one request; None: there is no such method."""
    match method:
        case "initialize":
            return {
                "protocolVersion": params.get("protocolVersion", "2025-06-18"),
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "fake", "version": "1"},
            }
        case "tools/list":
            return {"tools": TOOLS}
        case "tools/call":
            return _call(params["name"], params.get("arguments", {}))
        case "ping":
            return {}
        case _:
            return None


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if name == "touch":
        Path(arguments["path"]).touch()
    text = f"ECHO {arguments['x']}" if name == "echo" else "touched"
    return {"content": [{"type": "text", "text": text}]}


def main() -> None:
    """Answer line by line until stdin ends."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        result = answer(message["method"], message.get("params", {}))
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        if result is None:
            reply["error"] = {"code": -32601, "message": "no such method"}
        else:
            reply["result"] = result
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
