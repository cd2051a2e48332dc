"""Tools: functions of the host and of MCP servers that models may call, each with its limits."""

from rlm.tools.failures import ToolFailure
from rlm.tools.functions import Function
from rlm.tools.locate import load
from rlm.tools.tool import Tool

__all__ = ["Function", "Tool", "ToolFailure", "load"]
