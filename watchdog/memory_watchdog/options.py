"""The options of the command line that are config: names, environment variables, key paths, help.

Covers: the one table, and which of option and environment speaks (option first, an empty variable is unset).
Leaves to others: parsing the command line (`cli`), what the values mean (`config`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from memory_watchdog.config_errors import KeyPath

ENVIRONMENT_PREFIX = "MEMORY_WATCHDOG_"


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `path` is where its value lands in the config; None where it is no single key."""

    name: str
    path: KeyPath | None
    help: str
    is_flag: bool = False
    is_path: bool = False  # relative to the working directory, not to the config file

    @property
    def flag(self) -> str:
        """As typed on the command line: `--target.pid-file`."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """As set in the environment: `MEMORY_WATCHDOG_TARGET_PID_FILE`."""
        return ENVIRONMENT_PREFIX + self.name.replace(".", "_").replace("-", "_").upper()

    @property
    def is_target(self) -> bool:
        """Whether it describes the one target of the command line."""
        return self.name.startswith("target.")


def _target(name: str, help_text: str, *, in_process: bool = False, is_path: bool = False) -> Option:
    key = name.replace("-", "_")
    path: KeyPath = ("targets", 0, "process", key) if in_process else ("targets", 0, key)
    return Option(f"target.{name}", path, help_text, is_path=is_path)


OPTIONS: tuple[Option, ...] = (
    Option("config.file", None, "the config file (default: memory-watchdog.yaml here, then in /etc)", is_path=True),
    _target("name", "name of the target (default: host:port of its url)"),
    _target("url", "base url of the server: http://127.0.0.1:8081, or unix:/path"),
    _target("preset", "settings for a known server: memory-watchdog presets lists them"),
    _target("port", "find the server by the port it listens on", in_process=True),
    _target("pid", "find the server by its pid", in_process=True),
    _target("pid-file", "find the server by its pid file", in_process=True, is_path=True),
    _target("command", "find the server by a regular expression over its command line", in_process=True),
    _target("cgroup", "find the server by its cgroup", in_process=True),
    _target(
        "measure", "what is compared with the limit: auto, rss, anon, pss, unreclaimable or reported (default: auto)"
    ),
    _target("limit", "auto, machine, or a size such as 8GiB (default: auto)"),
    _target("interval", "time between two observations at most (default: 5s)"),
    Option("web.listen-address", ("web", "listen_address"), "host:port to serve on (default: 127.0.0.1:9847)"),
    Option("log.level", ("log", "level"), "debug, info, warning or error (default: info)"),
    Option("log.format", ("log", "format"), "logfmt or json (default: logfmt)"),
    Option("state-file", ("state_file",), "file that remembers across restarts (default: none)", is_path=True),
    Option("record", ("record",), "record what is seen and decided, for replay (default: none)", is_path=True),
    Option("dry-run", None, "decide and tell, but send nothing, for every target", is_flag=True),
)


@dataclass(frozen=True, slots=True)
class Given:
    """An option that was set; `where` is the option or the environment variable that set it."""

    option: Option
    where: str
    text: str


def given_options(options: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Given]:
    """What was set, by option name; the command line before the environment.

    Variables that are no option are ignored: for a service named memory-watchdog Kubernetes sets MEMORY_WATCHDOG_PORT.
    Raises ValueError for an option that is not in the table, which is a fault of the caller.
    """
    unknown = options.keys() - {option.name for option in OPTIONS}
    if unknown:
        raise ValueError(f"no such options: {', '.join(sorted(unknown))}")
    given: dict[str, Given] = {}
    for option in OPTIONS:
        if option.name in options:
            given[option.name] = Given(option, option.flag, options[option.name])
        elif environ.get(option.variable):
            given[option.name] = Given(option, option.variable, environ[option.variable])
    return given
