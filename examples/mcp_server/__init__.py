"""A retrieval server over MCP whose caches are the kit's: `python -m examples.mcp_server`, its load, its demo."""
