"""An MCP server in plain Python that speaks an older protocol: `plain.py TOOL …`; each says what it was called with."""

from __future__ import annotations

import json
import sys
from typing import Any

SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "max-results": {"type": "integer", "default": 3},
        "class": {"type": ["string", "null"]},
        "q": {"type": "string"},
        "any": {"anyOf": [{"type": "string"}, {"type": "array"}]},
        "max_results": {},
    },
    "required": ["q"],
}


def answer(method: str, params: Any) -> dict[str, Any] | None:
    if method == "initialize":
        return {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "plain", "version": "1"},
        }
    if method == "tools/list":
        # One per page.
        at = int(params.get("cursor") or 0)
        page: dict[str, Any] = {"tools": [{"name": sys.argv[1 + at], "inputSchema": SCHEMA}]}
        return page if at + 2 == len(sys.argv) else {**page, "nextCursor": str(at + 1)}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": json.dumps(params["arguments"], sort_keys=True)}]}
    return None


for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        result = answer(request["method"], request.get("params", {}))
        body = {"error": {"code": -32601, "message": "unknown"}} if result is None else {"result": result}
        reply = json.dumps({"jsonrpc": "2.0", "id": request["id"], **body})
        sys.stdout.write(f"this line is no JSON\n{reply}\n")
        sys.stdout.flush()
