"""Test doubles for users of `rlm`, the ones that it is tested with itself.

    from rlm.testing import ScriptedModelServer

    with ScriptedModelServer({"root": ["…", "…"], "sub": "42"}) as server:
        RLM(model="root", sub_model="sub", base_url=server.base_url, …)

Names are imported on first use: pytest loads this package at its start, through the plugin.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlm.testing.replies import Fault, Reply
    from rlm.testing.script import ScriptedRequest, Turns
    from rlm.testing.server import ScriptedModelServer

__all__ = ["Fault", "Reply", "ScriptedModelServer", "ScriptedRequest", "Turns"]

_HOMES = {
    "Fault": "replies",
    "Reply": "replies",
    "ScriptedModelServer": "server",
    "ScriptedRequest": "script",
    "Turns": "script",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
