"""The runs of this server as resources: their results, and what was said in them. Other runs are nobody's business.

rlm://runs/ID               the result, as --json prints it but for the place of the trace
rlm://runs/ID/transcript    the messages of each rollout, a JSON object per line; needs a trace
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict

from mcp import types

from rlm.errors import InputError
from rlm.export.messages import transcripts
from rlm.mcpserver.tool import uri_of
from rlm.result import RunResult
from rlm.trace.reader import Trace

MOST = 100
"""Runs that are remembered."""
_URI = re.compile(r"rlm://runs/([A-Za-z0-9-]{1,64})(/transcript)?")
_JSON, _LINES = "application/json", "application/jsonl"


class History:
    """The latest runs, by id."""

    def __init__(self) -> None:
        self._results: OrderedDict[str, RunResult] = OrderedDict()

    def add(self, result: RunResult) -> None:
        self._results[result.run_id] = result
        while len(self._results) > MOST:
            self._results.popitem(last=False)

    def resources(self) -> list[types.Resource]:
        """The latest first."""
        return [
            types.Resource(
                name=run_id,
                uri=uri_of(run_id),
                mime_type=_JSON,
                description=f"{result.stop_reason} after {result.seconds:.0f} s",
            )
            for run_id, result in reversed(self._results.items())
        ]

    def templates(self) -> list[types.ResourceTemplate]:
        return [
            types.ResourceTemplate(name="run", uri_template="rlm://runs/{run_id}", mime_type=_JSON),
            types.ResourceTemplate(name="transcript", uri_template="rlm://runs/{run_id}/transcript", mime_type=_LINES),
        ]

    def read(self, uri: str) -> types.TextResourceContents:
        """Blocks. Raises `InputError` for what there is not."""
        found = _URI.fullmatch(uri)
        result = self._results.get(found[1]) if found else None
        if found is None or result is None:
            raise InputError("there is no such run of this server")
        if not found[2]:
            told = {name: value for name, value in result.to_dict().items() if name != "trace"}
            return types.TextResourceContents(uri=uri, mime_type=_JSON, text=json.dumps(told))
        if result.trace is None:
            raise InputError("this run has left no trace")
        lines = [json.dumps(line) for line in transcripts(Trace(result.trace.parent).events())]
        return types.TextResourceContents(uri=uri, mime_type=_LINES, text="\n".join(lines))
