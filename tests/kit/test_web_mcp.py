"""The endpoints on a real MCP server, of both generations of the `mcp` package."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog_kit import MemoryManager
from memory_watchdog_kit.web.starlette import add_to_mcp

from tests.support.memory_servers import Served, content_of, status_of
from tests.support.wait import eventually

SERVER = """
import socket, sys
import uvicorn
from memory_watchdog_kit import MemoryManager
from memory_watchdog_kit.web.starlette import add_to_mcp
from tests.support.components import Shelf

manager = MemoryManager()
manager.register(Shelf("shelf", items=50))
if sys.argv[1] == "1":
    from mcp.server.fastmcp import FastMCP
    server = FastMCP("remembering", stateless_http=True)
    add_to_mcp(server, manager, token_file=sys.argv[2] if len(sys.argv) > 2 else None)
    app = server.streamable_http_app()
else:
    from mcp.server.mcpserver import MCPServer
    server = MCPServer("remembering")
    add_to_mcp(server, manager, token_file=sys.argv[2] if len(sys.argv) > 2 else None)
    app = server.streamable_http_app(stateless_http=True)

@server.tool()
def remembered() -> int:
    return 50

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_config=None)).run([listener])
"""

INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}  # fmt: skip

MCP_1 = ["mcp==1.30.*", "httpx-sse>=0.4", "pydantic-settings>=2.5.2", "python-dotenv>=1"]
"""What `mcp` 1.30 needs beside what `mcp` 2 has brought along; so nothing else is installed a second time."""


@pytest.fixture(scope="module", params=["1", "2"])
def generation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Sequence[Path]]:
    """The generation, and the folders that its Python must look into first."""
    if request.param == "2":
        return "2", ()
    folder = tmp_path_factory.mktemp("mcp-1")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--no-compile", f"--target={folder}", *MCP_1], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, f"mcp 1.30 cannot be installed: {done.stderr}"
    return "1", (folder,)


@contextlib.contextmanager
def running(generation: tuple[str, Sequence[Path]], *arguments: str) -> Iterator[Served]:
    """The server as a process of its own."""
    number, folders = generation
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, folders), str(Path.cwd())])}
    command = [sys.executable, "-c", SERVER, number, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout is not None
            yield Served(("127.0.0.1", int(process.stdout.readline())))
        finally:
            process.kill()


def test_both_stand_beside_mcp_under_the_same_rule(generation: tuple[str, Sequence[Path]], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret")
    with running(generation) as served, served.client() as client:
        eventually(lambda: client.get("/memory").status_code == 200)
        accept = {"Accept": "application/json, text/event-stream"}
        initialized = client.post("/mcp", json=INITIALIZE, headers=accept)
        assert initialized.status_code == 200, initialized.text
        assert "remembering" in initialized.text
        [component] = client.get("/memory").json()["components"]
        assert (component["name"], component["items"]) == ("shelf", 50)
        answer = client.post("/memory/cleanup", json={"level": "aggressive", "request_id": "x"})
        assert answer.json()["components"][0]["items_removed"] == 50
        assert client.get("/memory/cleanup").status_code == 405
        for forged in ("Host: evil.example", "Host: localhost\r\nX-Forwarded-For: 127.0.0.1"):
            for line in ("GET /memory", "POST /memory/cleanup"):
                head = f"{line} HTTP/1.1\r\n{forged}\r\nContent-Length: 0\r\n\r\n"
                refused = served.raw(head.encode())
                assert status_of(refused) == 403, refused
                assert "loopback" in content_of(refused)["detail"]
    with running(generation, str(token)) as served, served.client() as client:
        assert client.post("/memory/cleanup", json={"level": "normal"}).status_code == 401
        credential = {"Authorization": "Bearer s3cret"}
        assert client.post("/memory/cleanup", json={"level": "normal"}, headers=credential).status_code == 200


def test_what_is_no_mcp_server_over_http() -> None:
    server: Any = object()
    with pytest.raises(TypeError, match="object has no custom_route"):
        add_to_mcp(server, MemoryManager())
