"""Tools: functions of the host and of MCP servers that models may call, each with its limits."""

from rlm.tools.collect import check_tools
from rlm.tools.failures import ToolFailure
from rlm.tools.functions import Function
from rlm.tools.locate import load
from rlm.tools.mcp import McpServer
from rlm.tools.recorded import RecordedToolbox
from rlm.tools.tool import Tool
from rlm.tools.toolbox import Toolbox, open_toolbox

__all__ = [
    "Function",
    "McpServer",
    "RecordedToolbox",
    "Tool",
    "ToolFailure",
    "Toolbox",
    "check_tools",
    "load",
    "open_toolbox",
]
