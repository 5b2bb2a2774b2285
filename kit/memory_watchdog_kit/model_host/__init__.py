"""Models in processes of their own.

`host` is the public face, `spec` what a model is, `errors` what can go wrong. `roster` decides who is loaded, `keeper`
carries that out through `launch`, which starts the `forkserver`, which forks each `worker`; `wire` and `channel` carry
requests and answers, `output` what is printed, `memory` measures.
"""

from memory_watchdog_kit.model_host.errors import (
    ModelCrashed,
    ModelError,
    ModelFailed,
    ModelHostClosed,
    ModelTimeout,
)
from memory_watchdog_kit.model_host.host import ModelHost
from memory_watchdog_kit.model_host.spec import ModelSpec

__all__ = [
    "ModelCrashed",
    "ModelError",
    "ModelFailed",
    "ModelHost",
    "ModelHostClosed",
    "ModelSpec",
    "ModelTimeout",
]
