"""A runtime for Recursive Language Models.

result = RLM(model="…").run("Who is mentioned most?", inputs=["book.txt"])
print(result.answer)

Names are imported on first use, so that the command line starts quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlm.agent import RLM
    from rlm.batches import BatchTask, read_tasks, run_batch
    from rlm.config import Price, Settings
    from rlm.context import Value, register_loader
    from rlm.errors import (
        AuthError,
        BadReply,
        ConfigError,
        EndpointError,
        InputError,
        KernelDied,
        ModelError,
        ModelTimeout,
        PromptTooLong,
        ProtocolError,
        RateLimited,
        RLMError,
        RunError,
        SandboxError,
        SandboxUnavailable,
        UserError,
    )
    from rlm.result import Citation, Failure, RunResult, RunUsage, Usage
    from rlm.tools import Function, McpServer, Tool

__version__ = "0.1.0"

__all__ = [
    "RLM",
    "AuthError",
    "BadReply",
    "BatchTask",
    "Citation",
    "ConfigError",
    "EndpointError",
    "Failure",
    "Function",
    "InputError",
    "KernelDied",
    "McpServer",
    "ModelError",
    "ModelTimeout",
    "Price",
    "PromptTooLong",
    "ProtocolError",
    "RLMError",
    "RateLimited",
    "RunError",
    "RunResult",
    "RunUsage",
    "SandboxError",
    "SandboxUnavailable",
    "Settings",
    "Tool",
    "Usage",
    "UserError",
    "Value",
    "read_tasks",
    "register_loader",
    "run_batch",
]

_HOMES = {
    "RLM": "agent",
    "BatchTask": "batches",
    "Price": "config",
    "Settings": "config",
    "Value": "context",
    "register_loader": "context",
    "Citation": "result",
    "Failure": "result",
    "RunResult": "result",
    "RunUsage": "result",
    "Usage": "result",
    "Function": "tools",
    "McpServer": "tools",
    "Tool": "tools",
    "read_tasks": "batches",
    "run_batch": "batches",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
