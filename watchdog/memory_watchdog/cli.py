"""The command line: parsing only. Each command lives in a module of its own, imported when it is used.

Exit status: 0 after SIGTERM or when all is well, 2 for bad config or bad arguments, 1 for anything else.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from memory_watchdog import __version__
from memory_watchdog.config import Config, ConfigError, NoConfigError, WebConfig, load
from memory_watchdog.lean import import_without_terminals
from memory_watchdog.options import OPTIONS
from memory_watchdog.outside_text import one_line
from memory_watchdog.quantities import parse_duration

if TYPE_CHECKING:
    from memory_watchdog.client import Refused

_OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
"""What a write to standard output fails with; such an error names no file."""

EXIT_OK, EXIT_FAILED, EXIT_BAD_CONFIG = 0, 1, 2

_EXAMPLES = """examples:
  memory-watchdog probe --target.url http://127.0.0.1:8081
  memory-watchdog run --target.url http://127.0.0.1:8081 --target.limit 8GB
  memory-watchdog presets show etcd > memory-watchdog.yaml
  memory-watchdog check memory-watchdog.yaml
"""


class _Parser(argparse.ArgumentParser):
    """One line for a mistake, where argparse prints the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(EXIT_BAD_CONFIG, f"{self.prog}: {one_line(message)}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that a terminal cannot show is no reason to fail
    try:
        return _done(arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - one line a mistake
        return EXIT_BAD_CONFIG
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_FAILED
    except BrokenPipeError:  # `memory-watchdog probe | head`: nobody reads on
        _forget_output()
        return EXIT_FAILED
    except OSError as error:
        if error.filename is not None or error.errno not in _OUTPUT_ERRORS:
            raise
        _forget_output()
        return _fail(f"the output cannot be written: {error.strerror}")


def _done(arguments: Sequence[str] | None) -> int:
    """The command's status, once everything that it printed has been written."""
    try:
        parsed = _parser().parse_args(arguments)
        command: Callable[[argparse.Namespace], int] = parsed.command
        return command(parsed)
    finally:
        if sys.stdout is not None:  # `>&-`
            sys.stdout.flush()


def _forget_output() -> None:
    """Python would complain once more while it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="memory-watchdog",
        description="Watches a server's memory, calls its cleanup endpoint, tells Prometheus.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"memory-watchdog {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, text: str, command: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        one.set_defaults(command=command)
        return one

    _add_options(add("run", "Watch, clean up and export until SIGTERM.", _run))
    check = add("check", "Validate a config file without running.", _check)
    check.add_argument("file", nargs="?", metavar="FILE", help="the config file (default: as with run)")
    _add_options(add("probe", "Look at the target once: what is seen, what is not and why.", _probe))
    presets = add("presets", "List the known servers that there are settings for.", _presets)
    shown = presets.add_subparsers(title="commands", metavar="COMMAND")
    show = shown.add_parser("show", help="print a config to start from", description="Print a config to start from.")
    show.add_argument("name", metavar="NAME", help="as `memory-watchdog presets` lists it")
    show.set_defaults(command=_show_preset)
    demo = add("demo", "Show it all on a small server that grows: at most a minute.", _demo)
    demo.add_argument("--keep", action="store_true", help="leave server and watchdog running at the end, until Ctrl-C")
    health = add("healthcheck", "Ask the running watchdog whether it is healthy.", _healthcheck)
    health.add_argument("--web.url", dest="web_url", metavar="URL", help="its address (default: as run would listen)")
    _add_options(health)
    _add_remote(add)
    _add_replay(add("replay", "What was decided, and what other settings would decide, over a recorded past.", _replay))
    return parser


def _add_replay(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("file", nargs="?", metavar="FILE", help="a recording of run --record")
    source.add_argument("--prometheus", metavar="URL", help="or the past as a Prometheus server has it; always a model")
    parser.add_argument("--config.file", dest="config.file", metavar="NEW", help="try the settings of this config")
    parser.add_argument("--target", metavar="NAME", help="only this target")
    parser.add_argument("--from", dest="begins", metavar="TIME", help="with --prometheus: 7d ago, or ISO 8601 (1d)")
    parser.add_argument("--to", dest="ends", metavar="TIME", help="with --prometheus (now)")
    parser.add_argument(
        "--step", metavar="DURATION", default="15s", help="with --prometheus: a look each so long (15s)"
    )
    parser.add_argument("--suggest", action="store_true", help="propose thresholds, tried on the second half")
    parser.add_argument("--html", metavar="FILE", help="write the picture as one self-contained page")


def _add_remote(add: Callable[[str, str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]) -> None:
    """The commands that speak to the running watchdog."""
    cleanup = add("cleanup", "Ask the running watchdog for a cleanup now.", _cleanup)
    cleanup.add_argument("--level", help="default: the held level, else the lowest that has a cleanup")
    cleanup.add_argument("--reason", help="what stands in log and request (default: by hand)")
    cleanup.add_argument("--direct", action="store_true", help="send it without a watchdog, when none runs")
    pause = add("pause", "Let the running watchdog send nothing for a while.", _pause)
    pause.add_argument("--for", dest="duration", metavar="DURATION", default="15m", help="at most 24h (default: 15m)")
    resume = add("resume", "End a pause.", _resume)
    for command in (cleanup, pause, resume):
        command.add_argument("target", metavar="TARGET", help="name of the target")
        command.add_argument("--web.url", dest="web_url", metavar="URL", help="the watchdog (default: as run listens)")
        _add_options(command)


def _add_options(parser: argparse.ArgumentParser) -> None:
    for option in OPTIONS:
        if option.is_flag:
            parser.add_argument(option.flag, dest=option.name, action="store_const", const="true", help=option.help)
        else:
            parser.add_argument(option.flag, dest=option.name, metavar="VALUE", help=option.help)


def _given(parsed: argparse.Namespace) -> Mapping[str, str]:
    values = vars(parsed)
    return {option.name: values[option.name] for option in OPTIONS if values.get(option.name) is not None}


def _load(parsed: argparse.Namespace) -> Config:
    return load(_given(parsed), os.environ, Path.cwd())


def _fail(text: str, status: int = EXIT_FAILED) -> int:
    print(f"memory-watchdog: {text}", file=sys.stderr)  # noqa: T201
    return status


def _run(parsed: argparse.Namespace) -> int:
    # What follows imports for half a second: a signal then ends it as later, also for pid 1 of a container, to which
    # the kernel gives no default. A reload is for who runs already.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_OK))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(EXIT_OK))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    import_without_terminals()
    from memory_watchdog.run import run  # noqa: PLC0415 - half a second of imports that `check` does not need
    from memory_watchdog.supervisor import StartError  # noqa: PLC0415

    try:
        asyncio.run(run(lambda: _load(parsed)))
    except StartError as error:
        return _fail(str(error), EXIT_BAD_CONFIG if error.is_config else EXIT_FAILED)
    return EXIT_OK


def _check(parsed: argparse.Namespace) -> int:
    from memory_watchdog.check import check  # noqa: PLC0415

    options = {} if parsed.file is None else {"config.file": parsed.file}
    for line in check(load(options, os.environ, Path.cwd())):
        print(line)  # noqa: T201
    return EXIT_OK


def _probe(parsed: argparse.Namespace) -> int:
    config = _load(parsed)
    from memory_watchdog.probe import probe  # noqa: PLC0415

    return EXIT_OK if asyncio.run(probe(config)) else EXIT_FAILED


def _presets(_: argparse.Namespace) -> int:
    from memory_watchdog.preset_files import preset_list  # noqa: PLC0415

    for line in preset_list():
        print(line)  # noqa: T201
    return EXIT_OK


def _show_preset(parsed: argparse.Namespace) -> int:
    from memory_watchdog.preset_files import UnknownPreset, starting_config  # noqa: PLC0415

    try:
        print(starting_config(parsed.name))  # noqa: T201
    except UnknownPreset as error:
        return _fail(str(error), EXIT_BAD_CONFIG)
    return EXIT_OK


def _demo(parsed: argparse.Namespace) -> int:
    if not sys.platform.startswith("linux"):
        return _fail(f"the demo reads /proc and needs Linux; this is {sys.platform}: run it in a Linux container")
    from memory_watchdog.demo.show import DemoError, show  # noqa: PLC0415

    try:
        asyncio.run(show(keep=parsed.keep))
    except DemoError as error:
        return _fail(str(error))
    return EXIT_OK


def _healthcheck(parsed: argparse.Namespace) -> int:
    from memory_watchdog.healthcheck import healthy  # noqa: PLC0415

    problem = healthy(_web_url(parsed))
    return EXIT_OK if problem is None else _fail(problem)


def _web_url(parsed: argparse.Namespace) -> str:
    """Where the running watchdog is: as told, else as `run` with the same options would listen."""
    if parsed.web_url is not None:
        return str(parsed.web_url)
    try:
        address = _load(parsed).web.listen_address
    except NoConfigError:
        address = WebConfig().listen_address
    return f"http://{address.reachable}"


def _cleanup(parsed: argparse.Namespace) -> int:
    from memory_watchdog import client  # noqa: PLC0415

    url = _web_url(parsed)
    if parsed.direct:
        return _cleanup_directly(parsed, url)
    return _said(client.clean_up(url, parsed.target, parsed.level, parsed.reason))


def _cleanup_directly(parsed: argparse.Namespace, url: str) -> int:
    from memory_watchdog import client  # noqa: PLC0415
    from memory_watchdog.direct import clean_up_directly  # noqa: PLC0415

    targets = {target.name: target for target in _load(parsed).targets}
    if parsed.target not in targets:
        return _fail(f"no target {parsed.target!r} in the config; there are: {', '.join(targets)}", EXIT_BAD_CONFIG)
    if client.is_running(url):
        return _fail(f"a watchdog runs at {url}: leave out --direct, so that it knows of the cleanup")
    try:
        reason = parsed.reason or "by hand"
        done, text = asyncio.run(clean_up_directly(targets[parsed.target], parsed.level, reason))
    except ValueError as error:
        return _fail(str(error), EXIT_BAD_CONFIG)
    if not done:
        return _fail(text)
    print(text)  # noqa: T201
    return EXIT_OK


def _replay(parsed: argparse.Namespace) -> int:
    from memory_watchdog.replay.command import Asked, ReplayError, replay  # noqa: PLC0415

    path = getattr(parsed, "config.file")
    asked = Asked(
        recording=None if parsed.file is None else Path(parsed.file),
        config=None if path is None else load({"config.file": path}, os.environ, Path.cwd()),
        target=parsed.target,
        prometheus=parsed.prometheus,
        begins=parsed.begins,
        ends=parsed.ends,
        step=parsed.step,
        suggest=parsed.suggest,
        html=None if parsed.html is None else Path(parsed.html),
    )
    try:
        return EXIT_OK if replay(asked) else EXIT_FAILED
    except ReplayError as error:
        return _fail(str(error), EXIT_BAD_CONFIG)


def _pause(parsed: argparse.Namespace) -> int:
    from memory_watchdog import client  # noqa: PLC0415
    from memory_watchdog.web.schemas import MAX_PAUSE_SECONDS  # noqa: PLC0415

    try:
        seconds = parse_duration(parsed.duration)
    except ValueError as allowed:
        return _fail(f"--for: found {parsed.duration!r}, allowed: {allowed}", EXIT_BAD_CONFIG)
    if not 0 < seconds <= MAX_PAUSE_SECONDS:
        longest = f"{MAX_PAUSE_SECONDS // 3600}h"
        return _fail(f"--for: found {parsed.duration!r}, allowed: more than 0s, at most {longest}", EXIT_BAD_CONFIG)
    return _said(client.pause(_web_url(parsed), parsed.target, seconds))


def _resume(parsed: argparse.Namespace) -> int:
    from memory_watchdog import client  # noqa: PLC0415

    return _said(client.resume(_web_url(parsed), parsed.target))


def _said(answer: str | Refused) -> int:
    if not isinstance(answer, str):
        return _fail(answer.detail)
    print(answer)  # noqa: T201
    return EXIT_OK
