"""Find the learning rate, the batch size and the schedule for any PyTorch code before the real training starts.

`import lrscout` is cheap: torch is imported when a search is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lrscout.api.check import CheckAnswer, check
    from lrscout.api.compare_schedulers import CompareSchedulersResult, compare_schedulers
    from lrscout.api.find_batch_size import FindBatchSizeResult, find_batch_size
    from lrscout.api.find_lr import FindLrResult, find_lr
    from lrscout.api.run import RunResult, run
    from lrscout.engine.workload import Workload
    from lrscout.errors import LrscoutError

__all__ = [
    "CheckAnswer",
    "CompareSchedulersResult",
    "FindBatchSizeResult",
    "FindLrResult",
    "LrscoutError",
    "RunResult",
    "Workload",
    "check",
    "compare_schedulers",
    "find_batch_size",
    "find_lr",
    "run",
]

_PLACES = {
    "CheckAnswer": "lrscout.api.check",
    "check": "lrscout.api.check",
    "CompareSchedulersResult": "lrscout.api.compare_schedulers",
    "compare_schedulers": "lrscout.api.compare_schedulers",
    "FindBatchSizeResult": "lrscout.api.find_batch_size",
    "find_batch_size": "lrscout.api.find_batch_size",
    "FindLrResult": "lrscout.api.find_lr",
    "find_lr": "lrscout.api.find_lr",
    "RunResult": "lrscout.api.run",
    "run": "lrscout.api.run",
    "LrscoutError": "lrscout.errors",
    "Workload": "lrscout.engine.workload",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
