"""The toolbox of a run that is executed again from its trace: what there was, and nothing that could be called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm.tools.failures import ToolFailure
from rlm.tools.signatures import SignatureText
from rlm.tools.toolbox import Toolbox, digest


class RecordedToolbox(Toolbox):
    """Made of a `tools.opened` event. Every call fails: those of the record are answered from there."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        super().__init__()
        self.definitions = list(event["tools"])
        self.version = digest(self.definitions)
        self.read_only = bool(event["read_only"])
        self._stubs: list[SignatureText] = list(event["functions"])
        self._sources: list[dict[str, str]] = list(event["shipped"])

    @property
    def shipped(self) -> list[dict[str, str]]:
        return self._sources

    def repl_functions(self, everything: bool) -> list[SignatureText]:
        return self._stubs

    async def call_function(self, name: Any, args: Any, kwargs: Any, *, everything: bool) -> Any:
        raise ToolFailure("this call is not in the record")
