"""Every mistake in a config file: its line, its key, what was found, what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_watchdog.config import ConfigError, Mistake, load

DURATION = "a duration such as 100ms, 5s, 1h30m, above 0s and at most 365d"
OR_ZERO = "a duration such as 100ms, 5s, 1h30m, 0s or more and at most 365d"
TICK = "a duration such as 100ms, 5s, 1h30m, at least 10ms and at most 365d"
STATS = "a duration such as 100ms, 5s, 1h30m, at least 1s and at most 365d"
SIZE = "a size such as 512MiB, 8GiB (powers of 1024) or 8GB (powers of 1000)"
LIMIT = f"auto, machine, or {SIZE}, above 0 and never a percentage"
THRESHOLD = f"a percentage above 0% and at most 100%, such as 75%, or {SIZE}, above 0"
NAME = "text of 1 to 200 printable characters (a number or yes/no needs quotes)"
URL = "http://HOST:PORT, https://HOST:PORT or unix:/PATH"
PATH = "a path that starts with / and has no blanks and no #, such as /memory"
METHOD = "GET, POST, PUT, PATCH or DELETE"
HEADER = "text (a number needs quotes) of ASCII characters, on one line, without blanks at its ends"
WAYS = "exactly one of port, pid, pid_file, command, cgroup"
LISTEN = "HOST:PORT, :PORT for all interfaces, or [IPV6]:PORT, the port from 0 to 65535"
COUNT = "a whole number from 1 to 1000000"
TARGET_KEYS = (
    "url, name, preset, process, measure, limit, interval, min_interval, stale_after, stats, levels, settle, "
    "escalate_after, max_cooldown, budget, forecast, restart, dry_run"
)
RESTART_KEYS = "after, drain, term, min_age, budget"
PRESETS = "comfyui, etcd, influxdb-1, jupyter, litellm, mcp, native, prometheus-process, qdrant-rag-mcp"
STATS_KEYS = "headers, bearer_token_file, json, path, method, interval, timeout, format, map"
CLEANUP_KEYS = "headers, bearer_token_file, json, path, mcp, reclaim, method, timeout, error, claimed"
TOOL_KEYS = "url, path, tool, arguments"
BESIDE_TOOL = "nothing beside mcp, which has its own url and arguments"


def mistakes(text: str, directory: Path) -> list[Mistake]:
    (directory / "memory-watchdog.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load({}, {}, directory, directory / "none")
    assert str(error.value).splitlines() == [str(mistake) for mistake in error.value.mistakes]
    return list(error.value.mistakes)


Row = tuple[str, int, str, str, str]

# Settings of a target with a url; they start in line 3. Then line, key within the target, found, allowed.
IN_TARGET: list[Row] = [
    ("interval: 5", 3, "interval", "'5'", TICK),
    ("interval: '5'", 3, "interval", "'5'", TICK),
    ("interval: 5x", 3, "interval", "'5x'", TICK),
    ("interval: 0s", 3, "interval", "'0s'", TICK),
    ("interval: null", 3, "interval", "null", TICK),
    ("interval:", 3, "interval", "null", TICK),
    ("interval: [5s]", 3, "interval", "a list", TICK),
    ("interval: {a: 5s}", 3, "interval", "a mapping", TICK),
    ("interval: yes", 3, "interval", "'yes'", TICK),
    ("interval: 366d", 3, "interval", "'366d'", TICK),
    ("interval: ${MISSING}", 3, "interval", "'${MISSING}'", "a variable that is set, or ${MISSING:-default}"),
    ("settle: 1s\ninterval: 50ms", 4, "interval", "'50ms'", "at least min_interval (100ms)"),
    ("min_interval: 6s", 3, "min_interval", "'6s'", "at most interval (5s)"),
    ("interval: 1s\nmin_interval: 2s", 3, "interval", "'1s'", "at least min_interval (2s)"),
    ("min_interval: 9ms", 3, "min_interval", "'9ms'", TICK),
    ("stale_after: 4.9s", 3, "stale_after", "'4.9s'", "at least interval (5s)"),
    ("interval: 1m\nstale_after: 59s", 4, "stale_after", "'59s'", "at least interval (1m)"),
    ("stale_after: 0s", 3, "stale_after", "'0s'", DURATION),
    ("settle: 0s", 3, "settle", "'0s'", DURATION),
    ("settle: -1s", 3, "settle", "'-1s'", DURATION),
    ("max_cooldown: 0s", 3, "max_cooldown", "'0s'", DURATION),
    ("max_cooldown: 600", 3, "max_cooldown", "'600'", DURATION),
    ("escalate_after: 0", 3, "escalate_after", "'0'", COUNT),
    ("escalate_after: 2.0", 3, "escalate_after", "'2.0'", COUNT),
    ("escalate_after: true", 3, "escalate_after", "'true'", COUNT),
    ("budget: {actions: 0}", 3, "budget.actions", "'0'", COUNT),
    ("budget: {actions: many}", 3, "budget.actions", "'many'", COUNT),
    ("budget: {per: 0s}", 3, "budget.per", "'0s'", DURATION),
    ("budget:\n  actions: 3\n  per: 3600", 5, "budget.per", "'3600'", DURATION),
    ("budget: 30", 3, "budget", "'30'", "a mapping with the keys actions, per"),
    ("limit: 8", 3, "limit", "'8'", LIMIT),
    ("limit: 8G", 3, "limit", "'8G'", LIMIT),
    ("limit: 50%", 3, "limit", "'50%'", LIMIT),
    ("limit: 0GB", 3, "limit", "'0GB'", LIMIT),
    ("limit: 9000PiB", 3, "limit", "'9000PiB'", LIMIT),
    ("limit: " + "9" * 400 + "B", 3, "limit", "'" + "9" * 80 + "…'", LIMIT),
    ("measure: RSS", 3, "measure", "'RSS'", "auto, rss, anon, pss, unreclaimable or reported"),
    ("measure: unreclaimed", 3, "measure", "'unreclaimed'", "auto, rss, anon, pss, unreclaimable or reported"),
    ("measure: reported\nstats: null", 3, "measure", "'reported'",
     "a measure other than reported where the target has no stats"),
    ("name: ''", 3, "name", "''", NAME),
    ("name: 5", 3, "name", "'5'", NAME),
    ("name: no", 3, "name", "'no'", NAME),
    ("name: ' '", 3, "name", "' '", NAME),
    ('name: "a\\nb"', 3, "name", "'a\\nb'", NAME),
    ('name: "a\\x07"', 3, "name", "'a\\x07'", NAME),
    ("name: " + "n" * 201, 3, "name", "'" + "n" * 80 + "…'", NAME),
    ("dry_run: 'true'", 3, "dry_run", "'true'", "true or false, without quotes"),
    ("dry_run: 1", 3, "dry_run", "'1'", "true or false, without quotes"),
    ("intervall: 5s", 3, "intervall", "an unknown key", f"{TARGET_KEYS} (did you mean interval?)"),
    ("preset: nativ", 3, "preset", "'nativ'", f"{PRESETS} (did you mean native?)"),
    ("preset: 5", 3, "preset", "'5'", PRESETS),
    ("preset: [native]", 3, "preset", "a list", PRESETS),
    ("restart: {after: 0}", 3, "restart.after", "'0'", COUNT),
    ("restart: {afer: 2}", 3, "restart.afer", "an unknown key", f"{RESTART_KEYS} (did you mean after?)"),
    ("restart: {drain: {timeout: 5s}}", 3, "restart.drain.path", "nothing", PATH),
    ("restart: {min_age: 0s}", 3, "restart.min_age", "'0s'", DURATION),
    ("process: {command: x}\nrestart: {}", 4, "restart", "restart beside process.command",
     "nothing where the process is found by its command line alone; name its port, pid_file or cgroup"),
    ("measure: reported\nrestart: {}", 4, "restart", "restart beside measure: reported",
     "nothing where the server's report is all that is seen"),
    ("interval: 5s\nsettle: 1s\ninterval: 6s", 5, "interval", "a second time (first in line 3)", "every key once"),
    ("process: {}", 3, "process", "no way to find it", WAYS),
    ("process: {port: null}", 3, "process", "no way to find it", WAYS),
    ("process:\n  port: 80\n  command: x", 3, "process", "port and command", WAYS),
    ("process: {prot: 80}", 3, "process.prot", "an unknown key",
     "port, pid, pid_file, command, cgroup (did you mean port?)"),
    ("process: 8081", 3, "process", "'8081'", "a mapping with the keys port, pid, pid_file, command, cgroup"),
    ("process: {port: 0}", 3, "process.port", "'0'", "a whole number from 1 to 65535"),
    ("process: {port: 65536}", 3, "process.port", "'65536'", "a whole number from 1 to 65535"),
    ("process: {port: 80.0}", 3, "process.port", "'80.0'", "a whole number from 1 to 65535"),
    ("process: {pid: 0}", 3, "process.pid", "'0'", "a whole number from 1 to 4194304"),
    ("process: {pid_file: ''}", 3, "process.pid_file", "''", "the path of a file"),
    ("process: {pid_file: 5}", 3, "process.pid_file", "'5'", "the path of a file"),
    ("process: {command: ''}", 3, "process.command", "''", "a regular expression, not empty"),
    ("process: {command: 'a('}", 3, "process.command", "'a('",
     "a regular expression of Python (missing ), unterminated subpattern at position 1)"),
    ("process: {cgroup: ''}", 3, "process.cgroup", "''", "text of printable characters, not empty"),
    ("stats: {interval: 999ms}", 3, "stats.interval", "'999ms'", STATS),
    ("stats:\n  path: /x\n  timeout: 0s", 5, "stats.timeout", "'0s'", DURATION),
    ("stats: {path: memory}", 3, "stats.path", "'memory'", PATH),
    ("stats: {path: /a b}", 3, "stats.path", "'/a b'", PATH),
    ("stats: {path: '/a#b'}", 3, "stats.path", "'/a#b'", PATH),
    ("stats: {method: get}", 3, "stats.method", "'get'", METHOD),
    ("stats: {method: HEAD}", 3, "stats.method", "'HEAD'", METHOD),
    ("stats: {body: {}}", 3, "stats.body", "an unknown key", STATS_KEYS),
    ("stats: {json: .inf}", 3, "stats.json", "'.inf'", "a number that JSON has, neither infinite nor .nan"),
    ("stats: true", 3, "stats", "'true'", f"a mapping with the keys {STATS_KEYS}"),
    ("stats:\n  headers:\n    A: 5", 5, "stats.headers.A", "'<hidden>'", HEADER),
    ("stats: {headers: {A: null}}", 3, "stats.headers.A", "null", HEADER),
    ("stats: {headers: {A: [s3cr3t]}}", 3, "stats.headers.A", "a list", HEADER),
    ('stats: {headers: {A: "s3cr3t\\n"}}', 3, "stats.headers.A", "'<hidden>'", HEADER),
    ("stats: {headers: {A: s3cr3té}}", 3, "stats.headers.A", "'<hidden>'", HEADER),
    ("stats: {headers: {A: ' s3cr3t'}}", 3, "stats.headers.A", "'<hidden>'", HEADER),
    ("stats: {headers: {A: '${s3cr3t'}}", 3, "stats.headers.A", "'<hidden>'",
     "${NAME} or ${NAME:-default} without another ${ inside, or $${ for a literal ${"),
    ("stats: {headers: 's3cr3t: x'}", 3, "stats.headers", "'<hidden>'", "a mapping of names to texts"),
    ("stats: {headers: {'A B': s3cr3t}}", 3, "stats.headers.<hidden>", "'<hidden>'",
     "the name of a header: letters, digits and -"),
    ("stats:\n  headers: {authorization: s3cr3t}\n  bearer_token_file: token", 5, "stats.bearer_token_file", "'token'",
     "nothing beside a header Authorization"),
    ("levels: []", 3, "levels", "an empty list", "at least one level; without the key there are normal and aggressive"),
    ("levels: {a: 1}", 3, "levels", "a mapping", "a list"),
    ("levels: null", 3, "levels", "null", "a list"),
    ("levels: [5]", 3, "levels[0]", "'5'",
     "a mapping with the keys name, enter, exit, sustain, cooldown, min_reclaim, cleanup"),
]  # fmt: skip

LOW = "- {name: low, enter: 50%, exit: 40%}\n"

# Levels; they start in line 4. Then line, key within levels, found, allowed.
IN_LEVELS: list[Row] = [
    ("- {name: none, enter: 2%, exit: 1%}", 4, "[0].name", "'none'", "another name: none is what no level is called"),
    ("- {name: '', enter: 2%, exit: 1%}", 4, "[0].name", "''", f"{NAME}, except none"),
    ("- {enter: 2%, exit: 1%}", 4, "[0].name", "nothing", f"{NAME}, except none"),
    ("- {name: a, exit: 1%}", 4, "[0].enter", "nothing", THRESHOLD),
    (LOW + "- {name: a, enter: 60%}", 5, "[1].exit", "nothing", THRESHOLD),
    (LOW + "- {name: low, enter: 60%, exit: 50%}", 5, "[1].name", "'low'", "a name that levels[0] does not have"),
    (LOW + "- name: high\n  enter: 60%\n  exit: 90%", 7, "[1].exit", "'90%'", "below enter (60%)"),
    (LOW + "- {name: high, enter: 60%, exit: 60%}", 5, "[1].exit", "'60%'", "below enter (60%)"),
    ("- {name: a, enter: 1GB, exit: 1GiB}", 4, "[0].exit", "'1GiB'", "below enter (1GB)"),
    (LOW + "- {name: high, enter: 50%, exit: 45%}", 5, "[1].enter", "'50%'",
     "above the enter of the level beneath (50%)"),
    ("- {name: a, enter: 2GB, exit: 1GB}\n- {name: b, enter: 1.5GB, exit: 1.2GB}", 5, "[1].enter", "'1.5GB'",
     "above the enter of the level beneath (2GB)"),
    (LOW + "- {name: high, enter: 60%, exit: 39%}", 5, "[1].exit", "'39%'",
     "at least the exit of the level beneath (40%)"),
    (LOW + "- {name: high, enter: 60%, exit: 1GB}", 5, "[1].exit", "'1GB'",
     "a percentage like the first (50%): a target's enter and exit have one form"),
    ("- {name: a, enter: 2GB, exit: 50%}", 4, "[0].exit", "'50%'",
     "a size like the first (2GB): a target's enter and exit have one form"),
    ("- {name: a, enter: 75, exit: 50%}", 4, "[0].enter", "'75'", THRESHOLD),
    ("- {name: a, enter: 0.75, exit: 50%}", 4, "[0].enter", "'0.75'", THRESHOLD),
    ("- {name: a, enter: 101%, exit: 50%}", 4, "[0].enter", "'101%'", THRESHOLD),
    ("- {name: a, enter: 2GB, exit: 0B}", 4, "[0].exit", "'0B'", THRESHOLD),
    ("- {name: a, enter: 2%, exit: 1%, min_reclaim: 0%}", 4, "[0].min_reclaim", "'0%'", THRESHOLD),
    ("- {name: a, enter: 2%, exit: 1%, sustain: 10}", 4, "[0].sustain", "'10'", OR_ZERO),
    ("- {name: a, enter: 2%, exit: 1%, cooldown: -1s}", 4, "[0].cooldown", "'-1s'", OR_ZERO),
    ("- {name: a, enter: 2%, exit: 1%, cooldwn: 1s}", 4, "[0].cooldwn", "an unknown key",
     "name, enter, exit, sustain, cooldown, min_reclaim, cleanup (did you mean cooldown?)"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {}}", 4, "[0].cleanup.path", "nothing",
     f"{PATH}; or mcp or reclaim in its place"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {path: x}}", 4, "[0].cleanup.path", "'x'", PATH),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {path: /, method: OPTIONS}}", 4, "[0].cleanup.method", "'OPTIONS'",
     METHOD),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {path: /, timeout: 0s}}", 4, "[0].cleanup.timeout", "'0s'", DURATION),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: 5}", 4, "[0].cleanup", "'5'",
     f"a mapping with the keys {CLEANUP_KEYS}"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: []}", 4, "[0].cleanup", "an empty list",
     "at least one request; without the key nothing is sent"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: [{path: /}, {path: x}]}", 4, "[0].cleanup[1].path", "'x'", PATH),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: [{path: /}, 5]}", 4, "[0].cleanup[1]", "'5'",
     f"a mapping with the keys {CLEANUP_KEYS}"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: [{path: /, tiemout: 1s}]}", 4, "[0].cleanup[0].tiemout",
     "an unknown key", f"{CLEANUP_KEYS} (did you mean timeout?)"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: [{path: /, json: .nan}]}", 4, "[0].cleanup[0].json", "'.nan'",
     "a number that JSON has, neither infinite nor .nan"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {path: /, body: 1}}", 4, "[0].cleanup.body", "an unknown key",
     CLEANUP_KEYS),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {mcp: 1}}", 4, "[0].cleanup.mcp", "'1'",
     f"a mapping with the keys {TOOL_KEYS}"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {mcp: {url: 'http://h/mcp'}}}", 4, "[0].cleanup.mcp.tool", "nothing",
     "the name of a tool"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {mcp: {tool: t}}}", 4, "[0].cleanup.mcp.url", "nothing", URL),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {mcp: {url: /mcp, tool: t}}}", 4, "[0].cleanup.mcp.url", "'/mcp'",
     f"{URL}, the port from 1 to 65535"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {mcp: {url: 'http://h', path: x, tool: t}}}", 4,
     "[0].cleanup.mcp.path", "'x'", PATH),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {mcp: {url: 'http://h', tool: t, args: {}}}}", 4,
     "[0].cleanup.mcp.args", "an unknown key", TOOL_KEYS),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {mcp: {url: 'http://h', tool: t, arguments: [1]}}}", 4,
     "[0].cleanup.mcp.arguments", "a list", "a mapping of names to values"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {mcp: {url: 'http://h', tool: t, arguments: {a: [.inf]}}}}", 4,
     "[0].cleanup.mcp.arguments.a[0]", "'.inf'", "a number that JSON has, neither infinite nor .nan"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {mcp: {url: 'http://h', tool: t, arguments: {a: '{stats.x}'}}}}", 4,
     "[0].cleanup.mcp.arguments.a", "{stats.x}", "{stats.NAME} with a name from stats.map.values: there are none"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {path: /, mcp: {url: 'http://h', tool: t}}}", 4, "[0].cleanup.path",
     "'/'", BESIDE_TOOL),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: [{path: /}, {json: {}, mcp: {url: 'http://h', tool: t}}]}", 4,
     "[0].cleanup[1].json", "an empty mapping", BESIDE_TOOL),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {method: GET, mcp: {url: 'http://h', tool: t}}}", 4,
     "[0].cleanup.method", "'GET'", BESIDE_TOOL),
    ("- name: a\n  enter: 2%\n  exit: 1%\n  cleanup:\n    path: /\n    json:\n      a: [1, .nan]", 10,
     "[0].cleanup.json.a[1]", "'.nan'", "a number that JSON has, neither infinite nor .nan"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {path: /, json: 0xfffffffffffffffff}}", 4, "[0].cleanup.json",
     "'0xfffffffffffffffff'", "a number of at most 64 bits, or quotes around it"),
    ("- {name: a, enter: 2%, exit: 1%, cleanup: {path: /, headers: {Authorization: s3cr3t}, bearer_token_file: t}}", 4,
     "[0].cleanup.bearer_token_file", "'t'", "nothing beside a header Authorization"),
]  # fmt: skip

# Whole files.
FILES: list[Row] = [
    ("log: {level: info}\n", 1, "targets", "nothing", "a list of targets"),
    ("log: {level: info}\ntargets: []\n", 2, "targets", "an empty list", "at least one target"),
    ("targets: {}\n", 1, "targets", "an empty mapping", "a list"),
    ("targets:\n", 1, "targets", "null", "a list"),
    ("targets:\n  - text\n", 2, "targets[0]", "'text'", f"a mapping with the keys {TARGET_KEYS}"),
    ("targets:\n  - limit: 8GB\n", 2, "targets[0].url", "nothing",
     f"{URL}; without a url name and process must be given"),
    ("targets:\n  - name: a\n", 2, "targets[0].url", "nothing", f"{URL}; without a url process must be given"),
    ("targets:\n  - url: null\n    process: {pid: 5}\n", 2, "targets[0].url", "null",
     f"{URL}; without a url name must be given"),
    ("targets:\n  - name: a\n    process: {pid: 5}\n    stats: {path: /x}\n", 4, "targets[0].stats", "a mapping",
     "nothing where the target has no url"),
    ("targets:\n  - name: a\n    process: {pid: 5}\n    measure: reported\n", 4, "targets[0].measure", "'reported'",
     "a measure other than reported where the target has no stats"),
    ("targets:\n  - name: a\n    process: {pid: 5}\n    levels:\n"
     "      - {name: a, enter: 2%, exit: 1%, cleanup: {path: /}}\n", 5, "targets[0].levels[0].cleanup", "a mapping",
     "nothing, or reclaim, where the target has no url"),
    ("targets:\n  - {url: 'http://a', name: x}\n  - url: http://b\n    name: x\n", 4, "targets[1].name", "'x'",
     "a name that targets[0] does not have"),
    ("targets:\n  - url: http://a\n  - url: http://a:80/\n", 3, "targets[1].name", "'a:80'",
     "a name that targets[0] does not have"),
    ("targets: [{url: 'http://a'}]\nweb: {listen_address: localhost}\n", 2, "web.listen_address", "'localhost'",
     LISTEN),
    ("targets: [{url: 'http://a'}]\nlog:\n  level: loud\n", 3, "log.level", "'loud'",
     "debug, info, warning or error"),
    ("targets: [{url: 'http://a'}]\nlog:\n  format: text\n", 3, "log.format", "'text'", "logfmt or json"),
    ("targets: [{url: 'http://a'}]\nstate_file: ''\n", 2, "state_file", "''", "the path of a file"),
    ("targets: [{url: 'http://a'}]\nweb: {config_file: web.yml}\n", 2, "web.config_file", "an unknown key",
     "listen_address, allow_loopback_changes"),
    ("targets: [{url: 'http://a'}]\nalertmanager: {}\n", 2, "alertmanager", "an unknown key",
     "web, log, state_file, record, targets"),
    ("targets: [{url: 'http://a'}]\nfile: x\n", 2, "file", "an unknown key", "web, log, state_file, record, targets"),
    ("target:\n  - url: http://a\ntargets: [{url: 'http://a'}]\n", 1, "target", "an unknown key",
     "web, log, state_file, record, targets (did you mean targets?)"),
    ("targets: [{url: 'http://a'}]\n5: x\n", 2, "5", "an unknown key", "web, log, state_file, record, targets"),
    ("targets:\n  - url: http://a\n    stats: !x {}\n", 3, "targets[0].stats", "a tag", "a value without a tag"),
    ("targets:\n  - &a\n    url: http://a\n    stats: *a\n", 4, "targets[0].stats", "an alias that contains itself",
     "an alias of a finished value"),
    ("targets:\n  - url: http://a\n   stats:\n", 3, "",
     "no YAML (expected <block end>, but found '<block mapping start>')",
     "one YAML document"),
    ("targets: []\n---\n", 2, "", "several documents", "one YAML document"),
]  # fmt: skip


def only(found: list[Mistake]) -> tuple[str, int | None, str, str, str]:
    (mistake,) = found
    assert "s3cr3t" not in str(mistake)
    return mistake.where, mistake.line, mistake.key, mistake.found, mistake.allowed


@pytest.mark.parametrize(("settings", "line", "key", "found", "allowed"), IN_TARGET)
def test_in_a_target(settings: str, line: int, key: str, found: str, allowed: str, tmp_path: Path) -> None:
    lines = "".join(f"    {setting}\n" for setting in settings.splitlines())
    told = mistakes(f"targets:\n  - url: http://h\n{lines}", tmp_path)
    assert only(told) == ("memory-watchdog.yaml", line, f"targets[0].{key}", found, allowed)


@pytest.mark.parametrize(("levels", "line", "key", "found", "allowed"), IN_LEVELS)
def test_in_levels(levels: str, line: int, key: str, found: str, allowed: str, tmp_path: Path) -> None:
    lines = "".join(f"      {level}\n" for level in levels.splitlines())
    told = mistakes(f"targets:\n  - url: http://h\n    levels:\n{lines}", tmp_path)
    assert only(told) == ("memory-watchdog.yaml", line, f"targets[0].levels{key}", found, allowed)


@pytest.mark.parametrize(("text", "line", "key", "found", "allowed"), FILES)
def test_in_a_file(text: str, line: int, key: str, found: str, allowed: str, tmp_path: Path) -> None:
    assert only(mistakes(text, tmp_path)) == ("memory-watchdog.yaml", line, key, found, allowed)


def test_all_mistakes_in_the_order_of_lines(tmp_path: Path) -> None:
    text = """\
