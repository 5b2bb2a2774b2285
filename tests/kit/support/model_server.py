"""A server with a model host, for the tests that end it: loads, says so, and does what its standard input says.

`python -m tests.kit.support.model_server FILE`: prints "ready" when three models are loaded; "hang" makes one of them
hang beside the loop, "interrupt" in it, each after FILE was made; "ask" asks all three; "exit" leaves without closing
anything; "fork" forks a child that sleeps, and tells its pid.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from memory_watchdog_kit import ModelHost, ModelSpec

MODULE = "tests.kit.support.models"


def main(file: str) -> None:
    models = ModelHost({name: ModelSpec(f"{MODULE}:obedient") for name in "abc"}, max_loaded=3)
    for name in "abc":
        models.embed(name, ["x"])
    print("ready", flush=True)
    for line in sys.stdin:
        match line.strip():
            case "hang":
                threading.Thread(target=models.embed, args=("a", [f"hang {file}"]), daemon=True).start()
            case "ask":
                print(sum(len(models.embed(name, ["x"])) for name in "abc"), flush=True)
            case "exit":
                return
            case "fork":
                pid = os.fork()
                if pid == 0:
                    signal.pause()
                print(pid, flush=True)
            case "interrupt":
                models.embed("b", [f"hang {file}"])


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        print("interrupted", flush=True)
