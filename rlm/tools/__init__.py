"""Tools: functions of the host and of MCP servers that models may call, each with its limits."""

from rlm.tools.failures import ToolFailure
from rlm.tools.tool import Tool

__all__ = ["Tool", "ToolFailure"]