log: {level: loud}
targets:
  - url: http://h
    settle: 10
    levels:
      - {name: a, enter: 75%, exit: 90%, cooldown: 60}
      - name: a
        exit: 5%
        enter: 70%
    interval: ${MISSING}
    interval: 1s
    limit: 8
  - url: http://h
state_file: 5
"""
    told = mistakes(text, tmp_path)
    assert [(mistake.line, mistake.key) for mistake in told] == [
        (1, "log.level"),
        (4, "targets[0].settle"),
        (6, "targets[0].levels[0].cooldown"),
        (6, "targets[0].levels[0].exit"),
        (7, "targets[0].levels[1].name"),
        (8, "targets[0].levels[1].exit"),
        (9, "targets[0].levels[1].enter"),
        (10, "targets[0].interval"),
        (11, "targets[0].interval"),
        (12, "targets[0].limit"),
        (13, "targets[1].name"),
        (13, "targets[1].url"),
        (14, "state_file"),
    ]
    assert str(told[3]) == "memory-watchdog.yaml:6: targets[0].levels[0].exit: found '90%', allowed: below enter (75%)"


def test_two_targets_that_find_the_same_process(tmp_path: Path) -> None:
    text = """\
targets:
  - {name: a, url: "http://h:1"}
  - {name: b, url: "http://h:1/"}
  - {name: c, url: "http://h:2", process: {port: 5}}
  - {name: d, url: "http://h:3", process: {port: 5}}
  - {name: e, url: "http://h:1", process: {port: 6}}
"""
    assert [str(mistake) for mistake in mistakes(text, tmp_path)] == [
        "memory-watchdog.yaml:3: targets[1].url: found 'http://h:1', allowed: another process than that of targets[0]",
        "memory-watchdog.yaml:5: targets[3].process: found 'port: 5', allowed: another process than that of targets[2]",
    ]
