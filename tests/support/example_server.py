"""The example server as a process of its own, and real MCP clients of it.

Covers: both transports, a small tree of source files, calls that are told apart by whether they failed.
Leaves to others: the watchdog beside it (`watchdog`), waiting (`wait`).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from mcp import Client, StdioServerParameters
from mcp.types import TextContent

REPOSITORY = Path(__file__).parents[2]
SERVER = (sys.executable, "-m", "examples.mcp_server", "--embedder", "hashing")
"""An `--embedder` among the options that follow wins."""

FILES = {
    "shop/cart.py": '"""A cart."""\n\nclass Cart:\n    """What a customer wants to buy."""\n\n'
    "    def add_article(self, name):\n        self.articles.append(name)\n\n"
    "    def total_price(self):\n        return sum(self.prices)\n",
    "shop/mail.py": "def send_confirmation_mail(customer):\n    server.sendmail(customer.address)\n",
    "notes.md": "# Notes\n\nHow invoices are printed: with the large printer on the second floor.\n"
    + "\n" * 100
    + "The last line.\n",
    "broken.py": "def broken(:\n    this is no Python\n",
}


def tree(folder: Path) -> Path:
    """A directory of source files to serve, beside a file that is not to be served and a link to it."""
    root = folder / "root"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "secret.py").write_text("PASSWORD = 'hunter2'\n")
    (root / "link.py").symlink_to(folder / "secret.py")
    os.mkfifo(root / "pipe.py")
    return root


@dataclass
class Example:
    """A server over HTTP."""

    process: subprocess.Popen[bytes]
    url: str
    log_file: Path

    @property
    def mcp_url(self) -> str:
        return f"{self.url}/mcp"


@contextlib.contextmanager
def running_example(
    root: Path, folder: Path, *options: str, environ: Mapping[str, str] | None = None
) -> Iterator[Example]:
    """The server on a free port; killed at the end if it still runs."""
    log_file = folder / f"example.{len(list(folder.glob('example.*')))}"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*SERVER, "--port", "0", "--root", str(root), *options],
            stdout=subprocess.PIPE, stderr=log, cwd=REPOSITORY, env={**os.environ, **(environ or {})},
        )  # fmt: skip
    output = cast(IO[bytes], process.stdout)
    try:
        url = output.readline().decode().strip()
        assert url.startswith("http://"), log_file.read_text()
        yield Example(process, url, log_file)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        output.close()


def over_stdio(root: Path, *options: str) -> StdioServerParameters:
    """What starts the server for a client that speaks stdio."""
    command, *arguments = (*SERVER, "--transport", "stdio", "--root", str(root), *options)
    return StdioServerParameters(command=command, args=arguments, cwd=REPOSITORY, env=dict(os.environ))


@contextlib.asynccontextmanager
async def connected(server: str | StdioServerParameters) -> AsyncIterator[Client]:
    """A real client. Its calls fail after 60 s instead of never."""
    async with Client(server, read_timeout_seconds=60) as client:
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The answer of a call that works."""
    failed, text = await called(client, tool, **arguments)
    assert not failed, text
    answer: dict[str, Any] = json.loads(text)
    return answer


async def called(client: Client, tool: str, **arguments: Any) -> tuple[bool, str]:
    """Whether a call failed, and what was answered."""
    result = await client.call_tool(tool, arguments)
    (content,) = result.content
    assert isinstance(content, TextContent)
    return result.is_error, content.text
