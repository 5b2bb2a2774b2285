"""`python -m examples.mcp_server`, or `python examples/mcp_server` from anywhere."""

import sys
from pathlib import Path

if __name__ == "__main__":
    if not __package__:  # started as a directory: the package's own name is not importable yet
        sys.path[0] = str(Path(__file__).resolve().parents[2])
    from examples.mcp_server.server import main

    sys.exit(main())
