"""The API and the commands that speak to it, against a running watchdog with several targets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.api import Api, problem
from tests.support.target import Target, running_target
from tests.support.wait import eventually
from tests.support.watchdog import Watchdog, command, config, running_watchdog, written


def two_targets(first: Target, second: Target, **keys: Any) -> dict[str, Any]:
    """One config for both; the second is called by a name with slashes."""
    content = config(first.url, **keys)
    other = config(second.url, **keys)["targets"][0]
    content["targets"].append(other | {"name": "/run/second.sock"})
    return content


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, Target, Watchdog]]:
    folder = tmp_path_factory.mktemp("api")
    with running_target() as first, running_target("second") as second:
        # Far above what these servers hold: only what a test asks for is sent.
        levels = [
            {"name": "normal", "enter": "300MiB", "exit": "290MiB", "cleanup": {"path": "/memory/cleanup"}},
            {"name": "alert", "enter": "390MiB", "exit": "380MiB"},
        ]
        content = two_targets(first, second, levels=levels) | {"state_file": str(folder / "state.json")}
        with running_watchdog(folder, content) as watchdog:
            yield first, second, watchdog


def test_every_target_is_listed_and_none_waits_for_another(watched: tuple[Target, Target, Watchdog]) -> None:
    first, second, watchdog = watched
    api = Api(watchdog)
    second.control(statistics={"hang": True})
    names = {target["name"]: target for target in api.get("targets")}
    assert set(names) == {"demo", "/run/second.sock"}
    before = names["demo"]["last_observation_timestamp_seconds"]
    assert all(target["up"] and target["level"] == "none" for target in names.values())
    eventually(lambda: api.get("targets/demo")["last_observation_timestamp_seconds"] > before)
    second.control(statistics={}, release=True)
    assert first.requests == []


def test_one_target_is_told_whole(watched: tuple[Target, Target, Watchdog]) -> None:
    first, _, watchdog = watched
    first.control(grow=20)
    api = Api(watchdog)
    seen = eventually(
        lambda: (
            (one := api.get("targets/demo"))["memory"]["anonymous"]["bytes"] > 20 << 20 and one["components"] and one
        )
    )
    assert seen["limit"] == {"bytes": 400 << 20, "unknown": None}
    assert seen["limit_source"] == "given"
    assert seen["memory"]["proportional"]["bytes"] is None
    assert seen["memory"]["proportional"]["unknown"]
    assert seen["processes"] == 1
    assert [level["name"] for level in seen["levels"]] == ["normal", "alert"]
    assert seen["levels"][0]["enter_bytes"] == 300 << 20
    assert seen["levels"][1]["cooldown_seconds"] is None
    assert seen["components"][0]["name"] == "cache"
    assert seen["history"]
    assert seen["history"][-1]["level"] == "none"
    first.control(shrink=20)


def test_a_name_may_hold_slashes(watched: tuple[Target, Target, Watchdog]) -> None:
    api = Api(watched[2])
    assert api.get("targets//run/second.sock")["name"] == "/run/second.sock"
    assert api.post("targets//run/second.sock/pause", seconds=60).status_code == 200
    assert api.get("targets//run/second.sock")["paused"]
    assert not api.get("targets/demo")["paused"]
    assert api.ask("DELETE", "targets//run/second.sock/pause").status_code == 204


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "targets/nobody", None, 404),
        ("POST", "targets/nobody/cleanup", {}, 404),
        ("POST", "targets/nobody/pause", {"seconds": 1}, 404),
        ("DELETE", "targets/nobody/pause", None, 404),
        ("POST", "targets/demo/cleanup", {"level": "nothing"}, 422),
        ("POST", "targets/demo/cleanup", {"level": "alert"}, 422),
        ("POST", "targets/demo/cleanup", {"unknown": 1}, 422),
        ("POST", "targets/demo/cleanup", {"reason": "x" * 201}, 422),
        ("POST", "targets/demo/pause", {}, 422),
        ("POST", "targets/demo/pause", {"seconds": 0}, 422),
        ("POST", "targets/demo/pause", {"seconds": -1}, 422),
        ("POST", "targets/demo/pause", {"seconds": 24 * 3600 + 1}, 422),
        ("POST", "targets/demo/pause", {"seconds": "soon"}, 422),
        ("GET", "events?limit=0", None, 422),
        ("PUT", "targets/demo/pause", {"seconds": 1}, 405),
    ],
)
def test_what_is_refused(
    watched: tuple[Target, Target, Watchdog], method: str, path: str, body: dict[str, Any] | None, status: int
) -> None:
    answer = Api(watched[2]).ask(method, path, json=body)
    assert answer.status_code == status
    assert problem(answer)


def test_a_cleanup_by_hand_is_sent_and_told(watched: tuple[Target, Target, Watchdog]) -> None:
    first, _, watchdog = watched
    api = Api(watchdog)
    first.control(grow=30, cleanup={"free": 30, "hang": True})
    eventually(lambda: api.get("targets/demo")["used"]["bytes"] > 30 << 20)
    answer = api.post("targets/demo/cleanup", reason="a test asks")
    assert answer.status_code == 202
    request_id = answer.json()["request_id"]
    eventually(lambda: first.requests)
    again = api.post("targets/demo/cleanup")
    assert again.status_code == 409
    assert problem(again).startswith("in_flight")
    first.control(cleanup={"free": 30}, release=True)
    verdict = watchdog.wait_for("verdict", request_id=request_id)
    assert verdict["verdict"] == "effective"
    assert first.requests[-1]["headers"]["x-request-id"] == request_id
    sent = watchdog.said("cleanup", request_id=request_id)[0]
    assert (sent["trigger"], sent["reason"]) == ("manual", "a test asks")
    kinds = api.kinds(target="demo")
    assert kinds.index("verdict") < kinds.index("done") < kinds.index("cleanup")
    counted = 'memory_watchdog_cleanups_total{level="normal",target="demo",trigger="manual"} 1.0'
    assert counted in watchdog.get("/metrics").text
    assert len(api.get("events", limit=1)) == 1


def test_a_change_from_another_site_is_refused(watched: tuple[Target, Target, Watchdog]) -> None:
    _, _, watchdog = watched
    for headers in ({"Origin": "http://evil.example"}, {"X-Forwarded-For": "127.0.0.1"}, {"Host": "evil.example"}):
        for path in ("api/v1/targets/demo/cleanup", "api/v1/targets/demo/pause", "-/reload"):
            with httpx.Client(trust_env=False) as client:
                url = f"http://{watchdog.address}/{path}"
                assert client.post(url, json={"seconds": 1}, headers=headers).status_code == 403
    assert not any(target["paused"] for target in Api(watchdog).get("targets"))


def test_openapi_has_real_schemas(watched: tuple[Target, Target, Watchdog]) -> None:
    described = Api(watched[2]).get("openapi.json")
    assert {"/api/v1/targets", "/api/v1/events", "/api/v1/targets/{name}/cleanup"} <= set(described["paths"])
    detail = described["components"]["schemas"]["TargetDetail"]["properties"]
    assert {"used", "limit", "levels", "history", "components"} <= set(detail)
    assert described["paths"]["/api/v1/targets/{name}/cleanup"]["post"]["responses"].keys() >= {"202", "403", "409"}


def test_the_commands_speak_to_it(watched: tuple[Target, Target, Watchdog]) -> None:
    first, _, watchdog = watched
    url = f"--web.url=http://{watchdog.address}"
    paused = command("pause", "demo", "--for=15m", url)
    assert (paused.returncode, "is paused until" in paused.stdout) == (0, True)
    assert Api(watchdog).get("targets/demo")["paused"]
    assert command("resume", "demo", url).returncode == 0
    assert not Api(watchdog).get("targets/demo")["paused"]
    before = len(first.requests)
    sent = command("cleanup", "demo", "--level=normal", "--reason=why not", url)
    assert (sent.returncode, "sent, request" in sent.stdout) == (0, True)
    eventually(lambda: len(first.requests) == before + 1)
    for arguments in (("cleanup", "nobody"), ("pause", "nobody"), ("resume", "nobody")):
        refused = command(*arguments, url)
        assert refused.returncode == 1
        assert "no target 'nobody'; there are: demo" in refused.stderr
    assert command("pause", "demo", "--for=5", url).returncode == 2
    nobody = command("pause", "demo", "--web.url=http://127.0.0.1:9")
    assert (nobody.returncode, "no watchdog answers" in nobody.stderr) == (1, True)


def test_direct_only_where_no_watchdog_runs(watched: tuple[Target, Target, Watchdog], tmp_path: Path) -> None:
    first, _, watchdog = watched
    first.control(grow=30, cleanup={"free": 30})
    options = ("--direct", f"--config.file={written(tmp_path, config(first.url, name='mine'))}")
    refused = command("cleanup", "mine", *options, f"--web.url=http://{watchdog.address}", cwd=tmp_path)
    assert (refused.returncode, "leave out --direct" in refused.stderr) == (1, True)
    before = len(first.requests)
    sent = command("cleanup", "mine", *options, "--web.url=http://127.0.0.1:9", cwd=tmp_path)
    assert sent.returncode == 0, sent.stderr
    assert len(first.requests) == before + 1
    assert "MiB reclaimed" in sent.stdout
    missing = command("cleanup", "other", *options, "--web.url=http://127.0.0.1:9", cwd=tmp_path)
    assert (missing.returncode, "there are: mine" in missing.stderr) == (2, True)


def test_a_pause_survives_a_restart_and_holds_back(tmp_path: Path) -> None:
    with running_target() as target:
        content = config(target.url) | {"state_file": str(tmp_path / "state.json")}
        with running_watchdog(tmp_path, content) as watchdog:
            assert Api(watchdog).post("targets/demo/pause", seconds=900).status_code == 200
            watchdog.process.kill()
            watchdog.process.wait()
        with running_watchdog(tmp_path, content) as watchdog:
            watchdog.until(target_paused=1)
            target.control(grow=150)
            watchdog.wait_for("level", after="normal")
            watchdog.wait_for("cleanup suppressed", reason="paused")
            assert target.requests == []
            assert Api(watchdog).ask("DELETE", "targets/demo/pause").status_code == 204
            eventually(lambda: target.requests)


def test_changes_can_be_turned_off(tmp_path: Path) -> None:
    with running_target() as target:
        content = config(target.url)
        content["web"]["allow_loopback_changes"] = False
        with running_watchdog(tmp_path, content) as watchdog:
            answer = Api(watchdog).post("targets/demo/pause", seconds=1)
            assert (answer.status_code, "allow_loopback_changes" in problem(answer)) == (403, True)
            assert Api(watchdog).get("targets")[0]["up"]


def test_a_cleanup_in_dry_run_is_held_back_and_the_reason_said_once(tmp_path: Path) -> None:
    with running_target() as target, running_watchdog(tmp_path, config(target.url, dry_run=True)) as watchdog:
        answer = Api(watchdog).post("targets/demo/cleanup")
        assert (answer.status_code, problem(answer)) == (409, "dry run: by hand")
        assert target.requests == []


def test_two_targets_with_one_process_are_an_error(tmp_path: Path) -> None:
    with running_target() as target:
        content = config(target.url)
        twin = config(None, name="twin", process={"pid": target.pid})["targets"][0]
        content["targets"].append(
            {key: value for key, value in twin.items() if key != "levels"} | {"levels": [
                {"name": "high", "enter": "50%", "exit": "40%"}
            ]}
        )  # fmt: skip
        with running_watchdog(tmp_path, content) as watchdog:
            told = watchdog.wait_for("the process cannot be read", reason="ambiguous")
            assert "has found the same process" in told["detail"]
            ups = {one["name"]: one["up"] for one in Api(watchdog).get("targets")}
            assert sorted(ups.values()) == [False, True]
