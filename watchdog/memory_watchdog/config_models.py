"""The config as models: keys, their forms, their defaults.

Covers: what `load` returns; a key enters here with the work that makes it act, until then it is unknown.
Leaves to others: how a form is parsed (`config_values`), values that must fit each other (`config_checks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr

from memory_watchdog.config_addresses import ListenAddress, default_target_name
from memory_watchdog.config_base import Model
from memory_watchdog.config_mapping import MapConfig, SizeConfig
from memory_watchdog.config_values import (
    ABSENT,
    Duration,
    DurationOrZero,
    FilePath,
    Flag,
    HeaderName,
    HeaderValue,
    LevelName,
    LimitValue,
    Listen,
    LogFormat,
    LogLevel,
    MeasureValue,
    Method,
    Name,
    Pid,
    Port,
    Positive,
    PresetName,
    Regex,
    RequestPath,
    StatsDuration,
    StatsFormat,
    Text,
    ThresholdValue,
    TickDuration,
    Url,
)
from memory_watchdog.observation import Measure
from memory_watchdog.quantities import Percent

STALE_INTERVALS = 3
STALE_AT_LEAST = 2.0  # seconds; below it a single slow tick would restart sustain

_CLEANUP_JSON = {name: f"{{{name}}}" for name in ("level", "reason", "request_id", "target_bytes")}
_DEFAULT_LEVELS: tuple[dict[str, Any], ...] = (
    {
        "name": "normal",
        "enter": "75%",
        "exit": "70%",
        "sustain": "10s",
        "cooldown": "60s",
        "min_reclaim": "1%",
        "cleanup": {"path": "/memory/cleanup", "method": "POST", "timeout": "30s", "json": _CLEANUP_JSON},
    },
    {
        "name": "aggressive",
        "enter": "87.5%",
        "exit": "80%",
        "sustain": "0s",
        "cooldown": "30s",
        "min_reclaim": "1%",
        "cleanup": {"path": "/memory/cleanup", "method": "POST", "timeout": "60s", "json": _CLEANUP_JSON},
    },
)


class RequestConfig(Model):
    """What every request to the server has. Headers stay out of the repr: they may be secret.

    `body` is the key `json`: any JSON value, ABSENT where none is sent.
    """

    headers: Mapping[HeaderName, HeaderValue] = Field(default_factory=dict, repr=False)
    bearer_token_file: FilePath | None = None
    body: Any = Field(default=ABSENT, alias="json")


class StatsConfig(RequestConfig):
    """Where the server tells its own statistics; without a map in the native form. Times in seconds."""

    path: RequestPath = "/memory"
    method: Method = "GET"
    interval: StatsDuration = 15.0
    timeout: Duration = 2.0
    format: StatsFormat = "json"
    map: MapConfig | None = None


class ToolConfig(Model):
    """A tool of an MCP server, over streamable HTTP. `path` is added to `url`; that of a socket is /mcp by default."""

    url: Url
    path: RequestPath | None = None
    tool: Text
    arguments: Mapping[str, Any] = Field(default_factory=dict)


class ReclaimConfig(Model):
    """The kernel's `memory.reclaim`, asked for what is to go; there is nothing to set."""


class CleanupConfig(RequestConfig):
    """One cleanup: a request (`path`), a tool call (`mcp`) or `reclaim`, exactly one, which `config_checks` sees to.

    `error` and `claimed` say where the answer has an error, and what it claims.
    """

    path: RequestPath | None = None
    mcp: ToolConfig | None = None
    reclaim: ReclaimConfig | None = None
    method: Method = "POST"
    timeout: Duration = 30.0
    error: Text | None = None
    claimed: SizeConfig | None = None


def _steps(cleanup: object) -> object:
    """One request is a list of one; `config` takes the index out of its mistakes again."""
    return cleanup if isinstance(cleanup, list | tuple) else [cleanup]


