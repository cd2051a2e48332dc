"""`rlm mcp`: an MCP server over stdio whose tool answers questions about documents (see docs/mcp.md)."""
