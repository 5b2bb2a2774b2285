"""The command line of the server.

Covers: parsing into `Options`, with defaults and what is allowed.
Leaves to others: everything that an option does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Options:
    """How the server is to run. A bound that is None is the one of the settings file, or the kit's default."""

    transport: str
    host: str
    port: int
    json_answers: bool
    root: Path
    state_dir: Path | None
    config: Path | None
    with_kit: bool
    embedder: str
    cache_max_bytes: int | None
    cache_max_results: int | None
    embeddings_max_bytes: int
    index_max_bytes: int
    unix_socket: Path | None
    token_file: Path | None
    log_level: str


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options. Ends the program with status 2 where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.mcp_server",
        description="A retrieval server over MCP whose caches are bounded by memory-watchdog-kit.",
        allow_abbrev=False,
    )
    parser.add_argument("--transport", choices=("streamable-http", "stdio"), default="streamable-http")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one; it is printed on standard output")
    parser.add_argument("--answers", choices=("sse", "json"), default="sse", help="form of the answers over HTTP")
    parser.add_argument("--root", type=Path, default=Path(), help="the only directory that it reads (default: .)")
    parser.add_argument("--state-dir", type=Path, help="where embeddings stay on disk (default: they do not)")
    parser.add_argument("--config", type=Path, help="JSON with the kit's sections, semantic_cache and others")
    parser.add_argument("--kit", choices=("on", "off"), default="on", help="off: keep everything, as it was before")
    parser.add_argument("--embedder", choices=("auto", "model", "hashing"), default="auto")
    parser.add_argument("--cache-max-bytes", type=_positive, help="bound of the query cache (default 200 MiB)")
    parser.add_argument("--cache-max-results", type=_positive, help="bound of the query cache (default 100)")
    parser.add_argument("--embeddings-max-bytes", type=_positive, default=64 * MIB, help="in memory (default 64 MiB)")
    parser.add_argument("--index-max-bytes", type=_positive, default=512 * MIB, help="text in it (default 512 MiB)")
    parser.add_argument("--unix-socket", type=Path, help="serve the memory endpoints there (for stdio)")
    parser.add_argument("--token-file", type=Path, help="who may call the cleanup endpoint from elsewhere")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    given = parser.parse_args(arguments)
    values = vars(given)
    json_answers, with_kit = values.pop("answers") == "json", values.pop("kit") == "on"
    options = Options(**values, json_answers=json_answers, with_kit=with_kit)
    if not options.with_kit and (options.unix_socket or options.token_file):
        parser.error("--unix-socket and --token-file are the kit's: not with --kit off")
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number