class LevelConfig(Model):
    """One level; without cleanup it is shown and nothing is sent. Several requests are sent in order."""

    name: LevelName
    enter: ThresholdValue
    exit: ThresholdValue
    sustain: DurationOrZero = 0.0
    cooldown: DurationOrZero = 60.0
    min_reclaim: ThresholdValue = Percent(1)
    cleanup: Annotated[tuple[CleanupConfig, ...], BeforeValidator(_steps)] | None = None

    @property
    def cleanup_timeout(self) -> float | None:
        """How long the whole cleanup may take; None where there is none."""
        return None if self.cleanup is None else sum(request.timeout for request in self.cleanup)


class ProcessConfig(Model):
    """How to find the server: exactly one of these."""

    port: Port | None = None
    pid: Pid | None = None
    pid_file: FilePath | None = None
    command: Regex | None = None
    cgroup: Text | None = None


class BudgetConfig(Model):
    """At most so many actions in a sliding window of so many seconds."""

    actions: Positive = 30
    per: Duration = 3600.0


class ForecastConfig(Model):
    """The first level's action may come before its threshold: limit nearer than so long, used above so much."""

    within: Duration = 180.0
    above: ThresholdValue = Percent(40)


class DrainConfig(RequestConfig):
    """The request by which the server is asked to finish before it is ended."""

    path: RequestPath
    method: Method = "POST"
    timeout: Duration = 30.0


class RestartBudgetConfig(Model):
    """At most so many restarts in a sliding window of so many seconds."""

    actions: Positive = 3
    per: Duration = 3600.0


class RestartConfig(Model):
    """The last step: the process is ended where so many cleanups in a row were shown not to help. Times in seconds."""

    after: Positive = 2
    drain: DrainConfig | None = None
    term: Duration = 20.0
    min_age: Duration = 600.0
    budget: RestartBudgetConfig = RestartBudgetConfig()


# The defaults that follow from other keys; `given` has what was valid of the keys above.


def _default_name(given: dict[str, Any]) -> str:
    return default_target_name(given["url"]) if given.get("url") else ""  # without a url `config_checks` wants a name


def _default_stale_after(given: dict[str, Any]) -> float:
    return max(STALE_INTERVALS * float(given.get("interval", 5.0)), STALE_AT_LEAST)


def _default_stats(given: dict[str, Any]) -> StatsConfig | None:
    return StatsConfig() if given.get("url") else None


def _default_levels(given: dict[str, Any]) -> tuple[LevelConfig, ...]:
    without = () if given.get("url") else ("cleanup",)
    return tuple(
        LevelConfig.model_validate({key: deepcopy(value) for key, value in level.items() if key not in without})
        for level in _DEFAULT_LEVELS
    )


class TargetConfig(Model):
    """One watched server. Times in seconds.

    The url stands first: the defaults of others depend on it.
    """

    url: Url | None = None
    name: Name = Field(default_factory=_default_name)
    preset: PresetName | None = None
    process: ProcessConfig | None = None
    measure: MeasureValue = Measure.AUTO
    limit: LimitValue = "auto"
    interval: TickDuration = 5.0
    min_interval: TickDuration = 0.1
    stale_after: Duration = Field(default_factory=_default_stale_after)
    stats: StatsConfig | None = Field(default_factory=_default_stats)
    levels: tuple[LevelConfig, ...] = Field(default_factory=_default_levels)
    settle: Duration = 10.0
    escalate_after: Positive = 2
    max_cooldown: Duration = 600.0
    budget: BudgetConfig = BudgetConfig()
    forecast: ForecastConfig = ForecastConfig()
    restart: RestartConfig | None = None
    dry_run: Flag = False


class WebConfig(Model):
    """Our own web server."""

    listen_address: Listen = ListenAddress("127.0.0.1", 9847)
    allow_loopback_changes: Flag = True


class LogConfig(Model):
    """Our own log."""

    level: LogLevel = "info"
    format: LogFormat = "logfmt"


class Config(Model):
    """Everything. `file` is where it came from; None where it is all options."""

    web: WebConfig = WebConfig()
    log: LogConfig = LogConfig()
    state_file: FilePath | None = None
    record: FilePath | None = None
    targets: tuple[TargetConfig, ...]

    # Not a key of the file, and so no field.
    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """The file that was read."""
        return self._file

    def model_post_init(self, context: Any, /) -> None:
        """Take the file from the validation's context."""
        self._file = (context or {}).get("file")
